"""A narrowed space: what became of each param, and why."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Literal, Self, get_args

from caviar.errors import SpaceError
from caviar.space.mapping import Space
from caviar.space.parameters import Choice, Constant, Float, Int, Parameter, parameter_from

Kind = Literal["narrowed", "widened", "moved", "kept", "reweighted", "dropped"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """What became of one param."""

    name: str
    kind: Kind
    """``narrowed``; ``widened`` past an end of its range; ``moved``: widened at one end and narrowed at the other;
    ``reweighted``: a `Choice` of the same values; ``dropped``: it can never exist any more; ``kept``."""
    old: Parameter
    new: Parameter | None
    """None where it was dropped."""
    why: str
    """In one line."""

    @property
    def share(self) -> float:
        """How wide the new range is on its scale, or how many of the values are left, in parts of the old one."""
        if isinstance(self.old, Float | Int) and isinstance(self.new, Float | Int):
            return self.new.span / self.old.span
        if isinstance(self.old, Choice) and isinstance(self.new, Choice):
            return len(self.new.values) / len(self.old.values)
        return 1.0

    def to_dict(self) -> dict[str, Any]:
        """JSON, params as they write themselves."""
        return {
            "name": self.name,
            "kind": self.kind,
            "old": self.old.to_dict(),
            "new": None if self.new is None else self.new.to_dict(),
            "why": self.why,
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """The inverse of `to_dict`; what it did not write raises `SpaceError`."""
        try:
            new = data["new"]
            kind, name, why = data["kind"], data["name"], data["why"]
            if kind not in get_args(Kind) or not isinstance(name, str) or not isinstance(why, str):
                raise TypeError(kind)
            return cls(
                name=name,
                kind=kind,
                old=parameter_from(data["old"]),
                new=None if new is None else parameter_from(new),
                why=why,
            )
        except (KeyError, TypeError) as error:
            raise SpaceError(f"{data!r} is no change as Change.to_dict() writes it: {error!r}") from None


class NarrowedSpace(Space):
    """A `Space` that remembers what it was narrowed from: equal to, and used as, the plain one.

    ``changes``: one for each param of the space that it came from, in order.
    """

    __slots__ = ("changes",)

    def __init__(
        self,
        params: Mapping[str, object] = MappingProxyType({}),
        /,
        changes: Sequence[Change] = (),
    ) -> None:
        super().__init__(params)
        self.changes: tuple[Change, ...] = tuple(changes)

    def __reduce__(self) -> tuple[Any, ...]:
        return NarrowedSpace, (dict(self.items()), self.changes)

    @property
    def share(self) -> float:
        """The volume of this space in parts of the one that it came from: the product of the changes' shares."""
        share = 1.0
        for change in self.changes:
            share *= change.share
        return share

    def to_dict(self, *, changes: bool = False) -> dict[str, Any]:
        """JSON: by default exactly what the plain space writes; with ``changes`` also ``{"changes": [...]}``,
        which `Space.from_dict` passes over."""
        data = super().to_dict()
        return {**data, "changes": [change.to_dict() for change in self.changes]} if changes else data

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """The inverse of `to_dict`, exactly; of a plain space's dict, a space without changes."""
        plain = Space.from_dict(data)
        return cls(dict(plain.items()), tuple(map(Change.from_dict, data.get("changes", ()))))

    def explained(self) -> str:
        """A table for people: of each param that varied what it was, what it is, and why."""
        rows = [
            (change.name, shown(change.old), "-" if change.new is None else shown(change.new), change.why)
            for change in self.changes
            if not isinstance(change.old, Constant)
        ]
        if not rows:
            return "no param varies"
        rows.insert(0, ("param", "old", "new", "why"))
        widths = [max(len(row[place]) for row in rows) for place in range(3)]
        lines = ("  ".join([*map(str.ljust, row[:3], widths), row[3]]) for row in rows)
        return "\n".join(line.rstrip() for line in lines)


def shown(parameter: Parameter) -> str:
    """A param's range, or its values with their weights in percent, as people read it."""
    if isinstance(parameter, Constant):
        return repr(parameter.value)
    if isinstance(parameter, Choice):
        total = sum(parameter.weights or ())
        if parameter.weights is None or len(parameter.values) == 1:
            return ", ".join(map(str, parameter.values))
        parts = zip(parameter.values, parameter.weights, strict=True)
        return ", ".join(f"{value} {weight / total:.0%}" for value, weight in parts)
    scale = "" if parameter.scale == "linear" else f" {parameter.scale}"
    return f"{number(parameter.low)} to {number(parameter.high)}{scale}"


def number(value: float) -> str:
    """A bound in few digits, but so many that 0.9995 is not 1."""
    if isinstance(value, int):
        return str(value)
    return f"{value:.4g}" if not 0.99 < value < 1 else f"{1 - (float(f'{1 - value:.3g}')):.12g}"

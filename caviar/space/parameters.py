"""Params: what one of them may be, and the scale on which it is sampled.

Every param but a constant maps its own coordinate, a number in [0, 1], to a value and back: by its inverse
distribution function, so that uniform coordinates give its distribution.
"""

from __future__ import annotations

import itertools
import math
import sys
from bisect import bisect_right
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import KW_ONLY, MISSING, dataclass, field, fields
from types import MappingProxyType
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from caviar.errors import SpaceError

Scalar = str | int | float | bool | None
"""What JSON can say without a list or an object; floats are finite."""

_Map = Callable[[float], float]
# The base of a logarithm moves no draw: uniform in log10(1 - x) is uniform in ln(1 - x). log1p and expm1 lose no
# digits where x is small; near 1 the difference 1 - x is exact anyway.
_SCALES: dict[str, tuple[_Map, _Map]] = {
    "linear": (lambda value: value, lambda value: value),
    "log": (math.log, math.exp),
    "one_minus_log": (lambda value: math.log1p(-value), lambda value: -math.expm1(value)),
}


def _plain(value: object) -> object:
    return value.item() if isinstance(value, np.generic) else value


def _scalar(value: object) -> Scalar:
    """A JSON scalar as a plain Python value, also from a numpy one; `TypeError` for anything else."""
    plain = _plain(value)
    if plain is None or isinstance(plain, bool):
        return plain
    if isinstance(plain, str):
        return str.__str__(plain)  # of an enum: its value
    number = _number(plain)
    if -math.inf < number < math.inf:
        return number
    raise TypeError(f"{value!r} is no JSON scalar (str, int, finite float, bool or None)")


def _number(value: object) -> float:
    """A number that is no bool as a plain Python value; NaN for anything else."""
    plain = _plain(value)
    if isinstance(plain, bool) or not isinstance(plain, int | float):
        return math.nan
    return int(plain) if isinstance(plain, int) else float(plain)


def _several(values: object) -> Sequence[Any] | None:
    """The values of a list, tuple or range; None for what is a scalar or has no order."""
    return values if isinstance(values, Sequence) and not isinstance(values, str | bytes) else None


def _pick(values: Sequence[Scalar], value: object, name: str) -> Scalar:
    """The one of the values that equals what was given, as JSON sees it: true is not 1, but 1 is 1.0."""
    plain = _plain(value)
    for own in values:
        if isinstance(own, bool) == isinstance(plain, bool) and own == plain:
            return own
    raise SpaceError(f"param {name!r}: {value!r:.60} is not allowed, only {listed(values)}")


def listed(values: Iterable[object]) -> str:
    return " or ".join(map(repr, values))


def _json(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _json(each) for name, each in value.items()}
    return list(value) if isinstance(value, tuple) else value


class _Record:
    """What all params share: a frozen record that shows, copies and writes itself by its arguments."""

    __slots__ = ()
    type: ClassVar[str]
    when: Mapping[str, Any] | None

    def to_dict(self) -> dict[str, Any]:
        """JSON: the type, and every argument that is set."""
        return {"type": self.type} | {name: value for name, value, _ in self._arguments()}

    def __repr__(self) -> str:
        shown = (f"{value!r}" if required else f"{name}={value!r}" for name, value, required in self._arguments())
        return f"{type(self).__name__}({', '.join(shown)})"

    def __reduce__(self) -> tuple[Any, ...]:
        return parameter_from, (self.to_dict(),)

    def _arguments(self) -> Iterator[tuple[str, Any, bool]]:
        """Name, JSON value, and whether it is required, of every argument but those that are None by default."""
        for each in fields(self):  # type: ignore[arg-type]
            required = each.default is MISSING
            if each.init and (required or getattr(self, each.name) is not None):
                yield each.name, _json(getattr(self, each.name)), required

    def _settle(self, **values: object) -> None:
        """Set what the record works out at its construction."""
        for name, value in values.items():
            object.__setattr__(self, name, value)

    def _settle_when(self) -> None:
        """Make ``when`` read-only, of plain values; whether they make sense is for the space to say."""
        if self.when is None:
            return
        if not isinstance(self.when, Mapping) or not self.when:
            raise SpaceError(f"{self!r}: when must be a mapping such as {{'optimizer': 'adam'}}")
        wanted = {name: [_plain(each) for each in _several(value) or [value]] for name, value in self.when.items()}
        alone = {name: values[0] if len(values) == 1 else tuple(values) for name, values in wanted.items()}
        self._settle(when=MappingProxyType(alone))


@dataclass(frozen=True, slots=True, repr=False)
class _Range(_Record):
    """What a scale is laid over. The subclasses say what numbers it has."""

    low: float
    high: float
    _: KW_ONLY
    scale: str = "linear"
    when: Mapping[str, Any] | None = field(default=None, hash=False)
    _start: float = field(init=False, repr=False, compare=False)
    _span: float = field(init=False, repr=False, compare=False)

    kind: ClassVar[Callable[[float], float]]
    noun: ClassVar[str]
    limit: ClassVar[float]
    scales: ClassVar[Sequence[str]]
    margin: ClassVar[float]
    """How far the range that is sampled reaches beyond the bounds."""

    def __post_init__(self) -> None:
        for name in ("low", "high"):
            number = _number(getattr(self, name))
            if not abs(number) <= self.limit or not isinstance(number, int | type(self.limit)):
                raise SpaceError(f"{self!r}: {name} must be a {self.noun} within ±{self.limit:.4g}")
            self._settle(**{name: type(self).kind(number)})
        if self.scale not in self.scales:
            raise SpaceError(f"{self!r}: scale must be {listed(self.scales)}")
        if not self.low < self.high:
            raise SpaceError(f"{self!r}: low must be below high")
        if self.scale == "log" and self.low <= 0:
            raise SpaceError(f"{self!r}: a log scale needs low above 0")
        if self.scale == "one_minus_log" and not 0 < self.low < self.high < 1:
            raise SpaceError(f"{self!r}: a one_minus_log scale needs bounds above 0 and below 1")
        forward, _ = _SCALES[self.scale]
        start = forward(self.low - self.margin)
        span = forward(self.high + self.margin) - start
        if span == 0 or math.isinf(span):
            raise SpaceError(f"{self!r}: low and high are too {'far apart' if span else 'close together'}")
        self._settle(_start=start, _span=span)
        self._settle_when()

    def from_unit(self, unit: float) -> float:
        """The value at a coordinate from 0 to 1: the inverse distribution function, its ends exact."""
        if not 0.0 < unit < 1.0:
            return self.low if unit <= 0.0 else self.high
        value = _SCALES[self.scale][1](self._start + unit * self._span)
        if self.margin:
            value = math.floor(value + 0.5)
        return self.low if value < self.low else self.high if value > self.high else value

    def to_unit(self, value: float) -> float:
        """The coordinate of a value; of a whole number, the middle of those that it owns."""
        forward, _ = _SCALES[self.scale]
        middle = (forward(value - self.margin) + forward(value + self.margin)) / 2
        return min(1.0, max(0.0, (middle - self._start) / self._span))

    @property
    def span(self) -> float:
        """How long the range is on its scale; two on the same scale can be compared."""
        return self._span

    def cells(self, values: Sequence[float]) -> npt.NDArray[np.float64]:
        """The coordinates that each value owns, from and to, of shape (2, values): of a real number a point. The
        values must be within the bounds."""
        given = np.asarray(values, np.float64)
        bounds = np.stack([given - self.margin, given + self.margin])
        if self.scale == "log":
            bounds = np.log(bounds)
        elif self.scale == "one_minus_log":
            bounds = np.log1p(-bounds)
        return (bounds - self._start) / self._span

    def value_at(self, coordinate: float) -> float:
        """The number at any coordinate, also outside 0 to 1; a whole number is not rounded here."""
        return _SCALES[self.scale][1](self._start + coordinate * self._span)

    def check(self, value: object, name: str) -> float:
        """The value in its own type; `SpaceError` where the param so named cannot have it. 3.0 is whole."""
        number = _number(value)
        if not self.low <= number <= self.high or (self.margin and number % 1):
            raise SpaceError(f"param {name!r}: {value!r} is no {self.noun} from {self.low} to {self.high}")
        return type(self).kind(number)

    def points(self, count: int) -> Sequence[Scalar]:
        """At most ``count`` values, spread evenly over the scale from end to end; a single one is its middle."""
        first, last = self.to_unit(self.low), self.to_unit(self.high)
        steps = [step / (count - 1) for step in range(count)] if count > 1 else [0.5]
        return list(dict.fromkeys(self.from_unit(first + step * (last - first)) for step in steps))


@dataclass(frozen=True, slots=True, repr=False)
class Float(_Range):
    """A real number from ``low`` to ``high``.

    ``scale``: ``linear``; ``log``, uniform in log10(x); ``one_minus_log``, uniform in log10(1 - x), for the decay
    of an exponentially weighted average: between 0.9 and 0.999 half of the draws lie above 0.99.
    ``when``: values of other params under which it exists: ``{"optimizer": "adam"}``, or a list of values.
    Raises `SpaceError` unless low < high, both finite, above 0 for log, and in (0, 1) for one_minus_log.
    """

    type: ClassVar[str] = "float"
    kind: ClassVar[Callable[[float], float]] = float
    noun: ClassVar[str] = "finite number"
    limit: ClassVar[float] = sys.float_info.max
    scales: ClassVar[Sequence[str]] = tuple(_SCALES)
    margin: ClassVar[float] = 0.0


@dataclass(frozen=True, slots=True, repr=False)
class Int(_Range):
    """A whole number from ``low`` to ``high``, both included.

    ``scale``: ``linear``, every number equally likely; ``log``, log-uniform over [low - 1/2, high + 1/2] and
    rounded, so that k has the mass of [k - 1/2, k + 1/2). ``when``: as for `Float`.
    Raises `SpaceError` unless low < high, both whole, above 0 for log, and within 2**40 of 0: beyond, neighbours
    on a log scale would no longer have coordinates of their own.
    """

    type: ClassVar[str] = "int"
    kind: ClassVar[Callable[[float], float]] = int
    noun: ClassVar[str] = "whole number"
    limit: ClassVar[float] = 2**40
    scales: ClassVar[Sequence[str]] = ("linear", "log")
    margin: ClassVar[float] = 0.5
    low: int
    high: int


@dataclass(frozen=True, slots=True, repr=False)
class Choice(_Record):
    """One of ``values``, which are JSON scalars.

    ``weights``: as many positive numbers, of any sum; without them all values are equally likely. ``when``: as
    for `Float`. Raises `SpaceError` for no values, equal values (1, 1.0 and True are equal) and bad weights.
    """

    type: ClassVar[str] = "choice"
    values: Sequence[Scalar]
    weights: Sequence[float] | None = None
    _: KW_ONLY
    when: Mapping[str, Any] | None = field(default=None, hash=False)
    _edges: tuple[float, ...] = field(init=False, repr=False, compare=False)
    """From 0 to 1: value i owns the coordinates from edge i up to edge i + 1."""

    def __post_init__(self) -> None:
        given = _several(self.values)
        if not given:
            raise SpaceError(f"{self!r}: needs a list of at least one value")
        try:
            values = tuple(map(_scalar, given))
        except TypeError as error:
            raise SpaceError(f"{self!r}: {error}") from None
        if len(set(values)) < len(values):
            raise SpaceError(f"{self!r}: the same value twice")
        weights = tuple(
            map(_number, [1.0] * len(values) if self.weights is None else _several(self.weights) or ())
        )
        if len(weights) != len(values) or not all(0 < weight < 1e300 for weight in weights):
            raise SpaceError(f"{self!r}: weights must be as many positive numbers as there are values")
        total = math.fsum(weights)
        edges = (*(edge / total for edge in itertools.accumulate(weights[:-1], initial=0.0)), 1.0)
        # a middle on an edge: rounding left that value next to no coordinates of its own
        if not all(low < (low + high) / 2 < high for low, high in itertools.pairwise(edges)):
            raise SpaceError(f"{self!r}: weights are too far apart")
        self._settle(values=values, weights=None if self.weights is None else weights, _edges=edges)
        self._settle_when()

    def from_unit(self, unit: float) -> Scalar:
        """The value that owns a coordinate from 0 to 1; the last value owns 1 too."""
        return self.values[bisect_right(self._edges, unit, 1, len(self.values)) - 1]

    def to_unit(self, value: Scalar) -> float:
        """The middle of the coordinates that a value owns."""
        index = self.values.index(value)
        return (self._edges[index] + self._edges[index + 1]) / 2

    def check(self, value: object, name: str) -> Scalar:
        """The value as it was declared; `SpaceError` where the param so named cannot have it."""
        return _pick(self.values, value, name)


@dataclass(frozen=True, slots=True, repr=False)
class Constant(_Record):
    """A value that does not vary: what anything else in a `Space` becomes. A JSON scalar, else `SpaceError`."""

    type: ClassVar[str] = "constant"
    when: ClassVar[None] = None  # type: ignore[misc]
    value: Scalar

    def __post_init__(self) -> None:
        try:
            self._settle(value=_scalar(self.value))
        except TypeError as error:
            hint = "; to vary it, write Choice([...])" if isinstance(self.value, Collection | np.ndarray) else ""
            raise SpaceError(f"a constant: {error}{hint}") from None

    def check(self, value: object, name: str) -> Scalar:
        """The value itself; `SpaceError` for any other."""
        return _pick([self.value], value, name)


Parameter = Float | Int | Choice | Constant
_TYPES: dict[str, type[Any]] = {kind.type: kind for kind in (Float, Int, Choice, Constant)}


def parameter_from(data: Mapping[str, Any]) -> Parameter:
    """The inverse of a parameter's ``to_dict``."""
    make: Callable[..., Parameter] = _TYPES[data["type"]]
    return make(**{name: value for name, value in data.items() if name not in ("name", "type")})

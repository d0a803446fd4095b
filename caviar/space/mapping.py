"""The space: a mapping from name to param, and the maps between params and the unit cube.

Every param that varies owns one coordinate of the unit cube, in order of declaration. All sampling happens there:
a sampler proposes a vector, and each param turns its coordinate into a value. A conditional param keeps its
coordinate where it does not exist, so that the draws of the others never shift.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from graphlib import CycleError, TopologicalSorter
from types import MappingProxyType
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from caviar.errors import SpaceError
from caviar.space.parameters import Choice, Constant, Float, Parameter, Scalar, listed, parameter_from

_ABSENT = object()
_NAME = re.compile(r"[^\W\d]\w*([.\-/]\w+)*")  # fit for a column, a keyword and `caviar set NAME=VALUE`
_Conditions = tuple[tuple[str, tuple[Scalar, ...]], ...]


def _holds(conditions: _Conditions, params: Mapping[str, Scalar]) -> bool:
    return all(params.get(parent, _ABSENT) in values for parent, values in conditions)


class Space(Mapping[str, Parameter]):
    """What may vary, as a read-only mapping from name to `Float`, `Int`, `Choice` or `Constant`.

    ``Space(lr=Float(1e-4, 1, scale="log"), epsilon=1e-8)`` or ``Space({"lr": ...})``; anything that is no param
    becomes a `Constant`. ``varying`` names the params that own a coordinate of the unit cube, in order. A param
    whose ``when`` does not hold is absent from params; so is one whose ``when`` names an absent one.
    Raises `SpaceError` for a bad name, a value that is no JSON scalar, and a ``when`` that names an unknown param,
    a `Float`, a value that its param cannot have, or, along a chain, itself.
    """

    __slots__ = ("_axes", "_params", "_plan", "_template", "varying")

    def __init__(self, params: Mapping[str, object] = MappingProxyType({}), /, **named: object) -> None:
        if not isinstance(params, Mapping) or params.keys() & named.keys():
            raise SpaceError(f"Space({params!r}): needs a mapping from name to param, with each name given once")
        self._params = {name: self._entry(name, given) for name, given in {**params, **named}.items()}
        self._axes = {name: each for name, each in self._params.items() if not isinstance(each, Constant)}
        self.varying = tuple(self._axes)
        self._template = {name: getattr(each, "value", None) for name, each in self._params.items()}
        conditions = {name: tuple(self._conditions(name)) for name in self._params}
        try:
            order = TopologicalSorter({name: [parent for parent, _ in conditions[name]] for name in conditions})
            names = [name for name in order.static_order() if name in self._axes]
        except CycleError as error:
            raise SpaceError(f"param {error.args[1][0]!r}: when: a cycle, {' -> '.join(error.args[1])}") from None
        # parents first, so that one pass settles which params exist
        index = {name: place for place, name in enumerate(self.varying)}
        self._plan = tuple((name, index[name], self._axes[name], conditions[name]) for name in names)

    @staticmethod
    def _entry(name: object, given: object) -> Parameter:
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            raise SpaceError(f"param {name!r}: a name has letters, digits and _, and single . - / between them")
        try:
            return given if isinstance(given, Parameter) else Constant(given)  # type: ignore[arg-type]
        except SpaceError as error:
            raise SpaceError(f"param {name!r}: {error}") from None

    def _conditions(self, name: str) -> Iterator[tuple[str, tuple[Scalar, ...]]]:
        for parent, wanted in (self._params[name].when or {}).items():
            if isinstance(self._params.get(parent, 0.0), Float | float):
                others = [other for other, each in self._params.items() if not isinstance(each, Float)]
                raise SpaceError(f"param {name!r}: when: {parent!r} is not {listed(others)}")
            try:
                values = wanted if isinstance(wanted, tuple) else (wanted,)
                yield parent, tuple(self._params[parent].check(value, parent) for value in values)
            except SpaceError as error:
                raise SpaceError(f"param {name!r}: when: {error}") from None

    def __getitem__(self, name: str) -> Parameter:
        return self._params[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._params)

    def __len__(self) -> int:
        return len(self._params)

    def __eq__(self, other: object) -> bool:  # unlike other mappings: the order gives each param its coordinate
        return isinstance(other, Space) and list(self.items()) == list(other.items())

    def __hash__(self) -> int:
        return hash(tuple(self.items()))

    def __reduce__(self) -> tuple[Any, ...]:
        return Space, (self._params,)

    def __repr__(self) -> str:
        shown = {name: repr(getattr(each, "value", each)) for name, each in self._params.items()}
        if all(map(str.isidentifier, shown)):
            return f"Space({', '.join(f'{name}={each}' for name, each in shown.items())})"
        return f"Space({{{', '.join(f'{name!r}: {each}' for name, each in shown.items())}}})"

    def sample(self, rng: np.random.Generator) -> dict[str, Any]:
        """Params drawn at random. Takes ``len(varying)`` raw uniforms from ``rng``, always, and nothing else."""
        return self.from_unit(rng.random(len(self.varying)))

    def from_unit(self, vector: Sequence[float] | npt.NDArray[np.float64]) -> dict[str, Any]:
        """Params at a point of the unit cube, of shape (len(varying),); the coordinates of absent params are not
        looked at. A wrong length, or another coordinate that is NaN or outside 0 to 1, raises `SpaceError`."""
        return self._fill({}, vector)

    def to_unit(self, params: Mapping[str, object]) -> npt.NDArray[np.float64]:
        """The point of the unit cube that stands for params, of shape (len(varying),): NaN where one is absent,
        the middle where many points stand for the same value. Raises as `check` does."""
        known = self.check(params)
        units = (each.to_unit(known[name]) if name in known else math.nan for name, each in self._axes.items())
        return np.fromiter(units, np.float64, len(self.varying))

    def check(self, params: Mapping[str, object]) -> dict[str, Any]:
        """Params in order and in their own types. An unknown, missing or absent param and a value that is not
        allowed raise `SpaceError`. Constants may be left out."""
        return self._fill(params, None)

    def complete(self, given: Mapping[str, object], seeds: np.random.SeedSequence) -> dict[str, Any]:
        """Params with those given, checked, and the others drawn from a trial's seeds, but so that all given ones
        exist. Raises as `check_partial` does, never by chance."""
        rng = np.random.Generator(np.random.PCG64(seeds))
        return self._fill(given, rng.random(len(self.varying)), self._needed(given))

    def middle(self, given: Mapping[str, object] = MappingProxyType({})) -> dict[str, Any]:
        """Params with those given, and of the others the middle of their scale, but so that all given ones exist.
        Raises as `check_partial` does."""
        return self._fill(given, [0.5] * len(self.varying), self._needed(given))

    def check_partial(self, given: Mapping[str, object]) -> None:
        """As `check`, but what is missing is no mistake, unless a param given could never exist."""
        self._fill(given, [0.5] * len(self.varying), self._needed(given))

    def _needed(self, given: Mapping[str, object]) -> dict[str, Choice]:
        """How to draw the params that must take certain values for those given to exist."""
        if not isinstance(given, Mapping):
            raise SpaceError(f"{given!r} is no mapping from name to value")
        exist = set(given)
        drawn: dict[str, Choice] = {}
        for name, _, _, conditions in reversed(self._plan):
            for parent, values in conditions if name in exist else ():
                exist.add(parent)
                if parent in given or parent not in self._axes:
                    continue
                wanted = [value for value in values if parent not in drawn or value in drawn[parent].values]
                if not wanted:
                    raise SpaceError(f"params {', '.join(given)}: no value of {parent!r} lets all of them exist")
                own = self._axes[parent]
                weights = dict(zip(own.values, own.weights or (), strict=False)) if isinstance(own, Choice) else {}
                drawn[parent] = Choice(wanted, [weights.get(value, 1.0) for value in wanted])
        return drawn

    def _fill(
        self,
        given: Mapping[str, object],
        vector: Sequence[float] | npt.NDArray[np.float64] | None,
        drawn: Mapping[str, Choice] = MappingProxyType({}),
    ) -> dict[str, Any]:
        """Params from what is given, and the rest from a point of the unit cube; None: nothing may be missing."""
        for name, value in given.items():
            if name not in self._params:
                raise SpaceError(f"param {name!r} is unknown; this space has {', '.join(self._params)}")
            if name not in self._axes:
                self._params[name].check(value, name)
        units: Sequence[float] = vector.tolist() if isinstance(vector, np.ndarray) else vector or ()
        if vector is not None and len(units) != len(self.varying):
            raise SpaceError(f"a point of this space has {len(self.varying)} coordinates, not {len(units)}")
        params: dict[str, Any] = self._template.copy()
        for name, index, parameter, conditions in self._plan:
            if conditions and not _holds(conditions, params):
                if name in given:
                    needs = " and ".join(f"{parent} is {listed(values)}" for parent, values in conditions)
                    raise SpaceError(f"param {name!r}: given as {given[name]!r}, but it exists only where {needs}")
                del params[name]
            elif name in given:
                params[name] = parameter.check(given[name], name)
            elif vector is None:
                raise SpaceError(f"param {name!r} is missing")
            elif 0.0 <= units[index] <= 1.0:
                params[name] = drawn.get(name, parameter).from_unit(units[index])
            else:
                raise SpaceError(f"param {name!r}: coordinate {units[index]!r} is not from 0 to 1")
        return params

    def grid(self, n: int | Mapping[str, int]) -> list[dict[str, Any]]:
        """All combinations of ``n`` values of every `Float` and `Int` (or as many as ``n`` has under its name),
        spread evenly over its scale, and all values of every `Choice`. The last param changes fastest."""
        return list(self.iter_grid(n))

    def iter_grid(self, n: int | Mapping[str, int]) -> Iterator[dict[str, Any]]:
        """The same combinations, one after another."""
        axes: list[tuple[str, Sequence[Scalar], _Conditions]] = []
        for name, _, each, conditions in self._plan:
            count = n.get(name) if isinstance(n, Mapping) else n
            if isinstance(each, Choice):
                axes.append((name, each.values, conditions))
            elif type(count) is int and count > 0:
                axes.append((name, each.points(count), conditions))
            else:
                raise SpaceError(f"param {name!r}: a grid needs its number of values, at least 1, not {count!r}")

        def walk(depth: int, params: dict[str, Any]) -> Iterator[dict[str, Any]]:
            if depth == len(axes):
                yield {name: params[name] for name in self._params if name in params}
                return
            name, points, conditions = axes[depth]
            for point in points if _holds(conditions, params) else [_ABSENT]:
                yield from walk(depth + 1, params if point is _ABSENT else {**params, name: point})

        return walk(0, {name: self._template[name] for name in self if name not in self._axes})

    def to_dict(self) -> dict[str, Any]:
        """JSON: ``{"params": [{"name": "lr", "type": "float", ...}, ...]}``, a list, because the order matters."""
        return {"params": [{"name": name} | each.to_dict() for name, each in self._params.items()]}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """The inverse of `to_dict`, exactly; what it did not write raises `SpaceError`."""
        try:
            return cls({entry["name"]: parameter_from(entry) for entry in data["params"]})
        except (KeyError, TypeError) as error:
            raise SpaceError(f"{data!r} is no space as Space.to_dict() writes it: {error!r}") from None

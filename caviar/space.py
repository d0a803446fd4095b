"""What may vary: params, the scales on which they are sampled, and the maps between params and the unit cube.

Every param that varies owns one coordinate of the unit cube, in order of declaration. All sampling happens there:
a sampler proposes a vector, and the inverse distribution function of each param turns its coordinate into a value.
A conditional param keeps its coordinate where it does not exist, so that the draws of the others never shift.
"""

from __future__ import annotations

import itertools
import math
import re
import sys
from bisect import bisect_right
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import KW_ONLY, MISSING, dataclass, field, fields
from graphlib import CycleError, TopologicalSorter
from types import MappingProxyType
from typing import Any, ClassVar, Self

import numpy as np
import numpy.typing as npt

from caviar.errors import SpaceError

Scalar = str | int | float | bool | None
"""What JSON can say without a list or an object; floats are finite."""

_ABSENT = object()
_NAME = re.compile(r"[^\W\d]\w*([.\-/]\w+)*")  # fit for a column, a keyword and `caviar set NAME=VALUE`
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
    raise SpaceError(f"param {name!r}: {value!r} is not allowed, only {_listed(values)}")


def _listed(values: Iterable[object]) -> str:
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
        return _parameter, (self.to_dict(),)

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
            raise SpaceError(f"{self!r}: scale must be {_listed(self.scales)}")
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


def _parameter(data: Mapping[str, Any]) -> Parameter:
    """The inverse of a parameter's ``to_dict``."""
    make: Callable[..., Parameter] = _TYPES[data["type"]]
    return make(**{name: value for name, value in data.items() if name not in ("name", "type")})


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
                raise SpaceError(f"param {name!r}: when: {parent!r} is not {_listed(others)}")
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
                    needs = " and ".join(f"{parent} is {_listed(values)}" for parent, values in conditions)
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
            return cls({entry["name"]: _parameter(entry) for entry in data["params"]})
        except (KeyError, TypeError) as error:
            raise SpaceError(f"{data!r} is no space as Space.to_dict() writes it: {error!r}") from None

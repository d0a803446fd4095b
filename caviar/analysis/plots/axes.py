"""Axes: each param on the scale that it is sampled on, with labels that say its real values; and the metric's."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from caviar.analysis.plots.look import number, plain
from caviar.messages import Floats, Ints
from caviar.space import Choice, Float, Int, Space

FEW = 12
"""Up to so many whole numbers are told apart on an axis, and dots are spread around each."""

WIDE = 30.0
"""A metric whose greatest value is so many times its least is drawn on a log axis, unless more of it is better:
that would press the good values together."""

OFF = 0.02
"""This part of the values, the worst ones, may lie off the axis of a metric: a few that blew up would hide the
rest."""

ROOMY = 1.5
"""Unless an axis of all values were no longer than so many times the axis without them."""

Scale = Literal["linear", "log", "one_minus_log", "choice"]


@dataclass(frozen=True, slots=True)
class ParamAxis:
    """Where the values of one param lie on an axis. A place is log10(x) on a log scale, -log10(1 - x) on a
    one_minus_log scale, the number of a choice, and else the value."""

    name: str
    scale: Scale
    few: bool = False
    """Whether it has so few whole numbers that each is told apart."""
    values: tuple[Any, ...] = ()
    """Of a choice."""

    @property
    def strips(self) -> bool:
        """Whether dots of the same value are to be spread."""
        return self.few or self.scale == "choice"

    @property
    def label(self) -> str:
        """Its name, with its scale where that is not the usual one."""
        return plain(self.name, 40) + {"log": " (log)", "one_minus_log": " (log of 1 - x)"}.get(self.scale, "")

    def places(self, column: Sequence[Any], *, spread: Floats | None = None) -> Floats:
        """Where these values lie; NaN where one is absent or has no place. ``spread``: of each, from -0.5 to 0.5,
        how far to move it where values are told apart."""
        if self.scale == "choice":
            place_of = {_key(value): float(place) for place, value in enumerate(self.values)}
            found = np.array([place_of.get(_key(value), math.nan) for value in column], np.float64)
            return found if spread is None else found + spread * 0.6
        found = np.array([_float(value) for value in column], np.float64)
        if spread is not None and self.few:
            found = found + spread * 0.5
        with np.errstate(all="ignore"):
            if self.scale == "log":
                found = np.log10(found)
            elif self.scale == "one_minus_log":
                found = -np.log10(1 - found)
        return np.where(np.isfinite(found), found, math.nan)

    def ticks(self, low: float, high: float) -> tuple[list[float], list[str]] | None:
        """Places and labels of the ticks between two places, as plotly's text; None: those of any axis will do."""
        if self.scale == "choice":
            return [float(place) for place in range(len(self.values))], [plain(value, 24) for value in self.values]
        if self.few:
            whole = range(math.ceil(self._value(low)), math.floor(self._value(high)) + 1)
            return [float(self.places([value])[0]) for value in whole], [str(value) for value in whole]
        if self.scale == "log":
            found = list(decades(10.0**low, 10.0**high))
            return [math.log10(value) for value in found], [brief(value) for value in found]
        if self.scale == "one_minus_log":
            rest = sorted(decades(10.0**-high, 10.0**-low), reverse=True)
            return [-math.log10(value) for value in rest], [f"{1 - value:.8g}" for value in rest]
        return None

    def limits(self, places: Floats) -> tuple[float, float]:
        """The range of an axis that shows these places."""
        if self.scale == "choice":
            return -0.6, len(self.values) - 0.4
        found = places[np.isfinite(places)]
        if not len(found):
            return 0.0, 1.0
        low, high = float(found.min()), float(found.max())
        if self.few:
            ends = [self._value(low) - 0.5, self._value(high) + 0.5]
            low, high = self.places(ends).tolist()
            return low, high
        margin = (high - low or abs(high) or 1.0) * 0.04
        return low - margin, high + margin

    def layout(self, places: Floats, *, title: bool = True) -> dict[str, Any]:
        """What plotly wants to know of an axis for these places."""
        low, high = self.limits(places)
        found: dict[str, Any] = {"range": [low, high]}
        ticks = self.ticks(low, high)
        if ticks is not None:
            found |= {"tickvals": ticks[0], "ticktext": ticks[1]}
        if title:
            found["title"] = {"text": self.label}
        return found

    def _value(self, place: float) -> float:
        return 10.0**place if self.scale == "log" else place


def param_axes(names: Iterable[str], spaces: Sequence[Space]) -> list[ParamAxis]:
    """The axes of the params that vary in any of these spaces, which are those of the stages, the first one first.
    Where stages disagree about a scale, the first one's counts."""
    return [axis for name in names if (axis := _param_axis(name, spaces)) is not None]


def _param_axis(name: str, spaces: Sequence[Space]) -> ParamAxis | None:
    own = [space[name] for space in spaces if name in space]
    varying = [each for each in own if isinstance(each, Float | Int | Choice)]
    if not varying:
        return None
    if any(isinstance(each, Choice) for each in varying):
        values = [value for each in own for value in getattr(each, "values", [getattr(each, "value", None)])]
        return ParamAxis(name, "choice", values=tuple({_key(value): value for value in values}.values()))
    ranges = [each for each in varying if isinstance(each, Float | Int)]
    whole = all(isinstance(each, Int) for each in ranges)
    span = max(each.high for each in ranges) - min(each.low for each in ranges)
    scale: Any = ranges[0].scale
    return ParamAxis(name, scale, few=whole and span < FEW)


@dataclass(frozen=True, slots=True)
class MetricAxis:
    """The axis of the metric: where all but the worst few of its values lie."""

    log: bool
    low: float
    high: float
    off: int = 0
    """How many finite values lie beyond."""
    not_positive: int = 0
    """How many of these cannot be on a log axis."""

    @classmethod
    def of(cls, values: Floats, *, maximize: bool | None, log: bool | None = None) -> MetricAxis:
        """For these values. ``maximize``: whether more is better; None: nobody knows. ``log``: None chooses."""
        values = values[np.isfinite(values)]
        if not len(values):
            return cls(False, 0.0, 1.0)
        shown = {True: [OFF, 1], False: [0, 1 - OFF], None: [OFF / 2, 1 - OFF / 2]}[maximize]
        low, high = np.quantile(values, shown, method="nearest").tolist()
        if values.max() - values.min() <= ROOMY * (high - low):
            low, high = float(values.min()), float(values.max())
        if log is None:
            log = not maximize and low > 0 and high / low > WIDE
        not_positive = int(np.count_nonzero(values <= 0)) if log else 0
        if log and not_positive:
            positive = values[values > 0]
            if not len(positive):
                return cls(True, 0.1, 1.0, not_positive, not_positive)
            low, high = max(low, float(positive.min())), max(high, float(positive.min()))
        return cls(log, low, high, int(np.count_nonzero((values < low) | (values > high))), not_positive)

    def layout(self, name: str, *, title: bool = True) -> dict[str, Any]:
        """What plotly wants to know of this axis."""
        low, high = (math.log10(self.low), math.log10(self.high)) if self.log else (self.low, self.high)
        margin = (high - low or abs(high) or 1.0) * 0.05
        found: dict[str, Any] = {"type": "log" if self.log else "linear", "range": [low - margin, high + margin]}
        if self.log:
            found |= log_ticks(self.low, self.high)
        if title:
            found["title"] = {"text": plain(name)}
        return found

    def places(self, values: Floats) -> Floats:
        """Where values lie on this axis, for a figure that has no log axis of its own; NaN for those without."""
        with np.errstate(all="ignore"):
            found = np.log10(values) if self.log else values
        return np.where(np.isfinite(found), found, math.nan)

    def ticks(self) -> tuple[list[float], list[str]] | None:
        """Ticks for `places`."""
        if not self.log:
            return None
        found = list(decades(self.low, self.high))
        return [math.log10(value) for value in found], [brief(value) for value in found]

    def told(self) -> list[str]:
        """What the axis does not show, in sentences."""
        said = []
        if self.off > self.not_positive:
            them = self.off - self.not_positive
            said.append(
                f"{them:,} value{' lies' if them == 1 else 's lie'} off the axis: double-click to see all."
            )
        if self.not_positive:
            them = self.not_positive
            said.append(f"{them:,} value{'' if them == 1 else 's'} of 0 or less cannot be on a log axis.")
        return said


def log_ticks(low: float, high: float) -> dict[str, Any]:
    """Of a log axis that shows these values: plotly's own would be 10⁻¹ in a large font and 5 in a small one."""
    found = list(decades(low / 1.2, high * 1.2))
    return {"tickvals": found, "ticktext": [brief(value) for value in found]}


def decades(low: float, high: float) -> Iterable[float]:
    """1, 2 and 5 times the powers of ten from low to high, or these alone, or every other of them."""
    spread = math.log10(high / low) if low > 0 else 0.0
    every = max(math.ceil(spread / 6), 1)
    for power in range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1):
        for factor in (1,) if spread > 2.2 else (1, 2, 5):
            value = float(f"{factor}e{power}")
            if power % every == 0 and low * 0.999 <= value <= high * 1.001:
                yield value


def brief(value: float) -> str:
    """A label of a tick."""
    return f"{value:.5g}" if 1e-4 <= abs(value) < 1e6 else f"{value:.5g}".replace("e-0", "e-").replace("e+0", "e")


def spread_of(trial: Ints, *, up: bool = False) -> Floats:
    """For each trial a number from -0.5 to 0.5, always the same, those of neighbours far apart; ``up``: another
    one, for a second axis (the R2 sequence, Roberts 2018)."""
    return np.asarray((trial * (0.5698402910 if up else 0.7548776662)) % 1 - 0.5, np.float64)


def told(axis: ParamAxis, value: Any) -> str:
    """One param of a trial: ``lr 0.04829``."""
    return f"{plain(axis.name, 40)} {number(value)}"


def _key(value: Any) -> tuple[bool, Any]:
    """Equal for values that are equal in JSON: true is not 1."""
    return isinstance(value, bool), value


def _float(value: Any) -> float:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else math.nan

"""Where an axis has its ticks: few round numbers, written so that they can be told apart."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from caviar.messages import Floats

PARTS = (1, 2, 5)
"""Ticks lie apart by one of these times a power of ten."""

LOG_FROM = 100.0
"""Positive values that span more than this factor are drawn on a logarithmic axis, unless asked otherwise."""

SAME = 1e-9
"""Bounds that differ by less than this share of them are one value: closer ones would show the steps of floats."""

TINY = 1e-305
"""Bounds that differ by less than this are one value: floats that small have no room for ticks between them."""

MOST = 50
"""No axis needs more ticks."""

_LOGS = (math.log(sys.float_info.min), math.log(sys.float_info.max) - 1e-9)
"""Of the least and the greatest float."""

_EVERY = (1, 2, 3, 5, 10, 20, 50, 100, 200, 500, 1000)


@dataclass(frozen=True, slots=True)
class Tick:
    """A value on an axis, and how it is written there."""

    value: float
    label: str


@dataclass(frozen=True, slots=True)
class Axis:
    """The bounds of an axis, ``low`` < ``high``, and how values lie between them."""

    low: float
    high: float
    log: bool = False

    @classmethod
    def of(cls, low: float, high: float, *, log: bool | None = None) -> Axis:
        """An axis for finite values from ``low`` to ``high``; a single one lies in its middle. ``log``: with None,
        where the values are positive and span more than `LOG_FROM`; it needs positive values."""
        if log is None:
            log = low > TINY and high / LOG_FROM > low
        if high / 2 - low / 2 > max(SAME * max(abs(low), abs(high)), TINY):
            return cls(low, high, log)
        most = sys.float_info.max
        if log:
            low = max(low / 2, sys.float_info.min)
            return cls(low, 2 * min(max(high, 2 * low), most / 2), log)
        around = max(abs(low), abs(high)) / 2
        around = around if around > TINY else 1.0
        return cls(max(low - around, -most), min(high + around, most), log)

    def shares(self, values: Floats) -> Floats:
        """Where values lie: 0 at the low end, 1 at the high one."""
        if self.log:
            begin, end = math.log(self.low), math.log(self.high)
            shares: Floats = (np.log(values) - begin) / (end - begin)
            return shares
        # halves, since the whole span may be more than a float can hold
        return (values / 2 - self.low / 2) / (self.high / 2 - self.low / 2)

    def at(self, share: float) -> float:
        """The value that lies at a share of the height, also beyond the ends; as far as floats go."""
        if self.log:
            height = math.log(self.low) + share * (math.log(self.high) - math.log(self.low))
            return math.exp(min(max(height, _LOGS[0]), _LOGS[1]))
        most = sys.float_info.max
        return 2 * min(max(self.low / 2 + share * (self.high / 2 - self.low / 2), -most / 2), most / 2)


def ticks(axis: Axis, most: int) -> list[Tick]:
    """Round numbers between the bounds, rising: at most ``most``, and where that is possible at least two."""
    most = min(most, MOST)
    if axis.log:
        found = _powers(axis, most)
        if len(found) >= min(2, most):
            return found
    found = _chosen(axis.low, axis.high, most, _labelled)
    return [tick for tick in found if tick.value > 0] if axis.log else found


def step_ticks(low: int, high: int, most: int) -> list[Tick]:
    """The same for steps, which are whole numbers."""
    if low == high and most:
        return [Tick(low, step_label(low))]

    def whole(numbers: range, part: int, power: int) -> list[Tick]:
        steps = [number * part * 10**power for number in numbers] if power >= 0 else []
        return [Tick(step, step_label(step)) for step in steps if low <= step <= high]

    return _chosen(low, high, min(most, MOST), whole)


def step_label(step: int) -> str:
    """A step in few characters, where it is round: ``41``, ``12,500``, ``200k``, ``1.5M``."""
    if step >= 100_000:
        for size, unit in ((10**9, "G"), (10**6, "M"), (10**3, "k")):
            if step >= size and step % (size // 100) == 0:
                return f"{step / size:g}{unit}"
    return f"{step:,}"


def _chosen(low: float, high: float, most: int, make: Callable[[range, int, int], list[Tick]]) -> list[Tick]:
    """Of all round distances, the ticks of the smallest that has no more than ``most``; the outermost two of the
    next smaller one, if these are fewer than two."""
    finer: list[Tick] = []
    for part, power in _distances(low, high, most):
        step = float(f"{part}e{power}")
        numbers = range(math.ceil(low / step - SAME), math.floor(high / step + SAME) + 1)
        if len(numbers) > 4 * (most + 1):  # not even of use as the next smaller one
            continue
        found = make(numbers, part, power)
        if len(found) > most:
            finer = found
        elif found or finer:
            return [finer[0], finer[-1]][:most] if len(found) < min(2, most) and finer else found
    return []


def _distances(low: float, high: float, most: int) -> Iterator[tuple[int, int]]:
    """Round distances, rising: of the first there are too many between the bounds, of the last hardly one."""
    half = high / 2 - low / 2
    if most < 1 or not half > 0:
        return
    finest = math.floor(math.log10(half / most)) - 1
    for power in range(finest, finest + math.ceil(math.log10(most)) + 4):
        for part in PARTS:
            step = float(f"{part}e{power}")
            # a step below what floats can tell apart there makes no ticks
            if math.isfinite(step) and step > SAME / 1000 * max(abs(low), abs(high)):
                yield part, power


def _labelled(numbers: range, part: int, power: int) -> list[Tick]:
    """Multiples of a round number, all with the same digits."""
    values = [float(f"{number * part}e{power}") for number in numbers]  # 3 times 0.1 is a little more than 0.3
    largest = max(map(abs, values), default=0.0)
    if power >= -6 and largest < 1e6:
        return [Tick(value, f"{value:.{max(0, -power)}f}") for value in values]
    digits = max(0, math.floor(math.log10(largest)) - power) if largest else 0
    return [Tick(value, _short(f"{value:.{digits}e}")) for value in values]


def _powers(axis: Axis, most: int) -> list[Tick]:
    """Powers of ten, every so many; where they are few and there is room, 2 and 5 times them too."""
    first, last = math.ceil(math.log10(axis.low) - SAME), math.floor(math.log10(axis.high) + SAME)
    if most < 1:
        return []
    texts: list[str] = []
    for every in _EVERY:
        finer, texts = texts, [f"1e{power}" for power in range(-(-first // every) * every, last + 1, every)]
        if len(texts) <= most:
            if len(texts) < min(2, most) and finer:
                texts = [finer[0], finer[-1]]
            break
    if len(texts) < 3:
        parts = [f"{part}e{power}" for power in range(first - 1, last + 1) for part in PARTS]
        parts = [text for text in parts if axis.low <= float(text) <= axis.high]
        texts = parts if len(texts) < len(parts) <= most else texts
    values = [(float(text), text) for text in texts]
    return [Tick(value, f"{value:g}" if 1e-4 <= value < 1e6 else text) for value, text in values]


def _short(text: str) -> str:
    """Without what an exponent has to spare: ``1e-07`` is ``1e-7``."""
    mantissa, _, exponent = text.partition("e")
    return f"{mantissa}e{int(exponent)}" if float(mantissa) else "0"

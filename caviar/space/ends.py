"""The ends of a new range: where the best pile up at one, how far it may go, and in which digits."""

from __future__ import annotations

import math
import sys
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
import numpy.typing as npt

from caviar.errors import SpaceError
from caviar.space.parameters import Float, Int

WIDENED_BY = 0.25
"""A range goes past its end by so much of its old width, on its scale."""
NEAR = 0.1
"""So much of a range, at either end, counts as near the end."""
MANY = 0.3
"""So many of the best, at least, are near an end at which they pile up."""
EVIDENT = 0.02
"""And so seldom, at most, would chance put so many there."""
DIGITS = 3
"""New bounds are rounded to so many digits, outward."""

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Ends:
    """Where a range is to begin and end, as positions on its scale."""

    low: float
    high: float
    near_low: float
    near_high: float
    """Which share of the best is near each end of the old range."""
    past_low: bool
    past_high: bool
    """Whether the best pile up there."""

    @classmethod
    def of(
        cls,
        start: Floats,
        end: Floats,
        best: npt.NDArray[np.bool_],
        *,
        low: float,
        high: float,
        widen: bool,
    ) -> Self:
        """``low``, ``high``: where the best of all may lie; ``widen``: whether a range may go past its ends."""
        near_low, past_low = _pile(start, best)
        near_high, past_high = _pile(1 - end, best)
        past_low, past_high = widen and past_low and low <= 0, widen and past_high and high >= 1
        if past_low and past_high:  # at both ends: then neither says where to go
            past_low = past_high = False
        return cls(
            low=-WIDENED_BY if past_low else max(low, 0.0),
            high=1 + WIDENED_BY if past_high else min(high, 1.0),
            near_low=near_low,
            near_high=near_high,
            past_low=past_low,
            past_high=past_high,
        )


def _pile(distance: Floats, best: npt.NDArray[np.bool_]) -> tuple[float, bool]:
    """Which share of the best is near an end, and whether so many that it is no chance."""
    from scipy.stats import binom

    near = distance <= NEAR
    count, found = int(best.sum()), int((near & best).sum())
    expected = max(float(near.mean()), 1 / len(near))
    share = found / count
    return share, share >= MANY and float(binom.sf(found - 1, count, min(expected, 1.0))) <= EVIDENT


def new_range(old: Float | Int, ends: Ends) -> tuple[Float | Int, list[str]]:
    """The range between two positions, within the limits of its kind; and what there is to say of its ends."""
    least, most = limits(old)
    low: float
    high: float
    low = old.low if ends.low <= 0 and not ends.past_low else max(least, outward(old, ends.low, up=False))
    high = old.high if ends.high >= 1 and not ends.past_high else min(most, outward(old, ends.high, up=True))
    notes = []
    for past, share, end, new, limit in (
        (ends.past_low, ends.near_low, old.low, low, least),
        (ends.past_high, ends.near_high, old.high, high, most),
    ):
        if past:
            pile = f"{share:.0%} of them are near {end:.4g}"
            notes.append(f"{pile}, which is as far as it can go" if new == end == limit else f"{pile}, its end")
    if isinstance(old, Int) and low == high:
        low, high = (low - 1, high) if low > old.low else (low, high + 1)
    try:
        return replace(old, low=low, high=high), notes  # type: ignore[arg-type]  # whole where it must be
    except SpaceError:  # too close together to be told apart
        return old, notes


def limits(old: Float | Int) -> tuple[float, float]:
    """As far as a range may ever be widened.

    A log range stays above 0, and a one_minus_log range within 0 and 1. A range of positive numbers, or of
    negative ones, stays so; one from 1 on stays there where it is whole; one within 0 and 1 stays there.
    """
    least: float
    most: float
    if isinstance(old, Int):
        least = 1 if old.low >= 1 else 0 if old.low >= 0 else -(2**40)
        most = 0 if old.high <= 0 else 1 if least == 0 and old.high <= 1 else 2**40
        return least, most
    if old.scale == "one_minus_log":
        return old.low / 10, 1 - min(1e-12, (1 - old.high) / 10)
    if old.scale == "log":
        return sys.float_info.min, sys.float_info.max / 1e10
    least = 0.0 if old.low >= 0 else -sys.float_info.max / 4
    most = 0.0 if old.high <= 0 else 1.0 if least == 0 and old.high <= 1 else sys.float_info.max / 4
    return least, most


def outward(old: Float | Int, position: float, *, up: bool) -> float:
    """The bound at a position, rounded away from the range; one within the old range never leaves it by that."""
    try:
        value = old.value_at(position)
    except OverflowError:
        value = math.inf if up else -math.inf
    if isinstance(old, Int):
        if not math.isfinite(value):
            return 2**40 if up else -(2**40)
        value = math.floor(value) if up else math.ceil(value)  # those whose middle lies within
    elif math.isfinite(value):
        value = 1 - _rounded(1 - value, up=not up) if old.scale == "one_minus_log" else _rounded(value, up=up)
    if 0 <= position <= 1:
        value = min(max(value, old.low), old.high)
    return value


def _rounded(value: float, *, up: bool) -> float:
    """To a few digits, up or down."""
    if value == 0 or not math.isfinite(value):
        return value
    step = 10.0 ** (math.floor(math.log10(abs(value))) - DIGITS + 1)
    if step == 0:  # the least numbers there are
        return value
    whole = math.ceil(value / step - 1e-9) if up else math.floor(value / step + 1e-9)
    return float(f"{whole * step:.12g}")

"""What early stopping cost, estimated from trials that were spared. Pure: losses in, counts out.

Of the N trials that the scheduler would have stopped, chance alone let some run to their end. Given that the m of
them whose end is known are any m of the N, they are a simple random sample without replacement: so the number of
them that did better than a bar is hypergeometric, whatever the losses are and however the scheduler judges. The
bars must not depend on who was spared; those here are losses of trials that were kept on their merits.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from caviar.messages import Floats

LEVEL = 0.95
"""Of its intervals at least this part holds what it is about."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """How many of some trials have a property, judged by those of them that were drawn."""

    value: float
    low: int
    high: int
    """The 95% interval, both ends included."""

    def __str__(self) -> str:
        value = f"{self.value:.0f}" if self.value >= 1 or self.value == 0 else f"{self.value:.1g}"
        return f"{value} (95%: {self.low:,} to {self.high:,})"


@dataclass(frozen=True, slots=True, kw_only=True)
class ControlGroup:
    """What the spared trials tell of all those that were to be stopped."""

    population: int
    """N: the trials that were to be stopped, those spared among them."""
    spared: int
    """m: those of them that were spared, and whose end is known."""
    kept: int
    """Trials that came to their end on their merits."""
    top: int
    """How many trials "the best" are: a tenth of all, at least one, and no more than were kept."""
    found_above_best: int
    """How many of the m ended better than the best that was kept."""
    found_above_middle: int
    """How many of the m ended better than the middle one of those kept: of an even number the better one of
    two."""
    above_best: Estimate
    """How many of the N would have ended better than the best that was kept. Unbiased."""
    above_middle: Estimate
    """How many of the N would have ended better than the middle one of those kept. Unbiased."""
    among_top: Estimate
    """How many of the best ``top`` of all trials, had all run to their end, are among the N; ties go to those
    kept. The interval is exact as the others are; the value is not free of bias, as the bar itself is
    estimated."""


def estimate(found: int, drawn: int, population: int, *, level: float = LEVEL) -> Estimate:
    """How many of ``population`` have a property that ``found`` of ``drawn`` have, which were drawn without
    replacement.

    The value is unbiased. The interval holds those numbers that neither tail of the hypergeometric distribution
    rules out at (1 - level) / 2, as Clopper and Pearson's does for the binomial one: whatever the truth, it holds
    it at least so often as ``level`` says. With nothing drawn it is 0 to ``population``, and the value NaN.
    """
    if not 0 <= found <= drawn <= population:
        raise ValueError(f"{found} of {drawn} of {population}")
    if not drawn:
        return Estimate(math.nan, 0, population)
    least, most = found, population - (drawn - found)
    tail = (1 - level) / 2
    low = _first(least, most, lambda count: _at_least(found, count, drawn, population) > tail)
    high = _first(least, most, lambda count: _at_most(found, count + 1, drawn, population) <= tail)
    return Estimate(found / drawn * population, low, high)


def control_group(
    kept: Floats, spared: Floats, population: int, *, top: int | None = None, level: float = LEVEL
) -> ControlGroup | None:
    """Compare the losses at the end of trials that were kept with those of trials that were spared.

    ``kept``, ``spared``: one loss a trial, less is better, and ``inf`` for a trial that came to nothing.
    ``population``: how many were to be stopped, those spared among them. ``top``: how many "the best" are; None:
    a tenth of all trials here, rounded up. Ties are not better. None where nobody was kept, or nobody spared came
    to an end: nothing can be told then.
    """
    if not len(kept) or not len(spared):
        return None
    total = population + len(kept)
    bars = np.sort(kept)
    top = min(len(bars), max(1, math.ceil(total / 10) if top is None else top))
    above = np.searchsorted(np.sort(spared), bars, side="left")  # of each bar, how many spared ones did better
    drawn, best, middle = len(spared), int(above[0]), int(above[(len(bars) - 1) // 2])
    return ControlGroup(
        population=population,
        spared=drawn,
        kept=len(kept),
        top=top,
        found_above_best=best,
        found_above_middle=middle,
        above_best=estimate(best, drawn, population, level=level),
        above_middle=estimate(middle, drawn, population, level=level),
        among_top=_among(above[:top].tolist(), drawn, population, level=level),
    )


def _among(above: list[int], drawn: int, population: int, *, level: float) -> Estimate:
    """How many of the best of all are of the population, where ``above[j]`` of those drawn are better than the
    kept trial of rank j, and as many ranks are given as "the best" are.

    At most x of the q best are of the population exactly if at most x of it are better than the kept trial of
    rank q - x, which then is among the q best. So for each x one tail of one hypergeometric distribution tells
    whether it is too low, and one whether it is too high; both rise and fall with x, so that bisection finds the
    ends.
    """
    top, tail = len(above), (1 - level) / 2
    most = min(top, population)

    def found(ahead: int) -> int:
        """How many drawn ones are better than the kept trial that has so many kept ones ahead of it."""
        return above[ahead]

    def not_too_low(x: int) -> bool:
        return x == most or _at_least(found(top - x - 1), x, drawn, population) > tail

    def next_too_high(x: int) -> bool:
        return _at_most(found(top - x - 1), x + 1, drawn, population) <= tail

    def enough(x: int) -> bool:
        return x == top or found(top - x - 1) / drawn * population <= x

    value = _first(0, most, enough)
    return Estimate(float(value), _first(0, most, not_too_low), _first(0, most, next_too_high))


def _first(least: int, most: int, holds: Callable[[int], bool]) -> int:
    """The first whole number from ``least`` on of which this holds, as it does of all after it; ``most`` where
    there is none before."""
    return least + bisect_left(range(least, most), True, key=holds)


def _at_least(found: int, having: int, drawn: int, population: int) -> float:
    """How likely so many at least are among those drawn, if ``having`` of the population have the property."""
    from scipy.stats import hypergeom  # takes a while to import

    return float(hypergeom.sf(found - 1, population, having, drawn))


def _at_most(found: int, having: int, drawn: int, population: int) -> float:
    from scipy.stats import hypergeom

    return float(hypergeom.cdf(found, population, having, drawn))

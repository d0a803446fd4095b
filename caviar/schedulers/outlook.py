"""What a scheduler expects of a sweep before it runs: how many trials come to each rung, and past it."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

SMALLEST = 0.5
"""Without a max_step rungs go on for ever: those that fewer trials are expected at are not listed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RungAhead:
    """A rung that trials are to come to, and how many are expected."""

    step: int
    reach: float
    """Trials that are judged here."""
    go_on: float
    """Those of them that go on because they are good enough."""
    spared: float = 0.0
    """Those that are let go on to their end all the same."""
    scatter: float = 0.0
    """By how many the number that goes on varies from sweep to sweep, given how many come here: a standard
    deviation."""
    slope: float = 0.0
    """How many more go on for each more that comes here."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cohort:
    """Trials with the same rungs."""

    trials: float
    rungs: Sequence[RungAhead] = ()
    name: str | None = None
    """What tells it from the others; None: there is one."""

    @property
    def to_the_end(self) -> float:
        """How many are expected to train to their end."""
        last = self.rungs[-1].go_on if self.rungs else self.trials
        return last + sum(rung.spared for rung in self.rungs)

    def ends(self, limit: int) -> list[tuple[int, float]]:
        """Where trials are expected to end, and how many, where the rest ends at the step ``limit``."""
        stopped = [(rung.step, rung.reach - rung.go_on - rung.spared) for rung in self.rungs]
        return [*stopped, (limit, self.to_the_end)]

    def scatter(self, limit: int) -> float:
        """By how many steps all of them together vary from sweep to sweep: a standard deviation."""
        variance, worth, end = 0.0, 0.0, limit
        for rung in reversed(self.rungs):
            # what one more that goes on here brings: the way to the next rung, and what follows from there
            worth = end - rung.step + worth
            variance += (rung.scatter * worth) ** 2
            worth, end = rung.slope * worth, rung.step
        return math.sqrt(variance)


@dataclass(frozen=True, slots=True, kw_only=True)
class Outlook:
    """What is expected of so many trials."""

    cohorts: Sequence[Cohort]
    least_step: int | None = None
    """None: as the cohorts have it. Else how many stop depends on the curves alone: any number does, none before
    this step, and all may train to their end."""


def halving(
    trials: float,
    steps: Sequence[int],
    reduction_factor: float,
    *,
    spare: float = 0.0,
    name: str | None = None,
) -> Cohort:
    """What successive halving expects at the rungs at these steps, whatever the curves: where trials come in no
    particular order, the m-th to come is among the best k of the m with a chance of k / m."""
    rungs = []
    reach = trials
    for step in steps:
        go_on, scatter, slope = _pass(reach, reduction_factor)
        spared = spare * (reach - go_on)
        rung = RungAhead(
            step=step, reach=reach, go_on=go_on, spared=spared, scatter=scatter * (1 - spare), slope=slope
        )
        rungs.append(rung)
        reach = go_on
    return Cohort(trials=trials, rungs=rungs, name=name)


def listed(first: int | None, after: Callable[[int], int | None], *, begin: int, most: int) -> list[int]:
    """The steps of the rungs past ``begin``, at most so many."""
    steps: list[int] = []
    step = first
    while step is not None and len(steps) < most:
        if step > begin:
            steps.append(step)
        step = after(step)
    return steps


def halvings(trials: float, reduction_factor: float) -> int:
    """After how many rungs fewer than `SMALLEST` trials are expected to be left."""
    return 1 + max(0, math.ceil(math.log(max(trials, 1.0) / SMALLEST) / math.log(reduction_factor)))


def _pass(reach: float, reduction_factor: float) -> tuple[float, float, float]:
    """How many of so many trials go on, its standard deviation, and the chance of one more."""
    come = np.arange(1, math.floor(reach) + 2)
    chance = np.maximum(1, np.floor(come / reduction_factor)) / come
    whole, more = chance[:-1], reach - math.floor(reach)
    go_on = float(whole.sum()) + more * float(chance[-1])
    return go_on, math.sqrt(float((whole * (1 - whole)).sum())), float(chance[-1])

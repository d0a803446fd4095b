"""A figure that is known about, and how it is worked out from expected trials and measured ones."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from caviar.forecast.timings import Timings
from caviar.schedulers.outlook import Outlook

NINE_IN_TEN = 1.645
"""Within so many standard deviations of the mean lie nine in ten."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """A figure that nobody knows exactly."""

    about: float | None
    """What is expected; None: anything between the other two."""
    least: float
    most: float
    """Nine times in ten the figure lies between these; without ``about`` always."""

    def times(self, factor: float) -> Estimate:
        """The same in other units."""
        about = None if self.about is None else self.about * factor
        return Estimate(about=about, least=self.least * factor, most=self.most * factor)

    @property
    def sure(self) -> bool:
        """Whether there is nothing to guess."""
        return self.least == self.most


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """The steps of a sweep, as far as they are known before."""

    steps: Estimate
    squares: float
    """The squares of the trials' own steps, added up: what a few long trials weigh."""
    ends: Sequence[tuple[int, float]]
    """After how many steps trials are expected to end, and how many of them; where no expectation can be told, all
    at the last."""


def work(outlook: Outlook, *, limit: int, begin: int) -> Work:
    """The steps that are expected of trials that begin after ``begin``, where those that are not stopped end at
    ``limit``."""
    ends = [(step - begin, count) for cohort in outlook.cohorts for step, count in cohort.ends(limit)]
    steps, squares = sum(step * count for step, count in ends), sum(step * step * count for step, count in ends)
    if outlook.least_step is not None:
        least = sum(cohort.trials for cohort in outlook.cohorts) * (min(outlook.least_step, limit) - begin)
        return Work(steps=Estimate(about=None, least=least, most=steps), squares=squares, ends=ends)
    if not outlook.rehearsed:
        return Work(steps=Estimate(about=steps, least=steps, most=steps), squares=squares, ends=ends)
    least, about, most = (float(each) for each in np.quantile(outlook.rehearsed, (0.05, 0.5, 0.95)))
    return Work(steps=Estimate(about=about, least=least, most=most), squares=squares, ends=ends)


def training_s(work: Work, timings: Timings, *, trials: int, workers: int) -> Estimate:
    """For how long trials train, all added up. Which settings go on is not known, and how long their steps take
    follows from their params: so the fewer trials were measured, and the fewer train most of the steps, the wider
    the range."""
    fixed = timings.start_s * trials + timings.setup_s * workers
    steps, pace, spread = work.steps, timings.mean_s, timings.spread_s
    if steps.about is None:
        off = NINE_IN_TEN * spread / math.sqrt(timings.trials)
        slow = pace + off + NINE_IN_TEN * spread * math.sqrt(work.squares) / max(steps.most, 1.0)
        return Estimate(
            about=None,
            least=fixed + steps.least * max(pace - off, timings.fastest_s),
            most=fixed + steps.most * slow,
        )
    # of the steps, of the trials that train them, and of the mean of those measured
    scatter = (steps.most - steps.least) / (2 * NINE_IN_TEN)
    variance = (pace * scatter) ** 2 + spread**2 * (work.squares + steps.about**2 / timings.trials)
    off = NINE_IN_TEN * math.sqrt(variance)
    about = fixed + steps.about * pace
    least = max(about - off, fixed + steps.least * timings.fastest_s)
    return Estimate(about=about, least=min(least, about), most=about + off)


def wall_s(training: Estimate, *, longest_s: float, workers: int) -> Estimate:
    """How long it takes with so many at once: their share, and at the end the wait for the last trial.
    ``longest_s``: that of a trial that trains to its end."""
    about = None if training.about is None else max(training.about / workers, longest_s)
    most = training.most / workers + longest_s * (1 - 1 / workers)
    least = training.least / workers
    if about is not None:
        least, most = min(least, about), max(most, about)
    return Estimate(about=about, least=least, most=most)

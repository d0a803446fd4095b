"""How long a sweep with stages takes, played through: each stage waits for half of the one before it."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from caviar.forecast.estimate import Estimate, Work
from caviar.forecast.timings import Timings

TIMES = 40
"""Played so often, each time with the trials in another order."""


def waits(stages: Sequence[int], workers: int) -> bool:
    """Whether workers are ever idle because a stage is not open yet. With twice as many trials as workers, half of
    a stage has ended when its last trial begins."""
    return any(count < 2 * workers for count in stages[:-1])


def staged_wall_s(
    training: Estimate, work: Work, timings: Timings, *, stages: Sequence[int], workers: int
) -> Estimate:
    """How long it takes with so many ``workers`` at once and so many trials in each of the ``stages``."""
    shares = []
    for number in range(TIMES):
        lengths = _lengths(work, timings, sum(stages), np.random.default_rng(number))
        wall = timings.setup_s + played(lengths.tolist(), stages, workers=workers)
        shares.append(wall / max(timings.setup_s * workers + float(lengths.sum()), 1e-9))
    least, about, most = (float(each) for each in np.quantile(shares, (0.05, 0.5, 0.95)))
    return Estimate(
        about=None if training.about is None else about * training.about,
        least=least * training.least,
        most=most * training.most,
    )


def played(lengths: Iterable[float], stages: Sequence[int], *, workers: int) -> float:
    """When the last trial ends, where whoever is free takes the next one, and a stage is open once half of the
    trials of the one before have ended."""
    left, free, opens_s = iter(lengths), [0.0] * workers, 0.0
    for count in filter(None, stages):
        ends = []
        for _ in range(count):
            ends.append(max(heapq.heappop(free), opens_s) + next(left))
            heapq.heappush(free, ends[-1])
        opens_s = sorted(ends)[(count - 1) // 2]
    return max(free)


def _lengths(work: Work, timings: Timings, trials: int, random: np.random.Generator) -> NDArray[np.float64]:
    """What each trial takes, in seconds: as many of each length as are expected, in any order."""
    steps, counts = (np.array(each, float) for each in zip(*sorted(work.ends), strict=True))
    upto = np.cumsum(np.maximum(counts, 0.0))
    place = np.searchsorted(upto, (np.arange(trials) + 0.5) / trials * upto[-1])
    pace = np.clip(random.normal(timings.mean_s, timings.spread_s, trials), timings.fastest_s, timings.slowest_s)
    lengths: NDArray[np.float64] = timings.start_s + random.permutation(steps[place]) * pace
    return lengths

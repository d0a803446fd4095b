"""What the trials say of one param: whether the best lie apart, and where the best of all may lie.

Tests are by permutation, within stages: which trials are the best is shuffled among those that were sampled from
the same space, so that how that space was sampled makes no difference (P. Good, *Permutation, Parametric and
Bootstrap Tests of Hypotheses*, 2005, chapter 3).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

PERMUTATIONS = 999
CELLS = 4_000_000
"""So many random numbers at most are drawn for one test."""
CONFIDENCE = 0.98
"""How surely a range holds the ends of where the best can lie, if they lie there evenly."""
GONE = 0.01
"""A value of a choice is removed only where chance would leave it out of the best so rarely, over all values."""
MIN_SEEN = 10
"""And only where it was tried so often."""


def lies_apart(position: Floats, best: Bools, stage: Ints, generator: np.random.Generator) -> float:
    """How probable it is that so many trials, picked at random, lie as much to one side, or as close together, as
    the best do: from above 0 to 1. By ranks, so that it is nothing to the test how the values are spread."""
    from scipy.stats import rankdata

    rank = rankdata(position) / (len(position) + 1)
    # each shuffle is judged as the best are: by the greater of two deviations, both in their standard units
    rows = [np.flatnonzero(best), *_shuffled(best, stage, generator)]
    picked = rank[np.stack(rows)]
    mean, spread = picked.mean(axis=1), picked.std(axis=1)
    aside = np.abs(mean - mean[1:].mean()) / max(mean[1:].std(), 1e-12)
    close = (spread[1:].mean() - spread) / max(spread[1:].std(), 1e-12)
    found = np.maximum(aside, close)
    return float((found >= found[0] - 1e-9).sum() / len(found))


def _shuffled(best: Bools, stage: Ints, generator: np.random.Generator) -> Iterator[Ints]:
    """Rows picked at random, as many of each stage as are among the best."""
    stages = [np.flatnonzero(stage == each) for each in np.unique(stage)]
    counts = [int(best[rows].sum()) for rows in stages]
    for _ in range(max(199, min(PERMUTATIONS, CELLS // len(best)))):
        parts = [
            generator.choice(rows, count, replace=False)
            for rows, count in zip(stages, counts, strict=True)
            if count
        ]
        yield np.concatenate(parts)


def region(start: Floats, end: Floats, best: Bools, *, margin: float) -> tuple[float, float]:
    """From where to where the best of all may lie: as far as the best trials lie, and farther at either end by
    what so few trials may have missed. ``start``, ``end``: the coordinates that the value of each trial owns.

    If the best are spread evenly between two unknown ends, their least and greatest lie within the ends by a gap
    that exceeds ``width * (a ** (-1 / (count - 1)) - 1)`` with probability a (the maximum of a uniform sample;
    see H. A. David and H. N. Nagaraja, *Order Statistics*, 2003). It is at least ``margin`` of the width, and goes
    up to the next trial that was not among the best, as on a grid the best of all may lie in between.
    """
    low, high, count = float(start[best].min()), float(end[best].max()), int(best.sum())
    width = high - low
    missed = width * ((1 - CONFIDENCE) ** (-1 / (count - 1)) - 1)
    added = max(missed, margin * width)
    points = start[start == end]
    below, above = points[points < low], points[points > high]
    return (
        min(low - added, float(below.max())) if len(below) else low - added,
        max(high + added, float(above.min())) if len(above) else high + added,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class ChoiceEvidence:
    """What the best say of a choice, one entry a value."""

    p: float
    """How probable it is that trials picked at random have its values so unevenly."""
    among_best: Floats
    among_all: Floats
    """Shares."""
    lift: Floats
    """How much more often a value is among the best than among all: the mean of the posterior, with as many trials
    added as there are values, spread as all are."""
    kept: Bools


def choice_evidence(
    place: Ints, best: Bools, stage: Ints, *, values: int, generator: np.random.Generator
) -> ChoiceEvidence:
    """What the best say of the values of a choice. ``place``: which value each trial has."""
    from scipy.stats import hypergeom

    tried = np.bincount(place, minlength=values).astype(np.float64)
    rows = [np.flatnonzero(best), *_shuffled(best, stage, generator)]
    picked = np.stack([np.bincount(place[each], minlength=values) for each in rows])
    expected = np.maximum(picked[1:].mean(axis=0), 1e-12)
    found = ((picked - expected) ** 2 / expected).sum(axis=1)
    seen, count = picked[0], len(rows[0])
    share = tried / len(place)
    lift = np.ones(values)
    there = tried > 0
    lift[there] = (seen[there] + values * share[there]) / ((count + values) * share[there])
    by_chance = hypergeom.cdf(seen, len(place), tried.astype(np.int64), count)
    gone = (seen == 0) & (tried >= MIN_SEEN) & (by_chance < GONE / values)
    return ChoiceEvidence(
        p=float((found >= found[0] - 1e-9).sum() / len(found)),
        among_best=seen / count,
        among_all=share,
        lift=lift,
        kept=~gone,
    )

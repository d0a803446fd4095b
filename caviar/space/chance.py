"""What the trials say of one param: whether the best lie apart, and where the best of all may lie.

Tests are by permutation, within stages: which trials are the best is shuffled among those that were sampled from
the same space, so that how that space was sampled makes no difference (P. Good, *Permutation, Parametric and
Bootstrap Tests of Hypotheses*, 2005, chapter 3).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

SHUFFLES, LEAST_SHUFFLES = 999, 199
CELLS = 4_000_000
"""So many random numbers at most are drawn for one test."""
OUTLIERS = 1 / 30
"""So many of the best, at either end, do not say where a range ends: with noise some are among them by luck."""
MANY = 10_000
"""Of more trials, one may be picked twice: that is quicker, and errs towards chance."""
GONE = 0.01
"""A value of a choice is removed only where chance would leave it out of the best so rarely, over all values."""
MIN_SEEN = 10
"""And only where it was tried so often, in the stages that have some of the best."""


def shuffles(best: Bools, stage: Ints, generator: np.random.Generator) -> Ints:
    """The rows of the best, and below them rows picked at random, as many of each stage as are among the best: of
    shape (1 + shuffles, best)."""
    count = max(LEAST_SHUFFLES, min(SHUFFLES, CELLS // len(best)))
    parts = []
    for each in np.unique(stage):
        rows = np.flatnonzero(stage == each)
        picks = int(best[rows].sum())
        if picks:
            if len(rows) > MANY:
                parts.append(rows[generator.integers(len(rows), size=(count, picks))])
                continue
            keys = generator.random((count, len(rows)))
            parts.append(rows[np.argpartition(keys, picks - 1, axis=1)[:, :picks]])
    return np.concatenate([np.flatnonzero(best)[None, :], np.concatenate(parts, axis=1)])


def lies_apart(coordinate: Floats, picked: Ints) -> float:
    """How probable it is that so many trials, picked at random, lie as much to one side, or as close together, as
    the best do: from above 0 to 1. By ranks, so that it is nothing to the test how the values are spread.
    ``picked``: as `shuffles` gives them."""
    from scipy.stats import rankdata

    rank = rankdata(coordinate)[picked] / (len(coordinate) + 1)
    mean, spread = rank.mean(axis=1), rank.std(axis=1)
    # each pick is judged as the best are: by the greater of two deviations, both in their standard units
    aside = np.abs(mean - mean[1:].mean()) / max(mean[1:].std(), 1e-12)
    close = (spread[1:].mean() - spread) / max(spread[1:].std(), 1e-12)
    found = np.maximum(aside, close)
    return float((found >= found[0] - 1e-9).mean())


def outliers(count: int) -> int:
    """Of so many best trials, how many at either end do not say where the range ends."""
    return int(count * OUTLIERS)


def region(
    start: Floats, end: Floats, best: Bools, *, first: Bools, margin: float, missed: float
) -> tuple[float, float]:
    """From where to where the best of all may lie: as far as the best trials lie, and farther at either end by
    what so few trials may have missed. ``start``, ``end``: the coordinates that the value of each trial owns.

    If the best are spread evenly between two unknown ends, their least and greatest lie within the ends by a gap
    that exceeds ``width * (a ** (-1 / (count - 1)) - 1)`` with probability a (the maximum of a uniform sample;
    see H. A. David and H. N. Nagaraja, *Order Statistics*, 2003): a is ``missed``. It is at least ``margin`` of
    the width, and goes up to the next trial that was not among the best, as on a grid the best of all may lie in
    between. ``first``: the very best, which are never left out.
    """
    count = int(best.sum())
    out = outliers(count)
    low = min(float(np.sort(start[best])[out]), float(start[first].min()))
    high = max(float(np.sort(end[best])[count - 1 - out]), float(end[first].max()))
    added = (high - low) * max(margin, missed ** (-1 / (count - 1)) - 1)
    points = start[(start == end) & ~best]
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
    """How much more often a value is among the best than by chance, as each stage tried it: the mean of the
    posterior, with as many trials added as there are values, spread as chance spreads them. 1 for a value that no
    stage with some of the best tried."""
    kept: Bools


def choice_evidence(place: Ints, picks: Ints, *, stage: Ints, values: int) -> ChoiceEvidence:
    """What the best say of the values of a choice. ``place``: which value each trial has; ``picks``: as `shuffles`
    gives them."""
    from scipy.stats import hypergeom

    everywhere = np.bincount(place, minlength=values).astype(np.float64)
    # in a stage that has none of the best, how often a value was tried says nothing of it
    tried = np.bincount(place[np.isin(stage, stage[picks[0]])], minlength=values)
    picked = np.stack([(place[picks] == value).sum(axis=1) for value in range(values)], axis=1)
    expected = np.maximum(picked[1:].mean(axis=0), 1e-12)
    found = ((picked - expected) ** 2 / expected).sum(axis=1)
    seen, count = picked[0], picks.shape[1]
    share = expected / count
    lift = np.where(tried > 0, (seen + values * share) / ((count + values) * share), 1.0)
    # exactly, stage by stage: how probable it is that none of the best has the value
    by_chance = np.ones(values)
    for each in np.unique(stage):
        here = np.bincount(place[stage == each], minlength=values)
        by_chance *= hypergeom.pmf(0, here.sum(), here, int((stage[picks[0]] == each).sum()))
    gone = (seen == 0) & (tried >= MIN_SEEN) & (by_chance < GONE / values)
    return ChoiceEvidence(
        p=float((found >= found[0] - 1e-9).mean()),
        among_best=seen / count,
        among_all=everywhere / len(place),
        lift=lift,
        kept=~gone,
    )

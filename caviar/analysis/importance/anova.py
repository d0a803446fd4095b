"""Shares of the variance of the scores, by analysis of variance over groups of trials.

The share of one param is Kelley's epsilon squared (1935): the variance between the means of its groups less what
the scatter within the groups alone would make of them, over the whole variance. That is the first-order index of
functional ANOVA (Sobol 1993; Hutter, Hoos and Leyton-Brown 2014) with groups of sampled trials in place of a
forest's leaves, and without its bias: noise adds nothing to it on average, so that it may come out below 0. The
share of a pair is what a table of both explains beyond the sum of its rows' and columns' effects, corrected in the
same way.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import sparse

from caviar.analysis.importance.columns import MIN_TRIALS, Column, groups_for, groups_of_pairs_for
from caviar.analysis.importance.record import LEVEL
from caviar.messages import Floats, Ints

SHUFFLES = 199
RESAMPLES = 200
FAMILY = 0.95
"""In so many shuffles none of all params comes out above its noise."""
ROUNDS = 3
"""So often the params that matter are taken off, and the others looked at again."""
TINY = 1e-12
MIN_FREE = 10
"""A table of pairs needs so many more trials than it has cells."""
PAIR_TRIALS = (500, 4_000)
"""Pairs are looked at in so many trials at most, drawn at random: the fewer, the more pairs there are."""
PAIR_WORK = 240_000
"""So many trials in all pairs together take a few seconds."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Effects:
    """Shares of several params or pairs, in their order; NaN where too few trials tell."""

    share: Floats
    low: Floats
    high: Floats
    noise: Floats


@dataclass(frozen=True, slots=True, eq=False)
class Draws:
    """Shuffles and resamples of the trials: the same for all params, one a column."""

    order: Ints
    weight: Floats
    """How often each trial is in each resample."""

    @classmethod
    def of(cls, count: int, rng: np.random.Generator) -> Draws:
        order = rng.permuted(np.tile(np.arange(count), (SHUFFLES, 1)), axis=1).T
        picks = rng.integers(count, size=(RESAMPLES, count)) + count * np.arange(RESAMPLES)[:, None]
        weight = np.bincount(picks.ravel(), minlength=count * RESAMPLES).reshape(RESAMPLES, count).T
        return cls(np.ascontiguousarray(order), weight.astype(np.float64))


def one_by_one(columns: Sequence[Column], score: Floats, rng: np.random.Generator) -> tuple[Effects, Floats]:
    """The share of each param alone, of the variance among the trials that have it; and what those that matter
    leave of the scores.

    What the others that matter explain is taken off first, since next to a param that decides nearly everything a
    lesser one would drown: least squares on the groups of all of them (Type II sums of squares).
    """
    draws = Draws.of(len(score), rng)
    names: list[str] = []
    for _ in range(ROUNDS):
        known = [column for column in columns if column.name in names]
        found = effects([_alone(column, score, known, draws) for column in columns])
        before, names = names, _telling(columns, found, len(score))
        if set(names) == set(before):
            break
    rest, spent = _without(score, [column for column in columns if column.name in names])
    # the fit took a part of what pairs do with it, by chance
    return found, rest * (len(score) / (len(score) - spent))


def _telling(columns: Sequence[Column], found: Effects, count: int) -> list[str]:
    """The params that stand out, the greatest first, as many as the trials can carry."""
    names, spent = [], 0
    for place in np.argsort(-found.share, kind="stable").tolist():
        column = columns[place]
        spent += len(np.unique(column.groups(groups_for(count)))) - 1
        stands_out = found.share[place] > found.noise[place] and found.low[place] > 0
        if stands_out and len(column.rows) == count and spent <= count // 4:
            names.append(column.name)
    return names


def _without(score: Floats, columns: Sequence[Column], own: Column | None = None) -> tuple[Floats, int]:
    """The scores less what these params explain by adding up, and the degrees of freedom that this took.

    ``own`` is fitted with them but not taken off, so that they do not get what is its due.
    """
    if not columns:
        return score, 0
    fitted = [*columns, own] if own is not None and len(own.rows) == len(score) else columns
    sides = [_indicator(column.groups(groups_for(len(score)))) for column in fitted]
    off = sum(side.shape[0] for side in sides[: len(columns)])
    design = sparse.vstack(sides).tocsr()
    normal = (design @ design.T).toarray()
    normal[np.diag_indices_from(normal)] += 1e-6  # all of them share the mean
    centred = score - score.mean()
    effect = np.linalg.solve(normal, design @ centred)
    rest: Floats = centred - design[:off].T @ effect[:off]
    return rest, off - len(columns)


def _alone(column: Column, score: Floats, known: Sequence[Column], draws: Draws) -> tuple[float, Floats, Floats]:
    """The share of a param: as it is, in the shuffles, in the resamples."""
    rest, spent = _without(score, [other for other in known if other.name != column.name], column)
    groups = column.groups(groups_for(len(column.rows)))
    spent = spent * len(column.rows) // len(score)

    def share(values: Floats, weight: Floats | None = None) -> Floats:
        return _share(groups, values, weight, spent=spent)

    once, shuffled, resampled = _looked_at(share, rest, score, column.rows, draws)
    # shuffled scores are not fitted beside the others again, so their means scatter too little
    return once, shuffled * len(column.rows) / (len(column.rows) - spent), resampled


def _looked_at(
    share: Callable[..., Floats], rest: Floats, score: Floats, rows: Ints, draws: Draws
) -> tuple[float, Floats, Floats]:
    """The share of something in what the others leave, in parts of the whole: as it is, shuffled, resampled."""
    own, whole, weight = rest[rows][:, None], score[rows][:, None], draws.weight[rows]
    one = np.ones((len(rows), 1))
    left, squares = _squares(own, one), _squares(whole, one)
    if left[0] < 1e-9 * squares[0]:  # nothing is left to decide
        return 0.0, np.zeros(SHUFFLES), np.zeros(RESAMPLES)
    part = left / np.maximum(squares, TINY)
    parts = _squares(own, weight) / np.maximum(_squares(whole, weight), TINY)
    return float((part * share(own))[0]), part * share(rest[draws.order[rows]]), parts * share(own, weight)


def pairs_of(
    columns: Sequence[Column], score: Floats, rest: Floats, rng: np.random.Generator
) -> tuple[list[Pair], Effects]:
    """The share that each two params decide together, beyond what each decides alone. ``rest``: the scores less
    what single params decide."""
    fewest, most = PAIR_TRIALS
    limit = max(fewest, min(most, PAIR_WORK // max(1, math.comb(len(columns), 2))))
    if len(score) > limit:
        kept = np.sort(rng.choice(len(score), limit, replace=False))
        columns = [column.among(kept) for column in columns]
        score, rest = score[kept], rest[kept]
    draws = Draws.of(len(score), rng)
    pairs, found = [], []
    for first, second in itertools.combinations(columns, 2):
        rows, here, there = np.intersect1d(first.rows, second.rows, assume_unique=True, return_indices=True)
        table = _Table.of(first, second, here, there)
        if table is None:
            continue
        pairs.append(Pair(first.name, second.name, len(rows)))
        found.append(_looked_at(table.share, rest, score, rows, draws))
    return pairs, effects(found)


@dataclass(frozen=True, slots=True)
class Pair:
    first: str
    second: str
    trials: int


def effects(found: Sequence[tuple[float, Floats, Floats]]) -> Effects:
    """What was found of each, of each in the shuffles, and of each in the resamples."""
    share = np.array([each for each, _, _ in found], np.float64)
    shuffled = np.array([each for _, each, _ in found], np.float64).reshape(len(found), -1 if found else 0)
    resampled = np.array([each for _, _, each in found], np.float64).reshape(len(found), -1 if found else 0)
    told = ~np.isnan(share)
    low, high, noise = (np.full(len(found), np.nan) for _ in range(3))
    if told.any():
        # a resample takes the noise of the sample for an effect, so only its spread counts
        spread = resampled[told] - np.nanmean(resampled[told], axis=1, keepdims=True)
        low[told] = share[told] + np.nanquantile(spread, (1 - LEVEL) / 2, axis=1)
        high[told] = share[told] + np.nanquantile(spread, (1 + LEVEL) / 2, axis=1)
        # the greatest of all decides, as Westfall and Young (1993) have it: of many params some are lucky
        scale = np.maximum(np.sqrt(np.nanmean(shuffled[told] ** 2, axis=1)), 1e-12)
        greatest = np.nanmax(shuffled[told] / scale[:, None], axis=0)
        noise[told] = scale * np.quantile(greatest, FAMILY)
    clipped = (np.clip(each, 0.0, 1.0) for each in (share, low, high, noise))
    return Effects(**dict(zip(("share", "low", "high", "noise"), clipped, strict=True)))


def _indicator(groups: Ints) -> sparse.csr_matrix:
    """A row a group with a 1 for each trial in it."""
    count = len(groups)
    return sparse.csr_matrix((np.ones(count), (groups, np.arange(count))))


def _share(groups: Ints, score: Floats, weight: Floats | None = None, *, spent: int = 0) -> Floats:
    """Epsilon squared, for each column of the scores, or of the weights."""
    indicator = _indicator(groups)
    free = len(groups) - indicator.shape[0] - spent
    one = np.ones((len(score), 1)) if weight is None else weight
    if free < 1 or len(groups) < MIN_TRIALS:
        return np.full(max(score.shape[1], one.shape[1]), np.nan)
    total, weighted = _around_mean(score, one)
    between = _explained(indicator, weighted, one)
    # means that are fitted beside others scatter a little more
    chance = (indicator.shape[0] - 1) * (total - between) / free * len(groups) / (len(groups) - spent)
    return _ratio(between - chance, total)


def _squares(score: Floats, weight: Floats) -> Floats:
    return _around_mean(score, weight)[0]


def _around_mean(score: Floats, weight: Floats) -> tuple[Floats, Floats]:
    """The sum of squares around the mean, and the weighted scores around it; of each column."""
    centred = score - (weight * score).sum(axis=0) / np.maximum(weight.sum(axis=0), 1)
    weighted = weight * centred
    return (weighted * centred).sum(axis=0), weighted


def _explained(indicator: sparse.csr_matrix, weighted: Floats, weight: Floats) -> Floats:
    """The sum of squares of the means of groups."""
    squares: Floats = (indicator @ weighted) ** 2 / np.maximum(indicator @ weight, 1)
    return np.asarray(squares.sum(axis=0), np.float64)


def _ratio(part: Floats, total: Floats) -> Floats:
    return np.asarray(np.divide(part, total, out=np.full(len(total), np.nan), where=total > TINY), np.float64)


@dataclass(frozen=True, slots=True, eq=False)
class _Table:
    """The trials that have both params, by the groups of either."""

    cells: sparse.csr_matrix
    rows: Ints
    """The row of each cell that has trials."""
    columns: Ints
    free: int
    """Degrees of freedom within the cells."""

    @classmethod
    def of(cls, first: Column, second: Column, here: Ints, there: Ints) -> _Table | None:
        """None where there are too few trials, or one of the two does not vary among them."""
        count = len(here)
        if not count:
            return None
        most = groups_of_pairs_for(count)
        rows = np.unique(first.groups(most)[here], return_inverse=True)[1]
        columns = np.unique(second.groups(most)[there], return_inverse=True)[1]
        height, width = int(rows.max()) + 1, int(columns.max()) + 1
        used, cell = np.unique(rows * width + columns, return_inverse=True)
        free, together = count - len(used), len(used) - (height + width - 1)
        if min(height, width) < 2 or together < 1 or free < max(MIN_FREE, count // 4):
            return None
        return cls(_indicator(cell), used // width, used % width, free)

    def share(self, score: Floats, weight: Floats | None = None) -> Floats:
        """What the table explains beyond its rows and columns, for each column of scores or weights."""
        one = np.ones((len(score), 1)) if weight is None else weight
        total, weighted = _around_mean(score, one)
        within = total - _explained(self.cells, weighted, one)
        together = len(self.rows) - (self.rows.max() + self.columns.max() + 1)
        added = self._added(self.cells @ weighted, self.cells @ one)
        return _ratio(total - within - added - together * within / self.free, total)

    def _added(self, sums: Floats, counts: Floats) -> Floats:
        """The sum of squares that rows and columns explain by adding up: least squares on the cells."""
        height = int(self.rows.max()) + 1
        size = height + int(self.columns.max()) + 1
        cell = np.arange(len(self.rows))
        sides = np.zeros((size, len(cell)))
        sides[self.rows, cell] = sides[height + self.columns, cell] = 1
        right = sides @ sums
        normal = np.einsum("ic,cb,jc->bij", sides, counts, sides, optimize=True)
        # rows and columns share the mean, and a resample may lack some
        normal[:, np.arange(size), np.arange(size)] += 1e-6
        solved = (
            np.linalg.solve(normal[0], right)
            if len(normal) == 1
            else np.linalg.solve(normal, right.T[:, :, None])[:, :, 0].T
        )
        return (solved * right).sum(axis=0)  # type: ignore[no-any-return]

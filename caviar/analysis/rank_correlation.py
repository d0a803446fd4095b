"""How alike two rankings are, where some of what is ranked stands for several."""

from __future__ import annotations

import math

import numpy as np

from caviar.messages import Floats


def rank_correlation(one: Floats, other: Floats, weight: Floats | None = None) -> float:
    """Spearman's rank correlation of two columns of n values: 1 where both have the same order, -1 where it is
    turned around. Ties have the mean of their ranks, and ``inf`` is a value like any other. ``weight``: how many
    each row stands for; None: one each. NaN where there are fewer than two rows, or a column has one value alone.

    With weights it is Pearson's correlation of the weighted ranks, each row weighted; as the weighted sample
    grows, that comes to Spearman's of the population that it stands for.
    """
    if weight is None:
        weight = np.ones(len(one))
    if len(one) < 2:
        return math.nan
    first, second = _ranks(one, weight), _ranks(other, weight)
    total = weight.sum()
    first = first - (weight * first).sum() / total
    second = second - (weight * second).sum() / total
    scale = math.sqrt((weight * first**2).sum() * (weight * second**2).sum())
    if scale <= 1e-12 * total**3:  # all are tied: what is left of their ranks is rounding
        return math.nan
    return float(np.clip((weight * first * second).sum() / scale, -1.0, 1.0))


def _ranks(values: Floats, weight: Floats) -> Floats:
    """The middle of what each value takes up when all are laid end to end, in order."""
    order = np.argsort(values, kind="stable")
    ordered = values[order]
    begins = np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1]])
    widths = np.add.reduceat(weight[order], begins)
    middles = np.cumsum(widths) - widths / 2
    ranks = np.empty(len(values))
    ranks[order] = np.repeat(middles, np.diff(np.r_[begins, len(values)]))
    return ranks

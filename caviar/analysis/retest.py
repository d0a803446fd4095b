"""The statistics of a re-test: what seed noise alone does to settings that were chosen as the best of many.

The model: each setting i has a true value mu_i, and one training of it shows mu_i + sd * Z with Z standard normal;
sd, the seed noise, is the same for all settings that are compared. It is estimated from trainings of the same
setting from several seeds, pooled over settings, as in a one-way analysis of variance, and every p below takes
account of how few those were (as Student's t does).

Here more is better throughout; whoever minimises turns the values. Everything is in units of the metric but
``excess``, which is in units of the estimated sd.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

NODES = 121
"""Of the trapezoidal rule, over smooth functions that vanish at both ends: far more exact than a p is read."""
DRAWS = 20_000
CONFIDENCE = 0.95


@dataclass(frozen=True, slots=True)
class Noise:
    """The seed noise."""

    sd: float
    """Of one training; NaN where no setting was trained twice."""
    df: int
    """Degrees of freedom: trainings less settings."""

    @property
    def known(self) -> bool:
        """Whether anything can be said of it."""
        return self.df > 0


def mean(values: Sequence[float] | Floats) -> float:
    """The mean; of equal values exactly their value, so that no rounding is taken for noise. NaN of none."""
    if not len(values):
        return math.nan
    return float(values[0] + np.mean(np.asarray(values, float) - values[0]))


def pooled(groups: Sequence[Floats]) -> Noise:
    """The seed noise from the values of several settings, one array each: the root of the mean square within.
    Values have to be finite; arrays with fewer than two add nothing."""
    several = [np.asarray(values, float) for values in groups if len(values) > 1]
    df = sum(len(values) - 1 for values in several)
    if not df:
        return Noise(math.nan, 0)
    square = sum(float(((values - mean(values)) ** 2).sum()) for values in several)
    return Noise(math.sqrt(square / df), df)


def pooled_by_step(curves: Sequence[Floats]) -> list[Noise]:
    """The same at each step of curves, of shape (seeds, steps) for each setting; what is not finite is left
    out."""
    square, df = 0.0, 0
    for rows in curves:
        finite = np.isfinite(rows)
        count = finite.sum(axis=0)
        kept = np.where(finite, rows, 0.0)
        middle = kept.sum(axis=0) / np.maximum(count, 1)
        square = square + (np.where(finite, rows - middle, 0.0) ** 2).sum(axis=0)
        df = df + np.maximum(count - 1, 0)
    found = zip(np.atleast_1d(square).tolist(), np.atleast_1d(df).tolist(), strict=True)
    return [Noise(math.sqrt(one / free), free) if free else Noise(math.nan, 0) for one, free in found]


def half_width(noise: Noise, n: int) -> float:
    """Half of the 95% interval around a mean of ``n`` trainings (Student's t); NaN where the noise is unknown."""
    from scipy import stats

    if not noise.known or n < 1:
        return math.nan
    return float(stats.t.ppf((1 + CONFIDENCE) / 2, noise.df)) * noise.sd / math.sqrt(n)


def exceeds(difference: float, noise: Noise, *, rivals: Sequence[int], own: int) -> float:
    """The chance that the best of several means lies above another mean by ``difference`` or more, where all have
    the same true value.

    ``rivals``: of how many trainings each of those means is, ``own``: of how many the other one is. Where the
    others are truly worse, the chance is less. With one rival this is the one-sided t test; with several,
    Dunnett's comparison of many with one (Dunnett, "A multiple comparison procedure for comparing several
    treatments with a control", JASA 50, 1955), for means. NaN where the noise is unknown or there is nothing to
    compare."""
    if not noise.known or not rivals or own < 1:
        return math.nan
    if noise.sd == 0:
        return 0.0 if difference > 0 else 1.0
    spreads, counts = np.unique(1 / np.sqrt(np.asarray(rivals, float)), return_counts=True)
    return _tail(difference / noise.sd, spreads, counts, own=1 / math.sqrt(own), df=noise.df)


def falls(difference: float, noise: Noise, *, of: int, seeds: int) -> float:
    """At most this is the chance that a setting falls by ``difference`` or more from its recorded value to its
    mean over ``seeds`` trainings, where nothing has changed and it was chosen among ``of`` of one training each.

    The luck in the recorded value of whichever was chosen, however it was, is no greater than the greatest luck
    among all of them. So this is `exceeds` with as many rivals: an upper bound, whatever the true values are, and
    reached where all settings are equally good.
    """
    return exceeds(difference, noise, rivals=[1] * of, own=seeds)


def rises(difference: float, noise: Noise, *, seeds: int) -> float:
    """At most this is the chance that a setting rises by ``difference`` or more from its recorded value to its
    mean, where nothing has changed: being chosen for a high value makes bad luck in it less likely, never
    more."""
    return exceeds(difference, noise, rivals=[seeds], own=1)


def moves(difference: float, noise: Noise, *, of: int, seeds: int) -> float:
    """Two-sided: the p of a change from then to now, ``difference`` being now less then; twice that of the side
    that it lies on. Valid for a setting that was chosen, however, among ``of``. NaN where the noise is unknown."""
    fall = falls(-difference, noise, of=of, seeds=seeds)
    if math.isnan(fall):
        return math.nan
    return min(1.0, 2 * min(fall, rises(difference, noise, seeds=seeds)))


def all_move(differences: Floats, noise: Noise, *, of: int, seeds: Sequence[int]) -> float:
    """The same of the mean change of the best k of ``of`` settings: their luck together is no greater than that of
    the k luckiest. ``seeds``: of how many trainings each mean of now is.

    The distribution of the mean of the k greatest of n is drawn, 20,000 times, always the same: so no p is below
    0.0001.
    """
    k = len(differences)
    if not noise.known or not k:
        return math.nan
    change = mean(differences)
    if noise.sd == 0:
        return 0.0 if change else 1.0
    luck = _luck(k, of)
    rng = np.random.default_rng(1)
    now = rng.standard_normal(DRAWS) * math.sqrt(sum(1 / n for n in seeds)) / k
    scale = np.sqrt(rng.chisquare(noise.df, DRAWS) / noise.df)
    fall = (1 + int((luck - now >= -change / noise.sd * scale).sum())) / (1 + DRAWS)
    spread = math.sqrt(1 / k + sum(1 / n for n in seeds) / k**2)
    return min(1.0, 2 * min(fall, _t_tail(change / noise.sd / spread, noise.df)))


def expected_luck(k: int, of: int) -> float:
    """The mean luck of the ``k`` luckiest of so many trainings, in units of the noise: so far do the k best fall
    back, on average and at most, where they are trained again and nothing has changed."""
    return float(_luck(k, of).mean())


def differ(groups: Sequence[Floats]) -> float:
    """The p of the F test that several settings have one true value (one-way analysis of variance); NaN where
    there are fewer than two, or the noise is unknown."""
    from scipy import stats

    groups = [np.asarray(values, float) for values in groups if len(values)]
    noise = pooled(groups)
    if len(groups) < 2 or not noise.known:
        return math.nan
    sizes = np.array([len(values) for values in groups])
    means = np.array([mean(values) for values in groups])
    grand = float((sizes * means).sum() / sizes.sum())
    between = float((sizes * (means - grand) ** 2).sum()) / (len(groups) - 1)
    if noise.sd == 0:
        return 0.0 if between > 0 else 1.0
    return float(stats.f.sf(between / noise.sd**2, len(groups) - 1, noise.df))


def uneven(groups: Sequence[Floats]) -> float:
    """The p, at most, that the greatest of several settings' variances stands out so far, where all have the same
    noise (Cochran's C test, with the degrees of freedom of the smallest group); NaN where there are fewer than
    two, or nothing varies at all."""
    from scipy import stats

    variances = [pooled([values]).sd ** 2 for values in groups if len(values) > 1]
    k, df = len(variances), min((len(values) - 1 for values in groups if len(values) > 1), default=0)
    if k < 2 or not sum(variances):
        return math.nan
    share = max(variances) / sum(variances)
    return min(1.0, k * float(stats.beta.sf(share, df / 2, (k - 1) * df / 2)))


def order_kept(then: Floats, now: Floats) -> tuple[float, float]:
    """Kendall's tau-b between the order then and now, and its two-sided p, exact where nothing ties; NaN where
    there are fewer than two settings or all tie. (Kendall, "A new measure of rank correlation", Biometrika 30,
    1938.)"""
    from scipy import stats

    if len(then) < 2 or np.ptp(then) == 0 or np.ptp(now) == 0:
        return math.nan, math.nan
    found = stats.kendalltau(then, now)
    return float(found.statistic), float(found.pvalue)


def by_search_alone(better: int, *, fresh: int, of: int) -> float:
    """The chance that the best ``better`` of all settings are among ``fresh`` new ones rather than among the
    ``of`` that were tried before, where all were drawn alike and nothing has changed."""
    return math.prod((fresh - place) / (fresh + of - place) for place in range(better))


def parts(then: Floats, now: Floats, noise: Sequence[Noise], *, level: float = 0.01) -> int | None:
    """From which place on a curve stays outside of what seed noise explains, up to its end; None: it does not.

    ``then``: a curve of shape (steps,); ``now``: curves of the same setting, (seeds, steps), NaN where one lacks a
    value; ``noise``: at each step. At each step a two-sided t test at ``level``; values that are not finite count
    as inside.
    """
    count = np.isfinite(now).sum(axis=0)
    with np.errstate(all="ignore"):
        middle = np.where(np.isfinite(now), now, 0.0).sum(axis=0) / count
        sd = np.array([one.sd for one in noise])
        ratio = np.abs(middle - then) / (sd * np.sqrt(1 + 1 / count))
    limits = {df: _t_limit(level, df) for df in {one.df for one in noise}}
    outside = np.isfinite(middle) & np.isfinite(then) & (ratio > [limits[one.df] for one in noise])
    if not len(outside) or not outside[-1]:
        return None
    inside = np.flatnonzero(~outside)
    return int(inside[-1]) + 1 if len(inside) else 0


def _t_limit(level: float, df: int) -> float:
    from scipy import stats

    return float(stats.t.isf(level / 2, df)) if df else math.inf


def _t_tail(ratio: float, df: int) -> float:
    from scipy import stats

    return float(stats.t.sf(ratio, df))


@lru_cache(maxsize=2)
def _luck(k: int, of: int) -> Floats:
    """Draws of the mean of the ``k`` greatest of so many standard normals, without drawing them all: ``-log`` of
    uniforms has spacings that are exponential (Rényi, "On the theory of order statistics", 1953)."""
    from scipy import special

    spacings = np.random.default_rng(0).standard_exponential((DRAWS, k)) / (of - np.arange(k))
    above: Floats = -np.expm1(-np.cumsum(spacings, axis=1))
    found: Floats = -special.ndtri(above).mean(axis=1)
    return found


def _tail(excess: float, spreads: Floats, counts: npt.NDArray[np.int64], *, own: float, df: int) -> float:
    """P(max over j of spreads_j Z_j - own Z_0 >= excess S), S**2 a chi-square by its ``df`` degrees of freedom;
    there are ``counts`` of each spread."""
    from scipy import special, stats

    other = np.linspace(-9.0, 9.0, NODES)
    of_other = np.exp(-(other**2) / 2)
    # on the scale of logarithms both ends vanish smoothly, with few degrees of freedom too
    low, high = stats.chi2.ppf(1e-13, df), stats.chi2.isf(1e-13, df)
    log_square = np.linspace(math.log(low), math.log(high), NODES)
    log_density = stats.chi2.logpdf(np.exp(log_square), df) + log_square
    of_scale = np.exp(log_density - log_density.max())
    bound = excess * np.sqrt(np.exp(log_square) / df)[:, None] + own * other[None, :]
    none_above = sum(
        count * special.log_ndtr(bound / spread) for spread, count in zip(spreads, counts, strict=True)
    )
    weights = of_scale[:, None] * of_other[None, :]
    return float(np.clip((-np.expm1(none_above) * weights).sum() / weights.sum(), 0.0, 1.0))

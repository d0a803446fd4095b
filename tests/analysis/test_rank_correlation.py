"""Rank correlations, against scipy's and by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import spearmanr

from caviar.analysis.rank_correlation import rank_correlation


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("values", [4, 1000])
def test_it_is_spearmans(seed: int, values: int) -> None:
    rng = np.random.default_rng(seed)
    one, other = rng.integers(0, values, (2, 60)).astype(float)
    assert rank_correlation(one, other) == pytest.approx(spearmanr(one, other).statistic)


def test_a_row_that_stands_for_several_is_as_several_rows() -> None:
    rng = np.random.default_rng(1)
    one, other = rng.integers(0, 9, (2, 40)).astype(float)
    weight = rng.integers(1, 6, 40)
    whole = spearmanr(np.repeat(one, weight), np.repeat(other, weight)).statistic
    assert rank_correlation(one, other, weight.astype(float)) == pytest.approx(whole)
    assert rank_correlation(one, other, weight * 0.37) == pytest.approx(whole)


def test_order_is_all_that_counts() -> None:
    one = np.array([1.0, 2.0, 5.0, math.inf])
    assert rank_correlation(one, np.exp(-one)) == -1
    assert rank_correlation(one, np.arctan(one)) == 1


@pytest.mark.parametrize("rows", [0, 1])
def test_too_few_rows(rows: int) -> None:
    assert math.isnan(rank_correlation(np.zeros(rows), np.zeros(rows)))


@pytest.mark.parametrize("value", [0.1, math.inf])
def test_one_value_alone(value: float) -> None:
    one = np.full(7, value)
    assert math.isnan(rank_correlation(one, np.arange(7.0)))
    assert math.isnan(rank_correlation(np.arange(7.0), one, np.linspace(0.1, 0.7, 7)))


def test_a_weighted_sample_of_a_cut_population_comes_close_to_the_whole() -> None:
    """Kept ones alone are alike, and so tell little; with one in ten of the others they tell all."""
    rng = np.random.default_rng(3)
    end = rng.normal(size=20_000)
    rung = end + rng.normal(size=20_000)
    kept = rung < np.quantile(rung, 0.1)
    spared = ~kept & (rng.random(20_000) < 0.1)
    both = kept | spared
    weight = np.where(kept, 1.0, (~kept).sum() / spared.sum())[both]
    whole = spearmanr(rung, end).statistic
    assert rank_correlation(rung[both], end[both], weight) == pytest.approx(whole, abs=0.03)
    assert rank_correlation(rung[kept], end[kept]) < whole - 0.2

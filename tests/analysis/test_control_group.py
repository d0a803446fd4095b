"""The estimates from a control group, against every sample that there could be."""

from __future__ import annotations

import math
from itertools import combinations
from math import comb

import numpy as np
import pytest

from caviar.analysis.control_group import Estimate, control_group, estimate


def chance(found: int, having: int, drawn: int, population: int) -> float:
    """How likely a sample without replacement has so many."""
    return comb(having, found) * comb(population - having, drawn - found) / comb(population, drawn)


def within(estimated: Estimate, truth: int) -> bool:
    return estimated.low <= truth <= estimated.high


@pytest.mark.parametrize("population", [1, 2, 5, 13])
def test_whatever_the_truth_the_interval_holds_it_often_enough_and_the_value_is_right_on_average(
    population: int,
) -> None:
    for drawn in range(1, population + 1):
        for having in range(population + 1):
            held = mean = 0.0
            for found in range(max(0, drawn - (population - having)), min(drawn, having) + 1):
                told = estimate(found, drawn, population)
                held += chance(found, having, drawn, population) * within(told, having)
                mean += chance(found, having, drawn, population) * told.value
            assert held >= 0.95
            assert mean == pytest.approx(having)


def test_the_interval_is_the_one_that_both_tails_leave() -> None:
    told = estimate(2, 10, 60)
    allowed = [
        having
        for having in range(2, 53)
        if sum(chance(k, having, 10, 60) for k in range(2, 11)) > 0.025
        and sum(chance(k, having, 10, 60) for k in range(3)) > 0.025
    ]
    assert (told.low, told.high) == (allowed[0], allowed[-1])
    assert told.value == 12


def test_when_all_were_drawn_there_is_no_doubt() -> None:
    assert estimate(3, 9, 9) == Estimate(3.0, 3, 3)


def test_none_found_is_close_to_the_rule_of_three() -> None:
    # two-sided, so 3.7 in place of 3
    assert estimate(0, 60, 10**6).high / 10**6 == pytest.approx(1 - 0.025 ** (1 / 60), rel=1e-3)
    assert str(estimate(0, 60, 200)) == "0 (95%: 0 to 10)"


def test_with_nothing_drawn_nothing_is_known() -> None:
    told = estimate(0, 0, 9)
    assert math.isnan(told.value)
    assert (told.low, told.high) == (0, 9)


@pytest.mark.parametrize("numbers", [(2, 1, 9), (-1, 1, 9), (1, 10, 9)])
def test_numbers_that_cannot_be(numbers: tuple[int, int, int]) -> None:
    with pytest.raises(ValueError, match="of"):
        estimate(*numbers)


def test_large_sweeps_take_no_time() -> None:
    rng = np.random.default_rng(1)
    told = control_group(rng.normal(size=3000), rng.normal(size=5000), 100_000)
    assert told is not None
    assert told.top == 3000
    assert within(told.above_middle, 50_000)


def test_every_sample_of_small_sweeps() -> None:
    """All ways to lay kept ones and those to be stopped in order, and all samples of each."""
    kept_count, population, drawn = 3, 5, 3
    total = kept_count + population
    for kept in combinations(range(total), kept_count):
        losses = np.array(kept, float)
        stopped = [place for place in range(total) if place not in kept]
        for top in (1, 2, 3):
            truth = {
                "above_best": sum(one < kept[0] for one in stopped),
                "above_middle": sum(one < kept[1] for one in stopped),
                "among_top": sum(one < top for one in stopped),
            }
            held, mean = dict.fromkeys(truth, 0), dict.fromkeys(truth, 0.0)
            for spared in combinations(stopped, drawn):
                told = control_group(losses, np.array(spared, float), population, top=top)
                assert told is not None
                for name in truth:
                    held[name] += within(getattr(told, name), truth[name])
                    mean[name] += getattr(told, name).value
            for name in truth:
                assert held[name] / comb(population, drawn) >= 0.95, (name, kept, top)
            for name in ("above_best", "above_middle"):
                assert mean[name] / comb(population, drawn) == pytest.approx(truth[name])


def test_all_were_spared_so_all_is_known() -> None:
    kept, stopped = np.array([3.0, 1.0, 8.0]), np.array([2.0, 0.5, 9.0, 1.5, np.inf])
    told = control_group(kept, stopped, 5, top=3)
    assert told is not None
    assert told.above_best == Estimate(1.0, 1, 1)
    assert told.above_middle == Estimate(3.0, 3, 3)
    assert told.among_top == Estimate(2.0, 2, 2), "the best three are 0.5, 1 and 1.5"
    assert (told.population, told.spared, told.kept, told.top) == (5, 5, 3, 3)


def test_ties_are_not_better() -> None:
    told = control_group(np.array([1.0, 1.0]), np.array([1.0, 1.0, 1.0]), 3)
    assert told is not None
    assert (told.above_best.value, told.above_middle.value, told.among_top.value) == (0, 0, 0)


def test_where_nothing_that_was_kept_came_to_anything() -> None:
    told = control_group(np.array([np.inf, np.inf]), np.array([0.5, np.inf]), 10)
    assert told is not None
    assert (told.found_above_best, told.above_best.value) == (1, 5.0)


def test_the_best_are_a_tenth_but_no_more_than_were_kept() -> None:
    few, many = (control_group(np.zeros(kept), np.ones(5), 100) for kept in (3, 60))
    assert few is not None
    assert many is not None
    assert (few.top, many.top) == (3, 16)


@pytest.mark.parametrize(("kept", "spared"), [([], [1.0]), ([1.0], []), ([], [])])
def test_with_no_one_to_compare_there_is_nothing_to_tell(kept: list[float], spared: list[float]) -> None:
    assert control_group(np.array(kept), np.array(spared), 9) is None

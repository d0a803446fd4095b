"""What is drawn follows the distributions that the scales promise. Seeded, with 20,000 draws each."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable

import numpy as np
import pytest
from scipy import stats

from caviar.space import Choice, Float, Int, Parameter, Space

DRAWS = 20_000
LEAST_P = 0.001
"""Draws that follow the distribution fall below it once in a thousand seeds; the seeds here are fixed."""


def draw(parameter: Parameter, seed: int) -> list[float]:
    space = Space(other=Float(0, 1), x=parameter)
    rng = np.random.default_rng(seed)
    return [space.sample(rng)["x"] for _ in range(DRAWS)]


def chi_square_p(drawn: list[float], masses: dict[float, float]) -> float:
    seen = Counter(drawn)
    assert seen.keys() <= masses.keys()
    result = stats.chisquare([seen[value] for value in masses], [DRAWS * mass for mass in masses.values()])
    return float(result.pvalue)


@pytest.mark.parametrize(
    ("parameter", "on_scale"),
    [
        (Float(-3, 5), lambda x: x),
        (Float(1e-5, 10, scale="log"), np.log10),
        (Float(0.9, 0.9999, scale="one_minus_log"), lambda x: -np.log10(1 - x)),
        (Float(0.01, 0.5, scale="one_minus_log"), lambda x: -np.log10(1 - x)),
    ],
)
def test_floats_are_uniform_on_their_scale(parameter: Float, on_scale: Callable[[np.ndarray], np.ndarray]) -> None:
    low, high = on_scale(np.array([parameter.low, parameter.high]))
    values = on_scale(np.array(draw(parameter, 1)))
    assert stats.kstest(values, stats.uniform(low, high - low).cdf).pvalue > LEAST_P


def test_half_of_one_minus_log_between_0_9_and_0_999_lies_above_0_99() -> None:
    above = sum(value > 0.99 for value in draw(Float(0.9, 0.999, scale="one_minus_log"), 2))
    assert stats.binomtest(above, DRAWS, 0.5).pvalue > LEAST_P


@pytest.mark.parametrize("parameter", [Int(1, 2), Int(-4, 4), Int(50, 100)])
def test_linear_integers_are_equally_likely_ends_included(parameter: Int) -> None:
    values = range(parameter.low, parameter.high + 1)
    assert chi_square_p(draw(parameter, 3), dict.fromkeys(values, 1 / len(values))) > LEAST_P


@pytest.mark.parametrize("parameter", [Int(1, 2, scale="log"), Int(1, 40, scale="log"), Int(16, 64, scale="log")])
def test_log_integers_have_the_mass_of_half_around_them(parameter: Int) -> None:
    whole = math.log(parameter.high + 0.5) - math.log(parameter.low - 0.5)
    masses = {
        float(k): (math.log(k + 0.5) - math.log(k - 0.5)) / whole for k in range(parameter.low, parameter.high + 1)
    }
    assert chi_square_p(draw(parameter, 4), masses) > LEAST_P


@pytest.mark.parametrize("weights", [None, (1, 1, 1, 1), (1, 2, 3, 4), (0.7, 0.1, 0.1, 0.1), (1e-3, 1, 1, 1)])
def test_choices_follow_their_weights(weights: tuple[float, ...] | None) -> None:
    values = [1.0, 2.0, 4.0, 8.0]
    shares = np.array(weights or [1.0] * 4) / sum(weights or [1.0] * 4)
    masses = dict(zip(values, shares.tolist(), strict=True))
    assert chi_square_p(draw(Choice(values, weights), 5), masses) > LEAST_P


def test_a_wrong_distribution_would_be_found() -> None:
    rounded = [float(round(1 + 3 * unit)) for unit in np.random.default_rng(6).random(DRAWS)]  # the rounding bias
    assert chi_square_p(rounded, dict.fromkeys([1.0, 2.0, 3.0, 4.0], 0.25)) < 1e-9
    log = np.log10(np.array(draw(Float(1e-2, 1, scale="linear"), 6)))
    assert stats.kstest(log, stats.uniform(-2, 2).cdf).pvalue < 1e-9


def test_params_are_drawn_independently() -> None:
    space = Space(a=Float(0, 1), b=Float(1e-4, 1, scale="log"), c=Int(1, 100))
    rng = np.random.default_rng(7)
    table = np.array([list(space.sample(rng).values()) for _ in range(DRAWS)])
    for first, second in ((0, 1), (0, 2), (1, 2)):
        assert stats.spearmanr(table[:, first], table[:, second]).pvalue > LEAST_P

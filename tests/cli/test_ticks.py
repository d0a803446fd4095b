from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from caviar.cli.ticks import SAME, Axis, step_label, step_ticks, ticks

FINITE = st.floats(allow_nan=False, allow_infinity=False)
MOST = st.integers(0, 60)


@pytest.mark.parametrize(
    ("low", "high", "most", "labels"),
    [
        (0.0, 1.0, 5, ["0.0", "0.5", "1.0"]),
        (0.3, 1.1, 3, ["0.5", "1.0"]),
        (0.3, 0.9, 2, ["0.4", "0.8"]),  # no round distance gives two, so every second one of a smaller distance
        (-3.0, 2.0, 5, ["-2", "0", "2"]),
        (0.69314, 0.69317, 4, ["0.69314", "0.69315", "0.69316", "0.69317"]),
        (12345678.0, 22345678.0, 4, ["1.5e7", "2.0e7"]),
        (1e-8, 9e-8, 4, ["2e-8", "4e-8", "6e-8", "8e-8"]),
        (0.001, 5.0, 5, ["0.001", "0.01", "0.1", "1"]),
        (3.0, 900.0, 5, ["10", "100"]),
        (2.0, 300.0, 7, ["2", "5", "10", "20", "50", "100", "200"]),
        (1e-300, 1e300, 4, ["1e-200", "1", "1e200"]),
        (2.0, 2999999999.0, 2, ["1000", "1e9"]),
    ],
)
def test_ticks_are_round_and_their_labels_short(low, high, most, labels):
    assert [tick.label for tick in ticks(Axis.of(low, high), most)] == labels


@pytest.mark.parametrize(
    ("low", "high", "most", "labels"),
    [
        (1, 41, 6, ["10", "20", "30", "40"]),
        (1, 1, 4, ["1"]),
        (7, 9, 2, ["7", "9"]),
        (0, 1, 5, ["0", "1"]),
        (1, 1_234_567, 6, ["200k", "400k", "600k", "800k", "1M", "1.2M"]),
        (9_000, 21_000, 3, ["10,000", "15,000", "20,000"]),
    ],
)
def test_ticks_of_steps_are_whole(low, high, most, labels):
    assert [tick.label for tick in step_ticks(low, high, most)] == labels


def test_a_step_that_is_not_round_keeps_its_digits():
    assert [step_label(step) for step in (41, 12_500, 123_456, 2_500_000, 7 * 10**9)] == [
        "41", "12,500", "123,456", "2.5M", "7G",
    ]  # fmt: skip


@given(FINITE, FINITE, MOST, st.sampled_from([None, False]))
def test_ticks_of_any_axis(one, other, most, log):
    axis = Axis.of(min(one, other), max(one, other), log=log)
    found = ticks(axis, most)
    values = [tick.value for tick in found]
    slack = SAME * max(abs(axis.low), abs(axis.high))
    assert axis.low < axis.high
    assert len(found) <= most
    assert values == sorted(set(values))
    assert all(axis.low - slack <= value <= axis.high + slack for value in values)
    assert len({tick.label for tick in found}) == len(found)
    for tick in found:
        assert float(tick.label) == pytest.approx(tick.value, rel=1e-6, abs=0)
    if most >= 2 and max(abs(axis.low), abs(axis.high)) > 1e-290:
        assert len(found) >= 2
    shares = axis.shares(np.array(values, np.float64))
    assert ((shares >= -1e-6) & (shares <= 1 + 1e-6)).all()


@given(st.integers(0, 2**53), st.integers(0, 2**53), MOST)
def test_ticks_of_any_steps(one, other, most):
    low, high = min(one, other), max(one, other)
    values = [tick.value for tick in step_ticks(low, high, most)]
    assert len(values) <= most
    assert values == sorted(set(values))
    assert all(isinstance(value, int) and low <= value <= high for value in values)


@given(st.lists(FINITE, min_size=1))
def test_values_lie_on_their_axis(values):
    axis = Axis.of(min(values), max(values))
    shares = axis.shares(np.array(sorted(values)))
    assert (shares >= -1e-6).all()
    assert (shares <= 1 + 1e-6).all()
    assert (np.diff(shares) >= 0).all()


@pytest.mark.parametrize(
    ("low", "high", "log"),
    [(0.01, 1.0001, True), (0.01, 1.0, False), (0.0, 1e9, False), (-1.0, 1e9, False), (1e-300, 1e300, True)],
)
def test_positive_values_over_two_decades_are_drawn_on_a_logarithmic_axis(low, high, log):
    assert Axis.of(low, high).log is log


@pytest.mark.parametrize("log", [True, False])
@pytest.mark.parametrize("value", [5e-324, 1e-12, 1.0, 1.7e308])
def test_a_single_value_lies_within_its_axis(value, log):
    axis = Axis.of(value, value, log=log)
    [share] = axis.shares(np.array([max(value, axis.low)]))
    assert 0 <= share <= 1
    assert math.isfinite(axis.high)


@pytest.mark.parametrize("log", [None, False, True])
@pytest.mark.parametrize(("low", "high"), [(5e-324, 5e-324), (1e-320, 3e-315), (5e-324, 1e-310)])
def test_the_smallest_floats_are_one_value(low: float, high: float, log: bool | None) -> None:
    axis = Axis.of(low, high, log=log)
    assert axis.low < axis.high
    assert all(axis.low <= tick.value <= axis.high for tick in ticks(axis, 6))

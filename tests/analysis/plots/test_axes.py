"""Axes that say the real values, whatever scale lies below them."""

from __future__ import annotations

import math

import numpy as np
import pytest

from caviar.analysis.plots.axes import MetricAxis, decades, param_axes, spread_of
from caviar.analysis.plots.look import count, number, plain, slim, whole
from caviar.space import Choice, Float, Int, Space


def axis_of(parameter, *more):
    return param_axes(["p"], [Space(p=each) for each in (parameter, *more)])[0]


@pytest.mark.parametrize(
    ("parameter", "values", "labels"),
    [
        (Float(1e-4, 1.0, scale="log"), [1e-4, 0.01, 1.0], ["0.0001", "0.001", "0.01", "0.1", "1"]),
        (Float(0.9, 0.999, scale="one_minus_log"), [0.9, 0.99, 0.999],
         ["0.9", "0.95", "0.98", "0.99", "0.995", "0.998", "0.999"]),
        (Int(1, 4), [1, 2, 4], ["1", "2", "3", "4"]),
        (Int(1, 4, scale="log"), [1, 2, 4], ["1", "2", "3", "4"]),
        (Choice(["sgd", "adam", None]), ["sgd", "adam", None], ["sgd", "adam", "None"]),
    ],
)  # fmt: skip
def test_ticks_stand_where_their_labels_say(parameter, values, labels):
    axis = axis_of(parameter)
    places = axis.places(values)
    assert np.all(np.diff(places) > 0)
    at, text = axis.ticks(*axis.limits(places))
    assert text == labels
    told = dict(zip(text, at, strict=True))
    for value, place in zip(values, places, strict=True):
        assert told[str(value if value != 1e-4 else "0.0001").removesuffix(".0")] == pytest.approx(place)


def test_a_one_minus_log_axis_is_even_in_the_logarithm_of_what_is_missing_to_one():
    places = axis_of(Float(0.9, 0.9999, scale="one_minus_log")).places([0.9, 0.99, 0.999, 0.9999])
    assert np.diff(places) == pytest.approx([1, 1, 1])


def test_a_linear_axis_has_the_ticks_of_any_axis():
    axis = axis_of(Float(0.0, 2.0))
    assert axis.ticks(0.0, 2.0) is None
    assert axis.places([0.5, 1.5]).tolist() == [0.5, 1.5]


def test_dots_are_spread_only_where_values_are_told_apart():
    spread = spread_of(np.arange(100))
    assert -0.5 <= spread.min() < -0.4 < 0.4 < spread.max() <= 0.5
    for parameter, value in ((Int(1, 4), 2), (Choice([2, 3]), 3)):
        axis = axis_of(parameter)
        moved = axis.places([value] * 100, spread=spread)
        assert len(np.unique(moved)) == 100
        assert np.abs(moved - axis.places([value])[0]).max() < 0.31  # nowhere near the next one
    axis = axis_of(Int(1, 400))
    assert np.all(axis.places([7] * 100, spread=spread) == 7)


def test_what_is_absent_or_has_no_place_is_nan():
    axis = axis_of(Float(1e-4, 1.0, scale="log"))
    assert np.isnan(axis.places([None, 0.0, -1.0, "text", True])).all()
    assert np.isnan(axis_of(Choice(["a", 1])).places(["b", None, True])).all()


def test_the_choices_of_all_stages_are_on_one_axis():
    axis = axis_of(Choice(["a", "b"]), Choice(["b", "c"]))
    assert axis.values == ("a", "b", "c")
    assert axis_of(Float(1e-4, 1.0, scale="log"), Float(0.01, 0.1)).scale == "log"  # the first one's counts
    assert param_axes(["p"], [Space(p=3)]) == []
    assert axis_of(Choice([1]), Choice([True])).places([True, 1]).tolist() == [1, 0]  # true is not one


def test_the_metric_is_on_a_log_axis_where_it_spans_much():
    assert MetricAxis.of(np.geomspace(1e-3, 1, 50), maximize=False).log
    assert not MetricAxis.of(np.linspace(0.1, 1, 50), maximize=False).log
    assert not MetricAxis.of(np.linspace(-1, 1, 50), maximize=False).log
    assert not MetricAxis.of(np.geomspace(1e-4, 1, 50), maximize=True).log  # an accuracy


def test_a_few_that_blew_up_lie_off_the_axis_and_that_is_said():
    values = np.r_[np.linspace(1, 2, 99), 1e9, math.nan, math.inf]
    axis = MetricAxis.of(values, maximize=False)
    assert axis.high < 3
    assert axis.off == 2  # the worst two of a hundred
    assert axis.told() == ["2 values lie off the axis: double-click to see all."]
    low, high = axis.layout("loss")["range"]
    assert (low, high) == (pytest.approx(0.95, abs=0.02), pytest.approx(2.03, abs=0.03))
    assert MetricAxis.of(np.linspace(1, 2, 99), maximize=False).told() == []  # all of it where that costs little


def test_where_more_is_better_it_is_the_low_ones_that_lie_off():
    axis = MetricAxis.of(np.r_[-1e9, np.linspace(0.5, 1, 99)], maximize=True)
    assert (axis.low, axis.high) == (pytest.approx(0.5, abs=0.01), 1.0)
    both = MetricAxis.of(np.r_[-1e9, np.linspace(0.5, 1, 300), 1e9], maximize=None)
    assert (both.low > 0, both.high < 2, both.off > 1) == (True, True, True)


def test_values_of_zero_or_less_cannot_be_on_a_log_axis_and_are_counted():
    axis = MetricAxis.of(np.array([-1.0, 0.0, 0.1, 1.0]), maximize=False, log=True)
    assert (axis.low, axis.high) == (0.1, 1.0)
    assert axis.told() == ["2 values of 0 or less cannot be on a log axis."]
    assert axis.layout("loss")["type"] == "log"
    none = MetricAxis.of(np.array([-1.0, -2.0]), maximize=False, log=True)
    assert none.not_positive == 2
    assert np.isfinite(none.layout("loss")["range"]).all()


@pytest.mark.parametrize("values", [[], [math.nan], [1.0], [0.0], [2.0, 2.0], [-3.0]])
def test_degenerate_values_have_an_axis_too(values):
    for log in (None, True, False):
        low, high = MetricAxis.of(np.array(values), maximize=False, log=log).layout("loss")["range"]
        assert np.isfinite([low, high]).all()
        assert low < high


def test_ticks_at_one_two_and_five():
    assert list(decades(0.1, 1)) == [0.1, 0.2, 0.5, 1.0]
    assert list(decades(1e-6, 1e6)) == [1e-6, 1e-4, 1e-2, 1.0, 1e2, 1e4, 1e6]


def test_text_is_text_to_plotly():
    assert plain("<b>&%{x}$y$") == "&lt;b&gt;&amp;%&#123;x}&#36;y&#36;"
    assert plain("a\n b") == "a b"
    assert len(plain("x" * 500)) == 80
    assert (number(0.0123456789), number(3), number("<i>")) == ("0.012346", "3", "&lt;i&gt;")
    assert (count(1, "trial"), count(2000, "trial")) == ("1 trial", "2,000 trials")


def test_numbers_take_few_bytes_but_not_at_the_price_of_the_truth():
    assert slim(np.array([0.1, math.inf])).dtype == np.float32
    assert np.isnan(slim(np.array([0.1, math.inf]))[1])
    for exact in ([1e300, 1.0], [1e-300, 1.0], [0.99999991, 0.99999992]):
        assert slim(np.array(exact)).tolist() == exact
    for values in ([0, 255], [-1, 300], [0, 60_000], [0, 10**9], [0, 2**53]):
        assert whole(np.array(values)).tolist() == values

from __future__ import annotations

import math

import pytest

from caviar.cli import figures


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.000123456, "0.0001235"),
        (0.98125, "0.9812"),
        (3.0, "3.0"),
        (1234567.0, "1.235e+06"),
        (1234567, "1234567"),
        (True, "True"),
        ("adam", "adam"),
        (None, "-"),
        (math.nan, "nan"),
        (-math.inf, "-inf"),
    ],
)
def test_number(value, text):
    assert figures.number(value) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.04, "0.0 s"),
        (-1, "0.0 s"),
        (9.94, "9.9 s"),
        (10, "10 s"),
        (59.7, "1 min"),
        (200, "3 min 20 s"),
        (3600, "1 h"),
        (7530, "2 h 5 min"),
        (4 * 86400 + 3 * 3600, "4 d 3 h"),
        (math.inf, "-"),
    ],
)
def test_duration(seconds, text):
    assert figures.duration(seconds) == text


def test_rate():
    assert [figures.rate(x) for x in (0.0, 0.123, 3.21, 9.99, 12.3, 450_000.0)] == [
        "0", "0.12", "3.2", "10", "12", "450,000",
    ]  # fmt: skip


def test_sparkline_spans_the_bounds():
    assert figures.sparkline(list(range(8)), 8, 0, 7) == figures.BLOCKS


def test_sparkline_takes_the_last_value_of_each_stretch():
    assert figures.sparkline([9, 0, 9, 7], 2, 0, 7) == "▁█"


def test_sparkline_of_few_points_is_short():
    assert figures.sparkline([], 8, 0, 1) == ""
    assert figures.sparkline([1.0], 8, 0, 1) == "█"


def test_sparkline_shows_gaps_and_clips():
    assert figures.sparkline([math.nan, -5.0, 99.0, math.inf], 4, 0, 1) == " ▁█ "


def test_sparkline_of_a_flat_curve():
    assert figures.sparkline([2.0, 2.0], 4, 2.0, 2.0) == "▁▁"


def test_bounds():
    assert figures.bounds([[1.0, math.nan], [], [-2.0, math.inf]]) == (-2.0, 1.0)
    assert figures.bounds([]) == (0.0, 0.0)


def test_counts():
    assert figures.counts({"pending": 0, "completed": 1200, "failed": 1}) == "1,200 completed, 1 failed"
    assert figures.counts({}) == "none yet"

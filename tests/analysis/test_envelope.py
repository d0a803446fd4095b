"""`Envelope`: whatever its length, its picture is that of the whole curve, and its memory bounded."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from caviar.analysis.envelope import BLOCKS, Envelope


def envelope(steps, values, *, maximize=False, cuts=()):
    found = Envelope(maximize=maximize)
    for part in np.split(np.arange(len(steps)), sorted(cuts)):
        found.add(steps[part], values[part])
    return found


def walk(count, seed=0):
    rng = np.random.default_rng(seed)
    values = np.cumsum(rng.normal(size=count))
    values[rng.random(count) < 0.01] = math.nan
    return np.arange(1, count + 1), values


def same(one, other):
    np.testing.assert_array_equal(one.steps, other.steps)
    np.testing.assert_array_equal(one.values, other.values)
    for name in ("last", "best", "best_step", "not_finite"):
        np.testing.assert_equal(getattr(one, name), getattr(other, name))


def test_a_short_curve_is_kept_whole():
    steps, values = walk(BLOCKS)
    found = envelope(steps, values)
    np.testing.assert_array_equal(found.steps, steps)
    np.testing.assert_array_equal(found.values, values)


@pytest.mark.parametrize("maximize", [True, False])
@pytest.mark.parametrize("count", [1, 100, BLOCKS + 1, 10 * BLOCKS, 300_000])
def test_what_is_exact(count, maximize):
    steps, values = walk(count)
    found = envelope(steps, values, maximize=maximize)
    losses = np.where(np.isfinite(values), -values if maximize else values, math.inf)
    assert (found.best, found.best_step) == (values[losses.argmin()], steps[losses.argmin()])
    np.testing.assert_equal(found.last, values[-1])
    assert found.not_finite == np.isnan(values).sum()
    assert len(found.steps) <= 3 * BLOCKS


def test_every_stretch_keeps_its_extremes_and_its_gaps():
    steps, values = walk(1_000_000)
    found = envelope(steps, values)
    for column in np.array_split(steps, 400):  # as wide as a screen
        whole = values[column - 1]
        near = (found.steps >= column[0] - 512) & (found.steps <= column[-1] + 512)  # within a block of it
        kept = found.values[near]
        assert np.isnan(kept).any() or not np.isnan(whole).any()
        assert np.nanmin(kept) <= np.nanmin(whole)
        assert np.nanmax(kept) >= np.nanmax(whole)
    np.testing.assert_array_equal(found.values, values[found.steps - 1])


@settings(deadline=None, max_examples=50)
@given(
    st.integers(0, 5 * BLOCKS),
    st.lists(st.integers(0, 5 * BLOCKS), max_size=8),
    st.integers(0, 5 * BLOCKS),
    st.booleans(),
)
def test_how_reports_are_cut_into_calls_does_not_matter(count, cuts, back, maximize):
    steps, values = walk(count)
    whole = envelope(steps, values, maximize=maximize)
    parts = envelope(steps, values, maximize=maximize, cuts=[cut for cut in cuts if cut < count])
    same(whole, parts)
    for each, places in ((whole, []), (parts, [count // 3])):
        each.back_to(back)
        for part in np.split(np.arange(count), places):
            each.add(steps[part] + back, values[part])
    same(whole, parts)


@pytest.mark.parametrize("count", [50, 20 * BLOCKS])
@pytest.mark.parametrize("back", [0, 10, 49])
def test_going_back(count, back):
    steps, values = walk(count)
    found = envelope(steps, values)
    gone_steps, gone_values = found.back_to(back)
    assert found.steps.max(initial=0) <= back
    assert gone_steps[-1] >= count - count // BLOCKS - 1
    # the branch begins where it left the main line
    if len(found.steps):
        assert gone_steps[0] == found.steps[-1]
    np.testing.assert_array_equal(gone_values, values[gone_steps - 1])
    if count == 50:
        same(found, envelope(steps[:back], values[:back]))


def test_going_back_to_where_it_is_changes_nothing():
    steps, values = walk(100)
    found = envelope(steps, values)
    assert len(found.back_to(100)[0]) == 0
    same(found, envelope(steps, values))


def test_a_best_value_before_the_cut_stays_exact():
    steps, values = np.arange(10_000), np.ones(10_000)
    values[1_234] = 0.25
    found = envelope(steps, values)
    found.back_to(5_000)
    assert (found.best, found.best_step) == (0.25, 1_234)


def test_a_best_value_after_the_cut_is_forgotten():
    steps, values = np.arange(10_000), np.linspace(2, 1, 10_000)
    found = envelope(steps, values)
    found.back_to(5_000)
    assert found.best == pytest.approx(1.5, abs=0.01)
    assert found.best_step <= 5_000


def test_after_going_back_far_the_curve_is_fine_again():
    steps, values = walk(500_000)
    found = envelope(steps, values)
    found.back_to(40)
    found.add(np.arange(41, 541), np.ones(500))
    assert np.isin(np.arange(41, 541), found.steps).all()

"""Which checkpoints of a trial are kept."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from caviar.keeping import BEFORE_ADJUSTMENTS, NEWEST, POLICIES, SPREAD, superseded
from caviar.trial import Saved


def saved(*steps: int, values: Sequence[float | None] = ()) -> list[Saved]:
    given_values = [*values, *[None] * (len(steps) - len(values))]
    return [Saved(0, step, value) for step, value in zip(steps, given_values, strict=True)]


def kept(
    found: Sequence[Saved], policy: str = "landmarks", *, adjusted: Collection[int] = (), minimize: bool = True
) -> list[int]:
    gone = superseded(found, policy, adjusted=adjusted, minimize=minimize)
    return [one.step for one in found if (one.attempt, one.step) not in gone]


def test_the_newest_alone_and_all() -> None:
    assert kept(saved(1, 2, 3), "last") == [3]
    assert kept(saved(1, 2, 3), "all") == [1, 2, 3]
    for policy in POLICIES:
        assert kept(saved(7), policy) == [7]
        assert superseded([], policy, adjusted=(), minimize=True) == []


def test_the_newest_few_the_best_and_those_before_adjustments() -> None:
    steps = range(100, 120)
    values = [1.0] * 20
    values[11] = 0.5
    found = kept(saved(*steps, values=values), adjusted=[106, 114, 116])
    assert {111, 105, 113, 115, 117, 118, 119} <= set(found)
    assert 110 not in found


@pytest.mark.parametrize(("minimize", "best"), [(True, 13), (False, 17)])
def test_the_best_is_by_the_metric_finite_and_the_earliest_of_equals(minimize: bool, best: int) -> None:
    values: list[float | None] = [None, math.nan, -math.inf, 0.1, 0.1, 0.5, math.inf, 0.9, 0.9, *[0.5] * 11]
    everything = saved(*range(10, 30), values=values)
    without = kept([one._replace(value=None) for one in everything])
    assert set(kept(everything, minimize=minimize)) == {*without, best}


def test_one_of_two_attempts_at_a_step_is_no_other() -> None:
    found = [Saved(0, 5), Saved(1, 5), *(Saved(1, step) for step in range(6, 30))]
    gone = superseded(found, "landmarks", adjusted=(), minimize=True)
    assert (1, 5) in gone
    assert (0, 5) not in gone


histories = st.lists(
    st.tuples(
        st.integers(1, 9),
        st.booleans(),
        st.one_of(st.none(), st.floats(), st.sampled_from([0.0, 1.0])),
        st.integers(0, 9),
    ),
    min_size=1,
    max_size=120,
)


@given(policy=st.sampled_from(POLICIES), history=histories, minimize=st.booleans())
def test_what_is_kept_was_kept_before_and_never_too_many(
    policy: str, history: list[tuple[int, bool, float | None, int]], minimize: bool
) -> None:
    """As a trial trains and is rolled back now and then: what was given up is never asked for again, and the
    best and those before adjustments are there, had nothing else been given up either."""
    have: list[Saved] = []
    everything: list[Saved] = []
    adjusted: set[int] = set()
    attempt = step = 0
    for more, adjusts, value, back in history:
        if back == 9 and have:  # rolled back to one of those that are there
            step = have[len(have) // 2].step
            have = [one for one in have if one.step <= step]
            everything = list(have)
            adjusted = {at for at in adjusted if at <= step}
            attempt += 1
        step += more
        new = Saved(attempt, step, value)
        gone = superseded([*have, new], policy, adjusted=adjusted, minimize=minimize)
        assert set(gone) <= {(one.attempt, one.step) for one in have}, "the new one is never given up"
        assert len(gone) == len(set(gone))
        have = [one for one in [*have, new] if (one.attempt, one.step) not in gone]
        everything.append(new)
        if policy == "landmarks":
            assert len(have) <= NEWEST + BEFORE_ADJUSTMENTS + SPREAD + 1
            assert [one for one in everything if one.step + 1 in adjusted][-BEFORE_ADJUSTMENTS:] == [
                one for one in have if one.step + 1 in adjusted
            ][-BEFORE_ADJUSTMENTS:]
            finite = [one for one in everything if one.value is not None and math.isfinite(one.value)]
            if finite:
                best = min(finite, key=lambda one: one.value if minimize else -one.value)  # type: ignore[arg-type, return-value, operator]
                assert best in have
        if adjusts:
            adjusted.add(step + 1)


@given(gaps=st.lists(st.integers(1, 50), min_size=1, max_size=200))
def test_those_spread_are_spread_over_the_whole_way(gaps: list[int]) -> None:
    have: list[Saved] = []
    step = 0
    for gap in gaps:
        step += gap
        new = Saved(0, step)
        gone = superseded([*have, new], "landmarks", adjusted=(), minimize=True)
        have = [one for one in [*have, new] if (one.attempt, one.step) not in gone]
    steps = [one.step for one in have]
    widest = max(high - low for low, high in zip([0, *steps], steps, strict=False))
    stretch = 1
    while step // stretch >= SPREAD:
        stretch *= 2
    assert widest <= 2 * stretch + max(gaps)
    assert len(steps) <= NEWEST + SPREAD

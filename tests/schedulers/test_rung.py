from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from caviar.schedulers.rung import GeometricRungs, ListedRungs, RegularRungs, Rung, Rungs

LOSSES = st.one_of(st.floats(allow_nan=False), st.integers(0, 5).map(float), st.just(math.inf))


def listed(rungs: Rungs, *, limit: int = 10_000) -> list[int]:
    found: list[int] = []
    rung = rungs.first
    while rung is not None and len(found) < limit:
        found.append(rung)
        rung = rungs.after(rung)
    return found


@given(st.lists(LOSSES, min_size=1), st.data())
def test_the_split_is_the_lowest_k_at_every_moment(values: list[float], data: st.DataObject) -> None:
    rung, k = Rung(), 0
    for n, value in enumerate(values, start=1):
        k = 1 if k == 0 else min(k + data.draw(st.integers(0, 1)), n)
        rung.add(value, k)
        ordered = sorted(values[:n])
        assert len(rung) == n
        assert sorted(-negated for negated in rung._lowest) == ordered[:k]
        assert sorted(rung._rest) == ordered[k:]
        assert rung.kth_lowest(k) == ordered[k - 1]
        assert rung.kth_lowest(k + 1) == (ordered[k] if k < n else math.inf)
        for heap in (rung._lowest, rung._rest):
            assert all(heap[(child - 1) // 2] <= heap[child] for child in range(1, len(heap)))


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ((1, 3, 81), [1, 3, 9, 27]),
        ((1, 3, 82), [1, 3, 9, 27, 81]),
        ((1, 3.0, 82), [1, 3, 9, 27, 81]),
        ((2, 4, 100), [2, 8, 32]),
        ((5, 3, 5), []),
        ((5, 3, 6), [5]),
        # 1, 1.5, 2.25, 3.375, 5.0625, 7.59, 11.39, 17.09: 2 is taken when 2.25 comes, and 3 when 3.375 does
        ((1, 1.5, 20), [1, 2, 3, 4, 5, 8, 11, 17]),
        ((10, 1e308, 1000), [10]),
        ((10, 10**400, 1000), [10]),
        ((10, 1.01, 16), [10, 11, 12, 13, 14, 15]),
    ],
)
def test_geometric_rungs(arguments: tuple[int, float, int], expected: list[int]) -> None:
    grace_steps, reduction_factor, max_step = arguments
    assert listed(GeometricRungs(grace_steps, reduction_factor, max_step=max_step)) == expected


def test_geometric_rungs_without_end_stay_exact() -> None:
    assert listed(GeometricRungs(2, 3, max_step=None), limit=60) == [2 * 3**k for k in range(60)]


@given(st.integers(1, 50), st.floats(1, 4, exclude_min=True), st.integers(1, 2000))
def test_geometric_rungs_rise_below_max_step(grace_steps: int, factor: float, max_step: int) -> None:
    rungs = listed(GeometricRungs(grace_steps, factor, max_step=max_step))
    assert all(low < high for low, high in pairwise([*rungs, max_step]))
    assert rungs[:1] == [grace_steps][: grace_steps < max_step]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [((1, 1, 5), [1, 2, 3, 4]), ((3, 4, 15), [3, 7, 11]), ((3, 4, 16), [3, 7, 11, 15]), ((5, 1, 5), [])],
)
def test_regular_rungs(arguments: tuple[int, int, int], expected: list[int]) -> None:
    grace_steps, every, max_step = arguments
    assert listed(RegularRungs(grace_steps, every, max_step=max_step)) == expected


@pytest.mark.parametrize("expected", [[], [4], [1, 5, 7]])
def test_listed_rungs(expected: list[int]) -> None:
    assert listed(ListedRungs(expected)) == expected


@pytest.mark.parametrize(
    ("rungs", "above"),
    [
        (GeometricRungs(1, 3, max_step=100), {0: 1, 2: 3, 3: 9, 5: 9, 81: None, 99: None}),
        (GeometricRungs(1, 3, max_step=None), {0: 1, 2: 3, 3: 9, 5: 9, 100: 243}),
        (GeometricRungs(5, 3, max_step=5), {1: None}),
        (ListedRungs([1, 3]), {0: 1, 1: 3, 2: 3, 3: None, 7: None}),
        (ListedRungs([]), {1: None}),
        (RegularRungs(2, 3, max_step=9), {0: 2, 1: 2, 2: 5, 3: 5, 5: 8, 8: None}),
    ],
)
def test_after_a_rung_of_another_scheduler_comes_the_next_one_above(
    rungs: Any, above: dict[int, int | None]
) -> None:
    assert {step: rungs.after(step) for step in above} == above

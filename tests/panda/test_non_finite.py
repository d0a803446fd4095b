from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from caviar.panda.change import Change
from caviar.panda.live import Firing, Live
from caviar.panda.rules import OnNonFinite

NAN, INF = math.nan, math.inf


def live(values: Sequence[float], steps: Sequence[int] | None = None, **others: Any) -> Live:
    return Live.of(values, steps, params={"lr": 0.1}, **others)


def other(steps: Sequence[int], values: Sequence[float]) -> Any:
    return np.array(steps, np.int64), np.array(values, np.float64)


@pytest.mark.parametrize("value", [NAN, INF, -INF])
def test_it_fires_at_once(value: float) -> None:
    change = OnNonFinite().judge(live([3.0, 2.0, value], [10, 20, 30]))
    assert change is not None
    assert change.set["lr"] == pytest.approx(0.01)
    assert change.rollback_to == 20
    assert change.reason == f"loss is {value:g} at step 30"


def test_from_the_beginning_where_nothing_was_finite() -> None:
    change = OnNonFinite().judge(live([NAN]))
    assert change is not None
    assert change.rollback_to == 0


def test_it_goes_back_before_the_first_of_several() -> None:
    change = OnNonFinite(every=4).judge(live([3.0, NAN, 2.0, NAN, INF, NAN, NAN, NAN]))
    assert change is not None
    assert change.rollback_to == 3
    assert change.reason == "loss is nan since step 4"


def test_another_metric_counts_too() -> None:
    seen = live([3.0, 2.0, 1.0], curves={"norm": other([1, 2, 3], [1.0, INF, INF]), "val": other([1], [2.0])})
    change = OnNonFinite().judge(seen)
    assert change is not None
    assert (change.rollback_to, change.reason) == (1, "norm is inf since step 2")
    assert OnNonFinite(metric="loss").judge(seen) is None
    assert OnNonFinite(metric="val").judge(seen) is None
    assert OnNonFinite(metric="norm").judge(seen) is not None
    assert OnNonFinite(metric="never").judge(seen) is None


def test_all_of_them_are_told_and_the_earliest_counts() -> None:
    change = OnNonFinite().judge(live([3.0, 2.0, NAN], curves={"a": other([2], [INF])}))
    assert change is not None
    assert (change.rollback_to, change.reason) == (1, "loss is nan, a is inf since step 2")


def test_a_metric_that_came_after_the_report_is_seen_at_the_next() -> None:
    """It is of step 2, and was reported after the loss of step 2 was judged."""
    change = OnNonFinite().judge(live([3.0, 2.0, 1.0], curves={"norm": other([1, 2], [1.0, NAN])}))
    assert change is not None
    assert change.rollback_to == 1


def test_what_it_has_fired_on_it_does_not_fire_on_again() -> None:
    fired = [Firing("OnNonFinite", 2, 2, Change({"lr": 0.1}))]
    rare = {"val": other([2], [NAN])}
    assert OnNonFinite(rollback=False).judge(live([3.0, 2.0, 1.0], curves=rare, firings=fired)) is None
    again = {"val": other([2, 3], [NAN, NAN])}
    assert OnNonFinite(rollback=False).judge(live([3.0, 2.0, 1.0], curves=again, firings=fired)) is not None


def test_the_same_step_after_a_rollback_is_another() -> None:
    fired = [Firing("OnNonFinite", 3, 3, Change({"lr": 0.1}, 1))]
    seen = replace(live([3.0, 2.0, NAN], firings=fired), numbers=np.array([1, 4, 5]), judged=5)
    assert OnNonFinite().judge(seen) is not None


def test_a_finite_run_is_left_alone() -> None:
    assert OnNonFinite().judge(live([3.0, NAN, 2.0])) is None

from __future__ import annotations

import math

import numpy as np
import pytest

from caviar.errors import UsageError
from caviar.panda.live import Live


def test_a_curve_as_a_rule_sees_it() -> None:
    live = Live.of([3.0, math.nan, 1.0], [10, 20, 30], params={"lr": 0.1}, max_step=90)
    assert (live.step, live.value, live.judged, live.max_step) == (30, 1.0, 3, 90)
    assert live.losses.tolist() == [3.0, math.inf, 1.0]
    assert live.numbers.tolist() == [1, 2, 3]
    assert live.metrics == {"loss": 1.0}


def test_what_is_to_be_maximised_is_turned() -> None:
    live = Live.of([0.5, -math.inf, 0.7], metric="accuracy", minimize=False)
    assert live.losses.tolist() == [-0.5, math.inf, -0.7]
    assert live.curve("accuracy")[1].tolist() == [0.5, -math.inf, 0.7]


def test_other_metrics_have_curves_of_their_own() -> None:
    val = (np.array([2]), np.array([0.4]))
    late = (np.array([1, 3]), np.array([7.0, 8.0]))
    live = Live.of([3.0, 2.0, 1.0], curves={"val": val, "norm": late})
    assert live.metrics == {"loss": 1.0, "norm": 8.0}
    assert live.curve("val") == val
    steps, values = live.curve("never")
    assert (len(steps), len(values)) == (0, 0)


@pytest.mark.parametrize(
    ("steps", "every", "passes"),
    [
        ([1], 1, True),
        ([1], 2, False),
        ([2], 2, True),
        ([1, 2, 3], 2, False),
        ([1, 3], 2, True),
        ([9, 10], 10, True),
        ([10, 11], 10, False),
        ([8, 31], 10, True),
    ],
)
def test_the_first_report_at_or_past_a_multiple(steps: list[int], every: int, passes: bool) -> None:
    assert Live.of([0.0] * len(steps), steps).passes(every) is passes


@pytest.mark.parametrize(("values", "steps"), [([], None), ([1.0], [1, 2]), ([1.0, 2.0], [2, 2]), ([[1.0]], None)])
def test_what_is_no_curve_is_refused(values: list[float], steps: list[int] | None) -> None:
    with pytest.raises(UsageError, match="at least one value, and as many steps, which rise"):
        Live.of(values, steps)

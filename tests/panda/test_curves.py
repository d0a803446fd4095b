from __future__ import annotations

import math

import pytest

from caviar.panda.curves import Curves
from tests.panda.blocks import reports


def curves(*, minimize: bool = True) -> Curves:
    return Curves("loss", minimize=minimize)


def curve(seen: Curves, step: int, name: str = "loss") -> list[tuple[int, float]]:
    steps, values = seen.until(step)["curves"][name]
    return list(zip(steps.tolist(), values.tolist(), strict=True))


def test_reports_of_all_metrics_are_kept_by_step() -> None:
    seen = curves()
    seen.see(reports([1, 2], {"loss": [3.0, 2.0], "accuracy": [0.1, 0.2]}))
    seen.see(reports([3], [1.0]))
    assert curve(seen, 3) == [(1, 3.0), (2, 2.0), (3, 1.0)]
    assert curve(seen, 3, "accuracy") == [(1, 0.1), (2, 0.2)]
    assert curve(seen, 2) == [(1, 3.0), (2, 2.0)], "what comes later is not shown"
    assert [seen.number_at(step) for step in (1, 2, 3, 4)] == [1, 2, 3, None]


def test_blocks_that_arrive_together_are_put_in_order() -> None:
    """A step at which other metrics are reported too comes in a block of its own."""
    seen = curves()
    seen.see(reports([1, 2, 4], [4.0, 3.0, 1.0]))
    seen.see(reports([3], {"loss": [2.0], "accuracy": [0.5]}))
    assert curve(seen, 4) == [(1, 4.0), (2, 3.0), (3, 2.0), (4, 1.0)]
    assert seen.until(4)["numbers"].tolist() == [1, 2, 3, 4]


def test_what_is_sent_twice_counts_once() -> None:
    seen = curves()
    seen.see(reports([1, 2], [2.0, 1.0]))
    assert seen.number_at(2) == 2
    seen.see(reports([1, 2, 3], [2.0, 1.0, 0.5]))
    seen.see(reports([3], [0.5]))
    assert curve(seen, 3) == [(1, 2.0), (2, 1.0), (3, 0.5)]
    assert seen.count == 3


def test_other_trials_are_passed_over() -> None:
    seen = curves()
    seen.see(reports([1, 2], [9.0, 9.0], trial=1))
    seen.see(reports([1], [2.0]))
    assert curve(seen, 1) == [(1, 2.0)]
    assert seen.number_at(2) is None


def test_a_run_that_restarts_reports_steps_again_under_their_numbers() -> None:
    seen = curves()
    seen.see(reports([1, 2, 3, 4], {"loss": [4.0, 3.0, 2.0, 1.0], "accuracy": [0.1, 0.2, 0.3, 0.4]}))
    seen.restarted(2, attempt=1)
    assert curve(seen, 9) == [(1, 4.0), (2, 3.0)]
    assert curve(seen, 9, "accuracy") == [(1, 0.1), (2, 0.2)]
    seen.see(reports([3, 4, 5], [2.5, 1.5, 0.5], attempt=1))
    assert curve(seen, 9) == [(1, 4.0), (2, 3.0), (3, 2.5), (4, 1.5), (5, 0.5)]
    assert seen.until(9)["numbers"].tolist() == [1, 2, 3, 4, 5]


def test_a_run_that_was_rolled_back_reports_under_new_numbers() -> None:
    seen = curves()
    seen.see(reports([1, 2, 3, 4], [4.0, 3.0, 2.0, 1.0]))
    seen.rolled_back(2, attempt=1)
    seen.rolled_back(2, attempt=1)
    seen.restarted(2, attempt=1)
    seen.see(reports([3, 4], [2.5, 1.5], attempt=1))
    assert curve(seen, 4) == [(1, 4.0), (2, 3.0), (3, 2.5), (4, 1.5)]
    assert seen.until(4)["numbers"].tolist() == [1, 2, 5, 6]
    assert [seen.number_before(step) for step in (0, 1, 2, 3, 9)] == [0, 1, 2, 5, 6]
    assert [seen.step_of(number) for number in (0, 1, 2, 4, 5, 6)] == [0, 1, 2, 2, 3, 4]


def test_a_restart_after_a_rollback_keeps_the_new_numbers() -> None:
    seen = curves()
    seen.see(reports([1, 2, 3, 4], [4.0, 3.0, 2.0, 1.0]))
    seen.rolled_back(2, attempt=1)
    seen.see(reports([3, 4], [2.5, 1.5], attempt=1))
    seen.restarted(0, attempt=2)  # its checkpoint is lost: from the beginning
    seen.see(reports([1, 2, 3, 4, 5], [4.0, 3.0, 2.5, 1.5, 0.5], attempt=2))
    assert seen.until(5)["numbers"].tolist() == [1, 2, 5, 6, 7]


@pytest.mark.parametrize("told_late", [False, True])
def test_an_attempt_may_be_heard_of_by_its_reports_first(told_late: bool) -> None:
    seen = curves()
    seen.see(reports([10, 20, 30], [4.0, 3.0, 2.0]))
    if told_late:
        seen.see(reports([40], [1.0], attempt=1))
        seen.restarted(15, attempt=1)
    else:
        seen.restarted(15, attempt=1)
        seen.see(reports([40], [1.0], attempt=1))
    assert curve(seen, 40) == [(10, 4.0), (40, 1.0)]


def test_an_attempt_that_is_never_told_of_takes_the_place_of_what_it_reports_again() -> None:
    seen = curves()
    seen.see(reports([1, 2, 3], {"loss": [4.0, 3.0, 2.0], "accuracy": [0.1, 0.2, 0.3]}))
    seen.see(reports([2], [3.5], attempt=1))
    assert curve(seen, 9) == [(1, 4.0), (2, 3.5)]
    assert curve(seen, 9, "accuracy") == [(1, 0.1)]


def test_what_an_older_attempt_still_says_is_passed_over() -> None:
    seen = curves()
    seen.see(reports([1, 2], [4.0, 3.0]))
    seen.restarted(1, attempt=1)
    seen.see(reports([3], [9.0]))
    seen.see(reports([2], [3.5], attempt=1))
    seen.restarted(0, attempt=0)
    assert curve(seen, 9) == [(1, 4.0), (2, 3.5)]


def test_losses_are_turned_and_finite_or_inf() -> None:
    seen = curves(minimize=False)
    seen.see(reports([1, 2, 3], [0.5, math.nan, -math.inf]))
    assert seen.until(3)["losses"].tolist() == [-0.5, math.inf, math.inf]


def test_what_was_shown_stays_and_cannot_be_written() -> None:
    seen = curves()
    seen.see(reports(range(1, 61), [1.0] * 60))
    shown = seen.until(60)["values"]
    seen.rolled_back(30, attempt=1)
    seen.see(reports(range(31, 200), [2.0] * 169, attempt=1))
    assert seen.until(199)["values"].tolist() == [1.0] * 30 + [2.0] * 169
    assert shown.tolist() == [1.0] * 60
    with pytest.raises(ValueError, match="read-only"):
        shown[0] = 9.0

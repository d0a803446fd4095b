"""The rules about time and memory, with times that are only numbers."""

from __future__ import annotations

from typing import Any

import pytest

from caviar.execution.resources import Resources
from caviar.execution.watchdog import Verdict, Watchdog
from caviar.execution.wire import (
    APPLIED,
    BACK,
    ENDED,
    PAUSED,
    REPORTS,
    RUNG,
    SAVED,
    SET_UP,
    STARTED,
    TOLD,
    UNPAUSED,
    Entry,
)

STARTED_7: Entry = (STARTED, 0, 7, 1, None)
ENDED_7: Entry = (ENDED, 0, 7, 1, 3, "returned", None, None, 0.5, 0.5, 3)
TOLD_7: Entry = (TOLD, 0, 7, 1, 3, "stopped", "diverged", None, 0.5, 0.5, 2)


def watchdog(**resources: Any) -> Watchdog:
    return Watchdog(Resources(**{"progress_timeout_s": 30.0, "stop_grace_s": 10.0, **resources}))


def reports(step: int) -> Entry:
    return (REPORTS, 7, 1, 0, ("loss",), [(step, 0, 0.5)])


def training(**resources: Any) -> Watchdog:
    """One that has begun trial 7 at time 0, and has nothing else in hand."""
    dog = watchdog(**resources)
    dog.handed(0)
    dog.heard(STARTED_7, 0, in_hand=False)
    return dog


@pytest.mark.parametrize(
    "sign", [reports(1), (SAVED, 0, 7, 1, 1), (SET_UP, 7, 1)], ids=["report", "checkpoint", "setup"]
)
def test_every_sign_of_progress_counts(sign: Entry) -> None:
    dog = training()
    assert dog.due(29.9) is None
    dog.heard(sign, 29.9, in_hand=False)
    assert dog.due(59.8) is None
    assert dog.due(59.9) is not None


@pytest.mark.parametrize(
    ("restored", "step", "where"),
    [(None, None, "before its first report"), (5, None, "restored from step 5"), (5, 7, "last at step 7")],
)
def test_it_says_how_far_the_trial_came(restored: int | None, step: int | None, where: str) -> None:
    dog = watchdog()
    dog.heard((STARTED, 0, 7, 1, restored), 0, in_hand=False)
    if step is not None:
        dog.heard(reports(step), 0, in_hand=False)
    assert dog.due(30) == Verdict((7, 1), f"no progress for 30 s ({where})")


def test_what_the_second_thread_sends_is_no_progress() -> None:
    dog = training()
    dog.heard((BACK, [9]), 29, in_hand=False)
    dog.heard((ENDED, 0, 8, 0, 0, "stopped", "by hand", None, None, None, None), 29, in_hand=False)
    assert dog.due(30) == Verdict((7, 1), "no progress for 30 s (before its first report)")


def test_waiting_for_an_answer_does_not_count() -> None:
    dog = training()
    dog.heard((RUNG, 7, 1, 3, 0.5), 10, in_hand=True)
    dog.heard((BACK, [9]), 500, in_hand=False)
    assert dog.due(1000) is None
    dog.answered(1000)
    assert dog.due(1029) is None
    assert dog.due(1030) is not None


def test_a_pause_does_not_count() -> None:
    dog = training()
    dog.heard((PAUSED, 0, 7, 1, 3), 10, in_hand=True)
    dog.heard((APPLIED, 0, 7, 1, 4, "id"), 20, in_hand=True)
    assert dog.due(1000) is None
    dog.heard((UNPAUSED, 0, 7, 1, 3), 1000, in_hand=True)
    assert dog.due(1029) is None
    assert dog.due(1030) is not None


def test_a_pause_ends_with_its_trial() -> None:
    for end in (ENDED_7, (STARTED, 0, 8, 0, None)):
        dog = training()
        dog.heard((PAUSED, 0, 7, 1, 3), 10, in_hand=True)
        dog.heard(end, 20, in_hand=True)
        assert dog.due(50) is not None


def test_who_is_told_to_end_in_a_pause_has_the_grace_and_no_more() -> None:
    dog = training()
    dog.heard((PAUSED, 0, 7, 1, 3), 10, in_hand=False)
    dog.heard(TOLD_7, 100, in_hand=False)
    assert dog.due(110) is not None


def test_a_process_with_nothing_to_do_owes_nothing() -> None:
    dog = watchdog()
    assert dog.due(1000) is None
    dog.handed(1000)
    assert dog.due(1029) is None
    assert dog.due(1030) == Verdict(None, "no progress for 30 s (before it began a trial)")
    dog.heard(STARTED_7, 1030, in_hand=False)
    dog.heard(ENDED_7, 1031, in_hand=False)
    assert dog.due(5000) is None


def test_time_between_two_trials_counts_where_there_is_a_next_one() -> None:
    dog = training()
    dog.heard(ENDED_7, 5, in_hand=True)
    dog.handed(30)  # more of them is no progress
    assert dog.due(35) == Verdict(None, "no progress for 30 s (between two trials)")


def test_a_function_that_ignores_its_end_has_the_grace_and_no_more() -> None:
    dog = training()
    dog.heard(TOLD_7, 100, in_hand=True)
    dog.heard((SAVED, 0, 7, 1, 3), 109, in_hand=True)
    assert dog.due(109.9) is None
    assert dog.due(110) == Verdict((7, 1), "still there 10 s after it was told to end: diverged")
    assert dog.decided((7, 0), 55) is None
    assert dog.decided((7, 1), 55) == (ENDED, 55, *TOLD_7[2:])


def test_an_end_settles_everything() -> None:
    dog = training()
    dog.heard(TOLD_7, 1, in_hand=True)
    dog.heard(ENDED_7, 2, in_hand=True)
    assert dog.decided((7, 1), 55) is None
    assert dog.due(29) is None
    dog.heard((STARTED, 0, 8, 0, None), 30, in_hand=False)
    assert dog.due(31) is None


def test_without_limits_there_is_none() -> None:
    dog = training(progress_timeout_s=None, stop_grace_s=None)
    dog.heard(TOLD_7, 1, in_hand=False)
    assert dog.due(1e9) is None
    assert dog.too_large(lambda: 1 << 60) is None
    assert dog.tick_s == 1.0


def test_who_ignores_its_end_and_has_no_grace_is_still_to_make_progress() -> None:
    dog = training(stop_grace_s=None)
    dog.heard(TOLD_7, 1, in_hand=False)
    assert dog.due(31) is not None


def test_a_new_process_begins_anew() -> None:
    dog = training()
    dog.heard(TOLD_7, 0, in_hand=False)
    dog.born()
    assert dog.due(1000) is None
    assert dog.decided((7, 1), 0) is None


def test_memory_is_measured_closely_only_where_it_must_be() -> None:
    dog = training(memory_bytes=4 * 2**30)
    assert dog.too_large(lambda: 4 * 2**30, pytest.fail) is None
    assert dog.too_large(lambda: 6 * 2**30, lambda: 3 * 2**30) is None
    used = int(5.1 * 2**30)
    assert dog.too_large(lambda: 6 * 2**30, lambda: used) == Verdict(
        (7, 1), "used 5.1 GiB, more than its memory_bytes of 4 GiB"
    )
    dog.heard(ENDED_7, 1, in_hand=True)
    assert dog.too_large(lambda: 6 * 2**30) is None, "there is nobody to charge"


def test_it_looks_more_often_where_limits_are_short() -> None:
    assert watchdog(progress_timeout_s=0.4).tick_s == pytest.approx(0.1)
    assert watchdog(progress_timeout_s=3600).tick_s == 1.0

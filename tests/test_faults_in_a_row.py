"""A fault that repeats across many trials stops the sweep; bad luck does not."""

from __future__ import annotations

import random
import signal
from pathlib import Path

import pytest

import caviar
from caviar.faults import LEAST_ATTEMPTS, LEAST_TRIALS, SAME_FAULT, FaultStreak
from caviar.messages import TrialSampled


def until_told(streak: FaultStreak, reason: str, *, attempts_each: int = 1, most: int = 1000) -> int:
    for attempt in range(most):
        if streak.count(attempt // attempts_each, reason) is not None:
            return attempt + 1
    raise AssertionError("never told")


def test_ten_attempts_in_a_row_are_a_bug_where_nothing_has_worked() -> None:
    assert until_told(FaultStreak(), "ValueError: x") == LEAST_ATTEMPTS


def test_a_trial_that_fails_again_and_again_is_one_trial() -> None:
    assert until_told(FaultStreak(), "ValueError: x", attempts_each=6) == 6 * (LEAST_TRIALS - 1) + 1


def test_numbers_and_addresses_do_not_make_a_fault_another_one() -> None:
    streak = FaultStreak()
    told = [
        streak.count(trial, f"RuntimeError: out of memory at 0x7f{trial:04x}, tried {trial} MiB")
        for trial in range(LEAST_ATTEMPTS)
    ]
    assert told[:-1] == [None] * (LEAST_ATTEMPTS - 1)
    assert told[-1] == (
        f"{SAME_FAULT} 10 attempts in a row, of 10 trials: RuntimeError: out of memory at 0x7f0009, tried 9 MiB"
    )


def test_different_faults_are_not_one() -> None:
    streak = FaultStreak()
    for trial in range(100):
        assert streak.count(trial, "ValueError: x" if trial % 2 else "TypeError: y") is None


def test_one_that_comes_to_another_end_breaks_the_streak() -> None:
    streak = FaultStreak()
    for trial in range(100):
        assert streak.count(trial, "ValueError: x") is None
        if trial % 5 == 4:
            streak.over()


def test_retries_of_trials_that_had_failed_before_the_streak_are_no_part_of_it() -> None:
    streak = FaultStreak()
    for trial in range(100):  # as they come in a row when a sweep is resumed, or there is room on the disk again
        assert streak.count(trial, "ValueError: x", again=True) is None
    for trial in range(LEAST_ATTEMPTS // 2 - 1):
        assert streak.count(trial, "ValueError: x") is None
        assert streak.count(trial, "ValueError: x", again=True) is None
    assert streak.count(200, "ValueError: x") is None
    assert streak.count(200, "ValueError: x", again=True) is not None, (
        "where all began in the streak, retries count"
    )


def test_a_resumed_sweep_does_not_take_its_retries_for_a_bug(tmp_path: Path) -> None:
    sweep = caviar.Sweep(fails_where_lr_is_low, caviar.Space(lr=caviar.Float(0, 1)), metric="loss", trials=300)

    def interrupt(item: object) -> None:
        if isinstance(item, TrialSampled) and item.trial == 250:
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        sweep.run(tmp_path / "sweep", caviar.Inline(), on_event=interrupt)
    failed_once = caviar.load(tmp_path / "sweep").counts()["pending"]
    assert failed_once > 2 * LEAST_ATTEMPTS, "as many wait for their second attempt"
    result = sweep.run(tmp_path / "sweep", caviar.Inline(), resume=True)
    assert result.ended == "done"
    assert len(result.trials()) == 300


def fails_where_lr_is_low(trial: caviar.Trial) -> None:
    if trial.params["lr"] < 0.2:
        raise ZeroDivisionError("bad params")
    trial.report(loss=1.0)


@pytest.mark.parametrize("share", [0.3, 0.6, 0.9])
def test_where_many_params_are_bad_chance_is_not_taken_for_a_bug(share: float) -> None:
    chance = random.Random(3)
    streak = FaultStreak()
    for _ in range(200):  # what is learned at first
        if chance.random() >= share:
            streak.over()
        elif streak.count(0, "ValueError: x") is not None:  # one trial alone is never enough
            raise AssertionError
    stopped = 0
    for trial in range(5000):
        if chance.random() < share:
            stopped += streak.count(trial, "ValueError: x") is not None
        else:
            streak.over()
    assert not stopped


def fails(trial: caviar.Trial) -> None:
    if trial.id >= 5:
        raise ZeroDivisionError("a bug")
    trial.report(loss=1.0)


def test_the_sweep_stops_early_and_says_why(tmp_path: Path) -> None:
    sweep = caviar.Sweep(fails, caviar.Space(lr=caviar.Float(0, 1)), metric="loss", trials=500, retries=0)
    result = sweep.run(tmp_path / "sweep", caviar.Inline())
    assert result.status == "finished"
    assert result.ended is not None
    assert result.ended.startswith(f"{SAME_FAULT} ")
    assert result.ended.endswith("trials: ZeroDivisionError: a bug")
    assert 15 <= len(result.trials()) <= 25, "far fewer than the 500"
    # once the bug is mended, the rest is trained
    mended = caviar.Sweep(learns, sweep.space, metric="loss", trials=500, retries=0)
    again = mended.run(tmp_path / "sweep", caviar.Inline(), resume=True, allow_change=True)
    assert len(again.trials()) == 500
    assert again.ended == "done"


def learns(trial: caviar.Trial) -> None:
    trial.report(loss=1.0)

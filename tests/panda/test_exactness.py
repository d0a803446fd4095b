"""A run is repeated, gone on with and steered exactly, where that is less than plain."""

from __future__ import annotations

import logging
import math
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import caviar
from caviar.errors import CaviarError, UsageError
from caviar.panda.live_run import LiveRun
from caviar.panda.replaying import compare
from caviar.rules import EveryN, OnNonFinite, Warmup
from caviar.store import inbox

SPACE = caviar.Space(lr=caviar.Float(1e-3, 1.0, scale="log"))


def sweep(at: Callable[[caviar.Trial, int], None] = lambda trial, step: None, **changes: Any) -> caviar.Sweep:
    """Of a training function that calls ``at`` while it trains each step."""

    def train(trial: caviar.Trial) -> None:
        x = 5.0
        if trial.restored:
            x = float((trial.restored / "x").read_text())
        for step in trial.steps():
            at(trial, step)
            x -= trial.params["lr"] * 0.1 * x
            trial.report(loss=x)
            if trial.checkpoint_due:
                with trial.checkpoint() as folder:
                    (folder / "x").write_text(repr(x))

    arguments: dict[str, Any] = {"metric": "loss", "trials": 9, "max_step": 20, "checkpoint_every": 5, **changes}
    return caviar.Sweep(train, SPACE, **arguments)


def run(path: Path, of: caviar.Sweep, **how: Any) -> LiveRun:
    return of.panda(path, caviar.Inline(), **{"params": {"lr": 0.1}, "background": False, **how})


def again(path: Path, of: caviar.Sweep, first: LiveRun) -> LiveRun:
    return of.panda(path, caviar.Inline(), schedule=first.schedule(), background=False)


def asks(path: Path, step: int, command: str, **args: Any) -> Callable[[caviar.Trial, int], None]:
    """Ask something of the run once, at a step, so that the driver has it before this step is judged."""
    asked: list[str] = []

    def at(trial: caviar.Trial, here: int) -> None:
        if here == step and not asked:
            asked.append(inbox.post(path, command, args=args))

    return at


@pytest.fixture(autouse=True)
def at_every_report(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("caviar.runner.INBOX_S", -1.0)
    monkeypatch.setattr("caviar.execution.inline.FLUSH_S", -1.0)


# --- a person and a rule at once ------------------------------------------------------------------------------


def test_a_rule_goes_by_what_a_person_has_set_and_the_trial_has_not_taken_yet(tmp_path: Path) -> None:
    path = tmp_path / "live"

    def late(trial: caviar.Trial, step: int) -> None:
        ask(trial, step)
        if step == 4:  # a report that no rule is asked about: the driver takes the command with it
            trial.report(other=1.0)

    ask = asks(path, 4, "set", changes={"lr": 0.002})
    done = run(path, sweep(late), rules=[EveryN(4, scale={"lr": 0.5}, at_most=1)])
    frame = done.adjustments()
    assert frame[["param", "old", "new", "by"]].values.tolist() == [
        ["lr", 0.1, 0.002, "by hand"],
        ["lr", 0.002, 0.001, "EveryN"],
    ]
    assert done.params == {"lr": 0.001}


def test_of_two_changes_at_one_step_the_first_was_never_trained_with(tmp_path: Path) -> None:
    path = tmp_path / "live"

    def both(trial: caviar.Trial, step: int) -> None:
        first(trial, step)
        second(trial, step)

    first, second = (asks(path, 4, "set", changes={"lr": lr}) for lr in (0.2, 0.3))
    frame = run(path, sweep(both)).adjustments()
    assert frame["step"].nunique() == 1
    assert frame[["new", "main_line"]].values.tolist() == [[0.2, False], [0.3, True]]


# --- going on -------------------------------------------------------------------------------------------------


def test_an_ended_run_that_is_extended_still_knows_what_its_rules_did(tmp_path: Path) -> None:
    rules = [EveryN(5, scale={"lr": 0.9})]
    whole = run(tmp_path / "whole", sweep(max_step=40), rules=rules)
    run(tmp_path / "live", sweep(), rules=rules)
    extended = run(tmp_path / "live", sweep(), rules=rules, resume=True, extend_to=40)
    assert list(extended.adjustments()["step"]) == list(whole.adjustments()["step"]) == [*range(6, 42, 5)]
    assert compare(whole, extended) is None


# --- repeating ------------------------------------------------------------------------------------------------


def test_the_schedule_of_the_sweep_is_not_applied_once_more(tmp_path: Path) -> None:
    scheduled = {"schedule": {15: {"lr": "*=0.1"}}}
    path = tmp_path / "live"
    first = run(path, sweep(asks(path, 4, "set", changes={"lr": 0.5}), **scheduled))
    assert compare(first, again(tmp_path / "again", sweep(**scheduled), first)) is None
    untouched = run(tmp_path / "untouched", sweep(**scheduled))
    assert compare(untouched, again(tmp_path / "again-2", sweep(**scheduled), untouched)) is None


def test_a_run_whose_first_step_was_out_of_bounds_is_repeated(tmp_path: Path) -> None:
    warm = run(tmp_path / "warm", sweep(), rules=[Warmup(20)], params={"lr": 0.01})
    assert warm.schedule()[1]["lr"] < SPACE["lr"].low
    assert warm.schedule().params == {"lr": 0.01}
    assert compare(warm, again(tmp_path / "again", sweep(), warm)) is None
    path = tmp_path / "forced"
    ask = asks(path, 4, "rollback", to_step=0, changes={"lr": 2e-4}, force=True)
    forced = run(path, sweep(ask))
    assert compare(forced, again(tmp_path / "again-2", sweep(), forced)) is None


def test_a_run_that_went_on_past_nan_is_repeated(tmp_path: Path) -> None:
    def broken(**changes: Any) -> caviar.Sweep:
        def train(trial: caviar.Trial) -> None:
            for step in trial.steps():
                trial.report(loss=math.nan if step == 12 else trial.params["lr"] / step)

        return caviar.Sweep(train, SPACE, metric="loss", trials=1, max_step=20)

    first = run(tmp_path / "live", broken(), rules=[OnNonFinite(at_most=1)])
    assert (first.status, first.step) == ("completed", 20)
    repeated = again(tmp_path / "again", broken(), first)
    assert (repeated.status, repeated.step) == ("completed", 20)
    assert compare(first, repeated) is None


def test_a_run_with_another_seed_is_not_repeated_in_silence(tmp_path: Path) -> None:
    several = sweep(trials=3)
    several.run(tmp_path / "sweep", caviar.Inline())
    schedule = caviar.attach(tmp_path / "sweep", trial=2).schedule()
    with pytest.raises(UsageError, match=f"had the seed {schedule.seed}, and this one would"):
        sweep().panda(tmp_path / "again", caviar.Inline(), schedule=schedule)
    assert not (tmp_path / "again").exists()


def test_a_report_that_one_curve_lacks_is_a_difference_even_where_it_is_nan(tmp_path: Path) -> None:
    def of(last: int) -> caviar.Sweep:
        def train(trial: caviar.Trial) -> None:
            for step in range(1, last + 1):
                trial.report(loss=math.nan if step == 3 else 1.0)

        return caviar.Sweep(train, SPACE, metric="loss", trials=1, stop_on_nan=False)

    longer, shorter = run(tmp_path / "longer", of(3)), run(tmp_path / "shorter", of(2))
    difference = compare(longer, shorter)
    assert difference is not None
    assert difference.step == 3


# --- going back -----------------------------------------------------------------------------------------------


def test_a_damaged_checkpoint_is_not_gone_back_to(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "live"
    ask = asks(path, 18, "rollback", to_step=15)

    def breaks(trial: caviar.Trial, step: int) -> None:
        if step == 18 and trial.attempt == 0:
            shutil.rmtree(path / "checkpoints" / "0" / "0" / "15")
        ask(trial, step)

    done = run(path, sweep(breaks))
    assert (done.status, done.step) == ("completed", 20)
    events = done.result().events()
    assert list(events[events.kind == "rolled_back"].step) == [10]
    assert list(events[events.kind == "checkpoint_lost"].step) == [15]
    assert not len(events[events.kind == "attempt_failed"])
    assert "cannot be rolled back to step 15" in caplog.text


# --- the process that started it ------------------------------------------------------------------------------


def test_an_observer_that_raises_at_once_keeps_nobody_waiting(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def observer(item: Any) -> None:
        raise ValueError("no")

    endless = sweep(lambda trial, step: time.sleep(0.002), max_step=None)
    live = endless.panda(tmp_path / "live", caviar.Inline(), params={"lr": 0.1}, on_event=observer)
    assert live.status == "running"
    live.stop()
    live.wait()
    assert caplog.text.count("on_event raised, and is called no more") == 1


def test_what_ended_it_is_raised_to_everybody_who_waits(tmp_path: Path) -> None:
    path = tmp_path / "live"
    endless = sweep(lambda trial, step: time.sleep(0.002), max_step=None)
    live = endless.panda(path, caviar.Inline(), params={"lr": 0.1})
    path.rename(tmp_path / "gone")
    for _ in range(2):
        with pytest.raises((CaviarError, OSError)):
            live.wait()


def test_zero_steps_between_checkpoints_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="checkpoint_every=0"):
        run(tmp_path / "live", sweep(), checkpoint_every=0)


def test_a_live_run_is_not_extended_by_trials(tmp_path: Path) -> None:
    path = tmp_path / "live"
    done = run(path, sweep(asks(path, 4, "extend", trials=2)))
    events = done.result().events()
    [answer] = events[events.kind == "command_answered"].data
    assert not answer["applied"]
    assert "is a live run, of one trial" in answer["text"]
    assert len(done.result().trials()) == 1


def test_gone_on_with_it_stands_as_it_does_now(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.ERROR)
    endless = sweep(lambda trial, step: time.sleep(0.002), max_step=None)
    path = tmp_path / "live"
    live = endless.panda(path, caviar.Inline(), params={"lr": 0.1})
    assert live._driver is not None
    live._driver.interrupt.set()
    with pytest.raises(CaviarError, match="was interrupted"):
        live.wait()
    once_more = endless.panda(path, caviar.Inline(), params={"lr": 0.1}, resume=True)
    events = once_more.result().events()
    assert len(events[events.kind == "trial_started"]) == 2
    once_more.stop()
    once_more.wait()


def test_rules_look_at_the_last_step_too(tmp_path: Path) -> None:
    def train(trial: caviar.Trial) -> None:
        for step in trial.steps():
            trial.report(loss=math.nan if step == 10 and trial.params["lr"] > 0.05 else 1 / step)
            if trial.checkpoint_due:
                with trial.checkpoint():
                    pass

    broken = caviar.Sweep(train, SPACE, metric="loss", trials=1, max_step=10, checkpoint_every=5)
    done = run(tmp_path / "live", broken, rules=[OnNonFinite()])
    assert (done.status, done.step) == ("completed", 10)
    assert done.curves().loss.notna().all()
    assert list(done.adjustments()["step"]) == [6]

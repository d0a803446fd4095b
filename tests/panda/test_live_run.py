"""A live run in the hands of a person."""

from __future__ import annotations

import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

import caviar
from caviar.errors import CaviarError, UsageError
from caviar.panda.live_run import LiveRun
from caviar.panda.replaying import compare

STEP_S = 0.002

SPACE = caviar.Space(
    lr=caviar.Float(1e-4, 1.0, scale="log"),
    momentum=caviar.Float(0.5, 0.99),
    kind=caviar.Choice(["a", "b"]),
)


def sweep(**changes: Any) -> caviar.Sweep:
    def train(trial: caviar.Trial) -> None:
        x = 1.0
        if trial.restored:
            x = float((trial.restored / "x").read_text())
        for _ in trial.steps():
            time.sleep(STEP_S)
            x *= 1 - 0.01 * trial.params["lr"]
            trial.report(loss=x, lr=trial.params["lr"])
            if trial.checkpoint_due:
                with trial.checkpoint() as folder:
                    (folder / "x").write_text(repr(x))

    arguments: dict[str, Any] = {"metric": "loss", "trials": 1, "max_step": None, "checkpoint_every": 5, **changes}
    return caviar.Sweep(train, SPACE, **arguments)


@pytest.fixture
def run(tmp_path: Path) -> Iterator[LiveRun]:
    """One that trains until it is stopped."""
    run = begin(tmp_path)
    yield run
    if run.status in ("running", "paused"):
        run.stop()
    with suppress(CaviarError):  # where a test has interrupted it, that is told again
        run.wait()


def begin(path: Path, **changes: Any) -> LiveRun:
    return sweep(**changes).panda(path / "live", caviar.Inline(), params={"lr": 0.5})


def test_what_is_not_given_is_the_middle_and_that_is_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run = begin(tmp_path, max_step=40)
    run.wait()
    assert run.params == {"lr": 0.5, "momentum": 0.745, "kind": "b"}
    assert "not given, so the middle of their scale: momentum=0.745, kind=b" in caplog.text
    assert (run.status, run.step) == ("completed", 40)


def test_a_change_is_applied_recorded_and_told(run: LiveRun) -> None:
    adjustment = run.set("lr*=0.5", momentum=0.9, note="too fast")
    assert adjustment.step is not None
    assert adjustment.old == {"lr": 0.5, "momentum": 0.745}
    assert adjustment.new == {"lr": 0.25, "momentum": 0.9}
    assert adjustment.text == f"applied at step {adjustment.step}: lr 0.5 -> 0.25, momentum 0.745 -> 0.9"
    run.stop()
    run.wait()
    curve = run.curves().set_index("step").lr
    assert (curve.loc[: adjustment.step - 1] == 0.5).all()
    assert (curve.loc[adjustment.step :] == 0.25).all()
    frame = run.adjustments()
    assert list(frame.columns) == ["step", "time", "attempt", "param", "old", "new", "by", "note", "main_line"]
    assert list(frame.param) == ["lr", "momentum"]
    assert set(frame.note) == {"too fast"}
    assert run.result().trials().by_hand.all()


def test_tried_out_it_changes_nothing(run: LiveRun) -> None:
    tried = run.set(lr=7, force=True, dry_run=True)
    assert (tried.step, tried.text) == (None, "would set lr 0.5 -> 7")
    assert not len(run.adjustments())


def test_it_can_be_paused_changed_and_gone_on_with_at_the_same_step(run: LiveRun) -> None:
    run.pause()
    assert run.status == "paused"
    at = run.step
    assert run.set(lr=0.1).step == at + 1
    other = caviar.attach(run.path)
    assert other.params["lr"] == 0.1
    other.unpause()
    last = other.set(lr=0.2).step
    assert last is not None
    run.stop()
    run.wait()
    curve = run.curves().set_index("step").lr
    assert (curve.loc[:at] == 0.5).all()
    assert (curve.loc[at + 1 : last - 1] == 0.1).all()
    assert list(curve.index) == list(range(1, len(curve) + 1))


def test_it_can_be_stopped_while_it_is_paused(run: LiveRun) -> None:
    run.pause()
    run.stop()
    assert run.wait().trials().reason.tolist() == ["by hand"]
    with pytest.raises(CaviarError):
        run.set(lr=0.1)


def test_a_roll_back_keeps_both_branches(run: LiveRun) -> None:
    run.pause()
    came_to = run.step
    back_at = run.rollback(to_step=came_to - 1, lr=0.1)
    assert back_at < came_to
    assert run.status in ("pending", "running", "paused"), "it was paused, and is so again"
    run.unpause()
    run.set(lr=0.2)
    run.stop()
    run.wait()
    main, both = run.curves(), run.curves(attempts="all")
    assert list(main.step) == list(range(1, len(main) + 1))
    assert len(both) == len(main) + came_to - back_at
    assert main.set_index("step").lr.loc[back_at + 1] == 0.1
    assert sorted(both.attempt.unique()) == [0, 1]


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"lrr": 1}, "lrr is unknown"),
        ({"lr": 5}, "lr=5 lies outside its bounds, 0.0001 to 1"),
        ({"lr": "fast"}, "lr='fast': needs a finite number"),
        ({"kind": "a"}, "kind is no knob"),
    ],
)
def test_what_cannot_be_is_refused_and_the_run_goes_on(run: LiveRun, changes: dict[str, Any], says: str) -> None:
    with pytest.raises(CaviarError, match=says):
        run.set(**changes)
    assert run.status == "running"
    assert not len(run.adjustments())


def test_a_run_is_repeated_bit_for_bit(run: LiveRun, tmp_path: Path) -> None:
    run.pause()
    run.set(lr=0.3)
    run.rollback("lr*=0.3", to_step=5)
    run.unpause()
    run.set(lr=0.7)
    run.stop()
    run.wait()
    schedule = run.schedule()
    assert schedule[1] == {"lr": 0.5, "momentum": 0.745, "kind": "b"}
    last = schedule.last_step
    again = sweep(max_step=last).panda(tmp_path / "again", caviar.Inline(), schedule=schedule)
    again.wait()
    assert compare(run, again) is None
    assert again.schedule() == schedule
    other = sweep(max_step=last).panda(tmp_path / "other", caviar.Inline(), params={"lr": 0.5})
    other.wait()
    difference = compare(run, other)
    assert difference is not None
    assert difference.step == list(schedule)[1]


def test_a_schedule_serves_a_sweep(tmp_path: Path) -> None:
    scheduled = sweep(trials=3, max_step=20, schedule={11: {"lr": "*=0.1"}})
    curves = scheduled.run(tmp_path / "x", caviar.Inline()).curves(params=["lr"])
    assert (curves[curves.step <= 10].lr == curves[curves.step <= 10]["params.lr"]).all()
    assert (curves[curves.step > 10].lr == curves[curves.step > 10]["params.lr"] * 0.1).all()


def test_what_keeps_it_from_training_is_raised(tmp_path: Path) -> None:
    (tmp_path / "live").write_text("no folder")
    with pytest.raises(UsageError):
        begin(tmp_path)


def test_a_program_that_ends_waits_for_its_run(tmp_path: Path) -> None:
    program = """
    import sys, time
    import caviar

    def train(trial):
        for step in trial.steps():
            time.sleep(0.01)
            trial.report(loss=1.0 / step)

    sweep = caviar.Sweep(train, caviar.Space(lr=caviar.Float(0, 1)), metric="loss", trials=1, max_step=50)
    sweep.panda(sys.argv[1], caviar.Inline())
    """
    path = tmp_path / "live"
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program), str(path)], capture_output=True, text=True, timeout=100
    )
    assert (done.returncode, done.stderr.count("Traceback")) == (0, 0), done.stderr
    assert caviar.load(path).status == "finished"
    assert caviar.attach(path).step == 50


def test_interrupted_it_can_be_gone_on_with(run: LiveRun) -> None:
    run.pause()
    at = run.step
    assert run._driver is not None
    run._driver.interrupt.set()
    with pytest.raises(CaviarError, match="was interrupted"):
        run.wait()
    assert run.result().status == "interrupted"
    how: dict[str, Any] = {"params": {"lr": 0.5}, "resume": True}
    again = sweep().panda(run.path, caviar.Inline(), **how)
    assert again.step == at
    again.set(lr=0.1)
    assert again.status == "paused"
    again.unpause()
    again.set(lr=0.2)
    again.stop()
    again.wait()
    assert list(again.curves().step) == list(range(1, again.step + 1))

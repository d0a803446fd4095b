"""Sweeps whose trial is steered by a script, inline, from beginning to end: what is stored, and going on."""

from __future__ import annotations

import shutil
import signal
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

import caviar
from caviar import runner
from caviar.execution import inline
from caviar.messages import Checkpointed, Paused, Recorded, Reports
from caviar.store import inbox
from caviar.store.check.look import Verdict
from caviar.store.check.look import check as check_folder
from caviar.store.check.repair import repair
from caviar.store.layout import SweepFolder

SPACE = caviar.Space(lr=caviar.Float(0.001, 1.0, scale="log"), hidden=caviar.Int(1, 64))
LOG_BYTES = 1_000_000
START = {"lr": 0.1, "hidden": 9}

Script = dict[int, list[tuple[str, dict[str, Any]]]]
"""What is asked of the trial before its report of a step, once: it takes effect after this step."""


@pytest.fixture(autouse=True)
def at_every_report(monkeypatch: pytest.MonkeyPatch) -> None:
    """The driver looks into the inbox at every report."""
    monkeypatch.setattr(runner, "INBOX_S", -1.0)
    monkeypatch.setattr(inline, "FLUSH_S", -1.0)
    monkeypatch.setattr(inline, "WAIT_S", 0.001)


class Sweep:
    """One trial, which adds up its lr."""

    def __init__(self, path: Path, script: Script | None = None, **changes: Any) -> None:
        self.path = path
        self.script = script or {}
        self.changes = changes
        self.interrupt_at: tuple[type[Recorded], int] | None = None

    @property
    def sweep(self) -> caviar.Sweep:
        path, script = self.path, self.script

        def train(trial: caviar.Trial) -> None:
            total = float((trial.restored / "total").read_text()) if trial.restored else 0.0
            for step in trial.steps():
                total += trial.params["lr"]
                for command, args in script.pop(step, ()):
                    inbox.post(path, command, args=args)
                trial.report(total=total, lr=trial.params["lr"])
                if trial.checkpoint_due:
                    with trial.checkpoint() as folder:
                        (folder / "total").write_text(repr(total))

        arguments: dict[str, Any] = {
            "metric": "total",
            "trials": 1,
            "max_step": 30,
            "first": [START],
            "checkpoint_every": 5,
            "keep_checkpoints": "landmarks",
            **self.changes,
        }
        return caviar.Sweep(train, SPACE, **arguments)

    def run(self, *, resume: bool = False, **how: Any) -> caviar.Result:
        return self.sweep.run(self.path, caviar.Inline(), resume=resume, on_event=self.observe, **how)

    def observe(self, item: Recorded | Reports) -> None:
        if isinstance(item, Paused):
            inbox.post(self.path, "unpause")
        if (type(item), getattr(item, "step", None)) == self.interrupt_at:
            self.interrupt_at = None
            signal.raise_signal(signal.SIGINT)


def lrs(result: caviar.Result) -> list[float]:
    """The lr of every step on the main line; each step adds its lr to the total."""
    curve = result.curves()
    assert curve.step.tolist() == list(range(1, len(curve) + 1))
    assert curve.total.diff().iloc[1:].tolist() == pytest.approx(curve.lr.iloc[1:].tolist())
    found: list[float] = curve.lr.tolist()
    return found


def spans(*parts: tuple[int, float]) -> list[float]:
    """(until, lr): lr up to each of these steps."""
    found: list[float] = []
    for until, lr in parts:
        found += [lr] * (until - len(found))
    return found


def answers(result: caviar.Result) -> list[str]:
    events = result.events()
    found: list[str] = [data["text"] for data in events[events.kind == "command_answered"].data]
    return found


def check(folder: SweepFolder) -> Verdict:
    return check_folder(folder, log_bytes=LOG_BYTES)


def data_of(result: caviar.Result, kind: str) -> list[Mapping[str, Any]]:
    events = result.events()
    return list(events[events.kind == kind].data)


def test_a_story_is_trained_stored_and_read_as_it_was_told(tmp_path: Path) -> None:
    script: Script = {
        6: [("set", {"changes": {"lr": 0.2}, "note": "faster"})],
        13: [("set", {"changes": {"lr": "*=2", "hidden": 3}}), ("set", {"changes": {"lr": "*=2"}})],
        21: [("rollback", {"to_step": 10, "changes": {"lr": "/=4"}})],
        26: [("pause", {}), ("set", {"changes": {"lr": 0.9}})],
    }
    result = Sweep(tmp_path / "sweep", script).run()
    assert lrs(result) == spans((6, 0.1), (10, 0.2), (26, 0.05), (30, 0.9))
    assert answers(result) == [
        "applied at step 7: lr 0.1 -> 0.2",
        "applied at step 14: lr 0.2 -> 0.4, hidden 9 -> 3",
        "applied at step 14: lr 0.4 -> 0.8",
        "rolled back from step 21 to step 10: lr 0.2 -> 0.05",
        "applied at step 27: lr 0.05 -> 0.9",
        "paused at step 26",
        "unpaused at step 26",
    ]
    everything = result.curves(attempts="all")
    assert everything.groupby("attempt").step.agg(["min", "max"]).to_numpy().tolist() == [[1, 21], [11, 30]]
    [row] = result.trials().to_dict("records")
    assert (row["status"], row["steps"], row["attempts"], row["by_hand"]) == ("completed", 30, 2, True)
    assert result.best.value == pytest.approx(0.1), "of the main line"
    assert check(SweepFolder(result.path)).sound


def test_checkpoints_before_changes_are_kept_and_none_of_a_branch_that_was_left(tmp_path: Path) -> None:
    script: Script = {
        3: [("set", {"changes": {"lr": 0.2}})],
        9: [("set", {"changes": {"lr": 0.3}})],
        40: [("rollback", {"to_step": 16})],
    }
    result = Sweep(tmp_path / "sweep", script, max_step=60, checkpoint_every=1).run()
    kept = sorted((int(one.parent.name), int(one.name)) for one in Path(result.path).glob("checkpoints/0/*/*"))
    assert {(0, 3), (0, 9), (1, 60), (1, 59), (1, 58)} <= set(kept)
    assert not [one for one in kept if one[0] == 0 and one[1] > 16]
    assert len(kept) < 20


def test_a_checkpoint_that_went_is_never_asked_for_again(tmp_path: Path) -> None:
    """As a driver would notice that goes back to every step that it came by."""
    script: Script = {step: [("rollback", {"to_step": step // 2})] for step in range(11, 60, 7)}
    result = Sweep(tmp_path / "sweep", script, max_step=60, checkpoint_every=1).run()
    assert len(data_of(result, "rolled_back")) == len(range(11, 60, 7))
    assert lrs(result) == [0.1] * 60
    assert result.trials().status.tolist() == ["completed"]


# --- going on ----------------------------------------------------------------------------------------------


def test_one_that_is_extended_trains_on_with_what_was_set_and_all_its_checkpoints(tmp_path: Path) -> None:
    story = Sweep(tmp_path / "sweep", {8: [("set", {"changes": {"lr": 0.5}})]})
    story.run()
    story.script = {34: [("rollback", {"to_step": 8, "changes": {"hidden": 3}})]}
    result = story.sweep.extend(story.path, caviar.Inline(), max_step=40)
    assert answers(result)[-1] == "rolled back from step 34 to step 8: hidden 9 -> 3"
    assert lrs(result) == [0.1] * 40
    [reopened] = data_of(result, "trial_reopened")
    assert reopened["by_hand"]
    assert reopened["adjustments"] == [[9, {"lr": 0.5}]]
    assert [step for _, step, _ in reopened["saved"]] == [5, 8, 15, 20, 25, 30]
    assert check(SweepFolder(result.path)).sound


def test_what_was_set_holds_in_an_extension(tmp_path: Path) -> None:
    story = Sweep(tmp_path / "sweep", {8: [("set", {"changes": {"lr": 0.5}})]})
    story.run()
    result = story.sweep.extend(story.path, caviar.Inline(), max_step=40)
    assert lrs(result) == spans((8, 0.1), (40, 0.5))


def test_one_that_is_extended_while_it_trains_too(tmp_path: Path) -> None:
    script: Script = {
        8: [("set", {"changes": {"lr": 0.5}})],
        28: [("extend", {"max_step": 40})],
        35: [("rollback", {"to_step": 8})],
    }
    result = Sweep(tmp_path / "sweep", script).run()
    assert answers(result)[-1] == "rolled back from step 35 to step 8"
    assert lrs(result) == [0.1] * 40


def interrupted(story: Sweep, kind: type[Recorded], step: int) -> None:
    story.interrupt_at = (kind, step)
    with pytest.raises(KeyboardInterrupt):
        story.run()


def test_adjustments_after_the_checkpoint_are_made_again_at_their_steps(tmp_path: Path) -> None:
    script: Script = {6: [("set", {"changes": {"lr": 0.5}})], 8: [("set", {"changes": {"lr": 0.2}})]}
    story = Sweep(tmp_path / "sweep", script)
    interrupted(story, Checkpointed, 8)
    for step in (6, 8):
        shutil.rmtree(story.path / "checkpoints" / "0" / "0" / str(step))
    result = story.run(resume=True)
    assert [data["restored"] for data in data_of(result, "trial_started")[1:]] == [5]
    assert lrs(result)[:6] == spans((5, 0.1), (6, 0.1))
    assert len(data_of(result, "adjusted")) == 2, "the second was asked for and not done yet"
    assert lrs(result)[-1] == 0.2


def test_a_paused_sweep_that_is_gone_on_with_is_paused(tmp_path: Path) -> None:
    story = Sweep(tmp_path / "sweep", {8: [("pause", {"note": "lunch"})]})
    interrupted(story, Paused, 8)
    shutil.rmtree(story.path / "inbox")
    (story.path / "inbox").mkdir()
    result = story.run(resume=True)
    assert [(data["by"], data.get("note")) for data in data_of(result, "paused")] == [
        ("by hand", "lunch"),
        ("by hand", None),
    ]
    assert answers(result) == ["paused at step 8", "unpaused at step 8"]
    assert result.trials().status.tolist() == ["completed"]


@pytest.mark.parametrize(
    ("gone", "restored", "told"), [([20], 15, "goes on from step 15"), ([20, 15], 10, "step 10")]
)
def test_a_checkpoint_that_cannot_be_restored_is_passed_over_for_the_one_before(
    tmp_path: Path, gone: list[int], restored: int, told: str, caplog: pytest.LogCaptureFixture
) -> None:
    story = Sweep(tmp_path / "sweep")
    interrupted(story, Checkpointed, 20)
    for step in gone:
        (story.path / "checkpoints" / "0" / "0" / str(step) / "total").write_text("")
    result = story.run(resume=True)
    events = result.events()
    assert events[events.kind == "checkpoint_lost"].step.tolist() == gone
    assert [data["restored"] for data in data_of(result, "trial_started")[1:]] == [restored]
    assert told in caplog.text
    assert lrs(result) == [0.1] * 30


def test_where_all_are_damaged_it_starts_from_its_beginning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    story = Sweep(tmp_path / "sweep")
    interrupted(story, Checkpointed, 10)
    for step in (5, 10):
        shutil.rmtree(story.path / "checkpoints" / "0" / "0" / str(step))
    result = story.run(resume=True)
    assert [data.get("restored") for data in data_of(result, "trial_started")] == [None, None]
    assert "trial 0 starts from its beginning: " in caplog.text


def test_an_extension_goes_on_from_the_newest_checkpoint_that_is_whole(tmp_path: Path) -> None:
    story = Sweep(tmp_path / "sweep")
    story.run()
    for step in (25, 30):
        shutil.rmtree(story.path / "checkpoints" / "0" / "0" / str(step))
    result = story.sweep.extend(story.path, caviar.Inline(), max_step=40)
    assert [data.get("restored") for data in data_of(result, "trial_started")] == [None, 20]
    assert lrs(result) == [0.1] * 40


# --- checking ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("policy", ["all", "landmarks", "last"])
def test_a_folder_that_was_rolled_back_is_sound(tmp_path: Path, policy: str) -> None:
    script: Script = {
        8: [("set", {"changes": {"lr": 0.5}})],
        21: [("rollback", {"to_step": 11})],
    }
    story = Sweep(tmp_path / "sweep", script, keep_checkpoints=policy)
    story.run()
    verdict = check(SweepFolder(story.path))
    assert verdict.sound, verdict.findings
    assert not [one for one in verdict.findings if "checkpoints" in str(one)], "none is left over"


@pytest.mark.parametrize(("steps", "restored"), [([8], 20), ([20], 15), ([5, 8, 10, 15, 20], None)])
def test_damaged_landmarks_are_found_and_a_repair_goes_on_from_what_is_whole(
    tmp_path: Path, steps: list[int], restored: int | None
) -> None:
    story = Sweep(tmp_path / "sweep", {8: [("set", {"changes": {"lr": 0.5}})]})
    interrupted(story, Checkpointed, 20)
    for step in steps:
        (story.path / "checkpoints" / "0" / "0" / str(step) / "total").write_text("")
    folder = SweepFolder(story.path)
    verdict = check(folder)
    assert not verdict.sound
    assert sorted(verdict.around.checkpoints) == [(0, 0, step) for step in steps]
    repair(folder, verdict, log_bytes=LOG_BYTES)
    assert check(folder).sound
    story.script = {23: [("rollback", {"to_step": 12})]}
    result = story.run(resume=True)
    assert [data.get("restored") for data in data_of(result, "trial_started")][1] == restored
    events = result.events()
    assert events[events.kind == "checkpoint_lost"].step.tolist() == steps
    [back] = data_of(result, "rolled_back")
    assert back["checkpoint"] == (1 if restored is None else 0)
    assert len(lrs(result)) == 30
    assert check(folder).sound

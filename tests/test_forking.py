"""Trials that go on from a checkpoint of another sweep."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import caviar
from caviar.errors import FolderError, UsageError
from caviar.forking import beginning, fork_path
from caviar.messages import Checkpointed, Decided
from caviar.store.check.look import check
from caviar.store.checkpoints import CheckpointFiles
from caviar.store.layout import SweepFolder
from caviar.store.reader import Reader
from caviar.store.tables import events_of
from caviar.trial import ORIGIN
from tests.descent import descent

SPACE = caviar.Space(
    lr=caviar.Float(1e-3, 1.0, scale="log"), momentum=caviar.Float(0.0, 0.9), kind=caviar.Choice(["a", "b"])
)


def train(trial: caviar.Trial) -> None:
    for _, x in descent(trial):
        trial.report(loss=x * x, seed=trial.seed % 1000)


def otherwise(trial: caviar.Trial) -> None:
    for step in trial.steps():
        trial.report(loss=1.0 / step)


def sweep(**changes: Any) -> caviar.Sweep:
    arguments: dict[str, Any] = {
        "metric": "loss",
        "trials": 3,
        "max_step": 20,
        "checkpoint_every": 4,
        "keep_checkpoints": "all",
        **changes,
    }
    return caviar.Sweep(train, SPACE, **arguments)


@pytest.fixture
def parent(tmp_path: Path) -> caviar.Result:
    return sweep().run(tmp_path / "parent", caviar.Inline())


def curve(result: caviar.Result, trial: int) -> dict[int, float]:
    rows = result.curves().query("trial == @trial")
    return dict(zip(rows["step"].tolist(), rows["loss"].tolist(), strict=True))


def by_hand(params: dict[str, Any], *, steps: int, then: tuple[int, dict[str, Any]] | None = None) -> list[float]:
    """The losses of a trial with these params, and from a step on with others."""
    x, velocity, losses = 5.0, 0.0, []
    for step in range(1, steps + 1):
        values = params if then is None or step < then[0] else {**params, **then[1]}
        velocity = values["momentum"] * velocity - 0.1 * values["lr"] * x
        x += velocity
        losses.append(x * x)
    return losses


def test_its_trials_go_on_from_there_and_differ_by_what_varies_alone(
    parent: caviar.Result, tmp_path: Path
) -> None:
    forked = sweep().forked(parent.path, trial=1, at_step=9, vary=["lr"], trials=5)
    result = forked.run(tmp_path / "fork", caviar.Inline())
    assert result.counts() == {"completed": 5}
    before = parent.params_of(1)
    rates = set()
    for trial in range(5):
        params = result.params_of(trial)
        rates.add(params["lr"])
        assert {**params, "lr": before["lr"]} == before
        expected = by_hand(dict(before), steps=20, then=(9, {"lr": params["lr"]}))
        assert curve(result, trial) == dict(zip(range(9, 21), expected[8:], strict=True))
    assert len(rates) == 5
    events = result.events()
    sampled = events[events["kind"] == "trial_sampled"]
    [seed] = {data["seed"] for data in sampled["data"]}
    assert seed == parent.events().query("kind == 'trial_sampled' and trial == 1").data.iloc[0]["seed"]
    started = events[events["kind"] == "trial_started"]
    assert {data["restored"] for data in started["data"]} == {8}
    assert result.savings().steps == 5 * 12, "what was trained elsewhere is not counted here"


def test_with_nothing_varied_one_goes_on_as_if_nothing_had_been(parent: caviar.Result, tmp_path: Path) -> None:
    result = sweep().forked(parent.path, trial=2, at_step=8).run(tmp_path / "on", caviar.Inline())
    assert result.counts() == {"completed": 1}
    assert result.space == SPACE
    whole = curve(parent, 2)
    assert curve(result, 0) == {step: whole[step] for step in range(9, 21)}


def test_the_original_may_go(parent: caviar.Result, tmp_path: Path) -> None:
    """What its trials begin from lies in its own folder."""
    forked = sweep().forked(parent.path, vary=["lr"], at_step=12, trials=2)
    result = forked.run(tmp_path / "fork", caviar.Inline())
    shutil.rmtree(parent.path)
    further = sweep().extend(result.path, caviar.Inline(), trials=3, max_step=30)
    assert further.counts() == {"completed": 5}
    assert further.trials()["steps"].tolist() == [30] * 5
    before = parent.params_of(0)
    for trial in range(5):
        expected = by_hand(dict(before), steps=30, then=(13, {"lr": further.params_of(trial)["lr"]}))
        assert list(curve(further, trial).values()) == expected[12:]


def test_rungs_before_its_step_are_passed(parent: caviar.Result, tmp_path: Path) -> None:
    declared = sweep(scheduler=caviar.Asha(grace_steps=2, reduction_factor=2))
    forked = declared.forked(parent.path, at_step=8, vary=["lr", "momentum"], trials=9)
    result = forked.run(tmp_path / "fork", caviar.Inline())
    decided = [one for one in events_of(Reader(result.path).read()[1]) if isinstance(one, Decided)]
    assert {one.rung for one in decided} == {16}
    assert result.counts()["stopped"] > 0


def test_a_trial_that_fails_begins_at_the_origin_again_until_it_has_a_checkpoint(
    parent: caviar.Result, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("caviar.controller.RETRY_S", 0.0)
    left = [10, 15]

    def fails(trial: caviar.Trial) -> None:
        x = float((trial.restored / "state").read_text().split()[0])  # type: ignore[operator]
        for step in trial.steps():
            trial.report(loss=x * x)
            if left and step == left[0]:
                left.pop(0)
                raise RuntimeError("a fault")
            if trial.checkpoint_due:
                with trial.checkpoint() as folder:
                    (folder / "state").write_text(f"{x!r} 0.0")

    declared = caviar.Sweep(
        fails, SPACE, metric="loss", trials=1, max_step=20, checkpoint_every=4, retries=3, seed=5
    )
    forked = declared.forked(parent.path, at_step=8, vary=["lr"], trials=1, allow_change=True)
    result = forked.run(tmp_path / "fork", caviar.Inline())
    starts = result.events().query("kind == 'trial_started'").data
    assert [data["restored"] for data in starts] == [8, 8, 12]
    saved = [one for one in events_of(Reader(result.path).read()[1]) if isinstance(one, Checkpointed)]
    assert all(attempt != ORIGIN for one in saved for attempt, _ in one.superseded or ())
    assert CheckpointFiles.of(result.path).damage(0, (ORIGIN, 8)) is None, "the origin is never superseded"


def test_a_fork_can_be_forked(parent: caviar.Result, tmp_path: Path) -> None:
    first = sweep().forked(parent.path, at_step=8, vary=["lr"], trials=2, max_step=9)
    one = first.run(tmp_path / "one", caviar.Inline())
    again = sweep().forked(one.path, trial=1, at_step=8, vary=["momentum"], trials=2, max_step=12)
    assert again.origin is not None
    assert (again.origin.attempt, again.origin.step) == (None, 8)
    two = again.run(tmp_path / "two", caviar.Inline())
    for trial in range(2):
        params = two.params_of(trial)
        assert params["lr"] == one.params_of(1)["lr"]
        start = by_hand(dict(parent.params_of(0)), steps=12, then=(9, dict(params)))
        assert list(curve(two, trial).values()) == start[8:]


def test_a_schedule_goes_on(tmp_path: Path) -> None:
    declared = sweep(schedule={6: {"lr": "*=0.5"}, 14: {"lr": "*=0.5"}}, trials=1)
    parent = declared.run(tmp_path / "parent", caviar.Inline())
    forked = declared.forked(parent.path, at_step=8, vary=["momentum"], trials=1)
    result = forked.run(tmp_path / "fork", caviar.Inline())
    rate, momentum = parent.params_of(0)["lr"], result.params_of(0)["momentum"]
    assert result.params_of(0)["lr"] == rate * 0.5
    assert forked.schedule == {14: {"lr": "*=0.5"}}
    x, velocity = 5.0, 0.0
    losses = []
    for step in range(1, 21):
        factor = 1 if step < 6 else 0.5 if step < 14 else 0.25
        velocity = (momentum if step > 8 else parent.params_of(0)["momentum"]) * velocity - 0.1 * rate * factor * x
        x += velocity
        losses.append(x * x)
    np.testing.assert_allclose(list(curve(result, 0).values()), losses[8:], rtol=1e-12)


# --- going on with a fork -----------------------------------------------------------------------------


def test_what_makes_it_one_is_read_from_its_folder(parent: caviar.Result, tmp_path: Path) -> None:
    """Resuming needs the functions alone: the Sweep that its file declares is another one."""
    forked = sweep().forked(parent.path, at_step=8, vary=["lr"], trials=2)
    whole = forked.run(tmp_path / "fork", caviar.Inline())
    again = sweep(trials=50, seed=9).run(tmp_path / "fork", caviar.Inline(), resume=True)
    assert again.counts() == whole.counts() == {"completed": 2}
    further = sweep().extend(tmp_path / "fork", caviar.Inline(), trials=1)
    assert further.params_of(2)["momentum"] == parent.params_of(0)["momentum"]


def test_an_origin_that_is_lost_is_copied_again(parent: caviar.Result, tmp_path: Path) -> None:
    forked = sweep().forked(parent.path, at_step=8, vary=["lr"], trials=1)
    forked.run(tmp_path / "fork", caviar.Inline())
    shutil.rmtree(tmp_path / "fork" / "checkpoints" / "origin")
    assert sweep().extend(tmp_path / "fork", caviar.Inline(), trials=1).counts() == {"completed": 2}
    shutil.rmtree(tmp_path / "fork" / "checkpoints" / "origin")
    shutil.rmtree(parent.path)
    with pytest.raises(FolderError, match=r"no such checkpoint; its trials begin from it, and it cannot be had"):
        sweep().extend(tmp_path / "fork", caviar.Inline(), trials=1)
    assert caviar.load(tmp_path / "fork").counts() == {"completed": 2}


def test_a_checkpoint_that_goes_while_it_is_copied_leaves_nothing_behind(
    parent: caviar.Result, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    forked = sweep().forked(parent.path, at_step=8, vary=["lr"], trials=1)
    check = CheckpointFiles._check

    def check_and_remove(files: CheckpointFiles, trial: int, checkpoint: tuple[int, int]) -> dict[str, int]:
        sizes = check(files, trial, checkpoint)
        shutil.rmtree(parent.path / "checkpoints")  # type: ignore[operator]
        return sizes

    monkeypatch.setattr(CheckpointFiles, "_check", check_and_remove)
    with pytest.raises(FolderError, match="went while it was copied"):
        forked.run(tmp_path / "fork", caviar.Inline())
    assert not (tmp_path / "fork").exists()


# --- mistakes -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("how", "told"),
    [
        ({"trial": 7}, "there is no trial 7; it has the trials 0 to 2"),
        ({"at_step": 3}, "trial 0 has no checkpoint at or before step 3; it has some of steps 4, 8, 12, 16, 20"),
        ({"vary": ["rate"], "at_step": 8}, "'rate' is unknown"),
        ({"vary": "lr", "at_step": 8}, "Sweep.forked.*vary='lr'.*: needs a list of names"),
        ({"at_step": 8, "max_step": 8}, "max_step=8: the checkpoint to begin from is of step 8"),
        ({}, "max_step=20: the checkpoint to begin from is of step 20"),
        ({"at_step": 8, "trials": 0}, "trials=0"),
    ],
)
def test_mistakes_are_told_before_anything_is_written(
    parent: caviar.Result, how: dict[str, Any], told: str
) -> None:
    with pytest.raises(UsageError, match=told):
        sweep().forked(parent.path, **how)


def test_one_that_never_saved_anything_says_how_to(tmp_path: Path) -> None:
    declared = sweep(checkpoint_every=None)
    parent = declared.run(tmp_path / "parent", caviar.Inline())
    with pytest.raises(UsageError, match=r"trial 0 has no checkpoint; .*checkpoint_every"):
        declared.forked(parent.path, vary=["lr"])


def test_another_training_function_has_to_be_allowed(parent: caviar.Result) -> None:
    other = caviar.Sweep(otherwise, SPACE, metric="loss", trials=1, max_step=20)
    with pytest.raises(UsageError, match=r"does not train as that one: .*otherwise"):
        other.forked(parent.path, at_step=8)
    assert other.forked(parent.path, at_step=8, allow_change=True).origin is not None
    with pytest.raises(UsageError, match="metric: 'loss' -> 'seed'"):
        sweep(metric="seed").forked(parent.path, at_step=8)


def test_a_damaged_checkpoint_is_passed_over_and_that_is_said(
    parent: caviar.Result, caplog: pytest.LogCaptureFixture
) -> None:
    (Path(parent.path) / "checkpoints/0/0/12/state").write_text("")
    assert beginning(parent.path, at_step=14).origin.step == 8
    assert "checkpoints/0/0/12" in caplog.text


def test_where_it_goes_by_itself() -> None:
    assert fork_path("runs/live", 40) == Path("runs/live-fork-40")
    assert fork_path("runs/live/", 40) == Path("runs/live-fork-40")
    assert fork_path("s3://bucket/live/", 40) == "s3://bucket/live-fork-40"


# --- caviar check -------------------------------------------------------------------------------------


def findings(path: Any) -> list[tuple[str, str]]:
    verdict = check(SweepFolder.find(path), log_bytes=2**20)
    return [(one.severity.value, f"{one.file}: {one.text}") for one in verdict.findings]


def test_check_knows_what_trials_begin_from(parent: caviar.Result, tmp_path: Path) -> None:
    sweep().forked(parent.path, at_step=8, vary=["lr"], trials=1).run(tmp_path / "fork", caviar.Inline())
    assert findings(tmp_path / "fork") == []
    origin = tmp_path / "fork" / "checkpoints" / "origin"
    (origin / "8" / "more").write_text("")
    (origin / "9").mkdir()
    (origin / "9" / "state").write_text("")
    assert findings(tmp_path / "fork") == [
        ("harmless", "checkpoints/origin/8/more: not listed in its checkpoint, and passed over"),
        ("harmless", "checkpoints/origin/9/state: no trial begins from it"),
    ]
    mend = f"the next driver copies it again from {parent.path}, if it still lies there"
    (origin / "8" / "state").write_text("cut")
    [(severity, told), *_] = findings(tmp_path / "fork")
    assert severity == "damage"
    assert told.startswith(
        "checkpoints/origin/8: the checkpoint that all trials begin from is damaged: state has 3 "
    )
    assert told.endswith(mend)
    shutil.rmtree(origin)
    assert findings(tmp_path / "fork") == [
        ("damage", f"checkpoints/origin/8: the checkpoint that all trials begin from is missing; {mend}")
    ]
    shutil.copytree(tmp_path / "fork" / "checkpoints" / "0", Path(parent.path) / "checkpoints" / "origin" / "0")
    assert [severity for severity, _ in findings(parent.path)] == ["harmless"] * len(findings(parent.path))

"""Going on with a sweep: after any moment at which its driver may have died, with another declaration, and further
than it was to go."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import caviar
from caviar import launch
from caviar.commits import Commits
from caviar.errors import FolderError, LeaseError, UsageError
from caviar.execution import inline
from caviar.history import replay
from caviar.messages import CheckpointLost, Decided, TrialStarted
from caviar.store.reader import Reader
from caviar.store.recorder import Recorder
from caviar.store.tables import events_of

SPACE = caviar.Space(
    lr=caviar.Float(1e-3, 1.0, scale="log"),
    optimizer=caviar.Choice(["sgd", "adam"]),
    beta=caviar.Float(0.9, 0.999, scale="one_minus_log", when={"optimizer": "adam"}),
)


def learns(trial: caviar.Trial) -> None:
    x = 5.0
    if trial.restored:
        x = float((trial.restored / "x").read_text())
    for step in trial.steps():
        x *= 1 - trial.params["lr"]
        trial.report(loss=x * x)
        if step % 2:
            trial.report(odd=float(step))
        if trial.checkpoint_due:
            with trial.checkpoint() as folder:
                (folder / "x").write_text(repr(x))


def sweep(**changes: Any) -> caviar.Sweep:
    arguments: dict[str, Any] = {"metric": "loss", "trials": 8, "max_step": 9, "checkpoint_every": 2, **changes}
    return caviar.Sweep(learns, SPACE, **arguments)


def table(result: caviar.Result) -> pd.DataFrame:
    """The final table, times and attempts aside."""
    return result.trials().drop(columns=["start_time", "end_time", "attempts"])


def curves(result: caviar.Result) -> pd.DataFrame:
    return result.curves().drop(columns="time")


COPY_EVERY = 11


class Deaths:
    """Copies a sweep's folder after its commits, as if the machine had been switched off at that moment. Every
    report is delivered at once and every delivery is a commit, so that these moments are many."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.copies: list[Path] = []
        self._commits = 0
        self._commit = Recorder.commit

    def of(self, declared: caviar.Sweep) -> caviar.Result:
        """Run a sweep, which dies at these moments."""
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Recorder, "commit", lambda recorder, *rows: self._commit_and_copy(recorder, *rows))
            patch.setattr(Commits, "turn", lambda this, now_s: this.flush())
            patch.setattr(inline, "FLUSH_S", 0.0)
            return declared.run(self.folder, caviar.Inline())

    def _commit_and_copy(self, recorder: Recorder, *rows: Any) -> None:
        self._commit(recorder, *rows)
        self._commits += 1
        if self._commits % COPY_EVERY == 0:
            copy = self.folder.with_name(f"copy-{self._commits}")
            shutil.copytree(self.folder, copy, ignore=shutil.ignore_patterns(".tmp"))
            (copy / ".tmp").mkdir()
            (copy / "lease.json").unlink(missing_ok=True)  # its driver is this process, which lives on
            self.copies.append(copy)


@pytest.fixture
def tmp_path(memory: Path | None) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="caviar-test-", dir=memory) as path:
        yield Path(path)


@pytest.fixture
def deaths(tmp_path: Path) -> Deaths:
    return Deaths(tmp_path / "whole")


@pytest.mark.parametrize("checkpoint_every", [None, 2])
def test_whenever_it_died_the_end_is_that_of_a_sweep_never_interrupted(
    deaths: Deaths, checkpoint_every: int | None
) -> None:
    declared = sweep(checkpoint_every=checkpoint_every, first=[{"lr": 0.5}])
    whole = deaths.of(declared)
    assert len(deaths.copies) > 5
    again = set()
    for copy in deaths.copies:
        result = declared.run(copy, caviar.Inline(), resume=True)
        assert result.status == "finished"
        pd.testing.assert_frame_equal(table(result), table(whole))
        pd.testing.assert_frame_equal(curves(result), curves(whole))
        again |= set(result.trials().query("attempts > 1").index)
    assert again, "no trial was cut off"


@pytest.mark.parametrize("spare", [0.0, 0.5])
def test_the_state_of_the_scheduler_is_exactly_what_it_was(deaths: Deaths, spare: float) -> None:
    """One trial at a time, so the order of the reports is the same: then so are ASHA's decisions."""
    asha = caviar.Asha(grace_steps=1, reduction_factor=2, spare=spare)
    declared = sweep(scheduler=asha, trials=20, checkpoint_every=1)
    whole = deaths.of(declared)
    judged = rungs(whole)
    assert (whole.trials().status == "stopped").any()
    assert whole.trials().spared.any() == bool(spare)
    for copy in deaths.copies:
        result = declared.run(copy, caviar.Inline(), resume=True)
        assert rungs(result) == judged
        pd.testing.assert_frame_equal(table(result), table(whole))


def rungs(result: caviar.Result) -> list[tuple[int, int, float, str]]:
    events = events_of(Reader(result.path).read()[1])
    return [(one.trial, one.rung, one.value, one.decision) for one in events if isinstance(one, Decided)]


def test_one_that_has_ended_is_left_as_it_is(tmp_path: Path) -> None:
    sweep().run(tmp_path / "sweep", caviar.Inline())
    before = sorted(path.name for path in (tmp_path / "sweep" / "events").iterdir())
    result = sweep().run(tmp_path / "sweep", caviar.Inline(), resume=True)
    assert result.status == "finished"
    assert sorted(path.name for path in (tmp_path / "sweep" / "events").iterdir()) == before


def test_where_there_is_none_yet_it_begins_one(tmp_path: Path) -> None:
    assert sweep().run(tmp_path / "sweep", caviar.Inline(), resume=True).counts() == {"completed": 8}


def interrupted(path: Path, declared: caviar.Sweep) -> caviar.Result:
    """A sweep whose driver went in the middle of it."""
    deaths = Deaths(path.with_name("whole"))
    deaths.of(declared)
    deaths.copies[len(deaths.copies) // 2].rename(path)
    return caviar.load(path)


def test_a_damaged_checkpoint_sends_its_trial_to_the_beginning_and_says_so(
    deaths: Deaths, caplog: pytest.LogCaptureFixture
) -> None:
    declared = sweep(trials=3)
    whole = deaths.of(declared)
    cut = [copy for copy in deaths.copies if pending_with_a_checkpoint(copy)]
    copy = cut[-1]
    trial = pending_with_a_checkpoint(copy)[0]
    for path in (copy / "checkpoints" / str(trial)).rglob("x"):
        path.write_text("too long to be right" * 9)
    result = declared.run(copy, caviar.Inline(), resume=True)
    pd.testing.assert_frame_equal(table(result), table(whole))
    assert f"trial {trial} starts from its beginning: {copy}/checkpoints/{trial}/" in caplog.text
    (lost,) = result.events().query(f"kind == '{CheckpointLost.kind}'").itertuples()
    assert lost.trial == trial
    assert lost.time >= result.trials().start_time.min()
    starts = result.events().query("kind == 'trial_started' and trial == @trial")
    assert "restored" not in starts.iloc[-1].data


def pending_with_a_checkpoint(path: Path) -> list[int]:
    events = Reader(path).read()[1]
    plan = launch._plan_of(caviar.load(path).declaration, sweep().plan())
    state = replay(plan, events).state
    return [trial for trial, record in state.active.items() if record.checkpoint is not None]


# --- another sweep ------------------------------------------------------------------------------------

OTHER_SPACE = caviar.Space(lr=caviar.Float(1e-3, 0.1, scale="log"), width=caviar.Int(1, 4))


def learns_otherwise(trial: caviar.Trial) -> None:
    for step in trial.steps():
        trial.report(loss=2.0 / step)


CHANGES: list[tuple[dict[str, Any], str]] = [
    ({"metric": "odd"}, "metric: 'loss' -> 'odd'"),
    ({"mode": "max"}, "mode: 'min' -> 'max'"),
    ({"seed": 7}, "seed: 0 -> 7"),
    ({"trials": 9}, "trials: 8 -> 9"),
    ({"max_step": 12}, "max_step: 9 -> 12"),
    ({"scheduler": caviar.Asha()}, "scheduler: run_all() -> asha(grace_steps=1, reduction_factor=3)"),
    ({"sampler": caviar.SobolSampler()}, "sampler: random() -> sobol()"),
    (
        {"space": OTHER_SPACE},
        "space: lr: float(low=0.001, high=1.0, scale='log') -> float(low=0.001, high=0.1, scale='log'); "
        "space: optimizer is gone; space: beta is gone; space: width is new: int(low=1, high=4, scale='linear')",
    ),
    ({"train": learns_otherwise}, "code: learns is gone; code: learns_otherwise is new"),
]


@pytest.mark.parametrize(("changes", "told"), CHANGES, ids=[next(iter(changes)) for changes, _ in CHANGES])
def test_another_sweep_is_refused_with_the_difference_and_runs_where_allowed(
    tmp_path: Path, changes: dict[str, Any], told: str
) -> None:
    path = tmp_path / "sweep"
    before = interrupted(path, sweep())
    other = sweep().but(**changes)
    names = sorted(str(one) for one in path.rglob("*"))
    with pytest.raises(UsageError) as caught:
        other.run(path, caviar.Inline(), resume=True)
    assert str(caught.value) == (
        f"{path}: this Sweep is not the one that was recorded: {told} "
        "(--allow-change, in Python allow_change=True, goes on with it all the same)"
    )
    assert sorted(str(one) for one in path.rglob("*")) == names, "nothing was written"
    result = other.run(path, caviar.Inline(), resume=True, allow_change=True)
    assert result.status == "finished"
    assert len(result.trials()) == other.trials
    for name in ("metric", "mode", "seed", "trials", "max_step"):
        assert result.declaration[name] == getattr(other, name)
    assert result.declaration["space"] == other.space.to_dict()
    staged = not changes.keys().isdisjoint({"seed", "sampler", "space"})
    ended = before.trials().query("status == 'completed'").index
    assert set(result.trials().stage[ended]) <= {0}
    assert result.trials().stage.iloc[-1] == int(staged)
    # and now it is the one on record
    assert other.run(path, caviar.Inline(), resume=True).status == "finished"


def test_what_no_result_depends_on_may_change_at_any_time(tmp_path: Path) -> None:
    path = tmp_path / "sweep"
    interrupted(path, sweep())
    other = sweep(retries=3, checkpoint_every=4, keep_checkpoints="all", resources=caviar.Resources(cpus=2))
    result = other.run(path, caviar.Inline(), resume=True)
    assert result.declaration["retries"] == 3
    assert result.declaration["resources"]["cpus"] == 2
    (changed,) = result.events().query("kind == 'declaration_changed'").data
    assert set(changed["changes"]) == {"retries", "checkpoint_every", "keep_checkpoints", "resources"}


def test_settings_to_begin_with_stay_what_they_were(tmp_path: Path) -> None:
    path = tmp_path / "sweep"
    interrupted(path, sweep(first=[{"lr": 0.1}]))
    with pytest.raises(UsageError, match="has changed: a sweep keeps the settings that it began with"):
        sweep(first=[{"lr": 0.2}]).run(path, caviar.Inline(), resume=True, allow_change=True)


def test_a_driver_that_is_alive_keeps_others_away(tmp_path: Path) -> None:
    path = tmp_path / "sweep"
    refusals: list[str] = []

    def second(item: object) -> None:
        if isinstance(item, TrialStarted) and item.trial == 2:
            with pytest.raises(LeaseError) as caught:
                sweep().run(path, caviar.Inline(), resume=True)
            refusals.append(str(caught.value))

    result = sweep().run(path, caviar.Inline(), on_event=second)
    assert "is being driven by process" in refusals[0]
    assert result.counts() == {"completed": 8}


# --- budgets and stops --------------------------------------------------------------------------------


def test_one_that_was_stopped_by_hand_goes_on_where_it_was(tmp_path: Path) -> None:
    path = tmp_path / "sweep"

    def stop(item: object) -> None:
        if isinstance(item, TrialStarted) and item.trial == 2:
            from caviar.store import inbox

            inbox.post(path, "stop")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("caviar.runner.INBOX_S", 0.0)
        stopped = sweep().run(path, caviar.Inline(), on_event=stop)
    assert stopped.status == "finished"
    assert len(stopped.trials()) < 8
    result = sweep().run(path, caviar.Inline(), resume=True)
    assert result.status == "finished"
    assert len(result.trials()) == 8
    assert result.trials().status.iloc[-1] == "completed"


def test_the_time_budget_adds_up(tmp_path: Path) -> None:
    path = tmp_path / "sweep"
    declared = sweep(time_budget_s=1000.0, trials=40, checkpoint_every=None)
    first = declared.run(path, caviar.Simulated(workers=1, step_s=6.0))  # 54 s a trial
    ended = first.trials().status.eq("completed").sum()
    assert 17 <= ended <= 19
    assert first.ended == "time_budget"
    again = declared.run(path, caviar.Simulated(workers=1, step_s=6.0), resume=True)
    assert len(again.trials()) == len(first.trials()), "nothing is left of the budget"
    assert again.ended == "time_budget"
    more = declared.but(time_budget_s=2000.0).run(path, caviar.Simulated(workers=1, step_s=6.0), resume=True)
    assert more.trials().status.eq("completed").sum() in (2 * ended - 1, 2 * ended, 2 * ended + 1)


# --- further ------------------------------------------------------------------------------------------


def test_more_trials_are_those_that_a_larger_sweep_would_have_had(tmp_path: Path) -> None:
    sweep(trials=5).run(tmp_path / "small", caviar.Inline())
    extended = sweep(trials=5).extend(tmp_path / "small", caviar.Inline(), trials=3)
    pd.testing.assert_frame_equal(table(extended), table(sweep().run(tmp_path / "large", caviar.Inline())))
    assert extended.declaration["trials"] == 8
    # the file still says 5, as sweep.json does: that is no change
    assert sweep(trials=5).run(tmp_path / "small", caviar.Inline(), resume=True).counts() == {"completed": 8}


def test_earlier_trials_go_on_to_count_at_the_rungs(tmp_path: Path) -> None:
    asha = caviar.Asha(grace_steps=1, reduction_factor=2)
    large = sweep(trials=20, scheduler=asha).run(tmp_path / "large", caviar.Inline())
    small = sweep(trials=9, scheduler=asha)
    small.run(tmp_path / "small", caviar.Inline())
    extended = small.extend(tmp_path / "small", caviar.Inline(), trials=11)
    assert rungs(extended) == rungs(large)
    pd.testing.assert_frame_equal(table(extended), table(large))


def test_completed_trials_with_a_checkpoint_train_on_to_a_further_step(tmp_path: Path) -> None:
    path = tmp_path / "sweep"
    sweep(checkpoint_every=3).run(path, caviar.Inline())
    result = sweep(checkpoint_every=3).extend(path, caviar.Inline(), max_step=20)
    assert set(result.trials().steps) == {20}
    assert set(result.trials().attempts) == {2}
    assert result.counts() == {"completed": 8}
    whole = sweep(checkpoint_every=3, max_step=20).run(tmp_path / "whole", caviar.Inline())
    pd.testing.assert_frame_equal(table(result), table(whole))
    pd.testing.assert_frame_equal(curves(result), curves(whole))


def test_without_a_checkpoint_a_completed_trial_stays_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "sweep"
    sweep(checkpoint_every=None).run(path, caviar.Inline())
    result = sweep(checkpoint_every=None).extend(path, caviar.Inline(), max_step=20, trials=2)
    assert list(result.trials().steps) == [9] * 8 + [20] * 2


def test_rungs_go_on_above_the_old_limit(tmp_path: Path) -> None:
    path = tmp_path / "sweep"
    declared = sweep(trials=16, scheduler=caviar.Asha(grace_steps=2, reduction_factor=2), checkpoint_every=1)
    before = declared.run(path, caviar.Inline())
    assert {rung for _, rung, _, _ in rungs(before)} == {2, 4, 8}
    after = declared.extend(path, caviar.Inline(), max_step=40)
    trials = {trial for trial, rung, _, _ in rungs(after) if rung == 16}
    assert trials
    assert trials <= set(before.trials().query("status == 'completed'").index)
    stopped = before.trials().query("status == 'stopped'").index
    assert set(after.trials().status[stopped]) == {"stopped"}


def test_another_space_is_a_stage_of_its_own(tmp_path: Path) -> None:
    path = tmp_path / "sweep"
    sweep().run(path, caviar.Inline())
    narrow = sweep().but(space=OTHER_SPACE)
    with pytest.raises(UsageError, match="space: lr: float"):
        narrow.extend(path, caviar.Inline(), trials=4)
    result = narrow.extend(path, caviar.Inline(), trials=4, allow_change=True)
    assert list(result.trials().stage) == [0] * 8 + [1] * 4
    assert result.trials()["params.width"].notna().sum() == 4
    assert result.declaration["space"] == OTHER_SPACE.to_dict()


@pytest.mark.parametrize(
    ("asked", "refusal"),
    [
        ({}, "by nothing"),
        ({"trials": -1}, "trials=-1"),
        ({"max_step": 9}, "max_step=9: must lie above the sweep's, 9"),
        ({"max_step": 0}, "max_step=0"),
    ],
)
def test_an_extension_that_is_none_is_refused(tmp_path: Path, asked: dict[str, Any], refusal: str) -> None:
    path = tmp_path / "sweep"
    sweep().run(path, caviar.Inline())
    with pytest.raises(UsageError, match=refusal):
        sweep().extend(path, caviar.Inline(), **asked)
    assert caviar.load(path).status == "finished"


def test_a_grid_ends_where_it_ends(tmp_path: Path) -> None:
    path = tmp_path / "sweep"
    grid = caviar.Sweep(
        learns, caviar.Space(lr=caviar.Choice([0.1, 0.2])), metric="loss", trials=2, max_step=2,
        sampler=caviar.GridSampler(),
    )  # fmt: skip
    grid.run(path, caviar.Inline())
    with pytest.raises(UsageError, match="3 trials, but the grid has 2 combinations"):
        grid.extend(path, caviar.Inline(), trials=1)
    assert caviar.load(path).status == "finished"


def test_what_is_no_sweep_cannot_be_extended(tmp_path: Path) -> None:
    with pytest.raises(FolderError, match="no such folder"):
        sweep().extend(tmp_path / "nothing", caviar.Inline(), trials=1)


def command(path: Path, at: int, **args: Any) -> Callable[[object], None]:
    """Posts a command when this trial begins."""
    from caviar.store import inbox

    def post(item: object) -> None:
        if isinstance(item, TrialStarted) and item.trial == at and item.attempt == 0:
            inbox.post(path, "extend", args=args)

    return post


@pytest.fixture
def prompt(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("caviar.runner.INBOX_S", 0.0)


@pytest.mark.usefixtures("prompt")
def test_a_running_sweep_is_extended_through_its_inbox(tmp_path: Path) -> None:
    path = tmp_path / "sweep"
    declared = sweep(checkpoint_every=3)
    result = declared.run(path, caviar.Inline(), on_event=command(path, 4, trials=3, max_step=20))
    (answer,) = result.events().query("kind == 'command_answered'").data
    assert answer["applied"]
    assert answer["text"].startswith("extended: 3 more trials, 11 in all; up to step 20, where ")
    assert set(result.trials().steps) == {20}, "those that had ended, the one under way, and those to come"
    assert len(result.trials()) == 11
    whole = sweep(checkpoint_every=3, max_step=20, trials=11).run(tmp_path / "whole", caviar.Inline())
    pd.testing.assert_frame_equal(table(result), table(whole))
    pd.testing.assert_frame_equal(curves(result), curves(whole))


@pytest.mark.usefixtures("prompt")
def test_a_stage_is_opened_in_a_running_sweep(tmp_path: Path) -> None:
    path = tmp_path / "sweep"
    args = {"trials": 1, "space": OTHER_SPACE.to_dict()}
    result = sweep().run(path, caviar.Inline(), on_event=command(path, 4, **args))
    assert list(result.trials().stage) == [0] * 5 + [1] * 4


@pytest.mark.usefixtures("prompt")
@pytest.mark.parametrize(
    ("args", "refusal"),
    [
        ({"max_step": 5}, "max_step=5: must lie above the sweep's, 9"),
        ({"trials": "many"}, "extend: trials='many' is no whole number of at least 0"),
        ({"trials": True}, "extend: trials=True is no whole number of at least 0"),
        ({"steps": 5}, "extend: 'steps' is unknown; it takes trials, max_step, space"),
        ({"space": {"params": 3}, "trials": 1}, "extend: space: "),
        ({}, "extend: by nothing"),
    ],
)
def test_a_command_that_makes_no_sense_is_answered(tmp_path: Path, args: dict[str, Any], refusal: str) -> None:
    path = tmp_path / "sweep"
    result = sweep().run(path, caviar.Inline(), on_event=command(path, 4, **args))
    (answer,) = result.events().query("kind == 'command_answered'").data
    assert not answer["applied"]
    assert answer["text"].startswith(refusal)
    assert result.counts() == {"completed": 8}


def test_a_command_that_was_answered_is_not_obeyed_twice(tmp_path: Path) -> None:
    """Its driver died between the answer and the removal of its file."""
    from caviar.store import inbox

    path = tmp_path / "sweep"
    sweep().run(path, caviar.Inline())
    command_id = inbox.post(path, "extend", args={"trials": 2})
    kept = (path / "inbox" / f"{command_id}.json").read_bytes()
    extended = sweep().extend(path, caviar.Inline(), trials=1)  # takes the command up as well
    assert len(extended.trials()) == 11
    (path / "inbox" / f"{command_id}.json").write_bytes(kept)
    again = sweep().extend(path, caviar.Inline(), trials=1)
    assert len(again.trials()) == 12
    assert not list((path / "inbox").iterdir())


# --- several changes at once --------------------------------------------------------------------------


def ends_at_nine(trial: caviar.Trial) -> None:
    for step in range(trial.step + 1, 10):
        trial.report(loss=1.0 / step)
        with trial.checkpoint() as folder:
            (folder / "x").write_text("x")


def test_one_that_ends_by_itself_at_the_old_limit_is_not_reopened_for_ever(tmp_path: Path) -> None:
    path = tmp_path / "sweep"
    declared = sweep(trials=2).but(train=ends_at_nine)
    declared.run(path, caviar.Inline())
    result = declared.extend(path, caviar.Inline(), max_step=20)
    assert list(result.trials().attempts) == [2, 2]
    assert list(result.trials().steps) == [9, 9]


def test_another_scheduler_and_further_steps(tmp_path: Path) -> None:
    path = tmp_path / "sweep"
    before = sweep(trials=12, scheduler=caviar.Asha(grace_steps=1, reduction_factor=3), checkpoint_every=1)
    before.run(path, caviar.Inline())
    for scheduler in (caviar.Asha(grace_steps=2, reduction_factor=4), caviar.Hyperband(reduction_factor=2)):
        other = before.but(scheduler=scheduler)
        limit = caviar.load(path).declaration["max_step"]
        result = other.extend(path, caviar.Inline(), max_step=limit * 3, allow_change=True)
        assert result.status == "finished"
        assert result.trials().steps.max() == limit * 3
        replay(launch.Plan.of(Reader(path).declaration), Reader(path).read()[1])


def test_a_sampler_gives_way_to_another(tmp_path: Path) -> None:
    space = caviar.Space(lr=caviar.Choice([0.1, 0.2, 0.3]))
    grid = sweep(trials=3, sampler=caviar.GridSampler()).but(space=space)
    grid.run(tmp_path / "a", caviar.Inline())
    random = grid.but(sampler=caviar.RandomSampler(), trials=8)
    result = random.run(tmp_path / "a", caviar.Inline(), resume=True, allow_change=True)
    assert list(result.trials().stage) == [0] * 3 + [1] * 5
    random.but(trials=4).run(tmp_path / "b", caviar.Inline())
    back = grid.but(trials=7)
    result = back.run(tmp_path / "b", caviar.Inline(), resume=True, allow_change=True)
    assert list(result.trials()["params.lr"][4:]) == [0.1, 0.2, 0.3]


@pytest.mark.usefixtures("prompt")
def test_a_full_grid_is_extended_by_another_space_while_it_runs(tmp_path: Path) -> None:
    path = tmp_path / "sweep"
    grid = sweep(trials=3, sampler=caviar.GridSampler()).but(space=caviar.Space(lr=caviar.Choice([0.1, 0.2, 0.3])))
    more = {"trials": 2, "space": caviar.Space(lr=caviar.Choice([0.4, 0.5])).to_dict()}
    result = grid.run(path, caviar.Inline(), on_event=command(path, 2, **more))
    assert list(result.trials()["params.lr"]) == [0.1, 0.2, 0.3, 0.4, 0.5]


def test_a_limit_cannot_be_taken_away(tmp_path: Path) -> None:
    path = tmp_path / "sweep"
    sweep().run(path, caviar.Inline())
    with pytest.raises(UsageError, match="a sweep that has a max_step keeps one"):
        sweep(max_step=None).run(path, caviar.Inline(), resume=True, allow_change=True)


@pytest.mark.usefixtures("prompt")
def test_a_trial_reopened_while_its_sweep_runs_leaves_one_checkpoint(tmp_path: Path) -> None:
    path = tmp_path / "sweep"
    result = sweep(checkpoint_every=3).run(path, caviar.Inline(), on_event=command(path, 4, max_step=20))
    assert set(result.trials().steps) == {20}
    kept = sorted((path / "checkpoints").glob("*/*/*"))
    assert len(kept) == 8

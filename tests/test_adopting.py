"""What a fork came to, put back into the run that was forked."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import caviar
from caviar.adopting import winner
from caviar.commits import Commits
from caviar.errors import CommandError, FolderError, UsageError
from caviar.execution import inline
from caviar.messages import Adopted, RolledBack
from caviar.panda.asking import ask
from caviar.panda.live_run import LiveRun
from caviar.store.check.look import check
from caviar.store.checkpoints import CheckpointFiles
from caviar.store.inbox import post
from caviar.store.layout import SweepFolder
from caviar.store.reader import Reader
from caviar.store.recorder import Recorder
from caviar.store.tables import events_of
from tests.descent import descent

SPACE = caviar.Space(
    lr=caviar.Float(1e-3, 1.0, scale="log"),
    momentum=caviar.Float(0.0, 0.9),
    kind=caviar.Choice(["a", "b"]),
    beta=caviar.Float(0.1, 0.2, when={"kind": "b"}),
)
BEGINS = {"lr": 0.05, "momentum": 0.5, "kind": "a"}


def train(trial: caviar.Trial) -> None:
    for step, x in descent(trial):
        trial.report(loss=x * x)
        if step % 2:
            trial.report(odd=float(step), lr=trial.params["lr"])


def sweep(**changes: Any) -> caviar.Sweep:
    return caviar.Sweep(train, SPACE, **{"metric": "loss", "trials": 1, "max_step": 30, **changes})


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every report is delivered at once, so an inline run can be steered at every step."""
    monkeypatch.setattr(inline, "FLUSH_S", 0.0)
    monkeypatch.setattr("caviar.runner.INBOX_S", 0.0)


@pytest.fixture
def tmp_path(memory: Path | None) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="caviar-test-", dir=memory) as path:
        yield Path(path)


def ended(path: Path | str, **changes: Any) -> LiveRun:
    """A live run that has come to its end."""
    arguments: dict[str, Any] = {"params": BEGINS, "checkpoint_every": 4, **changes}
    return sweep().panda(path, caviar.Inline(), background=False, **arguments)


def fork(run: LiveRun, path: Path, *, at_step: int = 13, vary: tuple[str, ...] = ("lr",), **how: Any) -> Any:
    return run.fork(path, caviar.Inline(), at_step=at_step, vary=vary, trials=3, **{"max_step": 22, **how})


def curve(run: LiveRun | caviar.Result) -> dict[int, float]:
    rows = run.curves()
    rows = rows[rows["trial"] == 0].dropna(subset="loss")
    assert rows["step"].is_unique
    return dict(zip(rows["step"].tolist(), rows["loss"].tolist(), strict=True))


def by_hand(schedule: dict[int, dict[str, Any]], steps: int) -> dict[int, float]:
    """The losses of a run with these params, by step."""
    x, velocity, losses, params = 5.0, 0.0, {}, dict[str, Any]()
    for step in range(1, steps + 1):
        params.update(schedule.get(step, {}))
        velocity = params["momentum"] * velocity - 0.1 * params["lr"] * x
        x += velocity
        losses[step] = x * x
    return losses


def under_way(path: Path) -> LiveRun:
    """A live run that trains until it is stopped."""
    return sweep(max_step=None).panda(path, caviar.Inline(), params=BEGINS, checkpoint_every=4)


def pinned(run: LiveRun) -> int:
    """A step of a run that is under way, whose checkpoint stays: one before an adjustment, of nothing."""
    step = run.set(momentum=0.5).step
    assert step is not None
    return step - 1


def events(path: Any) -> list[Any]:
    return list(events_of(Reader(path).read()[1]))


def sound(path: Any) -> None:
    verdict = check(SweepFolder.find(path), log_bytes=2**20)
    assert verdict.sound, verdict.findings


# --- one that has ended, or was interrupted -----------------------------------------------------------


def test_one_that_had_ended_goes_on_from_what_its_fork_came_to(tmp_path: Path) -> None:
    run = ended(tmp_path / "live")
    result = fork(run, tmp_path / "fork")
    best = result.best.trial
    rate = result.params_of(best)["lr"]
    text = run.adopt(tmp_path / "fork", note="the clearest")
    assert text == f"trial {best} of {tmp_path}/fork will be adopted when {tmp_path}/live is gone on with"
    assert (run.status, run.step) == ("completed", 30), "nothing has happened yet"
    again = ended(tmp_path / "live", resume=True)
    assert (again.status, again.step) == ("completed", 30)
    assert curve(again) == by_hand({1: BEGINS, 13: {"lr": rate}}, 30)
    told = [one.text for one in events(again.path) if one.kind == "command_answered"]
    assert told == [f"adopted trial {best} of fork: lr 0.05 -> {rate:.6g}, on from step 20"]
    [adopted] = [one for one in events(again.path) if isinstance(one, Adopted)]
    assert (adopted.path, adopted.from_trial, adopted.step, adopted.note) == (
        f"{tmp_path}/fork",
        best,
        20,
        "the clearest",
    )
    [back] = [one for one in events(again.path) if isinstance(one, RolledBack)]
    assert (back.step, back.from_step) == (12, 30)
    rows = again.adjustments()
    assert rows[["step", "param", "old", "new", "note"]].to_numpy().tolist() == [
        [13, "lr", 0.05, rate, "the clearest"]
    ]
    sound(again.path)
    assert not list((tmp_path / "live" / "inbox").iterdir())


def test_what_it_came_to_then_is_repeated_by_its_schedule(tmp_path: Path) -> None:
    run = ended(tmp_path / "live")
    fork(run, tmp_path / "fork")
    run.adopt(tmp_path / "fork")
    again = ended(tmp_path / "live", resume=True)
    repeated = ended(tmp_path / "replay", schedule=again.schedule(), params=None)
    assert curve(repeated) == curve(again)
    odd = again.curves()["odd"].dropna()
    assert odd.tolist() == list(map(float, range(1, 31, 2))), "all metrics, each once"


def test_the_fork_may_have_been_steered_itself(tmp_path: Path) -> None:
    """Its own adjustments come along, at their steps."""
    run = ended(tmp_path / "live")
    forked = sweep(schedule={17: {"lr": "*=0.5"}, 25: {"lr": "*=0.5"}}).forked(
        run.path, at_step=13, vary=["lr"], trials=2, max_step=22
    )
    result = forked.but(schedule={17: {"lr": "*=0.5"}, 25: {"lr": "*=0.5"}}).run(
        tmp_path / "fork", caviar.Inline()
    )
    rate = result.params_of(1)["lr"]
    run.adopt(tmp_path / "fork", trial=1)
    again = ended(tmp_path / "live", resume=True)
    assert curve(again) == by_hand({1: BEGINS, 13: {"lr": rate}, 17: {"lr": rate * 0.5}}, 30)


def test_where_the_run_has_a_schedule_what_was_adopted_has_left_it(tmp_path: Path) -> None:
    schedule = {5: {"lr": 0.04}, 15: {"momentum": 0.1, "lr": 0.03}, 18: {"momentum": 0.2}}
    run = ended(tmp_path / "live", schedule=schedule)
    result = fork(run, tmp_path / "fork", vary=("momentum",))
    assert result.declaration["schedule"] == [[15, {"momentum": 0.1, "lr": 0.03}], [18, {"momentum": 0.2}]]
    value = result.params_of(2)["momentum"]
    run.adopt(tmp_path / "fork", trial=2)
    again = ended(tmp_path / "live", schedule=schedule, resume=True)
    wanted = {
        1: BEGINS,
        5: {"lr": 0.04},
        13: {"momentum": value},
        15: {"momentum": 0.1, "lr": 0.03},
        18: {"momentum": 0.2},
    }
    assert curve(again) == by_hand(wanted, 30)


def test_it_can_be_done_again_from_what_was_adopted(tmp_path: Path) -> None:
    run = ended(tmp_path / "live")
    fork(run, tmp_path / "one")
    run.adopt(tmp_path / "one", trial=0)
    run = ended(tmp_path / "live", resume=True)
    two = fork(run, tmp_path / "two", at_step=20, vary=("momentum",), max_step=28)
    assert two.declaration["origin"]["step"] == 20
    run.adopt(tmp_path / "two", trial=1)
    again = ended(tmp_path / "live", resume=True)
    rate = caviar.load(tmp_path / "one").params_of(0)["lr"]
    value = two.params_of(1)["momentum"]
    assert curve(again) == by_hand({1: BEGINS, 13: {"lr": rate}, 21: {"momentum": value}}, 30)
    sound(again.path)


def test_a_run_that_began_with_a_trial_of_a_sweep_can_be_forked_and_can_adopt(tmp_path: Path) -> None:
    many = sweep(trials=3, checkpoint_every=4, keep_checkpoints="all").run(tmp_path / "many", caviar.Inline())
    run = (
        sweep()
        .forked(many.path, trial=2, at_step=9)
        .panda(tmp_path / "live", caviar.Inline(), params={"lr": 0.07}, background=False, checkpoint_every=4)
    )
    params = dict(many.params_of(2))
    assert curve(run) == {
        step: loss for step, loss in by_hand({1: params, 9: {"lr": 0.07}}, 30).items() if step > 8
    }
    result = fork(run, tmp_path / "fork", at_step=8, vary=("momentum",))
    assert result.declaration["origin"]["attempt"] is None, "from where the run itself began"
    run.adopt(tmp_path / "fork", trial=1)
    again = sweep().panda(tmp_path / "live", caviar.Inline(), resume=True, background=False, checkpoint_every=4)
    value = result.params_of(1)["momentum"]
    wanted = by_hand({1: params, 9: {"lr": 0.07, "momentum": value}}, 30)
    assert curve(again) == {step: loss for step, loss in wanted.items() if step > 8}
    sound(again.path)


def test_a_run_goes_back_no_further_than_to_where_it_began(tmp_path: Path) -> None:
    many = sweep(checkpoint_every=4).run(tmp_path / "many", caviar.Inline())
    forked = sweep(max_step=None).forked(many.path, max_step=10**6)
    run = forked.panda(tmp_path / "live", caviar.Inline(), checkpoint_every=4)
    assert run.rollback(to_step=3) == 28
    run.stop()
    run.wait()
    told = [one.text for one in events(run.path) if one.kind == "command_answered"]
    assert told[0].endswith("to step 28 (it has no checkpoint at or before step 3: from the beginning)")
    assert run.curves()["step"].min() == 29


# --- one that is under way ----------------------------------------------------------------------------


def test_one_that_is_under_way_leaves_what_it_is_at(tmp_path: Path) -> None:
    run = under_way(tmp_path / "live")
    try:
        step = pinned(run)
        result = fork(run, tmp_path / "fork", at_step=step, max_step=step + 9)
        rate = result.params_of(result.best.trial)["lr"]
        last = (step + 9) // 4 * 4
        text = run.adopt(tmp_path / "fork")
        assert text == f"adopted trial {result.best.trial} of fork: lr 0.05 -> {rate:.6g}, on from step {last}"
        assert run.params["lr"] == rate
        changed = run.set(lr=0.02)
        assert changed.step is not None
        assert changed.step > last
    finally:
        run.stop()
        run.wait()
    assert curve(run) == by_hand({1: BEGINS, step + 1: {"lr": rate}, changed.step: {"lr": 0.02}}, run.step)
    assert run.step >= changed.step
    left = next(one for one in events(run.path) if isinstance(one, RolledBack)).superseded
    for attempt, at in left:
        assert CheckpointFiles.of(run.path).damage(0, (attempt, at)) is not None
    sound(run.path)


def test_what_a_fork_begins_with_stays_until_it_is_copied(tmp_path: Path) -> None:
    """Getting ready to train may take a while, in which a run that is fast supersedes all that it had."""
    run = under_way(tmp_path / "live")
    try:
        while run.step < 8:
            pass
        forked = sweep().forked(run.path, at_step=7, vary=["lr"], trials=1, max_step=10)
        assert forked.origin is not None
        assert forked.origin.step == 4
        while run.step < 200:  # of so many, step 4 is one that would not have been kept
            pass
        assert forked.run(tmp_path / "fork", caviar.Inline()).counts() == {"completed": 1}
    finally:
        run.stop()
        run.wait()


def test_a_pause_lasts(tmp_path: Path) -> None:
    run = under_way(tmp_path / "live")
    try:
        step = pinned(run)
        run.pause()
        fork(run, tmp_path / "fork", at_step=step, max_step=step + 9)
        assert "adopted trial 1 of fork" in run.adopt(tmp_path / "fork", trial=1)
        assert run.rollback(to_step=step) == step, "it waits, and can be steered"
        assert "is paused already" in ask(run.path, "pause", trial=0).text
        run.unpause()
    finally:
        run.stop()
        run.wait()


# --- what cannot be -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A run that has ended, and a fork of it."""
    path = tmp_path_factory.mktemp("both")
    run = ended(path / "live")
    fork(run, path / "fork")
    return path / "live", path / "fork"


def test_what_is_no_fork_or_that_of_another_run_cannot_be_adopted(both: tuple[Path, Path], tmp_path: Path) -> None:
    live, forked = both
    with pytest.raises(UsageError, match="live: is no fork: its trials began with nothing"):
        winner(forked, live)
    other = ended(tmp_path / "other")
    with pytest.raises(UsageError, match=f"fork: is a fork of {live}, not of {tmp_path}/other"):
        other.adopt(forked)
    with pytest.raises(FolderError, match="no such folder"):
        other.adopt(tmp_path / "nothing")


def test_a_run_that_was_moved_is_still_the_one_that_was_forked(both: tuple[Path, Path], tmp_path: Path) -> None:
    shutil.copytree(both[0], tmp_path / "moved")
    assert winner(tmp_path / "moved", both[1]).path == str(both[1])


def test_nothing_completed_nothing_saved_no_such_trial(both: tuple[Path, Path], tmp_path: Path) -> None:
    live, forked = both
    with pytest.raises(UsageError, match="there is no trial 9; it has the trials 0 to 2"):
        winner(live, forked, trial=9)
    short = (
        sweep()
        .forked(live, at_step=13, vary=["lr"], trials=2, max_step=15)
        .run(tmp_path / "short", caviar.Inline())
    )
    with pytest.raises(UsageError, match=r"trial \d has no checkpoint to go on from; .*checkpoint_every"):
        winner(live, short.path)

    def fails(trial: caviar.Trial) -> None:
        trial.report(loss=1.0)
        raise RuntimeError("a fault")

    declared = caviar.Sweep(fails, SPACE, metric="loss", trials=1, retries=0)
    failed = declared.forked(live, at_step=13, vary=["lr"], trials=2, allow_change=True)
    result = failed.run(tmp_path / "failed", caviar.Inline())
    with pytest.raises(UsageError, match=r"failed: no trial has completed with a finite 'loss' \(2 failed\)"):
        winner(live, result.path)


def refused(run: LiveRun, **args: Any) -> str:
    """What a driver answers to the command, which a client would not have sent."""
    post(run.path, "adopt", args=args)
    ended(Path(str(run.path)), resume=True)
    return str([one.text for one in events(run.path) if one.kind == "command_answered"][-1])


def test_a_driver_trusts_no_command(tmp_path: Path) -> None:
    run = ended(tmp_path / "live")
    result = fork(run, tmp_path / "fork")
    good = winner(run.path, result.path).args()
    before = curve(run)
    for wrong, told in [
        ({**good, "step": 3}, r"has no checkpoint of step 3 any more"),
        ({**good, "trial": 8}, "there is no trial 8"),
        ({**good, "trial": True}, "trial=True is no whole number"),
        ({"path": 5}, "path=5 is no text"),
        ({**good, "path": str(tmp_path / "away")}, "away: no such folder"),
        ({**good, "path": str(run.path)}, "is no fork"),
    ]:
        assert told in refused(run, **wrong)
    assert curve(run) == before
    assert run.status == "completed"
    sound(run.path)


def test_a_run_that_went_another_way_is_not_what_was_forked_any_more(tmp_path: Path) -> None:
    run = under_way(tmp_path / "live")
    try:
        early = pinned(run)
        while (step := pinned(run)) < early + 6:
            pass
        fork(run, tmp_path / "fork", at_step=step, max_step=step + 9)
        run.pause()
        run.rollback(to_step=early)
        with pytest.raises(CommandError, match=rf"come to step {early}, and the fork begins at step {step}"):
            run.adopt(tmp_path / "fork")
        run.set(lr=0.01)
        run.unpause()
        while run.step < step + 9:
            pass
        with pytest.raises(CommandError, match="trial 0 is no longer what was forked: since then it has been tra"):
            run.adopt(tmp_path / "fork")
    finally:
        run.stop()
        run.wait()


def test_a_fork_that_went_beyond_the_end_of_the_run_is_too_far(tmp_path: Path) -> None:
    run = ended(tmp_path / "live")
    fork(run, tmp_path / "fork", max_step=45)
    run.adopt(tmp_path / "fork")
    again = ended(tmp_path / "live", resume=True)
    [told] = [one.text for one in events(again.path) if one.kind == "command_answered"]
    assert told == "the fork's checkpoint is of step 44, beyond max_step=30 (caviar extend raises it)"


def test_params_that_a_run_does_not_have_cannot_be_put_into_it(tmp_path: Path) -> None:
    run = ended(tmp_path / "live")
    result = fork(run, tmp_path / "fork", vary=("kind",))
    kinds = [result.params_of(trial)["kind"] for trial in range(3)]
    run.adopt(tmp_path / "fork", trial=kinds.index("b"))
    again = ended(tmp_path / "live", resume=True)
    assert "the fork has other params: beta" in [
        one.text for one in events(again.path) if one.kind == "command_answered"
    ]


def test_one_that_failed_is_not_gone_on_with(tmp_path: Path) -> None:
    def fails(trial: caviar.Trial) -> None:
        for step in trial.steps():
            trial.report(loss=1.0 / step)
            with trial.checkpoint() as folder:
                (folder / "state").write_text("5.0 0.0")
            if step == 9 and trial.params["lr"] < 0.06:
                raise RuntimeError("a fault")

    declared = caviar.Sweep(fails, SPACE, metric="loss", trials=1, max_step=12, retries=0)
    run = declared.panda(tmp_path / "live", caviar.Inline(), params=BEGINS, background=False)
    assert run.status == "failed"
    forked = declared.but(first=()).forked(run.path, at_step=5, vary=["lr"], trials=4)
    result = forked.run(tmp_path / "fork", caviar.Inline())
    assert result.counts()["completed"]
    run.adopt(tmp_path / "fork")
    again = declared.panda(tmp_path / "live", caviar.Inline(), params=BEGINS, background=False, resume=True)
    [told] = [one.text for one in events(again.path) if one.kind == "command_answered"]
    assert told == "trial 0 has failed, and cannot be gone on with"


# --- crashes ------------------------------------------------------------------------------------------


class Deaths:
    """Copies a folder after each of its commits, as if its machine had been switched off then."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder = folder
        self.copies: list[Path] = []
        self._commit = Recorder.commit
        monkeypatch.setattr(Commits, "turn", lambda this, now_s: this.flush())
        monkeypatch.setattr(Recorder, "commit", lambda recorder, *rows: self._commit_and_copy(recorder, *rows))

    def _commit_and_copy(self, recorder: Recorder, *rows: Any) -> None:
        self._commit(recorder, *rows)
        if recorder._folder.path != self.folder:
            return
        copy = self.folder.with_name(f"copy-{len(self.copies)}")
        shutil.copytree(self.folder, copy, ignore=shutil.ignore_patterns(".tmp"))
        (copy / ".tmp").mkdir()
        (copy / "lease.json").unlink(missing_ok=True)  # its driver is this process, which lives on
        self.copies.append(copy)


def test_whenever_it_died_it_has_adopted_all_of_it_or_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = ended(tmp_path / "live")
    result = fork(run, tmp_path / "fork")
    run.adopt(tmp_path / "fork", trial=1)
    wanted = by_hand({1: BEGINS, 13: {"lr": result.params_of(1)["lr"]}}, 30)
    deaths = Deaths(tmp_path / "live", monkeypatch)
    assert curve(ended(tmp_path / "live", resume=True)) == wanted
    monkeypatch.undo()
    assert len(deaths.copies) > 4
    for copy in deaths.copies:
        whole = whole_or_nothing(copy, by_hand({1: BEGINS}, 30), wanted)
        again = ended(copy, resume=True)
        assert curve(again) == wanted, whole
        assert sum(isinstance(one, Adopted) for one in events(copy)) == 1
        sound(copy)


def whole_or_nothing(copy: Path, before: dict[int, float], after: dict[int, float]) -> bool:
    """Whether it has adopted; if not, its curve is as it was."""
    adopted = any(isinstance(one, Adopted) for one in events(copy))
    assert adopted == any(isinstance(one, RolledBack) for one in events(copy))
    found = curve(caviar.load(copy))
    expected = after if adopted else before
    assert found == {step: expected[step] for step in found}
    assert list(found) == list(range(1, len(found) + 1)), "no hole in the main line"
    return adopted


def test_so_it_is_with_one_that_is_under_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    deaths = Deaths(tmp_path / "live", monkeypatch)
    run = under_way(tmp_path / "live")
    step = pinned(run)
    run.pause()
    result = fork(run, tmp_path / "fork", at_step=step, max_step=step + 9)
    begun = len(deaths.copies)
    run.adopt(tmp_path / "fork", trial=1)
    run.stop()
    run.wait()
    monkeypatch.undo()
    after = by_hand({1: BEGINS, step + 1: {"lr": result.params_of(1)["lr"]}}, 10_000)
    before = by_hand({1: BEGINS}, 10_000)
    how = [whole_or_nothing(copy, before, after) for copy in deaths.copies[begun - 1 :]]
    assert how == sorted(how), "first not at all, then as a whole"
    assert {*how} == {False, True}
    assert curve(run) == {step: after[step] for step in curve(run)}
    sound(run.path)


# --- elsewhere ----------------------------------------------------------------------------------------


@pytest.mark.ray
def test_on_ray_the_run_and_its_fork_train_side_by_side(ray_cluster: None, tmp_path: Path) -> None:
    declared = caviar.Sweep(slowly, SPACE, metric="loss", trials=1, max_step=10_000, checkpoint_every=4)
    run = declared.panda(tmp_path / "live", caviar.Ray(workers=1), params=BEGINS)
    try:
        step = pinned(run)
        result = run.fork(executor=caviar.Ray(workers=2), at_step=step, vary=["lr"], trials=4, max_step=step + 12)
        assert result.path == tmp_path / f"live-fork-{step}"
        assert result.counts() == {"completed": 4}
        assert run.status == "running"
        text = run.adopt(result.path, timeout_s=60)
        best = result.params_of(result.best.trial)["lr"]
        assert text.startswith(f"adopted trial {result.best.trial} of live-fork-{step}: lr 0.05 -> {best:.6g}, on")
        changed = run.set(lr=0.02).step
        assert changed is not None
        assert changed > step
    finally:
        run.stop()
        run.wait()
    assert curve(run) == by_hand({1: BEGINS, step + 1: {"lr": best}, changed: {"lr": 0.02}}, run.step)
    sound(run.path)


def slowly(trial: caviar.Trial) -> None:
    x, velocity = 5.0, 0.0
    if trial.restored:
        x, velocity = (float(word) for word in (trial.restored / "state").read_text().split())
    for _ in trial.steps():
        time.sleep(0.005)
        velocity = trial.params["momentum"] * velocity - 0.1 * trial.params["lr"] * x
        x += velocity
        trial.report(loss=x * x)
        if trial.checkpoint_due:
            with trial.checkpoint() as folder:
                (folder / "state").write_text(f"{x!r} {velocity!r}")


def test_all_of_it_may_lie_in_an_object_store(s3: str, tmp_path: Path) -> None:
    run = ended(f"{s3}/live")
    result = run.fork(None, caviar.Inline(), at_step=13, vary=["lr"], trials=2, max_step=22)
    assert result.path == f"{s3}/live-fork-12"
    sound(result.path)
    run.adopt(result.path, trial=1)
    again = ended(str(run.path), resume=True)
    assert curve(again) == by_hand({1: BEGINS, 13: {"lr": result.params_of(1)["lr"]}}, 30)
    sound(again.path)
    beside = sweep().forked(run.path, at_step=9, vary=["momentum"], trials=1)
    assert beside.run(tmp_path / "local", caviar.Inline()).counts() == {"completed": 1}

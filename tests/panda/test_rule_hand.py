"""Rules over real live runs, with everything between them: driver, record, checkpoints."""

from __future__ import annotations

import json
import shutil
import tempfile
import time
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import caviar
from caviar import rules
from caviar.commits import Commits
from caviar.execution import inline
from caviar.panda.live_run import LiveRun
from caviar.panda.replaying import compare
from caviar.panda.rules import Change, Live
from caviar.store.recorder import Recorder

SPACE = caviar.Space(lr=caviar.Float(1e-4, 1.0, scale="log"), aux=caviar.Float(0.0, 1000.0))
BEGIN = {"lr": 0.12, "aux": 0.0}
COPY_EVERY = 9


@pytest.fixture
def tmp_path(memory: Path | None) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="caviar-test-", dir=memory) as path:
        yield Path(path)


def train(trial: caviar.Trial) -> None:
    """Descent into a valley that is steep across: the loss falls, and where lr is high it suddenly rises."""
    along, across = 5.0, 1e-3
    if trial.restored:
        along, across = json.loads((trial.restored / "at.json").read_text())
    for step in trial.steps():
        lr, aux = trial.params["lr"], trial.params["aux"]
        along, across = along * (1 - lr), across * (1 - 25 * lr)
        if step % 3 == 0:
            trial.report(across=abs(across))
        trial.report(loss=along**2 + 25 * across**2 + 1e-9 * aux)
        if trial.checkpoint_due:
            with trial.checkpoint() as folder:
                (folder / "at.json").write_text(json.dumps([along, across]))


def sweep(**changes: Any) -> caviar.Sweep:
    arguments: dict[str, Any] = {"metric": "loss", "trials": 1, "max_step": 40, "checkpoint_every": 4, **changes}
    return caviar.Sweep(train, SPACE, **arguments)


def go(path: Path, *watching: Any, **arguments: Any) -> LiveRun:
    how = {"params": BEGIN, "background": False, **arguments}
    return sweep().panda(path, caviar.Inline(), rules=watching, **how)


def capricious(live: Live) -> Change | None:
    """Decides by everything that it is shown, so that nothing may differ."""
    parts: list[Any] = [live.step, live.judged, sorted(live.params.items()), live.firings]
    parts += [each.tobytes() for each in (live.steps, live.values, live.losses, live.numbers)]
    parts += [(name, *(column.tobytes() for column in live.curves[name])) for name in sorted(live.curves)]
    digest = zlib.crc32(repr(parts).encode())
    back = sum(firing.change.rollback_to is not None for firing in live.firings if firing.rule == live.rule)
    if digest % 13 == 0 and back < 2:
        return Change({"aux": digest % 1000}, digest % live.step, reason=f"digest {digest}")
    return Change({"aux": digest % 1000}, reason=f"digest {digest}") if digest % 5 == 0 else None


def test_a_loss_that_falls_and_suddenly_rises_is_rescued(tmp_path: Path) -> None:
    alone = go(tmp_path / "alone").curves()
    assert alone.loss.idxmin() < 30
    assert alone.loss.iloc[-1] > 1e6

    run = go(tmp_path / "watched", rules.OnSpike(factor=1.5, patience=2, rollback=True, scale={"lr": 0.5}))
    assert run.status == "completed"
    curve = run.curves().dropna(subset="loss")
    assert curve.step.tolist() == list(range(1, 41))
    assert curve.loss.iloc[-1] < 1.0
    (change,) = run.adjustments().itertuples()
    assert (change.param, change.old, change.new, change.by, change.main_line) == (
        "lr",
        0.12,
        0.06,
        "OnSpike",
        True,
    )
    assert "times its best" in change.note
    (back,) = run.result().events().query("kind == 'rolled_back'").itertuples()
    assert back.step == change.step - 1
    assert len(run.curves(attempts="all")) > 40


def test_what_rules_did_is_repeated_without_them(tmp_path: Path) -> None:
    run = go(tmp_path / "run", rules.OnSpike(), rules.EveryN(7, scale={"lr": 0.9}), capricious)
    again = sweep().panda(tmp_path / "again", caviar.Inline(), schedule=run.schedule(), background=False)
    assert len(run.schedule()) > 3
    assert compare(run, again) is None


def test_the_trial_waits_only_where_a_rule_looks(tmp_path: Path) -> None:
    asked: list[int] = []

    def looks(live: Live) -> None:
        asked.append(live.step)
        assert live.steps.tolist() == list(range(1, live.step + 1)), "but it sees every report"

    watching = [rules.FunctionRule(looks, every=6), rules.OnPlateau(3, every=9)]
    go(tmp_path / "run", *watching, params={"lr": 0.05, "aux": 0.0})
    assert asked == [6, 12, 18, 24, 30, 36]


def test_schedules_among_the_rules(tmp_path: Path) -> None:
    run = go(tmp_path / "run", rules.Warmup(3), rules.Steps({10: "*=0.5"}))
    assert [run.params_at(step)["lr"] for step in (1, 2, 3, 9, 10)] == pytest.approx(
        [0.04, 0.08, 0.12, 0.12, 0.06]
    )


def test_what_a_rule_does_ends_the_schedule_of_that_param(tmp_path: Path) -> None:
    run = go(tmp_path / "run", rules.Cosine(0.01), rules.OnSpike())
    (change,) = run.adjustments().itertuples()
    assert run.params_at(40)["lr"] == change.new


def test_a_rule_pauses_after_it_has_set_something_and_a_rule_stops(tmp_path: Path) -> None:
    def looks(live: Live) -> Change | None:
        if live.step == 5:
            return Change({"aux": 7.0}, pause=True, reason="look at this")
        return Change(stop=True, reason="enough") if live.step == 9 else None

    run = go(tmp_path / "run", looks, params={"lr": 0.01, "aux": 0.0}, background=True)
    wait_for(run, "paused")
    assert (run.step, run.params["aux"]) == (5, 7.0)
    run.unpause()
    result = run.wait()
    assert (run.status, run.step) == ("stopped", 9)
    assert result.trials().reason.tolist() == ["looks: enough"]


def wait_for(run: LiveRun, status: str) -> None:
    deadline = time.monotonic() + 30
    while run.status != status:
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_change_that_is_refused_leaves_its_rule_out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Which values a param may have is for the space to say."""
    asked: list[int] = []

    def wrong(live: Live) -> dict[str, Any]:
        asked.append(live.step)
        return {"aux": "word"}

    run = go(tmp_path / "run", wrong, params={"lr": 0.01, "aux": 0.0})
    assert run.status == "completed"
    assert asked == [1]
    assert "rule wrong is left out from now on: what it wanted at step 1 was refused" in caplog.text


@pytest.mark.parametrize(
    ("rule", "every", "warned"),
    [
        (rules.OnSpike(), None, True),
        (rules.OnSpike(), 4, False),
        (rules.OnSpike(rollback=False), None, False),
        (rules.OnPlateau(), None, False),
    ],
)
def test_going_back_without_checkpoints_is_warned_of(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, rule: rules.Rule, every: int | None, warned: bool
) -> None:
    quiet = {"lr": 0.01, "aux": 0.0}
    declared = sweep(checkpoint_every=every, max_step=2)
    declared.panda(tmp_path / "run", caviar.Inline(), params=quiet, rules=[rule], background=False)
    assert ("without checkpoint_every that is to the beginning" in caplog.text) == warned


def test_a_mistake_in_a_rule_is_told_before_anything_is_made(tmp_path: Path) -> None:
    with pytest.raises(caviar.UsageError, match="OnSpike: there is no param 'rate'; there are lr, aux"):
        go(tmp_path / "run", rules.OnSpike(scale={"rate": 0.5}))
    assert not (tmp_path / "run").exists()


# --- going on ------------------------------------------------------------------------------------------


def history(run: LiveRun) -> pd.DataFrame:
    """What was changed; of a roll-back, only where it led."""
    return run.adjustments().drop(columns=["time", "attempt"])


@pytest.mark.slow
def test_whenever_the_driver_died_the_rules_do_what_they_would_have_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    watching = [rules.OnSpike(), rules.EveryN(5, scale={"lr": 0.97}), rules.OnPlateau(4, cooldown=3), capricious]
    copies: list[Path] = []
    commit = Recorder.commit
    commits = 0

    def commit_and_copy(recorder: Recorder, *rows: Any) -> None:
        nonlocal commits
        commit(recorder, *rows)
        commits += 1
        if commits % COPY_EVERY == 0:
            copy = tmp_path / f"copy-{commits}"
            shutil.copytree(tmp_path / "whole", copy, ignore=shutil.ignore_patterns(".tmp"))
            (copy / ".tmp").mkdir()
            (copy / "lease.json").unlink(missing_ok=True)  # its driver is this process, which lives on
            copies.append(copy)

    with monkeypatch.context() as patch:
        patch.setattr(Recorder, "commit", commit_and_copy)
        patch.setattr(Commits, "turn", lambda this, now_s: this.flush())
        patch.setattr(inline, "FLUSH_S", 0.0)
        whole = go(tmp_path / "whole", *watching)
    assert {"OnSpike", "EveryN", "capricious"} <= set(whole.adjustments().by)
    assert len(copies) > 8
    expected, curve = history(whole), whole.curves().drop(columns="time")
    for copy in copies:
        again = go(copy, *watching, resume=True)
        assert again.status == "completed"
        pd.testing.assert_frame_equal(history(again), expected)
        pd.testing.assert_frame_equal(again.curves().drop(columns="time"), curve)

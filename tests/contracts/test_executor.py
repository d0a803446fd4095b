"""What every executor does alike. A new executor adds a line to REAL, and no test."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import caviar
from caviar.execution.contract import Executor

SPACE = caviar.Space(lr=caviar.Float(1e-3, 1.0, scale="log"), width=caviar.Int(1, 8))

SIMULATED = pytest.param(lambda: caviar.Simulated(workers=3), id="simulated")
REAL: list[Any] = [
    pytest.param(lambda: caviar.Inline(), id="inline"),
    pytest.param(lambda: caviar.Ray(workers=2), id="ray", marks=pytest.mark.ray),
    pytest.param(lambda: caviar.Ray(workers=1), id="ray-1", marks=pytest.mark.ray),
]


@pytest.fixture(params=[*REAL, SIMULATED])
def executor(request: pytest.FixtureRequest) -> Executor:
    return make(request)


@pytest.fixture(params=REAL)
def real_executor(request: pytest.FixtureRequest) -> Executor:
    """Those that train in step with the scheduler; a simulated function has ended when virtual time begins."""
    return make(request)


def make(request: pytest.FixtureRequest) -> Executor:
    if request.node.get_closest_marker("ray"):
        request.getfixturevalue("ray_cluster")
    made: Executor = request.param()
    return made


def run(tmp_path: Path, executor: Executor, train: Callable[[Any], object], **changes: Any) -> caviar.Result:
    arguments: dict[str, Any] = {"metric": "loss", "trials": 6, "max_step": 9, "retries": 0, **changes}
    return caviar.Sweep(train, SPACE, **arguments).run(tmp_path / "sweep", executor)


# --- training functions: top-level, since they travel to other processes ---------------------------


def curve(params: Any, step: int) -> float:
    return float(params["lr"] + params["width"] / step)


def learns(trial: caviar.Trial) -> None:
    for step in trial.steps():
        trial.report(loss=curve(trial.params, step), seed=trial.seed)


def swallows(trial: caviar.Trial) -> None:
    for step in trial.steps():
        try:
            trial.report(loss=curve(trial.params, step))
        except BaseException:
            trial.report(loss=-1.0)


def fails_on_odd(trial: caviar.Trial) -> None:
    learns_a_little(trial)
    if trial.id % 2:
        raise ValueError(f"odd: {trial.id}")


def learns_a_little(trial: caviar.Trial) -> None:
    trial.report(loss=1.0)
    trial.report(loss=0.5)


def leaves_by_sys_exit(trial: caviar.Trial) -> None:
    trial.report(loss=1.0)
    sys.exit(3)


def never_reports(trial: caviar.Trial) -> None:
    return None


def reports_another_name(trial: caviar.Trial) -> None:
    trial.report(accuracy=1.0)


def reports_text(trial: caviar.Trial) -> None:
    trial.report(loss="0.5")


def diverges(trial: caviar.Trial) -> None:
    for step in trial.steps():
        trial.report(loss=math.nan if step == 4 and trial.id % 2 else 1.0 / step)


def trains_past_the_end(trial: caviar.Trial) -> None:
    for step in range(1, 100):
        trial.report(loss=1.0 / step)


def two_reports_a_step(trial: caviar.Trial) -> None:
    for step in trial.steps():
        trial.report(train_loss=2.0 / step)
        trial.report(loss=1.0 / step)


def jumps(trial: caviar.Trial) -> None:
    for step in (2, 5, 9):
        trial.report(step=step, loss=float(trial.id))


def saves(trial: caviar.Trial) -> None:
    begin = int((trial.restored / "step").read_text()) if trial.restored else 0
    assert begin == trial.step
    for step in trial.steps():
        trial.report(loss=1.0 / step, begin=begin)
        if trial.checkpoint_due:
            with trial.checkpoint() as folder:
                (folder / "step").write_text(str(step))
        if step == 5 and trial.attempt == 0:
            raise RuntimeError("the first attempt fails")


def uses_shared(trial: caviar.Trial) -> None:
    trial.report(loss=trial.shared["loss"])


def shared() -> dict[str, float]:
    return {"loss": 0.25}


def broken_setup() -> None:
    raise OSError("no data")


# --- the contract -----------------------------------------------------------------------------------


def test_every_trial_completes_and_every_report_is_kept(tmp_path: Path, executor: Executor) -> None:
    result = run(tmp_path, executor, learns)
    trials, curves = result.trials(), result.curves(params=["lr", "width"])
    assert list(trials.index) == list(range(6))
    assert set(trials.status) == {"completed"}
    assert set(trials.steps) == {9}
    assert len(curves) == 6 * 9
    expected = curves["params.lr"] + curves["params.width"] / curves["step"]
    pd.testing.assert_series_equal(curves["loss"], expected, check_names=False)
    assert result.status == "finished"


def test_the_same_seed_gives_the_same_reports_everywhere(tmp_path: Path, executor: Executor) -> None:
    columns = ["trial", "step", "loss", "seed"]
    got = run(tmp_path, executor, learns, seed=5).curves()[columns]
    reference = caviar.Sweep(learns, SPACE, metric="loss", trials=6, max_step=9, seed=5)
    expected = reference.run(tmp_path / "reference", caviar.Inline()).curves()[columns]
    pd.testing.assert_frame_equal(got, expected)


def test_decisions_fall_at_rungs_and_nothing_is_reported_past_them(tmp_path: Path, executor: Executor) -> None:
    scheduler = caviar.Asha(grace_steps=1, reduction_factor=2)
    result = run(tmp_path, executor, learns, trials=12, scheduler=scheduler)
    trials, curves, events = result.trials(), result.curves(), result.events()
    stopped = trials[trials.status == "stopped"]
    assert len(stopped)
    assert set(trials.status) == {"completed", "stopped"}
    assert set(stopped.steps) <= {1, 2, 4, 8}
    assert (curves.groupby("trial").step.max() == trials.steps).all()
    decisions = events[events.kind == "decision"]
    for row in decisions.itertuples():
        assert row.data["rung"] == row.step
        value = curves[(curves.trial == row.trial) & (curves.step == row.step)].loss.item()
        assert row.data["value"] == value
    last = decisions.groupby("trial").data.last().map(lambda data: data["decision"])
    assert (last[stopped.index] == "stop").all()
    assert stopped.reason.str.startswith("asha: rung ").all()


def test_a_stopped_function_that_swallows_is_stopped_all_the_same(tmp_path: Path, real_executor: Executor) -> None:
    result = run(
        tmp_path, real_executor, swallows, trials=8, scheduler=caviar.Asha(grace_steps=2, reduction_factor=4)
    )
    stopped = result.trials().query("status == 'stopped'")
    assert len(stopped)
    assert set(stopped.steps) <= {2, 8}
    assert (result.curves().loss > 0).all()


def test_an_exception_fails_its_trial_alone(tmp_path: Path, executor: Executor) -> None:
    result = run(tmp_path, executor, fails_on_odd)
    trials, events = result.trials(), result.events()
    assert list(trials.status) == ["completed", "failed"] * 3
    assert trials.reason[1] == "ValueError: odd: 1"
    end = events[(events.kind == "trial_ended") & (events.trial == 1)].iloc[0]
    assert "fails_on_odd" in end.data["error"]
    assert "ValueError: odd: 1" in end.data["error"]
    assert "caviar/execution" not in end.data["error"]
    assert set(trials.steps) == {2}


def test_sys_exit_fails_the_trial(tmp_path: Path, executor: Executor) -> None:
    trials = run(tmp_path, executor, leaves_by_sys_exit, trials=2).trials()
    assert set(trials.status) == {"failed"}
    assert set(trials.reason) == {"SystemExit: 3"}


@pytest.mark.parametrize(
    ("train", "reason"),
    [(never_reports, "no report of loss"), (reports_another_name, "no report of loss; it reported accuracy")],
)
def test_a_trial_without_the_metric_fails(tmp_path: Path, executor: Executor, train: Any, reason: str) -> None:
    trials = run(tmp_path, executor, train, trials=2).trials()
    assert set(trials.status) == {"failed"}
    assert set(trials.reason) == {reason}


def test_a_metric_that_is_no_number_is_named(tmp_path: Path, executor: Executor) -> None:
    trials = run(tmp_path, executor, reports_text, trials=1).trials()
    assert trials.status[0] == "failed"
    assert trials.reason[0].startswith("MetricError: report(loss=...): needs a number")


def test_a_diverged_trial_is_stopped_and_never_retried(tmp_path: Path, executor: Executor) -> None:
    result = run(tmp_path, executor, diverges, retries=3)
    trials = result.trials()
    assert list(trials.status) == ["completed", "stopped"] * 3
    assert set(trials.reason[1::2]) == {"diverged"}
    assert set(trials.attempts) == {1}
    assert list(trials.steps) == [9, 4] * 3
    assert math.isnan(result.curves().query("trial == 1").loss.iloc[-1])


def test_a_diverged_trial_may_go_on(tmp_path: Path, executor: Executor) -> None:
    trials = run(tmp_path, executor, diverges, stop_on_nan=False).trials()
    assert set(trials.status) == {"completed"}
    assert set(trials.steps) == {9}


def test_a_trial_is_complete_at_max_step(tmp_path: Path, executor: Executor) -> None:
    result = run(tmp_path, executor, trains_past_the_end, trials=2)
    assert set(result.trials().status) == {"completed"}
    assert result.curves().step.max() == 9


def test_a_function_may_return_early_without_max_step(tmp_path: Path, real_executor: Executor) -> None:
    result = run(tmp_path, real_executor, learns_a_little, trials=2, max_step=None)
    assert set(result.trials().status) == {"completed"}
    assert set(result.trials().steps) == {2}


def test_two_reports_may_share_a_step(tmp_path: Path, executor: Executor) -> None:
    scheduler = caviar.Asha(grace_steps=2, reduction_factor=2)
    curves = run(tmp_path, executor, two_reports_a_step, trials=2, scheduler=scheduler).curves()
    assert len(curves) >= 2 * 2
    assert curves.groupby(["trial", "step"])[["train_loss", "loss"]].count().eq(1).all(axis=None)


def test_a_rung_is_judged_at_the_first_report_at_or_past_it(tmp_path: Path, executor: Executor) -> None:
    scheduler = caviar.Asha(grace_steps=1, reduction_factor=2)
    events = run(tmp_path, executor, jumps, trials=1, scheduler=scheduler).events()
    decisions = events[events.kind == "decision"]
    assert [(row.step, row.data["rung"]) for row in decisions.itertuples()] == [(2, 1), (2, 2), (5, 4)]


def test_a_retry_goes_on_from_the_last_checkpoint(tmp_path: Path, real_executor: Executor) -> None:
    result = run(tmp_path, real_executor, saves, trials=2, retries=1, checkpoint_every=2)
    trials = result.trials()
    assert set(trials.status) == {"completed"}
    assert set(trials.attempts) == {2}
    main = result.curves().query("trial == 0")
    assert list(main.step) == list(range(1, 10))
    assert list(main.begin) == [0.0] * 4 + [4.0] * 5
    every = result.curves(attempts="all").query("trial == 0")
    assert list(every[every.attempt == 0].step) == [1, 2, 3, 4, 5]
    left = sorted(path.name for path in (tmp_path / "sweep" / "checkpoints" / "0" / "1").iterdir())
    assert left == ["8"]


def test_setup_is_shared(tmp_path: Path, executor: Executor) -> None:
    result = run(tmp_path, executor, uses_shared, setup=shared, trials=3)
    assert set(result.curves().loss) == {0.25}


def test_a_broken_setup_fails_trials_with_its_cause(tmp_path: Path, executor: Executor) -> None:
    result = run(tmp_path, executor, uses_shared, setup=broken_setup, trials=2)
    trials = result.trials()
    assert set(trials.status) == {"failed"}
    assert set(trials.reason) == {"setup: OSError: no data"}


def test_an_observer_sees_reports_and_events_and_may_fail(tmp_path: Path, executor: Executor) -> None:
    seen: list[str] = []

    def observe(item: Any) -> None:
        seen.append(type(item).__name__)
        if len(seen) == 5:
            raise RuntimeError("the observer fails")

    sweep = caviar.Sweep(learns, SPACE, metric="loss", trials=4, max_step=3)
    result = sweep.run(tmp_path / "sweep", executor, on_event=observe)
    assert len(seen) == 5
    assert seen[:3] == ["DriverStarted", "SweepStarted", "StageOpened"]
    assert set(result.trials().status) == {"completed"}


def test_the_folder_of_a_finished_sweep_is_rolled_and_small(tmp_path: Path, executor: Executor) -> None:
    run(tmp_path, executor, learns)
    folder = tmp_path / "sweep"
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert len(files) <= 10, files
    plain = pd.read_parquet(folder / "metrics")
    assert len(plain) == 6 * 9 * 2
    assert [path.name for path in (folder / "_hot").iterdir()] == ["000000000000.arrow"]

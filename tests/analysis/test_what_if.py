"""What another scheduler would have done, beside what it does."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import caviar
from caviar.analysis.what_if import Cost
from caviar.errors import CaviarError, UsageError
from caviar.messages import Paused, StopOrdered, Unpaused
from caviar.schedulers import Scheduler

SPACE = caviar.Space(x=caviar.Float(0, 1))

SCHEDULERS: list[Scheduler] = [
    caviar.RunAll(),
    caviar.Asha(),
    caviar.Asha(grace_steps=2, reduction_factor=2),
    caviar.Hyperband(),
    caviar.MedianStop(),
    caviar.Patience(2),
    caviar.Asha(spare=0.2),
]


def curve(launch: Any) -> dict[str, Any]:
    """A noisy curve that depends on the trial alone, with an end of its own in some."""
    rng = np.random.default_rng(launch.trial)
    steps = np.arange(1, (7 if launch.trial % 10 == 3 else 20) + 1)
    values = rng.uniform(0, 1) + 1 / steps + rng.normal(0, 0.1, len(steps))
    if launch.trial % 10 == 7:
        values[4:] = math.nan
    return {"loss": values, "other": values + 1}


def train(trial: caviar.Trial) -> None:
    raise AssertionError("the curves are known")


def run(path: Path, scheduler: Scheduler, *, workers: int = 3, **changes: Any) -> caviar.Result:
    arguments: dict[str, Any] = {"metric": "loss", "trials": 50, "max_step": 20, "seed": 3, **changes}
    sweep = caviar.Sweep(train, SPACE, scheduler=scheduler, **arguments)
    sign = 1 if sweep.mode == "min" else -1
    executor = caviar.Simulated(
        workers,
        step_s=lambda params: 1.0 + params["x"],
        curves=lambda launch: {name: sign * values for name, values in curve(launch).items()},
    )
    return sweep.run(path, executor)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> caviar.Result:
    """A sweep in which nothing was stopped early."""
    return run(tmp_path_factory.mktemp("whole") / "sweep", caviar.RunAll())


@pytest.mark.parametrize("workers", [1, 3, 8])
@pytest.mark.parametrize("scheduler", SCHEDULERS, ids=repr)
def test_a_whole_record_says_exactly_what_another_scheduler_does(
    whole: caviar.Result, tmp_path: Path, scheduler: Scheduler, workers: int
) -> None:
    real = run(tmp_path / "real", scheduler, workers=workers)
    found = whole.what_if(scheduler, workers=workers)
    assert found.beyond == 0
    assert found.least == found.most
    assert found.least.steps == real.trials()["steps"].sum()
    assert found.elapsed_s == (pytest.approx(real.elapsed_s()), pytest.approx(real.elapsed_s()))
    paces = 1.0 + real.trials()["params.x"]
    assert found.least.seconds == pytest.approx((real.trials()["steps"] * paces).sum())
    assert found.best == real.best.value
    assert found.regret == pytest.approx(real.best.value - whole.best.value)
    same = real.trials()["steps"] == whole.trials()["steps"]
    best = whole.top(10).index
    assert found.top_kept == (same[best].sum(), same[best].sum())
    assert found.best_kept is bool(same[best[0]])


@pytest.mark.parametrize("scheduler", SCHEDULERS, ids=repr)
def test_the_scheduler_of_the_record_does_what_it_did(tmp_path: Path, scheduler: Scheduler) -> None:
    result = run(tmp_path / "sweep", scheduler)
    found = result.what_if(scheduler)
    assert found.workers == 3
    assert (found.beyond, found.regret, found.best_kept, found.top_kept) == (0, 0.0, True, (10, 10))
    assert found.least == found.most == found.recorded
    assert found.recorded.steps == result.trials()["steps"].sum()
    assert found.elapsed_s[0] == pytest.approx(result.elapsed_s())


def test_more_is_better_just_as_well(tmp_path: Path, whole: caviar.Result) -> None:
    turned = run(tmp_path / "max", caviar.RunAll(), mode="max")
    for scheduler in SCHEDULERS:
        found, expected = turned.what_if(scheduler), whole.what_if(scheduler)
        assert found.best == -expected.best
        assert found.best_recorded == -expected.best_recorded
        assert (found.least, found.top_kept, found.regret) == (expected.least, expected.top_kept, expected.regret)
    stopped, mirrored = run(tmp_path / "a", caviar.Asha()), run(tmp_path / "b", caviar.Asha(), mode="max")
    found, expected = mirrored.what_if(caviar.MedianStop()), stopped.what_if(caviar.MedianStop())
    assert expected.beyond > 0
    assert (found.least, found.most, found.beyond) == (expected.least, expected.most, expected.beyond)


def test_run_all_after_early_stopping_costs_what_it_costs_whatever_becomes_of_the_trials(
    tmp_path: Path, whole: caviar.Result
) -> None:
    result = run(tmp_path / "sweep", caviar.Asha())
    found = result.what_if(caviar.RunAll())
    stopped = result.trials()["reason"].str.startswith("asha").sum()
    assert 20 < stopped == found.beyond
    assert found.most is not None
    assert found.run_all is not None
    assert found.least.steps == found.most.steps == found.run_all.steps
    assert found.least.seconds == pytest.approx(found.run_all.seconds)
    # trials that ended by themselves, after asha had stopped them, are taken to train on
    assert found.run_all.steps >= whole.trials()["steps"].sum()


def test_what_nobody_knows_makes_a_range(tmp_path: Path) -> None:
    result = run(tmp_path / "sweep", caviar.Asha(reduction_factor=4))
    found = result.what_if(caviar.Asha(grace_steps=2, reduction_factor=2))
    assert found.most is not None
    assert found.run_all is not None
    assert found.beyond > 0
    assert found.recorded.steps < found.least.steps < found.most.steps < found.run_all.steps
    assert found.least.seconds < found.most.seconds
    assert found.elapsed_s[1] is not None
    assert found.elapsed_s[0] < found.elapsed_s[1]


# --- by hand ---------------------------------------------------------------------------------------------------


def test_a_trial_that_was_stopped_goes_on_at_its_own_pace(story: Any) -> None:
    result = story().trial(0, [3, 2, 1]).trial(1, [5, 4], "stopped").result()
    found = result.what_if(caviar.RunAll())
    # each report takes a millisecond, and every trial begins a millisecond before its first
    assert found.recorded == cost(5, 0.005)
    assert found.run_all == cost(3 + 10, 0.013)
    assert found.least == found.most == found.run_all
    assert found.beyond == 1
    assert found.workers == 1


def test_without_a_max_step_the_cost_is_the_least(story: Any) -> None:
    result = story(max_step=None).trial(0, [3, 2, 1]).trial(1, [5, 4], "stopped").result()
    found = result.what_if(caviar.RunAll())
    assert found.least == cost(5, 0.005)
    assert (found.most, found.run_all, found.elapsed_s[1]) == (None, None, None)
    assert found.beyond == 1
    kept = result.what_if(caviar.Asha(grace_steps=2))
    assert (kept.beyond, kept.most) == (0, kept.least)


def test_whether_the_best_is_kept_may_depend_on_those_that_nobody_knows(story: Any) -> None:
    told = story(trials=3)
    told.trial(0, [5, 5], "stopped").trial(1, [5, 5], "stopped").trial(2, [4, 4, 4, 1])
    result = told.result()
    # where they went on to be worse, trial 2 is the best at step 3; else it is not
    found = result.what_if(caviar.Asha(grace_steps=3, reduction_factor=2))
    assert found.beyond == 2
    assert found.best_kept is None
    assert found.top_kept == (2, 3)
    assert (found.best, found.best_recorded, found.regret) == (4, 1, 3)


def test_trials_of_which_there_is_nothing(story: Any) -> None:
    told = story(trials=5).sampled(0).trial(1, [3, 2]).sampled(2).started(2).ended(2, "failed")
    result = told.sampled(3).started(3).report(3, 1, other=1.0).result("running")
    found = result.what_if(caviar.Asha())
    assert found.unreported == 3
    assert (found.top, found.top_kept, found.best_kept) == (1, (1, 1), True)
    assert found.recorded.steps == 3


def test_what_trials_come_to_by_themselves_is_no_riddle(story: Any) -> None:
    told = story(trials=3).trial(0, [3, 2, 1]).trial(1, [4, 3], "failed")
    told.sampled(2).started(2).curve(2, [4, math.nan]).ended(2, "stopped", reason="diverged")
    found = told.result().what_if(caviar.RunAll())
    assert (found.beyond, found.least.steps, found.run_all.steps) == (0, 7, 7)
    assert found.best_kept is True


def test_a_running_trial_is_cut_off_as_one_that_was_stopped(story: Any) -> None:
    found = story().trial(0, [3, 2, 1]).trial(1, [2], "running").result("running").what_if(caviar.RunAll())
    assert (found.beyond, found.recorded.steps, found.run_all.steps) == (1, 4, 13)


def test_only_values_that_are_not_finite(story: Any) -> None:
    found = story().trial(0, [math.nan] * 3).trial(1, [math.inf] * 3).result().what_if(caviar.Asha())
    assert found.top == 0
    assert found.best_kept is None
    assert math.isnan(found.best)
    assert math.isnan(found.regret)


def test_all_values_equal_are_ties_and_go_on(story: Any) -> None:
    found = story().trial(0, [1] * 4).trial(1, [1] * 4).trial(2, [1] * 4).result().what_if(caviar.Asha())
    assert (found.least.steps, found.regret, found.top_kept) == (12, 0.0, (3, 3))


def test_reports_that_are_apart_and_of_several_metrics(story: Any) -> None:
    told = story(max_step=40, trials=2)
    for trial in (0, 1):
        told.sampled(trial).started(trial)
        for step in range(5, 25, 5):
            told.report(trial, step, loss=float(step * (trial + 1)), other=0.0)
        told.report(trial, 25, other=0.0).ended(trial, "completed" if trial == 0 else "stopped")
    found = told.result().what_if(caviar.RunAll())
    assert found.recorded.steps == 50
    assert found.least.steps == 25 + 40
    asha = told.result().what_if(caviar.Asha(grace_steps=7))
    assert asha.least.steps == 25 + 10  # judged at the first report past the rung


def test_time_that_a_trial_waited_is_not_its_pace(story: Any) -> None:
    told = story(trials=1).sampled(0).started(0).curve(0, [3, 2])
    told.tell(Paused(told.tick(), 0, 1, 2))
    told.now_us += 60_000_000
    told.tell(Unpaused(told.tick(), 0, 1, 2)).curve(0, [1], first=3).ended(0, "completed")
    assert told.result().what_if(caviar.RunAll()).recorded.seconds == pytest.approx(0.004, abs=0.001)


def test_of_a_trial_with_several_attempts_the_main_line_counts(story: Any) -> None:
    told = story(trials=1).sampled(0).started(0).curve(0, [9, 8, 7, 6])
    told.started(0, 2, restored=2).curve(0, [5, 4, 3], attempt=2, first=3).ended(0, "completed", 2)
    found = told.result().what_if(caviar.RunAll())
    assert found.recorded == cost(5, 0.005)
    assert found.workers == 1


def test_the_workers_of_the_record_are_the_most_at_once(story: Any) -> None:
    told = story(trials=4)
    for trial in range(3):
        told.sampled(trial).started(trial)
    for trial in range(3):
        told.curve(trial, [1, 1]).ended(trial, "completed")
    told.trial(3, [1])
    assert told.result().what_if(caviar.RunAll()).workers == 3


def test_a_stop_by_hand_cuts_a_record_off(story: Any) -> None:
    told = story(trials=1).sampled(0).started(0).curve(0, [3, 2])
    told.tell(StopOrdered(told.tick(), 0, "by hand")).ended(0, "stopped", reason="by hand")
    assert told.result().what_if(caviar.RunAll()).beyond == 1


def test_a_fork_counts_from_where_it_began(tmp_path: Path) -> None:
    def train_on(trial: caviar.Trial) -> None:
        for step in trial.steps():
            trial.report(loss=trial.params["x"] / step)
            if trial.checkpoint_due:
                with trial.checkpoint() as folder:
                    (folder / "state").write_text("")

    sweep = caviar.Sweep(
        train_on, SPACE, metric="loss", trials=1, max_step=6, checkpoint_every=3, keep_checkpoints="all"
    )
    sweep.run(tmp_path / "sweep", caviar.Inline())
    forked = sweep.forked(tmp_path / "sweep", at_step=3, vary=["x"], trials=4, max_step=9)
    result = forked.run(tmp_path / "fork", caviar.Inline())
    found = result.what_if(caviar.RunAll())
    assert found.recorded.steps == found.least.steps == 4 * 6
    judged = result.what_if(caviar.Asha(grace_steps=4, reduction_factor=2))
    assert judged.least.steps < 4 * 6
    early = result.what_if(caviar.Asha(grace_steps=1, reduction_factor=1.5))
    assert early.least.steps >= 4  # no trial is judged before it began


@pytest.mark.parametrize("status", ["finished", "running", "interrupted"])
def test_nothing_to_replay_is_one_line(story: Any, status: Any) -> None:
    for told in (story(), story().sampled(0), story().sampled(0).started(0).report(0, 1, other=1.0)):
        with pytest.raises(CaviarError, match=r"no trial has reported 'loss' yet: nothing to replay"):
            told.result(status).what_if(caviar.Asha())


def test_mistakes(story: Any) -> None:
    result = story(max_step=None).trial(0, [1, 2]).result()
    with pytest.raises(UsageError, match=r"what_if\(workers=0\): needs a whole number of at least 1"):
        result.what_if(caviar.Asha(), workers=0)
    with pytest.raises(UsageError, match=r"what_if\('asha'\): needs a scheduler"):
        result.what_if("asha")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="needs a max_step"):
        result.what_if(caviar.Hyperband())


def cost(steps: int, seconds: float) -> Cost:
    return Cost(steps, pytest.approx(seconds))


def test_a_gap_in_the_record_of_trials(story: Any) -> None:
    """Where events were lost, trials are missing; the others keep their numbers."""
    told = story(trials=4).trial(0, [1, 1]).trial(3, [2, 2])
    found = told.result().what_if(caviar.RunAll())
    assert (found.unreported, found.recorded.steps) == (2, 4)

"""`Progress`: the same view whatever the increments, and memory that finished trials do not swell."""

from __future__ import annotations

import math
import pickle

import numpy as np
import pytest

from caviar.analysis.curve import CURVE_POINTS, Curve
from caviar.analysis.progress import KEPT_BEST, Progress
from caviar.messages import (
    AttemptFailed,
    CommandAnswered,
    DriverStarted,
    DriverStopped,
    Paused,
    ProcessReplaced,
    RolledBack,
    SweepEnded,
    Unpaused,
    WorkerLost,
)


def follow(told, progress):
    """Take in what was told since the last time."""
    progress.update(told.increment(), told.declaration)
    return progress


def test_the_view_of_a_sweep_under_way(story):
    told = (
        story(trials=5, mode="max").trial(0, [0.5, 0.7]).trial(1, [0.6], "stopped").trial(2, [math.nan], "failed")
    )
    told.sampled(3, lr=0.3).started(3).report(3, 1, loss=0.9, other=1.0).report(3, 2, loss=0.8).sampled(4)
    view = follow(told, Progress()).view()
    assert (view.wanted, view.sampled) == (5, 5)
    assert view.counts == {"pending": 1, "running": 1, "paused": 0, "completed": 1, "stopped": 1, "failed": 1}
    assert (view.best.trial, view.best.best, view.best.best_step) == (3, 0.9, 1)
    assert view.best.params == {"lr": 0.3}
    assert [leader.trial for leader in view.leaders] == [3, 0, 1]
    assert [leader.status for leader in view.leaders] == ["running", "completed", "stopped"]
    assert [(trial.trial, trial.step, trial.value) for trial in view.running] == [(3, 2, 0.8)]
    assert view.running[0].values.tolist() == [0.9, 0.8]
    assert view.reports == 6
    assert view.ended is None


def test_a_running_trial_without_a_report_is_shown(story):
    view = follow(story().sampled(0, lr=0.5).started(0), Progress()).view()
    assert view.best is None
    assert view.running[0].params == {"lr": 0.5}
    assert math.isnan(view.running[0].value)
    assert view.left_s is None


@pytest.mark.parametrize("mode", ["min", "max"])
@pytest.mark.parametrize("seed", range(6))
def test_any_cut_into_increments_gives_what_the_result_gives(story, mode, seed):
    """Trials begin, fail, are paused and rolled back, start again from a checkpoint and end in a random order;
    drivers come and go."""
    rng = np.random.default_rng(seed)
    told = story(trials=30, mode=mode)
    piecewise = Progress()
    under_way: dict[int, tuple[int, int, bool]] = {}  # trial -> attempt, step, whether it runs
    paused: set[int] = set()
    sampled = 0
    for _ in range(400):
        if rng.random() < 0.2:
            follow(told, piecewise)
        if sampled < 30 and (not under_way or rng.random() < 0.2):
            told.sampled(sampled, lr=float(rng.random())).started(sampled)
            under_way[sampled] = (1, 0, True)
            sampled += 1
            continue
        if not under_way:
            break
        trial = int(rng.choice(list(under_way)))
        attempt, step, runs = under_way[trial]
        draw = rng.random()
        if trial in paused and draw < 0.5:
            told.tell(Unpaused(told.tick(), trial, attempt, step))
            paused.discard(trial)
        elif runs and draw < 0.05:
            told.tell(Paused(told.tick(), trial, attempt, step))
            paused.add(trial)
        elif runs and draw < 0.1:
            back = int(rng.integers(0, step + 1))
            told.tell(RolledBack(told.tick(), trial, attempt + 1, back, step, attempt if back else None))
            paused.discard(trial)
            if rng.random() < 0.3:
                follow(told, piecewise)
            if rng.random() < 0.7:  # else it has not begun when the picture is taken
                told.started(trial, attempt + 1, restored=back or None)
                under_way[trial] = (attempt + 1, back, True)
            else:
                under_way[trial] = (attempt + 1, back, False)
        elif not runs:
            restored = int(rng.integers(1, step + 1)) if step and rng.random() < 0.6 else None
            told.started(trial, attempt + 1, restored=restored)
            under_way[trial] = (attempt + 1, restored or 0, True)
        elif draw < 0.8:
            value = float(rng.integers(0, 50)) if rng.random() < 0.9 else math.nan
            told.report(trial, step + 1, attempt=attempt, loss=value)
            under_way[trial] = (attempt, step + 1, True)
        elif draw < 0.88:
            told.tell(AttemptFailed(told.tick(), trial, attempt, step, "boom"))
            paused.discard(trial)
            under_way[trial] = (attempt, step, False)
        elif draw < 0.9:
            told.tell(DriverStarted(told.tick(), "host", 9, "0.1"))
            paused.clear()
            under_way = {each: (a, s, False) for each, (a, s, _) in under_way.items()}
        else:
            told.ended(trial, str(rng.choice(["completed", "stopped", "failed"])), attempt)
            del under_way[trial]
            paused.discard(trial)
    follow(told, piecewise)

    told.told = (0, 0)
    view, whole, result = piecewise.view(), follow(told, Progress()).view(), told.result("running")

    assert {state: count for state, count in view.counts.items() if count} == result.counts()
    top = result.top(KEPT_BEST)
    for each in (view, whole):
        assert each.counts == view.counts
        assert [leader.trial for leader in each.leaders] == top.index.tolist()
        assert [leader.best for leader in each.leaders] == top.value.tolist()
        assert [leader.best_step for leader in each.leaders] == top.step.tolist()
        assert [leader.params for leader in each.leaders] == [result.params_of(t) for t in top.index]
        assert [trial.trial for trial in each.running] == sorted(
            t for t, (_, _, runs) in under_way.items() if runs
        )
        assert [trial.trial for trial in each.running if trial.status == "paused"] == sorted(paused)
        assert each.reports == len(told.rows)
        assert each.elapsed_s == pytest.approx(result.elapsed_s())
    curves = result.curves()
    for trial in view.running:
        own = curves[curves.trial == trial.trial]
        np.testing.assert_array_equal(trial.values, own.loss)
        np.testing.assert_array_equal(trial.steps, own.step)


def test_memory_does_not_grow_with_finished_trials(story):
    told = story(trials=1_000)
    progress = Progress()
    sizes = []
    for trial in range(1_000):
        told.trial(trial, [1.0, 1.0 / (trial + 2)])
        if trial % 100 == 99:
            follow(told, progress)
            sizes.append(len(pickle.dumps(vars(progress) | {"_reports": 0, "_trials": 0, "_starts": 0})))
    assert max(sizes[1:]) - min(sizes[1:]) < 200


def test_what_is_fresh_starts_over(story):
    told = story().trial(0, [1.0])
    progress = follow(told, Progress())
    told.told = (0, 0)
    assert follow(told, progress).view().reports == 1


def test_rates_look_at_the_recent_past(story):
    told = story(trials=100).sampled(0).started(0)
    told.now_us += 100_000_000  # long after the driver began
    for step in range(1, 501):
        told.report(0, step, loss=1.0, other=2.0)
    progress = follow(told.ended(0, "completed"), Progress())
    view = progress.view()
    assert view.reports == 500
    assert view.reports_per_s == pytest.approx(50)
    assert view.trials_per_s == pytest.approx(0.1)
    assert progress.view(told.now_us + 60_000_000).reports_per_s == 0


def test_a_sweep_that_ended_says_why_and_one_extended_goes_on(story):
    told = story(trials=1).trial(0, [1.0]).tell(SweepEnded(0, "done"))
    view = follow(told, Progress()).view()
    assert (view.ended, view.left_s) == ("done", 0.0)
    told.tell(DriverStarted(told.tick(), "host", 9, "0.1"))
    told.told = (0, 0)
    assert follow(told, Progress()).view().ended is None


def test_notable_events_are_told_in_a_line_each(story):
    told = story().sampled(0).started(0).ended(0, "failed", reason="ValueError: no")
    told.sampled(1).started(1).tell(AttemptFailed(told.tick(), 1, 1, 3, "killed")).ended(1, "completed")
    told.stop_ordered(None, "time_budget").stop_ordered(2, "by hand").tell(WorkerLost(told.tick(), "w3", "node"))
    told.tell(ProcessReplaced(told.tick(), "w1", "its memory grew"))
    told.tell(CommandAnswered(told.tick(), "x", applied=True, text="applied at step 4"))
    told.tell(DriverStopped(told.tick(), "ctrl-c"))
    assert [note.text for note in follow(told, Progress()).view().notes] == [
        "trial 0 failed: ValueError: no",  # only the last eight
        "trial 1 failed and starts again: killed",
        "every trial is to stop: time_budget",
        "trial 2 is to stop: by hand",
        "worker w3 lost: node",
        "worker w1 replaced its training process: its memory grew",
        "applied at step 4",
        "driver stopped: ctrl-c",
    ]


@pytest.mark.parametrize("sizes", [[10_000], [1] * 1_000, [150, 150, 7, 3_000]])
def test_a_curve_is_thinned_evenly_and_keeps_its_best(sizes):
    rng = np.random.default_rng(3)
    values = rng.random(sum(sizes))
    steps = np.arange(1, len(values) + 1)
    curve = Curve(0, {})
    for part in np.split(np.arange(len(values)), np.cumsum(sizes)[:-1]):
        curve.add(steps[part], values[part], maximize=True)
    assert len(curve.steps) <= CURVE_POINTS
    assert len(curve.steps) > CURVE_POINTS / 2 - 1
    assert set(np.diff(curve.steps)) == {curve.stride}
    np.testing.assert_array_equal(curve.values, values[curve.steps - 1])
    assert (curve.best, curve.best_step) == (values.max(), values.argmax() + 1)
    assert (curve.step, curve.last) == (len(values), values[-1])

"""`LiveRunProgress`: the same view whatever the increments, and the line, best and params that the tables give."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest

from caviar.analysis.live_run import KEPT_ACTS, KEPT_BRANCHES, Change, LiveRunProgress
from caviar.errors import FolderError
from caviar.messages import (
    Adjusted,
    AttemptFailed,
    AttemptLost,
    Checkpointed,
    CheckpointLost,
    CommandAnswered,
    DriverStarted,
    DriverStopped,
    Paused,
    RolledBack,
    TrialReopened,
    Unpaused,
)

S = 1_000_000


def follow(told, progress, **declared):
    """Take in what was told since the last time."""
    progress.update(told.increment(), told.declaration | declared)
    return progress


def look(told, **declared):
    told.told = (0, 0)
    return follow(told, LiveRunProgress(), **declared).view()


def adjust(told, step, *, attempt=1, old=0.1, new=0.05, **more):
    return told.tell(Adjusted(told.tick(), 0, attempt, step, {"lr": old}, {"lr": new}, **more))


def same(one, other):
    for field in dataclasses.fields(one):
        mine, theirs = getattr(one, field.name), getattr(other, field.name)
        if field.name == "branches":
            assert len(mine) == len(theirs)
            for pair in zip(mine, theirs, strict=True):
                np.testing.assert_array_equal(*pair)
        else:
            np.testing.assert_equal(mine, theirs)


@pytest.fixture
def run(story):
    """A run of one trial at its third step."""
    told = story(trials=1, max_step=10).sampled(0, lr=0.1, momentum=0.9).started(0)
    return told.report(0, 1, loss=3.0, accuracy=0.1).curve(0, [2.0, 1.0], first=2)


def test_before_anything_was_reported(story):
    view = look(story(trials=1))
    assert (view.status, view.step, view.params, view.acts) == ("pending", 0, {}, ())
    assert math.isnan(view.value)
    assert math.isnan(view.best)
    assert view.left_s is None
    view = look(story(trials=1).sampled(0, lr=0.1).started(0))
    assert (view.status, view.params, len(view.steps)) == ("running", {"lr": 0.1}, 0)


def test_a_run_under_way(run):
    view = look(run)
    assert (view.status, view.step, view.attempt) == ("running", 3, 1)
    assert (view.value, view.best, view.best_step) == (1.0, 1.0, 3)
    assert view.others == {"accuracy": 0.1}
    assert view.steps.tolist() == [1, 2, 3]
    assert view.values.tolist() == [3.0, 2.0, 1.0]
    assert view.branches == ()
    assert view.params == {"lr": 0.1, "momentum": 0.9}
    assert view.changes == {}
    assert view.steps_per_s == pytest.approx(1000)
    assert view.left_s == pytest.approx(0.007)


def test_an_adjustment(run):
    view = look(adjust(run, 4, note="too jumpy"))
    assert view.params == {"lr": 0.05, "momentum": 0.9}
    assert view.changes == {"lr": Change(0.1, 4)}
    [act] = view.acts
    assert (act.text, act.why, act.step, act.number) == ("lr 0.1 -> 0.05", "by hand: too jumpy", 4, 0)


def test_an_adjustment_by_a_rule_and_one_of_a_step_that_is_not_reported_yet(run):
    view = look(adjust(run, 7, by="OnSpike"))  # reports come every few steps only
    assert view.params["lr"] == 0.05
    assert view.acts[0].why == "by OnSpike"


def test_a_roll_back_with_a_change(run):
    run.curve(0, [4.0, 5.0], first=4)
    why = {"command": "c1", "by": "OnSpike", "note": "loss 5 is 5 times its best"}
    run.tell(RolledBack(run.tick(), 0, 2, 2, 5, 1, **why))
    view = look(adjust(run, 3, attempt=2, new=0.02, **why))
    assert (view.status, view.step, view.value, view.best, view.best_step) == ("pending", 2, 2.0, 2.0, 2)
    assert view.others == {}
    assert view.params["lr"] == 0.02
    [act] = view.acts
    assert act.text == "back from step 5 to step 2, lr 0.1 -> 0.02"
    assert act.why == "by OnSpike: loss 5 is 5 times its best"
    assert (act.step, act.number, act.dropped) == (2, 0, False)

    view = look(run.started(0, 2, restored=2).curve(0, [0.5], attempt=2, first=3))
    assert (view.status, view.attempt, view.step, view.best) == ("running", 2, 3, 0.5)
    assert view.steps.tolist() == [1, 2, 3]
    assert view.values.tolist() == [3.0, 2.0, 0.5]
    [(steps, values)] = view.branches
    assert steps.tolist() == [2, 3, 4, 5]
    assert values.tolist() == [2.0, 1.0, 4.0, 5.0]


def test_what_a_roll_back_drops(run):
    adjust(run, 3)
    adjust(run, 4, old=0.05, new=0.025)
    view = look(run.tell(RolledBack(run.tick(), 0, 2, 2, 3, 1)))
    assert view.params["lr"] == 0.1
    assert view.changes == {}
    assert [(act.number, act.dropped) for act in view.acts] == [(0, True), (1, True), (2, False)]
    view = look(run.tell(RolledBack(run.tick(), 0, 3, 0, 2)))
    assert [act.dropped for act in view.acts] == [True, True, True, False]
    assert (view.step, len(view.steps)) == (0, 0)


def test_after_a_crash_adjustments_come_again_at_their_steps(run):
    adjust(run, 3)
    run.curve(0, [0.9], first=4).tell(AttemptFailed(run.tick(), 0, 1, 4, "boom")).started(0, 2, restored=1)
    view = look(run)
    assert (view.params["lr"], view.step) == (0.1, 1)
    view = look(run.curve(0, [2.0], attempt=2, first=2))  # the third step is the next one
    assert (view.params["lr"], view.changes) == (0.05, {"lr": Change(0.1, 3)})
    assert not view.acts[0].dropped
    assert look(adjust(run, 2, attempt=2, new=0.01)).acts[0].dropped  # nothing is left of it
    assert view.acts[1].text == "failed at step 4, starts again: boom"


def test_a_schedule(run):
    schedule = [[2, {"lr": "*=0.5"}], [4, {"lr": 0.01, "momentum": 0.95}], [9, {"lr": 1.0}]]
    view = look(run, schedule=schedule)
    assert view.params == {"lr": 0.01, "momentum": 0.95}
    assert view.changes == {"lr": Change(0.05, 4), "momentum": Change(0.9, 4)}
    assert view.acts == ()
    view = look(adjust(run, 4), schedule=schedule)  # it takes lr out of the schedule
    assert view.params == {"lr": 0.05, "momentum": 0.95}


@pytest.mark.parametrize("value", ["*=x", "*=1e999", [1]])
def test_a_schedule_that_cannot_be_is_a_fault_of_the_folder(run, value):
    with pytest.raises(FolderError, match=r"^events: its params cannot be worked out: "):
        look(run, schedule=[[2, {"lr": value}]])


def test_pauses(run):
    view = look(run.tell(Paused(run.tick(), 0, 1, 3)))
    assert (view.status, view.left_s, view.steps_per_s) == ("paused", None, 0.0)
    assert [act.text for act in view.acts] == ["paused at step 3"]
    run.told = (0, 0)
    progress = follow(run, LiveRunProgress())
    run.now_us += 3600 * S
    run.tell(Unpaused(run.tick(), 0, 1, 3)).curve(0, [0.9, 0.8], first=4)
    for view in (follow(run, progress).view(), look(run)):
        assert view.status == "running"
        assert view.steps_per_s == pytest.approx(1000)


def test_how_it_ended(run):
    view = look(run.ended(0, "stopped", reason="by hand"))
    assert (view.status, view.reason, view.left_s) == ("stopped", "by hand", None)
    assert look(run.tell(DriverStarted(run.tick(), "host", 8, "0.1"))).status == "stopped"
    view = look(run.tell(TrialReopened(run.tick(), 0, 2, 3, 0, {"lr": 0.1, "momentum": 0.9}, 7, 1)))
    assert (view.status, view.reason) == ("pending", None)


def test_without_a_driver_it_is_pending(run):
    run.told = (0, 0)
    progress = follow(run, LiveRunProgress())
    assert progress.view(alive=False).status == "pending"
    follow(run.ended(0, "completed"), progress)
    assert progress.view(alive=False).status == "completed"


def test_checkpoints(run):
    assert look(run).checkpoint is None
    run.tell(Checkpointed(run.tick(), 0, 1, 2)).curve(0, [0.5], first=4).tell(Checkpointed(run.tick(), 0, 1, 4))
    assert look(run).checkpoint == 4
    run.tell(RolledBack(run.tick(), 0, 2, 2, 4, 1))
    assert look(run).checkpoint == 2
    assert look(run.tell(CheckpointLost(run.tick(), 0, 2, 2, "it is gone"))).checkpoint is None
    assert look(run.tell(RolledBack(run.tick(), 0, 3, 0, 4))).checkpoint is None


def test_everything_that_one_wants_to_be_told(run):
    run.tell(CommandAnswered(run.tick(), "1", applied=False, text="lr=7 lies outside its bounds"))
    run.tell(CommandAnswered(run.tick(), "2", applied=True, text="applied at step 3: lr 0.1 -> 0.05"))
    run.tell(AttemptLost(run.tick(), 0, 1, 3, "its worker is gone")).stop_ordered(0, "by hand")
    run.tell(DriverStopped(run.tick(), "ctrl-c")).tell(DriverStarted(run.tick(), "host", 8, "0.1"))
    run.tell(Adjusted(run.tick(), 1, 1, 3, {"lr": 1}, {"lr": 2}))  # of another trial
    assert [act.text for act in look(run).acts] == [
        "not done: lr=7 lies outside its bounds",
        "lost at step 3, starts again: its worker is gone",
        "trial 0 is to stop: by hand",
        "driver stopped: ctrl-c",
        "driver started on host, process 8",
    ]


def test_values_that_are_not_finite(run):
    view = look(run.curve(0, [math.nan, math.inf], first=4))
    assert (view.value, view.best, view.not_finite) == (math.inf, 1.0, 2)


def test_what_is_remembered_is_bounded(story):
    told = story(trials=1).sampled(0, lr=0.1).started(0)
    for attempt in range(1, 2 * KEPT_BRANCHES):
        told.curve(0, [1.0] * 5, attempt=attempt)
        for step in range(2, 20):
            adjust(told, step, attempt=attempt)
        told.tell(RolledBack(told.tick(), 0, attempt + 1, 0, 5)).started(0, attempt + 1)
    view = look(told)
    assert len(view.acts) == KEPT_ACTS
    assert len(view.branches) == KEPT_BRANCHES
    assert view.acts[-1].number == 19 * (2 * KEPT_BRANCHES - 1) - 1


@pytest.mark.parametrize("mode", ["min", "max"])
@pytest.mark.parametrize("seed", range(8))
def test_any_cut_into_increments_gives_what_the_tables_give(story, mode, seed):
    """A run is adjusted, paused, rolled back, fails and goes on from checkpoints, in a random order."""
    rng = np.random.default_rng(seed)
    told = story(trials=1, mode=mode, max_step=None).sampled(0, lr=0.5).started(0)
    schedule = [[5, {"lr": 0.25}], [30, {"lr": 0.125}]]
    piecewise = LiveRunProgress()
    attempt, step, adjustments = 1, 0, {}
    for _ in range(300):
        if rng.random() < 0.2:
            follow(told, piecewise, schedule=schedule)
        draw = rng.random()
        if draw < 0.7:
            step += 1
            told.report(0, step, attempt=attempt, loss=float(rng.integers(0, 50)), other=1.0)
        elif draw < 0.8:
            new = float(rng.random())  # after a fault there are later ones, whose place it takes
            adjustments = {at: lr for at, lr in adjustments.items() if at <= step} | {step + 1: new}
            told.tell(Adjusted(told.tick(), 0, attempt, step + 1, {"lr": 0}, {"lr": new}))
        elif draw < 0.85:
            told.tell(Paused(told.tick(), 0, attempt, step)).tell(Unpaused(told.tick(), 0, attempt, step))
        else:
            back = int(rng.integers(0, step + 1))
            if draw < 0.95:
                told.tell(RolledBack(told.tick(), 0, attempt + 1, back, step, attempt if back else None))
                adjustments = {at: new for at, new in adjustments.items() if at <= back}
            else:
                told.tell(AttemptFailed(told.tick(), 0, attempt, step, "boom"))
            attempt, step = attempt + 1, back
            told.started(0, attempt, restored=back or None)
    step += 1
    told.report(0, step, attempt=attempt, loss=7.0)
    view = follow(told, piecewise, schedule=schedule).view()
    same(view, look(told, schedule=schedule))

    result = told.result("running")
    curve = result.curves()
    np.testing.assert_array_equal(view.steps, curve.step)
    np.testing.assert_array_equal(view.values, curve.loss)
    assert (view.best, view.best_step) == (result.best.value, result.best.step)
    assert view.step == curve.step.max()
    values = {0: 0.5, 5: 0.25, 30: 0.125} if not adjustments else {0: 0.5, **adjustments}
    if adjustments:  # before the first of them the schedule holds
        values |= {at: lr for at, lr in ((5, 0.25), (30, 0.125)) if at < min(adjustments)}
    assert view.params == {"lr": values[max(at for at in values if at <= step + 1)]}

"""`Result`: columns, dtypes, orders, main lines and bests."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest

from caviar.errors import CaviarError, UsageError
from caviar.messages import (
    BY_HAND,
    Adjusted,
    AttemptFailed,
    AttemptLost,
    DriverStarted,
    DriverStopped,
    Paused,
    RolledBack,
    Unpaused,
)

NAN, INF = math.nan, math.inf


def test_trials_have_the_columns_of_the_contract(story):
    told = story().sampled(0, lr=0.5, momentum=0.9, optimizer="adam", beta2=0.99, layers=3, epsilon=1e-8)
    told.started(0).report(0, 1, loss=2.0, accuracy=0.5).report(0, 2, loss=1.0).ended(0, "completed")
    told.sampled(1, lr=0.1, momentum=0.99, optimizer="sgd", layers=1, epsilon=1e-8)

    frame = told.result("running").trials()

    assert frame.index.name == "trial"
    assert list(frame.columns) == [
        "stage", "status", "reason", "attempts", "steps", "start_time", "end_time", "by_hand", "spared",
        "params.lr", "params.momentum", "params.optimizer", "params.beta2", "params.layers", "params.epsilon",
        "metrics.loss", "metrics.accuracy",
    ]  # fmt: skip
    assert frame.status.tolist() == ["completed", "pending"]
    assert frame.attempts.tolist() == [1, 0]
    assert frame.steps.tolist() == [2, 0]
    assert frame["params.layers"].dtype == np.int64
    assert frame["params.beta2"].tolist() == [0.99, pytest.approx(NAN, nan_ok=True)]
    assert frame["metrics.accuracy"].iloc[0] == 0.5  # the last report that held it
    assert frame["start_time"].dtype == "datetime64[us, UTC]"
    assert frame["end_time"].isna().tolist() == [False, True]
    assert frame.start_time[0] < frame.end_time[0]


def test_a_sweep_that_has_only_begun_gives_empty_frames_of_the_same_columns(story):
    told = story()
    empty, one = told.result("running"), told.trial(0, [1.0]).result("running")
    assert list(empty.trials().columns) == list(one.trials().columns)
    assert list(empty.top().columns) == list(one.top().columns)
    assert list(empty.curves(tidy=True).columns) == list(one.curves(tidy=True).columns)
    assert len(empty.curves()) == len(empty.trials()) == len(empty.top()) == 0
    with pytest.raises(CaviarError, match=r"no trial has reported a finite 'loss' yet"):
        _ = empty.best


def test_status_follows_the_last_move(story):
    told = story()
    told.sampled(0).started(0)
    told.sampled(1).started(1).tell(AttemptFailed(told.tick(), 1, 1, 0, "boom"))
    told.sampled(2).started(2).tell(AttemptLost(told.tick(), 2, 1, 0, "node")).started(2, 2)
    told.sampled(3).ended(3, "stopped", reason="by hand")
    assert told.result("running").trials().status.tolist() == ["running", "pending", "running", "stopped"]
    assert told.result("running").trials().attempts.tolist() == [1, 1, 2, 0]
    assert told.result("running").counts() == {"pending": 1, "running": 2, "stopped": 1}


def test_a_trial_that_waits_is_paused_until_it_goes_on(story):
    told = story()
    for trial in range(4):
        told.sampled(trial).started(trial).tell(Paused(told.tick(), trial, 1, 3))
    told.tell(Unpaused(told.tick(), 1, 1, 3)).ended(2, "stopped", reason="by hand")
    told.tell(RolledBack(told.tick(), 3, 2, 0, 3))
    assert told.result("running").trials().status.tolist() == ["paused", "running", "stopped", "pending"]
    assert told.result("running").counts() == {"pending": 1, "running": 1, "paused": 1, "stopped": 1}
    assert told.result("interrupted").counts() == {"pending": 3, "stopped": 1}


def test_what_was_left_by_a_roll_back_does_not_count_even_before_the_next_attempt(story):
    told = story().sampled(0).started(0).curve(0, [3.0, 2.0, 1.0, 0.5])
    told.tell(RolledBack(told.tick(), 0, 2, 2, 4, 1))
    assert told.result("running").curves().loss.tolist() == [3.0, 2.0]
    assert told.result("running").best.value == 2.0
    told.started(0, 2, restored=2).curve(0, [1.5], attempt=2, first=3)
    assert told.result("running").curves().loss.tolist() == [3.0, 2.0, 1.5]
    assert told.result("running").curves(attempts="all").loss.tolist() == [3.0, 2.0, 1.0, 1.5, 0.5]
    assert told.result("running").trials().attempts.tolist() == [2]


def test_nothing_runs_in_a_sweep_without_a_driver(story):
    told = story().sampled(0).started(0)
    assert told.result("interrupted").trials().status.tolist() == ["pending"]


@pytest.mark.parametrize("leave", [True, False], ids=["stopped", "killed"])
def test_what_an_earlier_driver_left_is_pending_until_it_starts_again(story, leave):
    told = story().sampled(0).started(0).sampled(1).started(1)
    if leave:
        told.tell(DriverStopped(told.tick(), "ctrl-c"))
    told.tell(DriverStarted(told.tick(), "host", 8, "0.1")).started(1, 2)
    assert told.result("running").trials().status.tolist() == ["pending", "running"]


def test_by_hand_is_for_the_trial_that_a_person_stopped(story):
    told = story()
    for trial in range(3):
        told.sampled(trial).started(trial)
    told.stop_ordered(0, "by hand").stop_ordered(1, "time_budget").stop_ordered(None, "by hand")
    assert told.result().trials().by_hand.tolist() == [True, False, False]


def test_by_hand_is_also_what_a_person_adjusted_paused_or_rolled_back(story):
    told = story(trials=6)
    for trial in range(6):
        told.sampled(trial).started(trial).report(trial, 1, loss=1.0)
    told.tell(Adjusted(told.tick(), 0, 1, 2, {"lr": 0.1}, {"lr": 0.2}))
    told.tell(Adjusted(told.tick(), 1, 1, 2, {"lr": 0.1}, {"lr": 0.2}, by="OnSpike"))
    told.tell(RolledBack(told.tick(), 2, 2, 0, 1)).tell(RolledBack(told.tick(), 3, 2, 0, 1, by="OnSpike"))
    told.tell(Paused(told.tick(), 4, 1, 1)).tell(Unpaused(told.tick(), 4, 1, 1))
    assert told.result("running").trials().by_hand.tolist() == [True, False, True, False, True, False]
    assert BY_HAND == "by hand"  # which is what the records of earlier versions say


def test_reason_is_missing_where_none_was_given(story):
    told = story().trial(0, [1.0]).sampled(1).started(1).ended(1, "stopped", reason="diverged")
    reason = told.result().trials().reason
    assert reason[1] == "diverged"
    assert reason.isna().tolist() == [True, False]


def test_curves_are_wide_sorted_and_one_row_a_report(story):
    told = story().sampled(1).sampled(0).started(1).started(0)
    told.report(1, 1, loss=4.0, zeal=1.0, accuracy=0.1).report(0, 1, loss=3.0).report(1, 1, recall=9.0).report(
        1, 2, loss=2.0
    )
    frame = told.result().curves()
    assert list(frame.columns) == ["trial", "step", "time", "loss", "accuracy", "recall", "zeal"]
    assert frame[["trial", "step"]].to_numpy().tolist() == [[0, 1], [1, 1], [1, 1], [1, 2]]
    np.testing.assert_array_equal(frame.loss, [3.0, 4.0, NAN, 2.0])
    np.testing.assert_array_equal(frame.recall, [NAN, NAN, 9.0, NAN])
    assert frame.dtypes[["trial", "step", "loss"]].tolist() == [np.int64, np.int64, np.float64]
    assert frame.time.dtype == "datetime64[us, UTC]"


def test_tidy_curves_hold_every_value_as_reported(story):
    told = story().sampled(0).started(0).report(0, 1, loss=INF, accuracy=NAN).report(0, 2, loss=1.0)
    frame = told.result().curves(tidy=True)
    assert list(frame.columns) == ["trial", "step", "time", "metric", "value"]
    assert frame.metric.tolist() == ["loss", "accuracy", "loss"]
    np.testing.assert_array_equal(frame.value, [INF, NAN, 1.0])


def test_curves_carry_the_params_asked_for(story):
    told = (
        story().trial(0, [1.0, 0.5], lr=0.1, optimizer="sgd").trial(1, [2.0], lr=0.2, optimizer="adam", beta2=0.9)
    )
    result = told.result()
    frame = result.curves(params=["lr", "beta2"])
    assert list(frame.columns) == ["trial", "step", "time", "loss", "params.lr", "params.beta2"]
    np.testing.assert_array_equal(frame["params.lr"], [0.1, 0.1, 0.2])
    np.testing.assert_array_equal(frame["params.beta2"], [NAN, NAN, 0.9])
    assert "params.optimizer" in result.curves(params="optimizer", tidy=True)
    with pytest.raises(UsageError, match=r"no param is called 'rate'; there are lr, momentum, optimizer"):
        result.curves(params=["rate"])
    with pytest.raises(UsageError, match=r'attempts=\'first\'\): must be "last" or "all"'):
        result.curves(attempts="first")


def test_the_main_line_is_what_the_last_attempt_saw(story):
    told = story().sampled(0).started(0, 1).curve(0, [9.0, 8.0, 7.0, 1.0])
    told.started(0, 2, restored=2).curve(0, [6.0, 0.5], attempt=2, first=3)
    told.started(0, 3, restored=3).curve(0, [5.0], attempt=3, first=4)
    told.trial(1, [4.0])
    result = told.result()
    frame = result.curves()
    assert frame[frame.trial == 0].step.tolist() == [1, 2, 3, 4]
    assert frame[frame.trial == 0].loss.tolist() == [9.0, 8.0, 6.0, 5.0]
    assert result.best.trial == 1  # 1.0 and 0.5 lie on no main line
    assert result.trials().steps.tolist() == [4, 1]
    assert result.trials()["metrics.loss"].tolist() == [5.0, 4.0]
    everything = result.curves(attempts="all")
    assert list(everything.columns) == ["trial", "attempt", "step", "time", "loss"]
    assert everything[["step", "attempt", "loss"]].to_numpy().tolist()[:5] == [
        [1, 1, 9.0], [2, 1, 8.0], [3, 1, 7.0], [3, 2, 6.0], [4, 1, 1.0],
    ]  # fmt: skip


def test_an_earlier_restart_point_cuts_all_attempts_before_it(story):
    told = story().sampled(0).started(0, 1).curve(0, [9.0, 8.0, 7.0])
    told.started(0, 2, restored=3).curve(0, [6.0], attempt=2, first=4)
    told.started(0, 3, restored=1).curve(0, [5.0], attempt=3, first=2)
    assert told.result().curves().loss.tolist() == [9.0, 5.0]


def test_a_fresh_start_drops_the_earlier_attempts(story):
    told = story().sampled(0).started(0, 1).curve(0, [0.1, 0.2]).started(0, 2)
    assert len(told.result().curves()) == 0
    assert told.result().trials().steps.tolist() == [0]
    assert told.curve(0, [3.0], attempt=2).result().curves().loss.tolist() == [3.0]


@pytest.mark.parametrize(("mode", "trial", "step", "value"), [("min", 1, 2, 0.5), ("max", 0, 3, 5.0)])
def test_best_is_the_best_finite_value_of_any_step(story, mode, trial, step, value):
    told = (
        story(mode=mode).trial(0, [1.0, -INF, 5.0, INF, 5.0]).trial(1, [0.9, 0.5, 0.5, NAN]).trial(2, [0.5, 5.0])
    )
    best = told.result().best
    assert (best.trial, best.step, best.value) == (trial, step, value)


def test_best_tells_the_params_and_all_metrics_of_its_step(story):
    told = story().sampled(0, lr=0.3, optimizer="sgd").started(0)
    told.report(0, 1, loss=1.0, accuracy=0.7).report(0, 1, recall=0.6).report(0, 2, loss=2.0, accuracy=0.9)
    best = told.result().best
    assert best.params == {"lr": 0.3, "optimizer": "sgd"}
    assert best.metrics == {"loss": 1.0, "accuracy": 0.7, "recall": 0.6}


@pytest.mark.parametrize("mode", ["min", "max"])
def test_best_and_top_agree_with_a_plain_search(story, mode):
    rng = np.random.default_rng(5)
    told = story(mode=mode)
    sign = 1 if mode == "min" else -1
    expected = []
    for trial in range(40):
        values = rng.integers(0, 12, rng.integers(1, 9)).astype(float)
        values[rng.random(len(values)) < 0.3] = rng.choice([NAN, INF, -INF])
        told.trial(trial, values.tolist())
        ranked = sorted((sign * v, trial, step) for step, v in enumerate(values, 1) if math.isfinite(v))
        expected += ranked[:1]
    expected.sort()
    result = told.result()
    top = result.top(100)
    assert list(zip(sign * top.value, top.index, top.step, strict=True)) == expected
    assert (result.best.trial, result.best.step) == (top.index[0], top.step.iloc[0]) == expected[0][1:]
    assert len(result.top(3)) == 3


def test_top_shows_status_and_params(story):
    told = story().trial(0, [2.0], "stopped").trial(1, [1.0]).trial(2, [NAN], "failed").sampled(3)
    top = told.result().top()
    assert top.index.name == "trial"
    assert list(top.columns)[:4] == ["value", "step", "status", "params.lr"]
    assert top.index.tolist() == [1, 0]
    assert top.status.tolist() == ["completed", "stopped"]
    with pytest.raises(UsageError, match=r"top\(k=-1\)"):
        told.result().top(-1)


def test_events_are_readable(story):
    told = story().sampled(0, lr=0.3).started(0)
    frame = told.result().events()
    assert list(frame.columns) == ["seq", "time", "kind", "trial", "attempt", "step", "data"]
    assert frame.kind.tolist() == ["sweep_started", "driver_started", "trial_sampled", "trial_started"]
    assert frame.data[2] == {"stage": 1, "params": {"lr": 0.3}, "seed": 0}
    assert frame.trial.isna().tolist() == [True, True, False, False]
    assert frame.trial[2] == 0
    assert frame.time.is_monotonic_increasing


def test_frames_are_the_callers_own(story):
    result = story().trial(0, [1.0, 2.0]).result()
    for make in (result.curves, result.trials, result.top, lambda: result.curves(tidy=True)):
        before = make()
        changed = make()
        changed.iloc[:, 0] = 77
        pd.testing.assert_frame_equal(make(), before)


def test_savings_count_what_stopped_trials_lacked(story):
    told = story(max_step=10).trial(0, [1.0] * 10).trial(1, [2.0, 2.0], "stopped").trial(2, [3.0], "failed")
    told.sampled(3).started(3).curve(3, [1.0, 1.0, 1.0]).ended(3, "stopped", reason="by hand")
    saved = told.result().savings()
    assert (saved.steps, saved.steps_without, saved.trials_stopped) == (16, 24, 1)
    assert saved.fraction == pytest.approx(1 / 3)
    told.sampled(4).started(4).curve(4, [1.0, math.nan]).ended(4, "stopped", reason="diverged")
    saved = told.result().savings()
    assert (saved.steps, saved.steps_without, saved.trials_stopped) == (18, 26, 1)
    assert story(max_step=None).trial(0, [1.0], "stopped").result().savings().fraction == 0.0


def test_elapsed_counts_only_the_time_in_the_hands_of_a_driver(story):
    told = story().trial(0, [1.0] * 5, "running")
    begun = told.now_us
    told.now_us += 3_600_000_000
    told.tell(DriverStarted(told.now_us, "host", 8, "0.1")).started(0, 2)
    assert told.result().elapsed_s() == pytest.approx((begun - told.events[1].time_us + 1_000) / 1e6)
    told.tell(DriverStopped(told.tick(), "ctrl-c"))
    assert told.result().elapsed_s() == pytest.approx((begun - told.events[1].time_us + 2_000) / 1e6)


def test_params_of_names_an_unknown_trial(story):
    result = story().trial(0, [1.0], lr=0.3).result()
    assert result.params_of(0) == {"lr": 0.3}
    with pytest.raises(UsageError, match=r"trial 5: .* has 1 trials, and none of this number"):
        result.params_of(5)

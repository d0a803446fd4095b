"""The best value found, against steps, time and trials."""

from __future__ import annotations

import math

import numpy as np
import pytest

from caviar.analysis.plots.best_so_far import trained
from caviar.analysis.plots.elapsed import Terms, told, unit
from caviar.errors import UsageError
from caviar.messages import AttemptLost, DriverStarted, DriverStopped


def line(figure):
    (trace,) = [trace for trace in figure.data if trace.name == "best so far"]
    return list(
        zip(
            np.asarray(trace.x).tolist(),
            np.asarray(trace.y).tolist(),
            np.asarray(trace.customdata).tolist(),
            strict=True,
        )
    )


def test_cost_counts_the_steps_of_all_trials_up_to_the_moment(story):
    told = story(mode="max").sampled(0).sampled(1).started(0).started(1)
    for step, (first, second) in enumerate([(0.1, 0.2), (0.5, 0.2), (0.3, 0.9)], 1):
        told.report(0, step, loss=first).report(1, step, loss=second)
    figure = told.ended(0, "completed").ended(1, "completed").result().plot.best_so_far(log_x=False)
    assert line(figure) == [(3.0, 0.5, 0), (6.0, 0.9, 1), (6.0, 0.9, 1)]
    assert figure.layout.xaxis.title.text == "steps trained, of all trials"
    trace = figure.data[-1]
    assert trace.line.shape == "hv"


def test_cost_has_lost_attempts_in_it_and_what_was_restored_only_once(story):
    told = story().sampled(0).started(0).curve(0, [3.0, 2.0, 1.0])
    told.tell(AttemptLost(told.tick(), 0, 1, 3, "worker lost"))
    told.started(0, 2, restored=2).curve(0, [1.5, 0.5], attempt=2, first=3).ended(0, "completed", 2)
    result = told.result()
    _, steps = trained(result._reports, result._events)
    assert steps.tolist() == [1, 1, 1, 1, 1]
    assert line(result.plot.best_so_far(log_x=False)) == [(5.0, 0.5, 0), (5.0, 0.5, 0)]


def test_cost_counts_steps_between_reports_and_a_report_of_several_metrics_once(story):
    told = (
        story().sampled(0).started(0).report(0, 10, loss=1.0, accuracy=0.1).report(0, 20, loss=0.5, accuracy=0.2)
    )
    assert line(told.result().plot.best_so_far(log_x=False))[-1][0] == 20


def test_time_leaves_out_the_breaks_between_drivers(story):
    told = story().sampled(0).started(0).report(0, 1, loss=1.0)
    told.tell(DriverStopped(told.tick(), "interrupted"))
    told.now_us += 3_600_000_000
    told.tell(DriverStarted(told.tick(), "host", 8, "0.1", 1.0)).started(0, 2, restored=1)
    told.report(0, 2, attempt=2, loss=0.5).ended(0, "completed", 2)
    figure = told.result().plot.best_so_far("time", log_x=False)
    assert figure.layout.xaxis.title.text == "wall time (seconds)"
    assert [x for x, _, _ in line(figure)] == pytest.approx([0.008, 0.009], abs=0.002)


def test_trials_count_in_the_order_of_their_start(story):
    told = story().sampled(0).sampled(1).sampled(2).started(2).started(0).started(1)
    told.curve(0, [2.0]).curve(1, [3.0]).curve(2, [4.0])
    figure = told.result("running").plot.best_so_far("trials", log_x=False)
    assert line(figure) == [(1, 4.0, 2), (2, 2.0, 0), (3, 2.0, 0)]


def test_every_trial_has_a_dot_at_its_best(story):
    told = story().trial(0, [3.0, 1.0]).trial(1, [2.0, math.nan], "stopped").trial(2, [math.nan], "failed")
    figure = told.result().plot.best_so_far()
    found = {trace.name: np.asarray(trace.y).tolist() for trace in figure.data[:-1]}
    assert found == {"best of each trial, stopped": [2.0], "best of each trial, completed": [1.0]}


def test_early_improvements_take_a_log_axis(story):
    told = story(max_step=1000)
    for trial, value in enumerate([5.0, 4.0, 3.0, 2.0]):
        told.trial(trial, [value])
    told.trial(4, [9.0] * 200)
    plot = told.result().plot
    assert plot.best_so_far().layout.xaxis.type == "log"
    assert plot.best_so_far(log_x=False).layout.xaxis.type == "linear"
    with pytest.raises(UsageError, match=r"best_so_far\(against='money'\)"):
        plot.best_so_far("money")


def test_a_driver_that_was_killed_lived_until_its_last_record(story):
    told = story().sampled(0).started(0).report(0, 1, loss=1.0)
    gone = told.now_us
    told.now_us += 10_000_000
    told.tell(DriverStarted(told.tick(), "host", 8, "0.1", 1.0))
    back = told.now_us
    result = told.result()
    terms = Terms.of(result._events, result._reports.time_us)
    assert terms.seconds(np.array([gone, gone + 5_000_000, back])) == pytest.approx([terms.total_s] * 3)


def test_units_fit_the_span():
    assert [unit(seconds)[0] for seconds in (1, 119, 120, 7200, 200_000)] == [
        "seconds",
        "seconds",
        "minutes",
        "hours",
        "days",
    ]
    assert [told(seconds) for seconds in (12.34, 300, 20_000, 400_000)] == ["12.3 s", "5 min", "5.56 h", "4.63 d"]

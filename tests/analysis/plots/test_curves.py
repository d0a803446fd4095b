"""Learning curves: the right points, thinned out with care, and told to who points at them."""

from __future__ import annotations

import math

import numpy as np
import pytest

from caviar.analysis.plots import curves as module
from caviar.analysis.plots import scene as scene_module
from caviar.errors import UsageError
from caviar.messages import TrialSampled
from caviar.space import Choice, Float, Space


def of(figure, name):
    (trace,) = [trace for trace in figure.data if trace.name.startswith(name)]
    return trace


def lines(trace):
    """The curves of a trace, by trial."""
    gaps = np.flatnonzero(np.isnan(np.asarray(trace.y, float)))
    found = {}
    for part in np.split(np.arange(len(trace.y)), gaps):
        part = part[~np.isnan(np.asarray(trace.y, float)[part])]
        if len(part):
            (trial,) = set(np.asarray(trace.customdata)[part].tolist())
            found[trial] = list(
                zip(np.asarray(trace.x)[part].tolist(), np.asarray(trace.y)[part].tolist(), strict=True)
            )
    return found


def test_each_state_is_one_line_with_gaps_and_the_best_lies_on_top(story):
    told = (
        story()
        .trial(0, [3.0, 2.0])
        .trial(1, [3.0, 1.0])
        .trial(2, [5.0], "stopped")
        .trial(3, [4.0, 3.5], "stopped")
    )
    figure = told.result().plot.curves()
    assert [trace.name for trace in figure.data] == ["stopped (2)", "completed (2)", "best: trial 1"]
    assert lines(of(figure, "stopped")) == {2: [(1, 5.0)], 3: [(1, 4.0), (2, 3.5)]}
    assert lines(of(figure, "completed")) == {0: [(1, 3.0), (2, 2.0)]}
    assert lines(of(figure, "best")) == {1: [(1, 3.0), (2, 1.0)]}
    assert np.asarray(of(figure, "best").marker.size).tolist() == [0, 9]  # where its best value is
    assert figure.layout.xaxis.title.text == "step"
    assert figure.layout.yaxis.title.text == "loss"
    assert figure.layout.meta["caption"] == "loss, less is better. Drawn: 4 trials."


def test_a_curve_of_one_report_is_a_dot(story):
    figure = story().trial(0, [1.0, 0.5]).trial(1, [5.0], "stopped").result().plot.curves()
    assert np.asarray(of(figure, "stopped").marker.size).tolist() == [5]


def test_what_is_not_finite_is_a_gap_of_its_curve(story):
    figure = story().trial(0, [3.0, math.nan, 1.0, math.inf, 0.5]).trial(1, [0.1]).result().plot.curves(limit=10)
    y = np.asarray(of(figure, "completed").y, float)
    assert np.isnan(y).tolist() == [False, True, False, True, False]
    assert np.asarray(of(figure, "completed").x).tolist() == [1, 2, 3, 4, 5]


def test_who_points_at_it_learns_trial_state_value_and_params(story):
    evil = "<b>%{x}"
    told = story(space=Space(lr=Float(1e-4, 1, scale="log"), kind=Choice([evil, "b"])))
    told.trial(0, [1.0, 0.5], lr=0.0123456, kind=evil).trial(1, [2.0], "stopped", lr=0.5, kind="b")
    trace = of(told.result().plot.curves(), "stopped")
    assert trace.text[0] == "<br>lr 0.5<br>kind b"
    assert trace.hovertemplate.startswith(
        "<b>trial %{customdata}</b>, stopped<br>loss %{y:.5~g} at step %{x:d}%{text}"
    )
    best = of(told.result().plot.curves(), "best")
    assert best.text[0] == "<br>lr 0.012346<br>kind &lt;b&gt;%&#123;x}"


def test_where_there_is_no_room_the_end_of_a_curve_tells(story, monkeypatch):
    monkeypatch.setattr(module, "ROOM_FOR_TEXT", 10)
    figure = story().trial(0, [3.0, 2.0, 1.5]).trial(1, [3.0, 1.0, 0.5]).result().plot.curves()
    texts = of(figure, "completed").text
    assert list(map(bool, texts)) == [False, False, True]
    assert "Point at the end of a curve for its params." in figure.layout.meta["caption"]


def test_long_curves_keep_their_first_last_and_best_report(story, monkeypatch):
    monkeypatch.setattr(module, "MAX_POINTS", 40)
    values = np.linspace(10, 5, 400)
    values[217] = 1.0
    told = story(max_step=400).trial(0, values.tolist()).trial(1, (values + 1).tolist())
    figure = told.result().plot.curves()
    drawn = lines(of(figure, "completed"))[1]
    assert len(drawn) <= 22
    assert {(1, 11.0), (218, 2.0), (400, 6.0)} <= set(drawn)
    assert np.diff([step for step, _ in drawn]).max() <= 23  # evenly, otherwise
    assert "thinned out to about 20 points each" in figure.layout.meta["caption"]
    early = lines(of(told.result().plot.curves(log_x=True), "completed"))[1]
    assert [step for step, _ in early[:3]] == [1, 2, 3]  # evenly on a log axis


def test_of_many_trials_the_best_and_an_even_sample_are_drawn(story, monkeypatch):
    monkeypatch.setattr(scene_module, "MAX_TRIALS", 30)
    monkeypatch.setattr(scene_module, "BEST_DRAWN", 3)
    told = story()
    for trial in range(100):
        told.trial(trial, [1.0 + (trial * 37 % 100) / 100])
    result = told.result()
    figure = result.plot.curves()
    drawn = [*lines(of(figure, "completed")), *lines(of(figure, "best"))]
    assert len(drawn) == 30
    assert set(result.top(3).index) <= set(drawn)
    assert np.diff(sorted(drawn)).max() <= 6
    assert "Drawn: 30 of 100 trials, the best among them." in figure.layout.meta["caption"]
    assert len(lines(of(result.plot.curves(limit=5), "completed"))) == 4  # and the best


def test_log_axes_are_chosen_where_most_would_lie_in_a_corner(story):
    told = story(max_step=100).trial(0, np.geomspace(1, 1e-3, 100).tolist())
    for trial in range(1, 12):
        told.trial(trial, [1.0, 0.9], "stopped")
    plot = told.result().plot
    figure = plot.curves()
    assert (figure.layout.xaxis.type, figure.layout.yaxis.type) == ("log", "log")
    assert "10" in figure.layout.xaxis.ticktext
    figure = plot.curves(log_x=False, log_y=False)
    assert (figure.layout.xaxis.type, figure.layout.yaxis.type) == (None, "linear")


def test_values_of_zero_or_less_are_gaps_on_a_log_axis_and_are_counted(story):
    figure = story().trial(0, [1.0, 0.0, -1.0, 0.5]).trial(1, [0.4]).result().plot.curves(log_y=True)
    assert lines(of(figure, "best"))
    assert "cannot be on a log axis" in figure.layout.meta["caption"]
    assert figure.layout.yaxis.type == "log"


def test_several_stages_have_colours_of_their_own(story):
    told = story()
    for trial, stage in enumerate([0, 0, 1, 1, 1]):
        told.tell(TrialSampled(told.tick(), trial, stage, {"lr": 0.1, "momentum": 0.9, "layers": 1}, trial))
        told.started(trial).curve(trial, [2.0, 1.0 + trial / 10]).ended(
            trial, "stopped" if trial == 4 else "completed"
        )
    plot = told.result().plot
    figure = plot.curves()
    listed = [trace.name for trace in figure.data if trace.showlegend is not False]
    assert listed == ["stage 1 (3)", "stage 0 (2)", "best: trial 0"]
    assert len({trace.line.color for trace in figure.data}) == 3
    assert [trace.name for trace in plot.curves(by="state").data] == [
        "stopped (1)",
        "completed (4)",
        "best: trial 0",
    ]
    with pytest.raises(UsageError, match=r"curves\(by='colour'\)"):
        plot.curves(by="colour")


def test_another_metric(story):
    told = story().sampled(0).started(0)
    told.report(0, 1, loss=1.0, accuracy=0.5).report(0, 2, loss=0.5, accuracy=0.75).report(0, 3, loss=0.4)
    figure = told.result("running").plot.curves("accuracy")
    assert lines(of(figure, "best")) == {0: [(1, 0.5), (2, 0.75)]}
    assert figure.layout.yaxis.title.text == "accuracy"
    with pytest.raises(UsageError, match="no trial has reported it; there are loss, accuracy"):
        told.result().plot.curves("acc")
    with pytest.raises(UsageError, match="limit=0"):
        told.result().plot.curves(limit=0)


def test_few_points_are_drawn_as_svg_and_many_by_webgl(story):
    assert story().trial(0, [1.0]).result().plot.curves().data[0].type == "scatter"
    told = story(max_step=4000).trial(0, np.linspace(2, 1, 4000).tolist()).trial(1, [3.0])
    assert {trace.type for trace in told.result().plot.curves().data} == {"scattergl"}

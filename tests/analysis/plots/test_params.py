"""Params against the metric, in parallel, over two of them, and stage by stage."""

from __future__ import annotations

import math
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from caviar.analysis.plots.surface import surface, telling
from caviar.analysis.result import Result
from caviar.errors import CaviarError, UsageError
from caviar.messages import Decided, TrialSampled
from caviar.space import Choice, Float, Int, Space
from tests.analysis.report.sweeps import whole


def tried(story, **declared):
    """Five trials: three that ended, one stopped, one that failed before it reported."""
    told = story(**declared)
    told.trial(0, [3.0, 1.0], lr=0.1, momentum=0.99, optimizer="adam", beta2=0.999, layers=2)
    told.trial(1, [2.0, 0.5, 0.75], lr=0.01, momentum=0.95, optimizer="sgd", layers=1)
    told.sampled(2, lr=1.0, momentum=0.9, optimizer="sgd", layers=4).started(2).curve(2, [2.8, 4.0])
    told.tell(Decided(told.tick(), 2, 1, 2, 2, 4.0, "stop")).ended(2, "stopped")
    told.trial(3, [2.5], lr=0.001, momentum=0.999, optimizer="adam", beta2=0.9, layers=3)
    told.sampled(4, lr=0.5, momentum=0.9, optimizer="sgd", layers=1).started(4).ended(4, "failed")
    return told.result()


def panel(figure, title):
    """The traces of the panel whose x axis has this title, by name."""
    (axis,) = [axis.plotly_name for axis in figure.select_xaxes() if axis.title.text == title]
    return {trace.name: trace for trace in figure.data if (trace.xaxis or "x") == axis.replace("axis", "")}


def dots(trace):
    return dict(
        zip(
            np.asarray(trace.customdata).tolist(),
            zip(np.asarray(trace.x), np.asarray(trace.y), strict=True),
            strict=True,
        )
    )


# --- params ----------------------------------------------------------------------------------------------


def test_each_param_that_varies_has_a_panel_on_its_scale(story):
    figure = tried(story).plot.params()
    titles = [axis.title.text for axis in figure.select_xaxes()]
    assert titles == ["lr (log)", "momentum (log of 1 - x)", "optimizer", "beta2 (log of 1 - x)", "layers"]
    lr = panel(figure, "lr (log)")
    assert dots(lr["completed"]) == {0: pytest.approx((-1, 1.0)), 3: pytest.approx((-3, 2.5))}
    momentum = panel(figure, "momentum (log of 1 - x)")
    assert dots(momentum["completed"])[0] == pytest.approx((2, 1.0))
    assert "0.99" in figure.layout.xaxis2.ticktext
    optimizer = panel(figure, "optimizer")
    assert [round(dots(optimizer["completed"])[trial][0]) for trial in (0, 3)] == [1, 1]  # adam
    assert figure.layout.xaxis3.ticktext == ("sgd", "adam")
    assert dots(panel(figure, "beta2 (log of 1 - x)")["completed"]).keys() == {0, 3}  # absent of the others


def test_a_stopped_trial_stands_lighter_at_the_value_for_which_it_was_stopped(story):
    lr = panel(tried(story).plot.params(), "lr (log)")
    assert dots(lr["stopped"]) == {2: pytest.approx((0, 4.0))}  # not at its best, 2.8
    assert lr["stopped"].marker.opacity < lr["completed"].marker.opacity


def test_the_best_is_a_star(story):
    told = story().trial(0, [1.0], lr=0.1).trial(1, [0.5], lr=0.01).trial(2, [2.0], lr=0.2)
    best = panel(told.result().plot.params("lr"), "lr (log)")["best"]
    assert dots(best) == {1: pytest.approx((-2, 0.5))}
    assert best.marker.symbol == "star"


def test_names_choose_panels_and_unknown_ones_are_refused(story):
    plot = tried(story).plot
    assert [axis.title.text for axis in plot.params(["layers", "lr"]).select_xaxes()] == ["layers", "lr (log)"]
    with pytest.raises(UsageError, match="param 'epsilon': does not vary in this sweep; lr, momentum"):
        plot.params(["epsilon"])


def test_who_points_at_a_dot_learns_all_params(story):
    evil = "</b>%{y}"
    told = story(space=Space(lr=Float(0, 1), kind=Choice([evil, "b"]))).trial(0, [1.0], lr=0.5, kind="b")
    told.trial(1, [2.0], lr=0.25, kind=evil)
    trace = panel(told.result().plot.params(), "lr")["completed"]
    assert trace.text == ("<b>trial 1</b>, completed<br>loss 2 at step 1<br>lr 0.25<br>kind &lt;/b&gt;%&#123;y}",)
    assert told.result().plot.params().layout.xaxis2.ticktext[0] == "&lt;/b&gt;%&#123;y}"


def test_the_legend_names_each_state_once(story):
    figure = tried(story).plot.params()
    listed = [trace.name for trace in figure.data if trace.showlegend]
    assert sorted(listed) == ["best", "completed", "stopped"]


# --- parallel --------------------------------------------------------------------------------------------


def test_a_line_goes_through_every_param_and_the_best_is_drawn_last(story):
    figure = tried(story).plot.parallel()
    (trace,) = figure.data
    assert [each.label for each in trace.dimensions] == ["lr", "momentum", "optimizer", "beta2", "layers", "loss"]
    assert np.asarray(trace.dimensions[0].values) == pytest.approx([0, -3, -1, -2])  # worst to best
    assert np.all(np.diff(np.asarray(trace.line.color)) >= 0)
    assert np.asarray(trace.line.color)[-1] == 1.0
    beta2 = trace.dimensions[3]
    absent = beta2.tickvals[beta2.ticktext.index("absent")]
    assert np.asarray(beta2.values) == pytest.approx([absent, 1, 3, absent])
    assert beta2.range[0] < absent < 1
    assert np.asarray(trace.dimensions[5].values).tolist() == [4.0, 2.5, 1.0, 0.5]


def test_ticks_that_plotly_chooses_on_parallel_axes_are_without_markup(story):
    told = story(space=Space(x=Float(-1e22, 1e22)), metric="loss")
    for trial, x in enumerate([-1e22, 0.0, 5e21, 1e22]):
        told.trial(trial, [-x], x=x)
    for dimension in told.result().plot.parallel().data[0].dimensions:
        assert dimension.tickformat == ".8~g"
        assert dimension.ticktext is None


def test_labels_of_parallel_axes_are_as_they_are(story):
    told = story(space=Space(lr=Float(0, 1), kind=Choice(["<b>&", "{b}"]))).trial(0, [1.0], lr=0.5, kind="{b}")
    assert told.result().plot.parallel().data[0].dimensions[1].ticktext == ("<b>&", "{b}")


# --- contour ---------------------------------------------------------------------------------------------


def bowl(story, trials=60):
    told = story(
        space=Space(
            lr=Float(1e-4, 1.0, scale="log"), width=Float(0, 10), dull=Float(0, 1), kind=Choice(["a", "b"])
        )
    )
    rng = np.random.default_rng(7)
    for trial in range(trials):
        lr, width, dull = 10 ** rng.uniform(-4, 0), rng.uniform(0, 10), rng.random()
        loss = (math.log10(lr) + 2) ** 2 + (width - 5) ** 2 / 10
        told.trial(trial, [loss], lr=lr, width=width, dull=dull, kind="ab"[trial % 2])
    return told.result()


def test_it_takes_the_params_that_tell_most_and_finds_the_valley(story):
    figure = bowl(story).plot.contour()
    assert (figure.layout.xaxis.title.text, figure.layout.yaxis.title.text) == ("lr (log)", "width")
    assert figure.layout.meta["title"] == "loss over lr and width"
    valley, points, star = figure.data
    z = np.asarray(valley.z, float)
    row, column = np.unravel_index(np.nanargmax(z), z.shape)  # of the ranks, the best is the highest
    assert np.asarray(valley.x)[column] == pytest.approx(-2, abs=0.7)
    assert np.asarray(valley.y)[row] == pytest.approx(5, abs=1.5)
    assert len(points.x) == 60
    assert len(star.x) == 1
    assert points.text[0].startswith("<b>trial 0</b>, completed<br>loss ")


def test_the_surface_is_blank_where_nothing_lies(story):
    told = story(space=Space(a=Float(0, 1), b=Float(0, 1)))
    rng = np.random.default_rng(1)
    for trial in range(200):
        a = rng.random()
        told.trial(trial, [a], a=a, b=float(np.clip(a + rng.normal(0, 0.02), 0, 1)))  # along the diagonal
    z = np.asarray(told.result().plot.contour("a", "b").data[0].z, float)
    assert np.isnan([z[0, -1], z[-1, 0]]).all()
    assert np.isfinite(np.diag(z)).all()


def test_a_choice_has_strips_that_are_smoothed_each_for_itself(story):
    figure = bowl(story).plot.contour("kind", "lr")
    cells = figure.data[0]
    assert cells.type == "heatmap"
    assert np.asarray(cells.z).shape == (64, 2)
    assert figure.layout.xaxis.ticktext == ("a", "b")


def test_dots_of_two_choices_fill_their_cells(story):
    told = story(space=Space(a=Choice([1, 2]), b=Choice([1, 2])))
    for trial in range(200):
        told.trial(trial, [trial + 1.0], a=1, b=1)
    dots = told.result().plot.contour("a", "b").data[1]
    x, y = np.asarray(dots.x), np.asarray(dots.y)
    assert abs(np.corrcoef(x, y)[0, 1]) < 0.2


def test_colours_are_ranks_that_compare_trials_where_they_came_to(story):
    told = story(space=Space(a=Float(0, 1), b=Float(0, 1)))
    for trial in range(10):  # half of them stopped at step 1, where their loss is twice as great as later
        told.sampled(trial, a=trial / 10, b=trial / 10).started(trial).curve(trial, [2.0 + trial])
        stop = trial >= 5
        told.tell(Decided(told.tick(), trial, 1, 1, 1, 2.0 + trial, "stop" if stop else "continue"))
        if not stop:
            told.report(trial, 2, loss=1.0 + trial)
        told.ended(trial, "stopped" if stop else "completed")
    figure = told.result().plot.contour("a", "b")
    assert np.asarray(figure.data[1].marker.color) == pytest.approx(1 - np.arange(10) / 10)
    assert (figure.layout.coloraxis.cmin, figure.layout.coloraxis.cmax) == (0, 1)


def test_one_param_may_be_named_and_mistakes_are_told(story):
    plot = bowl(story).plot
    assert plot.contour("dull").layout.xaxis.title.text == "dull"
    assert plot.contour("dull").layout.yaxis.title.text == "lr (log)"
    assert plot.contour(y="dull").layout.yaxis.title.text == "dull"
    with pytest.raises(UsageError, match="two different params"):
        plot.contour("lr", "lr")
    with pytest.raises(UsageError, match="param 'depth'"):
        plot.contour("depth")


def test_few_trials_have_dots_alone(story):
    figure = bowl(story, 5).plot.contour("lr", "width")
    assert {trace.type for trace in figure.data} == {"scatter"}
    assert "too few trials for a surface" in figure.layout.meta["caption"]


def test_a_surface_through_a_plane_is_that_plane():
    rng = np.random.default_rng(3)
    x, y = rng.random(300), rng.random(300)
    grid = np.linspace(0, 1, 9)
    found = surface(x, y, 2 * x - y, grid_x=grid, grid_y=grid, smooth_x=True, smooth_y=True)
    wanted = 2 * grid[None, :] - grid[:, None]
    inner = (slice(1, -1), slice(1, -1))
    assert found[inner] == pytest.approx(wanted[inner], abs=0.02)


def test_telling_sees_a_valley_and_no_noise():
    rng = np.random.default_rng(5)
    x = rng.random(400)
    assert telling(x, (x - 0.5) ** 2) > 0.9
    assert telling(x, rng.random(400)) < 0.05
    assert telling(np.repeat([0.0, 1.0], 50), np.repeat([0.2, 0.8], 50)) == 1.0
    assert telling(x, np.ones(400)) == telling(np.ones(400), x) == telling(x[:0], x[:0]) == 0.0


# --- importance ------------------------------------------------------------------------------------------


def measured():
    params = pd.DataFrame(
        {"importance": [0.1, 0.6], "low": [0.05, 0.5], "high": [0.2, 0.65]}, index=["width", "lr"]
    )
    pairs = pd.DataFrame(
        {
            "first": ["lr", "lr"],
            "second": ["<b>", "width"],
            "importance": [0.25, 0.3],
            "verdict": ["matters", "cannot be told"],
        }
    )
    return SimpleNamespace(params=params, pairs=pairs, trials=1200, stage=0)


def test_importance_has_a_bar_a_param_with_its_range_and_the_pairs(story, monkeypatch):
    monkeypatch.setattr(Result, "importance", lambda self: measured(), raising=False)
    figure = bowl(story).plot.importance()
    alone, together = figure.data
    assert alone.y == ("lr", "width")
    assert np.asarray(alone.x).tolist() == [0.6, 0.1]
    assert np.asarray(alone.error_x.array) == pytest.approx([0.05, 0.1])
    assert np.asarray(alone.error_x.arrayminus) == pytest.approx([0.1, 0.05])
    assert together.y == ("lr and &lt;b&gt;",)
    assert figure.layout.yaxis.categoryarray[-1] == "lr"  # on top
    assert "Told from 1,200 trials." in figure.layout.meta["caption"]


def test_importance_says_of_which_stage_it_is(monkeypatch):
    monkeypatch.setattr(Result, "importance", lambda self: measured(), raising=False)
    assert "Told from 1,200 trials of stage 0." in whole().plot.importance().layout.meta["caption"]


def test_contour_asks_importance_first(story, monkeypatch):
    monkeypatch.setattr(Result, "importance", lambda self: measured(), raising=False)
    figure = bowl(story).plot.contour()
    assert figure.layout.meta["title"] == "loss over lr and width"
    assert "Chosen: the params that matter most." in figure.layout.meta["caption"]


def test_where_importance_can_say_nothing_the_figure_says_why(story, monkeypatch):
    def none(self):
        raise CaviarError(f"{self.path}: too few trials: 3 <of> 20")

    monkeypatch.setattr(Result, "importance", none, raising=False)
    figure = bowl(story).plot.importance()
    assert figure.layout.meta["empty"]
    assert figure.layout.annotations[0].text == "Too few trials: 3 &lt;of&gt; 20"
    assert "ranks of trials differ most" in bowl(story).plot.contour().layout.meta["caption"]


# --- stages ----------------------------------------------------------------------------------------------


def test_each_stage_has_its_distribution_of_the_metric_and_of_each_param(story):
    told = story(space=Space(lr=Float(1e-4, 1.0, scale="log"), layers=Int(1, 3), kind=Choice(["a", "b"])))
    for trial in range(20):
        stage = trial // 10
        params = {"lr": 10.0 ** -(1 + stage), "layers": 1 + stage, "kind": "a" if trial % 4 else "b"}
        told.tell(TrialSampled(told.tick(), trial, stage, params, trial))
        told.started(trial).curve(trial, [1.0 + trial / 10]).ended(trial, "completed")
    figure = told.result().plot.stages()
    metric = [trace for trace in figure.data if trace.xaxis == "x"]
    assert [np.asarray(trace.y).mean() for trace in metric] == pytest.approx([1.45, 2.45])
    lr = [trace for trace in figure.data if trace.xaxis == "x2"]
    assert [set(np.asarray(trace.y).tolist()) for trace in lr] == [{-1.0}, {-2.0}]
    assert figure.layout.xaxis.ticktext == ("0 (10)", "1 (10)")
    kind = [trace for trace in figure.data if trace.xaxis == "x4"]
    assert [trace.text for trace in kind] == [("70%", "30%"), ("80%", "20%")]

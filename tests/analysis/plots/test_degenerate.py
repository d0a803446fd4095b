"""Sweeps with little or nothing in them, and without plotly: a figure or one line, never a traceback."""

from __future__ import annotations

import builtins
import json
import math

import pytest

from caviar.errors import CaviarError
from caviar.space import Choice, Float, Int, Space

FIGURES = ("curves", "params", "parallel", "best_so_far", "contour", "workers", "stages", "importance", "audit")


def nothing(story):
    return story()


def only_sampled(story):
    return story().sampled(0).sampled(1)


def started(story):
    return story().sampled(0).started(0)


def one_report(story):
    return story().trial(0, [1.0])


def all_failed(story):
    return story().sampled(0).started(0).ended(0, "failed").sampled(1).started(1).ended(1, "failed")


def all_nan(story):
    return story().trial(0, [math.nan, math.inf], "stopped").trial(1, [math.nan], "stopped")


def all_equal(story):
    told = story()
    for trial in range(10):
        told.trial(trial, [0.0, 0.0])
    return told


def one_param(story):
    told = story(space=Space(lr=Float(1e-4, 1, scale="log")))
    for trial in range(10):
        told.trial(trial, [1.0 + trial], lr=0.1 / (trial + 1))
    return told


def nothing_varies(story):
    told = story(space=Space(lr=0.1))
    for trial in range(10):
        told.trial(trial, [1.0 + trial], lr=0.1)
    return told


def never_together(story):
    space = Space(kind=Choice(["a", "b"]), x=Float(0, 1, when={"kind": "a"}), y=Int(1, 3, when={"kind": "b"}))
    told = story(space=space)
    for trial in range(10):
        told.trial(trial, [1.0 + trial], **({"kind": "a", "x": 0.5} if trial % 2 else {"kind": "b", "y": 2}))
    return told


def huge(story):
    told = story()
    for trial, value in enumerate([1e300, -1e300, 1e-300, 5e-324, 0.0]):
        told.trial(trial, [value, value], lr=0.1 / (trial + 1), momentum=0.99, optimizer="sgd", layers=1)
    return told


CASES = (nothing, only_sampled, started, one_report, all_failed, all_nan, all_equal, one_param, nothing_varies,
         never_together, huge)  # fmt: skip


@pytest.mark.parametrize("status", ["finished", "running", "interrupted"])
@pytest.mark.parametrize("case", CASES)
def test_every_figure_of_every_sweep_is_drawn_or_says_why_not(story, case, status):
    plot = case(story).result(status).plot
    for name in FIGURES:
        figure = getattr(plot, name)()
        meta = json.loads(figure.to_json())["layout"]["meta"]
        assert meta["title"]
        if meta["empty"]:
            assert not figure.data
            assert figure.layout.annotations[0].text.strip()
        else:
            assert figure.data
            assert figure.layout.title.subtitle.text


@pytest.mark.parametrize("against", ["cost", "time", "trials"])
@pytest.mark.parametrize("case", CASES)
def test_so_are_all_of_best_so_far(story, case, against):
    case(story).result().plot.best_so_far(against).to_json()


def test_what_is_missing_is_named(story):
    def why(told, name):
        return getattr(told.result().plot, name)().layout.annotations[0].text

    assert why(nothing(story), "curves") == "No trial has reported loss yet."
    assert why(all_nan(story), "params") == "No trial has reported a finite loss yet."
    assert why(nothing_varies(story), "params") == "No param varies in this sweep."
    assert why(one_param(story), "contour") == "Fewer than two params vary in this sweep."
    assert why(nothing(story), "workers") == "No trial has been started yet."
    both = never_together(story).result().plot.contour("x", "y")
    assert both.layout.annotations[0].text == "No trial has both x and y."


def test_without_plotly_it_says_what_to_install(story, monkeypatch):
    real = builtins.__import__

    def without_plotly(name, *args, **kwargs):
        if name.startswith("plotly"):
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without_plotly)
    plot = one_report(story).result().plot
    for name in FIGURES:
        with pytest.raises(CaviarError, match=r"pip install 'caviar-sweep\[report\]'"):
            getattr(plot, name)()


def test_a_result_that_is_read_again_has_new_figures(tmp_path):
    from caviar import Asha, Float, Inline, Space, Sweep, load

    def train(trial):
        for step in trial.steps():
            trial.report(loss=trial.params["x"] / step)

    sweep = Sweep(train, Space(x=Float(0, 1)), metric="loss", trials=3, max_step=4, scheduler=Asha(grace_steps=2))
    sweep.run(tmp_path / "s", Inline())
    result = load(tmp_path / "s")
    before = result.plot
    assert result.plot is before
    sweep.extend(tmp_path / "s", Inline(), trials=2)
    result.refresh()
    assert result.plot is not before
    assert "Drawn: 5 trials." in result.plot.curves().layout.meta["caption"]
    assert repr(before).startswith("Plots(")

"""Zooming from the record of a sweep: its stages, its stopped trials, and sweeps with nothing to go by."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest

from caviar.errors import CaviarError
from caviar.messages import Adjusted, StageOpened
from caviar.space import Float, Space
from caviar.space.narrowed import NarrowedSpace
from tests.analysis.conftest import SPACE, Story


def sampled(
    story: Story, trials: int, loss: Callable[[dict], float], space: Space = SPACE, first: int = 0
) -> Story:
    rng = np.random.default_rng(first)
    for trial in range(first, first + trials):
        params = space.sample(rng)
        value = loss(params) + 0.01 * rng.standard_normal()
        story.trial(trial, [value + (5 if story.mode == "min" else -5), value], **params)
    return story


def to(target: float) -> Callable[[dict], float]:
    return lambda params: abs(math.log10(params["lr"] / target))


def test_a_sweep_is_narrowed_around_its_best_trials(story):
    result = sampled(story(), 100, to(0.01)).result()
    space = result.zoom()
    assert isinstance(space, NarrowedSpace)
    assert list(space) == list(SPACE)
    assert 1e-3 < space["lr"].low < 0.01 < space["lr"].high < 0.1
    assert sum(change.kind != "kept" for change in space.changes) <= 2  # one by chance
    assert result.zoom().to_dict(changes=True) == space.to_dict(changes=True)
    assert result.zoom(0.3).share > space.share
    assert result.edges().empty
    assert list(result.edges().columns) == ["param", "end", "low", "high", "share", "suggestion"]


def test_more_is_better_where_the_sweep_maximizes(story):
    result = sampled(story(mode="max"), 100, lambda params: -to(0.01)(params)).result()
    assert 1e-3 < result.zoom()["lr"].low < 0.01 < result.zoom()["lr"].high < 0.1


def test_edges_say_where_the_best_pile_up(story):
    result = sampled(story(), 200, to(10)).result()
    frame = result.edges()
    assert frame[["param", "end", "low", "high"]].to_numpy().tolist() == [["lr", "high", 1e-4, 1.0]]
    assert frame["share"][0] > 0.3
    assert frame["suggestion"][0] == "try lr as far as 10"
    assert result.zoom()["lr"].high == 10
    assert result.zoom(widen=False)["lr"].high == 1


def test_the_last_stage_is_zoomed_with_the_trials_that_lie_in_it(story):
    inner = Space({**SPACE, "lr": Float(1e-3, 0.1, scale="log")})
    told = story().tell(StageOpened(1, 0, SPACE.to_dict()))
    sampled(told, 60, to(0.01))
    told.tell(StageOpened(2, 1, inner.to_dict()))
    assert told.result().last_space == inner
    sampled(told, 60, to(0.01), inner, first=60)
    space = told.result().zoom()
    [lr] = [change for change in space.changes if change.name == "lr"]
    assert lr.old == inner["lr"]
    inside = sum(1e-3 <= params["lr"] <= 0.1 for params in told.result().evidence.params)
    assert 60 < inside < 120
    assert f"of {inside} trials" in lr.why
    assert space["lr"].low > 1e-3
    assert space["lr"].high < 0.1


@pytest.mark.parametrize("status", ["finished", "running", "interrupted"])
def test_a_sweep_without_a_finite_metric_says_so(story, status):
    for told in (story(), story().trial(0, [math.nan, math.inf], "stopped"), story().sampled(0)):
        result = told.result(status)
        for ask in (result.zoom, result.edges):
            with pytest.raises(CaviarError, match=r"^runs.digits: no trial has reported a finite 'loss'"):
                ask()


@pytest.mark.parametrize("trials", [1, 5])
def test_a_small_sweep_stays_as_it_is(story, trials):
    result = sampled(story(), trials, to(0.01)).result("running")
    assert result.zoom() == SPACE
    assert "too few to narrow lr" in result.zoom().explained()
    assert result.edges().empty


def test_equal_values_and_diverged_trials_change_nothing(story):
    assert sampled(story(), 40, lambda params: math.nan).trial(40, [1.0]).result().zoom() == SPACE
    equal = story()
    rng = np.random.default_rng(0)
    for trial in range(40):
        equal.trial(trial, [1.0], **SPACE.sample(rng))
    assert equal.result().zoom() == SPACE


def test_where_all_params_were_changed_by_hand_that_is_said(story):
    told = story()
    for trial in range(3):
        told.trial(trial, [1.0], "running")
        told.tell(Adjusted(told.tick(), trial, 1, 1, old={"lr": 0.1}, new={"lr": 0.2}))
    result = told.result("running")
    with pytest.raises(
        CaviarError, match=r"no other trial has reported .*the params of 3 trials were changed by hand"
    ):
        result.zoom()
    with pytest.raises(CaviarError, match=r"so far: 0; .*takes 10; the params of 3 trials were changed by hand"):
        result.importance()
    result.declaration["panda"] = {}
    for asked in (result.zoom, result.importance):
        with pytest.raises(
            CaviarError, match=r"its params were changed by hand, .*; caviar fork runs.digits --vary"
        ):
            asked()

"""What to do next follows from what the record shows, and from nothing else."""

from __future__ import annotations

import math

import numpy as np
import pytest

from caviar.analysis.report.advice import advice
from caviar.analysis.report.live import live_advice
from caviar.analysis.report.outlook import _noise, space_code
from caviar.analysis.result import Result
from caviar.messages import Checkpointed, Decided, RolledBack, SweepEnded
from caviar.space import Choice, Float, Int, Space
from caviar.space.narrowed import Change, NarrowedSpace
from caviar.space.narrowing import NO_FURTHER
from tests.analysis.report.sweeps import DEGENERATE, all_equal, all_failed, another_metric, told, whole


def given(result):
    return {each.what: each for each in advice(result)}


def curves(values, *, max_step=20, status="completed", **more):
    """A sweep whose trials reported these curves."""
    rng = np.random.default_rng(5)
    story = told(max_step=max_step, trials=len(values), **more)
    for trial, curve in enumerate(values):
        params = {"lr": float(10 ** rng.uniform(-4, 0)), "momentum": 0.95, "optimizer": "sgd", "layers": 1}
        story.trial(trial, list(curve), status, **params)
    return story


def falling(top, *, noise=0.0, steps=20, seed=0):
    jitter = np.random.default_rng(seed).normal(0, 1, steps)
    return top + 2 / np.arange(1, steps + 1) + noise * jitter


@pytest.mark.parametrize("make", DEGENERATE, ids=lambda make: make.__name__)
def test_advice_is_in_sentences(make):
    for each in advice(make()):
        assert each.why.endswith(".")
        assert each.what
        assert not each.what.endswith(".")
        assert "nan" not in each.why.split()


def test_a_sweep_that_is_not_done_is_resumed_or_looked_at_again():
    assert given(told().trial(0, [1.0]).result("interrupted"))["Resume it"].snippet == "caviar resume runs/digits"
    assert "Look again later" in given(told().trial(0, [1.0], "running").result("running"))
    story = told(trials=9).trial(0, [1.0]).trial(1, [0.5])
    story.tell(SweepEnded(story.tick(), "time_budget"))
    assert "after 2 of 9 trials" in given(story.result())["Give it more time"].why


def test_the_most_frequent_error_is_told():
    story = told(trials=5)
    for trial, reason in enumerate(["KeyError: 'a'", "ValueError: 1 is bad", "ValueError: 2 is bad"]):
        story.sampled(trial).started(trial).ended(trial, "failed", reason=reason)
    story.trial(3, [1.0]).trial(4, [0.5])
    why = given(story.result())["Mend what fails first"].why
    assert why.startswith("3 of 5 ended trials failed, 2 of them with `ValueError: 1 is bad`")
    assert "all with" in given(all_failed())["Mend what fails first"].why


def test_a_metric_that_nobody_reports_is_told_once():
    assert list(given(another_metric())) == ["Report the metric"]
    assert "`accuracy`" in given(another_metric())["Report the metric"].why


def test_where_trials_diverge_is_told_only_where_it_is_clear():
    assert "have `lr` above 0.3" in given(whole())["Move the upper end of `lr`"].why
    rng = np.random.default_rng(1)
    story = told(max_step=5, trials=40)
    for trial in range(40):  # whether one diverges has nothing to do with its params
        lr, bad = float(rng.uniform(0.01, 1)), trial % 2 == 0
        story.sampled(trial, lr=lr, momentum=float(rng.uniform(0.9, 0.999)), layers=1).started(trial)
        story.curve(trial, [1.0, math.nan] if bad else [1.0, lr])
        story.ended(trial, "stopped" if bad else "completed", reason="diverged" if bad else None)
    found = given(story.result())
    assert not [what for what in found if what.startswith("Move")]
    assert "20 of 40 ended trials diverged" in found["Mind the trials that diverged"].why


def test_trials_that_still_improve_are_trained_longer():
    found = given(curves([falling(0.1 * trial) for trial in range(8)]).result())
    assert found["Train longer"].snippet == "caviar extend runs/digits --max-step 40"
    flat = [np.r_[falling(0.1 * trial, steps=5), np.full(15, 1 + 0.1 * trial)] for trial in range(8)]
    assert "Train longer" not in given(curves(flat).result())


def test_jitter_is_no_improvement():
    rng = np.random.default_rng(0)
    noisy = [0.1 * trial + rng.normal(0, 0.3, 20) for trial in range(8)]
    assert "Train longer" not in given(curves(noisy).result())


@pytest.mark.parametrize("steps", [9, 20, 100])
def test_a_smooth_curve_has_no_jitter(steps):
    step = np.arange(1, steps + 1)
    for curve in (
        1 / step,
        0.99**step,
        (step / steps - 0.8) ** 2,
        np.sin(step / 4),
        1e200 / step,
        np.zeros(steps),
    ):
        assert _noise(curve) == 0
    found = given(curves([1 / step + (0.001 * trial) ** 2 for trial in range(12)], max_step=steps).result())
    assert "Recheck the best over several seeds" not in found


@pytest.mark.parametrize(("steps", "off"), [(20, 0.5), (100, 0.2)])
def test_jitter_is_measured_on_a_trend(steps, off):
    trend = 2 / np.arange(1, steps + 1)
    found = [_noise(trend + np.random.default_rng(seed).normal(0, 0.3, steps)) for seed in range(101)]
    assert np.median(found) == pytest.approx(0.3, rel=off)
    assert np.count_nonzero(found) >= 90


def test_trials_that_get_worse_early_are_trained_for_less():
    overfit = [np.r_[np.linspace(1, 0, 5), np.linspace(0, 2, 15)] + 0.1 * trial for trial in range(8)]
    assert given(curves(overfit).result())["Train fewer steps"].snippet == "max_step=8"


def test_a_best_that_may_be_luck_is_rechecked():
    close = [falling(0.01 * trial, noise=0.05, seed=trial) for trial in range(12)]
    found = given(curves(close).result())["Recheck the best over several seeds"]
    assert "is luck" in found.why
    assert found.snippet == "caviar recheck runs/digits --top 5 --seeds 3"
    apart = [falling(10.0 * trial, noise=0.001, seed=trial) for trial in range(12)]
    assert "Recheck the best over several seeds" not in given(curves(apart).result())
    fork = curves(close, more={"origin": {"path": "runs/live", "trial": 0, "step": 3}})
    assert "Recheck the best over several seeds" not in given(fork.result())


def test_equal_values_are_no_ranking():
    assert "All 12 trials have the same best value" in given(all_equal())["Check the metric"].why


def test_the_range_is_widened_where_the_best_press_against_its_end():
    story = told(space=Space(lr=Float(1e-4, 1.0, scale="log"), layers=Int(1, 4)), max_step=2, trials=80)
    rng = np.random.default_rng(2)
    for trial in range(80):
        lr = float(10 ** rng.uniform(-4, 0))
        story.trial(trial, [5.0, -math.log10(lr)], lr=lr, layers=int(rng.integers(1, 5)))
    found = given(story.result())
    assert "near the upper end of `lr`, 1: try lr as far as" in found["Widen `lr`"].why
    zoomed = found["Zoom in"]
    assert zoomed.command == "caviar zoom runs/digits --run"
    import caviar

    namespace = {"caviar": caviar}
    exec(zoomed.snippet, namespace)
    assert namespace["space"] == Space(dict(story.result().zoom().items()))


def test_an_end_that_can_go_no_further_is_not_widened(monkeypatch):
    import pandas as pd

    rows = [("lr", "high", 1e-4, 1.0, 0.5, NO_FURTHER), ("layers", "low", 1, 4, 0.5, "try layers as far as 0")]
    table = pd.DataFrame(rows, columns=["param", "end", "low", "high", "share", "suggestion"])
    monkeypatch.setattr(Result, "edges", lambda self: table)
    found = given(whole())
    assert "Widen `layers`" in found
    assert "lr" not in found["Widen `layers`"].why
    monkeypatch.setattr(Result, "edges", lambda self: table[:1])
    assert not [what for what in given(whole()) if what.startswith("Widen")]


def test_a_space_that_stays_says_of_which_param_it_tells(monkeypatch):
    def kept(why):
        old = Float(0, 1)
        change = Change(name="lr", kind="kept", old=old, new=old, why=why)
        monkeypatch.setattr(Result, "zoom", lambda self: NarrowedSpace({"lr": old}, changes=(change,)))
        return given(whole())["Do not narrow the space yet"].why

    assert (
        kept("the best 26 of 106 trials lie from 0 to 1") == "Of `lr`, the best 26 of 106 trials lie from 0 to 1."
    )
    assert kept("no clear sign that lr matters") == "No clear sign that lr matters."


def test_where_no_param_varies_that_is_told():
    story = told(space=Space(lr=0.1), max_step=9, more={"sampler": {"name": "random"}})
    for trial in range(12):
        story.trial(trial, [1.0] * 9, lr=0.1)
    found = given(story.result())
    assert found["Let a param vary"].why.startswith("No param varies in this space: all 12 trials trained")
    assert "Check the metric" not in found
    assert "zoom" not in "".join(each.why for each in found.values())
    assert "differ by their seed alone" in found["Or train more of the same"].why


def test_a_space_is_written_as_it_is():
    import caviar

    spaces = [
        Space(lr=Float(0.1, 1), kind=Choice(["a", 'b"'], [1, 3]), x=Int(1, 3, when={"kind": "a"}), eps=1e-8),
        Space({"a-b": Float(0, 1), "class": 3}),
    ]
    for space in spaces:
        namespace = {"caviar": caviar}
        exec(space_code(space), namespace)
        assert namespace["space"] == space


def test_what_stopping_cost_is_told_as_the_audit_does():
    assert given(whole())["Check early stopping"].snippet == "caviar audit runs/digits"
    ran_all = curves([falling(trial) for trial in range(12)], more={"scheduler": {"name": "run_all"}}).result()
    assert given(ran_all)["Stop bad trials early"].snippet == "scheduler=caviar.Asha()"
    story = curves([falling(trial, steps=5) for trial in range(3)])
    story.tell(Decided(story.tick(), 0, 1, 5, 5, 1.0, "continue"))
    assert "Check early stopping" in given(story.result())


def test_more_of_the_same_tells_time_and_chance():
    random = {"sampler": {"name": "random"}}
    found = given(curves([falling(trial) for trial in range(12)], more=random).result())[
        "Or train more of the same"
    ]
    assert "12 more trials would take about" in found.why
    assert "one after the other" in found.why
    assert "one case of two" in found.why
    sobol = {"sampler": {"name": "sobol"}}
    other = given(curves([falling(trial) for trial in range(12)], more=sobol).result())[
        "Or train more of the same"
    ]
    assert "one case of two" not in other.why
    grid = {"sampler": {"name": "grid"}}
    assert "Or train more of the same" not in given(curves([falling(t) for t in range(12)], more=grid).result())


def live_run(*checkpoints, back_to=None, space=None, **declared):
    story = told(trials=1, more={"panda": {"rules": []}}, **({"space": space} if space else {}), **declared)
    story.sampled(0).started(0).curve(0, np.linspace(1, 0, 10))
    for step in checkpoints:
        story.tell(Checkpointed(story.tick(), 0, 1, step))
    if back_to is not None:
        story.tell(RolledBack(story.tick(), 0, 2, back_to, 10))
    return given_live(story.result("finished"))


def given_live(result):
    return {each.what: each for each in live_advice(result)}


def test_a_live_run_is_forked_where_it_has_something_left_to_train():
    title = "Or try several ways on"
    assert live_run(3, 6, max_step=10)[title].snippet == "caviar fork runs/digits --vary lr --at-step 6"
    assert live_run(3, 10, max_step=None)[title].snippet == "caviar fork runs/digits --vary lr --at-step 10"
    ended = live_run(5, 10, max_step=10)[title]
    assert ended.snippet == "caviar fork runs/digits --vary lr --at-step 10 --max-step 20"
    assert "takes a later one: here 20." in ended.why
    back = live_run(3, 6, 9, back_to=6, max_step=10)[title]
    assert back.snippet == "caviar fork runs/digits --vary lr --at-step 6"
    assert title not in live_run(max_step=10)
    assert title not in live_run(3, max_step=10, space=Space(lr=0.1))

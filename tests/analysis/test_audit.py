"""The audit of early stopping: counted by hand, against known ends, and where there is little to tell."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.stats import spearmanr

import caviar
from caviar.analysis.audit import Audit
from caviar.analysis.audit_words import duration
from caviar.analysis.control_group import Estimate, control_group
from caviar.errors import UsageError
from caviar.messages import Adjusted, Decided, DeclarationChanged, Launch
from caviar.schedulers import Asha, Hyperband, MedianStop, Patience, Scheduler

MAX_STEP = 27


def decide(story: Any, trial: int, rung: int, value: float, decision: str) -> None:
    story.tell(Decided(story.tick(), trial, 1, rung, rung, value, decision))


def told_of(
    story: Any, trial: int, values: list[float], decisions: Mapping[int, str], status: str, **why: Any
) -> None:
    """A trial that was judged at these steps."""
    story.sampled(trial).started(trial)
    for step, value in enumerate(values, 1):
        story.report(trial, step, **{story.metric: value})
        if step in decisions:
            decide(story, trial, step, value, decisions[step])
    if status != "running":
        story.ended(trial, status, **why)


@pytest.fixture
def small(story: Callable[..., Any]) -> Any:
    """Kept 0 and 1, stopped 2 to 4, spared 5 and 6, of which 6 ends best; 7 failed after it was spared."""
    told = story(max_step=6, trials=8)
    go, stop, spare = "continue", "stop", "spare"
    told_of(told, 0, [9, 8, 7, 6, 5, 4], {1: go, 3: go}, "completed")
    told_of(told, 1, [8, 7, 6, 5, 4, 3], {1: go, 3: go}, "completed")
    told_of(told, 2, [9.5], {1: stop}, "stopped", reason="asha: rung 1")
    told_of(told, 3, [9.6], {1: stop}, "stopped", reason="asha: rung 1")
    told_of(told, 4, [8.5, 8, 7.5], {1: go, 3: stop}, "stopped", reason="asha: rung 3")
    told_of(told, 5, [9.7, 9, 9, 9, 9, 9], {1: spare}, "completed")
    told_of(told, 6, [9.8, 9, 4, 4, 3, 1], {1: spare}, "completed")
    told_of(told, 7, [9.9, 9, 9], {1: spare}, "failed", reason="ValueError: x")
    return told


def test_counts_and_steps(small: Any) -> None:
    found = small.result().audit()
    assert (found.trials, found.judged, found.stopped, found.spared, found.kept) == (8, 8, 3, 3, 2)
    assert found.steps == 6 + 6 + 1 + 1 + 3 + 6 + 6 + 3
    assert found.steps_saved == 5 + 5 + 3
    assert found.steps_spent == 5 + 5 + 2
    assert found.fraction_saved == 13 / 45
    rungs = found.rungs.set_index("rung")
    assert list(rungs.index) == [1, 3]
    assert rungs["judged"].tolist() == [8, 3]
    assert rungs["stopped"].tolist() == [2, 1]
    assert rungs["spared"].tolist() == [3, 0]
    assert rungs["went_on"].tolist() == [3, 2]
    assert rungs["steps_saved"].tolist() == [10, 3]
    assert rungs["steps_spent"].tolist() == [12, 0]


def test_what_the_control_group_tells(small: Any) -> None:
    control = small.result().audit().control
    assert (control.population, control.spared, control.kept, control.top) == (6, 3, 2, 1)
    assert control.above_best == Estimate(2.0, 1, 4), "one of three; the failed one is none of the better ones"


def test_correlations_are_of_those_that_have_both_and_say_so(small: Any) -> None:
    rungs = small.result().audit().rungs.set_index("rung")
    one = [9, 8, *[9.7, 9.8, 9.9] * 2]
    end = [4, 3, *[9, 1, math.inf] * 2]  # three spared ones stand for six
    assert rungs.correlation[1] == pytest.approx(spearmanr(one, end).statistic)
    assert rungs.correlation[3] == 1
    assert rungs.pairs.tolist() == [5, 2]
    assert rungs.pairs_spared.tolist() == [3, 0]
    assert rungs.of_all.tolist() == [True, False], "at 3 one was stopped, and none like it was spared"


def test_by_the_best_of_the_curve(small: Any) -> None:
    told_of(small, 8, [9.95, 0.5, 9, 9, 9, 9], {1: "spare"}, "completed")
    assert small.result().audit().control.found_above_best == 1
    assert small.result().audit("best").control.found_above_best == 2
    with pytest.raises(UsageError, match=r"audit\(by='first'\): must be \"last\" or \"best\""):
        small.result().audit("first")


def test_more_is_better_where_it_is(story: Callable[..., Any]) -> None:
    told = story(mode="max", metric="accuracy", max_step=3)
    told_of(told, 0, [0.5, 0.6, 0.7], {1: "continue"}, "completed")
    told_of(told, 1, [0.1], {1: "stop"}, "stopped", reason="asha: rung 1")
    told_of(told, 2, [0.2, 0.6, 0.9], {1: "spare"}, "completed")
    told_of(told, 3, [0.1, 0.2, math.nan], {1: "spare"}, "completed")
    control = told.result().audit().control
    assert (control.population, control.found_above_best) == (3, 1)


def test_who_was_in_a_hand_is_left_out(small: Any) -> None:
    adjusted = {"old": {"lr": 0.1}, "new": {"lr": 0.2}}
    small.sampled(8).started(8).report(8, 1, loss=1.0)
    small.tell(Adjusted(small.tick(), 8, 1, 2, **adjusted))
    decide(small, 8, 2, 99.0, "stop")
    small.ended(8, "stopped", reason="asha: rung 2")
    before = small.result().audit()
    assert (before.stopped, before.control.population) == (3, 6)
    # one that was spared first is among those to be stopped all the same, but its end is not its own
    told_of(small, 9, [9.9, 9], {1: "spare"}, "running")
    small.tell(Adjusted(small.tick(), 9, 1, 3, **adjusted))
    small.curve(9, [0.1] * 4, first=3).ended(9, "completed")
    after = small.result().audit()
    assert (after.spared, after.spared_open, after.control.population, after.control.spared) == (4, 1, 7, 3)


@pytest.mark.parametrize(
    ("status", "reason", "counts"),
    [
        ("failed", "ValueError: x", True),
        ("stopped", "diverged", True),
        ("stopped", "time_budget", False),
        ("stopped", "by hand", False),
        ("running", None, False),
    ],
)
def test_spared_trials_that_did_not_come_to_max_step(small: Any, status: str, reason: str, counts: bool) -> None:
    told_of(small, 8, [9.9, 0.1], {1: "spare"}, status, **({} if reason is None else {"reason": reason}))
    found = small.result("running").audit()
    assert (found.spared, found.spared_open) == (4, int(not counts))
    assert found.control.spared == 3 + counts
    assert found.control.found_above_best == 1
    assert found.control.population == 7


def test_only_those_stopped_while_some_were_spared_are_judged_by_them(small: Any) -> None:
    small.tell(DeclarationChanged(small.tick(), {"scheduler": Asha(2).to_dict()}))
    for trial in range(8, 18):
        told_of(small, trial, [9, 9], {2: "stop"}, "stopped", reason="asha: rung 2")
    found = small.result().audit()
    assert found.stopped == 13
    assert found.control.population == 6


def test_a_trial_that_another_scheduler_judged_once_more_counts_once(story: Callable[..., Any]) -> None:
    told = story(max_step=3)
    told_of(told, 0, [3, 2], {1: "continue"}, "running")
    told.tell(DeclarationChanged(told.tick(), {"scheduler": MedianStop().to_dict()}))
    decide(told, 0, 1, 3.0, "stop")
    told.ended(0, "stopped", reason="median_stop: rung 1")
    rungs = told.result().audit().rungs
    assert rungs[["rung", "judged", "stopped", "went_on"]].values.tolist() == [[1, 1, 1, 0]]


# --- against curves of which the ends are known ---------------------------------------------------


def train(trial: caviar.Trial) -> None:
    """Stands in the declaration; the curves come from `curves`."""


def curves(launch: Launch) -> Mapping[str, Any]:
    rng = np.random.default_rng(launch.seed)
    step = np.arange(1, MAX_STEP + 1)
    end = launch.params["end"]
    return {"loss": end + 3 * step ** -launch.params["speed"] + rng.normal(size=MAX_STEP) * 0.5 / np.sqrt(step)}


def run(path: Path, scheduler: Scheduler, *, trials: int = 300, **changes: Any) -> caviar.Result:
    space = caviar.Space(end=caviar.Float(0, 1), speed=caviar.Float(0.3, 1.2))
    arguments = {"trials": trials, "max_step": MAX_STEP, "seed": 5, **changes}
    sweep = caviar.Sweep(train, space, metric="loss", scheduler=scheduler, **arguments)
    return sweep.run(path, caviar.Simulated(step_s=lambda params: 1 + params["end"], curves=curves))


def ends(result: caviar.Result) -> np.ndarray:
    """What each trial would have come to."""
    sampled = result.events().query("kind == 'trial_sampled'")
    launches = [
        Launch(int(trial), 0, data["params"], data["seed"], None)
        for trial, data in zip(sampled.trial, sampled.data, strict=True)
    ]
    return np.array([curves(launch)["loss"][-1] for launch in launches])


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> caviar.Result:
    return run(tmp_path_factory.mktemp("audit") / "sweep", Asha(1, 3, spare=0.3))


def test_the_group_is_those_that_were_spared(whole: caviar.Result) -> None:
    trials, end = whole.trials(), ends(whole)
    spared = trials.spared.to_numpy()
    stopped = (trials.status == "stopped").to_numpy()
    found = whole.audit()
    assert found.control == control_group(end[~stopped & ~spared], end[spared], int((stopped | spared).sum()))
    kept = end[~stopped & ~spared]
    truth = int((end[stopped | spared] < np.sort(kept)[(len(kept) - 1) // 2]).sum())
    assert found.control is not None
    assert found.control.above_middle.low <= truth <= found.control.above_middle.high


def test_the_pace_is_each_trials_own(whole: caviar.Result) -> None:
    trials = whole.trials()
    stopped = trials[trials.status == "stopped"]
    seconds = ((MAX_STEP - stopped.steps) * (1 + stopped["params.end"])).sum()
    found = whole.audit()
    assert found.seconds_saved == pytest.approx(seconds, rel=1e-3)
    assert found.steps_saved == whole.savings().steps_without - whole.savings().steps
    assert found.rungs.seconds_saved.sum() == pytest.approx(found.seconds_saved)
    assert found.rungs.seconds_spent.sum() == pytest.approx(found.seconds_spent)
    assert found.rungs.steps_spent.sum() == found.steps_spent > 0


def test_the_correlation_is_that_of_all(whole: caviar.Result) -> None:
    end = ends(whole)
    rungs = whole.audit().rungs
    first = whole.curves().query("step == 1").set_index("trial").loss.to_numpy()
    assert rungs.rung.tolist() == [1, 3, 9]
    assert rungs.of_all.all()
    assert rungs.correlation[0] == pytest.approx(spearmanr(first, end).statistic, abs=0.15)
    assert rungs.judged[0] == 300
    assert rungs.pairs[0] < 120
    assert rungs.correlation[1] > rungs.correlation[0]


def test_without_a_group_correlations_are_of_the_kept(tmp_path: Path) -> None:
    found = run(tmp_path / "sweep", Asha(1, 3)).audit()
    assert found.control is None
    assert not found.rungs.of_all[:3].any()
    assert found.rungs.pairs.tolist() == [found.kept] * len(found.rungs)
    text = repr(found)
    assert "no trial was spared: with spare=" in text
    assert text.splitlines()[1].endswith("(3/29)")
    assert "all of them kept" in text or found.kept < 10


@pytest.mark.parametrize(
    "scheduler",
    [
        Hyperband(1, 3, spare=0.3),
        MedianStop(2, 5, spare=0.3),
        Patience(2, spare=0.5, every=3, grace_steps=3),
    ],
    ids=lambda one: one.name,
)
def test_other_schedulers(tmp_path: Path, scheduler: Scheduler) -> None:
    result = run(tmp_path / "sweep", scheduler)
    found, trials, end = result.audit(), result.trials(), ends(result)
    spared = trials.spared.to_numpy()
    stopped = (trials.status == "stopped").to_numpy()
    assert found.control == control_group(end[~stopped & ~spared], end[spared], int((stopped | spared).sum()))
    assert found.stopped == stopped.sum() > 0
    counted = found.rungs[["stopped", "spared", "went_on"]].sum(axis=1)
    assert counted.equals(found.rungs.judged)


def test_several_stages_are_one_sweep(tmp_path: Path) -> None:
    space = caviar.Space(end=caviar.Float(0, 0.3), speed=caviar.Float(0.3, 1.2))
    before = run(tmp_path / "sweep", Asha(1, 3, spare=0.3), trials=60)
    sweep = caviar.Sweep(
        train, space, metric="loss", trials=120, max_step=MAX_STEP, seed=5, scheduler=Asha(1, 3, spare=0.3)
    )
    executor = caviar.Simulated(step_s=1.0, curves=curves)
    result = sweep.run(tmp_path / "sweep", executor, resume=True, allow_change=True)
    assert set(result.trials().stage) == {0, 1}
    found = result.audit()
    assert found.judged == 120
    assert found.control is not None
    assert found.control.population == found.stopped + found.spared > before.refresh().audit().trials / 2


# --- where there is little to tell ----------------------------------------------------------------


def lines(found: Audit) -> list[str]:
    assert repr(found) == "\n".join(found.in_words())
    assert all(line and "\n" not in line and "nan" not in line for line in found.in_words())
    return found.in_words()


def test_no_trial(story: Callable[..., Any]) -> None:
    found = story().result().audit()
    assert (found.trials, found.judged, found.fraction_saved, len(found.rungs)) == (0, 0, 0.0, 0)
    assert lines(found) == ["nothing was judged at a rung, so nothing was stopped early: 0 trials"]
    assert found.control is None


def test_no_decision(story: Callable[..., Any]) -> None:
    told = story().trial(0, [3, 2, 1])
    assert lines(told.result().audit()) == ["nothing was judged at a rung, so nothing was stopped early: 1 trial"]
    assert (told.result().audit().kept, told.result().audit().steps) == (1, 3)


def test_all_went_on(story: Callable[..., Any]) -> None:
    told = story(max_step=3)
    told_of(told, 0, [3, 2, 1], {1: "continue"}, "completed")
    assert lines(told.result().audit()) == ["stopped 0 of 1 trial at a rung, and saved 0% of the steps"]


def test_nobody_was_kept_yet(story: Callable[..., Any]) -> None:
    told = story(max_step=3)
    told_of(told, 0, [3, 2], {1: "continue"}, "running")
    told_of(told, 1, [4, 2, 1], {1: "spare"}, "completed")
    found = told.result("running").audit()
    assert found.control is None
    assert "1 more were spared, but none was kept to its end" in repr(found)


def test_no_spared_one_has_ended(story: Callable[..., Any]) -> None:
    told = story(max_step=3)
    told_of(told, 0, [3, 2, 1], {1: "continue"}, "completed")
    told_of(told, 1, [4, 2], {1: "spare"}, "running")
    found = told.result("interrupted").audit()
    assert (found.spared, found.spared_open, found.control) == (1, 1, None)
    assert "the end of none of them is known" in repr(found)
    assert np.isnan(found.rungs.correlation[0])


def test_no_max_step(small: Any) -> None:
    small.max_step = None
    found = small.result().audit()
    assert math.isnan(found.steps_saved)
    assert math.isnan(found.fraction_saved)
    assert lines(found)[0].endswith("without a max_step nobody knows how many steps that saved")
    assert found.rungs.steps_saved.isna().tolist() == [True, True]
    assert found.control is not None


@pytest.mark.parametrize("value", [0.5, math.nan, -math.inf])
def test_all_values_are_equal(story: Callable[..., Any], value: float) -> None:
    told = story(max_step=3)
    for trial in range(4):
        told_of(told, trial, [value] * 3, {1: "continue"}, "completed")
    told_of(told, 4, [value], {1: "stop"}, "stopped", reason="asha: rung 1")
    told_of(told, 5, [value] * 3, {1: "spare"}, "completed")
    for by in ("last", "best"):
        found = told.result().audit(by)
        assert found.control is not None
        assert found.control.above_best.value == 0
        assert np.isnan(found.rungs.correlation[0])
        lines(found)


def test_all_failed(story: Callable[..., Any]) -> None:
    told = story(max_step=3)
    for trial in range(3):
        told.trial(trial, [], "failed")
    assert lines(told.result().audit()) == ["nothing was judged at a rung, so nothing was stopped early: 3 trials"]


def test_the_metric_was_never_reported(story: Callable[..., Any]) -> None:
    told = story(metric="loss").sampled(0).started(0).report(0, 1, accuracy=0.5).ended(0, "completed")
    assert told.result().audit().kept == 1


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0, "0 s"), (0.03, "0.03 s"), (59, "59 s"), (720, "12 min"), (9000, "2 h"), (3e5, "3 days")],
)
def test_durations(seconds: float, words: str) -> None:
    assert duration(seconds) == words

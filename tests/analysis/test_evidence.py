"""How trials are compared that did not all come equally far."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from caviar.messages import Adjusted, AttemptLost, Decided

Story = Any
"""A story as tests/analysis/conftest.py tells it."""

Tell = Callable[..., Story]


def judged(story: Story, trial: int, rung: int, value: float, decision: str = "continue") -> Story:
    return story.tell(Decided(story.tick(), trial, 1, rung, rung, value, decision))


def stopped(story: Story, trial: int, rung: int, value: float) -> Story:
    """A trial that a scheduler stopped at its rung; its values fall by 0.1 a step."""
    story.sampled(trial).started(trial)
    story.curve(trial, [value + 0.1 * (rung - step) for step in range(1, rung + 1)])
    judged(story, trial, rung, value, "stop")
    return story.ended(trial, "stopped", reason=f"asha: rung {rung}")


def completed(story: Story, trial: int, values: list[float], rungs: tuple[int, ...] = ()) -> Story:
    story.sampled(trial).started(trial)
    for step, value in enumerate(values, 1):
        story.report(trial, step, **{story.metric: value})
        if step in rungs:
            judged(story, trial, step, value)
    return story.ended(trial, "completed")


def scores(story: Story, status: Any = "finished") -> dict[int, float]:
    found = story.result(status).evidence
    return dict(zip(found.trial.tolist(), np.round(found.score, 6).tolist(), strict=True))


def test_completed_trials_rank_by_their_best(story: Tell) -> None:
    told = story().trial(0, [3.0, 1.0, 2.0]).trial(1, [3.0, 3.0, 0.5]).trial(2, [9.0, 8.0, 7.0])
    told.trial(3, [1.0, 4.0, 4.0])
    assert scores(told) == {0: 0.625, 1: 0.25, 2: 1.0, 3: 0.625}


def test_more_is_better_where_it_is_maximised(story: Tell) -> None:
    told = story(metric="accuracy", mode="max").trial(0, [0.1, 0.9]).trial(1, [0.2, 0.5])
    found = told.result().evidence
    assert found.score.tolist() == [0.5, 1.0]
    assert found.loss.tolist() == [-0.9, -0.5]


def test_a_stopped_trial_counts_at_its_rung_against_its_peers_there(story: Tell) -> None:
    told = story(max_step=3)
    stopped(told, 0, 1, 5.0)
    stopped(told, 1, 1, 4.0)
    completed(told, 2, [2.0, 1.0, 0.5], rungs=(1,))
    completed(told, 3, [3.0, 1.0, 0.4], rungs=(1,))
    # at rung 1 they are 2, 3, 1, 0; half were let go on, and of those each has its rank at the end
    assert scores(told) == {0: 1.0, 1: 0.75, 2: 0.5, 3: 0.25}
    found = told.result().evidence
    assert found.level.tolist() == [1, 1, 3, 3]
    assert found.at_end.tolist() == [False, False, True, True]


def test_one_cut_off_is_not_taken_for_a_bad_one(story: Tell) -> None:
    """It counts at the last rung that it came to, and those that went on past it are not better for that."""
    told = story(max_step=9)
    completed(told, 0, [4.0] + [1.0] * 8, rungs=(1,))
    completed(told, 1, [5.0] + [2.0] * 8, rungs=(1,))
    told.sampled(2).started(2).curve(2, [3.0, 2.9])  # the best of all where it stands
    judged(told, 2, 1, 3.0)
    told.ended(2, "stopped", reason="time_budget")
    found = scores(told)
    assert found[2] == pytest.approx(1 / 3)
    assert found[0] == pytest.approx(0.5)
    assert found[1] == 1.0


def test_without_rungs_those_cut_off_are_compared_on_the_way(story: Tell) -> None:
    told = story(max_step=9)
    told.trial(0, [9.0 - step for step in range(9)]).trial(1, [18.0 - step for step in range(9)])
    told.trial(2, [1.0, 1.0, 1.0], "running")
    found = told.result("running").evidence
    assert found.level.tolist() == [9, 9, 3]
    assert found.score.tolist() == pytest.approx([0.5, 1.0, 1 / 3])


def test_a_diverged_trial_is_worst_whatever_it_was_before(story: Tell) -> None:
    told = story().trial(0, [2.0, 2.0]).trial(1, [0.1, math.nan], "running")
    told.ended(1, "stopped", reason="diverged").trial(2, [1.0, math.nan])
    found = told.result().evidence
    assert found.score.tolist() == pytest.approx([1 / 3, 1.0, 1.0])
    assert found.loss.tolist() == [2.0, math.inf, math.inf]
    assert found.at_end.tolist() == [True, False, True]
    assert found.best(1.0).trial.tolist() == [0]


def test_a_spared_trial_counts_where_it_was_spared_unless_it_proves_good(story: Tell) -> None:
    told = story(max_step=3)
    stopped(told, 0, 1, 6.0)
    completed(told, 1, [2.0, 1.0, 0.5], rungs=(1,))
    completed(told, 2, [3.0, 1.0, 4.5], rungs=(1,))  # the first to arrive goes on, however bad
    for trial, values in ((3, [5.0, 4.0, 0.1]), (4, [5.5, 4.0, 4.0])):
        told.sampled(trial).started(trial)
        told.curve(trial, values)
        judged(told, trial, 1, values[0], "spare")
        told.ended(trial, "completed")
    found = scores(told)
    assert found[4] == 0.8  # 4 of 5 at the rung
    assert found[3] < found[1] < found[2] < found[4] < found[0] == 1.0


def test_a_trial_whose_params_were_changed_says_nothing(story: Tell) -> None:
    told = story().trial(0, [1.0]).sampled(1).started(1).curve(1, [2.0])
    told.tell(Adjusted(told.tick(), 1, 1, 1, {"lr": 0.1}, {"lr": 0.2}))
    told.ended(1, "completed")
    assert scores(told) == {0: 1.0}


def test_one_that_failed_without_the_metric_is_worst_and_others_without_it_are_left_out(story: Tell) -> None:
    told = story().trial(1, [1.0]).sampled(0).started(0).report(0, 1, other=3.0).ended(0, "failed")
    told.sampled(2).sampled(3).started(3)
    assert scores(told) == {0: 1.0, 1: 0.5}
    told.tell(AttemptLost(told.tick(), 3, 1, 0, "its node went")).ended(3, "failed")  # no fault of its own
    assert scores(told) == {0: 1.0, 1: 0.5}


def test_failures_count_at_every_rung(story: Tell) -> None:
    told = story(max_step=3)
    stopped(told, 0, 1, 5.0)
    completed(told, 1, [2.0, 1.0, 0.5], rungs=(1,))
    told.sampled(2).started(2).ended(2, "failed")
    assert scores(told) == {0: pytest.approx(2 / 3), 1: pytest.approx(1 / 3), 2: 1.0}


def test_nothing_is_known_of_a_sweep_without_reports(story: Tell) -> None:
    failed = story().sampled(0).started(0).ended(0, "failed").result().evidence
    assert (failed.score.tolist(), len(failed.best(0.5))) == ([1.0], 0)
    for told in (story(), story().sampled(0)):
        assert len(told.result().evidence) == 0
        assert len(told.result().evidence.best(0.1)) == 0


def test_all_diverged(story: Tell) -> None:
    told = story().trial(0, [math.nan], "running").ended(0, "stopped", reason="diverged")
    found = told.result().evidence
    assert (found.score.tolist(), found.loss.tolist()) == ([1.0], [math.inf])


def test_what_was_reported_again_counts_once(story: Tell) -> None:
    """Reports of a branch that was left are not on the main line."""
    told = story().sampled(0).started(0).curve(0, [3.0, 0.1]).started(0, 2, restored=1)
    told.curve(0, [2.0, 1.0], attempt=2, first=2).ended(0, "completed", 2)
    assert told.result().evidence.loss.tolist() == [1.0]


@pytest.mark.parametrize("steps", [1, 7, 60])
def test_the_best_so_far_of_short_and_long_curves(story: Tell, steps: int) -> None:
    """Both ways of finding it give what a plain loop gives."""
    rng = np.random.default_rng(steps)
    told = story(max_step=steps)
    curves = rng.normal(size=(9, steps))
    for trial, curve in enumerate(curves):
        told.trial(trial, curve.tolist())
    assert told.result().evidence.loss.tolist() == [min(curve) for curve in curves.tolist()]


def test_many_rungs_are_thinned_out(story: Tell) -> None:
    told = story(max_step=200)
    for trial in range(4):
        told.sampled(trial).started(trial)
        for step in range(1, 101):
            told.report(trial, step, loss=float(trial))
            judged(told, trial, step, float(trial))
        judged(told, trial, 100, float(trial), "stop")
        told.ended(trial, "stopped", reason="median_stop: rung 100")
    assert told.result().evidence.score.tolist() == [0.25, 0.5, 0.75, 1.0]

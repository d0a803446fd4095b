"""Steps, time and money from what is expected and measured, beside what the real loop does in virtual time."""

from __future__ import annotations

import numpy as np
import pytest

import caviar
from caviar.errors import CaviarError
from caviar.forecast.estimate import Estimate, training_s, wall_s, work
from caviar.forecast.timings import Sample, Timings, recorded, timed


def timings(*step_s, start_s=0.0, setup_s=0.0):
    samples = [
        Sample(trial=number, steps=4, step_s=each, start_s=start_s, setup_s=setup_s if not number else 0.0)
        for number, each in enumerate(step_s)
    ]
    return Timings.of(samples, source="made up")


def test_the_time_of_steps_without_that_of_the_start():
    assert timed([(1, 5.0), (2, 6.0), (3, 7.0), (3, 7.5)], begin=0) == (3, 1.25, 3.75)
    assert timed([(11, 3.0), (13, 7.0)], begin=10) == (3, 2.0, 1.0)
    assert timed([(10, 20.0)], begin=0) == (10, 2.0, 0.0), "of a single report nobody can tell them apart"
    assert timed([], begin=0) is None
    assert timed([(3, 1.0)], begin=5) is None


def test_where_nothing_was_timed_there_is_no_figure():
    with pytest.raises(CaviarError, match="no trial trained a step"):
        Timings.of([], source="made up")


def test_what_all_trials_take_where_all_are_alike():
    outlook = caviar.RunAll().outlook(10, max_step=30)
    found = work(outlook, limit=30, begin=10)
    assert found.steps.sure
    assert found.steps.about == 200
    spent = training_s(found, timings(2.0, 2.0, 2.0, start_s=1.0, setup_s=5.0), trials=10, workers=2)
    assert spent == Estimate(about=420.0, least=420.0, most=420.0)
    assert wall_s(spent, longest_s=41.0, workers=2).about == 210.0
    assert wall_s(spent, longest_s=41.0, workers=2).most == 210.0 + 41.0 / 2
    assert wall_s(spent, longest_s=41.0, workers=200).about == 41.0, "no sweep ends before its longest trial"


def test_at_most_where_no_expectation_can_be_told():
    outlook = caviar.MedianStop(grace_steps=5).outlook(10, max_step=30)
    found = work(outlook, limit=30, begin=0)
    assert (found.steps.least, found.steps.about, found.steps.most) == (50, None, 300)
    spent = training_s(found, timings(1.0, 1.0), trials=10, workers=1)
    assert spent == Estimate(about=None, least=50.0, most=300.0)
    assert wall_s(spent, longest_s=30.0, workers=1) == Estimate(about=None, least=50.0, most=300.0)


def test_the_more_was_measured_the_less_the_range():
    found = work(caviar.RunAll().outlook(1000, max_step=10), limit=10, begin=0)
    few = training_s(found, timings(1.0, 3.0), trials=1000, workers=1)
    many = training_s(found, timings(*[1.0, 3.0] * 50), trials=1000, workers=1)
    assert few.about == many.about == 20_000
    assert few.least < many.least < many.about < many.most < few.most


def train(trial):
    for step in trial.steps():
        trial.report(loss=trial.params["x"] + 1 / step)


@pytest.mark.parametrize("scheduler", [caviar.RunAll(), caviar.Asha(grace_steps=2)], ids=repr)
def test_the_range_holds_what_the_loop_then_takes(tmp_path, scheduler):
    """Steps of which some take ten times as long as others, by params that say nothing of how good a trial is."""
    sweep = caviar.Sweep(
        train,
        caviar.Space(x=caviar.Float(0, 1), pace=caviar.Float(0.5, 5.0, scale="log")),
        metric="loss",
        trials=40,
        max_step=12,
        scheduler=scheduler,
    )
    within = 0
    for seed in range(6):
        simulated = caviar.Simulated(workers=4, step_s=lambda params: params["pace"])
        result = sweep.but(seed=seed).run(tmp_path / f"{seed}", simulated)
        measured = sweep.but(seed=100 + seed, trials=12, max_step=2, scheduler=caviar.RunAll())
        samples = recorded(measured.run(tmp_path / f"measured-{seed}", simulated))
        assert len(samples) == 12
        known = Timings.of(samples, source="a record")
        ahead = work(scheduler.outlook(40, max_step=12), limit=12, begin=0)
        spent = training_s(ahead, known, trials=40, workers=4)
        wall = wall_s(spent, longest_s=12 * known.mean_s, workers=4)
        within += spent.least <= 3600 * result.cost().hours <= spent.most
        within += wall.least <= result.elapsed_s() <= wall.most
    assert within >= 9, "of twelve"


def test_a_record_gives_the_time_of_its_steps(tmp_path):
    sweep = caviar.Sweep(train, caviar.Space(x=caviar.Float(0, 1)), metric="loss", trials=5, max_step=6)
    result = sweep.run(tmp_path / "sweep", caviar.Simulated(workers=2, step_s=3.0))
    samples = recorded(result)
    assert [one.trial for one in samples] == [0, 1, 2, 3, 4]
    assert np.allclose([one.step_s for one in samples], 3.0)
    assert {one.steps for one in samples} == {6}

"""Stages that wait for each other, beside what the real loop does in virtual time."""

from __future__ import annotations

import pytest

import caviar
from caviar.forecast.estimate import training_s, work
from caviar.forecast.staged import played, staged_wall_s, waits
from caviar.forecast.timings import Sample, Timings


def timings(*step_s, start_s=0.0, setup_s=0.0):
    samples = [
        Sample(trial=number, steps=4, step_s=each, start_s=start_s, setup_s=setup_s)
        for number, each in enumerate(step_s)
    ]
    return Timings.of(samples, source="made up")


def test_a_stage_waits_for_half_of_the_one_before():
    assert played([1.0] * 8, [2, 2, 2, 2], workers=8) == 4.0
    assert played([1.0, 9.0, 1.0, 1.0], [2, 2], workers=8) == 9.0, "the slow half is waited for by nobody"
    assert played([1.0, 2.0, 9.0, 1.0], [3, 1], workers=8) == 9.0
    assert played([1.0, 2.0, 9.0, 8.0], [3, 1], workers=8) == 10.0, "of three trials two are half"
    assert played([1.0] * 8, [4, 0, 4], workers=1) == 8.0, "a stage without trials is passed over"
    assert played([1.0] * 8, [4, 4], workers=3) == 3.0, "three, then one and two of the next, then two"


def test_it_matters_only_where_a_stage_has_fewer_than_two_trials_a_worker():
    assert waits([2, 2], 2)
    assert not waits([4, 4], 2)
    assert not waits([40, 1], 2), "nobody waits for the last one"
    assert not waits([5], 8)


def test_where_all_trials_are_alike_there_is_no_range():
    found = work(caviar.RunAll().outlook(8, max_step=10), limit=10, begin=0)
    known = timings(1.0, 1.0, start_s=2.0, setup_s=3.0)
    spent = training_s(found, known, trials=8, workers=8)
    wall = staged_wall_s(spent, found, known, stages=[2, 2, 2, 2], workers=8)
    assert wall.about == pytest.approx(3.0 + 4 * 12.0)
    assert wall.least == pytest.approx(wall.about) == wall.most


def test_at_most_where_no_expectation_can_be_told():
    found = work(caviar.MedianStop(grace_steps=5).outlook(4, max_step=30), limit=30, begin=0)
    known = timings(1.0, 1.0)
    spent = training_s(found, known, trials=4, workers=4)
    wall = staged_wall_s(spent, found, known, stages=[2, 2], workers=4)
    assert (wall.least, wall.about, wall.most) == (pytest.approx(10.0), None, pytest.approx(60.0))


def train(trial):
    for step in trial.steps():
        trial.report(loss=trial.params["x"] + 1 / step)


SWEEPS = [
    (caviar.RunAll(), 8, 4, 8),
    (caviar.RunAll(), 30, 3, 8),
    (caviar.Asha(grace_steps=2), 40, 4, 16),
]


@pytest.mark.parametrize(("scheduler", "trials", "stages", "workers"), SWEEPS)
def test_the_plan_holds_what_the_loop_then_takes(tmp_path, scheduler, trials, stages, workers):
    sweep = caviar.Sweep(
        train,
        caviar.Space(x=caviar.Float(0, 1), pace=caviar.Float(0.5, 2.0, scale="log")),
        metric="loss",
        trials=trials,
        max_step=12,
        stages=stages,
        scheduler=scheduler,
    )
    simulated = caviar.Simulated(workers=workers, step_s=lambda params: params["pace"])
    within = 0
    for seed in range(5):
        path = tmp_path / f"{seed}"
        took_s = sweep.but(seed=seed).run(path, simulated).elapsed_s()
        found = sweep.but(seed=seed).forecast(path=path, measure_s=0, workers=workers)
        within += found.wall_s.least <= took_s <= found.wall_s.most
    assert within >= 4, "of five"

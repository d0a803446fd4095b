"""A sweep, looked ahead at. The training process is real: so there are few of these tests."""

from __future__ import annotations

import os
import tempfile
import time
from pathlib import Path

import pytest

import caviar
from caviar.forecast import measuring


def train(trial):
    time.sleep(0.02)
    for step in trial.steps():
        time.sleep(0.01)
        trial.report(loss=1 / step + trial.params["x"])


SPACE = caviar.Space(x=caviar.Float(0.0, 1.0))


def sweep(function=train, **changes):
    return caviar.Sweep(function, SPACE, **{"metric": "loss", "trials": 30, "max_step": 20, **changes})


@pytest.fixture(autouse=True)
def _nothing_left(monkeypatch):
    """What is made is gone after the test, and the environment is as it was."""
    made = []

    def folder(**how):
        made.append(tempfile.TemporaryDirectory(**how))
        return made[-1]

    monkeypatch.setattr(measuring, "TemporaryDirectory", folder)
    before = dict(os.environ)
    yield
    assert not any(Path(one.name).exists() for one in made)
    assert {name for name in os.environ.keys() ^ before.keys() if "THREADS" in name or "CAVIAR" in name} == set()


def test_the_time_of_a_step_is_measured_with_the_real_setup():
    def setup():
        time.sleep(0.5)
        return 7

    def alike(trial):
        assert trial.shared == 7
        train(trial)
        with trial.checkpoint() as folder:
            (folder / "here").touch()

    found = sweep(alike, setup=setup, trials=4, resources=caviar.Resources(price_per_hour=36.0)).forecast(
        measure_s=20.0, workers=2
    )
    known = found.timings
    assert known is not None
    assert known.trials == 4
    assert not any("failed" in note for note in found.notes)
    assert 0.01 <= known.fastest_s <= known.median_s <= known.slowest_s
    assert known.setup_s >= 0.4
    assert found.steps.about == found.steps_of_all == 80
    assert found.training_s.about >= 80 * 0.01 + 0.5
    assert found.cost.about == pytest.approx(found.training_s.about / 100)
    assert found.wall_s.about < found.training_s.about


def test_no_longer_than_it_may():
    def slow(trial):
        for _ in trial.steps():
            time.sleep(30)
            trial.report(loss=1.0)

    began = time.monotonic()
    found = sweep(slow).forecast(measure_s=2.0)
    assert time.monotonic() - began < 25
    assert found.timings is None
    assert found.wall_s is None
    assert found.steps.about == 600
    assert any("no trial came to the end of a step within 2 s" in note for note in found.notes)


def test_where_all_fail_it_says_so():
    def broken(trial):
        raise ValueError("no such column")

    with pytest.raises(
        caviar.CaviarError, match="trials that were tried failed, each time with: ValueError: no such"
    ):
        sweep(broken, trials=3).forecast(measure_s=20.0)


def test_some_that_fail_or_diverge_are_told():
    def some(trial):
        if trial.id == 1:
            raise ValueError("no such column")
        for _ in trial.steps():
            time.sleep(0.01)
            trial.report(loss=float("nan") if trial.id == 2 else 1.0)

    found = sweep(some, trials=4).forecast(measure_s=20.0)
    assert "1 of the 4 trials that were tried failed: ValueError: no such column" in found.notes
    assert any(note.startswith("1 of the 4 trials that were tried diverged") for note in found.notes)


def test_without_a_max_step_by_where_they_ended():
    def short(trial):
        for step in range(1, 6):
            time.sleep(0.01)
            trial.report(loss=1 / step)

    found = sweep(short, max_step=None, trials=6).forecast(measure_s=20.0)
    assert (found.max_step, found.limit, found.steps.about) == (None, 5, 30)
    assert any("ended by themselves, at step 5" in note for note in found.notes)


def test_a_fork_is_measured_from_its_checkpoint(tmp_path):
    def saving(trial):
        assert trial.restored is None or (trial.restored / "here").exists()
        for step in trial.steps():
            time.sleep(0.01)
            trial.report(loss=1 / step)
            if trial.checkpoint_due:
                with trial.checkpoint() as folder:
                    (folder / "here").touch()

    declared = sweep(saving, trials=1, checkpoint_every=5, max_step=10, keep_checkpoints="all")
    declared.run(tmp_path / "first", caviar.Inline())
    fork = declared.forked(tmp_path / "first", at_step=5, vary=["x"], trials=4, max_step=30)
    found = fork.forecast(measure_s=20.0)
    assert (found.begin, found.steps.about) == (5, 100)
    assert found.timings.trials == 4


# --- without training ----------------------------------------------------------------------------------


def ahead(**changes):
    return sweep(**changes).forecast(measure_s=0)


def test_nothing_is_trained_where_nothing_is_asked_for(monkeypatch):
    monkeypatch.setattr(measuring, "Supervisor", None)
    found = ahead(scheduler=caviar.Asha(grace_steps=2), first=[{"x": 0.5}], stages=3, retries=0)
    assert (found.trials, found.first, list(found.stages)) == (30, 1, [10, 10, 10])
    assert found.steps.least < found.steps.about < found.steps.most < found.steps_of_all == 600
    assert (found.timings, found.wall_s, found.training_s, found.cost) == (None, None, None, None)
    assert any(note.startswith("nothing was trained") for note in found.notes)
    assert any(note.startswith("each stage after the first") for note in found.notes)


@pytest.mark.parametrize(
    "scheduler", [caviar.MedianStop(grace_steps=3), caviar.Patience(2)], ids=lambda one: one.name
)
def test_at_most_where_the_curves_decide(scheduler):
    found = ahead(scheduler=scheduler)
    assert (found.steps.least, found.steps.about, found.steps.most) == (90, None, 600)


def test_what_fits_on_this_machine(monkeypatch):
    from caviar.execution import capacity, cluster

    monkeypatch.setattr(cluster, "cores", lambda: 8)
    monkeypatch.setattr(capacity, "gpus", lambda: 1)
    assert list(ahead(resources=caviar.Resources(cpus=3)).capacity.fits) == [2]
    assert ahead(resources=caviar.Resources(cpus=3)).workers == 2
    assert ahead(resources=caviar.Resources(cpus=1, gpus=0.25)).workers == 4
    assert ahead(trials=3).workers == 3, "more than there are trials are of no use"
    kinds = caviar.Resources(gpus=1, price_per_hour=3.0, otherwise=caviar.Resources(cpus=1, price_per_hour=1.0))
    both = ahead(resources=kinds)
    assert list(both.capacity.fits) == [1, 7]
    assert both.price_per_hour == pytest.approx((3.0 + 7 * 1.0) / 8)
    none = ahead(resources=caviar.Resources(cpus=9))
    assert none.workers is None
    assert none.notes[0].startswith("a trial needs 9 CPU, and this machine has 8: ")
    labelled = ahead(resources=caviar.Resources(labels={"zone": "a"}))
    assert labelled.notes[0].startswith("a trial needs a node labelled zone=a")
    assert ahead(resources=caviar.Resources(gpus=2)).workers is None


def test_the_price_is_that_of_the_workers_that_a_run_would_have(monkeypatch):
    from caviar.execution import capacity, cluster

    monkeypatch.setattr(cluster, "cores", lambda: 16)
    monkeypatch.setattr(capacity, "gpus", lambda: 1)
    kinds = caviar.Resources(gpus=1, price_per_hour=3.0, otherwise=caviar.Resources(price_per_hour=0.2))

    def price(resources=kinds, *, trials=30, **asked):
        return sweep(resources=resources, trials=trials).forecast(measure_s=0, **asked).price_per_hour

    assert price() == pytest.approx((3.0 + 15 * 0.2) / 16)
    assert price(workers=1) == 3.0, "the one worker is that with the GPU"
    assert price(workers=3) == price(trials=3) == pytest.approx((3.0 + 2 * 0.2) / 3)
    assert price(workers=20) == pytest.approx((5 * 3.0 + 15 * 0.2) / 20), "those that wait, wait for a GPU"
    assert price(inline=True) == 3.0
    unpriced = caviar.Resources(gpus=1, price_per_hour=3.0, otherwise=caviar.Resources())
    assert (price(unpriced), price(unpriced, workers=1)) == (None, 3.0)

    monkeypatch.setattr(capacity, "gpus", lambda: 0)
    assert price(workers=20) == pytest.approx(0.2), "where there is none, none is waited for"
    assert price(workers=20, autoscale=True) == pytest.approx((4 * 3.0 + 16 * 0.2) / 20)


def test_the_workers_asked_for(monkeypatch):
    from caviar.execution import cluster

    monkeypatch.setattr(cluster, "cores", lambda: 2)
    found = sweep().forecast(measure_s=0, workers=5)
    assert found.workers == 5
    assert "5 workers were asked for, and 2 fit there now" in found.notes
    inline = sweep().forecast(measure_s=0, inline=True)
    assert (inline.workers, inline.capacity) == (1, None)


def test_a_sweep_of_the_same_code_has_timed_its_steps(tmp_path):
    declared = sweep(max_step=6, trials=5, resources=caviar.Resources(price_per_hour=2.0))
    declared.run(tmp_path / "sweep", caviar.Simulated(workers=2, step_s=3600.0))
    found = declared.but(trials=10).forecast(path=tmp_path / "sweep", measure_s=0, inline=True)
    assert found.timings.trials == 5
    assert found.training_s.about == pytest.approx(10 * 6 * 3600, rel=1e-3)
    assert found.cost.about == pytest.approx(10 * 6 * 2.0, rel=1e-3)
    assert found.notes[0].endswith("holds a sweep already: to run this one it needs another --out")

    wider = declared.but(space=caviar.Space(x=caviar.Float(0, 9))).forecast(path=tmp_path / "sweep", measure_s=0)
    assert wider.timings is not None
    assert any("another space" in note for note in wider.notes)

    def other(trial):
        trial.report(loss=1.0)

    for unlike, why in (
        (declared.but(train=other), "code: "),
        (declared.but(resources=caviar.Resources(cpus=2)), "other resources"),
    ):
        told = unlike.forecast(path=tmp_path / "sweep", measure_s=0)
        assert told.timings is None
        assert any(note.startswith(f"its steps say nothing of this one: {why}") for note in told.notes)


def test_the_time_budget_ends_it(tmp_path):
    declared = sweep(max_step=6, trials=5)
    declared.run(tmp_path / "sweep", caviar.Simulated(workers=2, step_s=3600.0))
    found = declared.but(time_budget_s=7200.0).forecast(path=tmp_path / "sweep", inline=True)
    assert found.wall_s.about == found.wall_s.most == 7200.0
    assert any("the time budget may end it" in note for note in found.notes)


def test_what_could_not_begin_is_refused():
    with pytest.raises(caviar.UsageError, match="the grid has 5 combinations"):
        ahead(sampler=caviar.GridSampler(5))
    with pytest.raises(caviar.UsageError, match="measure_s=-1"):
        sweep().forecast(measure_s=-1)
    with pytest.raises(caviar.UsageError, match="workers=0"):
        sweep().forecast(measure_s=0, workers=0)


def test_the_few_that_are_measured_are_from_all_over_a_grid():
    declared = caviar.Sweep(
        train,
        caviar.Space(x=caviar.Float(0, 1), y=caviar.Float(0, 1)),
        metric="loss",
        trials=64,
        sampler=caviar.GridSampler(8),
    )
    launches = list(measuring._launches(declared.plan()))
    assert len({launch.trial for launch in launches}) == 64
    assert len({launch.params["x"] for launch in launches[:4]}) == 4
    assert all(launch.next_rung is None for launch in launches)

"""What fits, asked without making any worker."""

from __future__ import annotations

import pytest

import caviar
from caviar.execution import capacity, cluster


def test_this_machine_as_a_ray_started_here_would_have_it(monkeypatch):
    monkeypatch.setattr(cluster, "cores", lambda: 4)
    monkeypatch.setattr(capacity, "gpus", lambda: 0)
    found = capacity.of_this_machine(caviar.Resources(cpus=2))
    assert (found.nodes, found.cpus, found.gpus, list(found.fits), found.lacks) == (1, 4, 0, [2], None)
    assert capacity.of_this_machine(caviar.Resources(memory_bytes=2**50)).lacks.startswith("a trial needs 1.1")
    assert capacity.of_this_machine(caviar.Resources(custom={"disk": 1})).lacks == (
        "a trial needs 1 disk, and this machine has 0"
    )
    either = caviar.Resources(gpus=1, otherwise=caviar.Resources(labels={"zone": "a"}))
    assert capacity.of_this_machine(either).lacks == (
        "a trial needs 1 GPU, and this machine has 0; otherwise, "
        "a trial needs a node labelled zone=a, and this machine has no labels"
    )
    either = caviar.Resources(gpus=1, otherwise=caviar.Resources(cpus=4))
    assert capacity.of_this_machine(either).lacks is None


def test_gpus_are_those_that_this_process_may_use(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,3")
    assert capacity.gpus() == 2
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert capacity.gpus() == 0


@pytest.mark.ray
@pytest.mark.usefixtures("ray_cluster")
def test_a_cluster_is_asked():
    kinds = caviar.Resources(cpus=3, otherwise=caviar.Resources(cpus=1))
    found = capacity.of_cluster("auto", kinds)
    assert (found.nodes, found.cpus, list(found.fits)) == (1, 4, [1, 1])
    lacks = capacity.of_cluster("auto", caviar.Resources(cpus=9)).lacks
    assert lacks == "a trial needs 9 CPU, and the whole Ray cluster has 4"


@pytest.mark.ray
@pytest.mark.usefixtures("ray_cluster")
def test_the_record_has_the_kind_of_each_worker_and_so_its_price(tmp_path):
    def train(trial):
        import time

        for _ in trial.steps():
            time.sleep(0.1)
            trial.report(loss=1.0)

    kinds = caviar.Resources(cpus=3, price_per_hour=3600.0, otherwise=caviar.Resources(price_per_hour=1e-6))
    sweep = caviar.Sweep(
        train, caviar.Space(x=caviar.Float(0, 1)), metric="loss", trials=8, max_step=3, resources=kinds
    )
    result = sweep.run(tmp_path / "sweep", caviar.Ray())
    events = result.events()
    workers = [data["worker"] for data in events[events["kind"] == "trial_started"]["data"]]
    assert {worker.endswith("-kind-1") for worker in workers} == {True, False}
    cost = result.cost()
    assert 0 < cost.spent < 0.9 * 3600 * cost.hours, "only some of the hours were dear"
    assert cost.hours_without_price == 0

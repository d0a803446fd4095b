"""One sweep on several nodes: where its workers are, and what becomes of it when nodes join or are lost."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pandas as pd
import pytest

import caviar
from tests.cluster.nodes import Node, Nodes, until
from tests.cluster.sweeps import GATE_STEP, GPU, PLAIN, Make, Sweep, outcome

pytestmark = [pytest.mark.ray, pytest.mark.timeout(300)]

JOIN_S = 30
"""A node that joins is at work after far less: this is a machine that has other things to do."""


def gpu_node(nodes: Nodes) -> Node:
    (found,) = (node for node in nodes.nodes if "--num-gpus=1" in node.amounts)
    return found


@pytest.fixture(scope="module")
def alone(cluster: Nodes, tmp_path_factory: pytest.TempPathFactory) -> Iterator[caviar.Result]:
    """The sweep as it ends on one node, which its trials ask for by a label."""
    cluster.have(PLAIN, GPU)
    sweep = Sweep(tmp_path_factory.mktemp("alone"), cluster, resources="Resources(labels={'zone': 'b'})")
    sweep.gate.touch()
    try:
        sweep.run("--workers", "2").ends()
        yield sweep.ended_well()
    finally:
        sweep.end()


def test_labels_say_which_node(nodes: Nodes, alone: caviar.Result) -> None:
    assert set(alone.curves().node) == {gpu_node(nodes).number}


def test_one_sweep_has_cpus_of_one_node_and_a_gpu_of_another(nodes: Nodes, make: Make) -> None:
    there = gpu_node(nodes).number
    sweep = make(resources="Resources(gpus=1, otherwise=caviar.Resources(custom={'place': 1}))")
    driver = sweep.run("--workers", "2")
    assert there in sweep.at_the_gate(2)
    sweep.gate.touch()
    driver.ends()
    curves = sweep.ended_well().curves()
    assert set(curves[curves.node == there].gpu) == {0}
    assert set(curves[curves.node != there].gpu) == {-1}, "it has none, and sees none"


def test_three_nodes_come_to_what_one_comes_to(nodes: Nodes, make: Make, alone: caviar.Result) -> None:
    sweep = make()
    client = sweep.submit("--workers", "3")
    assert sweep.at_the_gate(3) == [node.number for node in nodes.nodes], "each node has room for all three"
    assert len(nodes.workers()) == 3
    sweep.gate.touch()
    client.ends()
    pd.testing.assert_frame_equal(outcome(sweep.ended_well()), outcome(alone))
    until(lambda: not nodes.workers(), what=nodes.workers)


def test_with_a_node_lost_half_way_it_comes_to_the_same(nodes: Nodes, make: Make, alone: caviar.Result) -> None:
    sweep = make()
    client = sweep.submit("--workers", "3")
    sweep.at_the_gate(3)
    node = gpu_node(nodes)
    (trial,) = [trial for trial, number in sweep.here().items() if number == node.number]
    nodes.kill(node)
    until(lambda: len(sweep.events("attempt_lost")), what=sweep.told)
    sweep.gate.touch()
    client.ends()
    result = sweep.ended_well()
    pd.testing.assert_frame_equal(outcome(result), outcome(alone))
    assert list(sweep.events("attempt_lost").trial) == [trial]
    assert list(result.trials().attempts[lambda attempts: attempts > 1].index) == [trial]
    every = sweep.curves().query(f"trial == {trial}")
    assert (every.node == node.number).sum() == GATE_STEP - 1
    repeated = every.groupby("step").size()
    assert list(repeated[repeated > 1].index) == [GATE_STEP - 1], "it has gone on from its checkpoint"


def test_a_node_that_joins_half_way_is_put_to_work(cluster: Nodes, make: Make) -> None:
    cluster.have(PLAIN)
    sweep = make(resources="Resources(custom={'place': 1})")
    driver = sweep.run()
    sweep.at_the_gate(2)
    joined = cluster.add(**PLAIN)
    began_s = time.monotonic()
    until(lambda: joined.number in sweep.here().values(), what=sweep.told, deadline_s=JOIN_S)
    print(f"a node that had joined has reported after {time.monotonic() - began_s:.1f} s")
    sweep.gate.touch()
    driver.ends()
    sweep.ended_well()

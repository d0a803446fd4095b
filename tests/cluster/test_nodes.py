"""One sweep on several nodes: where its workers are, and what becomes of it when nodes join or are lost."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from tests.cluster.conftest import PLAIN
from tests.cluster.nodes import Nodes, until
from tests.cluster.sweeps import GATE_STEP, Sweep, outcome

pytestmark = [pytest.mark.ray, pytest.mark.timeout(300)]

JOIN_S = 30
"""A node that joins is at work after far less: this is a machine that has other things to do."""

Make = Callable[..., Sweep]


@pytest.fixture
def make(tmp_path: Path, nodes: Nodes) -> Iterator[Make]:
    made: list[Sweep] = []

    def one(**options: Any) -> Sweep:
        made.append(Sweep(tmp_path / str(len(made)), nodes, **options))
        return made[-1]

    yield one
    for sweep in made:
        sweep.end()


@pytest.fixture(scope="module")
def alone(cluster: Nodes, tmp_path_factory: pytest.TempPathFactory) -> Iterator[pd.DataFrame]:
    """What the sweep comes to on one node."""
    sweep = Sweep(tmp_path_factory.mktemp("alone"), cluster)
    sweep.gate.touch()
    try:
        sweep.run("--workers", "1").ends()
        result = sweep.ended_well()
        assert result.curves().node.nunique() == 1
        yield outcome(result)
    finally:
        sweep.end()


def test_three_nodes_come_to_what_one_comes_to(nodes: Nodes, make: Make, alone: pd.DataFrame) -> None:
    sweep = make()
    driver = sweep.run("--workers", "3")
    assert sweep.at_the_gate(3) == [node.number for node in nodes.nodes], "each node has room for all three"
    sweep.gate.touch()
    driver.ends()
    pd.testing.assert_frame_equal(outcome(sweep.ended_well()), alone)
    until(lambda: not nodes.workers(), what=nodes.workers)


def test_with_a_node_lost_half_way_it_comes_to_the_same(nodes: Nodes, make: Make, alone: pd.DataFrame) -> None:
    sweep = make()
    driver = sweep.run("--workers", "3")
    sweep.at_the_gate(3)
    node = nodes.nodes[-1]
    (trial,) = [trial for trial, number in sweep.here().items() if number == node.number]
    nodes.kill(node)
    until(lambda: len(sweep.events("attempt_lost")), what=sweep.told)
    sweep.gate.touch()
    driver.ends()
    result = sweep.ended_well()
    pd.testing.assert_frame_equal(outcome(result), alone)
    assert list(sweep.events("attempt_lost").trial) == [trial]
    every = sweep.curves().query(f"trial == {trial}")
    assert (every.node == node.number).sum() == GATE_STEP - 1
    repeated = every.groupby("step").size()
    assert list(repeated[repeated > 1].index) == [GATE_STEP - 1], "it has gone on from its checkpoint"
    assert list(result.trials().attempts[lambda attempts: attempts > 1].index) == [trial]


def test_a_node_that_joins_half_way_is_put_to_work(nodes: Nodes, make: Make) -> None:
    nodes.complete(1, **PLAIN)
    sweep = make(trials=12, resources="Resources(custom={'place': 1})")
    driver = sweep.run()
    sweep.at_the_gate(2)
    joined = nodes.add(**PLAIN)
    began_s = time.monotonic()
    until(lambda: joined.number in sweep.here().values(), what=sweep.told, deadline_s=JOIN_S)
    print(f"a node that had joined has reported after {time.monotonic() - began_s:.1f} s")
    sweep.gate.touch()
    driver.ends()
    sweep.ended_well()

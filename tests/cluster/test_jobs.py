"""Sweeps as jobs of a cluster: two at once, each with its own code, and clients that come and go."""

from __future__ import annotations

import pytest

from tests.cluster.nodes import Nodes, until
from tests.cluster.sweeps import Make

pytestmark = [pytest.mark.ray, pytest.mark.timeout(300)]

PLACE = "Resources(custom={'place': 1})"


def test_two_sweeps_share_a_cluster_each_with_its_own_code(nodes: Nodes, make: Make) -> None:
    one, two = (make(f"v{version}", version=version, resources=PLACE) for version in (1, 2))
    one.submit("--workers", "1", "--detach").ends()
    two.submit("--workers", "2", "--detach").ends()
    until(lambda: one.here() and two.here(), what=lambda: one.told() + two.told())  # on the two places there are
    names = {f"caviar:v{version}:worker-{number}" for version, number in ((1, 0), (2, 0), (2, 1))}
    until(lambda: len(names & set(actors(nodes))) == 2, what=lambda: actors(nodes))
    one.gate.touch()
    two.gate.touch()
    assert set(one.ended_well().curves().version) == {1}
    assert set(two.ended_well().curves().version) == {2}


def actors(nodes: Nodes) -> list[str]:
    """The living actors as the dashboard names them."""
    told = nodes.get("/api/v0/actors?detail=1&filter_keys=state&filter_predicates=%3D&filter_values=ALIVE")
    return [actor["repr_name"] or actor["class_name"] for actor in told["data"]["result"]["result"]]


def test_a_client_that_has_gone_can_come_back(nodes: Nodes, make: Make) -> None:
    sweep = make()
    gone = sweep.submit("--workers", "1")
    gone.says(f"job {sweep.job} ")
    sweep.at_the_gate(1)
    gone.end()
    log = sweep.call("logs", sweep.job, "--address", nodes.dashboard, "--follow")
    watch = sweep.call("watch", str(sweep.path))
    log.says("trials")
    watch.says("trials")
    assert sweep.here(), "it has gone on without anybody"
    sweep.gate.touch()
    assert "8 completed" in log.ends()
    assert "8 completed" in watch.ends()
    sweep.ended_well()

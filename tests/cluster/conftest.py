"""A cluster of three nodes, which the tests of this folder share. One that loses a node adds another."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.cluster.nodes import Nodes


@pytest.fixture(scope="session")
def cluster() -> Iterator[Nodes]:
    nodes = Nodes(cpus=0)
    yield nodes
    nodes.end()


@pytest.fixture
def nodes(cluster: Nodes) -> Nodes:
    """A head without cores, where drivers are, and two nodes with one core each."""
    cluster.complete(2)
    return cluster

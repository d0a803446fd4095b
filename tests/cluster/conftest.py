"""A cluster of three nodes, which the tests of this folder share. One that loses a node adds another."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.cluster.nodes import Nodes

PLAIN: dict[str, Any] = {"cpus": 3, "resources": {"place": 1}}
"""What each node has, the head too: room for three trials, or for one that wants a place."""


@pytest.fixture(scope="session")
def cluster() -> Iterator[Nodes]:
    nodes = Nodes(**PLAIN)
    yield nodes
    nodes.end()


@pytest.fixture
def nodes(cluster: Nodes) -> Nodes:
    cluster.complete(2, **PLAIN)
    return cluster

"""A cluster of three nodes, which the tests of this folder share. One that loses a node adds another."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.cluster.nodes import Nodes
from tests.cluster.sweeps import GPU, PLAIN, Make, Sweep


@pytest.fixture(scope="session")
def cluster() -> Iterator[Nodes]:
    nodes = Nodes(**PLAIN)
    yield nodes
    nodes.end()


@pytest.fixture
def nodes(cluster: Nodes) -> Nodes:
    """Three nodes: the head, another one, and one with a GPU."""
    cluster.have(PLAIN, GPU)
    return cluster


@pytest.fixture
def make(tmp_path: Path, cluster: Nodes) -> Iterator[Make]:
    made: list[Sweep] = []

    def one(name: str = "gated", **options: Any) -> Sweep:
        made.append(Sweep(tmp_path / name, cluster, **options))
        return made[-1]

    yield one
    for sweep in made:
        sweep.end()

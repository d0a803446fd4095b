"""How many workers the nodes of a cluster hold."""

from __future__ import annotations

import pytest

from caviar.execution.nodes import Node, fits_labels, lacking, places
from caviar.execution.resources import Resources

SMALL = Node(resources={"CPU": 4.0, "memory": 8e9})
GPU = Node(resources={"CPU": 8.0, "GPU": 2.0}, labels={"zone": "a", "spot": "yes"})


@pytest.mark.parametrize(
    ("nodes", "resources", "count"),
    [
        ([SMALL], Resources(), 4),
        ([SMALL, SMALL], Resources(cpus=3), 2),  # and not the 8 / 3 of all cores together, beside each other
        ([Node(resources={"CPU": 5.0})] * 3, Resources(cpus=3), 3),
        ([SMALL], Resources(cpus=0.1), 40),
        ([SMALL, GPU], Resources(gpus=1), 2),
        ([SMALL, GPU], Resources(cpus=1, gpus=0.5), 4),
        ([GPU], Resources(cpus=0, gpus=0.3), 6),  # three on each GPU: none lies on two
        ([GPU], Resources(cpus=0, gpus=2), 1),
        ([SMALL], Resources(memory_bytes=3 * 10**9), 2),
        ([SMALL], Resources(cpus=0), 4),
        ([Node(resources={})], Resources(cpus=0), 1),
        ([SMALL, GPU], Resources(custom={"tpu": 1}), 0),
        ([SMALL, GPU], Resources(labels={"zone": "a"}), 8),
        ([], Resources(), 0),
    ],
)
def test_places(nodes: list[Node], resources: Resources, count: int) -> None:
    assert places(nodes, [resources]) == [count]


def test_a_further_kind_has_what_the_ones_before_it_leave() -> None:
    kinds = Resources(cpus=2, gpus=1, otherwise=Resources(cpus=2)).kinds
    assert places([SMALL, GPU], kinds) == [2, 2 + 2]
    assert places([SMALL], kinds) == [0, 2]


@pytest.mark.parametrize(
    ("selector", "fits"),
    [
        ({}, True),
        ({"zone": "a"}, True),
        ({"zone": "b"}, False),
        ({"zone": "!b"}, True),
        ({"zone": "!a"}, False),
        ({"zone": "in(b, a)"}, True),
        ({"zone": "in(b)"}, False),
        ({"zone": "!in(b, a)"}, False),
        ({"zone": "a", "spot": "no"}, False),
        ({"rack": "1"}, False),
        ({"rack": "!1"}, True),
    ],
)
def test_labels(selector: dict[str, str], fits: bool) -> None:
    assert fits_labels(selector, GPU.labels) is fits


@pytest.mark.parametrize(
    ("resources", "reason"),
    [
        (Resources(), None),
        (Resources(cpus=64), "a trial needs 64 CPU, and the whole Ray cluster has 12"),
        (Resources(cpus=10), "a trial needs 10 CPU, and no node of the Ray cluster has more than 8"),
        (Resources(gpus=3), "a trial needs 3 GPU, and the whole Ray cluster has 2"),
        (Resources(labels={"zone": "b"}), "a trial needs a node labelled zone=b, and the Ray cluster has none"),
        (
            Resources(gpus=1, memory_bytes=10**9),
            "a trial needs 1 CPU and 1 GPU and 1e+09 memory, and no node of the Ray cluster has all of it",
        ),
    ],
)
def test_what_is_lacking(resources: Resources, reason: str | None) -> None:
    assert lacking([SMALL, GPU], resources.kinds) == reason


def test_what_is_lacking_of_every_kind() -> None:
    kinds = Resources(gpus=4, otherwise=Resources(cpus=64)).kinds
    assert lacking([SMALL, GPU], kinds) == (
        "a trial needs 4 GPU, and the whole Ray cluster has 2; otherwise, "
        "a trial needs 64 CPU, and the whole Ray cluster has 12"
    )
    assert lacking([SMALL, GPU], Resources(gpus=4, otherwise=Resources(cpus=6)).kinds) is None

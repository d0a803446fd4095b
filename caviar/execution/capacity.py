"""How many workers fit, asked without making any: on this machine, and on a Ray cluster."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from caviar.execution import cluster
from caviar.execution.gpus import VISIBLE
from caviar.execution.nodes import Node, lacking, places
from caviar.execution.resources import Resources

RAYS_MEMORY = 0.7
"""Of a machine's memory Ray gives about so much to workers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Capacity:
    """What there is, and how many workers it holds."""

    nodes: int
    cpus: float
    gpus: float
    fits: Sequence[int]
    """Workers of each kind at once."""
    lacks: str | None = None
    """Where not one fits: what a trial needs, and what there is of it."""


def of_this_machine(resources: Resources) -> Capacity:
    """What a Ray that is started here would hold. It has no custom resources and no labels."""
    memory = RAYS_MEMORY * os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    node = Node(resources={"CPU": float(cluster.cores()), "GPU": float(gpus()), "memory": memory})
    return _capacity([node], resources, here=True)


def of_cluster(address: str, resources: Resources) -> Capacity:
    """What the Ray cluster at ``address`` holds now. One that does not answer raises `ExecutionError`."""
    import ray

    joined = cluster.join(address, cpus=0, runtime_env={})
    try:
        nodes = cluster.nodes()
    finally:
        if joined:
            ray.shutdown()
    return _capacity(nodes, resources, here=False)


def _capacity(nodes: Sequence[Node], resources: Resources, *, here: bool) -> Capacity:
    cpus, gpus = (sum(node.resources.get(name, 0.0) for node in nodes) for name in ("CPU", "GPU"))
    return Capacity(
        nodes=len(nodes),
        cpus=cpus,
        gpus=gpus,
        fits=places(nodes, resources.kinds),
        lacks=lacking(nodes, resources.kinds, here=here),
    )


def gpus() -> int:
    """How many NVIDIA GPUs this process may use."""
    visible = os.environ.get(VISIBLE)
    if visible is not None:
        return len([one for one in visible.split(",") if one.strip() not in ("", "-1")])
    try:
        return sum(re.fullmatch(r"nvidia\d+", path.name) is not None for path in Path("/dev").iterdir())
    except OSError:
        return 0

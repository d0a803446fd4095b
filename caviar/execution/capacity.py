"""How many workers fit, asked without making any: here, and on a Ray cluster."""

from __future__ import annotations

import math
import os
import re
from dataclasses import dataclass
from pathlib import Path

from caviar.execution import cluster
from caviar.execution.resources import Resources

RAYS_MEMORY = 0.7
"""Of a machine's memory Ray gives so much to workers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Capacity:
    """What there is, and how many workers it holds."""

    cpus: float
    gpus: float
    memory_bytes: float
    fits: int
    """Workers at once; 0: not one."""
    lacks: str | None = None
    """What there is too little of, where not one fits."""


def of_this_machine(resources: Resources) -> Capacity:
    """What a Ray that is started here would hold. Custom resources and labels, which only a cluster has, hold no
    worker here."""
    memory = RAYS_MEMORY * os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    total = {"CPU": float(cluster.cores()), "GPU": float(gpus()), "memory": memory}
    wanted = cluster.needs(resources) | dict.fromkeys(resources.labels, 1.0)
    lacks = next((name for name, amount in wanted.items() if amount > total.get(name, 0.0)), None)
    places = [total[name] / amount for name, amount in wanted.items()] if lacks is None else [0.0]
    return Capacity(
        cpus=total["CPU"],
        gpus=total["GPU"],
        memory_bytes=memory,
        fits=math.floor(min(places, default=total["CPU"]) + 1e-9),
        lacks=None if lacks is None else f"{wanted[lacks]:g} {lacks}, and it has {total.get(lacks, 0.0):g}",
    )


def of_cluster(address: str, resources: Resources) -> Capacity:
    """What the Ray cluster at ``address`` holds. One that does not answer raises `ExecutionError`, one that does
    not hold a single worker `UsageError`."""
    import ray

    joined = cluster.join(address, cpus=0, runtime_env={})
    try:
        total: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
        fits = cluster.fitting(resources)
    finally:
        if joined:
            ray.shutdown()  # type: ignore[no-untyped-call]
    return Capacity(
        cpus=total.get("CPU", 0.0), gpus=total.get("GPU", 0.0), memory_bytes=total.get("memory", 0.0), fits=fits
    )


def gpus() -> int:
    """How many NVIDIA GPUs this process may use."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return len([one for one in visible.split(",") if one.strip() not in ("", "-1")])
    try:
        return sum(re.fullmatch(r"nvidia\d+", path.name) is not None for path in Path("/dev").iterdir())
    except OSError:
        return 0

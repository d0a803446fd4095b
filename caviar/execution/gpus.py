"""GPUs: whether a trial's share of one is large enough, and that it takes no more than that."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from collections.abc import Mapping

from caviar.execution.memory import in_words
from caviar.execution.resources import Resources

VISIBLE = "CUDA_VISIBLE_DEVICES"
ASK_S = 20.0
"""The driver of a machine with many GPUs that nobody uses takes seconds to answer."""


def hide() -> None:
    """Processes that start from here see no GPU: it belongs to workers of another kind."""
    os.environ[VISIBLE] = ""


def too_small(resources: Resources, *, node: str, environment: Mapping[str, str] = os.environ) -> str | None:
    """What is wrong where the share that a worker has of its GPU holds less memory than a trial needs. None where
    it is large enough, where none is said to be needed, and where the machine does not say what its GPUs have."""
    wanted = resources.gpu_memory_bytes
    totals = _totals(environment) if wanted is not None else []
    if wanted is None or not totals:
        return None
    share = min(resources.gpus, 1.0)
    held = int(share * min(totals))
    if wanted <= held:
        return None
    of_it = "a GPU" if share == 1 else f"{share:g} of a GPU"
    fits = math.floor(min(totals) / wanted)
    advice = f"gpus={1 / fits:.3g} would do" if fits else "it needs larger GPUs"
    return (
        f"node {node}: {of_it} holds {in_words(held)}, and a trial needs gpu_memory_bytes of {in_words(wanted)}: "
        f"{advice}"
    )


def keep_to_share(resources: Resources) -> None:
    """PyTorch, where it is loaded, gives this process no more of its GPU than its share, so that trials beside it
    have theirs. What else takes memory there is not held back."""
    torch = sys.modules.get("torch")
    shares = resources.gpu_memory_bytes is not None and resources.gpus < 1
    if shares and torch is not None and torch.cuda.is_available():
        torch.cuda.set_per_process_memory_fraction(float(resources.gpus))


def _totals(environment: Mapping[str, str]) -> list[int]:
    """The memory of each GPU that this process may use, in bytes."""
    command = ["nvidia-smi", "--query-gpu=index,uuid,memory.total", "--format=csv,noheader,nounits"]
    try:
        told = subprocess.run(command, capture_output=True, text=True, timeout=ASK_S, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return []
    mine = environment.get(VISIBLE)
    visible = None if mine is None else {one.strip() for one in mine.split(",")}
    totals = []
    for line in told.splitlines():
        parts = [part.strip() for part in line.split(",")]
        index, uuid, mebibytes = parts if len(parts) == 3 else ("", "", "")
        if mebibytes.isdecimal() and (visible is None or {index, uuid} & visible):
            totals.append(int(mebibytes) * 2**20)
    return totals

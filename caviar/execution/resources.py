"""What one trial needs of a machine."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from caviar.errors import UsageError


@dataclass(frozen=True, slots=True, kw_only=True)
class Resources:
    """What each trial needs. A worker that trains trials one after another holds it for as long as it lives.

    ``cpus``: cores, also the threads that numerical libraries use. ``gpus``: may be a fraction below 1.
    ``memory_bytes``: None leaves it unreserved. ``custom``: Ray's custom resources by name. ``labels``: the node
    labels that a worker needs. ``fresh_process``: every trial in a process of its own (about 10 ms a trial;
    seconds where it starts CUDA), for training functions that leave something behind.
    """

    cpus: float = 1
    gpus: float = 0
    memory_bytes: int | None = None
    custom: Mapping[str, float] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    fresh_process: bool = False

    def __post_init__(self) -> None:
        for name in ("cpus", "gpus"):
            amount = getattr(self, name)
            if amount != 0 and not _is_amount(amount):
                raise UsageError(f"Resources({name}={amount!r}): needs a number of at least 0")
            if amount > 1 and amount != int(amount):
                raise UsageError(f"Resources({name}={amount!r}): a fraction must be below 1")
        memory = self.memory_bytes
        if memory is not None and not (isinstance(memory, int) and not isinstance(memory, bool) and memory > 0):
            raise UsageError(
                f"Resources(memory_bytes={memory!r}): needs a whole, positive number of bytes, or None"
            )
        if not isinstance(self.custom, Mapping) or not all(map(_is_amount, self.custom.values())):
            raise UsageError(f"Resources(custom={self.custom!r}): needs a mapping from name to a positive number")
        if not isinstance(self.labels, Mapping) or not all(isinstance(one, str) for one in self.labels.values()):
            raise UsageError(f"Resources(labels={self.labels!r}): needs a mapping from label to text")

    @property
    def threads(self) -> int:
        """Threads for numerical libraries: the trial's cores, at least one."""
        return max(1, int(self.cpus))

    def to_dict(self) -> dict[str, Any]:
        """JSON for sweep.json."""
        return {
            "cpus": self.cpus,
            "gpus": self.gpus,
            "memory_bytes": self.memory_bytes,
            "custom": dict(self.custom),
            "labels": dict(self.labels),
            "fresh_process": self.fresh_process,
        }


def _is_amount(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value) and value > 0

"""What one trial needs of a machine."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from caviar.errors import UsageError

KIND = "-kind-"
"""In the name of a worker, before the number of its kind in `Resources.kinds`; without it is the first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Resources:
    """What each trial needs. A worker that trains trials one after another holds it for as long as it lives.

    ``cpus``: cores, also the threads that numerical libraries use. ``gpus``: may be a fraction below 1.
    ``memory_bytes``: reserved, and a limit: a training process that uses more, with what it started, is ended and
    its trial charged; None: neither. ``custom``: Ray's custom resources by name. ``labels``: node labels that a
    worker needs. ``fresh_process``: every trial in a process of its own (about 10 ms a trial; seconds where it
    starts CUDA), for training functions that leave something behind.

    ``progress_timeout_s``: a trial that neither reports, saves a checkpoint nor ends for so long is ended and
    charged; None lets it take its time. ``stop_grace_s``: a function that goes on for so long after it was told to
    end is ended; None waits for it. ``memory_growth_bytes``: a training process that keeps so much more memory, of
    the machine or of its GPUs, than after its second trial is replaced between two trials; None never replaces it.

    ``gpu_memory_bytes``: what a trial needs of a GPU's memory. A worker whose share of its GPU is smaller ends the
    sweep before it trains, and PyTorch lets a trial have no more of the GPU than its share. None does neither.
    ``otherwise``: what a trial may have instead, where a cluster has no more room for this: ``Resources(gpus=1,
    otherwise=Resources(cpus=4))`` trains on every GPU, and on the cores that are left, too.

    ``price_per_hour``: what such a worker costs an hour, in any currency; None: nobody knows. `Result.cost` and
    ``caviar status`` count by it.
    """

    cpus: float = 1
    gpus: float = 0
    memory_bytes: int | None = None
    custom: Mapping[str, float] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    fresh_process: bool = False
    progress_timeout_s: float | None = None
    stop_grace_s: float | None = 60.0
    memory_growth_bytes: int | None = 2**30
    gpu_memory_bytes: int | None = None
    otherwise: Resources | None = None
    price_per_hour: float | None = None

    def __post_init__(self) -> None:
        for name in ("cpus", "gpus"):
            amount = getattr(self, name)
            if amount != 0 and not _is_amount(amount):
                raise UsageError(f"Resources({name}={amount!r}): needs a number of at least 0")
            if amount > 1 and amount != int(amount):
                raise UsageError(f"Resources({name}={amount!r}): a fraction must be below 1")
        for name in ("memory_bytes", "memory_growth_bytes", "gpu_memory_bytes"):
            memory = getattr(self, name)
            if memory is not None and not (isinstance(memory, int) and _is_amount(memory)):
                raise UsageError(f"Resources({name}={memory!r}): needs a whole, positive number of bytes, or None")
        for name in ("progress_timeout_s", "stop_grace_s"):
            seconds = getattr(self, name)
            if seconds is not None and not _is_amount(seconds):
                raise UsageError(f"Resources({name}={seconds!r}): needs a positive number of seconds, or None")
        price = self.price_per_hour
        if price is not None and not _is_amount(price):
            raise UsageError(f"Resources(price_per_hour={price!r}): needs a number above 0, or None")
        if not isinstance(self.custom, Mapping) or not all(map(_is_amount, self.custom.values())):
            raise UsageError(f"Resources(custom={self.custom!r}): needs a mapping from name to a positive number")
        if not isinstance(self.labels, Mapping) or not all(isinstance(one, str) for one in self.labels.values()):
            raise UsageError(f"Resources(labels={self.labels!r}): needs a mapping from label to text")
        if self.gpu_memory_bytes is not None and not self.gpus:
            raise UsageError(
                f"Resources(gpu_memory_bytes={self.gpu_memory_bytes!r}): needs gpus, a share of a GPU at least"
            )
        if self.otherwise is not None and not isinstance(self.otherwise, Resources):
            raise UsageError(
                f"Resources(otherwise={self.otherwise!r:.80}): needs a caviar.Resources(...), or None"
            )

    @property
    def kinds(self) -> tuple[Resources, ...]:
        """The kinds of workers that a trial may be trained by, those to be preferred first."""
        return (self,) if self.otherwise is None else (self, *self.otherwise.kinds)

    @property
    def threads(self) -> int:
        """Threads for numerical libraries: the trial's cores, at least one."""
        return max(1, int(self.cpus))

    @property
    def growth_limit_bytes(self) -> int | None:
        """What trials may leave behind in a process: no more than half of memory_bytes either, so that no trial is
        charged for what those before it left."""
        growth = self.memory_growth_bytes
        return growth if growth is None or self.memory_bytes is None else min(growth, self.memory_bytes // 2)

    def to_dict(self) -> dict[str, Any]:
        """JSON for sweep.json."""
        data: dict[str, Any] = {
            "cpus": self.cpus,
            "gpus": self.gpus,
            "memory_bytes": self.memory_bytes,
            "custom": dict(self.custom),
            "labels": dict(self.labels),
            "fresh_process": self.fresh_process,
            "progress_timeout_s": self.progress_timeout_s,
            "stop_grace_s": self.stop_grace_s,
            "memory_growth_bytes": self.memory_growth_bytes,
            "gpu_memory_bytes": self.gpu_memory_bytes,
            "otherwise": None if self.otherwise is None else self.otherwise.to_dict(),
        }
        if self.price_per_hour is not None:  # as before there was one: then nothing has changed
            data["price_per_hour"] = self.price_per_hour
        return data

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Resources:
        """The inverse of `to_dict`; what an older version did not write yet has its default."""
        otherwise = data.get("otherwise")
        return cls(**{**data, "otherwise": None if otherwise is None else cls.from_dict(otherwise)})


def _is_amount(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value) and value > 0

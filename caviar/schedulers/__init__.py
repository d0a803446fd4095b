"""Schedulers: which trials to stop early. One file an algorithm; `base` has the contract."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from caviar.declared import declared_from
from caviar.schedulers.asha import Asha
from caviar.schedulers.base import Judge, Scheduler, Verdict
from caviar.schedulers.hyperband import Hyperband
from caviar.schedulers.median_stop import MedianStop
from caviar.schedulers.patience import Patience
from caviar.schedulers.run_all import RunAll

__all__ = [
    "SCHEDULERS",
    "Asha",
    "Hyperband",
    "Judge",
    "MedianStop",
    "Patience",
    "RunAll",
    "Scheduler",
    "Verdict",
    "from_dict",
]

SCHEDULERS: Mapping[str, type[Scheduler]] = {
    kind.name: kind for kind in (RunAll, Asha, Hyperband, MedianStop, Patience)
}
"""Every scheduler by its name in sweep.json and on the command line."""


def from_dict(data: Mapping[str, Any]) -> Scheduler:
    """The scheduler that `Scheduler.to_dict` wrote; arguments that are missing take their defaults.

    An unknown name, an unknown or missing argument and a value that is not allowed raise `UsageError`.
    """
    return declared_from(data, what="scheduler", kinds=SCHEDULERS)

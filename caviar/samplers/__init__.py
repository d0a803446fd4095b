"""Samplers: which params to try. One file an algorithm; `base` has the contract."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from caviar.declared import declared_from
from caviar.samplers.base import Proposer, Sampler, trial_seed, trial_seeds
from caviar.samplers.grid import GridSampler
from caviar.samplers.random import RandomSampler
from caviar.samplers.sobol import SobolSampler

__all__ = [
    "SAMPLERS",
    "GridSampler",
    "Proposer",
    "RandomSampler",
    "Sampler",
    "SobolSampler",
    "from_dict",
    "trial_seed",
    "trial_seeds",
]

SAMPLERS: Mapping[str, type[Sampler]] = {kind.name: kind for kind in (RandomSampler, SobolSampler, GridSampler)}
"""Every sampler by its name in sweep.json and on the command line."""


def from_dict(data: Mapping[str, Any]) -> Sampler:
    """The sampler that `Sampler.to_dict` wrote; arguments that are missing take their defaults.

    An unknown name, an unknown argument and a value that is not allowed raise `UsageError`.
    """
    return declared_from(data, what="sampler", kinds=SAMPLERS)

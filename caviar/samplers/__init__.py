"""Samplers: which params to try. One file an algorithm; `base` has the contract."""

from __future__ import annotations

from collections.abc import Mapping
from inspect import signature
from typing import Any

from caviar.errors import UsageError
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
    arguments = dict(data)
    name = arguments.pop("name", None)
    kind = SAMPLERS.get(str(name))
    if kind is None:
        raise UsageError(f"sampler {name!r} is not known; there are {', '.join(SAMPLERS)}")
    try:
        return kind(**arguments)
    except TypeError as error:
        given = ", ".join(f"{key}={value!r}" for key, value in arguments.items()) or "nothing"
        raise UsageError(
            f"sampler {name!r} was given {given}; it takes {', '.join(signature(kind).parameters) or 'nothing'}"
        ) from error

"""How params are proposed: a sampler declares it, and its proposer does it within one sweep."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from caviar.errors import UsageError
from caviar.samplers.base import Proposer, Sampler, seed_number, trial_seeds
from caviar.samplers.grid import GridSampler
from caviar.samplers.random import RandomSampler
from caviar.samplers.sobol import SobolSampler

__all__ = [
    "GridSampler",
    "Proposer",
    "RandomSampler",
    "Sampler",
    "SobolSampler",
    "from_dict",
    "seed_number",
    "trial_seeds",
]

_SAMPLERS: dict[str, Callable[..., Sampler]] = {
    sampler.name: sampler for sampler in (RandomSampler, SobolSampler, GridSampler)
}


def from_dict(data: Mapping[str, Any]) -> Sampler:
    """The inverse of `Sampler.to_dict`. An unknown name or argument raises `UsageError`."""
    make = _SAMPLERS.get(data.get("name", ""))
    if make is None:
        raise UsageError(f"sampler {data.get('name')!r}: caviar has {', '.join(_SAMPLERS)}")
    try:
        return make(**{name: value for name, value in data.items() if name != "name"})
    except TypeError as error:
        raise UsageError(f"sampler {data['name']!r}: {error}") from None

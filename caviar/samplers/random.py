"""Random sampling: the default, as a grid wastes its trials where only a few params matter."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from numpy.random import PCG64, Generator, SeedSequence

from caviar.samplers.base import Proposer, Sampler
from caviar.space import Space
from caviar.trial import Params


class _RandomProposer(Proposer):
    def __init__(self, space: Space) -> None:
        self._space = space

    def suggest(self, trial: int, seeds: SeedSequence) -> Params:
        return self._space.sample(Generator(PCG64(seeds)))


@dataclass(frozen=True, slots=True)
class RandomSampler(Sampler):
    """Draws every param on its own, on its scale. A trial's params depend on its seeds alone.

    Bergstra and Bengio, "Random Search for Hyper-Parameter Optimization", JMLR 13 (2012).
    """

    name: ClassVar[str] = "random"

    def begin(self, space: Space, *, seed: int, trials: int) -> Proposer:
        return _RandomProposer(space)

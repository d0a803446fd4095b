"""The contract that every sampler keeps.

A `Sampler` is a declaration: frozen, comparable, written into sweep.json. What it does within one sweep is a
`Proposer`, which may learn from what it is told.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

from numpy.random import SeedSequence

from caviar.declared import Declared
from caviar.space import Space
from caviar.trial import Params


def trial_seeds(seed: int, trial: int) -> SeedSequence:
    """All randomness of trial number ``trial`` in a sweep of that seed, whatever happens to other trials."""
    return SeedSequence(seed, spawn_key=(trial,))


def trial_seed(seeds: SeedSequence) -> int:
    """The seed that the training function is given: a whole number of 32 bits."""
    return int(seeds.generate_state(1)[0])


class Proposer(ABC):
    """Proposes params within one stage of one sweep."""

    @abstractmethod
    def suggest(self, trial: int, seeds: SeedSequence) -> Params:
        """Params for trial number ``trial``. All randomness comes from ``seeds``, that trial's alone.

        A proposer that does not learn returns the same params for the same trial, in whatever order it is asked.
        """

    def tell(self, trial: int, params: Params, loss: float) -> None:
        """How a trial ended. ``loss``: the metric as last reported, turned so that less is better; a trial
        without a finite value has ``inf``. A known setting (``Sweep(first=...)``) has a negative number.
        Proposers that do not learn ignore it."""


class Sampler(Declared):
    """Declares how params are proposed."""

    learns: ClassVar[bool] = False
    """Whether what it proposes depends on what it was told."""

    @abstractmethod
    def begin(self, space: Space, *, seed: int, trials: int) -> Proposer:
        """Start proposing from ``space`` for a sweep of so many trials; a space or a number of trials that the
        sampler cannot serve raises `UsageError`."""

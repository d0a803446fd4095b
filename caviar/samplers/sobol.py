"""Scrambled Sobol points: they fill the unit cube more evenly than random ones do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
from numpy.random import PCG64, Generator, SeedSequence

from caviar.errors import UsageError
from caviar.samplers.base import Proposer, Sampler
from caviar.space import Space
from caviar.trial import Params

_BITS = 30
_BLOCK = 256
"""Points made at a time: a power of two, without which the first ones of the sequence are not balanced."""


class _SobolProposer(Proposer):
    """Keeps one block of points, as trials come in order but for a few; other blocks are made again."""

    def __init__(self, space: Space, engine: Any) -> None:
        self._space = space
        self._engine = engine
        self._block = -1
        self._points: npt.NDArray[np.float64] = np.empty((0, 0))

    def suggest(self, trial: int, seeds: SeedSequence) -> Params:
        if self._engine is None:
            return self._space.from_unit(())
        if trial >= 2**_BITS:
            raise UsageError(f"trial {trial}: the sobol sampler ends at {2**_BITS} trials")
        block, index = divmod(trial, _BLOCK)
        if block != self._block:
            if block != self._block + 1:
                self._engine.reset()
                if block > 0:  # scipy goes astray when it is sent forward by 0
                    self._engine.fast_forward(block * _BLOCK)
            self._points = self._engine.random(_BLOCK)
            self._block = block
        return self._space.from_unit(self._points[index])


@dataclass(frozen=True, slots=True)
class SobolSampler(Sampler):
    """Point ``trial`` of a Sobol sequence, scrambled by the sweep's seed.

    The points are scipy's, which scrambles by Matousek's linear matrix scrambling with a digital shift (Owen,
    "Scrambling Sobol' and Niederreiter-Xing Points", Journal of Complexity 14, 1998; Matousek, ibid.). They are
    balanced best where the number of trials is a power of two. Over 2**30 trials, or a space with over 21,201
    params that vary, raises `UsageError`.
    """

    name: ClassVar[str] = "sobol"

    def begin(self, space: Space, *, seed: int, trials: int) -> Proposer:
        from scipy.stats import qmc  # here, because scipy takes a while to import

        if trials > 2**_BITS:
            raise UsageError(f"{trials} trials: the sobol sampler has {2**_BITS} points")
        if len(space.varying) > qmc.Sobol.MAXDIM:
            raise UsageError(f"{len(space.varying)} params: the sobol sampler takes at most {qmc.Sobol.MAXDIM}")
        if not space.varying:
            return _SobolProposer(space, None)
        # the sweep's own seeds, with no spawn key: no trial has these
        generator = Generator(PCG64(SeedSequence(seed)))
        return _SobolProposer(space, qmc.Sobol(len(space.varying), scramble=True, bits=_BITS, rng=generator))

"""A learning curve of any length in bounded memory, of which a picture shows no less than of the whole."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from caviar.messages import Floats, Ints

BLOCKS = 2048
"""A curve is kept in at most so many blocks of reports, each by its least and its greatest value: more than any
screen has columns. Up to so many reports, all are kept."""


class Envelope:
    """The metric along a main line. What is kept depends on the reports alone, not on how they came in calls.

    ``steps`` and ``values`` hold what is kept, in order, of values that are not finite one a block. Exact are the
    last value, the best finite one (of equals the first; NaN while there is none), and how many are not finite.
    """

    def __init__(self, *, maximize: bool = False) -> None:
        self._sign = -1.0 if maximize else 1.0
        self._forget()

    def _forget(self) -> None:
        self.steps: Ints = np.zeros(0, np.int64)
        self.values: Floats = np.zeros(0)
        self._place: Ints = np.zeros(0, np.int64)
        """The number of each kept report among all."""
        self._count = 0
        self.last = math.nan
        self.best = math.nan
        self.best_step = 0
        self.not_finite = 0

    def add(self, steps: Ints, values: Floats) -> None:
        """The next reports, by steps that do not fall."""
        if not len(steps):
            return
        self.last = float(values[-1])
        finite = np.isfinite(values)
        self.not_finite += len(values) - int(np.count_nonzero(finite))
        if finite.any():
            losses = np.where(finite, values * self._sign, math.inf)
            at = int(losses.argmin())
            if not losses[at] >= self.best * self._sign:  # also where there is no best yet
                self.best, self.best_step = float(values[at]), int(steps[at])
        self._place = np.concatenate([self._place, self._count + np.arange(len(steps))])
        self._count += len(steps)
        self.steps = np.concatenate([self.steps, steps])
        self.values = np.concatenate([self.values, values])
        if self._count > BLOCKS:
            self._thin()

    def _thin(self) -> None:
        size = 1 << ((self._count - 1) // BLOCKS).bit_length()
        kept = _extremes(self.values, self._place // size)
        self.steps, self.values, self._place = self.steps[kept], self.values[kept], self._place[kept]

    def back_to(self, step: int) -> tuple[Ints, Floats]:
        """Forget what came after a step; returns it, from the last report before it on. What is exact otherwise,
        and changes by this, is from now on that of the reports that were kept."""
        left = int(np.searchsorted(self.steps, step, side="right"))
        if left == len(self.steps):
            return self.steps[:0], self.values[:0]
        begin = max(left - 1, 0)
        gone = self.steps[begin:].copy(), self.values[begin:].copy()
        steps, values, self._place = self.steps[:left].copy(), self.values[:left].copy(), self._place[:left].copy()
        best, best_step, places = self.best, self.best_step, self._place
        not_finite = self.not_finite - int(np.count_nonzero(~np.isfinite(self.values[left:])))
        self._forget()
        self.add(steps, values)
        self._place = places
        self._count = int(places[-1]) + 1 if left else 0
        self.not_finite = max(not_finite, self.not_finite)
        if best_step <= step and not math.isnan(best):
            self.best, self.best_step = best, best_step
        return gone


def _extremes(values: Floats, block: Ints) -> Ints:
    """Where, in each block, the least and the greatest finite value stand, and one that is not finite."""
    finite = np.isfinite(values)
    picked = [_first_of_each(block, ~finite)]
    first = np.flatnonzero(np.r_[True, block[1:] != block[:-1]])
    lengths = np.diff(np.r_[first, len(block)])
    for sign in (1.0, -1.0):
        signed = np.where(finite, values * sign, math.inf)
        least = np.repeat(np.minimum.reduceat(signed, first), lengths)
        picked.append(_first_of_each(block, finite & (signed == least)))
    return np.unique(np.concatenate(picked))


def _first_of_each(block: Ints, wanted: npt.NDArray[np.bool_]) -> Ints:
    """The first wanted row of each block that has one."""
    rows = np.flatnonzero(wanted)
    new = np.ones(len(rows), np.bool_)
    new[1:] = block[rows[1:]] != block[rows[:-1]]
    return rows[new]

"""How far trials get: where those that ended did so, those under way counted as far as they have come."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from caviar.messages import Floats, Ints

WEIGHT = 6.0
"""What was expected before the sweep ran counts as much as so many trials seen at the same step."""


@dataclass(frozen=True, slots=True)
class Survival:
    """How many trials go on past each step, after Kaplan and Meier (1958): one under way counts as one that did
    not end up to where it is. By ended trials alone most would pass for short, as long ones end late."""

    steps: Ints
    """Where trials end before the limit, rising."""
    left: Floats
    """The share of all that goes on past each."""
    limit: int
    """Where all others end."""

    @classmethod
    def of(
        cls, ended: Mapping[int, int], under_way: Ints, *, limit: int, expected: Mapping[int, float] | None = None
    ) -> Survival:
        """``ended``: trials by the step they ended at; ``under_way``: the steps of the others; ``expected``: how
        many were expected to end where, up to the limit."""
        expected = expected or {}
        steps = np.array(sorted({step for step in (*ended, *expected) if step < limit}), np.int64)
        deaths = np.array([ended.get(step, 0) for step in steps.tolist()], np.float64)
        beyond = sum(count for step, count in ended.items() if step >= limit)
        at_risk = _from_here(deaths, beyond) + len(under_way) - np.searchsorted(np.sort(under_way), steps)
        stops = np.array([expected.get(step, 0.0) for step in steps.tolist()], np.float64)
        reach = _from_here(stops, sum(count for step, count in expected.items() if step >= limit))
        weight = np.where((stops > 0) & (reach > 0), WEIGHT, 0.0)
        deaths += weight * stops / np.maximum(reach, 1e-12)
        ends = deaths / np.maximum(at_risk + weight, 1e-12)
        left = np.cumprod(1 - np.clip(ends, 0, 1)).astype(np.float64)
        return cls(steps, left, limit)

    def ends(self, step: Ints, chance: Floats) -> Ints:
        """Where trials end that have come to these steps: each by a number drawn evenly from 0 to 1."""
        past = np.r_[1.0, self.left][np.searchsorted(self.steps, step, side="right")]
        place = np.searchsorted(-self.left, -past * chance, side="right")
        found: Ints = np.maximum(np.r_[self.steps, self.limit][place], step)
        return found


def _from_here(counts: Floats, beyond: float) -> Floats:
    """How many end at each step or later."""
    found: Floats = np.cumsum(counts[::-1])[::-1] + beyond
    return found

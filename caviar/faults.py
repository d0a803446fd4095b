"""A fault that repeats across many trials: a bug, not bad luck."""

from __future__ import annotations

import math
import re

SAME_FAULT = "the same fault in"
"""How the reason begins for which a sweep is stopped early."""

LEAST_ATTEMPTS = 10
LEAST_TRIALS = 4
BY_CHANCE = 1e-6
"""A streak of failures that chance would bring no more often than this is taken for a bug."""


class FaultStreak:
    """Attempts that failed one after another with the same fault.

    How many are too many depends on how often attempts of this sweep have failed before: where most params of a
    space are bad, long streaks mean little.
    """

    def __init__(self) -> None:
        self._ended = 0
        self._failed = 0
        """Both up to the streak."""
        self._kind = ""
        self._attempts = 0
        self._trials: set[int] = set()

    def count(self, trial: int, reason: str, *, again: bool = False) -> str | None:
        """An attempt failed. Returns what to stop the sweep for, once that cannot be chance; else None.

        ``again``: the trial had failed before. Where that was before the streak, the failure is no part of it:
        that a trial of bad params fails once more says nothing of the others, and after a pause or a resume the
        retries of many such trials come in a row.
        """
        if again and trial not in self._trials:
            return None
        kind = _kind(reason)
        if kind != self._kind:
            self.over(ended=0)
            self._kind = kind
        self._attempts += 1
        self._trials.add(trial)
        if len(self._trials) < LEAST_TRIALS or self._attempts < self._limit():
            return None
        told = f"{SAME_FAULT} {self._attempts} attempts in a row, of {len(self._trials)} trials: {reason}"
        self.over(ended=0)
        return told

    def over(self, *, ended: int = 1) -> None:
        """The streak is over: so many attempts came to another end."""
        self._ended += self._attempts + ended
        self._failed += self._attempts
        self._kind, self._attempts = "", 0
        self._trials.clear()

    def _limit(self) -> float:
        often = (self._failed + 1) / (self._ended + 4)  # before anything has ended: one in four
        return max(LEAST_ATTEMPTS, math.log(BY_CHANCE) / math.log(often))


def _kind(reason: str) -> str:
    """What failures of the same cause have in common: not their numbers, addresses and steps."""
    return re.sub(r"0x[0-9a-f]+|\d+", "#", reason)[:120]

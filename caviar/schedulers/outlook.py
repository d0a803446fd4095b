"""What a scheduler expects of a sweep before it runs: how many trials come to each rung, and past it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class RungAhead:
    """A rung that trials are to come to, and how many are expected."""

    step: int
    reach: float
    """Trials that are judged here."""
    go_on: float
    """Those of them that go on because they are good enough."""
    spared: float = 0.0
    """Those that are let go on to their end all the same."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cohort:
    """Trials with the same rungs."""

    trials: float
    rungs: Sequence[RungAhead] = ()
    name: str | None = None
    """What tells it from the others; None: there is one."""

    @property
    def to_the_end(self) -> float:
        """How many are expected to train to their end."""
        last = self.rungs[-1].go_on if self.rungs else self.trials
        return last + sum(rung.spared for rung in self.rungs)

    def ends(self, limit: int) -> list[tuple[int, float]]:
        """Where trials are expected to end, and how many, where the rest ends at the step ``limit``."""
        stopped = [(rung.step, rung.reach - rung.go_on - rung.spared) for rung in self.rungs]
        return [*stopped, (limit, self.to_the_end)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Outlook:
    """What is expected of so many trials."""

    cohorts: Sequence[Cohort]
    least_step: int | None = None
    """None: as the cohorts have it. Else how many stop depends on the curves alone: any number does, none before
    this step, and all may train to their end."""
    rehearsed: Sequence[float] = ()
    """Where it was rehearsed, the steps of all trials together, of each rehearsal; empty: there is no chance in
    it, or no end."""

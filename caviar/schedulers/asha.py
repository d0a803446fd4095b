"""ASHA, the asynchronous successive halving algorithm, in its stopping form."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from typing import ClassVar

from caviar.schedulers.base import Judge, Scheduler, Verdict
from caviar.schedulers.outlook import Outlook
from caviar.schedulers.rehearsal import rehearsed
from caviar.schedulers.rung import GeometricRungs, Rung, Rungs, check_reduction_factor, check_whole
from caviar.schedulers.sparing import check_spare


@dataclass(frozen=True, slots=True)
class Asha(Scheduler):
    """At each rung, lets a trial go on if it is among the best so far there; nobody ever waits for others.

    Rungs lie at ``grace_steps * reduction_factor**k``, k = 0, 1, …, below max_step; without a max_step there is
    no last one, and a max_step of at most grace_steps leaves none. A trial goes on if its loss is among the best
    ``max(1, floor(n / reduction_factor))`` of the n losses seen at the rung, its own included. So the first one
    to arrive always goes on. One that stops cannot come back, as it can in the paper's Algorithm 2, where the
    trial would have to be paused instead.

    ``grace_steps``: no trial stops before this step. ``reduction_factor``: above 1; about one in so many goes on
    at each rung. It need not be whole: fractional rungs are rounded to the nearest step, and always rise.
    ``spare``: with this probability a trial that is to be stopped runs to its end all the same, judged at no
    further rung. Such trials are a control group, by which `Result.audit` tells what stopping cost; decisions
    about the others do not change.

    Ties with the last loss that is good enough go on. Non-finite losses arrive as ``inf``, a loss like any other
    and the worst: they count among the n, and they tie with each other, so one goes on exactly where fewer
    finite losses were seen than may go on. Which trials go on depends on the order in which they arrive.

    Costs O(log n) for the n-th trial at a rung, and about 32 bytes for each trial at each rung it reached.
    Wrong arguments raise `UsageError`.

    Source: Li, Jamieson, Rostamizadeh, Gonina, Ben-tzur, Hardt, Recht and Talwalkar, "A System for Massively
    Parallel Hyperparameter Tuning", MLSys 2020, arXiv:1810.05934.
    """

    name: ClassVar[str] = "asha"
    grace_steps: int = 1
    reduction_factor: float = 3
    _: KW_ONLY
    spare: float = 0.0

    def __post_init__(self) -> None:
        check_whole("Asha", grace_steps=self.grace_steps)
        check_reduction_factor("Asha", self.reduction_factor)
        check_spare("Asha", self.spare)

    def begin(self, *, max_step: int | None) -> Judge:
        rungs = GeometricRungs(self.grace_steps, self.reduction_factor, max_step=max_step)
        return AshaJudge(rungs, self.reduction_factor)

    def outlook(self, trials: int, *, max_step: int | None, begin: int = 0) -> Outlook:
        """About one in ``reduction_factor`` goes on past each rung."""
        return rehearsed(
            lambda: self.begin(max_step=max_step), trials, max_step=max_step, begin=begin, spare=self.spare
        )


class AshaJudge(Judge):
    """Judges against all losses seen at the same rung; of a trial it keeps nothing but those."""

    __slots__ = ("_reduction_factor", "_rungs", "_seen")

    def __init__(self, rungs: Rungs, reduction_factor: float) -> None:
        self._rungs = rungs
        self._reduction_factor = reduction_factor
        self._seen: dict[int, Rung] = {}

    def first_rung(self, trial: int) -> int | None:
        return self._rungs.first

    def rung_after(self, trial: int, rung: int) -> int | None:
        return self._rungs.after(rung)

    def extend(self, max_step: int | None) -> None:
        self._rungs.extend(max_step)

    def decide(self, trial: int, rung: int, loss: float) -> Verdict:
        seen = self._seen.get(rung)
        # among the best k, itself counted: fewer than k of the others are lower, so the k-th of them is not
        if seen is None or loss <= seen.kth_lowest(self._places(len(seen) + 1)):
            return Verdict.CONTINUE
        return Verdict.STOP

    def observe(self, trial: int, rung: int, loss: float) -> None:
        seen = self._seen.get(rung)
        if seen is None:
            seen = self._seen[rung] = Rung()
        seen.add(loss, self._places(len(seen) + 1))

    def _places(self, n: int) -> int:
        """How many of n may go on. One more trial adds at most one, as reduction_factor is above 1."""
        return int(n / self._reduction_factor) or 1

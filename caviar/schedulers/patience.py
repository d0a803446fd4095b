"""Stops trials that no longer improve."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from typing import ClassVar

from caviar.schedulers.base import Judge, Scheduler, Verdict
from caviar.schedulers.outlook import Cohort, Outlook
from caviar.schedulers.rung import RegularRungs, check_number, check_whole
from caviar.schedulers.sparing import check_spare


@dataclass(frozen=True, slots=True)
class Patience(Scheduler):
    """Stops a trial that has not improved for a while; trials are not compared with each other.

    A trial is judged at ``grace_steps`` and then every ``every`` steps, below max_step. Its loss there improves
    if it is lower by more than ``min_delta`` than the last one that improved, so that small improvements add
    up; the first one judged counts as an improvement, whatever it is. A trial stops at the ``patience``-th
    judged step in a row that does not improve.

    ``patience``: judged steps. ``min_delta``: in the metric's own units. ``grace_steps``: the first step that is
    judged. ``every``: steps between those judged, at each of which `report` waits for an answer. A training
    function that reports every 10 steps wants ``every=10, grace_steps=10``: a report that passed several judged
    steps counts at each of them with the same loss, and so uses up the patience. ``spare``: as in `Asha`.

    Ties do not improve. Non-finite losses arrive as ``inf``: they do not improve, and any finite loss improves
    on them. Costs O(1); nothing is kept of a trial that ended. Wrong arguments raise `UsageError`.

    Source: Goodfellow, Bengio and Courville, "Deep Learning", MIT Press 2016, algorithm 7.1, with a threshold.
    """

    name: ClassVar[str] = "patience"
    patience: int
    min_delta: float = 0.0
    _: KW_ONLY
    grace_steps: int = 1
    every: int = 1
    spare: float = 0.0

    def __post_init__(self) -> None:
        check_whole("Patience", patience=self.patience, grace_steps=self.grace_steps, every=self.every)
        check_number("Patience", min_delta=self.min_delta)
        check_spare("Patience", self.spare)

    def begin(self, *, max_step: int | None) -> Judge:
        rungs = RegularRungs(self.grace_steps, self.every, max_step=max_step)
        return PatienceJudge(rungs, self.patience, min_delta=self.min_delta)

    def outlook(self, trials: int, *, max_step: int | None, begin: int = 0) -> Outlook:
        """None stops before it was judged so often that its patience can be used up: the first time counts as an
        improvement."""
        rungs = RegularRungs(self.grace_steps, self.every, max_step=max_step)
        least = rungs.after(begin) if begin else rungs.first
        for _ in range(self.patience):
            least = None if least is None else rungs.after(least)
        return Outlook(cohorts=(Cohort(trials=trials),), least_step=least)


class PatienceJudge(Judge):
    """Keeps two numbers of each running trial: the last loss that improved, and the judged steps since."""

    __slots__ = ("_min_delta", "_patience", "_rungs", "_running")

    def __init__(self, rungs: RegularRungs, patience: int, *, min_delta: float) -> None:
        self._rungs = rungs
        self._patience = patience
        self._min_delta = min_delta
        self._running: dict[int, tuple[float, int]] = {}

    def first_rung(self, trial: int) -> int | None:
        return self._rungs.first

    def rung_after(self, trial: int, rung: int) -> int | None:
        return self._rungs.after(rung)

    def extend(self, max_step: int | None) -> None:
        self._rungs.extend(max_step)

    def decide(self, trial: int, rung: int, loss: float) -> Verdict:
        return Verdict.STOP if self._count(trial, loss)[1] >= self._patience else Verdict.CONTINUE

    def observe(self, trial: int, rung: int, loss: float) -> None:
        self._running[trial] = self._count(trial, loss)

    observe_alone = observe

    def forget(self, trial: int) -> None:
        self._running.pop(trial, None)

    def _count(self, trial: int, loss: float) -> tuple[float, int]:
        before = self._running.get(trial)
        # two infs differ by NaN, which is not above min_delta: no improvement, as it should be
        if before is None or before[0] - loss > self._min_delta:
            return loss, 0
        return before[0], before[1] + 1

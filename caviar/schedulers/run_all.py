"""Every trial runs to its end."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from caviar.schedulers.base import Judge, Scheduler, Verdict


@dataclass(frozen=True, slots=True)
class RunAll(Scheduler):
    """Judges nothing: every trial runs to its end, and no report ever waits for an answer."""

    name: ClassVar[str] = "run_all"

    def begin(self, *, max_step: int | None) -> Judge:
        return RunAllJudge()


class RunAllJudge(Judge):
    """Has no rungs, so nobody is judged."""

    __slots__ = ()

    def first_rung(self, trial: int) -> int | None:
        return None

    def rung_after(self, trial: int, rung: int) -> int | None:
        return None

    def decide(self, trial: int, rung: int, loss: float) -> Verdict:
        return Verdict.CONTINUE

    def observe(self, trial: int, rung: int, loss: float) -> None:
        pass

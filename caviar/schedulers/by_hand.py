"""A hand in place of the scheduler: every so many steps the trial waits until rules have looked at it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from caviar.errors import UsageError
from caviar.schedulers.base import Judge, Scheduler, Verdict


@dataclass(frozen=True, slots=True)
class ByHand(Scheduler):
    """Stops nothing by itself; ``every`` so many steps the report waits until the driver has seen it, and has sent
    what people and rules want of the trial. Raises `UsageError` unless ``every`` is a whole number from 1 on."""

    name: ClassVar[str] = "by_hand"
    every: int = 1

    def __post_init__(self) -> None:
        if isinstance(self.every, bool) or not isinstance(self.every, int) or self.every < 1:
            raise UsageError(f"ByHand(every={self.every!r:.60}): needs a whole number from 1 on")

    def begin(self, *, max_step: int | None) -> Judge:
        return ByHandJudge(self.every)


class ByHandJudge(Judge):
    """Lets every trial go on."""

    __slots__ = ("every",)
    recorded = False

    def __init__(self, every: int) -> None:
        self.every = every

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ByHandJudge) and self.every == other.every

    __hash__ = None  # type: ignore[assignment]

    def first_rung(self, trial: int) -> int | None:
        return self.every

    def rung_after(self, trial: int, rung: int) -> int | None:
        return (rung // self.every + 1) * self.every

    def decide(self, trial: int, rung: int, loss: float) -> Verdict:
        return Verdict.CONTINUE

    def observe(self, trial: int, rung: int, loss: float) -> None:
        pass

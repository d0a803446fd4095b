"""The contract that every scheduler keeps.

A `Scheduler` is a declaration: frozen, comparable, written into sweep.json. What it does within one sweep is a
`Judge`, which decides at rungs without changing, and changes only by observing recorded decisions: so replaying
the record gives exactly the judge that wrote it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from enum import StrEnum
from typing import Any, ClassVar

from caviar.declared import Declared
from caviar.messages import SPARE
from caviar.schedulers.outlook import Cohort, Outlook


class Verdict(StrEnum):
    """What a scheduler may decide at a rung."""

    CONTINUE = "continue"
    STOP = "stop"
    SPARE = SPARE
    """To be stopped, and let go on all the same, to its end: what a judge says is never this."""


class Judge(ABC):
    """Judges the trials of one sweep. Values are losses: less is better, and non-finite ones arrive as ``inf``."""

    recorded: ClassVar[bool] = True
    """Whether its decisions are recorded; no need where it always goes on, and learns nothing from it."""

    @abstractmethod
    def first_rung(self, trial: int) -> int | None:
        """The first step at which this trial is judged, or None: never."""

    @abstractmethod
    def rung_after(self, trial: int, rung: int) -> int | None:
        """The rung that follows ``rung`` for this trial, or None: it runs to its end."""

    @abstractmethod
    def decide(self, trial: int, rung: int, loss: float) -> Verdict:
        """Judge a trial that reached ``rung`` with ``loss``, counting it among those seen: continue or stop.
        Changes nothing."""

    @abstractmethod
    def observe(self, trial: int, rung: int, loss: float) -> None:
        """A decision about this trial at this rung was recorded: count it. Called once for a trial and a rung; not
        after the rung at which it is stopped or spared."""

    def observe_alone(self, trial: int, rung: int, loss: float) -> None:
        """The same of a trial that was touched by hand: it counts for itself, and not among those that others are
        compared with, from then on."""

    def extend(self, max_step: int | None) -> None:
        """Trials train up to this step from now on: rungs may follow those that there were. What was seen at a
        rung goes on to count."""

    def forget(self, trial: int) -> None:
        """The trial ended: drop what only a running trial needs. What other trials are compared with stays."""


class Scheduler(Declared):
    """Declares how trials are judged."""

    spare: float = 0.0
    """The share of the trials to be stopped that run to their end all the same, from 0 on and below 1."""

    def to_dict(self) -> Mapping[str, Any]:
        data = dict(super().to_dict())
        if not self.spare:  # as before there was one: a sweep of then can be gone on with
            data.pop("spare", None)
        return data

    def judges_as(self, other: Scheduler) -> bool:
        """Whether both judge alike, whatever share they spare."""
        mine, theirs = ({**one.to_dict(), "spare": None} for one in (self, other))
        return mine == theirs

    @abstractmethod
    def begin(self, *, max_step: int | None) -> Judge:
        """Start judging trials that train up to ``max_step`` (None: without limit). Rungs lie below max_step."""

    def outlook(self, trials: int, *, max_step: int | None, begin: int = 0) -> Outlook:
        """How far so many trials are expected to train, that begin after the step ``begin``. Where that depends on
        their curves alone: to the end, unless they are stopped, and never before the first rung."""
        judge = self.begin(max_step=max_step)
        first = judge.rung_after(0, begin) if begin else judge.first_rung(0)
        return Outlook(cohorts=(Cohort(trials=trials),), least_step=first)

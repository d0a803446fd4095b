"""The contract between the runner and whatever runs trials.

An executor has workers; a worker has slots, and a slot trains one trial at a time. The executor delivers what
arrives, reports in columns, by calling back on the runner's own thread: inline, the runner is called from within
the training function; on Ray, from `Executor.poll`. Commands may be sent from within such a call.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from caviar.execution.resources import Resources
from caviar.execution.vitals import Vitals
from caviar.messages import Command, Event, Reports


class TrialFiles(Protocol):
    """Where a trial leaves files. Travels to workers with the job, so it pickles."""

    def visible(self) -> bool:
        """Whether this machine sees the sweep folder."""

    def restore(self, trial: int, checkpoint: tuple[int, int]) -> Path:
        """The folder of a committed checkpoint, by its (attempt, step)."""

    def checkpoint(self, trial: int, attempt: int, step: int) -> AbstractContextManager[Path]:
        """A folder to write into; it becomes the trial's checkpoint as a whole when the block ends without
        an exception, and leaves nothing behind otherwise."""

    def log(self, trial: int) -> Path:
        """A file to append to what the trial prints; asked for when it prints."""

    def logged(self, trial: int, path: Path) -> None:
        """The file that `log` gave is written and closed: bring it to its place, as far as it is not there. Never
        fails."""

    def settle(self, trial: int) -> None:
        """An attempt of the trial has ended in this process: forget copies. Never fails."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What every trial of a sweep has in common."""

    name: str
    train: Callable[[Any], object]
    setup: Callable[[], object] | None
    metric: str
    minimize: bool
    max_step: int | None
    """The step at which a trial is complete, unless its launch says otherwise."""
    stop_on_nan: bool
    judged_at_end: bool = False
    """Whether a trial is judged at its max_step too."""
    checkpoint_every: int | None
    resources: Resources
    files: TrialFiles
    trials: int
    """How many trials are to come, for those who plan ahead."""
    folder: str = ""
    """Where the sweep lies, which tells it from others of its name."""


@dataclass(frozen=True, slots=True)
class Arrivals:
    """What came from workers: first the reports, then the events, each in order."""

    reports: Sequence[Reports]
    events: Sequence[Event]


Deliver = Callable[[Arrivals], int]
"""Takes what arrived, and returns the delivery's number, counted from 1."""


class Executor(ABC):
    """Runs trials. One executor serves one sweep; `start` comes first and `close` last, always."""

    @abstractmethod
    def start(self, job: Job, deliver: Deliver) -> None:
        """Get ready. A job that it cannot run raises `UsageError` here, before anything was written."""

    def expect(self, trials: int) -> None:
        """So many trials are still to be launched, as far as is known. An executor that can have more or fewer
        workers goes by it; a lower bound, since trials may fail and be launched again."""

    @abstractmethod
    def room(self) -> int:
        """How many more trials it would take now, some of them in hand so that no worker waits between trials."""

    @abstractmethod
    def send(self, commands: Sequence[Command]) -> None:
        """Carry out commands, in order. Never blocks for long."""

    @abstractmethod
    def poll(self, timeout_s: float) -> None:
        """Let trials go on, and deliver what arrived; returns after at most about ``timeout_s``, inline after at
        most one trial. All workers lost beyond replacement: `ExecutionError`."""

    def fetch(self) -> None:
        """The sweep is interrupted: deliver what workers have by now, without waiting for them to train on."""
        self.poll(0.0)

    def acknowledge(self, delivery: int) -> None:
        """Everything up to this delivery is committed: workers may forget it."""

    def show(self, vitals: Vitals) -> None:
        """How the sweep stands, every second, for whoever watches the cluster. Never fails, never waits."""

    @abstractmethod
    def now_us(self) -> int:
        """The time, real or virtual: microseconds since the epoch."""

    @abstractmethod
    def close(self) -> None:
        """End all workers and what they train, and let go of what was started. May be called twice."""

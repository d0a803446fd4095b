"""Trial states, their legal moves, and what the controller keeps of a trial that has not ended."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, NamedTuple

from caviar.errors import IllegalMoveError

Params = Mapping[str, Any]
"""One trial's chosen values: JSON scalars by param name."""

MAX_TRIALS = 2**27
"""No sweep has more trials. Arrays are as long as the highest trial's number, so a file that names a higher one is
refused."""


class TrialState(StrEnum):
    """Where a trial stands. The values are the words of ``Result.trials().status``."""

    PENDING = "pending"
    RUNNING = "running"
    PAUSED = "paused"
    COMPLETED = "completed"
    STOPPED = "stopped"
    FAILED = "failed"

    @property
    def final(self) -> bool:
        """Whether the trial has ended. Only going on with its sweep, or extending that, leads out of an end."""
        return self in _ENDS


_ENDS = frozenset({TrialState.COMPLETED, TrialState.STOPPED, TrialState.FAILED})

MOVES: Mapping[TrialState, frozenset[TrialState]] = {
    # pending -> failed: its worker could not even begin it; pending -> stopped: stopped before it began
    TrialState.PENDING: frozenset({TrialState.RUNNING, TrialState.STOPPED, TrialState.FAILED}),
    # running -> pending: its attempt failed, or its worker or driver was lost, and it has another attempt
    # or it was rolled back
    TrialState.RUNNING: frozenset(
        {TrialState.PENDING, TrialState.PAUSED, TrialState.COMPLETED, TrialState.STOPPED, TrialState.FAILED}
    ),
    # paused -> pending, failed: its process or its driver was lost while it waited; paused -> completed: a thread
    # of its own waited, and its function returned
    TrialState.PAUSED: frozenset(
        {TrialState.RUNNING, TrialState.PENDING, TrialState.COMPLETED, TrialState.STOPPED, TrialState.FAILED}
    ),
    # completed -> pending: the sweep was extended to a further step, and it trains on from its checkpoint
    TrialState.COMPLETED: frozenset({TrialState.PENDING}),
    # stopped -> pending: its sweep was stopped before the trial began, and is gone on with
    TrialState.STOPPED: frozenset({TrialState.PENDING}),
    TrialState.FAILED: frozenset(),
}
"""The transition table: every legal move of a trial, and no other."""


ORIGIN = -1
"""Stands for the attempt that wrote a checkpoint where that was no attempt of this sweep's: its origin."""


class Saved(NamedTuple):
    """A committed checkpoint."""

    attempt: int
    """That wrote it; `ORIGIN`: the sweep began with it."""
    step: int
    value: float | None = None
    """The metric as last reported before it."""


@dataclass(slots=True)
class TrialRecord:
    """A trial on its way. Dropped when the trial ends, so that memory does not grow with finished trials."""

    trial: int
    stage: int
    params: Params
    seed: int
    state: TrialState = TrialState.PENDING
    attempt: int = 0
    faults: int = 0
    """Attempts that ended by the trial's own fault: they count against ``retries``."""
    losses: int = 0
    """Attempts that ended because their worker or node was lost: they count against a limit of their own."""
    rung: int | None = None
    """The last rung at which the scheduler judged it."""
    next_rung: int | None = None
    """The next step at which the scheduler judges, or None: never again."""
    step: int = 0
    """The last step that the controller heard of."""
    checkpoints: list[Saved] = field(default_factory=list)
    """The committed checkpoints of its main line that are kept, in order."""
    adjustments: list[tuple[int, Params]] = field(default_factory=list)
    """(step, {name: value}): from this step on it trains with these values. Those of its main line, in order."""
    by_hand: bool = False
    """Whether it was adjusted, paused or rolled back: it no longer compares with trials that were let alone."""
    spared: bool = False
    """Whether it was to be stopped, and was let go on: it runs to its end, whatever rungs may come."""
    paused: bool = False
    """Whether it is to wait."""
    stop_reason: str | None = None
    """Set once it is to stop: it ends as stopped, whatever its process does, unless it had come to its end."""
    with_sweep: bool = False
    """Whether it is to stop because its whole sweep is."""
    story: list[str] = field(default_factory=list)
    """Its moves so far, for the error that an illegal one raises."""

    @property
    def checkpoint(self) -> tuple[int, int] | None:
        """(attempt, step) of the checkpoint from which another attempt would go on."""
        return (self.checkpoints[-1].attempt, self.checkpoints[-1].step) if self.checkpoints else None

    @property
    def began(self) -> bool:
        """Whether any attempt of it has begun."""
        return self.state is TrialState.RUNNING or TrialState.RUNNING.value in self.story

    def move(self, to: TrialState) -> None:
        """Make a move; one that the table does not have raises `IllegalMoveError` with the trial's story."""
        if to not in MOVES[self.state]:
            story = " -> ".join([*self.story, self.state.value])
            raise IllegalMoveError(
                f"trial {self.trial}, attempt {self.attempt}: no move from {self.state} to {to} ({story})"
            )
        self.story.append(self.state.value)
        self.state = to

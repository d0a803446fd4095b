"""Events that are never recorded: they only ask the controller for something."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from caviar.messages.recorded import CommandReceived, Event, TrialReopened


@dataclass(frozen=True, slots=True)
class RoomOffered(Event):
    """The executor would take this many more trials now."""

    kind: ClassVar[str] = "room_offered"
    trials: int


@dataclass(frozen=True, slots=True)
class RungReached(Event):
    """A trial waits at a rung for the scheduler's decision; ``value`` is the metric as reported."""

    kind: ClassVar[str] = "rung_reached"
    trial: int
    attempt: int
    step: int
    value: float


@dataclass(frozen=True, slots=True)
class Applied(Event):
    """A trial took an adjustment, the one of this command; ``step``: the first that it trains with it."""

    kind: ClassVar[str] = "applied"
    time_us: int
    trial: int
    attempt: int
    step: int
    command: str


@dataclass(frozen=True, slots=True)
class AttemptEnded(Event):
    """A training function came to its end. ``outcome``: returned, stopped, failed or lost."""

    kind: ClassVar[str] = "attempt_ended"
    time_us: int
    trial: int
    attempt: int
    step: int
    """The last step reported; 0 before the first."""
    outcome: str
    reason: str | None = None
    """One line: why it was stopped, failed or lost."""
    error: str | None = None
    """The traceback or cause in full."""
    value: float | None = None
    """The metric as last reported."""
    best: float | None = None
    """The metric's best finite value, and the step of it."""
    best_step: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Extension:
    """How a sweep is to go on beyond what it was: more trials, further steps, another space."""

    more_trials: int = 0
    max_step: int | None = None
    """None: as before."""
    space: Mapping[str, Any] | None = None
    """``Space.to_dict()``, for a new stage; None: as before."""
    zoom: Sequence[Any] | None = None
    """As in `StageOpened`."""
    reopened: Sequence[TrialReopened] = ()
    """Completed trials that are to train on, where ``max_step`` is given."""


@dataclass(frozen=True, slots=True)
class ExtensionRequested(Event):
    """A person's command to extend the sweep, with what the record says of completed trials that could train on;
    or why that could not be read."""

    kind: ClassVar[str] = "extension_requested"
    command: CommandReceived
    reopened: Sequence[TrialReopened] = ()
    unreadable: str | None = None


@dataclass(frozen=True, slots=True)
class Ruled(Event):
    """A rule's command to a trial that waits at a rung, after it reported ``step``."""

    kind: ClassVar[str] = "ruled"
    command: CommandReceived
    step: int


@dataclass(frozen=True, slots=True)
class Narrowed(Event):
    """The space of the next stage, as it follows from how trials did: the answer to `Narrow`."""

    kind: ClassVar[str] = "narrowed"
    stage: int
    space: Mapping[str, Any]
    zoom: Sequence[Any]


@dataclass(frozen=True, slots=True)
class StopRequested(Event):
    """Stop everything: the time budget is spent, or the sweep cannot go on."""

    kind: ClassVar[str] = "stop_requested"
    reason: str

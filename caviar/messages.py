"""What travels through the house: events (what happened), commands (what to do), and columnar reports.

Events that say ``recorded`` below are rows of the store's events table; the controller's state is a fold over
them alone. The others only ask the controller for something. All times are microseconds since the epoch, UTC.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from caviar.trial import Params

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

LAST_STEP = 2**53
"""Steps travel among floats, which hold whole numbers exactly up to here."""

RESERVED_METRICS = frozenset({"trial", "attempt", "step", "time"})
"""Names that no metric has: those of other columns."""

BY_HAND = "by hand"
"""The reason of what a person did."""

SPARE = "spare"
"""The decision about a trial that was to be stopped, and runs to its end all the same."""

SCRATCH = "CAVIAR_SCRATCH"
"""The environment variable that names a folder of this machine for what a process keeps while it lives."""


@dataclass(frozen=True, slots=True)
class Reports:
    """A batch of reports that carry the same metrics, for any number of trials: n rows, k metrics.

    The reports of one attempt are numbered by ``seq`` from 0, across the blocks of all metric names.
    """

    names: tuple[str, ...]
    trial: Ints
    attempt: Ints
    seq: Ints
    step: Ints
    time_us: Ints
    values: Floats
    """Shape (n, k); NaN and infinities as reported."""

    def __len__(self) -> int:
        return len(self.trial)


class Event:
    """Something that happened. ``kind`` is its name in the events table."""

    __slots__ = ()
    kind: ClassVar[str]


class Recorded(Event):
    """An event that is a row of the events table."""

    __slots__ = ()
    time_us: int


# --- asked of the controller, never recorded -------------------------------------------------------


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
class StopRequested(Event):
    """Stop everything: the time budget is spent, or the sweep cannot go on."""

    kind: ClassVar[str] = "stop_requested"
    reason: str


# --- recorded --------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class DriverStarted(Recorded):
    """A driver took the sweep in hand."""

    kind: ClassVar[str] = "driver_started"
    time_us: int
    host: str
    pid: int
    version: str
    driven_s: float | None = None
    """For how long earlier drivers had the sweep in hand; None: this is the first."""


@dataclass(frozen=True, slots=True)
class DriverStopped(Recorded):
    """A driver let go of a sweep that has not ended: interrupted, or it failed."""

    kind: ClassVar[str] = "driver_stopped"
    time_us: int
    reason: str


@dataclass(frozen=True, slots=True)
class SweepStarted(Recorded):
    """The sweep began: so many trials are wanted."""

    kind: ClassVar[str] = "sweep_started"
    time_us: int
    trials: int


@dataclass(frozen=True, slots=True)
class Extended(Recorded):
    """From now on so many trials are wanted, and they train up to this step (None: until they return)."""

    kind: ClassVar[str] = "extended"
    time_us: int
    trials: int
    max_step: int | None


@dataclass(frozen=True, slots=True)
class StageOpened(Recorded):
    """From now on trials are sampled from this space (``Space.to_dict()``)."""

    kind: ClassVar[str] = "stage_opened"
    time_us: int
    stage: int
    space: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class DeclarationChanged(Recorded):
    """The sweep goes on with another declaration than before: new values of sweep.json, by name."""

    kind: ClassVar[str] = "declaration_changed"
    time_us: int
    changes: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class TrialSampled(Recorded):
    """A trial exists: its params are this record, and are never drawn again."""

    kind: ClassVar[str] = "trial_sampled"
    time_us: int
    trial: int
    stage: int
    params: Params
    seed: int


@dataclass(frozen=True, slots=True)
class TrialStarted(Recorded):
    """A worker began an attempt; ``restored``: the step of the checkpoint it began from, or None."""

    kind: ClassVar[str] = "trial_started"
    time_us: int
    trial: int
    attempt: int
    worker: str
    restored: int | None = None


@dataclass(frozen=True, slots=True)
class TrialReopened(Recorded):
    """A trial that had ended is to be trained: a completed one trains on, as the sweep was extended to a further
    step, from the checkpoint of ``step`` that the attempt ``checkpoint`` wrote; one that was stopped with its
    whole sweep, before it began, begins (``checkpoint`` None). ``rung``: the last rung at which it was judged."""

    kind: ClassVar[str] = "trial_reopened"
    time_us: int
    trial: int
    attempt: int
    step: int
    stage: int
    params: Params
    seed: int
    checkpoint: int | None = None
    rung: int | None = None
    adjustments: Sequence[Any] = ()
    """(step, {name: value}) of each adjustment up to here."""
    saved: Sequence[Any] = ()
    """(attempt, step, the metric before it or None) of the checkpoints that are kept, in order; empty: that one
    alone."""
    by_hand: bool = False
    """Whether it was adjusted, paused or rolled back."""
    ended: str | None = None
    """As what it had ended; None: as completed, and without a checkpoint as stopped."""
    spared: bool = False
    """Whether it was spared, and so is judged no more."""


@dataclass(frozen=True, slots=True)
class Adjusted(Recorded):
    """Params of a running trial were changed; ``step``: the first that was trained with the new values."""

    kind: ClassVar[str] = "adjusted"
    time_us: int
    trial: int
    attempt: int
    step: int
    old: Params
    new: Params
    command: str | None = None
    """The id of the command that asked for it."""
    by: str = BY_HAND
    """Who asked: a person, or the rule of this name."""
    note: str | None = None


@dataclass(frozen=True, slots=True)
class Paused(Recorded):
    """A trial waits after ``step``, the last that it reported, and keeps its slot."""

    kind: ClassVar[str] = "paused"
    time_us: int
    trial: int
    attempt: int
    step: int
    by: str = BY_HAND
    note: str | None = None


@dataclass(frozen=True, slots=True)
class Unpaused(Recorded):
    """A trial that waited trains on after ``step``."""

    kind: ClassVar[str] = "unpaused"
    time_us: int
    trial: int
    attempt: int
    step: int
    by: str = BY_HAND
    note: str | None = None


@dataclass(frozen=True, slots=True)
class RolledBack(Recorded):
    """A trial goes back: its next attempt, ``attempt``, begins after ``step``, from the checkpoint that attempt
    ``checkpoint`` wrote there (None: from its beginning, step 0). Adjustments after that step are dropped."""

    kind: ClassVar[str] = "rolled_back"
    time_us: int
    trial: int
    attempt: int
    step: int
    from_step: int
    """The last step that the attempt before had reported."""
    checkpoint: int | None = None
    superseded: Sequence[Sequence[int]] = ()
    """(attempt, step) of the checkpoints that are removed: those of the branch that was left."""
    command: str | None = None
    by: str = BY_HAND
    note: str | None = None


@dataclass(frozen=True, slots=True)
class Adopted(Recorded):
    """A trial took over what a fork of it came to: trial ``from_trial`` of the sweep ``path``. Its attempt before
    has the reports of that one; its next one, ``attempt``, begins after ``step``, from that one's checkpoint,
    which lies where attempt ``checkpoint`` would have left it."""

    kind: ClassVar[str] = "adopted"
    time_us: int
    trial: int
    attempt: int
    step: int
    path: str
    from_trial: int
    from_attempt: int
    checkpoint: int
    value: float | None = None
    """The metric as last reported before the checkpoint."""
    command: str | None = None
    by: str = BY_HAND
    note: str | None = None


@dataclass(frozen=True, slots=True)
class Decided(Recorded):
    """The scheduler judged a trial at a rung. ``decision``: continue, stop, or spare: it would have stopped the
    trial, which was drawn to run to its end all the same, and is judged no more."""

    kind: ClassVar[str] = "decision"
    time_us: int
    trial: int
    attempt: int
    step: int
    rung: int
    value: float
    decision: str


@dataclass(frozen=True, slots=True)
class Checkpointed(Recorded):
    """A checkpoint of this trial is whole on the disk."""

    kind: ClassVar[str] = "checkpointed"
    time_us: int
    trial: int
    attempt: int
    step: int
    value: float | None = None
    """The metric as last reported before it."""
    superseded: Sequence[Sequence[int]] | None = None
    """(attempt, step) of the trial's checkpoints that this one makes superfluous; None: all before it."""


@dataclass(frozen=True, slots=True)
class CheckpointLost(Recorded):
    """A recorded checkpoint cannot be read any more: the trial goes back to the one before it, or to its
    beginning."""

    kind: ClassVar[str] = "checkpoint_lost"
    time_us: int
    trial: int
    attempt: int
    step: int
    reason: str


@dataclass(frozen=True, slots=True)
class AttemptFailed(Recorded):
    """An attempt ended by the trial's own fault, and the trial has another one, after ``retry_in_s``."""

    kind: ClassVar[str] = "attempt_failed"
    time_us: int
    trial: int
    attempt: int
    step: int
    reason: str
    error: str | None = None
    retry_in_s: float = 0.0


@dataclass(frozen=True, slots=True)
class AttemptLost(Recorded):
    """An attempt ended with its worker or node; the trial is not charged for it."""

    kind: ClassVar[str] = "attempt_lost"
    time_us: int
    trial: int
    attempt: int
    step: int
    reason: str


@dataclass(frozen=True, slots=True)
class StopOrdered(Recorded):
    """A trial (or with ``trial=None`` every one, and no more are started) is to stop."""

    kind: ClassVar[str] = "stop_ordered"
    time_us: int
    trial: int | None
    reason: str


@dataclass(frozen=True, slots=True)
class TrialEnded(Recorded):
    """The end of a trial. ``status``: completed, stopped or failed; the rest as in `AttemptEnded`."""

    kind: ClassVar[str] = "trial_ended"
    time_us: int
    trial: int
    attempt: int
    step: int
    status: str
    reason: str | None = None
    error: str | None = None
    value: float | None = None
    best: float | None = None
    best_step: int | None = None


@dataclass(frozen=True, slots=True)
class WorkerLost(Recorded):
    """A worker is gone; what it was training starts again elsewhere."""

    kind: ClassVar[str] = "worker_lost"
    time_us: int
    worker: str
    reason: str


@dataclass(frozen=True, slots=True)
class ProcessReplaced(Recorded):
    """A worker replaced its training process between two trials; nobody is charged."""

    kind: ClassVar[str] = "process_replaced"
    time_us: int
    worker: str
    reason: str


@dataclass(frozen=True, slots=True)
class CommandReceived(Recorded):
    """A person's command arrived through the inbox."""

    kind: ClassVar[str] = "command_received"
    time_us: int
    id: str
    command: str
    trial: int | None
    args: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class CommandAnswered(Recorded):
    """What became of a person's command, in one line."""

    kind: ClassVar[str] = "command_answered"
    time_us: int
    id: str
    applied: bool
    text: str


@dataclass(frozen=True, slots=True)
class SweepEnded(Recorded):
    """Every trial came to its end. ``reason``: done, or why it was stopped early."""

    kind: ClassVar[str] = "sweep_ended"
    time_us: int
    reason: str


@dataclass(frozen=True, slots=True)
class EventsLost(Recorded):
    """In this place stood events of the commits ``first`` to ``last``; their files were damaged, and a repair put
    this there instead."""

    kind: ClassVar[str] = "events_lost"
    time_us: int
    first: int
    last: int


@dataclass(frozen=True, slots=True)
class Repaired(Recorded):
    """The sweep folder was repaired, after all that is recorded before this."""

    kind: ClassVar[str] = "repaired"
    time_us: int
    lost: Mapping[str, Sequence[Sequence[int]]]
    """By table, the ranges of commits (first and last) whose rows are gone."""
    aside: Sequence[str]
    """The files that were set aside, by their names in the folder."""
    checkpoints: Sequence[Sequence[int]] = ()
    """Recorded checkpoints that cannot be restored any more: trial, attempt and step of each."""
    trials_before: int = 0
    """Where events were lost: trials below this number may have existed."""
    attempts: int = 0
    """Where events were lost: no trial has had an attempt above this number."""


# --- commands to the executor ----------------------------------------------------------------------


class Command:
    """Something for the executor to do."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class Launch(Command):
    """Begin an attempt of a trial, at once or when a place is free."""

    trial: int
    attempt: int
    params: Params
    seed: int
    next_rung: int | None
    checkpoint: tuple[int, int] | None = None
    """(attempt, step) of the checkpoint to begin from."""
    max_step: int | None = None
    """The step at which it is complete; None: when its function returns."""
    timeline: Sequence[tuple[int, Params]] = ()
    """Changes of ``params`` that are known ahead, in order: from this step on it trains with these values."""
    paused: bool = False
    """Whether it is to wait before its first step."""


@dataclass(frozen=True, slots=True)
class Adjust(Command):
    """Change params of a running trial at its next step boundary. What ``Launch.timeline`` has for these names is
    dropped."""

    trial: int
    attempt: int
    command: str
    """Its id, which comes back as `Applied`."""
    changes: Params
    certain: bool = False
    """It is recorded already, from this boundary on: so it waits for no checkpoint, and nothing comes back."""


@dataclass(frozen=True, slots=True)
class Pause(Command):
    """Let a running trial wait at its next step boundary, or (``over``) train on."""

    trial: int
    attempt: int
    over: bool = False


@dataclass(frozen=True, slots=True)
class Answer(Command):
    """The answer to `RungReached`: go on to ``next_rung``, or stop for ``reason``."""

    trial: int
    attempt: int
    stop: bool
    next_rung: int | None = None
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class Stop(Command):
    """Stop a trial at its next step boundary; one that has not begun ends with 0 steps."""

    trial: int
    attempt: int
    reason: str
    again: bool = False
    """Whether it is to be launched again at once: then no other trial should take its place."""

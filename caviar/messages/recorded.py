"""Events that are rows of the store's events table: the controller's state is a fold over them alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from caviar.trial import Params

BY_HAND = "by hand"
"""The reason of what a person did."""

SPARE = "spare"
"""The decision about a trial that was to be stopped, and runs to its end all the same."""


class Event:
    """Something that happened. ``kind`` is its name in the events table."""

    __slots__ = ()
    kind: ClassVar[str]


class Recorded(Event):
    """An event that is a row of the events table."""

    __slots__ = ()
    time_us: int


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
    zoom: Sequence[Any] | None = None
    """Where it follows from how trials did, and is not declared: what changed of each param, and why."""


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
    node: str | None = None
    """The name of the machine that it was on; None: it was on none yet, or that is not known."""


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

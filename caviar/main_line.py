"""What leads to where a trial is: its params as they were adjusted, and the checkpoints that it could go on from.

A fold over the events of one trial: for its record while it is under way, and to go on with one that has ended.
"""

from __future__ import annotations

import math

from caviar.adjusting import with_adjustment
from caviar.messages import (
    SPARE,
    Adjusted,
    Adopted,
    Checkpointed,
    CheckpointLost,
    Decided,
    Paused,
    Recorded,
    RolledBack,
    TrialReopened,
    TrialSampled,
)
from caviar.trial import ORIGIN, Saved, TrialRecord


def fold(record: TrialRecord, event: Recorded) -> None:
    """Take in what an event says of this; kinds that say nothing of it are passed over."""
    match event:
        case Adjusted():
            record.adjustments = with_adjustment(record.adjustments, event.step, event.new)
            record.by_hand = True
        case Paused():
            record.by_hand = True
        case RolledBack():
            gone = {(attempt, step) for attempt, step in event.superseded}
            record.checkpoints = [one for one in record.checkpoints if one[:2] not in gone]
            record.adjustments = [(step, changes) for step, changes in record.adjustments if step <= event.step]
            record.by_hand = True
        case Adopted():
            record.checkpoints = [*record.checkpoints, Saved(event.checkpoint, event.step, event.value)]
            record.by_hand = True
        case Checkpointed():
            here = Saved(event.attempt, event.step, event.value)
            gone = {(attempt, step) for attempt, step in event.superseded or ()} | {here[:2]}
            before = _origin(record) if event.superseded is None else record.checkpoints
            record.checkpoints = [*(one for one in before if one[:2] not in gone), here]
            record.step = max(record.step, event.step)
        case CheckpointLost():
            lost = (event.attempt, event.step)
            record.checkpoints = [one for one in record.checkpoints if one[:2] != lost]
        case Decided():
            record.rung = event.rung
            record.spared = record.spared or event.decision == SPARE


def record_of(event: TrialSampled | TrialReopened) -> TrialRecord:
    """The record of a trial that is to be trained from here on."""
    record = TrialRecord(event.trial, event.stage, event.params, event.seed)
    if isinstance(event, TrialReopened):
        record.attempt, record.step, record.rung = event.attempt, event.step, event.rung
        record.checkpoints = [Saved(*one) for one in event.saved]
        if event.checkpoint is not None and not event.saved:
            record.checkpoints = [Saved(event.checkpoint, event.step)]
        record.adjustments = [(step, changes) for step, changes in event.adjustments]
        record.by_hand = event.by_hand or bool(event.adjustments)
        record.spared = event.spared
    return record


def reopened(record: TrialRecord, now_us: int) -> TrialReopened:
    """What begins a trial again that had this record at its end."""
    own = [one for one in record.checkpoints if one.attempt != ORIGIN]
    attempt, step = record.checkpoint or (None, 0)
    return TrialReopened(
        now_us,
        record.trial,
        record.attempt + 1,
        step,
        record.stage,
        record.params,
        record.seed,
        attempt if own else None,
        record.rung,
        record.adjustments,
        [[one.attempt, one.step, one.value if _counts(one.value) else None] for one in own],
        record.by_hand,
        spared=record.spared,
    )


def _origin(record: TrialRecord) -> list[Saved]:
    """What its sweep began with, if anything: it is never superseded."""
    return [one for one in record.checkpoints if one.attempt == ORIGIN]


def _counts(value: float | None) -> bool:
    """Whether a checkpoint's value may make it the best."""
    return value is not None and math.isfinite(value)

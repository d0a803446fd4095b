"""What the record of a sweep says: its state, and what of its trials can be gone on with."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from caviar.controller import Standing
from caviar.errors import CaviarError, FolderError
from caviar.main_line import fold, record_of, reopened
from caviar.messages import (
    Adjusted,
    Checkpointed,
    CheckpointLost,
    Decided,
    DriverStarted,
    EventsLost,
    Paused,
    Recorded,
    RolledBack,
    TrialEnded,
    TrialReopened,
    TrialSampled,
)
from caviar.state import MISFITS, Plan, SweepState, misfit
from caviar.store.tables import events_of
from caviar.trial import TrialRecord, TrialState


@dataclass(frozen=True, slots=True)
class History:
    """A sweep's record, replayed."""

    state: SweepState
    before_s: float
    """For how long drivers before the last one had it in hand."""
    since_us: int
    """When the last one took it in hand."""
    last_us: int
    """The last event."""

    def driven_s(self, metrics: pa.Table) -> float:
        """For how long drivers had it in hand, the last one until its last event or report; ``metrics``: the
        rows of active trials."""
        attempts = {trial: record.attempt for trial, record in self.state.active.items()}
        rows = zip(*(metrics.column(name).to_pylist() for name in ("trial", "attempt")), strict=True)
        current = pa.array([attempts[trial] == attempt for trial, attempt in rows], pa.bool_())
        last_report_us = pc.max(metrics.column("time").filter(current)).cast(pa.int64()).as_py() or 0
        return self.before_s + (max(self.last_us, last_report_us) - self.since_us) / 1e6


def replay(plan: Plan, events: pa.Table, *, where: str = "events") -> History:
    """Fold the events table. ``plan``: as sweep.json has it. Events that cannot have happened to this sweep, one
    after the other, raise a `FolderError` that names ``where``, the sweep folder."""
    sampled = events.column("trial").filter(pc.equal(events.column("kind"), TrialSampled.kind)).to_numpy()
    lost = pc.any(pc.equal(events.column("kind"), EventsLost.kind)).as_py()
    if not lost and (sampled != np.arange(len(sampled))).any():
        raise FolderError(f"{where}: its trials are not sampled in the order of their numbers")
    try:
        state = SweepState(plan)
    except CaviarError as error:
        raise FolderError(f"{where}: what its sweep.json declares cannot be: {error}") from error
    driven_s, since_us, last_us = 0.0, 0, 0
    for event in events_of(events, where=where):
        if isinstance(event, DriverStarted):
            driven_s, since_us, last_us = event.driven_s or 0.0, event.time_us, event.time_us
        last_us = max(last_us, event.time_us)
        try:
            state.apply(event)
        except (*MISFITS, CaviarError, ArithmeticError) as error:
            # every event is sound by itself; whether it fits to those before it only folding them tells
            told = f"the record of events cannot be gone on from: {misfit(event, error)}"
            raise FolderError(f"{where}: {told} (`caviar check` says more)") from error
    return History(state, driven_s, since_us, last_us)


def standings(metrics: pa.Table, state: SweepState, metric: str) -> dict[int, Standing]:
    """How far each active trial had come, as its reports say; ``metrics``: the rows of those trials."""
    found: dict[int, Standing] = {}
    rows = zip(*(metrics.column(name).to_pylist() for name in ("trial", "step", "metric", "value")), strict=True)
    for trial, step, name, value in rows:
        before = found.get(trial, Standing())
        step = max(step, before.step)
        if name != metric:
            found[trial] = Standing(step=step, value=before.value, best=before.best, best_step=before.best_step)
            continue
        loss = state.loss(value)
        if loss < float("inf") and (before.best is None or loss < state.loss(before.best)):
            found[trial] = Standing(step=step, value=value, best=value, best_step=step)
        else:
            found[trial] = Standing(step=step, value=value, best=before.best, best_step=before.best_step)
    return found


_OF_REVIVAL = (
    TrialSampled,
    TrialEnded,
    TrialReopened,
    Checkpointed,
    CheckpointLost,
    Decided,
    Adjusted,
    Paused,
    RolledBack,
)


def revivable(events: pa.Table, max_step: int | None, *, where: str = "events") -> Iterator[TrialReopened]:
    """Completed trials that came to ``max_step`` and have a checkpoint: what reopening each would be, at time
    0."""
    kinds = pa.array([kind.kind for kind in _OF_REVIVAL])
    ended = events.filter(pc.equal(events.column("kind"), TrialEnded.kind))
    ended = ended.filter(pc.equal(ended.column("step"), max_step))
    candidates = ended.column("trial").unique()
    rows = events.filter(
        pc.and_(
            pc.is_in(events.column("kind"), value_set=kinds),
            pc.is_in(events.column("trial"), value_set=candidates.cast(pa.int64())),
        )
    )
    for story in _by_trial(events_of(rows, where=where)).values():
        reopened = _revive(story, max_step)
        if reopened is not None:
            yield reopened


def _by_trial(events: Iterable[Recorded]) -> Mapping[int, list[Any]]:
    stories: dict[int, list[Any]] = {}
    for event in events:
        stories.setdefault(event.trial, []).append(event)  # type: ignore[attr-defined]
    return stories


def _revive(story: list[Any], max_step: int | None) -> TrialReopened | None:
    record: TrialRecord | None = None
    end: TrialEnded | None = None
    for event in story:
        if isinstance(event, TrialSampled | TrialReopened):
            record, end = record_of(event), None
        elif isinstance(event, TrialEnded):
            end = event
        elif record is not None:
            fold(record, event)
    if record is None or end is None or not record.checkpoints:
        return None
    if end.status != TrialState.COMPLETED.value or end.step != max_step:
        return None
    record.attempt = end.attempt
    return reopened(record, 0)

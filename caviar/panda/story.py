"""What the record says of one trial that was steered: the changes that led to where it is now."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from caviar.adjusting import Timeline, effective, with_adjustment
from caviar.errors import UsageError
from caviar.messages import Adjusted, Recorded, RolledBack, TrialReopened, TrialSampled
from caviar.store.tables import events_of
from caviar.trial import Params

_KINDS = pa.array([kind.kind for kind in (Adjusted, RolledBack, TrialReopened, TrialSampled)])


@dataclass(frozen=True, slots=True)
class Change:
    """An adjustment, and whether it is one of those that led to where the trial is now."""

    event: Adjusted
    main_line: bool


@dataclass(frozen=True, slots=True)
class Story:
    """A trial's params from its beginning on."""

    seed: int
    params: Params
    """As it began."""
    schedule: Timeline
    adjustments: Timeline
    """Those of its main line."""
    changes: tuple[Change, ...]
    """All adjustments, in the order in which they were made."""

    def at(self, step: int) -> Params:
        """The params with which this step was trained, or would be."""
        return effective(self.params, self.schedule, self.adjustments, step=step)[0]

    def until(self, step: int) -> dict[int, dict[str, Any]]:
        """Step -> the values with which the trial was trained from there on: at 1 all, then those that changed."""
        first, later = effective(self.params, self.schedule, self.adjustments, step=1)
        return {1: first} | {at: changes for at, changes in later if at <= step}


def read_story(events: pa.Table, trial: int, *, declaration: Mapping[str, Any], where: str) -> Story:
    """The story of a trial, from the events table; an unknown trial raises `UsageError`."""
    sampled: TrialSampled | None = None
    adjustments: list[tuple[int, Params]] = []
    made: list[Adjusted] = []
    left: set[int] = set()
    """Which of them belong to a branch that was left."""
    for event in _of_trial(events, trial, where=where):
        match event:
            case TrialSampled():
                sampled = event
            case Adjusted():
                adjustments = with_adjustment(adjustments, event.step, event.new)
                left |= {
                    n
                    for n, one in enumerate(made)
                    if one.step >= event.step and one.new.keys() <= event.new.keys()
                }
                made.append(event)
            case RolledBack():
                adjustments = [(at, changes) for at, changes in adjustments if at <= event.step]
                left |= {n for n, one in enumerate(made) if one.step > event.step}
    if sampled is None:
        raise UsageError(f"{where}: has no trial {trial}")
    schedule = tuple((step, changes) for step, changes in declaration.get("schedule") or ())
    changes = tuple(Change(event, number not in left) for number, event in enumerate(made))
    return Story(sampled.seed, sampled.params, schedule, adjustments, changes)


def _of_trial(events: pa.Table, trial: int, *, where: str) -> Iterator[Recorded]:
    mask = pc.and_(pc.is_in(events.column("kind"), value_set=_KINDS), pc.equal(events.column("trial"), trial))
    return events_of(events.filter(mask), where=where)

"""What leads to where a trial is, folded; and folded although events of it are lost."""

from __future__ import annotations

import math

import pytest

from caviar.history import revivable
from caviar.main_line import fold, record_of, reopened
from caviar.messages import (
    Adjusted,
    Checkpointed,
    CheckpointLost,
    Decided,
    EventsLost,
    Paused,
    Recorded,
    Repaired,
    RolledBack,
    TrialEnded,
    TrialReopened,
    TrialSampled,
    TrialStarted,
    Unpaused,
    WorkerLost,
)
from caviar.samplers import RandomSampler
from caviar.schedulers import RunAll
from caviar.space import Float, Space
from caviar.state import Plan, SweepState
from caviar.store.rows import to_row
from caviar.store.tables import events_table
from caviar.trial import Saved, TrialRecord, TrialState

SAMPLED = TrialSampled(0, 0, 0, {"lr": 0.1}, 7)
STARTED = TrialStarted(0, 0, 0, "worker-0")


def folded(*events: Recorded) -> TrialRecord:
    record = record_of(SAMPLED)
    for event in events:
        fold(record, event)
    return record


def test_checkpoints_as_they_come_and_go() -> None:
    record = folded(
        Checkpointed(0, 0, 0, 5, 0.5, []),
        Checkpointed(0, 0, 0, 10, None, []),
        Checkpointed(0, 0, 0, 15, math.nan, [(0, 5)]),
        Checkpointed(0, 0, 0, 15, 0.2, []),
    )
    assert record.checkpoints == [Saved(0, 10), Saved(0, 15, 0.2)]
    assert record.checkpoint == (0, 15)
    fold(record, CheckpointLost(0, 0, 0, 15, "gone"))
    assert record.checkpoint == (0, 10)
    fold(record, Checkpointed(0, 0, 1, 12))  # as they were recorded before there were others
    assert record.checkpoints == [Saved(1, 12)]


def test_a_roll_back_leaves_what_came_after() -> None:
    record = folded(
        Adjusted(0, 0, 0, 3, {"lr": 0.1}, {"lr": 0.2}),
        *(Checkpointed(0, 0, 0, step, None, []) for step in (5, 10)),
        Adjusted(0, 0, 0, 6, {"lr": 0.2}, {"lr": 0.3}),
        RolledBack(0, 0, 1, 5, 12, 0, [(0, 10)]),
    )
    assert record.adjustments == [(3, {"lr": 0.2})]
    assert record.checkpoints == [Saved(0, 5)]


@pytest.mark.parametrize(
    ("event", "touched"),
    [
        (Adjusted(0, 0, 0, 3, {}, {}), True),
        (Paused(0, 0, 0, 3), True),
        (RolledBack(0, 0, 1, 0, 3), True),
        (Checkpointed(0, 0, 0, 3), False),
        (Decided(0, 0, 0, 3, 3, 0.5, "continue"), False),
        (WorkerLost(0, "worker-0", "gone"), False),
    ],
)
def test_who_was_touched_by_hand(event: Recorded, touched: bool) -> None:
    assert folded(event).by_hand is touched


def test_what_is_reopened_has_all_that_it_had() -> None:
    record = folded(
        Adjusted(0, 0, 0, 3, {"lr": 0.1}, {"lr": 0.2}),
        Checkpointed(0, 0, 0, 5, math.inf, []),
        Checkpointed(0, 0, 0, 10, 0.5, []),
        Decided(0, 0, 0, 9, 9, 0.5, "spare"),
    )
    event = reopened(record, 77)
    assert (event.time_us, event.attempt, event.step, event.checkpoint, event.rung) == (77, 1, 10, 0, 9)
    again = record_of(event)
    assert again.checkpoints == [Saved(0, 5), Saved(0, 10, 0.5)]
    assert (again.adjustments, again.by_hand, again.rung) == (record.adjustments, True, 9)
    assert (again.attempt, again.step, again.spared) == (1, 10, True)


def test_reopened_as_earlier_versions_recorded_it() -> None:
    assert record_of(TrialReopened(0, 0, 1, 10, 0, {}, 7, 0)).checkpoints == [Saved(0, 10)]
    assert record_of(TrialReopened(0, 0, 1, 10, 0, {}, 7, 0, None, [(3, {"lr": 1})])).by_hand


def test_what_can_be_revived_has_its_whole_story() -> None:
    story = [
        SAMPLED,
        STARTED,
        Adjusted(0, 0, 0, 3, {"lr": 0.1}, {"lr": 0.2}),
        *(Checkpointed(0, 0, 0, step, None, []) for step in (5, 10, 15)),
        RolledBack(0, 0, 1, 10, 17, 0, [(0, 15)]),
        TrialStarted(0, 0, 1, "worker-0", 10),
        Checkpointed(0, 0, 1, 18, None, [(0, 5)]),
        CheckpointLost(0, 0, 1, 18, "gone"),
        TrialEnded(0, 0, 1, 20, "completed"),
    ]
    [event] = revivable(events_table([to_row(one) for one in story], 0), 20)
    assert (event.attempt, event.checkpoint, event.step) == (2, 0, 10)
    assert list(event.adjustments) == [(3, {"lr": 0.2})]
    assert event.by_hand
    assert not [*revivable(events_table([to_row(one) for one in story], 0), 21)]


LOST = EventsLost(0, 3, 4)


@pytest.mark.parametrize(
    ("story", "state"),
    [
        ([LOST, Paused(0, 0, 1, 5)], "paused"),
        ([LOST, Paused(0, 0, 1, 5), Unpaused(0, 0, 1, 5)], "running"),
        ([LOST, Unpaused(0, 0, 1, 5)], "running"),
        ([STARTED, LOST, Paused(0, 0, 0, 5)], "paused"),
        ([STARTED, Paused(0, 0, 0, 5), LOST, TrialStarted(0, 0, 1, "worker-0")], "running"),
        ([STARTED, LOST, TrialStarted(0, 0, 1, "worker-0"), Paused(0, 0, 1, 2)], "paused"),
        ([STARTED, Paused(0, 0, 0, 5), LOST, TrialEnded(0, 0, 0, 9, "completed")], "completed"),
        ([STARTED, LOST, RolledBack(0, 0, 3, 0, 9), TrialStarted(0, 0, 3, "worker-0")], "running"),
        ([LOST, Adjusted(0, 0, 2, 5, {"lr": 0.1}, {"lr": 0.2})], "pending"),
    ],
)
def test_where_events_are_lost_the_rest_is_folded(story: list[Recorded], state: str) -> None:
    plan = Plan(space=Space(lr=Float(0, 1)), sampler=RandomSampler(), scheduler=RunAll(), trials=1, max_step=10)
    folded = SweepState(plan)
    folded.replay([SAMPLED, *story, Repaired(0, {}, ())])
    assert folded.state_of(0) == state
    assert sum(folded.counts.values()) == 1
    if not TrialState(state).final:
        assert folded.active[0].attempt >= max(getattr(event, "attempt", 0) for event in story)

"""What the record may say of trials that were steered: rows there and back, and what no such event says."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest

from caviar.messages import Adjusted, Checkpointed, Paused, Recorded, RolledBack, TrialReopened, Unpaused
from caviar.store.event_data import EventDataError, parse_event
from caviar.store.rows import to_row
from caviar.store.tables import events_of, events_table

EVENTS: list[Recorded] = [
    Adjusted(1, 0, 2, 41, {"lr": 0.1, "note": None}, {"lr": 0.05, "note": "x"}, "id", "on_spike", "a\nnote"),
    Adjusted(1, 0, 2, 41, {"lr": 0.1}, {"lr": 1e300}),
    Paused(1, 0, 2, 40),
    Paused(1, 0, 2, 40, "a rule", "why"),
    Unpaused(1, 0, 2, 40, note="on we go"),
    RolledBack(1, 0, 3, 40, 57, 1, [[1, 45], [2, 50]], "id", "me", "why"),
    RolledBack(1, 0, 3, 0, 57),
    Checkpointed(1, 0, 2, 40, math.nan, []),
    Checkpointed(1, 0, 2, 40, 0.5, [[1, 20]]),
    Checkpointed(1, 0, 2, 40),
    TrialReopened(1, 0, 3, 40, 0, {"lr": 0.1}, 7, 2, 27, [[5, {"lr": 0.2}]], [[1, 20, None], [2, 40, 0.5]], True),
    TrialReopened(1, 0, 3, 40, 0, {"lr": 0.1}, 7),
]


@pytest.mark.parametrize("event", EVENTS, ids=lambda event: event.kind)
def test_rows_there_and_back(event: Recorded) -> None:
    [again] = events_of(events_table([to_row(event)], 0))
    assert repr(again).replace("()", "[]") == repr(event).replace("()", "[]")


SOUND: dict[str, dict[str, Any]] = {
    "adjusted": {"old": {"lr": 0.1}, "new": {"lr": 0.2}},
    "paused": {},
    "unpaused": {"by": "me"},
    "rolled_back": {"from_step": 57, "checkpoint": 0, "superseded": [[0, 45]]},
    "checkpointed": {"value": 0.5, "superseded": [[0, 5]]},
    "trial_reopened": {
        "stage": 0,
        "params": {},
        "seed": 1,
        "adjustments": [[5, {"lr": 0.2}]],
        "saved": [[0, 5, None], [0, 9, 0.5]],
        "by_hand": True,
    },
}

WRONG = [
    ("adjusted", "new", None),
    ("adjusted", "new", {"lr": [1]}),
    ("adjusted", "old", {"lr": {}}),
    ("adjusted", "old", "lr"),
    ("adjusted", "command", 5),
    ("adjusted", "by", 5),
    ("adjusted", "note", ["x"]),
    ("paused", "by", 5),
    ("unpaused", "note", {}),
    ("rolled_back", "from_step", None),
    ("rolled_back", "from_step", -1),
    ("rolled_back", "from_step", 1.5),
    ("rolled_back", "checkpoint", "0"),
    ("rolled_back", "checkpoint", -1),
    ("rolled_back", "superseded", {}),
    ("rolled_back", "superseded", [[0]]),
    ("rolled_back", "superseded", [5]),
    ("checkpointed", "value", "much"),
    ("checkpointed", "value", True),
    ("checkpointed", "superseded", [[0, -5]]),
    ("checkpointed", "superseded", [["0", 5]]),
    ("trial_reopened", "adjustments", [[5]]),
    ("trial_reopened", "adjustments", [[5, {"lr": [1]}]]),
    ("trial_reopened", "adjustments", [["5", {}]]),
    ("trial_reopened", "adjustments", [{}]),
    ("trial_reopened", "saved", [[0, 5]]),
    ("trial_reopened", "saved", [[0, 5, "nan"]]),
    ("trial_reopened", "saved", [[0, -5, None]]),
    ("trial_reopened", "saved", [[0, 5, 10**400]]),
    ("trial_reopened", "saved", "0"),
    ("trial_reopened", "by_hand", 1),
]


@pytest.mark.parametrize(("kind", "name", "value"), WRONG)
def test_what_no_event_says(kind: str, name: str, value: Any) -> None:
    parse_event(json.dumps(SOUND[kind]), kind)
    with pytest.raises(EventDataError, match="its data are damaged: "):
        parse_event(json.dumps({**SOUND[kind], name: value}), kind)

"""Notable events, each in one line for people."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from caviar import journal
from caviar.analysis.trials import MISSING, EventColumns
from caviar.journal import KINDS


@dataclass(frozen=True, slots=True)
class Note:
    """A notable event in one line."""

    time_us: int
    text: str


def notes(events: EventColumns, count: int) -> list[Note]:
    """The last ``count`` notable events, the oldest first."""
    ends = events.rows("trial_ended")
    failed = [row for row, text in zip(ends, events.text(ends), strict=True) if '"failed"' in text]
    # the text search is a sieve: a reason may hold the word too
    rows = np.sort(np.concatenate([events.rows(*KINDS), np.array(failed, np.int64)]))
    found: list[Note] = []
    for row in rows[::-1].tolist():
        data = events.event(row)
        kind = events.kinds[events.code[row]]
        if kind == "trial_ended" and data["status"] != "failed":
            continue
        if kind == "stage_opened" and data["stage"] == 0:
            continue
        found.append(Note(int(events.time_us[row]), describe(kind, int(events.trial[row]), data)))
        if len(found) == count:
            break
    return found[::-1]


def describe(kind: str, trial: int, data: dict[str, Any]) -> str:
    """One line for a notable event."""
    return journal.describe(kind, None if trial == MISSING else trial, data)

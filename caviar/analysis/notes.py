"""Notable events, each in one line for people."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from caviar.analysis.trials import MISSING, EventColumns
from caviar.errors import SpaceError
from caviar.space.narrowed import Change, shown

KINDS = (
    "driver_started", "driver_stopped", "attempt_failed", "attempt_lost", "stop_ordered", "worker_lost",
    "process_replaced", "command_answered", "extended", "declaration_changed", "checkpoint_lost", "sweep_ended",
    "stage_opened",
)  # fmt: skip
"""Always notable, but for the first stage. The end of a trial is so only if it failed."""


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
    reason = data.get("reason") or "no reason given"
    match kind:
        case "driver_started":
            return f"driver started on {data['host']}, process {data['pid']}"
        case "driver_stopped":
            return f"driver stopped: {reason}"
        case "attempt_failed":
            return f"trial {trial} failed and starts again: {reason}"
        case "attempt_lost":
            return f"trial {trial} was lost and starts again: {reason}"
        case "trial_ended":
            return f"trial {trial} failed: {reason}"
        case "stop_ordered":
            return f"{'every trial' if trial == MISSING else f'trial {trial}'} is to stop: {reason}"
        case "worker_lost":
            return f"worker {data['worker']} lost: {reason}"
        case "stage_opened":
            return f"stage {data['stage']} opened: {_changes(data)}"
        case "extended":
            return f"extended: {data['trials']} trials are wanted"
        case "declaration_changed":
            return f"goes on with another {', '.join(data['changes'])}"
        case "checkpoint_lost":
            return f"trial {trial} lost its checkpoint and starts from its beginning: {reason}"
        case "process_replaced":
            return f"worker {data['worker']} replaced its training process: {reason}"
        case "command_answered":
            return str(data["text"])
        case "sweep_ended":
            return f"sweep ended: {reason}"
        case _:
            return kind


def _changes(data: dict[str, Any]) -> str:
    """What a stage samples otherwise than the one before it."""
    if data.get("zoom") is None:
        return "another space was declared"
    try:
        changes = [Change.from_dict(change) for change in data["zoom"]]
    except SpaceError:
        return "a narrowed space"
    told = [
        f"{change.name} {'is gone' if change.new is None else shown(change.new)}"
        for change in changes
        if change.kind != "kept"
    ]
    return "; ".join(told) or "in the same space"

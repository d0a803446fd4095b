"""The driver's log of what is recorded: a line for each notable event, for the person who operates it."""

from __future__ import annotations

import logging
from dataclasses import fields
from typing import Any

from caviar.errors import SpaceError
from caviar.messages import Recorded
from caviar.space.narrowed import Change, shown
from caviar.state import SweepState
from caviar.trial import TrialState

_log = logging.getLogger(__name__)

KINDS = (
    "driver_started", "driver_stopped", "attempt_failed", "attempt_lost", "stop_ordered", "worker_lost",
    "process_replaced", "command_answered", "extended", "declaration_changed", "checkpoint_lost", "sweep_ended",
    "stage_opened",
)  # fmt: skip
"""Always notable, but for the first stage. The end of a trial is so only if it failed."""

ALONG = ("trial", "attempt", "step", "worker", "node", "stage")
"""What a line carries in fields of its own too, as far as its event has it."""

_ENDINGS = ("sweep_ended", "driver_stopped")


class Journal:
    """Logs one sweep's notable events, at INFO. Costs nothing where nobody listens."""

    def __init__(self, sweep: str, state: SweepState) -> None:
        self._sweep = sweep
        self._state = state

    def note(self, event: Recorded) -> None:
        """This happened, and is part of the state."""
        if not _log.isEnabledFor(logging.INFO):
            return
        kind = event.kind
        if kind not in KINDS and kind not in ("sweep_started", "trial_ended"):
            return
        data = {field.name: getattr(event, field.name) for field in fields(event)}  # type: ignore[arg-type]
        if (kind == "trial_ended" and data["status"] != TrialState.FAILED) or data.get("stage") == 0:
            return
        text = describe(kind, data.get("trial"), data)
        along = {name: data[name] for name in ALONG if data.get(name) is not None}
        if kind in _ENDINGS:
            counts = {state.value: count for state in TrialState if (count := self._state.counts[state])}
            text += "; " + (", ".join(f"{count:,} {name}" for name, count in counts.items()) or "no trials")
            along["trials"] = counts
        _log.info("%s", text, extra={"sweep": self._sweep, "event": kind, **along})


def describe(kind: str, trial: int | None, data: dict[str, Any]) -> str:
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
            return f"{'every trial' if trial is None else f'trial {trial}'} is to stop: {reason}"
        case "worker_lost":
            where = f" on {data['node']}" if data.get("node") else ""
            return f"worker {data['worker']}{where} lost: {reason}"
        case "stage_opened":
            return f"stage {data['stage']} opened: {_changes(data)}"
        case "sweep_started":
            return f"sweep started: {data['trials']:,} trials are wanted"
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

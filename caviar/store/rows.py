"""Events as rows of the events table, and back."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any, cast

from caviar.messages import Recorded
from caviar.store.event_data import NON_FINITE, parse_event


def pack_float(value: float) -> float | str:
    """A float as JSON has no word for NaN and the infinities: they become strings."""
    return value if math.isfinite(value) else str(float(value))


def unpack_float(value: float | str | None) -> float | None:
    """The inverse of `pack_float`; None stays None."""
    return NON_FINITE[value] if isinstance(value, str) else value


@dataclass(frozen=True, slots=True)
class EventRow:
    """A row of the events table (without its ``seq``, which the recorder gives)."""

    time_us: int
    kind: str
    trial: int | None
    attempt: int | None
    step: int | None
    data: str


_COLUMNS = ("trial", "attempt", "step")
"""Fields that are columns of the table. All others but the time are its ``data``, where they are not None."""

_KINDS: dict[str, type[Recorded]] = {kind.kind: kind for kind in Recorded.__subclasses__()}
_FIELDS = {kind: tuple(field.name for field in fields(cast(Any, cls))) for kind, cls in _KINDS.items()}
_DATA = {
    kind: tuple(name for name in names if name not in (*_COLUMNS, "time_us")) for kind, names in _FIELDS.items()
}


def to_row(event: Recorded) -> EventRow:
    """The row that stands for an event in the events table."""
    data: dict[str, Any] = {}
    for name in _DATA[event.kind]:
        value = getattr(event, name)
        if value is not None:
            data[name] = pack_float(value) if type(value) is float else value
    text = json.dumps(data, separators=(",", ":"), allow_nan=False)
    trial, attempt, step = (getattr(event, name, None) for name in _COLUMNS)
    return EventRow(event.time_us, event.kind, trial, attempt, step, text)


def from_row(row: EventRow) -> Recorded | None:
    """The event that a row stands for, or None for a kind that this version does not know. Data that such an
    event cannot have raise `EventDataError`, a `ValueError`."""
    if row.kind not in _KINDS:
        return None
    given = parse_event(row.data, row.kind)
    given |= {"time_us": row.time_us, "trial": row.trial, "attempt": row.attempt, "step": row.step}
    given["value"] = unpack_float(given.get("value"))
    make: Callable[..., Recorded] = _KINDS[row.kind]
    return make(
        **{name: given[name] for name in _FIELDS[row.kind] if given.get(name) is not None or name in _COLUMNS}
    )

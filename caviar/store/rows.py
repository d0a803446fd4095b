"""Events as rows of the events table, and back."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass, fields
from typing import Any, cast

from caviar.messages import Recorded
from caviar.store.event_data import FLOATS, NON_FINITE


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
_NOTHING: dict[str, dict[str, Any]] = {
    kind: {
        field.name: None
        for field in fields(cast(Any, cls))
        if field.default is MISSING and "None" in str(field.type)
    }
    for kind, cls in _KINDS.items()
}
"""What has no default, and may be None."""


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


def from_data(kind: str, columns: Mapping[str, Any], data: dict[str, Any]) -> Recorded | None:
    """The event that a row stands for, by the row's columns and its data, parsed and checked; None for a kind that
    this version does not know."""
    cls = _KINDS.get(kind)
    if cls is None:
        return None
    for name in FLOATS[kind]:
        if type(data.get(name)) is str:
            data[name] = unpack_float(data[name])
    data.update(columns)
    # missing and null are one: the default, or None where there is none
    given = {name: value for name in _FIELDS[kind] if (value := data.get(name)) is not None}
    make: Callable[..., Recorded] = cls
    nothing = _NOTHING[kind]
    return make(**(nothing | given)) if nothing else make(**given)

"""What rows of the events table must hold so that they can be taken for events: the one check of their data.

The rules follow from the records in `caviar.messages`. Kinds that this version does not know need only be JSON
objects. Of many rows only those fields are checked that are asked for, all values of one at once: that costs a
hundredth of what the parser does.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import MISSING, fields
from itertools import chain
from typing import Any, cast, get_origin, get_type_hints

from caviar.messages import LAST_STEP, Recorded
from caviar.space import Space
from caviar.store.declaration import declared_mistake
from caviar.store.strict_json import check_depth, is_whole, parse_object
from caviar.trial import MAX_TRIALS, TrialState

NON_FINITE = {"nan": math.nan, "inf": math.inf, "-inf": -math.inf}
"""Words for what JSON has no numbers for."""

_HINTS: dict[str, dict[str, Any]] = {kind.kind: get_type_hints(kind) for kind in Recorded.__subclasses__()}

COLUMNS_OF = {
    name: frozenset(kind for kind, hints in _HINTS.items() if hints.get(name) is int)
    for name in ("trial", "attempt", "step")
}
"""For each of these columns, the kinds of events that always have it."""

_TYPES: Mapping[Any, frozenset[type]] = {
    int: frozenset({int}),
    str: frozenset({str}),
    bool: frozenset({bool}),
    float: frozenset({float, int, str}),
    type(None): frozenset({type(None)}),
}
_LONGEST_S = 1e10
_FLOATS = frozenset({float, type(None)})
_NONE = frozenset({type(None)})
_OBJECT = frozenset({dict})
_LIST = frozenset({list})
_SCALARS = frozenset({str, int, float, bool, type(None)})
_ENDS = frozenset(state.value for state in TrialState if state.final)


def _types(hint: Any) -> frozenset[type]:
    """The types that JSON has for a field of a record."""
    parts = getattr(hint, "__args__", ()) if type(None) in getattr(hint, "__args__", ()) else (hint,)
    return frozenset().union(*(_types_of(part) for part in parts))


def _types_of(hint: Any) -> frozenset[type]:
    return _LIST if get_origin(hint) is Sequence else _TYPES.get(hint, _OBJECT)


def _fields(kind: type[Recorded]) -> dict[str, frozenset[type]]:
    hints = _HINTS[kind.kind]
    named = [field for field in fields(cast(Any, kind)) if field.name not in ("time_us", *COLUMNS_OF)]
    # an earlier version did not write what has a default now
    return {
        field.name: _types(hints[field.name]) | (_NONE if field.default is not MISSING else frozenset())
        for field in named
    }


_FIELDS = {kind.kind: _fields(kind) for kind in Recorded.__subclasses__()}
"""For each kind the fields of its data, and the types that they may have."""

FLOATS = {kind: tuple(name for name, types in own.items() if float in types) for kind, own in _FIELDS.items()}
"""For each kind the fields that are numbers, which may be words of `NON_FINITE`."""


class EventDataError(ValueError):
    """The data of an event cannot be."""

    def __init__(self, row: int, reason: str) -> None:
        super().__init__(reason)
        self.row = row
        """Which of the rows given it was."""


def parse_rows(texts: Sequence[str]) -> list[dict[str, Any]]:
    """The data of many events, parsed: objects, of which `fields` knows more. Raises `EventDataError`."""
    try:
        # one call of the parser for all rows costs a third of one call for each
        joined = ",".join(texts)
        parsed: list[dict[str, Any]] = json.loads(f"[{joined}]")
        if len(parsed) == len(texts) and set(map(type, parsed)) <= _OBJECT:
            if "\\" in joined and (
                "\\ud" in joined or "\\uD" in joined
            ):  # a character beyond 16 bits, or half of one
                json.dumps(parsed, ensure_ascii=False).encode()
            return parsed
    except (ValueError, RecursionError):
        pass  # row by row it is plain which one is to blame
    return [_blame(row, parse_object, text) for row, text in enumerate(texts)]


def check_rows(data: Sequence[Mapping[str, Any]], kinds: Sequence[str]) -> None:
    """Check all fields of the data of many events, which `parse_rows` parsed. Raises `EventDataError`."""
    rows_of: dict[str, list[int]] = {}
    for row, kind in enumerate(kinds):
        rows_of.setdefault(kind, []).append(row)
    for kind, rows in rows_of.items():
        of_kind = [data[row] for row in rows]
        for name in _FIELDS.get(kind, ()):
            try:
                field(of_kind, kind, name)
            except EventDataError as error:
                raise EventDataError(rows[error.row], str(error)) from None


def field(data: Sequence[Mapping[str, Any]], kind: str, name: str) -> list[Any]:
    """One field of the data of many events of a kind, None where it is missing. Raises `EventDataError` unless all
    have what such an event must have."""
    try:
        column = [each[name] for each in data]  # twice as fast as `get`
    except KeyError:
        column = [each.get(name) for each in data]
    try:
        _check(column, kind, name)
    except ValueError:
        for row, value in enumerate(column):
            _blame(row, lambda value: _check([value], kind, name), value)
    return column


def parse_event(text: str, kind: str) -> dict[str, Any]:
    """The data of one event, with every field of its kind as it must be. Raises `EventDataError`."""
    data: dict[str, Any] = _blame(0, parse_object, text)
    return check_event(data, kind)


def check_event(data: dict[str, Any], kind: str) -> dict[str, Any]:
    """The same of one that `parse_rows` parsed."""
    _blame(0, check_depth, data)
    for name in _FIELDS.get(kind, ()):
        field([data], kind, name)
    return data


def _blame(row: int, read: Callable[[Any], Any], value: Any) -> Any:
    try:
        return read(value)
    except ValueError as error:
        raise EventDataError(row, f"its data are damaged: {error}") from None


def _check(column: Sequence[Any], kind: str, name: str) -> None:
    """Raise `ValueError` unless a field of events of this kind may have all these values."""
    allowed = _FIELDS[kind][name]
    types = set(map(type, column))
    if not types <= allowed:
        raise ValueError(f"{name} is {_shown(next(each for each in column if type(each) not in allowed))}")
    if int in types and float not in allowed:
        numbers = [each for each in column if each is not None] if len(types) > 1 else column
        for value in (min(numbers), max(numbers)):
            if not is_whole(value):
                raise ValueError(f"{name} is {_shown(value)}")
    if float in allowed and not types <= _FLOATS:
        _check_numbers(name, column)
    if allowed == _OBJECT and name not in ("params", "old", "new"):  # whose values are scalars
        for value in column:
            check_depth(value)
    if name in _RULES:
        _RULES[name](column)


def _shown(value: object) -> str:
    return "missing" if value is None else f"{value!r:.80}"


def _check_numbers(name: str, column: Iterable[Any]) -> None:
    for value in column:
        if (type(value) is str and value not in NON_FINITE) or (
            type(value) is int and abs(value) > sys.float_info.max
        ):
            raise ValueError(f"{name} is {_shown(value)}, not a number")


def _check_params(column: Sequence[dict[str, Any]]) -> None:
    values = list(chain.from_iterable(map(dict.values, column)))
    if not set(map(type, values)) <= _SCALARS:
        raise ValueError("params has a value that is a list or an object")
    if not all(map(math.isfinite, [value for value in values if type(value) is float])):
        raise ValueError("params has a number that is not finite")


def _check_adjustments(column: Sequence[Sequence[Any] | None]) -> None:
    for timeline in column:
        for entry in timeline or ():
            if (
                not isinstance(entry, list)
                or len(entry) != 2
                or not is_whole(entry[0])
                or type(entry[1]) is not dict
            ):
                raise ValueError(f"adjustments has {_shown(entry)}, not a step and its changes")
            _check_params([entry[1]])


def _check_superseded(column: Sequence[Sequence[Any] | None]) -> None:
    for saved in column:
        for place in saved or ():
            if not isinstance(place, list) or len(place) != 2 or not all(map(is_whole, place)):
                raise ValueError(f"superseded has {_shown(place)}, not an attempt and a step")


def _check_saved(column: Sequence[Sequence[Any] | None]) -> None:
    for saved in column:
        for entry in saved or ():
            whole = isinstance(entry, list) and len(entry) == 3 and all(map(is_whole, entry[:2]))
            if not whole or not (entry[2] is None or _is_finite(entry[2])):
                raise ValueError(f"saved has {_shown(entry)}, not an attempt, a step and a number or null")


def _is_finite(value: object) -> bool:
    return type(value) in (int, float) and abs(cast(float, value)) <= sys.float_info.max


def _check_status(column: Sequence[str]) -> None:
    unknown = set(column) - _ENDS
    if unknown:
        raise ValueError(f"status is {_shown(min(unknown))}, not one of {', '.join(sorted(_ENDS))}")


def _check_ended(column: Sequence[str | None]) -> None:
    _check_status([value for value in column if value is not None])


def _check_space(column: Sequence[Mapping[str, Any]]) -> None:
    for space in column:
        Space.from_dict(space)  # its error is a ValueError too


def _check_zoom(column: Sequence[Sequence[Any] | None]) -> None:
    for zoom in column:
        for change in zoom or ():
            if type(change) is not dict:
                raise ValueError(f"zoom has {_shown(change)}, not what changed of a param")
            check_depth(change)


def _check_changes(column: Sequence[Mapping[str, Any]]) -> None:
    """What amends sweep.json keeps to the rules of sweep.json."""
    for changes in column:
        mistake = declared_mistake(changes)
        if mistake is not None:
            raise ValueError(f"changes: {mistake}")


def _check_trials(column: Sequence[int]) -> None:
    for value in column:
        if not 1 <= value <= MAX_TRIALS:
            raise ValueError(f"trials is {value}, not a number from 1 to {MAX_TRIALS}")


def _check_unknown(column: Sequence[int | None]) -> None:
    for value in column:
        if value is not None and not 0 <= value <= MAX_TRIALS:
            raise ValueError(f"{value} trials are not from 0 to {MAX_TRIALS}")


def _check_places(column: Sequence[Sequence[Any] | None]) -> None:
    for places in column:
        for place in places or ():
            if not isinstance(place, list) or len(place) != 3 or not all(map(is_whole, place)):
                raise ValueError(f"checkpoints has {_shown(place)}, not a trial, an attempt and a step")


def _check_max_step(column: Sequence[int | None]) -> None:
    for value in column:
        if value is not None and not 1 <= value <= LAST_STEP:
            raise ValueError(f"max_step is {value}, not a step from 1 on")


def _check_seconds(column: Sequence[float | str | None]) -> None:
    """A clock that was set back may make less than nothing of a time; but it stays one that can be counted."""
    for value in column:
        if value is not None and (isinstance(value, str) or not abs(value) <= _LONGEST_S):
            raise ValueError(f"a time is {_shown(value)}, not a number of seconds")


_RULES: Mapping[str, Callable[[Any], None]] = {
    "params": _check_params,
    "old": _check_params,
    "new": _check_params,
    "adjustments": _check_adjustments,
    "superseded": _check_superseded,
    "saved": _check_saved,
    "status": _check_status,
    "ended": _check_ended,
    "space": _check_space,
    "zoom": _check_zoom,
    "changes": _check_changes,
    "trials": _check_trials,
    "trials_before": _check_unknown,
    "checkpoints": _check_places,
    "max_step": _check_max_step,
    "driven_s": _check_seconds,
    "retry_in_s": _check_seconds,
}
"""What fields of these names must keep to beyond their types."""

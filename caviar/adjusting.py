"""Changing params while a trial trains: what may change, to what, and from which step on.

A *timeline* is a list of (step, {name: value}): from that step on the trial trains with these values. A sweep may
have one for all its trials, its schedule; what people and rules adjust makes another for one trial. A param that
was adjusted has left the schedule.
"""

from __future__ import annotations

import math
import operator
import sys
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any, TypeGuard

from caviar.errors import UsageError
from caviar.messages import LAST_STEP
from caviar.space import Choice, Constant, Float, Int, Parameter, Space
from caviar.trial import Params

Timeline = Sequence[tuple[int, Params]]

OPERATIONS: Mapping[str, Callable[[float, float], float]] = {
    "*=": operator.mul,
    "/=": operator.truediv,
    "+=": operator.add,
    "-=": operator.sub,
}
"""How a relative change begins, as in ``"*=0.5"``."""


def default_knobs(space: Space) -> tuple[str, ...]:
    """Every numeric param, but for those that decide which others exist."""
    return tuple(name for name, each in space.items() if _numeric(each) and name not in _deciding(space))


def adjustable(space: Space, knobs: Iterable[str] | None) -> tuple[str, ...]:
    """The params that may change while a trial trains: the ``knobs`` declared, or those that a space has."""
    return default_knobs(space) if knobs is None else tuple(knobs)


def check_knobs(space: Space, knobs: Iterable[str]) -> None:
    """Raise `UsageError` for a knob that this space does not have, or that decides which params exist."""
    for name in knobs:
        if name not in space:
            raise UsageError(f"knobs: {name!r} is unknown; this space has {', '.join(space)}")
        if name in _deciding(space):
            raise UsageError(f"knobs: {name!r} decides which other params exist, so it cannot change")


def resolve(
    space: Space, knobs: Collection[str], current: Params, *, wanted: Mapping[str, Any], force: bool = False
) -> dict[str, Any]:
    """The values that a trial with ``current`` params would have; relative changes are made absolute.

    ``wanted``: new values by name; as text that begins with ``*=``, ``/=``, ``+=`` or ``-=``, relative to the
    current one, and a whole number stays whole. ``force``: also numbers beyond the bounds of the space. Raises
    `UsageError` for what is unknown, no knob, not in this trial, of the wrong type, not finite, or out of bounds.
    """
    if not wanted:
        raise UsageError("nothing to set; say what, as in lr=0.01")
    return {
        name: _value(space, knobs, current, name=name, given=given, force=force) for name, given in wanted.items()
    }


def _value(space: Space, knobs: Collection[str], current: Params, *, name: str, given: Any, force: bool) -> Any:
    parameter = space.get(name)
    if parameter is None:
        raise UsageError(f"{shown(name) or repr(name)} is unknown; this space has {', '.join(space)}")
    if name not in knobs:
        what = "is a constant" if isinstance(parameter, Constant) else "is no knob"
        raise UsageError(
            f"{name} {what}, so it cannot change while it trains; knobs: {', '.join(knobs) or 'none'}"
        )
    if name not in current:
        raise UsageError(f"{name} does not exist in this trial (when={dict(parameter.when or {})})")
    value = _fitting(parameter, name, computed(name, current[name], given), given=given)
    if isinstance(parameter, Float | Int) and not (force or parameter.low <= value <= parameter.high):
        raise UsageError(
            f"{name}={shown(value)} lies outside its bounds, {shown(parameter.low)} to {shown(parameter.high)} "
            "(--force, in Python force=True, sets it all the same)"
        )
    return value


def _fitting(parameter: Parameter, name: str, value: Any, *, given: Any) -> Any:
    """A value as this param has it, whatever its bounds; else `UsageError`. ``given``: as it was said."""
    if isinstance(parameter, Choice):
        return parameter.check(value, name)
    if isinstance(parameter, Constant) and not _is_number(parameter.value):
        if type(value) is not type(parameter.value):
            kind = type(parameter.value).__name__
            raise UsageError(f"{name}={given!r:.60}: needs a {kind}, as {parameter.value!r:.60} is")
        return value
    if not _is_finite(value):
        raise UsageError(f"{name}={given!r:.60}: needs a finite number")
    if isinstance(parameter, Int):
        if value % 1:
            raise UsageError(f"{name}={given!r:.60}: needs a whole number")
        if abs(value) > LAST_STEP:
            raise UsageError(f"{name}={given!r:.60}: is too large")
        return int(value)
    return float(value) if isinstance(parameter, Float) else value


def is_relative(given: object) -> bool:
    """Whether a value is text that begins as a relative change does."""
    return isinstance(given, str) and given[:2] in OPERATIONS


def computed(name: str, before: Any, given: Any) -> Any:
    """What is given; where that is relative, the number that it comes to, whole where ``before`` is: beyond any
    float an infinity. Raises `UsageError` for what is neither."""
    if not is_relative(given):
        if not isinstance(given, str | int | float | bool | None):
            raise UsageError(f"{name}={given!r:.60}: needs a number or a word")
        return given
    operation = given[:2]
    if not _is_number(before):
        raise UsageError(f"{name}={given!r:.60}: {name} is {before!r:.60}, no number")
    try:
        operand = float(given[2:])
    except ValueError:
        operand = math.nan
    if not math.isfinite(operand):
        raise UsageError(f"{name}={given!r:.60}: needs a finite number after {operation}")
    if operation == "/=" and not operand:
        raise UsageError(f"{name}={given!r:.60}: nothing can be divided by 0")
    try:
        value = OPERATIONS[operation](before, operand)
    except OverflowError:  # of a whole number, or a quotient
        return math.inf
    return round(value) if isinstance(before, int) and math.isfinite(value) else value


def is_change(value: object) -> bool:
    """Whether a timeline may have this for some param, as far as that can be told without a space."""
    try:
        found = computed("", 1.0, value)
    except UsageError:
        return False
    return _is_finite(found) or not _is_number(found)


def check_schedule(space: Space, schedule: object) -> tuple[tuple[int, Params], ...]:
    """A schedule as a timeline, in order. ``schedule``: {step: {name: value}}; values may be relative, as text.
    Bounds do not hold for it. Raises `UsageError`."""
    if not isinstance(schedule, Mapping):
        raise UsageError(
            f"Sweep(schedule={schedule!r:.80}): needs a mapping from step to params, as {{30: {{'lr': 0.01}}}}"
        )
    for step, changes in schedule.items():
        if isinstance(step, bool) or not isinstance(step, int) or not 1 <= step <= LAST_STEP:
            raise UsageError(f"schedule: step {step!r:.60} is no whole number from 1 on")
        if not isinstance(changes, Mapping):
            raise UsageError(f"schedule: step {step}: {changes!r:.60} is no mapping from param to value")
    reach: dict[str, tuple[Any, Any]] = {}
    """Between what values a param lies by then."""
    found = []
    for step, changes in sorted(schedule.items(), key=lambda entry: entry[0]):
        try:
            found.append((step, {name: _scheduled(space, name, given, reach) for name, given in changes.items()}))
        except UsageError as error:
            raise UsageError(f"schedule: step {step}: {error}") from None
    return tuple(found)


def _scheduled(space: Space, name: str, given: Any, reach: dict[str, tuple[Any, Any]]) -> Any:
    if name not in space:
        raise UsageError(f"{name!r:.60} is unknown; this space has {', '.join(space)}")
    if name in _deciding(space):
        raise UsageError(f"{name!r} decides which other params exist")
    parameter = space[name]
    if not is_relative(given):
        value = _fitting(parameter, name, computed(name, None, given), given=given)
        reach[name] = (value, value)
        return value
    low, high = (computed(name, end, given) for end in reach.get(name) or _ends(parameter))
    if not (_is_finite(low) and _is_finite(high)):
        raise UsageError(f"{name}={given!r:.60}: comes to what is no finite number")
    reach[name] = (low, high)
    return given


def _ends(parameter: Parameter) -> tuple[Any, Any]:
    """Between what values a param begins."""
    if isinstance(parameter, Constant):
        return parameter.value, parameter.value
    if isinstance(parameter, Choice):
        return (min(parameter.values), max(parameter.values)) if _numeric(parameter) else (None, None)  # type: ignore[type-var]
    return parameter.low, parameter.high


def merged(*schedules: Mapping[int, Mapping[str, Any]]) -> dict[int, dict[str, Any]]:
    """Several schedules as one; of two values for one param at one step, the later schedule's holds."""
    found: dict[int, dict[str, Any]] = {}
    for schedule in schedules:
        for step, changes in schedule.items():
            found.setdefault(step, {}).update(changes)
    return found


def effective(
    params: Params, schedule: Timeline, adjustments: Timeline, *, step: int
) -> tuple[dict[str, Any], list[tuple[int, dict[str, Any]]]]:
    """The params with which ``step`` is trained, and what changes after it, absolute and in order.

    ``params``: those at the beginning. What the schedule says of a param that does not exist in the trial, or is
    no number there and would have to be one, is passed over.
    """
    left: dict[str, int] = {}
    for at, changes in adjustments:
        for name in changes:
            left.setdefault(name, at)
    course = [
        (at, {name: value for name, value in changes.items() if at < left.get(name, LAST_STEP + 1)})
        for at, changes in schedule
    ]
    course = sorted([*course, *((at, dict(changes)) for at, changes in adjustments)], key=lambda entry: entry[0])
    values, here = dict(params), dict(params)
    later: list[tuple[int, dict[str, Any]]] = []
    for at, changes in course:
        new = {}
        for name, given in changes.items():
            if name in values and (_is_number(values[name]) or not is_relative(given)):
                new[name] = computed(name, values[name], given)
        values.update(new)
        if at <= step:
            here.update(new)
        elif new and later and later[-1][0] == at:
            later[-1][1].update(new)
        elif new:
            later.append((at, new))
    return here, later


def with_adjustment(adjustments: Timeline, step: int, changes: Params) -> list[tuple[int, Params]]:
    """A trial's adjustments after one more at ``step``: of these params, it takes the place of what was to come
    then or later."""
    kept = [
        (at, {name: value for name, value in each.items() if at < step or name not in changes})
        for at, each in adjustments
    ]
    found = [(at, each) for at, each in kept if each]
    return sorted([*found, (step, dict(changes))], key=lambda entry: entry[0])


def told(old: Params, new: Params) -> str:
    """A change in words: ``lr 0.1 -> 0.05, momentum 0.9 -> 0.95``."""
    return ", ".join(f"{name} {shown(old.get(name))} -> {shown(value)}" for name, value in new.items())


def shown(value: Any) -> str:
    """A value in a few characters: to six significant digits."""
    if isinstance(value, str):
        return value if len(value) <= 60 and value.isprintable() else f"{value!r:.60}"
    return f"{value:.6g}" if isinstance(value, float) else f"{value!s:.60}"


def _numeric(parameter: object) -> bool:
    if isinstance(parameter, Choice):
        return all(_is_number(value) for value in parameter.values)
    return isinstance(parameter, Float | Int)


def _is_number(value: object) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_finite(value: object) -> TypeGuard[float]:
    return _is_number(value) and abs(value) <= sys.float_info.max  # whole numbers may be larger than any float


def _deciding(space: Space) -> set[str]:
    return {name for each in space.values() for name in (each.when or {})}

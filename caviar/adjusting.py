"""Changing params while a trial trains: what may change, to what, and from which step on.

A *timeline* is a list of (step, {name: value}): from that step on the trial trains with these values. A sweep may
have one for all its trials, its schedule; what people and rules adjust makes another for one trial. A param that
was adjusted has left the schedule.
"""

from __future__ import annotations

import math
import operator
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from caviar.errors import UsageError
from caviar.messages import LAST_STEP
from caviar.space import Choice, Constant, Float, Int, Space
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


def check_knobs(space: Space, knobs: Iterable[str]) -> None:
    """Raise `UsageError` for a knob that this space does not have, or that decides which params exist."""
    for name in knobs:
        if name not in space:
            raise UsageError(f"knobs: {name!r} is unknown; this space has {', '.join(space)}")
        if name in _deciding(space):
            raise UsageError(f"knobs: {name!r} decides which other params exist, so it cannot change")


def resolve(
    space: Space, knobs: Iterable[str], current: Params, *, wanted: Mapping[str, Any], force: bool = False
) -> dict[str, Any]:
    """The values that a trial with ``current`` params would have; relative changes are made absolute.

    ``wanted``: new values by name; as text that begins with ``*=``, ``/=``, ``+=`` or ``-=``, relative to the
    current one. ``force``: also numbers beyond the bounds of the space. Raises `UsageError` for what is unknown,
    no knob, not in this trial, of the wrong type, not finite, or out of bounds.
    """
    if not wanted:
        raise UsageError("nothing to set; say what, as in lr=0.01")
    return {
        name: _value(space, knobs, current, name=name, given=given, force=force) for name, given in wanted.items()
    }


def _value(space: Space, knobs: Iterable[str], current: Params, *, name: str, given: Any, force: bool) -> Any:
    parameter = space.get(name)
    if parameter is None:
        raise UsageError(f"{name} is unknown; this space has {', '.join(space)}")
    if name not in knobs:
        what = "is a constant" if isinstance(parameter, Constant) else "is no knob"
        raise UsageError(
            f"{name} {what}, so it cannot change while it trains; knobs: {', '.join(knobs) or 'none'}"
        )
    if name not in current:
        raise UsageError(f"{name} does not exist in this trial (when={dict(parameter.when or {})})")
    before = current[name]
    value = _computed(name, before, given)
    if isinstance(parameter, Choice):
        return parameter.check(value, name)
    if not _is_number(before):  # a constant that was made a knob
        if type(value) is not type(before):
            raise UsageError(f"{name}={given!r:.60}: needs a {type(before).__name__}, as {before!r} is")
        return value
    if not _is_finite(value):
        raise UsageError(f"{name}={given!r:.60}: needs a finite number")
    if isinstance(parameter, Int):
        if value != round(value) and value is given:
            raise UsageError(f"{name}={given!r:.60}: needs a whole number")
        value = round(value)
        if abs(value) > LAST_STEP:
            raise UsageError(f"{name}={given!r:.60}: is too large")
    elif isinstance(parameter, Float):
        value = float(value)
    if isinstance(parameter, Float | Int) and not (force or parameter.low <= value <= parameter.high):
        raise UsageError(
            f"{name}={shown(value)} lies outside its bounds, {shown(parameter.low)} to {shown(parameter.high)} "
            "(--force, in Python force=True, sets it all the same)"
        )
    return value


def _computed(name: str, before: Any, given: Any) -> Any:
    """What is given; where that is relative, the number that it comes to."""
    if not isinstance(given, str) or given[:2] not in OPERATIONS:
        if not isinstance(given, str | int | float | bool):
            raise UsageError(f"{name}={given!r:.60}: needs a number or a word")
        return given
    if not _is_number(before):
        raise UsageError(f"{name}{given:.60}: {name} is {before!r:.60}, no number")
    try:
        operand = float(given[2:])
        value = OPERATIONS[given[:2]](before, operand)
    except (ValueError, ArithmeticError):
        raise UsageError(f"{name}{given:.60}: needs a finite number after {given[:2]}") from None
    if not math.isfinite(operand):
        raise UsageError(f"{name}{given:.60}: needs a finite number after {given[:2]}")
    return value


def check_schedule(space: Space, schedule: object) -> tuple[tuple[int, Params], ...]:
    """A schedule as a timeline, in order. ``schedule``: {step: {name: value}}; values may be relative, as text.
    Raises `UsageError`."""
    if not isinstance(schedule, Mapping):
        raise UsageError(
            f"Sweep(schedule={schedule!r:.80}): needs a mapping from step to params, as {{30: {{'lr': 0.01}}}}"
        )
    found: list[tuple[int, Params]] = []
    for step, changes in schedule.items():
        if isinstance(step, bool) or not isinstance(step, int) or not 1 <= step <= LAST_STEP:
            raise UsageError(f"schedule: step {step!r:.60} is no whole number from 1 on")
        if not isinstance(changes, Mapping):
            raise UsageError(f"schedule: step {step}: {changes!r:.60} is no mapping from param to value")
        for name, value in changes.items():
            if name not in space:
                raise UsageError(f"schedule: step {step}: {name!r} is unknown; this space has {', '.join(space)}")
            if name in _deciding(space):
                raise UsageError(f"schedule: step {step}: {name!r} decides which other params exist")
            one = 1 if _numeric(space[name]) else None
            computed = _computed(name, one, value)
            if _numeric(space[name]) and not _is_finite(computed):
                raise UsageError(f"schedule: step {step}: {name}={value!r:.60}: needs a finite number")
        found.append((step, dict(changes)))
    return tuple(sorted(found, key=lambda entry: entry[0]))


def effective(
    params: Params, schedule: Timeline, adjustments: Timeline, *, step: int
) -> tuple[dict[str, Any], list[tuple[int, dict[str, Any]]]]:
    """The params with which ``step`` is trained, and what changes after it, absolute and in order.

    ``params``: those at the beginning. What the schedule says of a param that does not exist in the trial is
    passed over.
    """
    left: dict[str, int] = {}
    for at, changes in adjustments:
        for name in changes:
            left.setdefault(name, at)
    merged = [
        (at, {name: value for name, value in changes.items() if at < left.get(name, LAST_STEP + 1)})
        for at, changes in schedule
    ]
    merged = sorted([*merged, *((at, dict(changes)) for at, changes in adjustments)], key=lambda entry: entry[0])
    values, here = dict(params), dict(params)
    later: list[tuple[int, dict[str, Any]]] = []
    for at, changes in merged:
        new = {}
        for name, given in changes.items():
            if name in values:
                value = _computed(name, values[name], given)
                new[name] = round(value) if type(values[name]) is int and type(value) is float else value
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
    """A value to six significant digits."""
    return f"{value:.6g}" if isinstance(value, float) else f"{value}"


def _numeric(parameter: object) -> bool:
    if isinstance(parameter, Choice):
        return all(_is_number(value) for value in parameter.values)
    return isinstance(parameter, Float | Int)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_finite(value: object) -> bool:
    """Whether it is a number that a float can be: a whole one may be greater than any."""
    return _is_number(value) and abs(value) <= sys.float_info.max  # type: ignore[arg-type]


def _deciding(space: Space) -> set[str]:
    return {name for each in space.values() for name in (each.when or {})}

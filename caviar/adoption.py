"""Putting what a fork came to back into the trial that it is a fork of, as if that had trained so itself.

The trial goes back to the step of the fork's origin. The fork's reports become an attempt of its own, its params
adjustments; and its next attempt goes on from a copy of the fork's last checkpoint. What all this says is recorded
at once, when the copy is there: so it has happened as a whole, or not at all.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np

from caviar.adjusting import Timeline, told
from caviar.errors import UsageError
from caviar.messages import (
    LAST_STEP,
    Adjusted,
    Adopted,
    Command,
    CommandReceived,
    Event,
    Recorded,
    Reports,
    RolledBack,
)
from caviar.origin import Origin
from caviar.state import SweepState
from caviar.trial import TrialRecord


@dataclass(frozen=True, slots=True)
class Bring(Command):
    """Read what a fork came to, and copy its checkpoint here, to where this attempt of the trial would leave it.
    It is for the runner, not for the executor; what comes of it is `Brought`."""

    trial: int
    attempt: int
    """One that is never launched."""
    command: CommandReceived


@dataclass(frozen=True, slots=True, kw_only=True)
class Adoption:
    """What a fork came to, with its checkpoint in this sweep's folder."""

    path: str
    trial: int
    attempt: int
    step: int
    """Of its checkpoint."""
    value: float | None
    """The metric as last reported before that."""
    origin: Origin
    params: Timeline
    """Its params from the step after the origin up to its checkpoint: all at first, then those that change."""
    reports: Sequence[Reports]
    """Its own up to the checkpoint, numbered from 0."""


@dataclass(frozen=True, slots=True)
class Brought(Event):
    """What a `Bring` came to: an adoption, or why there is none."""

    kind: ClassVar[str] = "brought"
    order: Bring
    adoption: Adoption | None = None
    refusal: str | None = None
    from_step: int | None = None
    """The last step that the trial reported, where it is not under way."""


def check_args(args: Mapping[str, Any]) -> None:
    """Raise `UsageError` unless a command says which checkpoint of which trial of which sweep is to be adopted."""
    if not isinstance(args.get("path"), str):
        raise UsageError(f"adopt: path={args.get('path')!r:.60} is no text")
    check_numbers("adopt", args, "trial", "attempt", "step")


def check_numbers(command: str, args: Mapping[str, Any], *names: str) -> None:
    """Raise `UsageError` unless these arguments of a command are whole numbers."""
    for name in names:
        value = args.get(name)
        if type(value) is not int or not 0 <= value <= LAST_STEP:
            raise UsageError(f"{command}: {name}={value!r:.60} is no whole number of at least 0")


def check_adoption(adoption: Adoption, trial: TrialRecord, state: SweepState) -> None:
    """Raise `UsageError` unless the fork goes on from what this trial is, and this trial can go on from it."""
    origin, number = adoption.origin, trial.trial
    came_to = max([trial.step, *(one.step for one in trial.checkpoints)])
    if came_to < origin.step:
        raise UsageError(f"trial {number} has come to step {came_to}, and the fork begins at step {origin.step}")
    if _plain(way(state, trial, origin.step)) != _plain(origin.way):
        raise UsageError(
            f"trial {number} is no longer what was forked: since then it has been trained with other params up to "
            f"step {origin.step}"
        )
    limit = state.plan.max_step
    if limit is not None and adoption.step > limit:
        raise UsageError(
            f"the fork's checkpoint is of step {adoption.step}, beyond max_step={limit} (caviar extend raises it)"
        )
    own, others = set(state.params_at(trial, origin.step + 1)[0]), set(adoption.params[0][1])
    if own != others:
        raise UsageError(f"the fork has other params: {', '.join(sorted(own ^ others))}")


def way(state: SweepState, trial: TrialRecord, step: int) -> Timeline:
    """The params of a trial from its beginning up to a step, as `Origin.way` has it."""
    kept = [(at, changes) for at, changes in trial.adjustments if at <= step]
    first, later = state.way(trial, kept)
    return [(1, first), *((at, changes) for at, changes in later if at <= step)]


def _plain(timeline: Timeline) -> list[tuple[int, dict[str, Any]]]:
    return [(at, dict(changes)) for at, changes in timeline]


def adopted(
    adoption: Adoption,
    order: Bring,
    trial: TrialRecord,
    state: SweepState,
    *,
    from_step: int,
    now_us: int,
    record: Callable[[Recorded], Recorded],
) -> tuple[list[Recorded | Reports], str]:
    """What is to be recorded when the attempt that is left has ended, at ``from_step``; and how that is told.
    ``record``: folds an event into the state, and returns it."""
    origin, args = adoption.origin, order.command.args
    number, attempt = trial.trial, trial.attempt + 1
    why = (order.command.id, args.get("by", "by hand"), args.get("note"))
    gone = [(one.attempt, one.step) for one in trial.checkpoints if one.step > origin.step]
    back = RolledBack(now_us, number, attempt, origin.step, from_step, origin.attempt, gone, *why)
    output: list[Recorded | Reports] = [record(back)]
    output += [replace(block, attempt=np.full_like(block.attempt, attempt)) for block in adoption.reports]
    theirs, wanted = dict(adoption.params), dict[str, Any]()
    own = [at for at, _ in state.params_at(trial, origin.step + 1)[1] if at <= adoption.step]
    changes = ""
    for at in sorted({*own, *theirs}):
        wanted.update(theirs.get(at, {}))
        before = state.params_at(trial, at)[0]
        new = {name: value for name, value in wanted.items() if before[name] != value}
        if new:
            old = {name: before[name] for name in new}
            changes = changes or f": {told(old, new)}"
            output.append(record(Adjusted(now_us, number, attempt, at, old, new, *why)))
    whose = (adoption.path, adoption.trial, adoption.attempt)
    goes_on = (number, attempt + 1, adoption.step)
    output.append(record(Adopted(now_us, *goes_on, *whose, order.attempt, adoption.value, *why)))
    name = adoption.path.rstrip("/").rpartition("/")[2]
    return output, f"adopted trial {adoption.trial} of {name}{changes}, on from step {adoption.step}"

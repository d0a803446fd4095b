"""Going on from a trial of another sweep: from which of its checkpoints, and with what."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from caviar.adoption import way
from caviar.difference import of_training
from caviar.errors import UsageError
from caviar.history import replay
from caviar.origin import Origin, ahead, narrowed
from caviar.schedulers import RunAll
from caviar.schedulers.by_hand import ByHand
from caviar.space import Space
from caviar.state import Plan
from caviar.store.checkpoints import CheckpointFiles
from caviar.store.declaration import check_complete
from caviar.store.layout import SweepFolder
from caviar.store.place import Place, Url, absolute, place
from caviar.store.reader import Reader
from caviar.trial import ORIGIN, Saved, TrialRecord

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Beginning:
    """Where another sweep can go on from a trial, and what that trial was trained with."""

    origin: Origin
    space: Space
    """From which the trial was sampled."""
    schedule: Mapping[int, Mapping[str, Any]]
    """What of its sweep's schedule was to come."""
    declaration: Mapping[str, Any]
    """Of its sweep."""
    under_way: bool
    """Whether the trial has not ended."""


def beginning(path: str | os.PathLike[str], *, trial: int = 0, at_step: int | None = None) -> Beginning:
    """The nearest checkpoint of a trial at or before ``at_step``, without that its newest; the trial may be under
    way or have ended. As after a roll-back, what was adjusted from the next step on does not count.

    Raises `UsageError` where there is no such trial or checkpoint, `FolderError` where ``path`` is no sweep.
    """
    where = str(path)
    reader = Reader(path, metrics=False)
    first = reader.declaration
    check_complete(first, path, to_go_on=True)
    history = replay(Plan.of(first), reader.refresh().events, where=where, follow=trial)
    state, record = history.state, history.followed
    if record is None or history.space is None:
        known = f"it has the trials 0 to {state.sampled - 1}" if state.sampled else "it has none yet"
        raise UsageError(f"{where}: there is no trial {trial}; {known}")
    saved = _nearest(place(path), record, at_step)
    if at_step is not None and saved.step != at_step:
        told = "%s: trial %d has no checkpoint of step %d: the one of step %d is taken"
        _log.warning(told, path, trial, at_step, saved.step)
    kept = [(step, changes) for step, changes in record.adjustments if step <= saved.step]
    origin = Origin(
        path=_whole(place(path)),
        created_us=first.get("created_us", 0),
        trial=trial,
        attempt=None if saved.attempt == ORIGIN else saved.attempt,
        step=saved.step,
        params=state.params_with(record, kept, saved.step + 1),
        seed=record.seed,
        way=way(state, record, saved.step),
    )
    to_come = ahead(state.plan.schedule, kept, step=saved.step, space=history.space)
    return Beginning(
        origin=origin,
        space=history.space,
        schedule=to_come,
        declaration=reader.declaration,
        under_way=not record.state.final,
    )


def _nearest(path: Place, record: TrialRecord, at_step: int | None) -> Saved:
    files = CheckpointFiles.of(path)
    found = [one for one in record.checkpoints if at_step is None or one.step <= at_step]
    for one in reversed(found):
        damage = files.damage(record.trial, one[:2])
        if damage is None:
            return one
        _log.warning("%s; the checkpoint before it is taken", damage)
    told = "" if at_step is None else f" at or before step {at_step}"
    later = [str(one.step) for one in record.checkpoints if one not in found]
    if found:
        known = "; those that it had are damaged"
    elif later:
        known = (
            f"; it has {'one' if len(later) == 1 else 'some'} of step{'s' * (len(later) > 1)} {', '.join(later)}"
        )
    else:
        known = "; its training function writes some where trial.checkpoint_due says so (checkpoint_every=...)"
    raise UsageError(f"{path}: trial {record.trial} has no checkpoint{told}{known}")


def _whole(path: Place) -> str:
    return path if isinstance(path, Url) else str(absolute(path))


def fork_path(path: str | os.PathLike[str], step: int) -> Place:
    """Where a fork of a sweep goes unless somebody says otherwise: beside it."""
    own = place(path)
    return place(f"{own}-fork-{step}")


def forked(
    begin: Beginning,
    sweep: Mapping[str, Any],
    *,
    vary: Sequence[str],
    trials: int | None,
    max_step: int | None,
    allow_change: bool,
) -> dict[str, Any]:
    """What makes a Sweep, by its declaration, the one whose trials go on from there: arguments of `Sweep`, as
    `Sweep.forked` has them. Where nothing varies, the space stays as it is.

    Raises `UsageError` as that says.
    """
    told = of_training(begin.declaration, sweep)
    if told and not allow_change:
        raise UsageError(
            f"{begin.origin.path}: this Sweep does not train as that one: {'; '.join(told)} (--allow-change, in "
            "Python allow_change=True, goes on from it all the same)"
        )
    origin = replace(begin.origin, vary=tuple(vary))
    limit = begin.declaration["max_step"] if max_step is None else max_step
    origin.check_limit(limit)
    space = begin.space
    if begin.declaration.get("origin") is not None:  # a fork itself, in which little varies
        space = Space({**space, **Space.from_dict(sweep["space"])})
    if vary:
        space = narrowed(space, origin.params, vary=vary)
    knobs = begin.declaration.get("knobs")
    arguments = {
        "space": space,
        "trials": (8 if vary else 1) if trials is None else trials,
        "max_step": limit,
        "first": (),
        "schedule": _within(begin.schedule, space),
        "knobs": None if knobs is None else [name for name in knobs if name in space],
        "checkpoint_every": begin.declaration.get("checkpoint_every") or sweep["checkpoint_every"],
        "keep_checkpoints": "last",
        "origin": origin,
    }
    if sweep["scheduler"]["name"] == ByHand.name:
        arguments["scheduler"] = RunAll()
    return arguments


def _within(schedule: Mapping[int, Mapping[str, Any]], space: Space) -> dict[int, dict[str, Any]]:
    """What a schedule says of params that exist."""
    left = {step: {name: value for name, value in new.items() if name in space} for step, new in schedule.items()}
    return {step: new for step, new in left.items() if new}


def again(path: str | os.PathLike[str], declaration: Mapping[str, Any]) -> Origin:
    """The origin of a fork, for another sweep that is to begin as that one did: from its own copy."""
    origin = Origin.from_dict(declaration["origin"])
    return replace(
        origin, path=_whole(place(path)), created_us=declaration.get("created_us", 0), trial=0, attempt=None
    )


def as_in(path: str | os.PathLike[str]) -> dict[str, Any]:
    """What makes a Sweep the one that a folder declares, where that is a fork: arguments of `Sweep`. What makes it
    one stands there alone. Nothing where it is none, or there is no sweep."""
    folder = SweepFolder(place(path))
    if not folder.exists() or folder.declaration().get("origin") is None:
        return {}
    reader = Reader(folder.path, metrics=False)
    reader.refresh()
    check_complete(reader.declaration, path, to_go_on=True)
    return as_declared(reader.declaration)


def as_declared(declaration: Mapping[str, Any]) -> dict[str, Any]:
    """What makes a Sweep the one that the folder of a fork declares, but for its functions and for what may change
    freely: arguments of `Sweep`. Its space and its origin stand in no file."""
    from caviar import samplers, schedulers

    names = (
        "metric", "mode", "trials", "max_step", "seed", "first", "stop_on_nan", "checkpoint_every",
        "keep_checkpoints", "knobs",
    )  # fmt: skip
    declaration = {"checkpoint_every": None, "keep_checkpoints": "last", "knobs": None, **declaration}
    return {name: declaration[name] for name in names} | {
        "space": Space.from_dict(declaration["space"]),
        "sampler": samplers.from_dict(declaration["sampler"]),
        "scheduler": schedulers.from_dict(declaration["scheduler"]),
        "schedule": dict(declaration.get("schedule") or ()),
        "stages": 1,
        "origin": Origin.from_dict(declaration["origin"]),
    }

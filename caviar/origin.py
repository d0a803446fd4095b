"""Where a sweep began that did not begin with nothing: its origin, a checkpoint of another sweep's trial.

Every trial of such a sweep, a fork, begins after the origin's step, with the params that the other trial had there
but for those that vary, and with that trial's seed.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

from caviar.adjusting import Timeline
from caviar.errors import UsageError
from caviar.space import Choice, Constant, Space
from caviar.space.parameters import Parameter
from caviar.trial import ORIGIN, Params


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """A checkpoint that all trials of a sweep begin from, and what is to be known of the trial that wrote it."""

    path: str
    """The sweep folder that it is from."""
    created_us: int
    """When that sweep was made: it is known by this wherever its folder is moved to."""
    trial: int
    attempt: int | None
    """The attempt that wrote it; None: it was the origin of that sweep too."""
    step: int
    params: Params
    """With which the trial would have trained on."""
    seed: int
    way: Timeline
    """How its params came to that, from the first step up to this one."""
    vary: tuple[str, ...] = ()
    """The params that are sampled; without any, all trials have those of the origin."""

    @property
    def saved(self) -> tuple[int, int]:
        """(attempt, step) of the checkpoint in the folder that it is from."""
        return (ORIGIN if self.attempt is None else self.attempt), self.step

    def to_dict(self) -> dict[str, Any]:
        """As sweep.json has it."""
        content = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        way = [[step, dict(changes)] for step, changes in self.way]
        return content | {"params": dict(self.params), "way": way, "vary": list(self.vary)}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """The inverse of `to_dict`."""
        way = tuple((step, changes) for step, changes in data["way"])
        return cls(**{**data, "way": way, "vary": tuple(data["vary"])})

    def but(self, space: Space, params: Params) -> Self:
        """The same, to go on from with some other params. Raises `UsageError` for what it has not, or the space
        does not allow."""
        for name in params:
            if name not in self.params or name not in space:
                raise UsageError(f"{name!r} is unknown; the trial to go on from has {', '.join(self.params)}")
        others = {name: value for name, value in params.items() if value != self.params[name]}
        if not others:
            return self
        given = {name: space[name].check(value, name) for name, value in others.items()}
        return dataclasses.replace(self, params={**self.params, **given})

    def check_limit(self, max_step: int | None) -> None:
        """Raise `UsageError` where nothing is left to train up to ``max_step``."""
        if max_step is not None and self.step >= max_step:
            raise UsageError(
                f"max_step={max_step}: the checkpoint to begin from is of step {self.step}; it needs a later step"
            )


def narrowed(space: Space, params: Params, *, vary: Collection[str]) -> Space:
    """The space in which these params have the values that they have, and only those of ``vary`` do vary, with
    those that exist or not for their sake.

    Raises `UsageError` where one of ``vary`` is unknown, a constant, or cannot exist beside the others.
    """
    for name in vary:
        if name not in space:
            raise UsageError(f"vary: {name!r} is unknown; this space has {', '.join(space)}")
        if isinstance(space[name], Constant):
            raise UsageError(f"vary: {name!r} is a constant; {', '.join(space.varying) or 'nothing'} can vary")
    kept: dict[str, Parameter | None] = {}
    for name in space:
        _keep(name, space, params, vary=vary, kept=kept)
    for name in vary:
        if kept[name] is None:
            parents = space[name].when or {}
            told = ", ".join(f"{parent} is {params[parent]!r}" for parent in parents if parent in params)
            raise UsageError(f"vary: {name!r} does not exist where {told or 'the others are as they are'}")
    return Space({name: parameter for name in space if (parameter := kept[name]) is not None})


def _keep(
    name: str, space: Space, params: Params, *, vary: Collection[str], kept: dict[str, Parameter | None]
) -> Parameter | None:
    """What is left of a param; None: it cannot exist."""
    if name in kept:
        return kept[name]
    parameter = space[name]
    when: dict[str, Any] = {}
    exists = True
    for parent, wanted in (parameter.when or {}).items():
        own = _keep(parent, space, params, vary=vary, kept=kept)
        if own is None or (isinstance(own, Constant) and not _has(wanted, own.value)):
            exists = False
        elif not isinstance(own, Constant):
            when[parent] = list(wanted) if isinstance(wanted, tuple) else wanted
    found: Parameter | None
    if not exists:
        found = None
    elif name in params and name not in vary:
        found = Choice([params[name]], when=when) if when else Constant(params[name])
    else:
        found = parameter if isinstance(parameter, Constant) else dataclasses.replace(parameter, when=when or None)
    kept[name] = found
    return found


def _has(wanted: object, value: object) -> bool:
    """Whether a value is among those of a ``when``, as JSON sees it: true is not 1."""
    values: Sequence[object] = wanted if isinstance(wanted, tuple) else (wanted,)
    return any(isinstance(one, bool) == isinstance(value, bool) and one == value for one in values)


def ahead(schedule: Timeline, adjustments: Timeline, *, step: int, space: Space) -> dict[int, dict[str, Any]]:
    """What of a schedule is still to come for a trial that begins after ``step``, as `Sweep` takes it. Params that
    were adjusted up to there have left the schedule."""
    left = {name for at, changes in adjustments if at <= step for name in changes}
    found: dict[int, dict[str, Any]] = {}
    for at, changes in schedule:
        new = {name: value for name, value in changes.items() if name in space and name not in left}
        if at > step + 1 and new:
            found.setdefault(at, {}).update(new)
    return found

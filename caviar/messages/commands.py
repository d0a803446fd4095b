"""Commands to the executor."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from caviar.trial import Params

SCRATCH = "CAVIAR_SCRATCH"
"""The environment variable that names a folder of this machine for what a process keeps while it lives."""


class Command:
    """Something for the executor to do."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class Narrow(Command):
    """For the driver itself: find the space of the next stage, from all that is recorded."""

    stage: int


@dataclass(frozen=True, slots=True)
class Launch(Command):
    """Begin an attempt of a trial, at once or when a place is free."""

    trial: int
    attempt: int
    params: Params
    seed: int
    next_rung: int | None
    checkpoint: tuple[int, int] | None = None
    """(attempt, step) of the checkpoint to begin from."""
    max_step: int | None = None
    """The step at which it is complete; None: when its function returns."""
    timeline: Sequence[tuple[int, Params]] = ()
    """Changes of ``params`` that are known ahead, in order: from this step on it trains with these values."""
    paused: bool = False
    """Whether it is to wait before its first step."""


@dataclass(frozen=True, slots=True)
class Adjust(Command):
    """Change params of a running trial at its next step boundary. What ``Launch.timeline`` has for these names is
    dropped."""

    trial: int
    attempt: int
    command: str
    """Its id, which comes back as `Applied`."""
    changes: Params
    certain: bool = False
    """It is recorded already, from this boundary on: so it waits for no checkpoint, and nothing comes back."""


@dataclass(frozen=True, slots=True)
class Pause(Command):
    """Let a running trial wait at its next step boundary, or (``over``) train on."""

    trial: int
    attempt: int
    over: bool = False


@dataclass(frozen=True, slots=True)
class Answer(Command):
    """The answer to `RungReached`: go on to ``next_rung``, or stop for ``reason``."""

    trial: int
    attempt: int
    stop: bool
    next_rung: int | None = None
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class Stop(Command):
    """Stop a trial at its next step boundary; one that has not begun ends with 0 steps."""

    trial: int
    attempt: int
    reason: str
    again: bool = False
    """Whether it is to be launched again at once: then no other trial should take its place."""

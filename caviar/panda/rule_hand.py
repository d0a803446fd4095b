"""Rules in the place of a person: what they want becomes commands, which take the way that a person's take."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from caviar.messages import CommandReceived, Recorded, Reports, RungReached
from caviar.trial import Params


class RuleHand:
    """Lets rules look at a live run, and speaks for them."""

    every: int = 1

    def declared(self) -> list[Any]:
        """The rules as sweep.json has them."""
        raise NotImplementedError

    def see(self, item: Recorded | Reports) -> None:
        """Take what was reported, or recorded."""

    def judge(self, event: RungReached, params: Params) -> Sequence[CommandReceived]:
        """What the rules want."""
        raise NotImplementedError

    def recall(self, metrics: pa.Table, events: pa.Table) -> None:
        """Take in what was before."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Watch:
    """Rules as a run takes them."""

    hand: RuleHand | None = None
    """Those that look at the run; None where there is none."""
    table: Mapping[int, Mapping[str, Any]] = field(default_factory=dict)
    """What is known ahead: changes by step."""
    handles_non_finite: bool = False
    """Whether a metric that is not finite is for them to handle, and not the trial's end."""


def watching(rules: Sequence[Any], *, params: Params, metric: str, minimize: bool, max_step: int | None) -> Watch:
    """Rules for a run that begins with these params. What is no rule raises `UsageError`."""
    return Watch()


def parse(text: str, *, functions: Mapping[str, Any]) -> Any:
    """A rule as the command line has it."""
    raise NotImplementedError


def recorded(told: Mapping[str, Any], *, functions: Mapping[str, Any], where: str) -> list[Any]:
    """The rules of a live run, as sweep.json has them."""
    return []

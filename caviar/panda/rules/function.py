"""A plain function as a rule."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import KW_ONLY, dataclass
from typing import Any

from caviar.errors import UsageError
from caviar.panda.change import Change
from caviar.panda.live import Live
from caviar.panda.rules.base import Rule

Judging = Callable[[Live], Mapping[str, Any] | Change | None]
"""Looks at the run, and says what to change: a mapping from param to value, a `Change`, or None for nothing."""


@dataclass(frozen=True, slots=True)
class FunctionRule(Rule):
    """A rule that asks ``function(live)``, and has its name.

    The function returns a mapping from param to new value (as text that begins with ``*=``, ``/=``, ``+=`` or
    ``-=``, relative to the current one), a `Change`, or None. It should depend on ``live`` alone: what it keeps to
    itself is not there when the run is resumed. Anything else that it returns raises `UsageError`.
    """

    function: Judging
    _: KW_ONLY

    def __post_init__(self) -> None:
        Rule.__post_init__(self)
        if not callable(self.function):
            raise UsageError(f"rule {self.function!r:.80}: needs a rule or a function")

    @property
    def name(self) -> str:  # type: ignore[override]
        """The function's own name."""
        return str(getattr(self.function, "__name__", type(self.function).__name__))

    def to_dict(self) -> Mapping[str, Any]:
        """JSON for sweep.json; the function only by its name, under which whoever reads it has to know it."""
        return {"name": "FunctionRule", "function": self.name, **_rest(Rule.to_dict(self))}

    def consider(self, live: Live, fired: int) -> Change | None:
        """What the function wants."""
        wanted = self.function(live)
        if wanted is None or isinstance(wanted, Change):
            return wanted
        if isinstance(wanted, Mapping):
            return Change(wanted)
        raise UsageError(
            f"it returned {wanted!r:.80}; what is wanted is a mapping from param to value, a Change, or None"
        )


def _rest(data: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in data.items() if name not in ("name", "function")}


def as_rule(thing: Rule | Judging) -> Rule:
    """A rule as it is, a function as a rule. Raises `UsageError` for anything else."""
    return thing if isinstance(thing, Rule) else FunctionRule(thing)

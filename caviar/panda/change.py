"""What a rule wants done."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass, field
from typing import Any

import numpy as np

from caviar.errors import UsageError
from caviar.steering import LONGEST_NOTE


@dataclass(frozen=True, slots=True)
class Change:
    """What a rule wants done after the report that it was shown. One that asks for nothing is as good as none.

    ``set``: new values by param, from the next step on; as text that begins with ``*=``, ``/=``, ``+=`` or
    ``-=``, relative to the value that the run trains with now, also where it rolls back: else a rule that fires
    again, from the same checkpoint, would only repeat itself. ``rollback_to``: go back to the nearest checkpoint
    at or before this step, 0 for the beginning. ``pause``: wait for a person. ``stop``: end the run; it excludes
    all else. ``reason``: why, for people; cut off after 1,000 characters. Wrong arguments raise `UsageError`.
    """

    set: Mapping[str, Any] = field(default_factory=dict, hash=False)
    rollback_to: int | None = None
    _: KW_ONLY
    pause: bool = False
    stop: bool = False
    reason: str = ""

    def __post_init__(self) -> None:
        if not isinstance(self.set, Mapping) or not all(isinstance(name, str) for name in self.set):
            raise UsageError(f"Change(set={self.set!r:.80}): needs a mapping from param to value")
        plain = {
            name: value.item() if isinstance(value, np.generic) else value for name, value in self.set.items()
        }
        object.__setattr__(self, "set", plain)
        step = self.rollback_to.item() if isinstance(self.rollback_to, np.integer) else self.rollback_to
        if step is not None and (type(step) is not int or step < 0):
            raise UsageError(f"Change(rollback_to={self.rollback_to!r:.80}): needs a whole number of at least 0")
        object.__setattr__(self, "rollback_to", step)
        for name in ("pause", "stop"):
            if type(getattr(self, name)) is not bool:
                raise UsageError(f"Change({name}={getattr(self, name)!r:.80}): needs True or False")
        if not isinstance(self.reason, str):
            raise UsageError(f"Change(reason={self.reason!r:.80}): needs text")
        if len(self.reason) > LONGEST_NOTE:
            object.__setattr__(self, "reason", f"{self.reason[: LONGEST_NOTE - 1]}…")
        if self.stop and (self.set or self.pause or self.rollback_to is not None):
            raise UsageError("Change(stop=True): a run that ends can be changed in no other way")

    def __bool__(self) -> bool:
        """Whether it asks for anything."""
        return bool(self.set) or self.rollback_to is not None or self.pause or self.stop

    def and_also(self, other: Change) -> Change:
        """Both at once; of what both say, the other's word counts."""
        return Change(
            {**self.set, **other.set},
            self.rollback_to if other.rollback_to is None else other.rollback_to,
            pause=self.pause or other.pause,
            stop=self.stop or other.stop,
            reason=other.reason or self.reason,
        )

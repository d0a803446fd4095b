"""Acts every so many steps."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass, field
from typing import Any, ClassVar

from caviar.panda.change import Change
from caviar.panda.live import Live
from caviar.panda.rules.base import Scaling


@dataclass(frozen=True, slots=True)
class EveryN(Scaling):
    """Changes params every ``n`` steps: at the first report at or past each multiple.

    ``scale``: factors by param. ``set``: new values by param; as text that begins with ``*=``, ``/=``, ``+=`` or
    ``-=``, relative to the current ones. It takes no ``every``. Where all is known before the run begins,
    `Steps` says it without a rule.
    """

    name: ClassVar[str] = "EveryN"
    n: int
    _: KW_ONLY
    scale: Mapping[str, float] = field(default_factory=dict, hash=False)
    set: Mapping[str, Any] = field(default_factory=dict, hash=False)

    def __post_init__(self) -> None:
        Scaling.__post_init__(self)
        self._whole(n=self.n)
        self._mapping("set")
        if self.every != 1:
            raise self._wrong("every", self.every, f"n={self.n} says when")
        if not self.scale and not self.set:
            raise self._wrong("scale", {}, "needs params to scale or to set")
        if both := [name for name in self.set if name in self.scale]:
            raise self._wrong("set", self.set, f"{both[0]} is scaled already")

    @property
    def pace(self) -> int:
        return self.n

    @property
    def knobs(self) -> tuple[str, ...]:
        return (*self.scale, *self.set)

    def consider(self, live: Live, fired: int) -> Change | None:
        if not live.passes(self.n):
            return None
        return Change({**self.scaled, **self.set}, reason=f"every {self.n} steps")

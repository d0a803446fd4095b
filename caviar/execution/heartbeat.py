"""How the driver and a worker notice that the other one is gone: each by its own count of silence.

The driver always has an exchange under way with a worker, which replies within a second or so. Where no reply
comes for `HEARTBEAT_S` it is lost, whatever Ray thinks of its node; where no exchange comes for `CUT_OFF_S`
a worker ends itself, whether Ray can still reach it or not. Neither holds the time against the other in which it
was away itself: suspended, asleep, or busy elsewhere.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

HEARTBEAT_S = 8.0
"""A worker whose reply is overdue for so long is lost: with the second between two checks, within 10 s."""

CUT_OFF_S = 30.0
"""A worker that has not been asked anything for so long ends itself."""

GAP_S = 1.0
"""A longer gap between two looks at an `AwakeClock` counts as no more than this."""


class AwakeClock:
    """Seconds that pass while somebody looks at it, often enough."""

    def __init__(self, *, gap_s: float = GAP_S, clock: Callable[[], float] = time.monotonic) -> None:
        self._gap_s = gap_s
        self._clock = clock
        self._at = clock()
        self.now_s = 0.0
        """As of the last look."""

    def look(self) -> float:
        """Let it go on, by ``gap_s`` at most."""
        now = self._clock()
        self.now_s += min(now - self._at, self._gap_s)
        self._at = now
        return self.now_s


class CutOff:
    """Calls ``end``, on a thread of its own, when nothing was heard from the driver for ``limit_s``."""

    def __init__(self, limit_s: float, end: Callable[[], None]) -> None:
        self._limit_s = limit_s
        self._end = end
        self._clock = AwakeClock()
        self._heard_s = 0.0
        threading.Thread(target=self._watch, name="caviar-cut-off", daemon=True).start()

    def heard(self) -> None:
        """The driver has just been heard from."""
        self._heard_s = self._clock.now_s

    def _watch(self) -> None:
        while self._clock.look() - self._heard_s < self._limit_s:
            time.sleep(GAP_S / 2)
        self._end()

"""Time as a sweep spends it: in the hands of its drivers, without the breaks between them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from caviar.analysis.trials import EventColumns
from caviar.messages import Floats, Ints


@dataclass(frozen=True, slots=True)
class Terms:
    """When each driver took the sweep in hand and let it go, in order, in microseconds since the epoch."""

    start: Ints
    stop: Ints

    @classmethod
    def of(cls, events: EventColumns, report_time_us: Ints) -> Terms:
        """A driver that was killed left no last word: it lived until the last thing that it recorded."""
        times = np.sort(np.concatenate([events.time_us, report_time_us]))
        if not len(times):
            return cls(times, times)
        start = np.unique(events.time_us[events.rows("driver_started")])
        if not len(start) or start[0] > times[0]:
            start = np.r_[times[0], start]
        before = times[np.searchsorted(times, start[1:]) - 1]
        return cls(start, np.maximum(np.r_[before, times[-1]], start))

    def seconds(self, time_us: Ints) -> Floats:
        """How long the sweep had been in hand at each time."""
        if not len(self.start):
            return np.zeros(len(time_us))
        term = np.clip(np.searchsorted(self.start, time_us, side="right") - 1, 0, None)
        within = np.clip(time_us - self.start[term], 0, self.stop[term] - self.start[term])
        before = np.cumsum(self.stop - self.start) - (self.stop - self.start)
        return np.asarray((before[term] + within) / 1e6)

    @property
    def ends_s(self) -> Floats:
        """How long the sweep had been in hand at the end of each term."""
        return np.asarray(np.cumsum(self.stop - self.start) / 1e6)

    def of_seconds(self, seconds: Floats) -> Ints:
        """Which term each moment lies in."""
        return np.minimum(np.searchsorted(self.ends_s, seconds, side="right"), max(len(self.stop) - 1, 0))

    @property
    def total_s(self) -> float:
        """How long the sweep was in hand."""
        return float((self.stop - self.start).sum() / 1e6)


def unit(seconds: float) -> tuple[str, float]:
    """The unit in which to show so many seconds, and how many seconds it has."""
    for name, size in (("days", 86_400.0), ("hours", 3_600.0), ("minutes", 60.0)):
        if seconds >= 2 * size:
            return name, size
    return "seconds", 1.0


def told(seconds: float) -> str:
    """``12 s``, ``3.4 min``, ``5.6 h``."""
    for name, size in (("d", 172_800.0), ("h", 7_200.0), ("min", 120.0)):
        if seconds >= size:
            return f"{seconds / {'d': 86_400, 'h': 3_600, 'min': 60}[name]:.3g} {name}"
    return f"{seconds:.3g} s"

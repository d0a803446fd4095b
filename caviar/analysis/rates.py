"""How long a sweep has been at work, and how fast it goes, from the times of what was recorded."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from caviar.analysis.trials import EventColumns
from caviar.messages import Ints

RECENT_S = 10.0
"""How far back rates look."""


class Clock:
    """The time that a sweep spent in the hands of a driver, over all resumes."""

    KINDS: ClassVar = ("driver_started", "driver_stopped", "sweep_ended")

    def __init__(self) -> None:
        self.since_us: int | None = None
        """When the driver at work began; None while there is none."""
        self.last_us: int | None = None
        """The latest time seen."""
        self._before_us = 0

    def add(self, events: EventColumns, report_time_us: Ints) -> None:
        """Take in what is new, the events in order."""
        times = np.concatenate([events.time_us, report_time_us])
        for row in events.rows(*self.KINDS).tolist():
            now_us = int(events.time_us[row])
            if events.kinds[events.code[row]] == "driver_started":
                # a driver that was killed leaves no last word: it lived until the last thing it recorded
                earlier = times[times < now_us].max(initial=self.last_us or 0)
                self._leave(int(earlier))
                self.since_us = now_us
            else:
                self._leave(now_us)
        if len(times):
            self.last_us = max(self.last_us or 0, int(times.max()))

    def _leave(self, now_us: int) -> None:
        if self.since_us is not None:
            self._before_us += max(now_us - self.since_us, 0)
        self.since_us = None

    def elapsed_s(self, now_us: int | None = None) -> float:
        """The time spent up to ``now_us``, by default up to the latest time seen."""
        if self.since_us is None:
            return self._before_us / 1e6
        now_us = self.last_us if now_us is None else now_us
        return (self._before_us + max((now_us or 0) - self.since_us, 0)) / 1e6


class Rate:
    """How many of something came per second, of late."""

    BUCKET_US: ClassVar = 250_000

    def __init__(self) -> None:
        self.total = 0
        self._recent: dict[int, int] = {}

    def add(self, time_us: Ints) -> None:
        """So many more, at these times."""
        self.total += len(time_us)
        if not len(time_us):
            return
        newest = max(int(time_us.max()) // self.BUCKET_US, max(self._recent, default=0))
        oldest = newest - int(RECENT_S * 1e6) // self.BUCKET_US
        buckets, counts = np.unique(
            time_us[time_us >= oldest * self.BUCKET_US] // self.BUCKET_US, return_counts=True
        )
        for bucket, count in zip(buckets.tolist(), counts.tolist(), strict=True):
            self._recent[bucket] = self._recent.get(bucket, 0) + count
        self._recent = {bucket: count for bucket, count in self._recent.items() if bucket >= oldest}

    def recent(self, now_us: int) -> int:
        """How many came in the `RECENT_S` before ``now_us``."""
        oldest = (now_us - RECENT_S * 1e6) / self.BUCKET_US
        return sum(count for bucket, count in self._recent.items() if bucket > oldest)

    def per_s(self, now_us: int, since_us: int) -> float:
        """The rate over the `RECENT_S` before ``now_us``, or since ``since_us`` if that is later."""
        span_s = min((now_us - since_us) / 1e6, RECENT_S)
        return self.recent(now_us) / span_s if span_s > 0 else 0.0

    def over(self, now_us: int, span_us: int) -> float:
        """How many came in the ``span_us`` before ``now_us`` (at most `RECENT_S`), each by the share of it that
        was over: by so much was a number that each raised by one lower on average over the span."""
        if span_us <= 0:
            return 0.0
        shares = ((bucket * self.BUCKET_US - now_us) / span_us + 1 for bucket in self._recent)
        return sum(
            count * min(max(share, 0.0), 1.0) for count, share in zip(self._recent.values(), shares, strict=True)
        )

"""What a supervisor holds against a training process: rules about time and memory, and nothing else.

It is told what passes between the two, and the time; it says when the process has to be ended, and why. No clock,
no thread and no process is in here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from caviar.execution.memory import in_words
from caviar.execution.resources import Resources
from caviar.execution.wire import BACK, ENDED, PAUSED, REPORTS, RUNG, STARTED, TOLD, UNPAUSED, Entry

Attempt = tuple[int, int]
"""(trial, attempt)"""


@dataclass(frozen=True, slots=True)
class Verdict:
    """Why a training process is to be ended."""

    attempt: Attempt | None
    """On account of which attempt; None: it had not begun one."""
    reason: str


class Watchdog:
    """Watches over what one training process does with its time and its memory. All times are in seconds."""

    def __init__(self, resources: Resources) -> None:
        self._progress_timeout_s = resources.progress_timeout_s
        self._stop_grace_s = resources.stop_grace_s
        self._memory_bytes = resources.memory_bytes
        self.born()

    @property
    def tick_s(self) -> float:
        """How often to look: a second late is soon enough, but for limits of seconds."""
        limits = [limit for limit in (self._progress_timeout_s, self._stop_grace_s) if limit is not None]
        return min([1.0, *(limit / 4 for limit in limits)])

    # --- what passes ---------------------------------------------------------------------------------

    def born(self) -> None:
        """There is a new process."""
        self._attempt: Attempt | None = None
        """What it trains."""
        self._in_hand = False
        """Whether it has trials that it has not begun."""
        self._asking = False
        """Whether it waits for an answer."""
        self._heard_at = 0.0
        self._reached = "before it began a trial"
        self._paused = False
        """Whether its trial waits because a person or a rule wants it to."""
        self._told: tuple[float, Entry] | None = None
        """When its function was told to end, and how its attempt ends if it does."""

    def handed(self, now: float) -> None:
        """It was given trials."""
        if self._attempt is None and not self._in_hand:
            self._heard_at = now
        self._in_hand = True

    def answered(self, now: float) -> None:
        """It was given the answer that it waited for."""
        self._asking, self._heard_at = False, now

    def heard(self, entry: Entry, now: float, *, in_hand: bool) -> None:
        """It sent something. ``in_hand``: whether it has trials that it has not begun, after this."""
        kind = entry[0]
        self._in_hand = in_hand
        of_another = kind == ENDED and self._attempt not in (None, (entry[2], entry[3]))
        if kind == BACK or of_another:  # its second thread sent that: no sign of progress
            return
        self._heard_at = now
        if kind == REPORTS:
            self._reached = f"last at step {int(entry[5][-1][0])}"
        elif kind == STARTED:
            self._attempt, self._told, self._asking, self._paused = (entry[2], entry[3]), None, False, False
            self._reached = f"restored from step {entry[4]}" if entry[4] else "before its first report"
        elif kind == RUNG:
            self._asking = True
        elif kind in (PAUSED, UNPAUSED):
            self._paused = kind == PAUSED
        elif kind == TOLD:
            self._told = (now, entry)
        elif kind == ENDED:
            self._attempt, self._told, self._paused = None, None, False
            self._reached = "between two trials"

    # --- what follows --------------------------------------------------------------------------------

    def decided(self, attempt: Attempt, now_us: int) -> Entry | None:
        """The ENDED entry of an attempt whose function had been told to end, whatever it did after that; None: it
        had not."""
        if self._told is None or self._attempt != attempt:
            return None
        return (ENDED, now_us, *self._told[1][2:])

    def due(self, now: float) -> Verdict | None:
        """Whether it has to be ended because its time is up."""
        if self._told is not None and self._stop_grace_s is not None:
            told_at, entry = self._told
            if now - told_at < self._stop_grace_s:
                return None
            why = entry[6] or "it had come to max_step"
            return Verdict(self._attempt, f"still there {self._stop_grace_s:g} s after it was told to end: {why}")
        timeout_s, busy = self._progress_timeout_s, self._attempt is not None or self._in_hand
        if timeout_s is None or self._asking or self._paused or not busy or now - self._heard_at < timeout_s:
            return None
        return Verdict(self._attempt, f"no progress for {timeout_s:g} s ({self._reached})")

    def too_large(self, *measures: Callable[[], int]) -> Verdict | None:
        """Whether it has to be ended because it uses too much memory, by all measures, the cheapest first."""
        limit, attempt = self._memory_bytes, self._attempt
        if limit is None or attempt is None:
            return None
        used = 0
        for measure in measures:
            used = measure()
            if used <= limit:
                return None
        return Verdict(attempt, f"used {in_words(used)}, more than its memory_bytes of {in_words(limit)}")

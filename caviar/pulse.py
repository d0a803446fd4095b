"""A driver's pulse: what its loop notes of itself on the way, shown to the executor every few seconds."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence

from caviar.execution.vitals import Vitals
from caviar.messages import Decided, Recorded, Reports, WorkerLost
from caviar.state import SweepState
from caviar.trial import TrialState

LOOK_S = 5.0
"""Between two looks: half of the time after which Ray passes a value on, so that none is missed."""


class Pulse:
    """Notes what happens, for next to nothing, and looks at the rest when a look is due."""

    def __init__(
        self,
        show: Callable[[Vitals], None],
        *,
        state: SweepState,
        take_commits: Callable[[], tuple[int, Sequence[float]]],
        turn_s: float,
    ) -> None:
        """``take_commits``: the rows that are not durable, and how long the commits since the last look took.
        ``turn_s``: how long the loop may be away where nothing happens."""
        self._show = show
        self._state = state
        self._take_commits = take_commits
        self._turn_s = turn_s
        self._reports = 0
        self._decisions = Counter[str]()
        self._workers_lost = 0
        self._turned_s = self._looked_s = self._busy_s = 0.0
        self._longest_s = 0.0
        self._longest_before_s = 0.0
        """Of the look before: what is passed on less often than shown would else miss the worst."""

    def begin(self) -> None:
        """The loop begins, on this thread."""
        self._turned_s = self._looked_s = time.monotonic()
        self._busy_s = time.thread_time()

    def reported(self, reports: Sequence[Reports]) -> None:
        """These arrived."""
        for block in reports:
            self._reports += len(block)

    def recorded(self, event: Recorded) -> None:
        """This happened."""
        if isinstance(event, Decided):
            self._decisions[event.decision] += 1
        elif isinstance(event, WorkerLost):
            self._workers_lost += 1

    def turn(self, now_s: float) -> None:
        """The loop has come round, by the monotonic clock."""
        self._longest_s = max(self._longest_s, now_s - self._turned_s)
        self._turned_s = now_s
        if now_s - self._looked_s >= LOOK_S:
            self.look(now_s)

    def look(self, now_s: float) -> None:
        """Show how things stand. On the loop's thread."""
        busy_s = time.thread_time()
        rows, took_s = self._take_commits()
        lasted_s = max(now_s - self._looked_s, 1e-9)
        self._show(
            Vitals(
                trials={state.value: self._state.counts[state] for state in TrialState},
                to_come=self._state.unsampled,
                reports=self._reports,
                decisions=dict(self._decisions),
                workers_lost=self._workers_lost,
                uncommitted_rows=rows,
                commits_s=took_s,
                lag_s=max(0.0, max(self._longest_s, self._longest_before_s) - self._turn_s),
                busy=min(1.0, max(0.0, busy_s - self._busy_s) / lasted_s),
            )
        )
        self._looked_s, self._busy_s = now_s, busy_s
        self._longest_before_s, self._longest_s = self._longest_s, 0.0

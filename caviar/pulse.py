"""A driver's pulse: what its loop notes of itself on the way, shown to the executor every second."""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Callable, Sequence

from caviar.execution.vitals import Vitals
from caviar.messages import Decided, Recorded, Reports, WorkerLost
from caviar.state import SweepState
from caviar.trial import TrialState

LOOK_S = 1.0
"""Between two looks: no longer than between two times that Ray passes values on, however that is set."""

LAG_LOOKS = 10
"""The worst lag is that of so many looks: values are passed on more rarely, and would else miss it."""


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
        self._longest_s: deque[float] = deque([0.0], maxlen=LAG_LOOKS)
        """The longest that the loop was away, by look; the last of them is not over."""

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
        self._longest_s[-1] = max(self._longest_s[-1], now_s - self._turned_s)
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
                lag_s=max(0.0, max(self._longest_s) - self._turn_s),
                busy=min(1.0, max(0.0, busy_s - self._busy_s) / lasted_s),
            )
        )
        self._looked_s, self._busy_s = now_s, busy_s
        self._longest_s.append(0.0)

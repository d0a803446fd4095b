"""Trials in virtual time: the real loop, the real controller and the real store, with learning curves that are
already known, or are computed at once.

A trial's course is cut into pieces at its rungs, and each piece is one event in a queue ordered by virtual time;
so the cost of a trial does not depend on how long it would train, and a million trials are a matter of minutes.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from caviar.errors import UsageError
from caviar.execution.contract import Arrivals, Deliver, Executor, Job
from caviar.execution.course import Course, Curve, Known, Source, Trained
from caviar.messages import (
    Answer,
    AttemptEnded,
    Checkpointed,
    Command,
    Event,
    Launch,
    RungReached,
    Stop,
    TrialStarted,
)

if TYPE_CHECKING:
    import pandas as pd

EVENTS_A_POLL = 2048
START_US = 946_684_800_000_000
"""Virtual time begins at 2000-01-01, so that nobody takes it for real."""


class Simulated(Executor):
    """Runs a sweep in virtual time.

    ``workers``: trials at once. ``step_s``: virtual seconds a step takes, a number or a function of the params.
    ``curves``: where learning curves come from: a function of a `Launch` that returns metric values by name, one
    for each step from 1; or recorded curves, as `Result.curves` returns them, by trial number. None: the training
    function runs, in no virtual time, to the end of the trial; then the sweep needs max_step.
    """

    def __init__(
        self,
        workers: int = 8,
        *,
        step_s: float | Callable[[Mapping[str, Any]], float] = 1.0,
        curves: Callable[[Launch], Curve] | pd.DataFrame | None = None,
        source: Source | None = None,
    ) -> None:
        if not isinstance(workers, int) or workers < 1:
            raise UsageError(f"Simulated(workers={workers!r}): needs a whole number of at least 1")
        if not callable(step_s) and not (isinstance(step_s, int | float) and step_s > 0):
            raise UsageError(f"Simulated(step_s={step_s!r}): needs a positive number of seconds, or a function")
        self._step_s = step_s
        self._source: Source = source or (Trained() if curves is None else Known(curves))
        self._workers = workers
        self._idle: list[int] = []
        self._queue: deque[Launch] = deque()
        self._courses: dict[int, Course] = {}
        self._due: list[tuple[int, int, Course]] = []
        """A heap of (virtual time, order, course): when a piece of a trial is done."""
        self._order = 0
        self._now_us = START_US

    # --- the contract -------------------------------------------------------------------------------

    def start(self, job: Job, deliver: Deliver) -> None:
        if job.max_step is None and isinstance(self._source, Trained):
            raise UsageError("Simulated(): needs curves, or a sweep with max_step; virtual time has no other end")
        self._job = job
        self._deliver = deliver
        self._idle = list(range(self._workers))
        self._queue.clear()

    def room(self) -> int:
        return max(0, len(self._idle) - len(self._queue))

    def send(self, commands: Sequence[Command]) -> None:
        for command in commands:
            match command:
                case Launch():
                    self._queue.append(command)
                case Answer(trial, _, stop, next_rung, reason):
                    course = self._courses[trial]
                    course.next_rung = next_rung
                    course.stop_reason = (reason or "stopped") if stop else None
                    self._schedule(course)
                case Stop(trial, attempt, reason):
                    self._stop(trial, attempt, reason)

    def poll(self, timeout_s: float) -> None:
        self._begin()
        for _ in range(EVENTS_A_POLL):
            if not self._due:
                self._now_us += int(timeout_s * 1e6)  # the runner waits for something: time goes on
                return
            due_us, order, course = heapq.heappop(self._due)
            if course.order != order or self._courses.get(course.launch.trial) is not course:
                continue  # it was stopped since, and is due at another time
            self._now_us = max(self._now_us, due_us)
            self._advance(course)
            if len(self._idle) > len(self._queue):
                return  # let the runner hand out trials before time goes on

    def now_us(self) -> int:
        return self._now_us

    def close(self) -> None:
        self._due.clear()
        self._courses.clear()

    # --- virtual time -------------------------------------------------------------------------------

    def _begin(self) -> None:
        started: list[Event] = []
        while self._queue and self._idle:
            launch = self._queue.popleft()
            course = self._source.course(launch, self._job)
            seconds = self._step_s(launch.params) if callable(self._step_s) else self._step_s
            course.step_us = max(1, round(seconds * 1e6))
            course.began_us = self._now_us
            course.worker = self._idle.pop()
            self._courses[launch.trial] = course
            restored = launch.checkpoint[1] if launch.checkpoint else None
            worker = f"simulated-{course.worker}"
            started.append(TrialStarted(self._now_us, launch.trial, launch.attempt, worker, restored))
            self._schedule(course)
        if started:
            self._deliver(Arrivals((), started))

    def _schedule(self, course: Course) -> None:
        self._order += 1
        course.order = self._order
        heapq.heappush(self._due, (course.due_us(course.target), self._order, course))

    def _advance(self, course: Course) -> None:
        """The trial has come to its rung or its end: deliver what it reported on the way."""
        before, target = course.position, course.target
        course.position = target
        trial, attempt, step = course.launch.trial, course.launch.attempt, course.step_at(target)
        events: list[Event] = [
            Checkpointed(self._now_us, trial, attempt, saved)
            for saved in course.saved
            if course.step_at(before) < saved <= step
        ]
        if course.stop_reason is not None or (target == len(course.steps) and not self._asks(course, step)):
            events.append(course.ended(self._now_us, minimize=self._job.minimize))
            del self._courses[trial]
            self._idle.append(course.worker)
        else:
            assert course.metric is not None
            events.append(RungReached(trial, attempt, step, float(course.values[target - 1, course.metric])))
        self._deliver(Arrivals([course.part(before, target)] if target > before else (), events))

    def _asks(self, course: Course, step: int) -> bool:
        """Whether the scheduler judges its last report: not at max_step, nor where it diverged."""
        if course.next_rung is None or course.metric is None or step < course.next_rung:
            return False
        limit = course.launch.max_step or self._job.max_step
        if limit is not None and step >= limit:
            return False
        return course.end.outcome != "stopped"

    def _stop(self, trial: int, attempt: int, reason: str) -> None:
        course = self._courses.get(trial)
        if course is not None:
            before, course.position = course.position, max(course.position, course.position_at(self._now_us))
            course.stop_reason = reason
            self._schedule(course)
            if course.position > before:
                self._deliver(Arrivals([course.part(before, course.position)], []))
            return
        launch = next((launch for launch in self._queue if launch.trial == trial), None)
        if launch is not None:
            self._queue.remove(launch)
            self._deliver(Arrivals((), [AttemptEnded(self._now_us, trial, attempt, 0, "stopped", reason)]))

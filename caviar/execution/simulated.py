"""Trials in virtual time: the real loop, the real controller and the real store, with learning curves that are
already known, or are computed at once.

A trial's curve is cut into pieces at its rungs, and each piece is one event in a queue ordered by virtual time; so
the cost of a trial does not depend on how long it would train, and a million trials are a matter of minutes.
"""

from __future__ import annotations

import heapq
import math
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from caviar.errors import UsageError
from caviar.execution.contract import Arrivals, Deliver, Executor, Job
from caviar.execution.training import Link, Trial, run_attempt
from caviar.execution.wire import REPORTS, Entry, columns
from caviar.messages import (
    Answer,
    AttemptEnded,
    Checkpointed,
    Command,
    Event,
    Launch,
    Reports,
    RungReached,
    Stop,
    TrialStarted,
)

if TYPE_CHECKING:
    import pandas as pd

Curve = Mapping[str, npt.ArrayLike]
"""Metric values by name, one for each step from 1."""

EVENTS_A_POLL = 2048
START_US = 946_684_800_000_000
"""Virtual time begins at 2000-01-01, so that nobody takes it for real."""


@dataclass(slots=True)
class _Course:
    """A trial in training: what it will report, and how far it has come."""

    launch: Launch
    worker: int
    began_us: int
    step_us: int
    reports: Reports
    end: AttemptEnded
    metric: int | None
    """The column of the primary metric."""
    checkpoints: Sequence[int]
    position: int = 0
    next_rung: int | None = None
    stop_reason: str | None = None


class Simulated(Executor):
    """Runs a sweep in virtual time.

    ``workers``: trials at once. ``step_s``: virtual seconds a step takes, a number or a function of the params.
    ``curves``: where learning curves come from: a function of a `Launch` that returns metric values by name, one
    for each step from 1; or recorded curves, as `Result.curves` returns them, by trial number. None: the training
    function runs, in no virtual time, to the end of the trial; it must not need a worker's process.
    """

    def __init__(
        self,
        workers: int = 8,
        *,
        step_s: float | Callable[[Mapping[str, Any]], float] = 1.0,
        curves: Callable[[Launch], Curve] | pd.DataFrame | None = None,
    ) -> None:
        if not isinstance(workers, int) or workers < 1:
            raise UsageError(f"Simulated(workers={workers!r}): needs a whole number of at least 1")
        self._step_s = step_s
        self._curves = _recorded(curves) if curves is not None and not callable(curves) else curves
        self._idle = list(range(workers))
        self._queue: deque[Launch] = deque()
        self._courses: dict[int, _Course] = {}
        self._due: list[tuple[int, int, int, int]] = []
        """A heap of (time, order, trial, attempt): when a piece of a trial is done."""
        self._order = 0
        self._now_us = START_US
        self._shared: list[object] = []

    # --- the contract ------------------------------------------------------------------------------

    def start(self, job: Job, deliver: Deliver) -> None:
        if job.max_step is None and self._curves is None:
            raise UsageError("Simulated(): needs curves, or a sweep with max_step; virtual time has no other end")
        self._job = job
        self._deliver = deliver

    def room(self) -> int:
        return max(0, len(self._idle) - len(self._queue))

    def send(self, commands: Sequence[Command]) -> None:
        for command in commands:
            match command:
                case Launch():
                    self._queue.append(command)
                case Answer(trial, _, stop, next_rung, reason):
                    course = self._courses.get(trial)
                    if course is not None:
                        course.next_rung = next_rung
                        course.stop_reason = (reason or "stopped") if stop else None
                        self._schedule(course)
                case Stop(trial, attempt, reason):
                    self._stop(trial, attempt, reason)

    def poll(self, timeout_s: float) -> None:
        self._begin()
        for _ in range(EVENTS_A_POLL):
            if not self._due:
                return
            due_us, _, trial, attempt = heapq.heappop(self._due)
            course = self._courses.get(trial)
            if course is None or course.launch.attempt != attempt:
                continue
            self._now_us = max(self._now_us, due_us)
            self._advance(course)
            if len(self._idle) > len(self._queue):
                return  # let the runner hand out trials before time goes on

    def now_us(self) -> int:
        return self._now_us

    @property
    def virtual(self) -> bool:
        return True

    def close(self) -> None:
        self._due.clear()
        self._courses.clear()

    # --- courses -----------------------------------------------------------------------------------

    def _begin(self) -> None:
        started: list[Event] = []
        while self._queue and self._idle:
            launch = self._queue.popleft()
            course = self._course(launch, self._idle.pop())
            self._courses[launch.trial] = course
            restored = launch.checkpoint[1] if launch.checkpoint else None
            worker = f"simulated-{course.worker}"
            started.append(TrialStarted(self._now_us, launch.trial, launch.attempt, worker, restored))
            self._schedule(course)
        if started:
            self._deliver(Arrivals((), started))

    def _schedule(self, course: _Course) -> None:
        """Find where the trial stops next: at its rung, or at its end."""
        target = self._target(course)
        step = course.reports.step[target - 1] if target else _restored(course.launch)
        due_us = course.began_us + int(step - _restored(course.launch)) * course.step_us
        self._order += 1
        heapq.heappush(self._due, (due_us, self._order, course.launch.trial, course.launch.attempt))

    def _target(self, course: _Course) -> int:
        """How many reports there will be when it stops next."""
        if course.stop_reason is not None:
            return course.position
        total = len(course.reports)
        if course.next_rung is None or course.metric is None:
            return total
        at = int(np.searchsorted(course.reports.step, course.next_rung))
        at = max(at, course.position)
        return min(total, at + 1)

    def _advance(self, course: _Course) -> None:
        """The trial has come to its rung or its end: deliver what it reported on the way."""
        target = self._target(course)
        reports = course.reports
        before, course.position = course.position, target
        blocks = [_part(reports, before, target)] if target > before else []
        trial, attempt = course.launch.trial, course.launch.attempt
        step = int(reports.step[target - 1]) if target else _restored(course.launch)
        events: list[Event] = [
            Checkpointed(self._now_us, trial, attempt, saved)
            for saved in course.checkpoints
            if (int(reports.step[before - 1]) if before else 0) < saved <= step
        ]
        at_end = target == len(reports) and not self._asks(course, step)
        if course.stop_reason is not None or at_end:
            events.append(self._end(course, step))
            del self._courses[trial]
            self._idle.append(course.worker)
        else:
            assert course.metric is not None
            events.append(RungReached(trial, attempt, step, float(reports.values[target - 1, course.metric])))
        self._deliver(Arrivals(blocks, events))

    def _asks(self, course: _Course, step: int) -> bool:
        """Whether the scheduler judges at this step; not at max_step, nor where the trial diverged."""
        if course.next_rung is None or course.metric is None or step < course.next_rung:
            return False
        if self._job.max_step is not None and step >= self._job.max_step:
            return False
        return course.end.outcome != "stopped" or step < course.end.step

    def _end(self, course: _Course, step: int) -> AttemptEnded:
        end, launch = course.end, course.launch
        outcome, reason = end.outcome, end.reason
        if course.stop_reason is not None:
            outcome, reason = "stopped", course.stop_reason
        value = best = best_step = None
        if course.metric is not None and course.position:
            values = course.reports.values[: course.position, course.metric]
            value = float(values[-1])
            losses = np.where(np.isfinite(values), values if self._job.minimize else -values, np.inf)
            at = int(np.argmin(losses))
            if losses[at] < math.inf:
                best, best_step = float(values[at]), int(course.reports.step[at])
        ids = (launch.trial, launch.attempt, step)
        return AttemptEnded(self._now_us, *ids, outcome, reason, end.error, value, best, best_step)

    def _stop(self, trial: int, attempt: int, reason: str) -> None:
        course = self._courses.get(trial)
        if course is not None:
            done = (self._now_us - course.began_us) // course.step_us + _restored(course.launch)
            target = int(np.searchsorted(course.reports.step, done, side="right"))
            if target > course.position:
                self._deliver(Arrivals([_part(course.reports, course.position, target)], []))
                course.position = target
            course.stop_reason = reason
            self._schedule(course)
            return
        for launch in self._queue:
            if launch.trial == trial:
                self._queue.remove(launch)
                ended = AttemptEnded(self._now_us, trial, attempt, 0, "stopped", reason)
                self._deliver(Arrivals((), [ended]))
                return

    # --- curves ------------------------------------------------------------------------------------

    def _course(self, launch: Launch, worker: int) -> _Course:
        seconds = self._step_s(launch.params) if callable(self._step_s) else self._step_s
        step_us = max(1, round(seconds * 1e6))
        rows, names, end, saved = self._known(launch) if self._curves is not None else self._train(launch)
        n = len(rows)
        steps = rows[:, 0].astype(np.int64)
        reports = Reports(
            names=names,
            trial=np.full(n, launch.trial, dtype=np.int64),
            attempt=np.full(n, launch.attempt, dtype=np.int64),
            seq=np.arange(n, dtype=np.int64),
            step=steps,
            time_us=self._now_us + (steps - _restored(launch)) * step_us,
            values=rows[:, 1:],
        )
        metric = names.index(self._job.metric) if self._job.metric in names else None
        return _Course(
            launch, worker, self._now_us, step_us, reports, end, metric, saved, next_rung=launch.next_rung
        )

    def _known(
        self, launch: Launch
    ) -> tuple[npt.NDArray[np.float64], tuple[str, ...], AttemptEnded, Sequence[int]]:
        assert callable(self._curves)
        curve = self._curves(launch)
        names = tuple(curve)
        values = np.column_stack([np.asarray(curve[name], dtype=np.float64) for name in names])
        if self._job.max_step is not None:
            values = values[: self._job.max_step]
        outcome, reason, last = "returned", None, len(values)
        if self._job.metric not in names or not last:
            outcome, reason = "failed", f"no report of {self._job.metric}"
        elif self._job.stop_on_nan:
            bad = np.flatnonzero(~np.isfinite(values[:, names.index(self._job.metric)]))
            if len(bad):
                outcome, reason, last = "stopped", "diverged", int(bad[0]) + 1
        begin = _restored(launch)
        rows = np.column_stack([np.arange(begin + 1, last + 1), values[begin:last]])
        end = AttemptEnded(0, launch.trial, launch.attempt, max(last, begin), outcome, reason)
        return rows, names, end, ()

    def _train(
        self, launch: Launch
    ) -> tuple[npt.NDArray[np.float64], tuple[str, ...], AttemptEnded, Sequence[int]]:
        """Run the training function from end to end, and keep what it reports."""
        ledger = _Ledger()
        entry = run_attempt(launch, job=self._job, link=ledger, shared=self._shared)
        names = tuple(dict.fromkeys(name for block in ledger.blocks() for name in block.names))
        table: dict[int, list[float]] = {}
        for block in ledger.blocks():
            at = [names.index(name) for name in block.names]
            for step, values in zip(block.step.tolist(), block.values, strict=True):
                row = table.setdefault(step, [math.nan] * len(names))
                for column, value in zip(at, values.tolist(), strict=True):
                    row[column] = value
        rows = np.array([[step, *row] for step, row in sorted(table.items())], dtype=np.float64)
        end = AttemptEnded(*entry[1:])
        return rows.reshape(len(table), 1 + len(names)), names, end, ledger.saved


class _Ledger(Link):
    """Keeps what a training function reports; at a rung it lets the function go on."""

    def __init__(self) -> None:
        self._entries: list[Entry] = []
        self.saved: list[int] = []

    def attend(self, trial: Trial | None) -> None:
        pass

    def report(self, trial: Trial, names: tuple[str, ...], row: tuple[float, ...]) -> None:
        self._entries.append((REPORTS, trial.id, trial.attempt, trial.reports, names, [row]))

    def tell(self, entry: Entry) -> None:
        self.saved.append(entry[4])

    def ask(self, trial: Trial, entry: Entry) -> None:
        trial.answered(None)

    def log(self, trial: Trial, text: str) -> None:
        pass

    def blocks(self) -> list[Reports]:
        return columns(self._entries)


def _restored(launch: Launch) -> int:
    return launch.checkpoint[1] if launch.checkpoint else 0


def _part(reports: Reports, begin: int, end: int) -> Reports:
    return Reports(
        reports.names,
        reports.trial[begin:end],
        reports.attempt[begin:end],
        reports.seq[begin:end],
        reports.step[begin:end],
        reports.time_us[begin:end],
        reports.values[begin:end],
    )


def _recorded(curves: pd.DataFrame) -> Callable[[Launch], Curve]:
    """Recorded learning curves, by trial number."""
    metrics = [name for name in curves.columns if name not in {"trial", "step", "time", "attempt"}]
    by_trial: dict[Any, pd.DataFrame] = {
        trial: rows.sort_values("step") for trial, rows in curves.groupby("trial")
    }

    def curve(launch: Launch) -> Curve:
        rows = by_trial.get(launch.trial)
        if rows is None:
            raise UsageError(f"Simulated(curves=...): there is no curve of trial {launch.trial}")
        return {name: rows[name].to_numpy() for name in metrics}

    return curve

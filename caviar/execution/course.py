"""The course of a simulated trial: all that it would report, known before virtual time begins."""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import numpy.typing as npt

from caviar.errors import UsageError
from caviar.execution.contract import Job
from caviar.execution.training import Link, Trial, run_attempt
from caviar.execution.wire import SAVED, Entry, Run, columns
from caviar.messages import AttemptEnded, Floats, Launch, Reports

if TYPE_CHECKING:
    import pandas as pd

Curve = Mapping[str, npt.ArrayLike]
"""Metric values by name, one for each step from 1."""


@dataclass(slots=True)
class Course:
    """What one attempt reports, one row a step, and how far it has come."""

    launch: Launch
    names: tuple[str, ...]
    steps: Sequence[int]
    """The step of each report, ascending."""
    values: Floats
    """Shape (reports, metrics)."""
    end: AttemptEnded
    """How it ends if it is not stopped."""
    metric: int | None
    """The column of the sweep's metric."""
    saved: Sequence[int] = ()
    """Steps at which it writes a checkpoint."""
    worker: int = 0
    began_us: int = 0
    step_us: int = 1
    position: int = 0
    """How many reports it has delivered."""
    next_rung: int | None = None
    stop_reason: str | None = None
    order: int = 0
    """Its current place in the queue of virtual time."""

    @property
    def begin(self) -> int:
        """The step that it began from."""
        return self.launch.checkpoint[1] if self.launch.checkpoint else 0

    @property
    def target(self) -> int:
        """How many reports it will have delivered when it comes to its next rung, or its end."""
        if self.stop_reason is not None:
            return self.position
        if self.next_rung is None or self.metric is None:
            return len(self.steps)
        return min(len(self.steps), max(bisect_left(self.steps, self.next_rung), self.position) + 1)

    def step_at(self, position: int) -> int:
        """The last step of so many reports."""
        return self.steps[position - 1] if position else self.begin

    def due_us(self, position: int) -> int:
        """When it will have made so many reports."""
        return self.began_us + (self.step_at(position) - self.begin) * self.step_us

    def position_at(self, now_us: int) -> int:
        """How many reports it has made by then."""
        return bisect_right(self.steps, self.begin + (now_us - self.began_us) // self.step_us)

    def part(self, begin: int, end: int) -> Reports:
        """The reports from one position to another."""
        count, launch = end - begin, self.launch
        step = np.fromiter(self.steps[begin:end], dtype=np.int64, count=count)
        return Reports(
            names=self.names,
            trial=np.full(count, launch.trial, dtype=np.int64),
            attempt=np.full(count, launch.attempt, dtype=np.int64),
            seq=np.arange(begin, end, dtype=np.int64),
            step=step,
            time_us=self.began_us + (step - self.begin) * self.step_us,
            values=self.values[begin:end],
        )

    def ended(self, now_us: int, *, minimize: bool) -> AttemptEnded:
        """Its end, here and now."""
        outcome, reason = self.end.outcome, self.end.reason
        if self.stop_reason is not None:
            outcome, reason = "stopped", self.stop_reason
        value = best = best_step = None
        if self.metric is not None and self.position:
            values = self.values[: self.position, self.metric]
            value = float(values[-1])
            losses = values if minimize else -values
            if not math.isfinite(float(losses.sum())):  # cheaper than looking at each
                losses = np.where(np.isfinite(values), losses, np.inf)
            at = int(losses.argmin())
            if losses[at] < math.inf:
                best, best_step = float(values[at]), self.steps[at]
        ids = (self.launch.trial, self.launch.attempt, self.step_at(self.position))
        return AttemptEnded(now_us, *ids, outcome, reason, self.end.error, value, best, best_step)


class Source(Protocol):
    """Where the courses of simulated trials come from."""

    def course(self, launch: Launch, job: Job) -> Course:
        """The course of an attempt, from where it begins."""


class Known:
    """Courses from learning curves that are known: recorded ones, or a function's."""

    def __init__(self, curves: Callable[[Launch], Curve] | pd.DataFrame) -> None:
        self._curve = curves if callable(curves) else _recorded(curves)

    def course(self, launch: Launch, job: Job) -> Course:
        """The course of an attempt; it begins after the step of its checkpoint."""
        curve = self._curve(launch)
        names = tuple(curve)
        limit = job.max_step if launch.max_step is None else launch.max_step
        values = np.array([curve[name] for name in names], dtype=np.float64).T[:limit]
        outcome, reason, last = "returned", None, len(values)
        metric = names.index(job.metric) if job.metric in names else None
        if metric is None or not last:
            outcome, reason = "failed", f"no report of {job.metric}"
        elif job.stop_on_nan and not math.isfinite(float(values[:, metric].sum())):
            bad = np.flatnonzero(~np.isfinite(values[:, metric]))
            if len(bad):
                outcome, reason, last = "stopped", "diverged", int(bad[0]) + 1
        begin = launch.checkpoint[1] if launch.checkpoint else 0
        end = AttemptEnded(0, launch.trial, launch.attempt, max(last, begin), outcome, reason)
        steps = range(begin + 1, max(last, begin) + 1)
        return Course(launch, names, steps, values[begin:last], end, metric, next_rung=launch.next_rung)


class Trained:
    """Courses from the sweep's training function, which runs from end to end in no virtual time."""

    def __init__(self) -> None:
        self._shared: list[object] = []

    def course(self, launch: Launch, job: Job) -> Course:
        """The course of an attempt. Several reports of one step become one."""
        ledger = _Ledger()
        entry = run_attempt(launch, job=job, link=ledger, shared=self._shared)
        entries = ledger.entries
        blocks = columns(entries)
        names = tuple(dict.fromkeys(name for block in blocks for name in block.names))
        rows: dict[int, list[float]] = {}
        for block in blocks:
            at = [names.index(name) for name in block.names]
            for step, values in zip(block.step.tolist(), block.values.tolist(), strict=True):
                row = rows.setdefault(step, [math.nan] * len(names))
                for column, value in zip(at, values, strict=True):
                    row[column] = value
        steps = sorted(rows)
        table = np.array([rows[step] for step in steps], dtype=np.float64).reshape(len(steps), len(names))
        metric = names.index(job.metric) if job.metric in names else None
        saved = [entry[4] for entry in entries if entry[0] == SAVED]
        end = AttemptEnded(*entry[1:])
        return Course(launch, names, steps, table, end, metric, saved, next_rung=launch.next_rung)


class _Ledger(Link):
    """Keeps what a training function says; at a rung it lets the function go on."""

    def __init__(self) -> None:
        self._runs: list[Run] = []
        self._told: list[Entry] = []

    @property
    def entries(self) -> list[Entry]:
        """All that was reported, then all that was told."""
        reports = [run.take() for run in self._runs]
        return [*(entry for entry in reports if entry is not None), *self._told]

    def attend(self, trial: Trial | None) -> None:
        pass

    def open(self, run: Run) -> None:
        self._runs.append(run)

    def breathe(self) -> None:
        pass

    def tell(self, entry: Entry) -> None:
        self._told.append(entry)

    def ask(self, trial: Trial, entry: Entry) -> None:
        trial.answered(None)

    def wait(self, trial: Trial) -> None:
        trial.pause(over=True)  # there is no time to wait in

    def log(self, trial: Trial, text: str) -> None:
        pass


def _recorded(curves: pd.DataFrame) -> Callable[[Launch], Curve]:
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

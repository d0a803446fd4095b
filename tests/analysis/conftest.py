"""Sweeps made by hand, in memory: what a recorder would have written, without one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from caviar.analysis.result import Contents, Result
from caviar.messages import (
    DriverStarted,
    Recorded,
    StopOrdered,
    SweepStarted,
    TrialEnded,
    TrialSampled,
    TrialStarted,
)
from caviar.space import Choice, Float, Int, Space
from caviar.store.rows import EventRow, to_row

TIME = pa.timestamp("us", tz="UTC")
START_US = 1_780_000_000_000_000

SPACE = Space(
    lr=Float(1e-4, 1.0, scale="log"),
    momentum=Float(0.9, 0.999, scale="one_minus_log"),
    optimizer=Choice(["sgd", "adam"]),
    beta2=Float(0.9, 0.9999, scale="one_minus_log", when={"optimizer": "adam"}),
    layers=Int(1, 4),
    epsilon=1e-8,
)


@dataclass(frozen=True)
class Increment:
    metrics: pa.Table
    events: pa.Table
    fresh: bool = False


@dataclass
class Story:
    """Tells what happened, in order; time goes on by a millisecond with each thing told."""

    metric: str = "loss"
    mode: str = "min"
    max_step: int | None = 10
    trials: int = 4
    space: Space = SPACE
    rows: list[tuple[int, int, int, int, int, str, float]] = field(default_factory=list)
    events: list[EventRow] = field(default_factory=list)
    now_us: int = START_US
    told: tuple[int, int] = (0, 0)
    seqs: dict[tuple[int, int], int] = field(default_factory=dict)

    def tick(self) -> int:
        self.now_us += 1_000
        return self.now_us

    def tell(self, event: Recorded) -> Story:
        self.events.append(to_row(event))
        return self

    def begin(self) -> Story:
        self.tell(SweepStarted(self.tick(), self.trials))
        return self.tell(DriverStarted(self.tick(), "host", 7, "0.1"))

    def sampled(self, trial: int, **params: Any) -> Story:
        params = params or {"lr": 0.1, "momentum": 0.99, "optimizer": "sgd", "layers": 2, "epsilon": 1e-8}
        return self.tell(TrialSampled(self.tick(), trial, 1, params, trial))

    def started(self, trial: int, attempt: int = 1, *, restored: int | None = None) -> Story:
        return self.tell(TrialStarted(self.tick(), trial, attempt, "worker", restored))

    def report(self, trial: int, step: int, *, attempt: int = 1, **metrics: float) -> Story:
        seq = self.seqs.get((trial, attempt), 0)
        self.seqs[trial, attempt] = seq + 1
        now = self.tick()
        self.rows += [(trial, attempt, seq, step, now, name, value) for name, value in metrics.items()]
        return self

    def curve(self, trial: int, values: Sequence[float], *, attempt: int = 1, first: int = 1) -> Story:
        for step, value in enumerate(values, first):
            self.report(trial, step, attempt=attempt, **{self.metric: value})
        return self

    def ended(self, trial: int, status: str, attempt: int = 1, *, reason: str | None = None) -> Story:
        steps = [row[3] for row in self.rows if row[0] == trial]
        return self.tell(TrialEnded(self.tick(), trial, attempt, max(steps, default=0), status, reason))

    def stop_ordered(self, trial: int | None, reason: str) -> Story:
        return self.tell(StopOrdered(self.tick(), trial, reason))

    def trial(self, trial: int, values: Sequence[float], status: str = "completed", **params: Any) -> Story:
        """A whole trial of one attempt."""
        self.sampled(trial, **params).started(trial).curve(trial, values)
        return self if status == "running" else self.ended(trial, status)

    # --- as tables --------------------------------------------------------------------------------------

    def metrics_table(self, since: int = 0) -> pa.Table:
        columns = list(zip(*self.rows[since:], strict=True)) or [()] * 7
        types = (pa.int64(), pa.int32(), pa.int64(), pa.int64(), TIME, pa.string(), pa.float64())
        names = ("trial", "attempt", "seq", "step", "time", "metric", "value")
        arrays = [pa.array(column, type_) for column, type_ in zip(columns, types, strict=True)]
        arrays[5] = arrays[5].dictionary_encode()
        return pa.table(dict(zip(names, arrays, strict=True)))

    def events_table(self, since: int = 0) -> pa.Table:
        rows = self.events[since:]
        return pa.table(
            {
                "seq": pa.array(range(since, len(self.events)), pa.int64()),
                "time": pa.array([row.time_us for row in rows], TIME),
                "kind": pa.array([row.kind for row in rows], pa.string()),
                "trial": pa.array([row.trial for row in rows], pa.int64()),
                "attempt": pa.array([row.attempt for row in rows], pa.int32()),
                "step": pa.array([row.step for row in rows], pa.int64()),
                "data": pa.array([row.data for row in rows], pa.string()),
            }
        )

    @property
    def declaration(self) -> dict[str, Any]:
        return {
            "name": "digits",
            "metric": self.metric,
            "mode": self.mode,
            "max_step": self.max_step,
            "trials": self.trials,
            "space": self.space.to_dict(),
        }

    def result(self, status: Any = "finished") -> Result:
        contents = Contents(self.declaration, status, self.metrics_table(), self.events_table())
        return Result(Path("runs/digits"), contents)

    def increment(self) -> Increment:
        """What was told since the last increment."""
        rows, events = self.told
        self.told = len(self.rows), len(self.events)
        return Increment(self.metrics_table(rows), self.events_table(events), fresh=(rows, events) == (0, 0))


@pytest.fixture
def story() -> Callable[..., Story]:
    """Begins a story: ``story(mode="max")``."""
    return lambda **declared: Story(**declared).begin()

"""How reports and events travel from a training process to the driver.

A training process sends frames: lists of plain tuples, which pickle several times faster than records. Its
supervisor turns the reports of many trials into columns; the driver makes events of the rest.

The first item of an entry says what it is:

    REPORTS  trial, attempt, first seq, names, rows of (step, time_us, value, ...)
    STARTED  time_us, trial, attempt, restored
    RUNG     trial, attempt, step, value
    SAVED    time_us, trial, attempt, step, the metric's last value
    APPLIED  time_us, trial, attempt, step, the id of the command that asked for the adjustment
    PAUSED   time_us, trial, attempt, step
    UNPAUSED time_us, trial, attempt, step
    ENDED    the fields of `AttemptEnded`, in order
    BACK     trials that were in hand and are given back unstarted
    REPLACED time_us, why the training process ends between two trials, to be replaced

Two more are for the supervisor alone:

    SET_UP   trial, attempt: `setup` has run, and the training function begins
    TOLD     the fields of `AttemptEnded` if the function, which was just told to end, does so
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from caviar.messages import (
    Applied,
    AttemptEnded,
    Checkpointed,
    Event,
    Launch,
    Paused,
    ProcessReplaced,
    Reports,
    RungReached,
    TrialStarted,
    Unpaused,
)

REPORTS, STARTED, RUNG, SAVED, APPLIED, PAUSED, UNPAUSED, ENDED, BACK, REPLACED, SET_UP, TOLD = range(12)

Entry = tuple[Any, ...]
Row = tuple[float, ...]
"""(step, time_us, value, ...)"""

Batch = tuple[int, list[tuple[Any, ...]], list[Entry]]
"""(number, blocks of reports, entries): what a worker has sent at once."""

FEW_ROWS = 64
"""So few reports of a batch travel among its entries, and the driver puts those of many workers into columns at
once: less work than arrays of a row or two from each of them."""


class Run:
    """Reports of one attempt with the same names, one after another; open for more while it is the last entry."""

    __slots__ = ("attempt", "names", "rows", "seq", "trial")

    def __init__(self, trial: int, attempt: int, *, seq: int, names: tuple[str, ...], rows: list[Row]) -> None:
        self.trial = trial
        self.attempt = attempt
        self.seq = seq
        self.names = names
        self.rows = rows

    def take(self) -> Entry | None:
        """The rows so far, as a REPORTS entry; None without any. Another thread may append meanwhile."""
        count = len(self.rows)
        if not count:
            return None
        rows = self.rows[:count]
        del self.rows[:count]
        seq, self.seq = self.seq, self.seq + count
        return (REPORTS, self.trial, self.attempt, seq, self.names, rows)


class Outbox:
    """Entries on their way, in order. One thread adds to it, and another may take from it at the same time."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._entries: list[Run | Entry] = []

    def __bool__(self) -> bool:
        return bool(self._entries)

    def open(self, run: Run) -> None:
        """From now on, what is appended to the run's rows is on its way, behind all entries so far."""
        with self._lock:
            self._entries.append(run)

    def add(self, entry: Entry) -> None:
        """Add an entry; the run before it takes no more rows."""
        with self._lock:
            self._entries.append(entry)

    def take(self) -> list[Entry]:
        """What there is now. A run at the end stays open."""
        with self._lock:
            entries = self._entries
            last = entries[-1] if entries else None
            self._entries = [last] if isinstance(last, Run) else []
        taken = (entry.take() if isinstance(entry, Run) else entry for entry in entries)
        return [entry for entry in taken if entry is not None]


def columns(entries: Iterable[Entry]) -> list[Reports]:
    """The REPORTS among entries, as one block for each set of metric names."""
    by_names: dict[tuple[str, ...], list[Entry]] = {}
    for entry in entries:
        if entry[0] == REPORTS:
            by_names.setdefault(entry[4], []).append(entry)
    return [_block(names, runs) for names, runs in by_names.items()]


def _block(names: tuple[str, ...], runs: Sequence[Entry]) -> Reports:
    rows: list[tuple[float, ...]] = []
    for run in runs:
        rows.extend(run[5])
    table = np.array(rows, dtype=np.float64)  # steps and microseconds are exact below 2**53
    counts = np.array([len(run[5]) for run in runs])
    heads = np.array([run[1:4] for run in runs], dtype=np.int64)  # trial, attempt, first seq
    trial, attempt, first = np.repeat(heads, counts, axis=0).T
    within = np.arange(len(rows)) - np.repeat(np.cumsum(counts) - counts, counts)
    return Reports(
        names=names,
        trial=np.ascontiguousarray(trial),
        attempt=np.ascontiguousarray(attempt),
        seq=first + within,
        step=table[:, 0].astype(np.int64),
        time_us=table[:, 1].astype(np.int64),
        values=np.ascontiguousarray(table[:, 2:]),
    )


def row_count(entries: Iterable[Entry]) -> int:
    """How many reports there are among entries."""
    return sum(len(entry[5]) for entry in entries if entry[0] == REPORTS)


def batch(number: int, entries: list[Entry]) -> Batch:
    """Entries for the way to the driver, many reports in columns."""
    if row_count(entries) <= FEW_ROWS:
        return number, [], entries
    blocks = [pack(block) for block in columns(entries)]
    return number, blocks, [entry for entry in entries if entry[0] != REPORTS]


def event(entry: Entry, worker: str) -> Event | None:
    """The event that an entry stands for; None for reports and for what is given back."""
    kind = entry[0]
    if kind == STARTED:
        return TrialStarted(entry[1], entry[2], entry[3], worker, entry[4])
    if kind == RUNG:
        return RungReached(*entry[1:])
    if kind == SAVED:
        return Checkpointed(*entry[1:])
    if kind == APPLIED:
        return Applied(*entry[1:])
    if kind == PAUSED:
        return Paused(*entry[1:])
    if kind == UNPAUSED:
        return Unpaused(*entry[1:])
    if kind == ENDED:
        return AttemptEnded(*entry[1:])
    if kind == REPLACED:
        return ProcessReplaced(entry[1], worker, entry[2])
    return None


def pack(block: Reports) -> tuple[Any, ...]:
    """A block as a tuple, for the way to the driver; ``Reports(*packed)`` unpacks it."""
    return block.names, block.trial, block.attempt, block.seq, block.step, block.time_us, block.values


def pack_launch(launch: Launch) -> tuple[Any, ...]:
    """A launch as a tuple, for the way to a worker; ``Launch(*packed)`` unpacks it."""
    return (
        launch.trial,
        launch.attempt,
        launch.params,
        launch.seed,
        launch.next_rung,
        launch.checkpoint,
        launch.max_step,
        launch.timeline,
        launch.paused,
    )

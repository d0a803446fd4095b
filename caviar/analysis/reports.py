"""The metrics table as sorted numpy columns, and the rule of the main line."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from caviar.messages import Floats, Ints

Bools = npt.NDArray[np.bool_]

NOWHERE = np.iinfo(np.int64).min
"""The step that an attempt was restored from when there was no checkpoint: nothing before it counts."""


@dataclass(frozen=True, slots=True)
class Restarts:
    """From which step each attempt of the trials with several attempts began, sorted by trial and attempt."""

    trial: Ints
    attempt: Ints
    limit: Ints
    """The least step that this attempt or a later one of its trial was restored from: reports of earlier
    attempts count up to it."""

    @classmethod
    def of(cls, trial: Ints, attempt: Ints, restored: Ints, *, continued: Ints | None = None) -> Restarts:
        """From the ``trial_started`` events, in any order; ``restored`` is `NOWHERE` for a fresh start.
        ``continued``: trials that had attempts before these."""
        order = np.lexsort((attempt, trial))
        trial, attempt, limit = trial[order], attempt[order], restored[order].copy()
        several = np.zeros(len(trial), bool)
        several[1:] = trial[1:] == trial[:-1]
        several[:-1] |= several[1:]
        if continued is not None:
            several |= np.isin(trial, continued)
        trial, attempt, limit = trial[several], attempt[several], limit[several]
        for row in range(len(trial) - 2, -1, -1):  # restarts are few
            if trial[row] == trial[row + 1]:
                limit[row] = min(limit[row], limit[row + 1])
        return cls(trial, attempt, limit)

    def on_main_line(self, trial: Ints, attempt: Ints, step: Ints) -> Bools:
        """Which reports the last attempt of their trial saw, itself or through the checkpoint it began from."""
        keep = np.ones(len(trial), bool)
        if not len(self.trial):
            return keep
        rows = np.flatnonzero(np.isin(trial, self.trial))
        base = max(int(self.attempt.max()), int(attempt.max(initial=0))) + 1
        after = np.searchsorted(self.trial * base + self.attempt, trial[rows] * base + attempt[rows], side="right")
        after_or_last = np.minimum(after, len(self.trial) - 1)
        superseded = (after < len(self.trial)) & (self.trial[after_or_last] == trial[rows])
        keep[rows] = ~superseded | (step[rows] <= self.limit[after_or_last])
        return keep


@dataclass(frozen=True, slots=True)
class ReportColumns:
    """One row a value, sorted by trial, step, attempt, seq and metric."""

    names: tuple[str, ...]
    """The metrics: the sweep's own first, the others by name."""
    trial: Ints
    attempt: Ints
    seq: Ints
    step: Ints
    time_us: Ints
    code: Ints
    """The metric, as an index into ``names``."""
    value: Floats

    def __len__(self) -> int:
        return len(self.trial)

    @classmethod
    def of(cls, table: pa.Table, metric: str) -> ReportColumns:
        """Read the metrics table of a sweep that watches ``metric``."""
        found, code = dictionary(table.column("metric"))
        used = np.bincount(code, minlength=len(found)) > 0
        # a dictionary may name a metric twice, or one that no row has
        names = sorted(
            {name for name, some in zip(found, used, strict=True) if some}, key=lambda n: (n != metric, n)
        )
        place = {name: index for index, name in enumerate(names)}
        if found != names:
            code = np.array([place.get(name, -1) for name in found], np.int64)[code]
        columns = cls(
            tuple(names),
            trial=table.column("trial").to_numpy(),
            attempt=table.column("attempt").to_numpy(),
            seq=table.column("seq").to_numpy(),
            step=table.column("step").to_numpy(),
            time_us=table.column("time").cast(pa.int64()).to_numpy(),
            code=code,
            value=table.column("value").to_numpy(),
        )
        order = sort_order((columns.trial, columns.step, columns.attempt, columns.seq, columns.code))
        return columns if order is None else columns.take(order)

    def take(self, rows: npt.NDArray[Any]) -> ReportColumns:
        """Some rows, by index or mask; the order is kept where the indices rise."""
        arrays: dict[str, Any] = {f.name: getattr(self, f.name)[rows] for f in fields(self) if f.name != "names"}
        return replace(self, **arrays)

    def main_line(self, restarts: Restarts) -> ReportColumns:
        """Only what the last attempt of each trial saw; what it reported again counts once, as it saw it."""
        if not len(restarts.trial):
            return self
        rows = self.take(restarts.on_main_line(self.trial, self.attempt, self.step))
        if not len(rows):
            return rows
        ends = np.flatnonzero(np.r_[(rows.trial[1:] != rows.trial[:-1]) | (rows.step[1:] != rows.step[:-1]), True])
        latest = np.repeat(rows.attempt[ends], np.diff(np.r_[-1, ends]))
        return rows.take(rows.attempt == latest)

    def of_metric(self, name: str) -> ReportColumns:
        """The rows of one metric; none if it was never reported."""
        if self.names == (name,):
            return self
        return self.take(self.code == (self.names.index(name) if name in self.names else -1))

    def report_starts(self) -> Bools:
        """For each row, whether it is the first of its report."""
        starts = np.ones(len(self), bool)
        if len(self.names) > 1:
            np.not_equal(self.seq[1:], self.seq[:-1], out=starts[1:])
            starts[1:] |= (self.attempt[1:] != self.attempt[:-1]) | (self.trial[1:] != self.trial[:-1])
        return starts


def best_of_each(rows: ReportColumns, *, maximize: bool) -> ReportColumns:
    """One row a trial: its best finite value, the earliest step of equals. ``rows`` hold one metric.

    Trials without a finite value have no row.
    """
    rows = rows.take(finite) if not (finite := np.isfinite(rows.value)).all() else rows
    if not len(rows):
        return rows
    loss = -rows.value if maximize else rows.value
    first = np.flatnonzero(np.r_[True, rows.trial[1:] != rows.trial[:-1]])
    lengths = np.diff(np.r_[first, len(rows)])
    hits = np.flatnonzero(loss == np.repeat(np.minimum.reduceat(loss, first), lengths))
    return rows.take(hits[np.r_[True, rows.trial[hits][1:] != rows.trial[hits][:-1]]])


def sort_order(keys: Sequence[npt.NDArray[Any]]) -> Ints | None:
    """The rows in the order of integer ``keys``, the most significant first; None: they lie so already.

    Rows equal in every key come in any order.
    """
    packed = _pack(keys)
    if packed is None:
        return np.lexsort(tuple(reversed(keys)))
    return None if bool((packed[1:] >= packed[:-1]).all()) else np.argsort(packed)


def _pack(keys: Sequence[npt.NDArray[Any]]) -> Ints | None:
    """All keys in one integer, which sorts several times as fast; None if 63 bits cannot hold them."""
    packed = np.zeros(len(keys[0]), np.int64)
    bits = 0
    for key in keys:
        low, high = int(key.min(initial=0)), int(key.max(initial=0))
        width = (high - low).bit_length()
        bits += width
        if bits > 63:
            return None
        packed <<= width
        packed |= key - low
    return packed


def dictionary(column: pa.ChunkedArray) -> tuple[list[str], Ints]:
    """A column of few distinct strings, as these and an index for each row."""
    if not pa.types.is_dictionary(column.type):
        column = column.dictionary_encode()
    array = column.unify_dictionaries().combine_chunks()
    if isinstance(array, pa.ChunkedArray):  # a column without chunks
        return [], np.zeros(0, np.int64)
    return array.dictionary.to_pylist(), array.indices.to_numpy().astype(np.int64)

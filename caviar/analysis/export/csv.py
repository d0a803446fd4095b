"""A sweep as CSV: curves.csv, trials.csv, events.csv.

As RFC 4180 has it: texts in double quotes, a double quote within them twice; numbers bare, in as many digits as
tell them from every other double. What is missing is empty, NaN is ``nan``, infinities are ``inf`` and ``-inf``.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import csv

from caviar.analysis.export.source import Source, text
from caviar.analysis.frames import check_cells
from caviar.analysis.trials import MISSING
from caviar.messages import Ints

CELLS_AT_ONCE = 2**20
"""So many cells are in memory at once, beside the tables that they are made of."""

_TIME = pa.timestamp("us", tz="UTC")


def check(source: Source, tidy: bool) -> None:
    """Raise `UsageError` where a column for each metric would leave nearly all cells empty."""
    if not tidy:
        reports = source.reports
        check_cells(
            int(reports.report_starts().sum()) * len(reports.names), len(reports), "--tidy has metrics as rows"
        )


def write(source: Source, folder: Path, *, tidy: bool) -> None:
    """Write the three files."""
    _write(folder / "curves.csv", _values(source) if tidy else _curves(source))
    _write(folder / "trials.csv", [_trials(source)])
    _write(folder / "events.csv", _events(source))


def _write(path: Path, tables: Iterable[pa.Table]) -> None:
    """Tables of one schema, one after another; at least one."""
    tables = iter(tables)
    first = next(tables)
    with csv.CSVWriter(path, first.schema) as writer:
        writer.write_table(first)
        for table in tables:
            writer.write_table(table)


def _pieces(count: int, width: int) -> Iterator[slice]:
    """Rows of this many columns, piece after piece; one piece where there are none."""
    step = max(CELLS_AT_ONCE // width, 1)
    for begin in range(0, max(count, 1), step):
        yield slice(begin, min(begin + step, count))


def _curves(source: Source) -> Iterator[pa.Table]:
    """One row a report. A metric that the report lacks is empty, one that it reported as NaN is ``nan``."""
    reports, names = source.reports, source.names
    starts = np.flatnonzero(reports.report_starts())
    for piece in _pieces(len(starts), len(names) + 3):
        first = starts[piece]
        end = starts[piece.stop] if piece.stop < len(starts) else len(reports)
        rows = slice(first[0] if len(first) else 0, end)
        wide, lacking = np.zeros((len(names), len(first))), np.ones((len(names), len(first)), bool)
        place = np.searchsorted(first, np.arange(rows.start, rows.stop), side="right") - 1
        wide[reports.code[rows], place] = reports.value[rows]
        lacking[reports.code[rows], place] = False
        arrays = [pa.array(values, mask=mask) for values, mask in zip(wide, lacking, strict=True)]
        yield pa.table({**_where(source, first), **dict(zip(map(text, names), arrays, strict=True))})


def _values(source: Source) -> Iterator[pa.Table]:
    """One row a value."""
    reports = source.reports
    names = pa.array([text(name) for name in source.names], pa.string())
    for piece in _pieces(len(reports), 5):
        rows = np.arange(piece.start, piece.stop)
        metric = names.take(pa.array(reports.code[piece]))
        yield pa.table({**_where(source, rows), "metric": metric, "value": pa.array(reports.value[piece])})


def _where(source: Source, rows: Ints) -> dict[str, pa.Array]:
    reports = source.reports
    attempt = {"attempt": pa.array(reports.attempt[rows])} if source.with_attempt else {}
    return {
        "trial": pa.array(reports.trial[rows]),
        **attempt,
        "step": pa.array(reports.step[rows]),
        "time": pa.array(reports.time_us[rows]).view(_TIME),
    }


def _trials(source: Source) -> pa.Table:
    """One row a trial: the columns of ``Result.trials``, and the best finite value of it with its step."""
    best = pd.Series(source.best.value, source.best.trial).reindex(source.trial)
    step = pd.Series(source.best.step, source.best.trial, dtype="Int64").reindex(source.trial)
    frame = source.frame.reset_index()
    place = list(frame.columns).index("by_hand") + 1
    frame.insert(place, "best", best.to_numpy())
    frame.insert(place + 1, "best_step", step.array)
    return pa.table({text(name): _column(frame[name]) for name in frame.columns})


def _column(values: pd.Series[Any]) -> pa.Array:
    if pd.api.types.is_numeric_dtype(values) or isinstance(values.dtype, pd.DatetimeTZDtype):
        return pa.array(values, from_pandas=True)
    # a choice among numbers and texts is text; one that is null is told from one that is absent
    absent = [value is not None and value != value for value in values]
    return pa.array([None if gone else text(each) for gone, each in zip(absent, values, strict=True)], pa.string())


def _events(source: Source) -> Iterator[pa.Table]:
    """One row an event, with its data as JSON."""
    events = source.events
    kinds = pa.array([text(kind) for kind in events.kinds], pa.string())
    for piece in _pieces(len(source.event_rows), 7):
        rows = source.event_rows[piece]
        events.data(rows)  # which refuses what is no JSON
        numbers = {
            name: pa.array(column[rows], mask=column[rows] == MISSING)
            for name, column in (("trial", events.trial), ("attempt", events.attempt), ("step", events.step))
        }
        yield pa.table(
            {
                "seq": pa.array(events.seq[rows]),
                "time": pa.array(events.time_us[rows]).view(_TIME),
                "kind": pc.take(kinds, pa.array(events.code[rows])),
                **numbers,
                "data": pa.array(events.text(rows), pa.string()),
            }
        )

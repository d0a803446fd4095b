"""The two tables of a sweep: their fixed schemas, and the way from reports and events into them and back."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from caviar.errors import FolderError
from caviar.messages import LAST_STEP, RESERVED_METRICS, Recorded, Reports
from caviar.store.event_data import COLUMNS_OF, EventDataError, check_rows, parse_rows
from caviar.store.layout import Table
from caviar.store.rows import EventRow, from_data
from caviar.trial import MAX_TRIALS

_TIME = pa.timestamp("us", tz="UTC")

METRICS = pa.schema(
    [
        ("trial", pa.int64()),
        ("attempt", pa.int32()),
        ("seq", pa.int64()),
        ("step", pa.int64()),
        ("time", _TIME),
        ("metric", pa.dictionary(pa.int32(), pa.string())),
        ("value", pa.float64()),
    ]
)
"""One row a metric of a report: a new metric name is only another value, so it can neither fail nor be dropped."""

EVENTS = pa.schema(
    [
        ("seq", pa.int64()),
        ("time", _TIME),
        ("kind", pa.string()),
        ("trial", pa.int64()),
        ("attempt", pa.int32()),
        ("step", pa.int64()),
        ("data", pa.string()),
    ]
)
"""One row an event, numbered by ``seq`` through the sweep; ``data`` is JSON."""

SCHEMAS: dict[Table, pa.Schema] = {"metrics": METRICS, "events": EVENTS}

_GREATEST = {
    "trial": MAX_TRIALS - 1,
    "attempt": 2**31 - 1,
    "seq": 2**62,
    "step": LAST_STEP,
    "time": 2**57,  # in the year 6537; what is later than 9999 cannot be shown
}
"""No value of these columns is greater than this, or less than 0."""


THREADS_BYTES = 2**20
"""From so many bytes on, a file is read and written by several of Arrow's threads; less is done before they
wake."""


def in_arrow(data: bytes | memoryview) -> pa.Buffer:
    """A copy of what was read, in memory of Arrow's own.

    Python's memory must not be handed to Arrow's threads: one that lets go of it last, while the interpreter ends,
    ends the whole process.
    """
    sink = pa.BufferOutputStream()
    sink.write(data)
    return sink.getvalue()


def check(table: pa.Table, which: Table) -> None:
    """Check rows that were read from a file, of all columns of a table or some: that they have its types, nulls
    only where it may have some, and numbers within their bounds. Raises `ValueError`, which names the column.

    A table that comes through here may be handled as if caviar itself had written it. What the ``data`` of events
    hold is checked when it is parsed.
    """
    schema = SCHEMAS[which]
    for name in table.schema.names:
        if schema.get_field_index(name) < 0 or not table.schema.field(name).type.equals(schema.field(name).type):
            raise ValueError(f"its column {name} is not one of the {which} table")
    if not table.num_rows:
        return
    table.validate(full=True)  # offsets and indices that point elsewhere, text that is not UTF-8
    for name, greatest in _GREATEST.items():
        if name not in table.schema.names:
            continue
        column = table.column(name)
        bounds = pc.min_max(column.cast(pa.int64()))
        if not 0 <= (bounds["min"].as_py() or 0) <= (bounds["max"].as_py() or 0) <= greatest:
            raise ValueError(f"its column {name} has values below 0 or above {greatest}")
    for name in table.schema.names:
        column = table.column(name)
        if column.null_count and not (which == "events" and name in COLUMNS_OF):
            raise ValueError(f"its column {name} has nulls")
    if which == "events" and "kind" in table.schema.names:
        _check_nulls(table)
    if "metric" in table.schema.names:
        for chunk in table.column("metric").chunks:
            names = chunk.dictionary.to_pylist()
            if None in names or not RESERVED_METRICS.isdisjoint(names):
                raise ValueError("its column metric has a name that no metric has")


def _check_nulls(events: pa.Table) -> None:
    """Events of a kind that is of a trial, an attempt or a step, say which."""
    for name, kinds in COLUMNS_OF.items():
        if name in events.schema.names and events.column(name).null_count:
            lacking = events.column("kind").filter(events.column(name).is_null()).unique().to_pylist()
            wrong = kinds.intersection(lacking)
            if wrong:
                raise ValueError(f"its column {name} has nulls in events of kind {min(wrong)}")


def metrics_table(reports: Sequence[Reports]) -> pa.Table:
    """Reports as rows, the metrics of one report side by side; NaN stays NaN, it does not become null."""
    if not reports:
        return METRICS.empty_table()
    ids: dict[str, int] = {}
    tiled = []
    for block in reports:
        names = np.array([ids.setdefault(name, len(ids)) for name in block.names], dtype=np.int32)
        tiled.append(np.tile(names, len(block)))
    widths = np.repeat([len(block.names) for block in reports], [len(block) for block in reports])

    def tidy(column: str, dtype: type[np.generic]) -> pa.Array:
        wide = np.concatenate([getattr(block, column) for block in reports])
        return pa.array(np.repeat(wide, widths).astype(dtype, copy=False))

    columns = [
        tidy("trial", np.int64),
        tidy("attempt", np.int32),
        tidy("seq", np.int64),
        tidy("step", np.int64),
        tidy("time_us", np.int64).view(_TIME),
        pa.DictionaryArray.from_arrays(pa.array(np.concatenate(tiled)), pa.array(list(ids), pa.string())),
        pa.array(np.concatenate([block.values.ravel() for block in reports]), pa.float64()),
    ]
    return pa.table(columns, schema=METRICS)


def events_table(events: Sequence[EventRow], first_seq: int) -> pa.Table:
    """Events as rows, numbered on from ``first_seq``."""
    columns = [
        pa.array(range(first_seq, first_seq + len(events)), pa.int64()),
        pa.array([event.time_us for event in events], pa.int64()).view(_TIME),
        pa.array([event.kind for event in events], pa.string()),
        pa.array([event.trial for event in events], pa.int64()),
        pa.array([event.attempt for event in events], pa.int32()),
        pa.array([event.step for event in events], pa.int64()),
        pa.array([event.data for event in events], pa.string()),
    ]
    return pa.table(columns, schema=EVENTS)


def event_rows(table: pa.Table) -> list[EventRow]:
    """The inverse of `events_table`, in the table's order."""
    columns = [
        table.column("time").cast(pa.int64()).to_pylist(),
        *(table.column(name).to_pylist() for name in ("kind", "trial", "attempt", "step", "data")),
    ]
    return [EventRow(*row) for row in zip(*columns, strict=True)]


_ROWS_AT_ONCE = 20_000


def events_of(table: pa.Table, *, where: str = "events") -> Iterator[Recorded]:
    """The events that the rows of an events table stand for, in its order, but for kinds that this version does
    not know. Memory stays bounded, and the JSON of many rows is parsed at once, at a third of the cost.

    Data that an event of its kind cannot have raise a `FolderError` that names ``where``, the sweep folder.
    """
    names = ("trial", "attempt", "step")
    for start in range(0, table.num_rows, _ROWS_AT_ONCE):
        rows = table.slice(start, _ROWS_AT_ONCE)
        kinds = rows.column("kind").to_pylist()
        times = rows.column("time").cast(pa.int64()).to_pylist()
        numbers = zip(*(rows.column(name).to_pylist() for name in names), strict=True)
        try:
            parsed = parse_rows(rows.column("data").to_pylist())
            check_rows(parsed, kinds)
        except EventDataError as error:
            seq = rows.column("seq")[error.row].as_py()
            raise FolderError(f"{where}: event {seq}, {kinds[error.row]!r:.80}: {error}") from None
        for kind, time_us, (trial, attempt, step), data in zip(kinds, times, numbers, parsed, strict=True):
            columns = {"time_us": time_us, "trial": trial, "attempt": attempt, "step": step}
            event = from_data(kind, columns, data)
            if event is not None:
                yield event


def join(tables: Sequence[pa.Table], table: Table) -> pa.Table:
    """Tables of one kind under each other, their metric names in one dictionary."""
    if not tables:
        return SCHEMAS[table].empty_table()
    return pa.concat_tables(tables).unify_dictionaries()

"""A commit's file: the metrics and the events that became durable together.

An Arrow IPC stream of one batch with one row, whose two cells hold the rows of the two tables; the schema's
metadata says which commit it is and whose. Behind the stream's end, where Arrow no longer reads, stand a magic
word, the stream's length and its CRC-32, so that a torn or damaged file is never taken for a whole one. A *seal*
is a commit without rows, which a driver makes when it takes the folder.
"""

from __future__ import annotations

import json
import struct
import zlib
from dataclasses import dataclass
from enum import StrEnum

import pyarrow as pa

from caviar.errors import FolderError
from caviar.store.layout import FORMAT, LOST, TABLES, SweepFolder, Table
from caviar.store.tables import SCHEMAS, THREADS_BYTES, check, in_arrow

_TRAILER = struct.Struct("<8sQI")
_MAGIC = b"CAVIAR\r\n"
_CELLS = pa.schema([(table, pa.list_(pa.struct(list(SCHEMAS[table])))) for table in TABLES])
_COMPRESSION = "lz4"


class SegmentKind(StrEnum):
    """What a segment is."""

    COMMIT = "commit"
    SEAL = "seal"


@dataclass(frozen=True, slots=True)
class Segment:
    """What one file of `_hot` holds."""

    commit: int
    nonce: str
    """Names the driver that wrote it."""
    kind: SegmentKind
    metrics: pa.Table
    events: pa.Table
    stand_in: bool = False
    """A repair put it in the place of a commit that was lost."""

    def rows(self, table: Table) -> pa.Table:
        """Its rows of one table."""
        return self.metrics if table == "metrics" else self.events


def encode(segment: Segment) -> bytes:
    """The file's content."""
    metadata = {
        "caviar.format": str(FORMAT),
        "caviar.commit": str(segment.commit),
        "caviar.nonce": segment.nonce,
        "caviar.kind": segment.kind.value,
    }
    if segment.stand_in:
        metadata[LOST] = json.dumps([[segment.commit, segment.commit]])
    cells = [_to_cell(segment.rows(table)) for table in TABLES]
    batch = pa.record_batch(cells, schema=_CELLS.with_metadata(metadata))
    sink = pa.BufferOutputStream()
    how = pa.ipc.IpcWriteOptions(compression=_COMPRESSION, use_threads=batch.nbytes >= THREADS_BYTES)
    with pa.ipc.new_stream(sink, batch.schema, options=how) as writer:
        writer.write_batch(batch)
    stream = sink.getvalue()
    return b"".join((stream, _TRAILER.pack(_MAGIC, len(stream), zlib.crc32(stream))))


def decode(where: str, data: bytes) -> Segment:
    """The inverse of `encode`; content that is not whole, or not what `encode` makes, raises a `FolderError`
    that names ``where``, the file's whole location."""
    length = len(data) - _TRAILER.size
    if length < 0:
        raise FolderError(f"{where}: damaged: {len(data)} bytes are too few for a commit")
    magic, stream_length, checksum = _TRAILER.unpack_from(data, length)
    stream = memoryview(data)[:length]
    if magic != _MAGIC or stream_length != length:
        raise FolderError(f"{where}: damaged: it does not end as a commit does")
    if zlib.crc32(stream) != checksum:
        raise FolderError(f"{where}: damaged: its checksum does not match its content")
    try:
        return _read(where, stream)
    except StopIteration:
        raise FolderError(f"{where}: damaged: it holds no rows") from None
    except (pa.ArrowException, OSError, ValueError, KeyError) as error:
        # a checksum tells of accidents alone: anybody can make one that is right
        raise FolderError(f"{where}: damaged: {one_line(error)}") from error


def _read(where: str, stream: memoryview) -> Segment:
    how = pa.ipc.IpcReadOptions(use_threads=len(stream) >= THREADS_BYTES)
    with pa.ipc.open_stream(in_arrow(stream), options=how) as reader:
        metadata = {key.decode(): value.decode() for key, value in (reader.schema.metadata or {}).items()}
        version = metadata.get("caviar.format")
        if version != str(FORMAT):
            raise FolderError(f"{where}: format version {version} is unknown; this caviar reads {FORMAT}")
        if not reader.schema.equals(_CELLS):
            raise ValueError("its schema is not that of a commit")
        batch = reader.read_next_batch()
    batch.validate(full=True)  # before anything follows its offsets
    segment = Segment(
        commit=int(metadata["caviar.commit"]),
        nonce=metadata["caviar.nonce"],
        kind=SegmentKind(metadata["caviar.kind"]),
        metrics=_from_cell(batch.column("metrics"), "metrics"),
        events=_from_cell(batch.column("events"), "events"),
        stand_in=LOST in metadata,
    )
    if segment.commit != SweepFolder.hot_commit(where.rpartition("/")[2]):
        raise ValueError(f"it is commit {segment.commit}, not that of its name")
    rows = segment.metrics.num_rows or segment.events.num_rows
    if segment.kind is SegmentKind.SEAL and rows and not segment.stand_in:  # which says what was lost
        raise ValueError("it is a seal, and has rows")
    return segment


def read_commit(folder: SweepFolder, commit: int) -> Segment:
    """A commit that lies in `_hot`; one that is not whole raises a `FolderError`."""
    key = folder.hot(commit)
    return decode(folder.where(key), folder.storage.read(key))


def one_line(error: Exception) -> str:
    """What is wrong, in the first line of an error's text."""
    return (str(error).splitlines() or [type(error).__name__])[0]


def _to_cell(table: pa.Table) -> pa.Array:
    [batch] = table.combine_chunks().to_batches() or [pa.RecordBatch.from_pylist([], schema=table.schema)]
    return pa.ListArray.from_arrays(pa.array([0, table.num_rows], pa.int32()), batch.to_struct_array())


def _from_cell(cell: pa.Array, which: Table) -> pa.Table:
    rows = cell.flatten()
    if len(cell) != 1 or cell.null_count or rows.null_count:
        raise ValueError(f"it does not have one cell of {which}")
    table = pa.Table.from_batches([pa.RecordBatch.from_struct_array(rows)])
    check(table, which)
    return table

"""A rolled file: the rows of one table of a range of commits, in the order of the commits, as Parquet."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.parquet as pq

from caviar.errors import FolderError, OutageError
from caviar.store.layout import FORMAT, LAST_COMMIT, LOST, SweepFolder, Table
from caviar.store.segment import one_line
from caviar.store.tables import SCHEMAS, THREADS_BYTES, check, in_arrow

SMALL_ROWS, ROWS_PER_BYTE = 2**24, 16
"""A part has no more rows than the greater of the two allows. Even a metric that never changes takes more room."""

SMALL_BYTES, UNPACKED_PER_BYTE = 2**30, 1024
"""The same for its size before it was compressed."""


@dataclass(frozen=True, slots=True)
class Part:
    """What a part's footer says: the commits it covers, both ends included, and who wrote it."""

    key: str
    first: int
    last: int
    nonce: str
    lost: tuple[tuple[int, int], ...] = ()
    """The ranges of commits whose rows it lacks, as it was made by a repair."""


def encode_part(
    table: pa.Table, first: int, *, last: int, nonce: str, lost: Sequence[tuple[int, int]] = ()
) -> bytes:
    """The file's content; ``lost``: the ranges of commits whose rows are not among these, as a repair finds."""
    metadata = {
        "caviar.format": str(FORMAT),
        "caviar.first_commit": str(first),
        "caviar.last_commit": str(last),
        "caviar.nonce": nonce,
    }
    if lost:
        metadata[LOST] = json.dumps(lost)
    sink = pa.BufferOutputStream()
    pq.write_table(
        table.replace_schema_metadata(metadata),
        sink,
        compression="zstd",
        compression_level=1,
        write_page_checksum=True,
        # Numbers compress as well without a dictionary, and are written several times faster
        use_dictionary=[name for name in ("metric", "kind") if name in table.schema.names],
    )
    return bytes(sink.getvalue())


def read_footer(folder: SweepFolder, key: str) -> Part:
    """What a part covers; a damaged file raises a `FolderError` that names it, one out of reach `OutageError`."""
    where = folder.where(key)
    try:
        with folder.storage.open(key) as file:
            metadata = pq.read_metadata(file).metadata or {}
    except (OutageError, FolderError):
        raise
    except (pa.ArrowException, OSError, ValueError) as error:
        raise FolderError(f"{where}: damaged: {one_line(error)}") from error
    version = metadata.get(b"caviar.format")
    if version != str(FORMAT).encode():
        told = "none" if version is None else version.decode(errors="replace")
        raise FolderError(f"{where}: format version {told} is unknown; this caviar reads {FORMAT}")
    try:
        first, last = int(metadata[b"caviar.first_commit"]), int(metadata[b"caviar.last_commit"])
        nonce = metadata[b"caviar.nonce"].decode()
    except (KeyError, ValueError) as error:
        raise FolderError(f"{where}: damaged: its metadata: {one_line(error)}") from None
    if first != SweepFolder.part_first(key.rpartition("/")[2]):
        raise FolderError(f"{where}: damaged: it begins at commit {first}, not where its name says")
    if not first <= last < LAST_COMMIT:
        raise FolderError(f"{where}: damaged: it ends at commit {last}")
    return Part(key, first, last, nonce, _lost(where, metadata.get(LOST.encode(), b"[]")))


def _lost(where: str, text: bytes) -> tuple[tuple[int, int], ...]:
    try:
        ranges = json.loads(text)
        if all(type(bound) is int for bounds in ranges for bound in bounds):
            return tuple((first, last) for first, last in ranges)
        raise ValueError(f"{ranges!r:.60} are no ranges of commits")
    except (ValueError, TypeError) as error:
        raise FolderError(f"{where}: damaged: what it says was lost: {one_line(error)}") from None


def read_part(folder: SweepFolder, key: str, *, columns: Sequence[str] | None = None) -> pa.Table:
    """A part's rows; a damaged file raises a `FolderError` that names it, one out of reach `OutageError`."""
    which: Table = "metrics" if key.partition("/")[0] == folder.table_folder("metrics") else "events"
    try:
        data = in_arrow(folder.storage.read(key))
        with pq.ParquetFile(data, page_checksum_verification=True) as parquet:
            _check_size(parquet.metadata, data.size)
            names = SCHEMAS[which].names if columns is None else list(columns)
            if parquet.schema_arrow.names != SCHEMAS[which].names:
                raise ValueError(f"its columns are {', '.join(parquet.schema_arrow.names):.200}")
            table = parquet.read(columns=names, use_threads=data.size >= THREADS_BYTES)
            table = table.replace_schema_metadata(None)
            check(table, which)
            return table
    except (OutageError, FolderError):
        raise
    except (pa.ArrowException, OSError, ValueError) as error:
        raise FolderError(f"{folder.where(key)}: damaged: {one_line(error)}") from error


def _check_size(footer: pq.FileMetaData, size_bytes: int) -> None:
    """Raise `ValueError` for a part that says it has far more than it has room for: a few bytes may stand for as
    much as one likes, and that has to fit into the memory of whoever reads it."""
    groups = (footer.row_group(number) for number in range(footer.num_row_groups))
    unpacked_bytes = sum(group.total_byte_size for group in groups)
    if unpacked_bytes > max(SMALL_BYTES, UNPACKED_PER_BYTE * size_bytes):
        raise ValueError(f"{unpacked_bytes} bytes unpacked are too many for {size_bytes} bytes")
    if footer.num_rows > max(SMALL_ROWS, ROWS_PER_BYTE * size_bytes):
        raise ValueError(f"{footer.num_rows} rows are too many for {size_bytes} bytes")

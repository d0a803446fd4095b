"""A rolled file: the rows of one table of a range of commits, in the order of the commits, as Parquet."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.parquet as pq

from caviar.errors import FolderError, OutageError
from caviar.store.layout import FORMAT, LOST, TABLES, SweepFolder
from caviar.store.tables import SCHEMAS


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
    except OutageError:
        raise
    except (pa.ArrowException, OSError) as error:
        raise FolderError(f"{where}: damaged: {_line(error)}") from error
    version = metadata.get(b"caviar.format")
    if version != str(FORMAT).encode():
        told = "none" if version is None else version.decode(errors="replace")
        raise FolderError(f"{where}: format version {told} is unknown; this caviar reads {FORMAT}")
    first, last = int(metadata[b"caviar.first_commit"]), int(metadata[b"caviar.last_commit"])
    if first != SweepFolder.part_first(key.rpartition("/")[2]):
        raise FolderError(f"{where}: damaged: it begins at commit {first}, not where its name says")
    lost = tuple((begin, end) for begin, end in json.loads(metadata.get(LOST.encode(), b"[]")))
    return Part(key, first, last, metadata[b"caviar.nonce"].decode(), lost)


def read_part(folder: SweepFolder, key: str, *, columns: Sequence[str] | None = None) -> pa.Table:
    """A part's rows; a damaged file raises a `FolderError` that names it, one out of reach `OutageError`."""
    try:
        with folder.storage.open(key) as file, pq.ParquetFile(file, page_checksum_verification=True) as parquet:
            rows = parquet.read(columns=None if columns is None else list(columns)).replace_schema_metadata(None)
    except OutageError:
        raise
    except (pa.ArrowException, OSError, ValueError) as error:
        raise FolderError(f"{folder.where(key)}: damaged: {_line(error)}") from error
    table = next(table for table in TABLES if key.startswith(f"{folder.table_folder(table)}/"))
    wanted = [field for field in SCHEMAS[table] if columns is None or field.name in columns]
    if not rows.schema.equals(pa.schema(wanted)):  # of the footer there is no checksum
        raise FolderError(f"{folder.where(key)}: damaged: its columns are not those of {table}")
    return rows


def _line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]

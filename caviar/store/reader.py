"""Reads a sweep folder, finished or running, whole or only what is new."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import pyarrow as pa
import pyarrow.compute as pc

from caviar.errors import FolderError, OutageError
from caviar.store import segment
from caviar.store.amended import amended
from caviar.store.files import Files
from caviar.store.layout import TABLES, SweepFolder, Table
from caviar.store.lease import Lease, wall_clock_us
from caviar.store.part import read_part
from caviar.store.picture import Camera, Picture
from caviar.store.segment import Segment
from caviar.store.tables import SCHEMAS, join

SweepState = Literal["finished", "running", "interrupted"]

READ_AT_ONCE = 256
"""So many commits are fetched together, where fetching takes time."""

_TURNS = pa.array(["driver_started", "sweep_ended"])
"""The events that say whether a sweep has ended: the last of them counts."""


@dataclass(frozen=True, slots=True)
class Increment:
    """The rows that are new since the last look, in the order of their commits."""

    metrics: pa.Table
    events: pa.Table
    fresh: bool
    """Everything is in it, from the first row on: forget what you had."""


@dataclass(frozen=True, slots=True)
class _Look:
    """What a look at the folder brought, before it is taken over as seen."""

    last: int
    rows: dict[Table, pa.Table]
    counts: dict[int, dict[Table, int]]
    """Rows of each commit that was read from `_hot`."""
    covered: int


class Reader:
    """Reads one sweep folder. Holds no rows: memory stays flat however long it follows a sweep.

    What it returns is a whole prefix of the commits, both tables up to the same one: nothing torn, doubled or
    vanishing. A folder that is no sweep, and a file that is damaged or missing, raise a `FolderError` that names
    it; one that is out of reach for now raises `OutageError`. With ``metrics=False`` the metrics tables stay empty
    and are not read. ``files``: as in `SweepFolder`.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        metrics: bool = True,
        now_us: Callable[[], int] = wall_clock_us,
        files: Files | None = None,
    ) -> None:
        self._folder = SweepFolder.find(path, files=files)
        self._tables: tuple[Table, ...] = TABLES if metrics else ("events",)
        self._now_us = now_us
        self._camera = Camera(self._folder)
        self.written = self._folder.declaration()
        """What sweep.json holds."""
        self._declaration = self.written
        self._last = -1
        # A part may cover commits of which a follower has seen only the first: their rows come first in the part,
        # so it is enough to remember how many there were
        self._counts: dict[int, dict[Table, int]] = {}
        self._ended: bool | None = None

    @property
    def declaration(self) -> dict[str, Any]:
        """What sweep.json holds, with what was changed since, as far as `refresh` or `read` has seen it."""
        return self._declaration

    def refresh(self) -> Increment:
        """The rows that are new since the last call; at the first, all (``fresh``)."""
        fresh = self._last < 0
        look = self._look(self._last, self._tables)
        self._last = look.last
        self._counts.update(look.counts)
        for commit in [commit for commit in self._counts if commit <= look.covered]:
            del self._counts[commit]
        self._ended = _ended(look.rows["events"], self._ended)
        self._declaration = amended(self._declaration, look.rows["events"], where=str(self._folder))
        return Increment(self._rows(look, "metrics"), self._rows(look, "events"), fresh)

    def read(self) -> tuple[pa.Table, pa.Table]:
        """All metrics and all events of now; does not count as a look for `refresh`."""
        look = self._look(-1, self._tables)
        self._declaration = amended(self._declaration, look.rows["events"], where=str(self._folder))
        return self._rows(look, "metrics"), self._rows(look, "events")

    def reports_of(self, trials: Collection[int]) -> pa.Table:
        """The metrics of these trials, read part after part, so that memory does not grow with the sweep."""
        wanted = pa.array(trials, pa.int64())
        while True:
            picture = self._camera.take()
            try:
                pieces = [rows.filter(pc.is_in(rows.column("trial"), wanted)) for rows in self._pieces(picture)]
            except FileNotFoundError:
                continue
            return join(pieces, "metrics")

    def _pieces(self, picture: Picture) -> Iterator[pa.Table]:
        for part in picture.parts["metrics"]:
            yield read_part(self._folder, part.key)
        for content in self._commits(range(picture.covered("metrics") + 1, picture.last + 1)):
            yield content.metrics

    def _commits(self, commits: Sequence[int]) -> Iterator[Segment]:
        for begin in range(0, len(commits), READ_AT_ONCE):
            keys = [self._folder.hot(commit) for commit in commits[begin : begin + READ_AT_ONCE]]
            for key, data in zip(keys, self._folder.storage.read_many(keys), strict=True):
                yield segment.decode(self._folder.where(key), data)

    def state(self) -> SweepState:
        """Where the sweep stands now: finished once its end was recorded, and no driver started after that;
        running while its driver's lease is fresh; interrupted otherwise."""
        try:
            lease = Lease.read(self._folder)
        except OutageError:
            raise
        except OSError as error:
            raise FolderError(f"{error.filename}: cannot be read: {error.strerror}") from error
        held = lease is not None and lease.held(self._now_us())
        # In this order: a driver records the end before it lets go of the lease
        if _ended(self._look(self._last, ("events",), columns=("kind",)).rows["events"], self._ended):
            return "finished"
        return "running" if held else "interrupted"

    def _rows(self, look: _Look, table: Table) -> pa.Table:
        return look.rows.get(table, SCHEMAS[table].empty_table())

    def _look(self, seen: int, tables: tuple[Table, ...], *, columns: Sequence[str] | None = None) -> _Look:
        while True:
            picture = self._camera.take()
            try:
                return self._develop(picture, seen, tables, columns=columns)
            except FileNotFoundError:
                # A commit left `_hot` since the picture was taken: then its parts have come, so look again
                continue

    def _develop(
        self, picture: Picture, seen: int, tables: tuple[Table, ...], *, columns: Sequence[str] | None
    ) -> _Look:
        rows: dict[Table, list[pa.Table]] = {table: [] for table in tables}
        for table in tables:
            for part in picture.parts[table]:
                if part.last > seen:
                    skip = sum(self._counts[commit][table] for commit in range(part.first, seen + 1))
                    rows[table].append(read_part(self._folder, part.key, columns=columns).slice(skip))
        covered = {table: picture.covered(table) for table in TABLES}
        counts: dict[int, dict[Table, int]] = {}
        wanted = range(max(seen, min(covered.values())) + 1, picture.last + 1)
        for commit, content in zip(wanted, self._commits(wanted), strict=True):
            counts[commit] = {table: content.rows(table).num_rows for table in TABLES}
            for table in tables:
                if commit > covered[table]:
                    new = content.rows(table)
                    rows[table].append(new if columns is None else new.select(columns))
        return _Look(
            picture.last, {table: join(rows[table], table) for table in tables}, counts, min(covered.values())
        )


def _ended(events: pa.Table, before: bool | None) -> bool | None:
    """Whether the sweep has ended, given whether it had before these events."""
    kinds = events.column("kind")
    turns = kinds.filter(pc.is_in(kinds, value_set=_TURNS))
    return turns[-1].as_py() == "sweep_ended" if len(turns) else before

"""Commits and parts: which of them are whole, and which commits no file holds any more."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import pyarrow as pa
import pyarrow.parquet as pq

from caviar.errors import FolderError, OutageError
from caviar.store.check.findings import Findings, Ranges, ranges, told
from caviar.store.layout import TABLES, SweepFolder, Table
from caviar.store.part import Part, read_footer, read_part
from caviar.store.segment import one_line, read_commit


@dataclass(frozen=True, slots=True)
class Source:
    """A whole file with rows of one table, of these commits; or, with ``part`` None and ``hot`` false, none: they
    are lost."""

    first: int
    last: int
    part: Part | None = None
    hot: bool = False

    @property
    def lost(self) -> bool:
        """Whether no file has these commits."""
        return self.part is None and not self.hot


@dataclass(slots=True)
class Chain:
    """The parts of one table."""

    whole: list[Part] = field(default_factory=list)
    """In order, none overlapping another."""
    broken: list[str] = field(default_factory=list)
    """Keys of files that are no use: to be set aside."""
    reach: int = -1
    """The last commit that is known to have been in a part of this table."""

    def holes(self, last: int) -> Ranges:
        """Between and behind the whole parts, up to the commit ``last``."""
        found, expected = [], 0
        for part in self.whole:
            if part.first > expected:
                found.append((expected, part.first - 1))
            expected = part.last + 1
        if expected <= last:
            found.append((expected, last))
        return tuple(found)


@dataclass(frozen=True, slots=True)
class Hole:
    """Commits of one table that should have been in a part, and are in none."""

    table: Table
    first: int
    last: int
    hot: tuple[int, ...]
    """Those that are whole in `_hot`."""
    lost: Ranges
    """Those that are not."""


@dataclass(slots=True)
class Files:
    """The files of all commits."""

    hot: dict[int, str] = field(default_factory=dict)
    """Whole commits in `_hot`, with the nonce of each."""
    broken_hot: list[str] = field(default_factory=list)
    stand_ins: list[int] = field(default_factory=list)
    """Commits in whose place a repair put a file."""
    chains: dict[Table, Chain] = field(default_factory=dict)
    last: int = -1
    """The last commit that is known to have been made."""

    @property
    def rolled(self) -> int:
        """The last commit that is known to have been rolled: up to it, `_hot` need not have any."""
        return max(0, *(chain.reach for chain in self.chains.values()))

    def sources(self, table: Table) -> Iterator[Source]:
        """Where the rows of each commit are, in order."""
        expected = 0
        for part in self.chains[table].whole:
            yield from self._from_hot(expected, part.first - 1)
            yield Source(part.first, part.last, part)
            expected = part.last + 1
        yield from self._from_hot(expected, self.last)

    def holes(self, table: Table) -> Iterator[Hole]:
        """Where a part of this table should be. Behind the last part there need not be one, as long as `_hot` has
        what was committed since."""
        chain = self.chains[table]
        for first, last in chain.holes(self.rolled):
            commits = range(first, last + 1)
            lost = ranges(commit for commit in commits if commit not in self.hot)
            if lost or last < self.rolled or not chain.whole:
                hot = tuple(commit for commit in commits if commit in self.hot)
                yield Hole(table, first, last, hot, lost)

    def lost(self, table: Table) -> Ranges:
        """The commits of which no file has this table's rows."""
        spans = [(source.first, source.last) for source in self.sources(table) if source.lost]
        return tuple(spans)

    def _from_hot(self, first: int, last: int) -> Iterator[Source]:
        commit = first
        while commit <= last:
            if commit in self.hot:
                yield Source(commit, commit, hot=True)
                commit += 1
                continue
            begin = commit
            # What was rolled is lost to one table alone, what was not to both: so they are told apart
            end = self.rolled if begin <= self.rolled < last else last
            while commit <= end and commit not in self.hot:
                commit += 1
            yield Source(begin, commit - 1)


def look_at_files(folder: SweepFolder, findings: Findings) -> Files:
    """Read every commit and every part, whole. Memory holds one at a time."""
    files = Files()
    # In this order, as readers do: a commit leaves `_hot` only after its parts have come
    for name in sorted(names(folder, folder.hot_folder)):
        commit = SweepFolder.hot_commit(name)
        if commit is not None:
            files.last = max(files.last, commit)
            _look_at_commit(folder, commit, files, findings)
    for table in TABLES:
        files.chains[table] = _look_at_parts(folder, table, findings)
    files.last = max(files.last, files.rolled)
    _tell_what_is_lost(folder, files, findings)
    return files


def names(folder: SweepFolder, key: str) -> list[str]:
    """The names in a folder; none where it is missing."""
    try:
        return folder.storage.names(key)
    except (FileNotFoundError, NotADirectoryError):
        return []


def rows_of(folder: SweepFolder, source: Source, table: Table) -> pa.Table:
    """The rows that a whole file has of a table."""
    if source.part is not None:
        return read_part(folder, source.part.key)
    return read_commit(folder, source.first).rows(table)


def _look_at_commit(folder: SweepFolder, commit: int, files: Files, findings: Findings) -> None:
    key = folder.hot(commit)
    try:
        content = read_commit(folder, commit)
    except (FileNotFoundError, PermissionError, OutageError):
        raise
    except (FolderError, OSError) as error:
        files.broken_hot.append(key)
        findings.damage(key, _without(folder, key, error))
        return
    files.hot[commit] = content.nonce
    if content.stand_in:
        files.stand_ins.append(commit)


def _look_at_parts(folder: SweepFolder, table: Table, findings: Findings) -> Chain:
    chain = Chain()
    inside = folder.table_folder(table)
    for name in sorted(name for name in names(folder, inside) if SweepFolder.part_first(name) is not None):
        key = f"{inside}/{name}"
        chain.reach = max(chain.reach, SweepFolder.part_first(name) or 0)
        part: Part | None = None
        try:
            part = read_footer(folder, key)
            chain.reach = max(chain.reach, part.last)
            if chain.whole and part.first <= chain.whole[-1].last:
                before = chain.whole[-1]
                raise FolderError(f"doubled: {told(((part.first, part.last),))}, which {before.key} holds too")
            _check_part(folder, part)
        except FolderError as error:
            if isinstance(error.__cause__, PermissionError):
                raise
            chain.broken.append(key)
            findings.damage(key, _without(folder, key, error))
        else:
            chain.whole.append(part)
    return chain


def _check_part(folder: SweepFolder, part: Part) -> None:
    """Read all of it, with the checksums of its pages. Its footer has none: what it says is compared."""
    where = folder.where(part.key)
    try:
        with folder.storage.open(part.key) as file, pq.ParquetFile(file) as parquet:
            footer = parquet.metadata
            # Of its columns nothing is asked: where that is damaged, pyarrow ends the process
            counted = sum(footer.row_group(number).num_rows for number in range(footer.num_row_groups))
        rows = read_part(folder, part.key)
        rows.validate(full=True)
    except (pa.ArrowException, ValueError, LookupError, TypeError) as error:
        if isinstance(error, FolderError):
            raise
        raise FolderError(f"{where}: damaged: {one_line(error)}") from error
    if not rows.num_rows == footer.num_rows == counted:
        raise FolderError(f"{where}: damaged: it has {rows.num_rows} rows, and should have {footer.num_rows}")


def _tell_what_is_lost(folder: SweepFolder, files: Files, findings: Findings) -> None:
    """Commits that no file holds, although later ones were made."""
    for table in TABLES:
        for hole in files.holes(table):
            key = folder.part(table, hole.first)
            if not hole.lost and key not in files.chains[table].broken:
                findings.damage(key, "missing; all of its rows are still in _hot")
    told_of = {*files.broken_hot, *(key for chain in files.chains.values() for key in chain.broken)}
    for table in TABLES:
        chain = files.chains[table]
        for first, last in files.lost(table):
            rolled = first <= files.rolled
            key = folder.part(table, _begin_of_hole(chain, files, first)) if rolled else folder.hot(first)
            if not rolled and table != TABLES[0]:
                continue  # said once of both tables
            what = table if rolled else "both tables"
            missing = "damaged" if key in told_of else "missing"
            end = "" if (first, last) != (files.last, files.last) or not rolled else ", and perhaps later ones"
            findings.damage(key, f"{missing}, so {told(((first, last),))} of {what}{end} cannot be read")


def _begin_of_hole(chain: Chain, files: Files, commit: int) -> int:
    for first, last in chain.holes(files.rolled):
        if first <= commit <= last:
            return first
    return commit


def _without(folder: SweepFolder, key: str, error: Exception) -> str:
    """An error's text without the name, which stands beside it."""
    if isinstance(error, OSError):
        return f"damaged: it cannot be read: {error.strerror}"
    return str(error).removeprefix(f"{folder.where(key)}: ")


def lost_by_stand_ins(files: Files, table: Table) -> Ranges:
    """The commits in whose place an earlier repair put something."""
    commits = set(files.stand_ins)
    for part in files.chains[table].whole:
        for first, last in part.lost:
            commits.update(range(first, last + 1))
    return ranges(sorted(commits))

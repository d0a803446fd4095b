"""One consistent look at a sweep folder while its recorder goes on: which files hold the commits up to which.

`_hot` is listed before the parts. A commit that leaves `_hot` does so after both its parts appeared, so it is
found in one place or the other; where it is found in both, the part counts.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from caviar.errors import FolderError, OutageError
from caviar.store.layout import TABLES, SweepFolder, Table
from caviar.store.part import Part, read_footer


@dataclass(frozen=True, slots=True)
class Picture:
    """The files that hold all commits from 0 up to ``last``."""

    last: int
    parts: Mapping[Table, tuple[Part, ...]]
    """In order, without gaps from commit 0."""
    hot: tuple[int, ...]
    """The commits in `_hot`, in order; those that parts cover too may be among them."""

    def covered(self, table: Table) -> int:
        """The last commit whose rows of this table lie in parts; -1: none."""
        return self.parts[table][-1].last if self.parts[table] else -1

    @property
    def furthest(self) -> int:
        """The last commit of which rows lie in parts of any table; -1: none."""
        return max(map(self.covered, TABLES))


class Camera:
    """Takes pictures of one folder. Remembers the footers of parts, which never change."""

    def __init__(self, folder: SweepFolder) -> None:
        self._folder = folder
        self._footers: dict[tuple[Table, str], Part] = {}

    def take(self) -> Picture:
        """A picture of now; a commit or a part that is missing raises a `FolderError` that names it, and a place
        out of reach `OutageError`."""
        before: object = None
        while True:
            try:
                hot = tuple(sorted(_numbers(self._folder)))
                parts = {table: self._parts(table) for table in TABLES}
            except OutageError:
                raise
            except OSError as error:
                raise FolderError(f"{error.filename or self._folder}: cannot be read: {error.strerror}") from error
            covered = {table: chain[-1].last if chain else -1 for table, chain in parts.items()}
            picture = Picture(_reach(min(covered.values()), hot), parts, hot)
            # Listing a folder that changes may skip a name, so a gap counts as damage only once it stands still
            missing = self._gap(picture)
            if missing is None:
                return picture
            if before == (hot, parts):
                raise FolderError(
                    f"{self._folder.where(missing)}: missing; what was committed after it cannot be read"
                )
            before = (hot, parts)

    def _parts(self, table: Table) -> tuple[Part, ...]:
        folder = self._folder.table_folder(table)
        chain = []
        names = self._folder.storage.names(folder)
        for name in sorted(name for name in names if SweepFolder.part_first(name) is not None):
            if (table, name) not in self._footers:
                self._footers[table, name] = read_footer(self._folder, f"{folder}/{name}")
            chain.append(self._footers[table, name])
        return tuple(chain)

    def _gap(self, picture: Picture) -> str | None:
        """A file that must be there, since something that came after it is."""
        for table, chain in picture.parts.items():
            expected = 0
            for part in chain:
                if part.first != expected:
                    return self._folder.part(table, expected)
                expected = part.last + 1
        missing = picture.last + 1
        for table in TABLES:
            # A commit leaves `_hot` only when both tables have it in parts: so this table's part is what lacks
            if picture.covered(table) < missing <= picture.furthest:
                return self._folder.part(table, picture.covered(table) + 1)
        return self._folder.hot(missing) if picture.hot and picture.hot[-1] > missing else None


def _numbers(folder: SweepFolder) -> Iterator[int]:
    for name in folder.storage.names(folder.hot_folder):
        commit = SweepFolder.hot_commit(name)
        if commit is not None:
            yield commit


def _reach(covered: int, hot: tuple[int, ...]) -> int:
    """The last commit up to which nothing is missing."""
    last = covered
    for commit in hot:
        if commit == last + 1:
            last = commit
        elif commit > last:
            break
    return last

"""The events that are committed from now on: for one who waits for an answer.

The next commit's name is known beforehand, so to look is to ask for one file, however large the sweep has become.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import TYPE_CHECKING

from caviar.messages import Recorded
from caviar.store.layout import SweepFolder

if TYPE_CHECKING:
    import pyarrow as pa

    from caviar.store.picture import Camera, Picture


class Sequel:
    """Follows one sweep's events of some kinds, from the moment on at which it is made.

    Loads pyarrow at the first look, not before: who asks for something is to be heard first.
    """

    def __init__(self, folder: SweepFolder, kinds: Collection[str]) -> None:
        self._folder = folder
        self._kinds = kinds
        self._camera: Camera | None = None
        self._found: list[Recorded] = []
        """What is to be returned; it outlasts a look that comes to nothing halfway."""
        # in this order: a commit leaves `_hot` once it is in a part
        hot = map(SweepFolder.hot_commit, folder.storage.names(folder.hot_folder))
        self._seen = max((commit for commit in hot if commit is not None), default=-1)
        parts = map(SweepFolder.part_first, folder.storage.names(folder.table_folder("events")))
        self._part = max((first for first in parts if first is not None), default=None)
        """The last part of now, by its first commit, until it is known what it covers."""

    def new(self, *, thorough: bool = False) -> list[Recorded]:
        """The events of the commits that came since the last call. Those of a commit that was rolled meanwhile are
        found by a ``thorough`` look alone, which lists folders; it may bring events again that were seen before.

        What cannot be reached now raises `OutageError`, what is damaged or gone `FolderError`.
        """
        if self._part is not None:
            from caviar.store.part import read_footer

            footer = read_footer(self._folder, self._folder.part("events", self._part))
            self._seen, self._part = max(self._seen, footer.last), None
        if thorough:
            self._take_all()
        else:
            self._take_next()
        found, self._found = self._found, []
        return found

    def _take_next(self) -> None:
        from caviar.store.segment import read_commit

        while True:
            try:
                events = read_commit(self._folder, self._seen + 1).events
            except FileNotFoundError:
                return
            self._found += self._events(events)
            self._seen += 1

    def _take_all(self) -> None:
        from caviar.store.part import read_part

        while True:
            picture = self._picture()
            for part in picture.parts["events"]:
                if part.last > self._seen:
                    self._found += self._events(read_part(self._folder, part.key))
                    self._seen = part.last
            self._take_next()
            if self._seen >= picture.last:
                return

    def _events(self, rows: pa.Table) -> Iterator[Recorded]:
        import pyarrow as pa
        import pyarrow.compute as pc

        from caviar.store.tables import events_of

        ours = pc.is_in(rows.column("kind"), value_set=pa.array(self._kinds, pa.string()))
        return events_of(rows.filter(ours), where=str(self._folder))

    def _picture(self) -> Picture:
        if self._camera is None:
            from caviar.store.picture import Camera

            self._camera = Camera(self._folder)
        return self._camera.take()

"""The one writer of a sweep folder: commits rows durably, has them rolled into parts, and holds the lease.

Commits are numbered through the sweep, and each number is created exactly once. A driver has a nonce; when it
finds its next number taken under another nonce, it has been replaced, and stops. At its start a driver takes a
number for a seal, a commit without rows: a predecessor that should still be alive collides with that.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from caviar.errors import FolderError
from caviar.messages import Reports, TrialStarted
from caviar.store import segment, spare
from caviar.store.beginnings import check_new
from caviar.store.fence import Fence
from caviar.store.files import Files
from caviar.store.layout import FORMAT, LAST_COMMIT, TABLES, SweepFolder
from caviar.store.lease import RENEW_S, Lease, refuse_if_held
from caviar.store.part import read_part
from caviar.store.picture import Camera, Picture
from caviar.store.progress import Progress
from caviar.store.roller import Roller
from caviar.store.rows import EventRow
from caviar.store.segment import Segment, SegmentKind
from caviar.store.tables import EVENTS, METRICS, event_rows, events_table, metrics_table


class Recorder:
    """Writes one sweep folder; made by `create` or `open`. One thread calls it at a time.

    ``now_us`` is real time, microseconds since the epoch, also where trials run in virtual time: other processes
    compare the lease with their own clocks.

    After an `OSError` (no room on the disk, say) the recorder can be used further: what was not acknowledged may
    be committed again. `FencedError` is final: another driver took the folder over, and every later call raises
    it too.
    """

    def __init__(self, fence: Fence, *, now_us: Callable[[], int], created_us: int) -> None:
        """For `create` and `open` alone."""
        self._fence = fence
        self._folder = fence.folder
        self._storage = fence.storage
        self._now_us = now_us
        self._progress = Progress()
        self._created_us = created_us
        self._roller = Roller(fence, created_us=created_us)
        self._next_commit = 0
        self._next_event = 0
        self._unsure = False
        """A create of the next commit failed. It may have been there all the same, and a successor may have rolled
        it: then its name is free again."""
        self._kept: list[EventRow] = []
        """Of the events of a commit that failed, the first: those that are stored all the same."""
        self._leased_us = 0
        self._closed = False

    @classmethod
    def create(
        cls,
        folder: SweepFolder,
        declaration: Mapping[str, Any],
        *,
        now_us: Callable[[], int],
        files: Files | None = None,
        dowry: Callable[[], AbstractContextManager[None]] = contextlib.nullcontext,
    ) -> Recorder:
        """Make a new sweep folder; ``declaration`` is JSON for sweep.json, to which ``format`` and ``created_us``
        are added. ``dowry``: brings what the sweep begins with when it is entered, to where nobody else sees it,
        and puts it in its place when it is left, by which the folder is a sweep.

        Raises `FolderError` where the folder cannot hold a new sweep; then, and after any failure on the way,
        nothing of what was made stays behind.
        """
        created_us = now_us()
        content = {**declaration, "format": FORMAT, "created_us": created_us}
        data = json.dumps(content, indent=1, allow_nan=False).encode()
        if files is not None:
            folder = SweepFolder(folder.path, files)
        begun = check_new(folder, created_us)
        recorder = cls(Fence(folder), now_us=now_us, created_us=created_us)
        loose = (folder.sweep_json, folder.sweep_copy, folder.lease_json)
        try:
            with folder.storage.founding(folder.folders, loose, begun=begun):
                recorder._found(data, begun=begun, dowry=dowry)
            if begun:  # once more: whoever began here may have been clearing it away until now
                with folder.storage.founding(folder.folders, loose, begun=True):
                    recorder._lay(begun=True)
        except FileExistsError as error:
            raise FolderError(f"{folder}: another process has just made a sweep of it") from error
        return cls.open(folder, now_us=now_us, take_over=True) if begun else recorder

    @classmethod
    def open(
        cls,
        folder: SweepFolder,
        *,
        now_us: Callable[[], int],
        take_over: bool | Lease = False,
        files: Files | None = None,
    ) -> Recorder:
        """Go on with an existing sweep folder, from all that was ever acknowledged.

        Raises `LeaseError` where another driver holds it, unless ``take_over``, or that is its lease;
        `FolderError` where it is no sweep, or damaged.
        """
        if files is not None:
            folder = SweepFolder(folder.path, files)
        created_us = folder.declaration().get("created_us")
        if created_us is None:
            raise FolderError(f"{folder.where(folder.sweep_json)}: damaged: created_us is missing")
        if take_over is not True:
            refuse_if_held(folder, now_us(), but=take_over or None)
        recorder = cls(Fence(folder), now_us=now_us, created_us=created_us)
        folder.storage.make_folders(folder.folders)  # those that were empty get lost on the way of a copy
        # A predecessor that was killed may have got as far as a name that is not on the disk yet. Before anything
        # is built on what is found, it has to be: here, and in `_recall`
        folder.storage.sync(folder.sweep_json)
        camera = Camera(folder)
        while True:
            picture = camera.take()
            if picture.hot:
                folder.storage.sync(folder.hot(picture.hot[-1]))
            recorder._next_commit = picture.last + 1
            if recorder._next_commit > LAST_COMMIT:
                raise FolderError(f"{folder}: has no number left for another commit")
            with contextlib.suppress(FileExistsError):  # the predecessor was faster: take the number after that
                recorder._seal()
                # Or so much faster that its commit of this number has left `_hot` again, and made room for a seal
                # that stops nobody. Then parts cover it
                if camera.take().furthest < recorder._next_commit - 1:
                    break
        recorder._renew_lease()
        try:
            recorder._catch_up(camera)
            recorder._fence.read_own(recorder._next_commit)  # what is on its way may be a successor's by now
            recorder._tidy()
        except BaseException:
            recorder._release_lease()
            raise
        return recorder

    @property
    def commits(self) -> int:
        """How many commits the sweep has, seals among them; the number of the next one."""
        return self._next_commit

    @property
    def events(self) -> int:
        """How many events the sweep has; the ``seq`` of the next one."""
        return self._next_event

    @property
    def unrolled_rows(self) -> int:
        """Rows of metrics that lie in `_hot` alone."""
        return self._roller.rows

    def commit(self, reports: Sequence[Reports], events: Sequence[EventRow]) -> None:
        """Store reports and events together; when it returns they are durable, and may be acknowledged.

        Dropped are reports that are stored already, by (trial, attempt, seq), and those of an attempt that
        another had superseded before this call. From one call to the next, the seq of an attempt only grows.
        With nothing to store it does nothing. Rolls first where that is due.

        After an `OSError` nothing counts as stored: call again with the same reports and events, and more behind
        them if there are more. `FencedError`: another driver took over, and what it found of these, it has.
        `FolderError`: the folder has been removed.
        """
        self._fence.check()
        self._roll_if_due()  # not after the commit: were it to fail there, the caller would repeat stored events
        events = _after(self._kept, events)
        while True:
            new = self._progress.select(reports)
            metrics = metrics_table(new)
            if not metrics.num_rows and not events:
                self._kept = []
                return
            content = Segment(
                self._next_commit,
                self._fence.nonce,
                SegmentKind.COMMIT,
                metrics,
                events_table(events, self._next_event),
            )
            try:
                self._storage.create(self._folder.hot(self._next_commit), segment.encode(content))
            except FileExistsError:
                events = self._adopt(events)
            except OSError as error:
                self._unsure = True
                if not isinstance(error, FileNotFoundError) or self._storage.exists(self._folder.sweep_json):
                    raise
                raise self._folder.gone() from error  # waiting for it, as one does for room, would be in vain
            else:
                self._make_sure()
                for block in new:
                    self._progress.note(block.trial, block.attempt, block.seq)
                self._count(content)
                self._kept = []
                return

    def tick(self) -> None:
        """Do what the clock asks for: renew the lease, roll. Cheap when neither is due; once closed, nothing."""
        if self._closed:
            return
        self.keep_lease()
        self._roll_if_due()

    def roll(self) -> None:
        """Move all commits from `_hot` into a new part of each table."""
        self._fence.check()
        self._roll()

    def keep_lease(self) -> None:
        """Renew the lease where that is due, every 5 s; once closed, never again."""
        if self._closed:
            return
        self._fence.check()
        if self._now_us() - self._leased_us >= RENEW_S * 1e6:
            self._fence.read_own(self._next_commit)  # a successor's lease must not be overwritten
            if self._unsure:
                self._fence.check_last(self._next_commit)
            if not self._folder.exists():  # in an object store nothing else would tell
                raise self._folder.gone()
            try:
                self._renew_lease()
            except FileNotFoundError as error:
                if self._storage.exists(self._folder.sweep_json):
                    raise
                raise self._folder.gone() from error

    def close(self, final: bool = True) -> None:
        """Roll everything, and let go of the lease even if that fails. A recorder that was fenced off only ends.

        ``final``: the sweep has ended and no worker writes any more, so leftovers in `.tmp` are removed too.
        """
        if self._fence.closed:
            return
        try:
            self._roll()
            if final:
                self._tidy()
        finally:
            self._closed = True
            self._release_lease()

    # --- the founding -------------------------------------------------------------------------------------

    def _found(
        self, declaration: bytes, *, begun: bool, dowry: Callable[[], AbstractContextManager[None]]
    ) -> None:
        """Write what a new sweep consists of. Of all who are at it one creates sweep.json; `FileExistsError` for
        the others."""
        self._renew_lease()  # first, so that nobody takes this for the remains of a founding that was cut off
        try:
            self._lay(begun=begun)
            with dowry():
                self._storage.create(self._folder.sweep_json, declaration)
            with contextlib.suppress(OSError):  # a sweep can do without
                self._storage.replace(self._folder.sweep_copy, spare.encode(declaration))
        except BaseException:
            if begun:
                with contextlib.suppress(OSError):
                    self._release_lease()
            raise

    def _lay(self, *, begun: bool) -> None:
        """Make the first commit and the first parts; ``begun``: those that are there already will do."""
        for make in (self._seal, *self._roller.beginnings()):
            try:
                make()
            except FileExistsError:
                if not begun:
                    raise

    # --- commits ------------------------------------------------------------------------------------------

    def _seal(self) -> None:
        content = Segment(
            self._next_commit,
            self._fence.nonce,
            SegmentKind.SEAL,
            METRICS.empty_table(),
            EVENTS.empty_table(),
        )
        self._storage.create(self._folder.hot(self._next_commit), segment.encode(content))
        self._next_commit += 1

    def _count(self, content: Segment) -> None:
        """A commit is durable."""
        self._next_commit = content.commit + 1
        self._next_event += content.events.num_rows
        self._note_starts(content.events)
        self._roller.add(content, self._now_us())

    def _adopt(self, events: Sequence[EventRow]) -> Sequence[EventRow]:
        """The next commit's name is taken. If it is ours, an earlier create failed after the name was there;
        readers may have seen it, so it stands. Returns the events that are not in it."""
        content = self._fence.read_own(self._next_commit)
        if content is None:
            return events
        self._make_sure()
        self._storage.sync(self._folder.hot(self._next_commit))
        stored = event_rows(content.events)
        left = _after(stored, events)
        self._note_reports(content.metrics)
        self._count(content)
        self._kept += stored  # the rest may fail, and then they are given once more
        return left

    def _make_sure(self) -> None:
        """The next commit is there and ours. See that it counts: that no successor has passed it by."""
        if self._unsure:
            self._fence.check_last(self._next_commit)
            self._unsure = False

    def _note_reports(self, metrics: pa.Table) -> None:
        self._progress.note(*(metrics.column(name).to_numpy() for name in ("trial", "attempt", "seq")))

    def _note_numbers(self, events: pa.Table) -> None:
        """Not how many there are: some may have been lost."""
        if events.num_rows:
            self._next_event = max(self._next_event, pc.max(events.column("seq")).as_py() + 1)

    def _note_starts(self, events: pa.Table) -> None:
        started = events.filter(pc.equal(events.column("kind"), TrialStarted.kind))
        for trial, attempt in zip(
            *(started.column(name).to_pylist() for name in ("trial", "attempt")), strict=True
        ):
            self._progress.begin(trial, attempt)

    def _roll_if_due(self) -> None:
        if self._roller.due(self._now_us()):
            self._roll()

    def _roll(self) -> None:
        try:
            self._roller.roll(self._next_commit - 1)
        except FileNotFoundError as error:
            self._fence.read_own(self._next_commit)  # a successor may have rolled what we were to roll
            raise FolderError(f"{error.filename}: is gone; something else removes files from the sweep") from error

    # --- beginning and end --------------------------------------------------------------------------------

    def _catch_up(self, camera: Camera) -> None:
        """Learn what earlier drivers stored, and roll what they left in `_hot`."""
        while True:
            try:
                self._recall(camera.take())
                # Not for order's sake only: a predecessor that wakes up just before it rolls collides with these
                self._roller.roll(self._next_commit - 1, adopt=True)
            except FileNotFoundError:
                continue  # the predecessor, still alive, has just rolled what we were to read: look again
            return

    def _recall(self, picture: Picture) -> None:
        self._progress = Progress()
        self._roller = Roller(self._fence, created_us=self._created_us)
        self._next_event = 0
        if picture.last >= self._next_commit:  # another driver sealed after us
            self._fence.read_own(self._next_commit)
        for parts in picture.parts.values():
            for part in parts[-1:]:
                self._storage.sync(part.key)  # commits that they cover leave `_hot` now
        for part in picture.parts["metrics"]:
            self._note_reports(read_part(self._folder, part.key, columns=("trial", "attempt", "seq")))
        for part in picture.parts["events"]:
            events = read_part(self._folder, part.key, columns=("seq", "kind", "trial", "attempt"))
            self._note_numbers(events)
            self._note_starts(events)
        covered = {table: picture.covered(table) for table in TABLES}
        self._roller.recall(covered, picture.hot)
        left = range(min(covered.values()) + 1, self._next_commit)
        for commit, content in zip(left, self._fence.read_all(left), strict=True):
            self._note_reports(content.metrics)
            if commit > covered["events"]:
                self._note_numbers(content.events)
                self._note_starts(content.events)
            if content.kind is not SegmentKind.SEAL:
                self._roller.add(content, self._now_us())

    def _renew_lease(self) -> None:
        now_us = self._now_us()
        lease = Lease.mine(self._fence.nonce, now_us)
        self._storage.replace(self._folder.lease_json, lease.to_bytes())
        self._leased_us = now_us

    def _release_lease(self) -> None:
        lease = Lease.read(self._folder)
        if lease is not None and lease.nonce == self._fence.nonce:
            self._storage.unlink(self._folder.lease_json)

    def _tidy(self) -> None:
        """Remove what crashed writers left on its way, but not what clients post: they may be at it now."""
        self._storage.remove_leftovers(spare=self._folder.inbox_folder)


def _after(stored: Sequence[EventRow], events: Sequence[EventRow]) -> Sequence[EventRow]:
    """The events of a call that come after those that an earlier one, which failed, has stored."""
    if list(events[: len(stored)]) != list(stored):
        raise ValueError("after a failed commit, its events come first in the next")
    return events[len(stored) :]

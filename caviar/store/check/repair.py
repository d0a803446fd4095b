"""Bringing a damaged sweep folder back into use: damaged files aside, and something in their place.

Nothing is deleted, and nothing is made up. What was lost is recorded first, under the recorder's protocol; then
the files move to `.damaged`, and empty ones take their place, so that the commits follow each other again. One
that was cut off in the middle is done again from what is there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import pyarrow as pa
import pyarrow.compute as pc

from caviar.errors import FolderError, LeaseError
from caviar.messages import Checkpointed, CheckpointLost, EventsLost, Recorded, Repaired
from caviar.store import segment
from caviar.store.check.around import files_of
from caviar.store.check.files import Hole
from caviar.store.check.look import Verdict, look
from caviar.store.fence import Fence
from caviar.store.layout import TABLES, SweepFolder
from caviar.store.lease import Lease, refuse_if_held, wall_clock_us
from caviar.store.part import encode_part
from caviar.store.rows import to_row
from caviar.store.segment import Segment, SegmentKind, read_commit
from caviar.store.tables import EVENTS, METRICS, events_table, join


@dataclass(frozen=True, slots=True)
class Done:
    """What a repair did."""

    aside: Sequence[str]
    """The files that it set aside, by their names in the sweep folder."""
    made: Sequence[str]
    """The files that it made in place of what was lost."""


def repair(
    folder: SweepFolder, verdict: Verdict, *, log_bytes: int, now_us: Callable[[], int] = wall_clock_us
) -> Done:
    """Repair what a check found. A folder without damage is left as it is.

    Raises `LeaseError`, before anything is written, where a driver has the sweep in hand; `FolderError` where
    sweep.json cannot be had again.
    """
    refuse_if_held(folder, now_us())
    if verdict.sound:
        return Done((), ())
    state, declaration = verdict.declaration
    if declaration is None:
        raise FolderError(
            f"{folder.where(folder.sweep_json)}: is {state}, and no copy of it is left: put one there first (the "
            "tables are plain Parquet, and can be read without it)"
        )
    folder.storage.make_folders(folder.folders)
    fence = Fence(folder)
    _seal(fence, verdict.files.last + 1)
    lease = Lease.mine(fence.nonce, now_us())
    folder.storage.replace(folder.lease_json, lease.to_bytes())
    try:
        # Once more, now that nobody writes here any more
        verdict = look(folder, log_bytes=log_bytes, now_us=now_us())
        return _Repair(fence, verdict, declaration, now_us()).run()
    finally:
        held = Lease.read(folder)
        if held is not None and held.nonce == fence.nonce:
            folder.storage.unlink(folder.lease_json)


def _seal(fence: Fence, commit: int) -> None:
    empty = Segment(commit, fence.nonce, SegmentKind.SEAL, METRICS.empty_table(), EVENTS.empty_table())
    try:
        fence.storage.create(fence.folder.hot(commit), segment.encode(empty))
    except FileExistsError as error:
        raise LeaseError(f"{fence.folder}: another driver is at work on it: stop that first") from error


@dataclass(slots=True)
class _Repair:
    fence: Fence
    verdict: Verdict
    declaration: bytes
    now_us: int
    aside: list[str] = field(default_factory=list)
    made: list[str] = field(default_factory=list)

    def run(self) -> Done:
        """All of it."""
        folder, files, around = self.fence.folder, self.verdict.files, self.verdict.around
        damaged = [*files.broken_hot, *around.foreign]
        damaged += [key for chain in files.chains.values() for key in chain.broken]
        if self.verdict.declaration[0] == "damaged":
            damaged.append(folder.sweep_json)
        kept = {place: files_of(folder, place) for place in around.checkpoints}
        checkpoints = [f"{folder.checkpoint(*place)}/{name}" for place, found in kept.items() for name in found]
        targets = {key: self._name_aside(key) for key in sorted({*damaged, *checkpoints})}
        holes = [hole for table in TABLES for hole in files.holes(table)]
        lost = [span for span in files.lost("metrics") if span[0] > files.rolled]  # of both tables alike
        cold = {commit for first, last in lost for commit in range(first, last + 1)}
        self._record(targets)
        for key, target in targets.items():
            self._set_aside(key, target)
        folder.storage.make_folders(folder.folders)  # where a file had the name of one
        if self.verdict.declaration[0] != "whole":
            self._create(folder.sweep_json, self.declaration)
        for hole in holes:
            self._fill(hole)
        for commit in sorted({*cold, *(_commit_of(key) for key in files.broken_hot)}):
            self._stand_in(commit, lost=commit in cold)
        return Done(self.aside, self.made)

    # --- what was lost is recorded ----------------------------------------------------------------------------

    def _record(self, targets: dict[str, str]) -> None:
        """Commit what the repair is about to do: whatever happens then, nothing is dropped in silence."""
        folder, told, reported = self.fence.folder, self.verdict.told, self.verdict.reported
        lost: dict[str, list[list[int]]] = {
            table: [list(span) for span in spans] for table, spans in self.verdict.lost.items() if spans
        }
        events: list[Recorded] = list(self._checkpoints())
        known = {name for one in told.repairs for name in one.aside}
        unnamed = sorted(self.verdict.around.aside - known)  # an earlier repair that was cut off
        events.append(
            Repaired(
                self.now_us,
                lost=lost,
                aside=[
                    *unnamed,
                    *(target.removeprefix(f"{folder.damaged_folder}/") for target in targets.values()),
                ],
                checkpoints=[list(place) for place in sorted(self.verdict.around.checkpoints)],
                trials_before=max(told.trials, len(reported.trials)) if "events" in lost else 0,
                attempts=max(told.attempts, reported.attempts) if "events" in lost else 0,
            )
        )
        commit = self.verdict.files.last + 1
        rows = events_table([to_row(event) for event in events], told.next_seq)
        content = Segment(commit, self.fence.nonce, SegmentKind.COMMIT, METRICS.empty_table(), rows)
        self._create(folder.hot(commit), segment.encode(content))

    def _checkpoints(self) -> Iterator[Recorded]:
        """What trials on their way cannot go on from any more; and where that leaves one with none, an older one
        that is whole, of which its record knows nothing."""
        told, state, damaged = self.verdict.told, self.verdict.told.state, self.verdict.around.checkpoints
        for trial, record in sorted(state.active.items()) if state is not None else ():
            lost = [one for one in record.checkpoints if (trial, one.attempt, one.step) in damaged]
            for one in lost:
                why = damaged[trial, one.attempt, one.step]
                yield CheckpointLost(self.now_us, trial, one.attempt, one.step, f"the checkpoint {why}")
            if lost and len(lost) == len(record.checkpoints):
                older = [place for place in told.checkpoints.get(trial, []) if (trial, *place) not in damaged]
                if older:
                    yield Checkpointed(self.now_us, trial, *older[-1], superseded=[])

    # --- damaged files ----------------------------------------------------------------------------------------

    def _name_aside(self, key: str) -> str:
        """Where it goes: under the name that it has, or one beside that if an earlier repair took it."""
        folder = self.fence.folder
        target, number = f"{folder.damaged_folder}/{key}", 1
        while folder.storage.exists(target):
            number += 1
            target = f"{folder.damaged_folder}/{key}.{number}"
        return target

    def _set_aside(self, key: str, target: str) -> None:
        self.fence.storage.move(key, target)
        self.aside.append(key)

    # --- in their place ---------------------------------------------------------------------------------------

    def _fill(self, hole: Hole) -> None:
        """A part that reaches from the part before to the part after: with the rows that `_hot` still has."""
        table = hole.table
        found = [read_commit(self.fence.folder, commit).rows(table) for commit in hole.hot]
        rows = join(found, table)
        if table == "events":
            rows = join([rows, *self._losses(hole.first, hole.last)], table)
            rows = rows.take(pc.sort_indices(rows, sort_keys=[("seq", "ascending")]))
        data = encode_part(rows, hole.first, last=hole.last, nonce=self.fence.nonce, lost=hole.lost)
        self._create(self.fence.folder.part(table, hole.first), data)

    def _stand_in(self, commit: int, *, lost: bool) -> None:
        """A seal, which stays: what was lost may have been one, and kept a driver away that is still asleep."""
        events = join(list(self._losses(commit, commit)) if lost else [], "events")
        content = Segment(commit, self.fence.nonce, SegmentKind.SEAL, METRICS.empty_table(), events, stand_in=lost)
        self._create(self.fence.folder.hot(commit), segment.encode(content))

    def _losses(self, first: int, last: int) -> Iterator[pa.Table]:
        """What says in these commits that events were lost there: it has the number of the first of them."""
        for missing in self.verdict.told.missing:
            if first <= missing.first <= last:
                yield events_table([to_row(EventsLost(self.now_us, missing.first, missing.last))], missing.seq)

    def _create(self, key: str, data: bytes) -> None:
        self.fence.storage.create(key, data)
        self.made.append(key)


def _commit_of(key: str) -> int:
    commit = SweepFolder.hot_commit(key.rpartition("/")[2])
    assert commit is not None
    return commit

"""A sweep's life at the store: what its drivers do, one after another, and what must be found at any time."""

from __future__ import annotations

import functools
import json
import re
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from caviar.messages import Reports
from caviar.store.checkpoints import CheckpointFiles
from caviar.store.files import Files
from caviar.store.inbox import Inbox
from caviar.store.layout import TABLES, SweepFolder, Table
from caviar.store.reader import Reader
from caviar.store.recorder import Recorder
from caviar.store.rows import EventRow
from caviar.store.tables import events_table, metrics_table
from tests.store.disk import Disk, DiskFiles

BEGIN_US = 1_700_000_000_000_000

Key = tuple[int, int, int]
"""Trial, attempt and seq of a report."""

Retry = Callable[[Callable[[], Any]], Any]
COMMAND = "0000000000000001-00000000"


def at_once(call: Callable[[], Any]) -> Any:
    """No second try."""
    return call()


def block(keys: Sequence[Key]) -> Reports:
    """Reports of one metric, whose values tell where they came from."""
    trial, attempt, seq = np.array(keys, dtype=np.int64).reshape(-1, 3).T
    values = (trial * 10_000 + attempt * 100 + seq)[:, None].astype(np.float64)
    return Reports(("loss",), trial, attempt, seq, seq + 1, BEGIN_US + seq, values)


@dataclass(frozen=True, slots=True)
class OnDisk(CheckpointFiles):
    """The checkpoints of a sweep on a disk of the tests."""

    files: Files = field(default_factory=Files)

    @property
    def _folder(self) -> SweepFolder:
        return SweepFolder(Path(self.folder_path), self.files)


@dataclass(frozen=True, slots=True, kw_only=True)
class Act:
    """What leads to one commit, and what follows from it. Checkpoints are of trial 0, attempt 0."""

    keys: Sequence[Key] = ()
    kind: str = "noted"
    trial: int | None = None
    attempt: int | None = None
    events: int = 1
    lease_due: bool = False
    checkpoint: int | None = None
    command: bool = False
    roll: bool = False
    discard: int | None = None


ACTS = (
    Act(kind="trial_started", trial=0, attempt=0, keys=[(0, 0, 0), (1, 0, 0)]),
    Act(keys=[(0, 0, 1)], events=2, roll=True),
    Act(keys=[(1, 0, 1), (0, 0, 2)], lease_due=True),
    Act(keys=[(0, 0, 3)], kind="checkpointed", trial=0, attempt=0, checkpoint=4),
    Act(kind="command_answered", command=True),
    Act(keys=[(0, 0, 4), (0, 0, 5)], kind="checkpointed", trial=0, attempt=0, checkpoint=6, discard=4, roll=True),
    Act(keys=[(1, 0, 2)]),
    # The second driver
    Act(kind="trial_started", trial=0, attempt=1),
    Act(keys=[(0, 1, 0), (1, 0, 3), (0, 1, 1)], roll=True),
    Act(keys=[(1, 0, 4)], lease_due=True),
)
FIRST_DRIVER = 7
"""So many acts are the first driver's."""

_BOUNDS = [sum(act.events for act in ACTS[:number]) for number in range(len(ACTS) + 1)]
"""How many events there are after so many acts."""

EVENTS = [
    EventRow(BEGIN_US, act.kind, act.trial, act.attempt, act.checkpoint, json.dumps({"n": start + number}))
    for act, start in zip(ACTS, _BOUNDS, strict=False)
    for number in range(act.events)
]
ROWS: dict[Table, list[dict[str, Any]]] = {
    "metrics": metrics_table([block([key for act in ACTS for key in act.keys])]).to_pylist(),
    "events": events_table(EVENTS, 0).to_pylist(),
}
"""All rows, in the end."""


def _rows_after(acts: int, table: Table) -> int:
    return _BOUNDS[acts] if table == "events" else sum(len(act.keys) for act in ACTS[:acts])


class Story:
    """One telling of it, in the folder ``root`` of a disk. The clock goes on as it is told."""

    def __init__(self, root: Path, acknowledged: int = -1, clock_us: int = BEGIN_US) -> None:
        self.root = root
        self.acknowledged = acknowledged
        """So many acts were told to be stored; -1: nor was the sweep told to be made."""
        self.clock_us = clock_us
        self.take_over = False

    def tell(self, files: Files, retry: Retry = at_once) -> None:
        """Both drivers' lives, from the beginning."""
        self.live(files, FIRST_DRIVER, retry)
        self.live(files, len(ACTS), retry)

    def live(self, files: Files, until: int = len(ACTS), retry: Retry = at_once) -> None:
        """A driver's life: it makes or opens the sweep, goes on from where it is to the act ``until``, closes."""
        folder = SweepFolder(self.root, files)
        recorder: Recorder = retry(lambda: self.begin(folder))
        self.acknowledged = max(0, self.acknowledged)
        inbox = Inbox(folder)
        position = _BOUNDS.index(recorder.events)
        if position > next(number for number, act in enumerate(ACTS) if act.command):
            retry(lambda: inbox.done(COMMAND))  # as the runner does with what has been answered
        for number in range(position, until):
            self.act(number, recorder, folder=folder, inbox=inbox, retry=retry)
        retry(recorder.close)

    def begin(self, folder: SweepFolder) -> Recorder:
        """A driver makes the sweep, or opens it."""
        self.clock_us += 31_000_000  # no lease is in the way
        if folder.exists():
            return Recorder.open(folder, now_us=lambda: self.clock_us, take_over=self.take_over)
        return Recorder.create(folder, {"metric": "loss"}, now_us=lambda: self.clock_us)

    def act(
        self, number: int, recorder: Recorder, *, folder: SweepFolder, inbox: Inbox, retry: Retry = at_once
    ) -> None:
        """One commit, with what comes before and after it."""
        act = ACTS[number]
        checkpoints = OnDisk(str(self.root), files=folder.files)
        if act.lease_due:
            self.clock_us += 6_000_000
            retry(recorder.tick)
        if act.checkpoint is not None:
            retry(functools.partial(_train, checkpoints, act.checkpoint))
        if act.command:
            content = {"id": COMMAND, "command": "stop", "trial": None, "args": {}}
            retry(
                lambda: (
                    folder.storage.replace(folder.command(COMMAND), json.dumps(content).encode())
                    if not folder.storage.exists(folder.command(COMMAND))
                    else None
                )
            )
            found = retry(inbox.take) or retry(inbox.take)  # what cannot be read is left for the next look
            assert [one.id for one in found] == [COMMAND] or not folder.storage.exists(folder.command(COMMAND))
        # Workers send again, each time, whatever they have
        sent = [block([key for act in ACTS[:number] for key in act.keys]), block(act.keys)]
        retry(lambda: recorder.commit(sent, EVENTS[_BOUNDS[number] : _BOUNDS[number + 1]]))
        self.acknowledged = number + 1
        if act.command:
            retry(lambda: inbox.done(COMMAND))
        if act.discard is not None:
            step = act.discard
            retry(lambda: checkpoints.discard(0, (0, step)))
        if act.roll:
            retry(recorder.roll)

    # --- what must be found ----------------------------------------------------------------------------------

    def check(self, disk: Disk) -> int | None:
        """Look at what is on the disk; returns how many acts are stored, None: there is no sweep."""
        files = DiskFiles(disk)
        folder = SweepFolder(self.root, files)
        listed = {table: _listed(disk, self.root / table) for table in TABLES}
        if not folder.exists():
            assert self.acknowledged == -1, "the sweep is gone"
            return None
        tables = dict(zip(TABLES, Reader(self.root, files=files).read(), strict=True))
        stored = _BOUNDS.index(tables["events"].num_rows)
        assert stored >= self.acknowledged, "what was acknowledged is gone"
        for table in TABLES:
            rows = _rows_after(stored, table)
            assert tables[table].to_pylist() == ROWS[table][:rows]
            assert listed[table] == ROWS[table][: len(listed[table])]
            assert len(listed[table]) <= rows
        self._check_checkpoints(files, stored)
        inbox = Inbox(folder)
        assert [one.id for one in inbox.take()] in ([], [COMMAND])
        assert inbox.take_warnings() == []
        return stored

    def check_all_there(self, disk: Disk) -> None:
        """Look at what is on the disk when everything was stored and rolled."""
        assert self.check(disk) == len(ACTS)
        for table in TABLES:
            assert _listed(disk, self.root / table) == ROWS[table]

    def check_end(self, disk: Disk) -> None:
        """Look at what is on the disk after the last close."""
        self.check_all_there(disk)
        names = disk.folder(self.root).names
        assert "lease.json" not in names
        leftovers = disk.folder(self.root / ".tmp").names
        assert all(name.startswith("inbox-") for name in leftovers), (
            "a client may be at work on those, on no others"
        )
        assert list(disk.folder(self.root / "inbox").names) == []

    def _check_checkpoints(self, files: Files, stored: int) -> None:
        checkpoints = OnDisk(str(self.root), files=files)
        recorded = [act.checkpoint for act in ACTS[:stored] if act.checkpoint is not None]
        newest = max(recorded, default=0)
        if newest:
            folder = checkpoints.restore(0, (0, newest))
            assert files.read(folder / "weights" / "layer") == _weights(newest)
        for act in ACTS:  # others are there as a whole or not at all
            if act.checkpoint is not None:
                damage = checkpoints.damage(0, (0, act.checkpoint))
                assert damage is None or "no such checkpoint" in damage


def _train(checkpoints: OnDisk, step: int) -> None:
    with checkpoints.checkpoint(0, 0, step) as draft:
        shutil.rmtree(draft, ignore_errors=True)  # left by a telling in which everything had the same name
        (draft / "weights").mkdir(parents=True)
        (draft / "weights" / "layer").write_bytes(_weights(step))
        (draft / "step").write_text(str(step))


def _weights(step: int) -> bytes:
    return bytes(range(256)) * step


def _listed(disk: Disk, folder: Path) -> list[dict[str, Any]]:
    """The rows that pandas finds in a folder: in files of the one name or the other, one after another."""
    if not disk.has(folder):
        return []
    rows: list[dict[str, Any]] = []
    for name in sorted(disk.folder(folder).names):
        assert re.fullmatch(r"part-\d{12}\.parquet", name)
        rows += _rows_in(disk.file(folder / name).content)
    return rows


@functools.lru_cache(maxsize=256)
def _rows_in(part: bytes) -> list[dict[str, Any]]:
    with pq.ParquetFile(BytesIO(part)) as file:
        return list(file.read(use_threads=False).to_pylist())

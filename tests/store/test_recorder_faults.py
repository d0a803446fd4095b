"""Any single step on the disk fails: it can be repeated, and nothing that was told to be stored is lost to it, not
even if the power goes later and the failed sync had thrown away what it was to bring to the disk."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from caviar.errors import FencedError, FolderError
from caviar.store.layout import SweepFolder
from caviar.store.reader import Reader
from caviar.store.recorder import Recorder
from caviar.store.tables import event_rows
from tests.store.disk import EXTREMES, Disk, DiskFiles
from tests.store.story import EVENTS, Story, block

NOTHING = EXTREMES[0]

ERRORS = {
    "create": errno.ENOSPC,
    "write": errno.ENOSPC,
    "mkdir": errno.ENOSPC,
    "link": errno.EIO,
    "rename": errno.EIO,
    "unlink": errno.EIO,
    "rmdir": errno.EIO,
    "fsync": errno.EIO,
    "sync": errno.EIO,
    "list": errno.EIO,
    "read": errno.EIO,
    "open": errno.EIO,
}
"""How each kind of step fails. The others are looks at names, which do not."""

DONE_ALL_THE_SAME = ("link", "rename", "unlink", "fsync", "sync")
"""Steps that may fail although they were done: over a network the answer may be lost."""


def failed(name: str) -> OSError:
    return OSError(ERRORS[name], os.strerror(ERRORS[name]))


class FailsOnce:
    """Fails one step of a telling, and has what failed tried again."""

    def __init__(self, root: Path, at: int, *, done: bool) -> None:
        self.disk, self.story = Disk(root.parent), Story(root)
        self.files = DiskFiles(self.disk, self._before)
        self.failures: list[BaseException] = []
        self.step = ""
        self._at, self._done = at, done

    def tell(self) -> None:
        self.story.tell(self.files, self._retry)

    def _before(self, number: int, name: str) -> BaseException | None:
        if number != self._at or name not in (DONE_ALL_THE_SAME if self._done else ERRORS):
            return None
        self.step = self.files.steps[-1]
        if self._done:
            return failed(name)
        raise failed(name)

    def _retry(self, call: Callable[[], Any]) -> Any:
        try:
            return call()
        except (OSError, FolderError) as error:  # the latter: of a file that could not be read
            self.failures.append(error)
            self.story.check(self.disk.after_power_cut(NOTHING))
            return call()


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("faults") / "sweep"


@pytest.fixture(scope="module")
def steps(root: Path) -> list[str]:
    files = DiskFiles(Disk(root.parent))
    Story(root).tell(files)
    return [step.partition(" ")[0] for step in files.steps]


@pytest.mark.parametrize("done", [False, True])
def test_any_step_that_fails_once_can_be_repeated(root: Path, steps: list[str], done: bool) -> None:
    tried = 0
    for at, name in enumerate(steps):
        if name not in (DONE_ALL_THE_SAME if done else ERRORS):
            continue
        tried += 1
        telling = FailsOnce(root, at, done=done)
        try:
            telling.tell()
            assert len(telling.failures) <= 1
            if telling.step.startswith("read ") and telling.step.endswith("lease.json"):
                telling.story.check_all_there(telling.disk)  # a lease that cannot be read is nobody's, and stays
            else:
                telling.story.check_end(telling.disk)
            telling.story.check(telling.disk.after_power_cut(NOTHING))
        except Exception as error:
            raise AssertionError(f"failed at {telling.step}") from error
    print(f"{tried} steps failed")
    assert tried > (100 if done else 250)


@pytest.mark.parametrize("call", ["write", "fsync", "link", "sync"])
def test_a_fault_that_lasts_costs_nothing_but_time(root: Path, call: str) -> None:
    """Every commit is tried ten times in vain, each with more to store; then the disk is well again."""
    disk = Disk(root.parent)
    ill = False

    def before(number: int, name: str) -> None:
        if ill and name == call:
            raise failed(name)

    folder = SweepFolder(root, DiskFiles(disk, before))
    story = Story(root)
    recorder = story.begin(folder)
    for first in range(0, 5, 2):
        ill = True
        for last in range(first + 1, first + 3):
            keys = [(0, 0, seq) for seq in range(last)]
            for _ in range(5):
                with pytest.raises(OSError, match=r"No space|Input/output"):
                    recorder.commit([block(keys)], EVENTS[first:last])
        ill = False
        recorder.commit([block(keys)], EVENTS[first:last])
        kept = Recorder.open(SweepFolder(root, DiskFiles(disk.after_power_cut(NOTHING))), now_us=lambda: 2**60)
        assert kept.events == last
    assert list(disk.folder(root / ".tmp").names) == []


def test_a_slow_disk_changes_nothing(root: Path) -> None:
    """Every step takes 7 s: the lease is due all the time, and rolls are."""
    disk, story = Disk(root.parent), Story(root)

    def before(number: int, name: str) -> None:
        story.clock_us += 7_000_000

    story.tell(DiskFiles(disk, before))
    story.check_end(disk)


def test_a_file_whose_sync_failed_is_never_synced_again(root: Path) -> None:
    """The model's word for it: what such a file holds is gone after a power cut, whatever was synced since."""
    disk = Disk(root.parent)
    ill = True

    def before(number: int, name: str) -> None:
        if ill and name == "fsync":
            raise failed(name)

    files = DiskFiles(disk, before)
    path = root.parent / "file"
    with pytest.raises(OSError, match="Input/output"):
        files.write(path, b"content")
    ill = False
    files.sync_file(path)
    files.sync_folder(path.parent)
    assert files.read(path) == b"content"
    assert DiskFiles(disk.after_power_cut(NOTHING)).read(path) == b""


def test_a_creation_that_fails_leaves_nothing(root: Path) -> None:
    disk = Disk(root.parent)
    counting = DiskFiles(disk.copy())
    Story(root).begin(SweepFolder(root, counting))
    failures = 0
    for at, step in enumerate(counting.steps):
        name = step.partition(" ")[0]
        if name not in ERRORS:
            continue
        mine = disk.copy()

        def before(number: int, name: str, *, at: int = at) -> None:
            if number == at:
                raise failed(name)

        story = Story(root)
        try:
            story.begin(SweepFolder(root, DiskFiles(mine, before)))
        except (OSError, FolderError):
            assert not mine.has(root), step
            failures += 1
        else:  # it was about a file that is of no use any more
            assert name == "unlink"
            story.check(mine.after_power_cut(NOTHING))
    assert failures > 50


def test_a_commit_that_failed_and_that_a_successor_rolled_is_not_made_again(root: Path) -> None:
    """Its number is free again then, but whoever took it would commit what nobody reads."""
    disk = Disk(root.parent)
    ill = False

    def before(number: int, name: str) -> None:
        if ill and name == "sync":
            raise failed(name)

    folder = SweepFolder(root, DiskFiles(disk, before))
    recorder = Recorder.create(folder, {}, now_us=lambda: 0)
    ill = True
    with pytest.raises(OSError, match="Input/output"):
        recorder.commit([], EVENTS[:1])
    ill = False
    successor = Recorder.open(SweepFolder(root, DiskFiles(disk)), now_us=lambda: 2**60)
    assert successor.events == 1
    for _ in range(2):
        with pytest.raises(FencedError):
            recorder.commit([], EVENTS[:2])
    successor.commit([], EVENTS[1:3])
    successor.close()
    assert Reader(root, files=DiskFiles(disk)).read()[1].num_rows == 3


def test_a_commit_that_fails_again_after_a_part_of_it_was_found_stored_doubles_nothing(root: Path) -> None:
    disk = Disk(root.parent)
    ill = "nothing"

    def before(number: int, name: str) -> None:
        if files.steps[-1].startswith(ill):
            raise failed(name)

    files = DiskFiles(disk, before)
    folder = SweepFolder(root, files)
    recorder = Recorder.create(folder, {}, now_us=lambda: 0)
    ill = "unlink"  # it has its name by then
    with pytest.raises(OSError, match="Input/output"):
        recorder.commit([block([(0, 0, 0)])], EVENTS[:1])
    ill = f"link {folder.where(folder.hot(2))}"
    for _ in range(2):
        with pytest.raises(OSError, match="Input/output"):
            recorder.commit([block([(0, 0, 0), (0, 0, 1)])], EVENTS[:2])
    ill = "nothing"
    recorder.commit([block([(0, 0, 0), (0, 0, 1)])], EVENTS[:2])
    recorder.commit([block([(0, 0, 2)])], EVENTS[2:3])
    metrics, events = Reader(root, files=DiskFiles(disk)).read()
    assert metrics.column("seq").to_pylist() == [0, 1, 2]
    assert event_rows(events) == EVENTS[:3]

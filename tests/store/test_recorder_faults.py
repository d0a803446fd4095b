"""Any single operation on the disk fails, or is the last one before the driver dies."""

from __future__ import annotations

import functools
import itertools
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from caviar.store.files import Files
from caviar.store.layout import SweepFolder
from caviar.store.reader import Reader
from caviar.store.recorder import Recorder
from caviar.store.tables import event_rows

HOUR_US = 3_600_000_000

STEPS = 50
"""More than the operations of the story below."""


class Dead(BaseException):
    """The driver was killed; nothing that it does from here on has an effect."""


class FaultyFiles(Files):
    """Files whose operation number ``at`` (from 0) ends badly.

    ``before``: it does nothing; otherwise it takes effect, and fails all the same. ``dead``: so does all that
    follows.
    """

    def __init__(self, inner: Files, at: int, *, before: bool, dead: bool) -> None:
        self._inner = inner
        self._left = at
        self._before = before
        self._dead = dead
        self.failed = False

    def _do(self, operation: Callable[..., Any], *args: Any) -> Any:
        if self.failed and self._dead:
            raise Dead
        self._left -= 1
        if self._left != -1:
            return operation(*args)
        self.failed = True
        if not self._before:
            operation(*args)
        raise Dead if self._dead else OSError(5, "Input/output error")

    def write(self, path: Path, data: bytes) -> None:
        self._do(self._inner.write, path, data)

    def link(self, source: Path, target: Path) -> None:
        self._do(self._inner.link, source, target)

    def rename(self, source: Path, target: Path) -> None:
        self._do(self._inner.rename, source, target)

    def unlink(self, path: Path) -> None:
        self._do(self._inner.unlink, path)

    def sync_folder(self, path: Path) -> None:
        self._do(self._inner.sync_folder, path)


@pytest.fixture(scope="module")
def begun(tmp_path_factory: pytest.TempPathFactory, block: Any, event: Any, unsynced: Files) -> Path:
    """A sweep with a rolled commit and one that is not, whose driver is gone."""
    folder = SweepFolder(tmp_path_factory.mktemp("begun") / "sweep")
    recorder = Recorder.create(folder, {}, now_us=lambda: 0, files=unsynced)
    recorder.commit([block([(0, 1, 0)])], [event(0)])
    recorder.roll()
    recorder.commit([block([(0, 1, 1)])], [event(1)])
    return folder.path


class Story:
    """A driver's life: it opens the folder, commits twice, rolls in between and at the end. Keeps what was told
    to be stored."""

    def __init__(self, folder: SweepFolder, block: Any, event: Any) -> None:
        self._folder, self._block, self._event = folder, block, event
        self.stored = 2

    def live(self, files: Files, retry: Callable[[Callable[[], Any]], Any]) -> None:
        # Each look at the clock is an hour later, so that no lease is in the way of a second try
        clock = itertools.count(HOUR_US, HOUR_US)
        recorder = retry(lambda: Recorder.open(self._folder, now_us=clock.__next__, files=files))
        for last in (3, 5):
            reports = [self._block([(0, 1, seq) for seq in range(last)])]  # all are sent again, each time
            events = [self._event(number) for number in range(self.stored, last)]
            retry(functools.partial(recorder.commit, reports, events))
            self.stored = last
            retry(recorder.roll)
            retry(recorder.keep_lease)
        retry(recorder.close)


def check(folder: SweepFolder, keys: Any, event: Any, *, at_least: int) -> None:
    metrics, events = Reader(folder.path).read()
    stored = len(keys(metrics))
    assert stored in {2, 3, 5}
    assert stored >= at_least
    assert keys(metrics) == [(0, 1, seq) for seq in range(stored)]
    assert event_rows(events) == [event(number) for number in range(stored)]
    assert events.column("seq").to_pylist() == list(range(stored))


@pytest.fixture
def copied(begun: Path, folder: SweepFolder) -> SweepFolder:
    shutil.copytree(begun, folder.path)
    return folder


@pytest.mark.parametrize("before", [True, False])
@pytest.mark.parametrize("at", range(STEPS))
def test_killed_at_any_operation_nothing_told_is_lost_and_nothing_doubled(
    copied: SweepFolder, block: Any, event: Any, keys: Any, unsynced: Files, at: int, before: bool
) -> None:
    files = FaultyFiles(unsynced, at, before=before, dead=True)
    story = Story(copied, block, event)
    try:
        story.live(files, retry=lambda call: call())
    except Dead:
        pass
    else:
        assert not files.failed
    check(copied, keys, event, at_least=story.stored)
    recorder = Recorder.open(copied, now_us=lambda: 1000 * HOUR_US, files=unsynced)
    check(copied, keys, event, at_least=story.stored)
    recorder.commit([block([(0, 1, seq) for seq in range(5)])], [event(n) for n in range(recorder.events, 5)])
    recorder.close()
    check(copied, keys, event, at_least=5)


@pytest.mark.parametrize("before", [True, False])
@pytest.mark.parametrize("at", range(STEPS))
def test_any_operation_that_fails_once_can_be_repeated(
    copied: SweepFolder, block: Any, event: Any, keys: Any, unsynced: Files, at: int, before: bool
) -> None:
    files = FaultyFiles(unsynced, at, before=before, dead=False)
    failures = []

    def retry(call: Callable[[], Any]) -> Any:
        try:
            return call()
        except OSError as error:
            failures.append(error)
            check(copied, keys, event, at_least=story.stored)
            return call()

    story = Story(copied, block, event)
    story.live(files, retry)
    assert len(failures) <= 1
    check(copied, keys, event, at_least=5)
    assert not (copied.path / "lease.json").exists()


def test_the_story_is_shorter_than_the_steps_tried(
    copied: SweepFolder, block: Any, event: Any, unsynced: Files
) -> None:
    files = FaultyFiles(unsynced, STEPS - 1, before=True, dead=True)
    Story(copied, block, event).live(files, retry=lambda call: call())
    assert not files.failed

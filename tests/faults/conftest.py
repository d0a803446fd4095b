"""A sound sweep folder, and copies of it to do harm to."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from caviar.messages import SweepEnded
from caviar.store.checkpoints import CheckpointFiles
from caviar.store.layout import SweepFolder
from caviar.store.lease import wall_clock_us
from caviar.store.recorder import Recorder
from caviar.store.rows import to_row
from tests.faults.hostile import NOW_US, STEM, declaration, reports, story


@pytest.fixture(scope="module")
def whole() -> Iterator[Path]:
    """A sound sweep folder: parts that cover commit 1, commit 2 in `_hot`, a command, a lease and a checkpoint."""
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(
        prefix="caviar-test-", dir=memory if os.access(memory, os.W_OK) else None
    ) as name:
        path = Path(name) / "sweep"
        folder = SweepFolder(path)
        recorder = Recorder.create(folder, declaration(path.parent / f"{STEM}.py"), now_us=wall_clock_us)
        recorder.commit([reports(0, 1)], [to_row(event) for event in story()])
        recorder.roll()
        recorder.commit([reports(2)], [to_row(SweepEnded(NOW_US + 10, "done"))])
        (path / folder.lease_json).unlink()
        files = CheckpointFiles(str(path))
        with files.checkpoint(0, 0, 2) as place:
            (place / "weights").write_bytes(b"12345")
        yield path


@pytest.fixture
def sweep(whole: Path) -> Iterator[Callable[[], Path]]:
    """Makes fresh copies of it, beside a file that nobody may touch."""
    with contextlib.ExitStack() as stack:

        def fresh() -> Path:
            name = stack.enter_context(tempfile.TemporaryDirectory(prefix="caviar-test-", dir=whole.parent.parent))
            path = Path(name) / "sweep"
            shutil.copytree(whole, path, symlinks=True)
            (Path(name) / "outside").mkdir()
            (Path(name) / "outside" / "precious").write_text("mine")
            return path

        yield fresh

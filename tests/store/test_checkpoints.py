from __future__ import annotations

import json
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from caviar.errors import FolderError, TrialStopped, UsageError
from caviar.store.checkpoints import MARKER, CheckpointFiles
from caviar.store.files import Files
from caviar.store.layout import SweepFolder


@pytest.fixture
def files(recorder: Any, folder: SweepFolder) -> CheckpointFiles:
    return CheckpointFiles(str(folder.path))


def save(files: CheckpointFiles, content: str, *, step: int = 5) -> None:
    with files.checkpoint(3, 1, step) as path:
        (path / "model.txt").write_text(content)
        (path / "parts").mkdir()
        (path / "parts" / "a.bin").write_bytes(b"12345")
        (path / "empty").mkdir()


def test_a_checkpoint_comes_back(files: CheckpointFiles, folder: SweepFolder) -> None:
    save(files, "weights")
    path = files.restore(3, (1, 5))
    assert path == folder.path / "checkpoints" / "3" / "1" / "5"
    assert (path / "model.txt").read_text() == "weights"
    assert (path / "empty").is_dir()
    assert json.loads((path / MARKER).read_text())["sizes_bytes"] == {"model.txt": 7, "parts/a.bin": 5}
    assert list((folder.path / ".tmp").iterdir()) == []


def test_an_empty_checkpoint_is_one(files: CheckpointFiles) -> None:
    with files.checkpoint(0, 1, 1):
        pass
    assert files.restore(0, (1, 1)).is_dir()


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, TrialStopped])
def test_an_exception_leaves_nothing(
    files: CheckpointFiles, folder: SweepFolder, error: type[BaseException]
) -> None:
    def fail() -> None:
        with files.checkpoint(3, 1, 5) as path:
            (path / "model.txt").write_text("half")
            raise error

    with pytest.raises(error):
        fail()
    assert list((folder.path / ".tmp").iterdir()) == []
    assert list((folder.path / "checkpoints").iterdir()) == []
    with pytest.raises(FolderError, match="no such checkpoint"):
        files.restore(3, (1, 5))


def test_until_the_block_ends_there_is_none(files: CheckpointFiles) -> None:
    with files.checkpoint(3, 1, 5), pytest.raises(FolderError, match="no such checkpoint"):
        files.restore(3, (1, 5))
    assert files.restore(3, (1, 5))


def test_a_second_one_at_the_same_step_takes_its_place(files: CheckpointFiles, folder: SweepFolder) -> None:
    save(files, "first")
    with files.checkpoint(3, 1, 5) as path:
        (path / "other.txt").write_text("second")
    assert sorted(path.name for path in files.restore(3, (1, 5)).iterdir()) == [MARKER, "other.txt"]
    assert list((folder.path / ".tmp").iterdir()) == []


def test_the_name_of_the_marker_is_taken(files: CheckpointFiles, folder: SweepFolder) -> None:
    with pytest.raises(UsageError, match=MARKER), files.checkpoint(3, 1, 5) as path:
        (path / MARKER).write_text("mine")
    assert list((folder.path / ".tmp").iterdir()) == []


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("model.txt", "longer than before", "has 18 bytes, and had 7"),
        ("model.txt", None, "damaged"),
        (MARKER, "{", "damaged"),
        (MARKER, "[]", "damaged"),
        (MARKER, None, "no such checkpoint"),
    ],
)
def test_damage_is_named(files: CheckpointFiles, name: str, content: str | None, says: str) -> None:
    save(files, "weights")
    path = files.restore(3, (1, 5)) / name
    path.unlink()
    if content is not None:
        path.write_text(content)
    with pytest.raises(FolderError, match=says) as error:
        files.restore(3, (1, 5))
    assert str(path if says != "no such checkpoint" else path.parent) in str(error.value)


def test_discarding_leaves_the_others(files: CheckpointFiles, folder: SweepFolder) -> None:
    for step in (5, 10):
        save(files, "weights", step=step)
    files.discard(3, (1, 5))
    with pytest.raises(FolderError, match="no such checkpoint"):
        files.restore(3, (1, 5))
    assert files.restore(3, (1, 10))
    files.discard(3, (1, 5))
    files.discard(3, (1, 10))
    assert list((folder.path / "checkpoints").iterdir()) == []
    assert list((folder.path / ".tmp").iterdir()) == []
    save(files, "again")
    assert files.restore(3, (1, 5))


def test_a_folder_that_was_discarded_in_between_is_made_again(
    files: CheckpointFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    save(files, "weights")
    rename = Files.rename

    def discarding(self: Files, path: Path, target: Path) -> None:
        monkeypatch.setattr(Files, "rename", rename)
        files.discard(3, (1, 5))
        rename(self, path, target)

    with files.checkpoint(3, 1, 10):
        monkeypatch.setattr(Files, "rename", discarding)
    assert files.restore(3, (1, 10))


def test_the_log_is_not_made_before_something_is_printed(files: CheckpointFiles, folder: SweepFolder) -> None:
    path = files.log(12)
    assert path == folder.path / "logs" / "12.log"
    assert path.parent.is_dir()
    assert not path.exists()
    assert files.log(12) == path


def test_it_travels(files: CheckpointFiles) -> None:
    assert pickle.loads(pickle.dumps(files)) == files


def test_it_loads_little() -> None:
    code = (
        "import sys, caviar.store.checkpoints, caviar.store.layout; "
        "print(sorted({'numpy', 'pyarrow', 'pandas', 'ray'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "[]\n"

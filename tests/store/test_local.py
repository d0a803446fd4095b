from __future__ import annotations

import json
from pathlib import Path
from typing import Any, BinaryIO

import pytest

from caviar.errors import FolderError
from caviar.messages import CommandReceived
from caviar.store.beginnings import check_new
from caviar.store.files import Files
from caviar.store.inbox import Inbox
from caviar.store.layout import SweepFolder
from caviar.store.local import LocalStorage
from caviar.store.reader import Reader
from caviar.store.recorder import Recorder

NOWHERE = Path("/nowhere-at-all/sweep")


class Elsewhere(Files):
    """A file system of its own: what it calls `NOWHERE` lies in another folder, which nobody else knows."""

    def __init__(self, place: Path) -> None:
        self._place = place

    def _at(self, path: Path) -> Path:
        return self._place / path.relative_to("/")

    def make_folder(self, path: Path) -> None:
        super().make_folder(self._at(path))

    def make_folders(self, path: Path) -> None:
        super().make_folders(self._at(path))

    def write(self, path: Path, data: bytes) -> None:
        super().write(self._at(path), data)

    def link(self, source: Path, target: Path) -> None:
        super().link(self._at(source), self._at(target))

    def link_count(self, path: Path) -> int:
        return super().link_count(self._at(path))

    def rename(self, source: Path, target: Path) -> None:
        super().rename(self._at(source), self._at(target))

    def unlink(self, path: Path) -> None:
        super().unlink(self._at(path))

    def remove_folder(self, path: Path) -> None:
        super().remove_folder(self._at(path))

    def remove_tree(self, path: Path) -> None:
        super().remove_tree(self._at(path))

    def sync_folder(self, path: Path) -> None:
        super().sync_folder(self._at(path))

    def names(self, path: Path) -> list[str]:
        return super().names(self._at(path))

    def read(self, path: Path) -> bytes:
        return super().read(self._at(path))

    def open(self, path: Path) -> BinaryIO:
        return super().open(self._at(path))

    def exists(self, path: Path) -> bool:
        return super().exists(self._at(path))

    def is_folder(self, path: Path) -> bool:
        return super().is_folder(self._at(path))

    def is_file(self, path: Path) -> bool:
        return super().is_file(self._at(path))

    def is_link(self, path: Path) -> bool:
        return super().is_link(self._at(path))

    def resolved(self, path: Path) -> Path:
        return path

    def is_writable(self, path: Path) -> bool:
        return super().is_writable(self._at(path))


def test_whoever_works_on_a_sweep_touches_its_files_through_files_alone(
    tmp_path: Path, clock: Any, block: Any, event: Any, keys: Any
) -> None:
    files = Elsewhere(tmp_path)
    folder = SweepFolder(NOWHERE, files)
    check_new(folder, 0)
    recorder = Recorder.create(folder, {"metric": "loss"}, now_us=clock, files=files)
    assert not NOWHERE.exists()
    reader = Reader(NOWHERE, now_us=clock, files=files)
    recorder.commit([block([(0, 1, 0)])], [event(0)])
    recorder.roll()
    recorder.commit([block([(0, 1, 1)])], [event(1)])
    assert reader.state() == "running"
    assert keys(reader.refresh().metrics) == [(0, 1, 0), (0, 1, 1)]
    clock.advance(31)
    recorder = Recorder.open(folder, now_us=clock, files=files)
    recorder.commit([block([(0, 1, 1), (0, 1, 2)])], [event(2)])
    recorder.tick()
    content = {"id": "1", "command": "stop", "trial": None, "args": {}}
    folder.storage.replace(folder.command("1"), json.dumps(content).encode())
    folder.storage.replace(folder.command("2"), b"no command")
    box = Inbox(folder, now_us=clock)
    assert box.take() == [CommandReceived(clock(), "1", "stop", None, {})]
    assert box.take_warnings() == [
        f"{NOWHERE}/inbox/2.json: is not a command (it is not JSON: Expecting value: line 1 column 1 (char 0)); "
        "set aside as 2.json.bad"
    ]
    box.done("1")
    recorder.close()
    assert keys(reader.read()[0]) == [(0, 1, 0), (0, 1, 1), (0, 1, 2)]
    assert not NOWHERE.parent.exists()
    with pytest.raises(FolderError, match="already holds a sweep"):
        check_new(folder, 0)


def test_a_second_log_needs_no_second_folder(tmp_path: Path) -> None:
    storage = LocalStorage(tmp_path, Files())
    for key in ("logs/1.log", "logs/2.log", "logs/1.log"):
        path = storage.appendable(key)
        assert path == tmp_path / key
        assert path.parent.is_dir()
        assert not path.exists()


def test_no_two_temporaries_have_one_name(tmp_path: Path) -> None:
    storage = LocalStorage(tmp_path, Files())
    (tmp_path / ".tmp").mkdir()
    drafts = [storage.draft("checkpoints/0/1/5") for _ in range(100)]
    assert len(set(drafts)) == 100
    assert all(draft.parent == tmp_path / ".tmp" for draft in drafts)

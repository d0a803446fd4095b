from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from caviar.errors import FolderError
from caviar.store.layout import SweepFolder


def test_names_come_back_as_numbers(tmp_path: Path) -> None:
    folder = SweepFolder(tmp_path)
    assert folder.hot(413).relative_to(tmp_path).as_posix() == "_hot/000000000413.arrow"
    assert folder.part("events", 7).relative_to(tmp_path).as_posix() == "events/part-000000000007.parquet"
    assert folder.checkpoint(3, 1, 20).relative_to(tmp_path).as_posix() == "checkpoints/3/1/20"
    assert folder.log(3).relative_to(tmp_path).as_posix() == "logs/3.log"
    assert SweepFolder.hot_commit(folder.hot(413).name) == 413
    assert SweepFolder.part_first(folder.part("metrics", 7).name) == 7


@pytest.mark.parametrize("name", ["413.arrow", ".nfs0001", "000000000413.arrow.bad", "x000000000413.arrow", ""])
def test_foreign_names_are_nobodys(name: str) -> None:
    assert SweepFolder.hot_commit(name) is None
    assert SweepFolder.part_first(name) is None


def test_temporaries_are_all_different(folder: SweepFolder) -> None:
    assert len({folder.temporary("create") for _ in range(100)}) == 100


def test_find_takes_a_path_as_text(recorder: Any, folder: SweepFolder) -> None:
    assert SweepFolder.find(str(folder.path)) == folder


def test_find_says_what_is_wrong(tmp_path: Path) -> None:
    with pytest.raises(FolderError, match="no such folder"):
        SweepFolder.find(tmp_path / "nowhere")
    with pytest.raises(FolderError, match=r"not a sweep folder \(it has no sweep.json\)"):
        SweepFolder.find(tmp_path)
    (tmp_path / "file").touch()
    with pytest.raises(FolderError, match="is a file"):
        SweepFolder.find(tmp_path / "file")
    with pytest.raises(FolderError, match="is a URL"):
        SweepFolder.find("s3://bucket/sweep")


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("", "not JSON"),
        ('{"format": 1', "not JSON"),
        ("[]", "it is a list, not an object"),
        ("{}", "format version None"),
        ('{"format": 999}', "format version 999 is unknown; this caviar reads 1"),
    ],
)
def test_find_refuses_a_sweep_json_it_cannot_read(tmp_path: Path, content: str, says: str) -> None:
    (tmp_path / "sweep.json").write_text(content)
    with pytest.raises(FolderError, match=says) as error:
        SweepFolder.find(tmp_path)
    assert "sweep.json" in str(error.value)


def test_a_new_folder_may_be_missing_or_empty(tmp_path: Path) -> None:
    SweepFolder(tmp_path).check_new()
    SweepFolder(tmp_path / "a" / "b").check_new()
    assert list(tmp_path.iterdir()) == []


def test_check_new_says_what_is_wrong(tmp_path: Path, recorder: Any, folder: SweepFolder) -> None:
    with pytest.raises(FolderError, match="already holds a sweep"):
        folder.check_new()
    (tmp_path / "file").touch()
    with pytest.raises(FolderError, match=r"is not empty \(it holds "):
        SweepFolder(tmp_path).check_new()
    with pytest.raises(FolderError, match="is a file"):
        SweepFolder(tmp_path / "file").check_new()
    with pytest.raises(FolderError, match="is a file"):
        SweepFolder(tmp_path / "file" / "sweep").check_new()


def test_check_new_sees_a_parent_that_is_not_writable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path) != tmp_path)  # root may write anywhere
    with pytest.raises(FolderError, match=f"cannot be made: {tmp_path} is not writable"):
        SweepFolder(tmp_path / "a" / "b").check_new()

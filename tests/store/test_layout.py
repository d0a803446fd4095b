from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from caviar.errors import FolderError
from caviar.store.beginnings import check_new
from caviar.store.layout import SweepFolder


def test_names_come_back_as_numbers(tmp_path: Path) -> None:
    folder = SweepFolder(tmp_path)
    assert folder.hot(413) == "_hot/000000000413.arrow"
    assert folder.part("events", 7) == "events/part-000000000007.parquet"
    assert folder.checkpoint(3, 1, 20) == "checkpoints/3/1/20"
    assert folder.log(3) == "logs/3.log"
    assert SweepFolder.hot_commit("000000000413.arrow") == 413
    assert SweepFolder.part_first("part-000000000007.parquet") == 7
    assert folder.where(folder.log(3)) == str(tmp_path / "logs" / "3.log")


@pytest.mark.parametrize("name", ["413.arrow", ".nfs0001", "000000000413.arrow.bad", "x000000000413.arrow", ""])
def test_foreign_names_are_nobodys(name: str) -> None:
    assert SweepFolder.hot_commit(name) is None
    assert SweepFolder.part_first(name) is None


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
    with pytest.raises(
        FolderError, match=r"^ftp://host/sweep: unknown scheme 'ftp'; a sweep lies in a folder, or at"
    ):
        SweepFolder.find("ftp://host/sweep")


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
    check_new(SweepFolder(tmp_path), 0)
    check_new(SweepFolder(tmp_path / "a" / "b"), 0)
    assert list(tmp_path.iterdir()) == []


def test_check_new_says_what_is_wrong(tmp_path: Path, recorder: Any, folder: SweepFolder) -> None:
    with pytest.raises(FolderError, match="already holds a sweep"):
        check_new(folder, 0)
    with pytest.raises(
        FolderError, match=rf"lies within the sweep folder {folder.path}; choose a folder beside it"
    ):
        check_new(SweepFolder(Path(folder.path) / ".tmp" / "x"), 0)
    (tmp_path / "file").touch()
    with pytest.raises(FolderError, match=r"is not empty \(it holds "):
        check_new(SweepFolder(tmp_path), 0)
    with pytest.raises(FolderError, match="is a file"):
        check_new(SweepFolder(tmp_path / "file"), 0)
    with pytest.raises(FolderError, match="is a file"):
        check_new(SweepFolder(tmp_path / "file" / "sweep"), 0)


def test_check_new_sees_a_parent_that_is_not_writable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path) != tmp_path)  # root may write anywhere
    with pytest.raises(FolderError, match=f"cannot be made: {tmp_path} is not writable"):
        check_new(SweepFolder(tmp_path / "a" / "b"), 0)

from __future__ import annotations

import os
from pathlib import Path

import pytest

from caviar.errors import FolderError
from caviar.store.files import Files


def test_create_makes_a_file_and_leaves_no_temporary(tmp_path: Path) -> None:
    Files().create(tmp_path / "a", b"one", temporary=tmp_path / "t")
    assert (tmp_path / "a").read_bytes() == b"one"
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_create_never_overwrites(tmp_path: Path) -> None:
    Files().create(tmp_path / "a", b"one", temporary=tmp_path / "t")
    with pytest.raises(FileExistsError):
        Files().create(tmp_path / "a", b"two", temporary=tmp_path / "t")
    assert (tmp_path / "a").read_bytes() == b"one"
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


class LostAnswer(Files):
    """NFS, when the answer to a link was lost: the link was made, and the repeated request finds it."""

    def link(self, source: Path, target: Path) -> None:
        super().link(source, target)
        super().link(source, target)


def test_a_link_that_was_made_although_it_reports_exists_has_succeeded(tmp_path: Path) -> None:
    LostAnswer().create(tmp_path / "a", b"one", temporary=tmp_path / "t")
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


class NoRoom(Files):
    def write(self, path: Path, data: bytes) -> None:
        path.write_bytes(data[:1])
        raise OSError(28, "No space left on device")


def test_a_failed_write_leaves_nothing(tmp_path: Path) -> None:
    for operation in (NoRoom().create, NoRoom().replace):
        with pytest.raises(OSError, match="No space left"):
            operation(tmp_path / "a", b"one", temporary=tmp_path / "t")
    assert list(tmp_path.iterdir()) == []


def test_replace_overwrites_as_a_whole(tmp_path: Path) -> None:
    for content in (b"one", b"two"):
        Files().replace(tmp_path / "a", content, temporary=tmp_path / "t")
    assert (tmp_path / "a").read_bytes() == b"two"
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_the_probe_passes_here_and_leaves_nothing(tmp_path: Path) -> None:
    Files().probe(tmp_path)
    assert list(tmp_path.iterdir()) == []


class NoHardLinks(Files):
    def link(self, source: Path, target: Path) -> None:
        raise OSError(95, "Operation not supported")


class Overwriting(Files):
    def link(self, source: Path, target: Path) -> None:
        target.unlink(missing_ok=True)
        os.link(source, target)


@pytest.mark.parametrize(
    ("files", "says"),
    [
        (NoHardLinks(), "no hard links"),
        (Overwriting(), "overwrites existing names"),
        (NoRoom(), "cannot be written"),
    ],
)
def test_the_probe_names_what_a_file_system_lacks(tmp_path: Path, files: Files, says: str) -> None:
    folder = tmp_path / ".tmp"
    folder.mkdir()
    with pytest.raises(FolderError, match=says) as error:
        files.probe(folder)
    assert str(error.value).startswith(str(tmp_path))
    assert "\n" not in str(error.value)
    assert list(folder.iterdir()) == []


def test_what_another_driver_tidied_away_on_its_way_is_written_once_more(tmp_path: Path) -> None:
    class Tidied(Files):
        tidied = 0

        def _tidy(self, path: Path) -> None:
            if self.tidied < 2:
                self.tidied += 1
                path.unlink()

        def link(self, source: Path, target: Path) -> None:
            self._tidy(source)
            super().link(source, target)

        def rename(self, source: Path, target: Path) -> None:
            self._tidy(source)
            super().rename(source, target)

    (tmp_path / "tmp").mkdir()
    for make in (Tidied().create, Tidied().replace):
        make(tmp_path / make.__name__, b"rows", temporary=tmp_path / "tmp" / "0")
        assert (tmp_path / make.__name__).read_bytes() == b"rows"
    assert not list((tmp_path / "tmp").iterdir())
    with pytest.raises(FileNotFoundError):
        Files().create(tmp_path / "gone" / "x", b"rows", temporary=tmp_path / "tmp" / "0")
    assert not list((tmp_path / "tmp").iterdir())

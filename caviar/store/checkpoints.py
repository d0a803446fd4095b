"""Checkpoints and logs of trials, from within the training process.

A checkpoint is written in `.tmp`, brought to the disk, marked with a list of its files, and only then renamed to
its place: it is there as a whole or not at all. This file is loaded in every training process, so it imports
little.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from caviar.errors import FolderError, UsageError
from caviar.store.files import read_plain
from caviar.store.layout import SweepFolder
from caviar.store.strict_json import is_whole, parse_object

MARKER = "_checkpoint.json"
"""The file in a checkpoint that lists its other files and their sizes."""

_LONGEST_NAME = 1024
"""Of a file in a checkpoint; systems allow for little more."""


@dataclass(frozen=True, slots=True)
class CheckpointFiles:
    """Where the trials of one sweep leave files. Pickles: it travels to workers with the job."""

    folder_path: str

    @property
    def _folder(self) -> SweepFolder:
        return SweepFolder(Path(self.folder_path))

    def visible(self) -> bool:
        """Whether this machine sees the sweep folder."""
        return self._folder.sweep_json.exists()

    def restore(self, trial: int, checkpoint: tuple[int, int]) -> Path:
        """The folder of a committed checkpoint, by its (attempt, step).

        Raises `FolderError` where it is missing, or a file that its marker lists is missing or has another size.
        """
        attempt, step = checkpoint
        path = self._folder.checkpoint(trial, attempt, step)
        try:
            sizes_bytes = parse_object(read_plain(path / MARKER)).get("sizes_bytes")
        except (FileNotFoundError, NotADirectoryError):
            raise FolderError(f"{path}: no such checkpoint") from None
        except FolderError:
            raise
        except (OSError, ValueError) as error:
            raise FolderError(f"{path / MARKER}: damaged: {error}") from error
        if not isinstance(sizes_bytes, dict) or not all(map(is_whole, sizes_bytes.values())):
            raise FolderError(f"{path / MARKER}: damaged: sizes_bytes is no object of names and sizes")
        inside = os.path.realpath(self._folder.path)
        if os.path.realpath(path) != os.path.join(inside, os.path.relpath(path, self._folder.path)):  # noqa: PTH118
            raise FolderError(f"{path}: is reached through a link, which leads out of where checkpoints lie")
        for name, size_bytes in sizes_bytes.items():
            if not _is_within(path, name):
                raise FolderError(f"{path / MARKER}: damaged: {name!r:.80} is no file within the checkpoint")
            try:
                found_bytes = (path / name).stat().st_size
            except OSError as error:
                raise FolderError(f"{path / name}: damaged: {error.strerror}") from error
            if found_bytes != size_bytes:
                raise FolderError(f"{path / name}: damaged: it has {found_bytes} bytes, and had {size_bytes}")
        return path

    @contextmanager
    def checkpoint(self, trial: int, attempt: int, step: int) -> Iterator[Path]:
        """A folder to write into; it becomes the checkpoint as a whole when the block ends without an exception,
        and leaves nothing behind otherwise. A second one at the same step takes the first one's place.

        Raises `UsageError` where a file in it has the marker's name.
        """
        temporary = self._folder.temporary("checkpoint")
        temporary.mkdir()
        try:
            yield temporary
            _seal(temporary)
            self._place(temporary, self._folder.checkpoint(trial, attempt, step))
        except BaseException:
            shutil.rmtree(temporary, ignore_errors=True)
            raise

    def discard(self, trial: int, checkpoint: tuple[int, int]) -> None:
        """Remove a checkpoint that another has superseded; one that is gone already is no error."""
        attempt, step = checkpoint
        path = self._folder.checkpoint(trial, attempt, step)
        aside = self._folder.temporary("discard")
        try:
            path.rename(aside)  # at once, so that nobody finds half of it
        except FileNotFoundError:
            return
        shutil.rmtree(aside, ignore_errors=True)
        for empty in (path.parent, path.parent.parent):
            try:
                empty.rmdir()
            except OSError:
                return

    def log(self, trial: int) -> Path:
        """The file for what the trial prints; not made before it prints."""
        path = self._folder.log(trial)
        path.parent.mkdir(exist_ok=True)
        return path

    def _place(self, temporary: Path, path: Path) -> None:
        while True:
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                temporary.rename(path)
                break
            except FileNotFoundError:
                if not temporary.exists():
                    raise
                # `discard` removed the attempt's empty folder in this very moment: make it again
            except OSError:
                if not path.exists():
                    raise
                aside = self._folder.temporary("discard")
                path.rename(aside)
                temporary.rename(path)
                shutil.rmtree(aside, ignore_errors=True)
                break
        for parent in (path.parent, path.parent.parent, self._folder.checkpoints_folder):
            _sync(parent)


def _seal(folder: Path) -> None:
    """Bring everything in a folder to the disk, then the marker that lists it."""
    if (folder / MARKER).exists():
        raise UsageError(f"a checkpoint must not hold a file named {MARKER}: caviar writes one")
    sizes_bytes: dict[str, int] = {}
    for place, _, names in os.walk(folder, topdown=False):
        for name in names:
            path = Path(place, name)
            if not _is_within(folder, path.relative_to(folder).as_posix()):
                raise UsageError(
                    f"a checkpoint must be whole by itself, but {name} is a link that leads out of it"
                )
            if path.is_file():
                sizes_bytes[path.relative_to(folder).as_posix()] = _sync(path)
        _sync(Path(place))
    marker = folder / MARKER
    marker.write_text(json.dumps({"format": 1, "sizes_bytes": sizes_bytes}), encoding="utf-8")
    _sync(marker)
    _sync(folder)


def _is_within(folder: Path, name: str) -> bool:
    """Whether a name, whoever wrote it, stands for something in this folder, also when links are followed."""
    parts = PurePosixPath(name).parts
    if not parts or name.startswith("/") or ".." in parts or "\0" in name or len(name) > _LONGEST_NAME:
        return False
    return Path(os.path.realpath(folder / name)).is_relative_to(os.path.realpath(folder))


def _sync(path: Path) -> int:
    """Bring a file or a folder's names to the disk; returns its size in bytes."""
    opened = os.open(path, os.O_RDONLY)
    try:
        os.fsync(opened)
        return os.fstat(opened).st_size
    finally:
        os.close(opened)

"""Checkpoints and logs of trials, from within the training process.

A checkpoint is written into a draft, marked with a list of its files, and only then published: it is there as a
whole or not at all. This file is loaded in every training process, so it imports little.
"""

from __future__ import annotations

import functools
import json
import logging
import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import TypeVar

from caviar.errors import FolderError, OutageError, UsageError
from caviar.store.files import is_within
from caviar.store.layout import SweepFolder
from caviar.store.place import Place, Url, absolute, place
from caviar.store.strict_json import is_whole, parse_object

MARKER = "_checkpoint.json"
"""The file in a checkpoint that lists its other files and their sizes."""

_LONGEST_NAME = 1024
"""Of a file in a checkpoint; systems allow for little more."""


PATIENCE_S = 600.0
"""So long a trial waits for an object store that is out of reach, before it fails for that."""

PAUSE_S = 1.0

REMOVERS = 8
"""So many superseded checkpoints are removed side by side, where that takes a while."""

_log = logging.getLogger(__name__)

_Found = TypeVar("_Found")


@dataclass(frozen=True, slots=True)
class CheckpointFiles:
    """Where the trials of one sweep leave files. Pickles: it travels to workers with the job."""

    folder_path: str
    settings: Mapping[str, str] | None = field(default=None, repr=False)
    """How to reach an object store, secrets among it: workers may run where the driver's environment is not. Kept
    in memory and on the wire, and nowhere in the sweep folder. None: as each process's environment says."""

    @classmethod
    def of(cls, path: Place) -> CheckpointFiles:
        """The files of the sweep in ``path``, for processes that have another current folder and environment."""
        if isinstance(path, Url):
            from caviar.store.connection import settings  # loads obstore

            return cls(path, settings(path))
        return cls(str(absolute(path)))

    @property
    def _folder(self) -> SweepFolder:
        return SweepFolder(place(self.folder_path), settings=self.settings)

    def visible(self) -> bool:
        """Whether this machine sees the sweep folder. `OutageError` where that cannot be told now."""
        folder = self._folder
        try:
            return folder.storage.exists(folder.sweep_json)
        except PermissionError as error:
            raise FolderError(f"{folder}: cannot be read: {error.strerror}") from error

    def restore(self, trial: int, checkpoint: tuple[int, int]) -> Path:
        """The folder of a committed checkpoint, by its (attempt, step).

        Raises `FolderError` where it is missing, or a file that its marker lists is missing or has another size.
        """

        def restore() -> Path:
            self._check(trial, checkpoint)
            folder = self._folder
            return folder.storage.fetch(folder.checkpoint(trial, *checkpoint))

        return _patiently(restore)

    def damage(self, trial: int, checkpoint: tuple[int, int]) -> str | None:
        """Why a checkpoint that was committed cannot be restored; None: it can, as far as sizes tell.
        `OutageError` where that cannot be told now."""
        try:
            self._check(trial, checkpoint)
        except FolderError as error:
            return str(error)
        return None

    def copy(self, trial: int, checkpoint: tuple[int, int], draft: Path) -> None:
        """Copy the files of a committed checkpoint into a draft, of another sweep for example; then it is there
        as a whole, or this raises `FolderError`: it may be superseded, and go, at any moment."""
        sizes_bytes = self._check(trial, checkpoint)
        folder = self._folder
        key = folder.checkpoint(trial, *checkpoint)
        try:
            source = folder.storage.fetch(key)
            for name, size_bytes in sizes_bytes.items():
                path = draft / name
                path.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(source / name, path)
                if path.stat().st_size != size_bytes:
                    raise FolderError(f"{folder.where(f'{key}/{name}')}: changed while it was copied")
        except FileNotFoundError as error:
            raise FolderError(f"{folder.where(key)}: went while it was copied") from error
        finally:
            folder.storage.settle(key)

    def _check(self, trial: int, checkpoint: tuple[int, int]) -> dict[str, int]:
        """The sizes of its files by their names, all of which it has."""
        storage, where = self._folder.storage, self._folder.where
        key = self._folder.checkpoint(trial, *checkpoint)
        if not storage.is_within(key, key):
            raise FolderError(f"{where(key)}: is reached through a link, which leads out of where checkpoints lie")
        marker = f"{key}/{MARKER}"
        try:
            sizes_bytes = parse_object(storage.read(marker)).get("sizes_bytes")
        except (FileNotFoundError, NotADirectoryError):
            raise FolderError(f"{where(key)}: no such checkpoint") from None
        except (OutageError, FolderError):
            raise
        except (OSError, ValueError) as error:
            raise FolderError(f"{where(marker)}: damaged: {error}") from error
        if not isinstance(sizes_bytes, dict) or not all(map(is_whole, sizes_bytes.values())):
            raise FolderError(f"{where(marker)}: damaged: sizes_bytes is no object of names and sizes")
        for name, size_bytes in sizes_bytes.items():
            if not (_is_name(name) and storage.is_within(f"{key}/{name}", key)):
                raise FolderError(f"{where(marker)}: damaged: {name!r:.80} is no file within the checkpoint")
            try:
                found_bytes = storage.size_bytes(f"{key}/{name}")
            except OutageError:
                raise
            except OSError as error:
                raise FolderError(f"{where(f'{key}/{name}')}: damaged: {error.strerror}") from error
            if found_bytes != size_bytes:
                told = f"it has {found_bytes} bytes, and had {size_bytes}"
                raise FolderError(f"{where(f'{key}/{name}')}: damaged: {told}")
        return sizes_bytes

    @contextmanager
    def checkpoint(self, trial: int, attempt: int, step: int) -> Iterator[Path]:
        """A folder to write into; it becomes the checkpoint as a whole when the block ends without an exception,
        and leaves nothing behind otherwise. A second one at the same step takes the first one's place.

        Raises `UsageError` where a file in it has the marker's name.
        """
        folder = self._folder
        key = folder.checkpoint(trial, attempt, step)
        draft = folder.storage.draft(key)
        try:
            yield draft
            _mark(draft)
            _patiently(lambda: folder.storage.publish(draft, key, marker=MARKER))
        except BaseException:
            folder.storage.drop(draft)
            raise

    def discard(self, trial: int, checkpoint: tuple[int, int]) -> None:
        """Remove a checkpoint that another has superseded; one that is gone already is no error. Where removing
        takes a while, it is done by and by."""
        folder = self._folder
        key = folder.checkpoint(trial, *checkpoint)
        if folder.storage.look_s:
            _removers().submit(_remove, folder, key)
        else:
            folder.storage.remove_folder(key)

    def log(self, trial: int) -> Path:
        """A file to append to what the trial prints; ask when it prints."""
        folder = self._folder
        return folder.storage.appendable(folder.log(trial))

    def logged(self, trial: int, path: Path) -> None:
        """The file that `log` gave is written and closed: it goes to the sweep folder. Never fails."""
        folder = self._folder
        folder.storage.appended(folder.log(trial), path)

    def settle(self, trial: int) -> None:
        """An attempt of the trial has ended in this process: copies of its checkpoints go. Never fails."""
        if "://" not in self.folder_path:
            return  # all is where it belongs, and this is called for every trial
        folder = self._folder
        folder.storage.settle(f"{folder.checkpoints_folder}/{trial}")


@functools.cache
def _removers() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(REMOVERS, thread_name_prefix="caviar-remover")


def _remove(folder: SweepFolder, key: str) -> None:
    try:
        folder.storage.remove_folder(key)
    except OSError as error:
        _log.warning("cannot remove %s, and leave it: %s", error.filename, error.strerror)


def _patiently(action: Callable[[], _Found]) -> _Found:
    """Try until the place can be reached: training must not be lost because an object store is away."""
    deadline_s = time.monotonic() + PATIENCE_S
    while True:
        try:
            return action()
        except OutageError:
            if time.monotonic() > deadline_s:
                raise
        time.sleep(PAUSE_S)


def _mark(draft: Path) -> None:
    """Write the marker that lists what is in a draft."""
    if (draft / MARKER).exists():
        raise UsageError(f"a checkpoint must not hold a file named {MARKER}: caviar writes one")
    sizes_bytes = {}
    for inner, _, names in os.walk(draft):
        for name in names:
            path = Path(inner, name)
            if not is_within(draft, path):
                raise UsageError(
                    f"a checkpoint must be whole by itself, but {name} is a link that leads out of it"
                )
            if path.is_file():
                sizes_bytes[path.relative_to(draft).as_posix()] = path.stat().st_size
    content = {"format": 1, "sizes_bytes": sizes_bytes}
    (draft / MARKER).write_text(json.dumps(content), encoding="utf-8")


def _is_name(name: str) -> bool:
    """Whether a name, whoever wrote it, is that of something below a folder."""
    parts = PurePosixPath(name).parts
    return bool(parts) and not (name.startswith("/") or ".." in parts or "\0" in name or len(name) > _LONGEST_NAME)

"""Checkpoints and logs of trials, from within the training process.

A checkpoint is written into a draft, marked with a list of its files, and only then published: it is there as a
whole or not at all. This file is loaded in every training process, so it imports little.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from caviar.errors import FolderError, UsageError
from caviar.store.layout import SweepFolder

MARKER = "_checkpoint.json"
"""The file in a checkpoint that lists its other files and their sizes."""


@dataclass(frozen=True, slots=True)
class CheckpointFiles:
    """Where the trials of one sweep leave files. Pickles: it travels to workers with the job."""

    folder_path: str

    @property
    def _folder(self) -> SweepFolder:
        return SweepFolder(Path(self.folder_path))

    def visible(self) -> bool:
        """Whether this machine sees the sweep folder."""
        folder = self._folder
        return folder.storage.exists(folder.sweep_json)

    def restore(self, trial: int, checkpoint: tuple[int, int]) -> Path:
        """The folder of a committed checkpoint, by its (attempt, step).

        Raises `FolderError` where it is missing, or a file that its marker lists is missing or has another size.
        """
        attempt, step = checkpoint
        folder = self._folder
        key = folder.checkpoint(trial, attempt, step)
        try:
            sizes_bytes = json.loads(folder.storage.read(f"{key}/{MARKER}"))["sizes_bytes"]
        except FileNotFoundError:
            raise FolderError(f"{folder.where(key)}: no such checkpoint") from None
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise FolderError(f"{folder.where(f'{key}/{MARKER}')}: damaged: {error}") from error
        for name, size_bytes in sizes_bytes.items():
            where = folder.where(f"{key}/{name}")
            try:
                found_bytes = folder.storage.size_bytes(f"{key}/{name}")
            except OSError as error:
                raise FolderError(f"{where}: damaged: {error.strerror}") from error
            if found_bytes != size_bytes:
                raise FolderError(f"{where}: damaged: it has {found_bytes} bytes, and had {size_bytes}")
        return folder.storage.fetch(key)

    def damage(self, trial: int, checkpoint: tuple[int, int]) -> str | None:
        """Why a checkpoint that was committed cannot be restored; None: it can."""
        try:
            self.restore(trial, checkpoint)
        except FolderError as error:
            return str(error)
        return None

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
            folder.storage.publish(draft, key, marker=MARKER)
        except BaseException:
            folder.storage.drop(draft)
            raise

    def discard(self, trial: int, checkpoint: tuple[int, int]) -> None:
        """Remove a checkpoint that another has superseded; one that is gone already is no error."""
        attempt, step = checkpoint
        folder = self._folder
        folder.storage.remove_folder(folder.checkpoint(trial, attempt, step))

    def log(self, trial: int) -> Path:
        """The file for what the trial prints; not made before it prints."""
        folder = self._folder
        return folder.storage.appendable(folder.log(trial))


def _mark(draft: Path) -> None:
    """Write the marker that lists what is in a draft."""
    if (draft / MARKER).exists():
        raise UsageError(f"a checkpoint must not hold a file named {MARKER}: caviar writes one")
    sizes_bytes = {}
    for place, _, names in os.walk(draft):
        for name in names:
            path = Path(place, name)
            if path.is_file():
                sizes_bytes[path.relative_to(draft).as_posix()] = path.stat().st_size
    content = {"format": 1, "sizes_bytes": sizes_bytes}
    (draft / MARKER).write_text(json.dumps(content), encoding="utf-8")

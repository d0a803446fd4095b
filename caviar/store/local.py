"""A sweep's place on a file system, local or shared."""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import BinaryIO

from caviar.errors import FolderError
from caviar.store.files import Files
from caviar.store.founding import founding, founding_again
from caviar.store.storage import Storage

TMP = ".tmp"
"""Files on their way, on the same file system as where they go, and called after the folder that they go to."""


class LocalStorage(Storage):
    """Keys are names below the folder ``root``. Every touch of the file system is an operation of `Files`."""

    def __init__(self, root: Path, files: Files) -> None:
        self._root = root
        self._files = files

    def path(self, key: str) -> Path:
        """Where a key lies."""
        return self._root / key

    def where(self, key: str) -> str:
        return str(self.path(key))

    # --- files ----------------------------------------------------------------------------------------------

    def create(self, key: str, data: bytes) -> None:
        self._files.create(self.path(key), data, temporary=self._temporary(key))

    def replace(self, key: str, data: bytes) -> None:
        self._files.replace(self.path(key), data, temporary=self._temporary(key))

    def sync(self, key: str) -> None:
        self._files.sync_folder(self.path(key).parent)  # the content was, before it got its name

    def read(self, key: str, *, most_bytes: int | None = None) -> bytes:
        if most_bytes is None:
            return self._files.read(self.path(key))
        with self._files.open(self.path(key)) as file:
            data = file.read(most_bytes + 1)
        if len(data) > most_bytes:
            raise FolderError(f"{self.where(key)}: damaged: more than {most_bytes} bytes are too many")
        return data

    def open(self, key: str) -> BinaryIO:
        return self._files.open(self.path(key))

    def size_bytes(self, key: str) -> int:
        return self._files.size_bytes(self.path(key))

    def exists(self, key: str) -> bool:
        return self._files.exists(self.path(key))

    def names(self, folder: str) -> list[str]:
        return self._files.names(self.path(folder))

    def unlink(self, key: str) -> None:
        self._files.unlink(self.path(key))

    def move(self, key: str, target: str) -> None:
        self._files.rename(self.path(key), self.path(target))

    # --- links ----------------------------------------------------------------------------------------------

    def check_plain(self, folders: Sequence[str], files: Sequence[str]) -> None:
        for path in map(self.path, (TMP, *folders)):
            if self._files.is_link(path):
                raise FolderError(f"{path}: is a link; all that is a sweep's own lies in its folder")
            if self._files.exists(path) and not self._files.is_folder(path):
                raise FolderError(f"{path}: is not a folder")
        for path in map(self.path, files):
            if self._files.is_folder(path):
                raise FolderError(f"{path}: is a folder, not a file")

    def is_within(self, key: str, folder: str) -> bool:
        here = self._files.resolved(self._root) / folder
        return self._files.resolved(self.path(key)).is_relative_to(here)

    # --- whole folders --------------------------------------------------------------------------------------

    def draft(self, folder: str) -> Path:
        draft = self._temporary(folder)
        self._files.make_folder(draft)
        return draft

    def publish(self, draft: Path, folder: str, *, marker: str) -> None:
        self._check_way(folder)
        for place, _, names in os.walk(draft, topdown=False):
            for name in names:
                path = Path(place, name)
                if path.is_file():
                    self._files.sync_file(path)
            self._files.sync_folder(Path(place))
        aside = self._place(draft, folder)
        for parent in self._parents(folder):
            self._files.sync_folder(parent)
        if aside is not None:  # only now: after a power cut what it held must not be missing under its old name
            self._files.remove_tree(aside)

    def drop(self, draft: Path) -> None:
        self._files.remove_tree(draft)

    def fetch(self, folder: str) -> Path:
        return self.path(folder)

    def remove_folder(self, folder: str) -> None:
        path, aside = self.path(folder), self._temporary(folder)
        self._check_way(folder)
        try:
            self._files.rename(path, aside)  # at once, so that nobody finds half of it
        except FileNotFoundError:
            return
        self._files.sync_folder(path.parent)  # nor is half of it back under its name after a power cut
        self._files.remove_tree(aside)
        with contextlib.suppress(OSError):  # the first that is not empty
            for parent in self._parents(folder)[:-1]:
                self._files.remove_folder(parent)

    def appendable(self, key: str) -> Path:
        path = self.path(key)
        if not self._files.exists(path.parent):
            with contextlib.suppress(FileExistsError):
                self._files.make_folder(path.parent)
        # what is printed must not go where a stranger's link leads, nor wait for who reads a pipe
        if self._files.is_link(path) or (self._files.exists(path) and not self._files.is_file(path)):
            self._files.unlink(path)
        return path

    def _check_way(self, folder: str) -> None:
        """Raise `FolderError` where a folder lies behind a link: what is there is somebody else's."""
        parent = folder.rpartition("/")[0]
        if not self.is_within(parent, parent):
            raise FolderError(
                f"{self.where(folder)}: is reached through a link, which leads out of the sweep folder"
            )

    def _parents(self, key: str) -> list[Path]:
        """The folders above a key, from the inside out, up to one of those that a sweep is founded with."""
        return [self.path(key).parent, *list(self.path(key).parents)[1 : key.count("/")]]

    def _place(self, draft: Path, folder: str) -> Path | None:
        """Give a draft its name; returns where what had the name is now."""
        path = self.path(folder)
        while True:
            try:
                self._files.make_folders(path.parent)
                self._files.rename(draft, path)
            except FileNotFoundError:
                if not self._files.exists(draft):
                    raise
                # `remove_folder` removed a folder above it, an empty one, in this very moment: make it again
            except OSError:
                if not self._files.exists(path):
                    raise
                aside = self._temporary(folder)
                self._files.rename(path, aside)
                self._files.rename(draft, path)
                return aside
            else:
                return None

    # --- beginning and end ----------------------------------------------------------------------------------

    def check_writable(self) -> None:
        place = self._root.absolute()
        while not self._files.exists(place):
            place = place.parent
        if not self._files.is_folder(place):
            raise FolderError(f"{self._root}: cannot be made: {place} is a file")
        if not self._files.is_writable(place):
            if place == self._root.absolute():
                raise FolderError(f"{self._root}: cannot be written")
            raise FolderError(f"{self._root}: cannot be made: {place} is not writable")

    def founding(
        self, folders: Sequence[str], files: Sequence[str], *, begun: bool = False
    ) -> AbstractContextManager[None]:
        inner = [self.path(TMP), *map(self.path, folders)]
        if begun:
            return founding_again(self._root, self._files, folders=inner)
        return founding(self._root, self._files, folders=inner, loose=[self.path(key) for key in files])

    def remove_leftovers(self, spare: str) -> None:
        names = [name for name in self._files.names(self.path(TMP)) if not name.startswith(f"{spare}-")]
        if names:
            # What was moved here must not be back under its old name, after a power cut, without its files
            self._files.sync_folder(self.path(TMP))
        for name in names:
            path = self.path(TMP) / name
            if self._files.is_folder(path):
                self._files.remove_tree(path)
            else:
                self._files.unlink(path)

    def _temporary(self, key: str) -> Path:
        """A fresh name in `.tmp`; what remains of it after a crash can be told by its name."""
        return self.path(TMP) / f"{key.partition('/')[0]}-{secrets.token_hex(8)}"

"""A sweep's place in an object store: S3 and what speaks its language, or Google Cloud Storage.

`create` is a conditional put. A put may be repeated, by the client or by what lies between, so an answer that the
object exists is not believed at once: every put carries a token, and the object that is there tells whose it is.
"""

from __future__ import annotations

import io
import os
import secrets
import shutil
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, cast

import obstore

from caviar.errors import FolderError, OutageError
from caviar.store.connection import Settings, client
from caviar.store.copies import Copies
from caviar.store.place import Url
from caviar.store.refusals import as_os_errors
from caviar.store.storage import Storage

FOUNDING = ".tmp/founding"
"""The first object of a sweep, which one driver alone can make. It stays: without objects there is no place."""

LOOK_S = 1.5
"""Listing costs time and money; but who steers a trial waits for it."""

TOKEN = "caviar-token"
"""The attribute that says which put an object came from."""

READ_BYTES = 1 << 20
COPY_BYTES = 16 << 20
AT_ONCE = 16
"""So many requests go side by side where there are many."""

CREATE_TRIES = 3

_copies: dict[Url, Copies] = {}
os.register_at_fork(after_in_child=_copies.clear)


class ObjectStorage(Storage):
    """Keys are names below a URL. There are no folders: a folder is there while objects are in it."""

    look_s = LOOK_S

    def __init__(self, url: Url, settings: Settings | None = None) -> None:
        """``settings`` None: as the environment says. Asks no server."""
        self._url = url
        self._client, self._prefix = client(url, settings)
        self._copies = _copies.setdefault(url, Copies())
        self._made: list[str] | None = None
        """What was created since the founding began, while it lasts."""

    def _path(self, key: str) -> str:
        return "/".join(part for part in (self._prefix, key) if part)

    def where(self, key: str) -> str:
        return f"{self._url}/{key}" if key else str(self._url)

    # --- files ----------------------------------------------------------------------------------------------

    def create(self, key: str, data: bytes) -> None:
        token = secrets.token_hex(8)
        for _ in range(CREATE_TRIES):
            try:
                with as_os_errors(self.where(key)):
                    obstore.put(self._client, self._path(key), data, mode="create", attributes={TOKEN: token})
            except FileExistsError:
                try:
                    ours = self._token(key) == token
                except FileNotFoundError:
                    continue  # it is gone again
                if not ours:
                    raise
            if self._made is not None:
                self._made.append(key)
            return
        raise OutageError(0, "it is there when created, and missing when read", self.where(key))

    def _token(self, key: str) -> object:
        with as_os_errors(self.where(key)):
            found = obstore.get(self._client, self._path(key), options={"head": True})
            return found.attributes.get(TOKEN)

    def replace(self, key: str, data: bytes) -> None:
        with as_os_errors(self.where(key)):
            obstore.put(self._client, self._path(key), data)

    def sync(self, key: str) -> None:
        """An object that is there is durable."""

    def read(self, key: str, *, most_bytes: int | None = None) -> bytes:
        with as_os_errors(self.where(key)):
            found = obstore.get(self._client, self._path(key))
            if most_bytes is None or found.meta["size"] <= most_bytes:
                return bytes(found.bytes())
        raise FolderError(f"{self.where(key)}: damaged: more than {most_bytes} bytes are too many")

    def read_many(self, keys: Sequence[str]) -> list[bytes]:
        if len(keys) <= 1:
            return [self.read(key) for key in keys]
        with ThreadPoolExecutor(min(AT_ONCE, len(keys))) as pool:
            return list(pool.map(self.read, keys))

    def open(self, key: str) -> BinaryIO:
        return cast(BinaryIO, io.BufferedReader(_Opened(self, key, self.size_bytes(key)), READ_BYTES))

    def read_range(self, key: str, start: int, length: int) -> bytes:
        """Some of a file's content, which must have so much."""
        with as_os_errors(self.where(key)):
            return bytes(obstore.get_range(self._client, self._path(key), start=start, length=length))

    def size_bytes(self, key: str) -> int:
        with as_os_errors(self.where(key)):
            return int(obstore.head(self._client, self._path(key))["size"])

    def exists(self, key: str) -> bool:
        if key:
            with suppress(FileNotFoundError):
                self.size_bytes(key)
                return True
        with suppress(FileNotFoundError), as_os_errors(self.where(key)):
            return any(len(page) for page in obstore.list(self._client, f"{self._path(key)}/", chunk_size=1))
        return False

    def names(self, folder: str) -> list[str]:
        path = self._path(folder)
        with as_os_errors(self.where(folder)):
            found = obstore.list_with_delimiter(self._client, f"{path}/" if path else None)
        paths = [*found["common_prefixes"], *(one["path"] for one in found["objects"])]
        # Some servers keep an object for the folder itself
        return [one.rstrip("/").rpartition("/")[2] for one in paths if one.rstrip("/") != path]

    def walk(self, folder: str) -> Iterator[tuple[str, int]]:
        path = self._path(folder)
        with as_os_errors(self.where(folder)):
            for page in obstore.list(self._client, f"{path}/" if path else None):
                for one in page:
                    if not one["path"].endswith("/"):  # some servers keep an object for the folder itself
                        yield one["path"].removeprefix(self._prefix).lstrip("/"), int(one["size"])

    def unlink(self, key: str) -> None:
        self.unlink_many([key])

    def unlink_many(self, keys: Sequence[str]) -> None:
        if keys:
            with suppress(FileNotFoundError), as_os_errors(self.where(keys[0])):
                obstore.delete(self._client, [self._path(key) for key in keys])

    def move(self, key: str, target: str) -> None:
        with as_os_errors(self.where(key)):
            obstore.copy(self._client, self._path(key), self._path(target))
        self.unlink(key)

    # --- whole folders --------------------------------------------------------------------------------------

    def draft(self, folder: str) -> Path:
        return self._copies.draft()

    def publish(self, draft: Path, folder: str, *, marker: str) -> None:
        files = {path.relative_to(draft).as_posix(): path for path in sorted(draft.rglob("*")) if path.is_file()}
        files[marker] = files.pop(marker)  # last
        before = self._below(folder)
        if marker in before:
            self.unlink(f"{folder}/{marker}")
        # Only what is not put again: a deletion whose answer was lost may come to pass late
        self.unlink_many([f"{folder}/{name}" for name in before if name not in files])
        for name, path in files.items():
            self._upload(path, f"{folder}/{name}")
        self.drop(draft)

    def _upload(self, path: Path, key: str) -> None:
        with path.open("rb") as file, as_os_errors(self.where(key)):
            obstore.put(self._client, self._path(key), file, chunk_size=COPY_BYTES, max_concurrency=4)

    def drop(self, draft: Path) -> None:
        shutil.rmtree(draft, ignore_errors=True)

    def fetch(self, folder: str) -> Path:
        return self._copies.fetched(folder, lambda path: self._download(folder, path))

    def _download(self, folder: str, into: Path) -> None:
        sizes_bytes = self._below(folder)
        if not sizes_bytes:
            raise FileNotFoundError(2, "No such folder", self.where(folder))
        for name, size_bytes in sizes_bytes.items():
            path = into / name
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("wb") as file:
                for start in range(0, size_bytes, COPY_BYTES):
                    length = min(COPY_BYTES, size_bytes - start)
                    file.write(self.read_range(f"{folder}/{name}", start, length))

    def _below(self, folder: str) -> dict[str, int]:
        """All files in a folder and in those below it, with their sizes."""
        path = f"{self._path(folder)}/"
        with as_os_errors(self.where(folder)):
            found = [one for page in obstore.list(self._client, path) for one in page]
        return {one["path"].removeprefix(path): int(one["size"]) for one in found}

    def remove_folder(self, folder: str) -> None:
        self.unlink_many([f"{folder}/{name}" for name in self._below(folder)])

    def appendable(self, key: str) -> Path:
        return self._copies.log()

    def appended(self, key: str, path: Path) -> None:
        self._copies.append(key, path, read=self.read, write=self.replace)

    def settle(self, folder: str) -> None:
        self._copies.forget(folder)

    # --- beginning and end ----------------------------------------------------------------------------------

    def check_writable(self) -> None:
        key = f".tmp/probe-{secrets.token_hex(8)}"
        try:
            self.create(key, b"first")
            try:
                self._check_exclusive(key)
            finally:
                self.unlink(key)
        except OSError as error:
            raise FolderError(f"{self._url}: cannot be written: {error.strerror}") from error

    def _check_exclusive(self, key: str) -> None:
        with suppress(FileExistsError):
            self.create(key, b"second")
            raise FolderError(
                f"{self._url}: its object store overwrites objects that are to be created only (it ignores "
                "If-None-Match), so it cannot keep two drivers apart: choose another store, or a folder"
            )

    @contextmanager
    def founding(self, folders: Sequence[str], files: Sequence[str], *, begun: bool = False) -> Iterator[None]:
        made: list[str] = []
        self._made = made
        try:
            self.create(FOUNDING, b"")
        except FileExistsError as error:
            if not begun:
                raise FolderError(f"{self._url}: another process is making a sweep of it") from error
        except OSError as error:
            raise FolderError(f"{self._url}: cannot be written: {error.strerror}") from error
        try:
            yield
        except FileExistsError:  # somebody else goes on with what was begun here
            raise
        except BaseException:
            if not begun:
                with suppress(OSError):
                    self.unlink_many([*files, *reversed(made)])
            raise
        finally:
            self._made = None

    def remove_leftovers(self, spare: str) -> None:
        """There are none: an object is there as a whole, or not at all."""


class _Opened(io.RawIOBase):
    """An object that is read piece by piece."""

    def __init__(self, storage: ObjectStorage, key: str, size_bytes: int) -> None:
        self._storage = storage
        self._key = key
        self._size_bytes = size_bytes
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._size_bytes}[whence]
        self._at = max(0, base + offset)
        return self._at

    def tell(self) -> int:
        return self._at

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        length = min(len(buffer), self._size_bytes - self._at)
        if length <= 0:
            return 0
        buffer[:length] = self._storage.read_range(self._key, self._at, length)
        self._at += length
        return length

"""Every operation on the file system that the store makes, and `create`, the primitive built from them.

They are methods of one small class, so that a test can stand between the store and the disk: stop at any single
operation, fail it, or drop what was not synced. Nothing else of the store touches the file system (but for what is
in a checkpoint, which the training function writes itself), so a class with the same operations on memory will do.
"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import shutil
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

from caviar.errors import FolderError

TIDIED_TRIES = 3


class Files:
    """The real file system. Every operation raises `OSError` when it fails; none is retried here."""

    def make_folder(self, path: Path) -> None:
        """Make one folder, which must not exist."""
        path.mkdir()

    def make_folders(self, path: Path) -> None:
        """Make a folder and those above it, where they do not exist."""
        path.mkdir(parents=True, exist_ok=True)

    def write(self, path: Path, data: bytes) -> None:
        """Write a new file and bring it to the disk. A name that is taken raises `FileExistsError`."""
        with path.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())

    def link(self, source: Path, target: Path) -> None:
        """Give a file a second name; a target that exists raises `FileExistsError`."""
        os.link(source, target)

    def link_count(self, path: Path) -> int:
        """How many names a file has."""
        return path.stat().st_nlink

    def rename(self, source: Path, target: Path) -> None:
        """Rename, replacing a file that has the name."""
        source.replace(target)

    def unlink(self, path: Path) -> None:
        """Remove a name; one that is gone already is no error."""
        path.unlink(missing_ok=True)

    def remove_folder(self, path: Path) -> None:
        """Remove a folder that is empty."""
        path.rmdir()

    def remove_tree(self, path: Path) -> None:
        """Remove a folder with all that it holds, as far as that is possible."""
        shutil.rmtree(path, ignore_errors=True)

    def sync_folder(self, path: Path) -> None:
        """Bring a folder's names to the disk."""
        _sync(path)

    def sync_file(self, path: Path) -> None:
        """Bring the content of a file that is there to the disk."""
        _sync(path)

    def names(self, path: Path) -> list[str]:
        """The names in a folder, in no order."""
        return os.listdir(path)  # noqa: PTH208 - the names alone: thousands of Path objects cost more than the listing

    def walk(self, path: Path) -> Iterator[tuple[Path, int]]:
        """Every file below a folder and its size, as far as they stay while one looks; links are not followed."""
        try:
            with os.scandir(path) as found:
                entries = sorted(found, key=lambda entry: entry.name)
        except FileNotFoundError:
            return
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                yield from self.walk(Path(entry.path))
                continue
            with contextlib.suppress(FileNotFoundError):
                yield Path(entry.path), entry.stat(follow_symlinks=False).st_size

    def read(self, path: Path) -> bytes:
        """A file's whole content; what is no plain file raises `FolderError`."""
        return read_plain(path)

    def open(self, path: Path) -> BinaryIO:
        """A file to seek and read in; what is no plain file raises `FolderError`."""
        return open_plain(path)

    def size_bytes(self, path: Path) -> int:
        """A file's size."""
        return path.stat().st_size

    def exists(self, path: Path) -> bool:
        """Whether there is a file or a folder of this name."""
        return path.exists()

    def is_folder(self, path: Path) -> bool:
        """Whether there is a folder of this name."""
        return path.is_dir()

    def is_file(self, path: Path) -> bool:
        """Whether there is a plain file of this name, be it behind a link."""
        return path.is_file()

    def resolved(self, path: Path) -> Path:
        """What a path stands for when all links are followed, as far as there are files and folders."""
        return Path(os.path.realpath(path))

    def is_link(self, path: Path) -> bool:
        """Whether this name is a link to another."""
        return path.is_symlink()

    def is_writable(self, path: Path) -> bool:
        """Whether this process may make files in an existing folder."""
        return os.access(path, os.W_OK | os.X_OK)

    # --- built from the operations above ------------------------------------------------------------------

    def create(self, path: Path, data: bytes, *, temporary: Path) -> None:
        """Make ``path`` hold ``data``, durably and as a whole, unless it exists.

        Succeeds for exactly one of all callers, on this host or another; the rest get `FileExistsError`. Any other
        `OSError` leaves it open whether ``path`` now exists: read it back before trying the same name again.
        ``temporary`` is a fresh name on the same file system.
        """
        self._again_if_tidied(lambda: self._create(path, data, temporary), path, temporary)

    def _create(self, path: Path, data: bytes, temporary: Path) -> None:
        try:
            self.write(temporary, data)
            try:
                self.link(temporary, path)
            except FileExistsError:
                # NFS repeats a request whose answer was lost, and reports that the link it made itself exists
                if self.link_count(temporary) != 2:
                    raise
        except OSError:
            with contextlib.suppress(OSError):
                self.unlink(temporary)
            raise
        self.unlink(temporary)
        self.sync_folder(path.parent)

    def replace(self, path: Path, data: bytes, *, temporary: Path) -> None:
        """Make ``path`` hold ``data`` as a whole, whatever it held before."""
        self._again_if_tidied(lambda: self._replace(path, data, temporary), path, temporary)

    def _again_if_tidied(self, make: Callable[[], None], path: Path, temporary: Path) -> None:
        """A driver that starts removes what others left on its way. Where two start at once, that may be what the
        other one is just about to link: then it is written once more."""
        for left in reversed(range(TIDIED_TRIES)):
            try:
                make()
            except FileNotFoundError:
                if not left or not (self.exists(temporary.parent) and self.exists(path.parent)):
                    raise
            else:
                return

    def _replace(self, path: Path, data: bytes, temporary: Path) -> None:
        try:
            self.write(temporary, data)
            self.rename(temporary, path)
        except OSError:
            with contextlib.suppress(OSError):
                self.unlink(temporary)
            raise

    def probe(self, folder: Path) -> None:
        """Check, in an existing folder, that `create` can keep its word there.

        Raises `FolderError` where the folder cannot be written, or the file system has no (exclusive) hard links.
        """
        name = f"probe-{secrets.token_hex(8)}"  # others may be at it too
        first, second = folder / name, folder / f"{name}-2"
        try:
            self.write(first, b"")
            exclusive = self._links_once(first, second)
        except OSError as error:
            raise FolderError(f"{folder.parent}: cannot be written: {error.strerror}") from error
        finally:
            with contextlib.suppress(OSError):
                self.unlink(first)
                self.unlink(second)
        if not exclusive:
            raise FolderError(
                f"{folder.parent}: its file system overwrites existing names when it links, so it cannot keep two "
                "drivers apart: choose a folder on a local disk or on NFS"
            )

    def _links_once(self, first: Path, second: Path) -> bool:
        try:
            self.link(first, second)
        except OSError as error:
            raise FolderError(
                f"{first.parent.parent}: its file system has no hard links ({error.strerror}), which a sweep "
                "folder needs: choose a folder on a local disk or on NFS"
            ) from error
        try:
            self.link(first, second)
        except FileExistsError:
            return True
        return False


LARGEST_BYTES = 4 * 2**30
"""No file that is read as a whole is larger: a hole in a file costs its maker nothing, and its reader memory."""


def open_plain(path: Path) -> BinaryIO:
    """Open a file of a sweep folder, which may come from a stranger.

    Raises `FolderError` for what is no plain file: a pipe would be waited at for ever, a device is not
    part of the folder, and a link may lead out of it. Other failures are an `OSError`.
    """
    try:
        # without waiting for a pipe's other end; it changes nothing for plain files
        opened = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENXIO):  # a link; a socket
            raise FolderError(f"{path}: is a link or a socket, not a file") from None
        raise
    if not stat.S_ISREG(os.fstat(opened).st_mode):
        os.close(opened)
        raise FolderError(f"{path}: is not a file")
    return os.fdopen(opened, "rb")


def read_plain(path: Path) -> bytes:
    """The whole content of a file that `open_plain` opens; one that is larger than any raises `FolderError`."""
    with open_plain(path) as file:
        size_bytes = os.fstat(file.fileno()).st_size
        if size_bytes > LARGEST_BYTES:
            raise FolderError(f"{path}: damaged: {size_bytes} bytes are too many")
        return file.read()


def is_within(folder: Path, path: Path) -> bool:
    """Whether what a path stands for lies in this folder, also when links are followed."""
    return Path(os.path.realpath(path)).is_relative_to(os.path.realpath(folder))


def _sync(path: Path) -> None:
    opened = os.open(path, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)

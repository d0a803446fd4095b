"""A disk in memory that keeps exactly what POSIX promises, and a file system on it that stops where a test says.

What is written lies in the page cache until it is synced: a file's content until its `fsync`, a folder's names
until the folder is synced. A power cut takes away any part of what was not: each name by itself and in any order,
each content whole, in part, or with zeros in place of it. A file whose sync failed is lost to syncing, as on
Linux: the kernel takes its pages for clean, and reports success from then on. Two things are taken for granted,
as every file system with a journal has them: a rename happens as a whole, and a folder whose sync failed can be
synced again.
"""

from __future__ import annotations

import copy
import errno
import io
import os
import random
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, TypeVar

from caviar.store.files import Files
from caviar.store.local import TMP

T = TypeVar("T")


class Dead(BaseException):
    """The process was killed, or the power is gone: nothing that it does from here on has an effect."""


@dataclass(slots=True, eq=False)
class File:
    """A file, under however many names."""

    content: bytes = b""
    durable: bytes = b""
    lost: bool = False
    """A sync of it failed."""
    links: int = 0

    def append(self, data: bytes) -> None:
        self.content += data

    def sync(self) -> None:
        if not self.lost:
            self.durable = self.content


@dataclass(slots=True, eq=False)
class Folder:
    """A folder, as processes see it, and as the disk has it."""

    names: dict[str, File | Folder] = field(default_factory=dict)
    durable: dict[str, tuple[int, File | Folder | None]] = field(default_factory=dict)
    """What became of each name by the last change of it that is on the disk, and that change's number."""


@dataclass(frozen=True, slots=True, eq=False)
class Change:
    """A change of names that happens as a whole; those of a rename lie in two folders."""

    number: int
    edits: tuple[tuple[Folder, str, File | Folder | None], ...]

    def persist(self, durable: dict[Folder, dict[str, tuple[int, File | Folder | None]]]) -> None:
        """Bring it to the disk, unless a later change of the same name is there already."""
        for folder, name, node in self.edits:
            if durable[folder].get(name, (-1, None))[0] < self.number:
                durable[folder][name] = (self.number, node)

    @property
    def removes(self) -> bool:
        """Whether it does nothing but take names away."""
        return all(node is None for _, _, node in self.edits)


@dataclass(frozen=True, slots=True)
class Survival:
    """Which of what was not synced is still there after a power cut."""

    name: str
    change: Callable[[Change], bool]
    content: Callable[[File], bytes]


def _durable(file: File) -> bytes:
    return file.durable


def _written(file: File) -> bytes:
    return file.content


EXTREMES = (
    Survival("nothing", lambda _: False, _durable),
    Survival("everything", lambda _: True, _written),
    Survival("names without contents", lambda _: True, _durable),
    Survival("removals", lambda change: change.removes, _written),
    Survival("all but removals", lambda change: not change.removes, _written),
)


def by_chance(seed: int) -> Survival:
    """Some of it, torn here and there."""
    chance = random.Random(seed)

    def content(file: File) -> bytes:
        cut = chance.randint(0, len(file.content))
        zeros = bytes(len(file.content) - cut)
        return chance.choice((file.durable, file.content, file.content[:cut], file.content[:cut] + zeros))

    return Survival(f"by chance, {seed}", lambda _: chance.random() < 0.5, content)


class Disk:
    """A tree of folders and files. ``place``: a folder that has always been there."""

    def __init__(self, place: Path) -> None:
        self.root = Folder()
        self._pending: list[Change] = []
        self._changes = 0
        folder = self.root
        for part in place.parts[1:]:
            folder.names[part] = inner = Folder()
            folder.durable[part] = (-1, inner)
            folder = inner

    # --- what may have become of it --------------------------------------------------------------------------

    def copy(self) -> Disk:
        """The same disk with the same things still to be synced: only the processes are gone."""
        return copy.deepcopy(self)

    def after_power_cut(self, survival: Survival) -> Disk:
        """What is on the disk when the power comes back."""
        durable: dict[Folder, dict[str, tuple[int, File | Folder | None]]] = _Overlay()
        for change in self._pending:
            if survival.change(change):
                change.persist(durable)
        after = Disk(Path("/"))
        made: dict[File | Folder, File | Folder] = {self.root: after.root}
        waiting = [self.root]
        while waiting:
            folder = waiting.pop()
            for name, (_, node) in durable[folder].items():
                if node is None:
                    continue
                if node not in made:
                    if isinstance(node, Folder):
                        made[node] = Folder()
                        waiting.append(node)
                    else:
                        content = node.content if node.content == node.durable else survival.content(node)
                        made[node] = File(content, content)
                again = made[node]
                if isinstance(again, File):
                    again.links += 1
                target = made[folder]
                assert isinstance(target, Folder)
                target.names[name] = again
                target.durable[name] = (-1, again)
        return after

    def listing(self, *, without: str = "") -> dict[str, bytes | None]:
        """Every name with its content; None: a folder. ``without``: not what lies in folders of this name."""
        return dict(_list(self.root, "", without))

    # --- names -----------------------------------------------------------------------------------------------

    def find(self, path: Path) -> File | Folder:
        """What has this name."""
        node: File | Folder = self.root
        for part in path.parts[1:]:
            if not isinstance(node, Folder):
                raise _error(errno.ENOTDIR, path)
            if part not in node.names:
                raise _error(errno.ENOENT, path)
            node = node.names[part]
        return node

    def folder(self, path: Path) -> Folder:
        """The folder of this name."""
        node = self.find(path)
        if not isinstance(node, Folder):
            raise _error(errno.ENOTDIR, path)
        return node

    def file(self, path: Path) -> File:
        """The file of this name."""
        node = self.find(path)
        if not isinstance(node, File):
            raise _error(errno.EISDIR, path)
        return node

    def has(self, path: Path) -> bool:
        """Whether anything has this name."""
        try:
            self.find(path)
        except (FileNotFoundError, NotADirectoryError):
            return False
        return True

    def _change(self, *edits: tuple[Folder, str, File | Folder | None]) -> None:
        self._changes += 1
        self._pending.append(Change(self._changes, edits))
        for folder, name, node in edits:
            before = folder.names.pop(name, None)
            if isinstance(before, File):
                before.links -= 1
            if node is not None:
                folder.names[name] = node
            if isinstance(node, File):
                node.links += 1

    # --- what processes do to it -----------------------------------------------------------------------------

    def add(self, path: Path, node: File | Folder) -> None:
        """Give something a name that is free."""
        parent = self.folder(path.parent)
        if path.name in parent.names:
            raise _error(errno.EEXIST, path)
        self._change((parent, path.name, node))

    def sync_folder(self, path: Path) -> None:
        folder = self.folder(path)
        durable = {one: one.durable for change in self._pending for one, _, _ in change.edits}
        for change in list(self._pending):
            if any(one is folder for one, _, _ in change.edits):
                change.persist(durable)
                self._pending.remove(change)

    def rename(self, source: Path, target: Path) -> None:
        node, before, after = self.find(source), self.folder(source.parent), self.folder(target.parent)
        taken = after.names.get(target.name)
        if taken is node:
            return
        if isinstance(taken, Folder) and (taken.names or isinstance(node, File)):
            raise _error(errno.ENOTEMPTY if taken.names else errno.EISDIR, target)
        if isinstance(taken, File) and isinstance(node, Folder):
            raise _error(errno.ENOTDIR, target)
        self._change((before, source.name, None), (after, target.name, node))

    def unlink(self, path: Path) -> None:
        if self.has(path):
            self.file(path)
            self._change((self.folder(path.parent), path.name, None))

    def remove_folder(self, path: Path) -> None:
        if self.folder(path).names:
            raise _error(errno.ENOTEMPTY, path)
        self._change((self.folder(path.parent), path.name, None))

    def notice(self, path: Path) -> None:
        """Training functions write checkpoints themselves, with real files: what they wrote under a draft's name
        is on this disk too, and nobody has synced it."""
        if TMP not in path.parent.parts or not path.exists():
            return
        for real in (path, *sorted(path.rglob("*"))):
            missing = [one for one in (*reversed(real.parents), real) if not self.has(one)]
            for one in missing:
                self.add(one, Folder() if one.is_dir() else File(one.read_bytes()))


class DiskFiles(Files):
    """One process's way to a disk, step by step. Whatever it calls is a step, `write` several of them.

    ``before`` is called before every step with its number (from 0) and name. It may do something; raise: then
    the step is not done; or return an error: then the step is done, and fails all the same. After `Dead`
    everything raises it.
    """

    def __init__(
        self, disk: Disk, before: Callable[[int, str], BaseException | None] = lambda number, name: None
    ) -> None:
        self.disk = disk
        self.steps: list[str] = []
        self._before = before
        self._dead = False

    def _do(self, name: str, path: Path, effect: Callable[[], T]) -> T:
        if self._dead:
            raise Dead
        self.steps.append(f"{name} {path}")
        try:
            error = self._before(len(self.steps) - 1, name)
        except Dead:
            self._dead = True
            raise
        result = effect()
        if error is not None:
            raise error
        return result

    def make_folder(self, path: Path) -> None:
        self._do("mkdir", path, lambda: self.disk.add(path, Folder()))

    def make_folders(self, path: Path) -> None:
        for folder in (*reversed(path.parents), path):
            if not self.exists(folder):
                self.make_folder(folder)

    def write(self, path: Path, data: bytes) -> None:
        file = File()  # open from here on, whatever becomes of its name
        self._do("create", path, lambda: self.disk.add(path, file))
        half = len(data) // 2
        for piece in (data[:half], data[half:]):
            self._do("write", path, lambda piece=piece: file.append(piece))  # type: ignore[misc]
        self._sync(path, file)

    def link(self, source: Path, target: Path) -> None:
        self._do("link", target, lambda: self.disk.add(target, self.disk.file(source)))

    def link_count(self, path: Path) -> int:
        return self._do("stat", path, lambda: self.disk.file(path).links)

    def rename(self, source: Path, target: Path) -> None:
        self.disk.notice(source)

        def rename() -> None:
            self.disk.rename(source, target)
            if source.parent.name == TMP:
                shutil.rmtree(source, ignore_errors=True)

        self._do("rename", target, rename)

    def unlink(self, path: Path) -> None:
        self._do("unlink", path, lambda: self.disk.unlink(path))

    def remove_folder(self, path: Path) -> None:
        self._do("rmdir", path, lambda: self.disk.remove_folder(path))

    def remove_tree(self, path: Path) -> None:
        try:
            if self.is_folder(path) and path.parent.name == TMP:
                shutil.rmtree(path, ignore_errors=True)  # what a training function wrote there, as in `notice`
            for name in self.names(path):
                inner = path / name
                if self.is_folder(inner):
                    self.remove_tree(inner)
                else:
                    self.unlink(inner)
            self.remove_folder(path)
        except OSError:
            return

    def sync_folder(self, path: Path) -> None:
        self.disk.notice(path)
        self._do("sync", path, lambda: self.disk.sync_folder(path))

    def sync_file(self, path: Path) -> None:
        self.disk.notice(path)
        self._sync(path, self.disk.file(path))

    def _sync(self, path: Path, file: File) -> None:
        try:
            self._do("fsync", path, file.sync)
        except OSError:
            file.lost = True
            raise

    def names(self, path: Path) -> list[str]:
        return self._do("list", path, lambda: list(self.disk.folder(path).names))

    def read(self, path: Path) -> bytes:
        return self._do("read", path, lambda: self.disk.file(path).content)

    def open(self, path: Path) -> BinaryIO:
        return io.BytesIO(self._do("open", path, lambda: self.disk.file(path).content))

    def size_bytes(self, path: Path) -> int:
        return self._do("stat", path, lambda: len(self.disk.file(path).content))

    def exists(self, path: Path) -> bool:
        return self._do("stat", path, lambda: self.disk.has(path))

    def is_folder(self, path: Path) -> bool:
        return self._do("stat", path, lambda: self.disk.has(path) and isinstance(self.disk.find(path), Folder))

    def is_file(self, path: Path) -> bool:
        return self._do("stat", path, lambda: self.disk.has(path) and isinstance(self.disk.find(path), File))

    def is_link(self, path: Path) -> bool:
        return False

    def resolved(self, path: Path) -> Path:
        return path

    def is_writable(self, path: Path) -> bool:
        return self._do("stat", path, lambda: self.disk.has(path))


class _Overlay(dict[Folder, dict[str, tuple[int, "File | Folder | None"]]]):
    """What the disk has of each folder, in copies that can be changed."""

    def __missing__(self, folder: Folder) -> dict[str, tuple[int, File | Folder | None]]:
        self[folder] = dict(folder.durable)
        return self[folder]


def _list(folder: Folder, path: str, without: str) -> Iterator[tuple[str, bytes | None]]:
    for name, node in sorted(folder.names.items()):
        inner = f"{path}/{name}"
        if isinstance(node, Folder):
            yield inner, None
            if name != without:
                yield from _list(node, inner, without)
        else:
            yield inner, node.content


def _error(number: int, path: Path) -> OSError:
    return OSError(number, os.strerror(number), str(path))

"""What of a working directory is sent to a cluster: its files, but for those that .gitignore and .rayignore name,
environments, caches, and sweeps. As for git, a tracked file is not ignored by .gitignore.
"""

from __future__ import annotations

import ntpath
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from caviar.errors import UsageError
from caviar.jobs.ignore_files import GITIGNORE, RAYIGNORE, IgnoreFiles, tracked

NEVER = frozenset(
    {
        *(".git", ".hg", ".svn", ".venv", ".tox", ".nox", "node_modules"),
        *("__pycache__", ".ipynb_checkpoints", ".mypy_cache", ".pytest_cache", ".ruff_cache", ".hypothesis"),
    }
)
"""Folders that no training needs."""

RUNS = "runs"
"""Where `caviar run` puts sweeps."""

TOLD = 3
MOST = 0.9
"""Of a folder that weighs much, the part is named that holds so much of it."""

LEAST = 0.01
"""What weighs less, in parts of the heaviest, is not worth naming."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkingDir:
    """A folder of this machine, and what of it is sent."""

    root: Path
    sizes_bytes: dict[str, int]
    """Of each file that is sent, by its name below the root."""
    left_out: tuple[str, ...]
    """What is not sent for a reason that nobody wrote into an ignore file, a line for each."""

    @property
    def size_bytes(self) -> int:
        """Of all files together."""
        return sum(self.sizes_bytes.values())

    def name_of(self, file: Path) -> str:
        """What a file is called below the root; `UsageError` where it is not sent."""
        if not (outer := file.parent.resolve()).is_relative_to(root := self.root.resolve()):
            raise UsageError(
                f"{file}: lies outside of the working directory {self.root}, which is what is sent: name a folder "
                "that holds both with --working-dir"
            )
        name = (outer / file.name).relative_to(root).as_posix()
        if name not in self.sizes_bytes:
            raise UsageError(
                f"{file}: is not sent with the working directory {self.root}: {GITIGNORE}, {RAYIGNORE} or "
                f"git's own settings name it, or it lies in an environment, a cache, a sweep or {RUNS}/"
            )
        return name

    def largest(self) -> list[tuple[str, int]]:
        """What weighs most, with its size: a file, or a folder, or the part of one that is nearly all of it."""
        found = [self._narrowed(name, names) for name, names in _grouped("", list(self.sizes_bytes)).items()]
        found.sort(key=lambda one: -one[1])
        return [one for one in found if one[1] >= found[0][1] * LEAST][:TOLD]

    def _narrowed(self, name: str, names: list[str]) -> tuple[str, int]:
        size_bytes = sum(map(self.sizes_bytes.__getitem__, names))
        if names == [name]:
            return name, size_bytes
        for inner, below in _grouped(f"{name}/", names).items():
            if sum(map(self.sizes_bytes.__getitem__, below)) >= MOST * size_bytes:
                return self._narrowed(inner, below)
        return f"{name}/", size_bytes


def _grouped(prefix: str, names: list[str]) -> dict[str, list[str]]:
    """Names by what comes after the prefix, up to the next slash."""
    groups: dict[str, list[str]] = {}
    for name in names:
        groups.setdefault(prefix + name[len(prefix) :].partition("/")[0], []).append(name)
    return groups


def default_root(file: Path) -> Path:
    """The current folder where ``file`` lies in it, else the folder of ``file``. A home folder and the root of the
    file system are never meant: `UsageError`."""
    here, file = Path.cwd(), file.resolve()
    root = here if file.is_relative_to(here) else file.parent
    if root in (Path.home(), Path(root.anchor)):
        raise UsageError(
            f"{root}: would be sent as a whole, since {file.name} lies there: name the folder of your project "
            "with --working-dir"
        )
    return root


def survey(root: Path) -> WorkingDir:
    """See what of a folder is sent. `UsageError` where it is none, or something in it cannot be read."""
    if not root.is_dir():
        raise UsageError(f"--working-dir {root}: {'is a file' if root.exists() else 'no such folder'}")
    walk = _Walk(root)
    found = dict(walk.files(root, "", rules=IgnoreFiles.above(root), way=(root.resolve(),)))
    return WorkingDir(root=root, sizes_bytes=found, left_out=tuple(walk.left_out))


class _Walk:
    """Goes through a folder once, in the order of names."""

    def __init__(self, root: Path) -> None:
        self._tracked = tracked(root)
        self._hold_tracked = {above.as_posix() for name in self._tracked for above in Path(name).parents}
        self.left_out: list[str] = []

    def files(
        self, folder: Path, prefix: str, *, rules: IgnoreFiles, way: tuple[Path, ...], ignored: bool = False
    ) -> Iterator[tuple[str, int]]:
        """The files in a folder that are sent, with their sizes. ``way``: the folders that lead here as they
        really lie, this one last; ``ignored``: .gitignore names the folder, so only what is tracked is sent."""
        rules = rules.at(folder)
        try:
            entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
        except OSError as error:
            raise _unreadable(folder) from error
        for entry in entries:
            name, path = f"{prefix}{entry.name}", Path(entry.path)
            if not _travels(name):
                self.left_out.append(f"{name!r:.200}: has a name that Ray does not unpack")
                continue
            try:
                found = entry.stat()
            except OSError:
                self.left_out.append(f"{name}: is a link that leads nowhere")
                continue
            if stat.S_ISDIR(found.st_mode):
                within = ignored or rules.ignore(f"{entry.name}/", by=GITIGNORE)
                if _never(path, name) or rules.ignore(f"{entry.name}/", by=RAYIGNORE):
                    continue
                if within and name not in self._hold_tracked:
                    continue
                real = path.resolve() if entry.is_symlink() else way[-1] / entry.name
                if not real.is_relative_to(way[0]):
                    self.left_out.append(f"{name}: is a link to {real}, outside of the working directory")
                elif real not in way:  # a link to a folder above it has no end
                    inner = rules.below(entry.name)
                    yield from self.files(path, f"{name}/", rules=inner, way=(*way, real), ignored=within)
            elif stat.S_ISREG(found.st_mode) and self._sent(name, entry.name, rules, ignored=ignored):
                if not os.access(path, os.R_OK):
                    raise _unreadable(path)
                yield name, found.st_size

    def _sent(self, name: str, own: str, rules: IgnoreFiles, *, ignored: bool) -> bool:
        if own.endswith(".pyc") or rules.ignore(own, by=RAYIGNORE):
            return False
        return name in self._tracked or not (ignored or rules.ignore(own, by=GITIGNORE))


def _never(path: Path, name: str) -> bool:
    """Whether a folder is an environment, a cache, or a sweep."""
    if path.name in NEVER or name == RUNS or (path / "pyvenv.cfg").exists() or (path / "conda-meta").is_dir():
        return True
    return (path / "sweep.json").exists() and ((path / "_hot").is_dir() or (path / "metrics").is_dir())


def _travels(name: str) -> bool:
    """Whether Ray unpacks a file of this name: not where it is no text, or would lead elsewhere on Windows."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return "\\" not in name and not ntpath.splitdrive(name)[0]


def _unreadable(path: Path) -> UsageError:
    return UsageError(f"{path}: cannot be read, so the working directory cannot be sent: name it in {GITIGNORE}")

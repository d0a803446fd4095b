"""The sweep folder's names: the one place that knows what is called what."""

from __future__ import annotations

import os
import re
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from caviar.errors import FolderError
from caviar.store.declaration import declared_mistake
from caviar.store.files import read_plain
from caviar.store.strict_json import parse_object

FORMAT = 1
"""The version of the folder's format that this caviar writes, and the only one that it reads."""

Table = Literal["metrics", "events"]
TABLES: tuple[Table, ...] = ("metrics", "events")

LAST_COMMIT = 10**12 - 1
"""Commits have names of 12 digits."""

_HOT = re.compile(r"(\d{12})\.arrow")
_URL = re.compile(r"[a-z][a-z0-9+.-]+:/")  # one slash: a Path makes one of two
_PART = re.compile(r"part-(\d{12})\.parquet")


@dataclass(frozen=True, slots=True)
class SweepFolder:
    """A sweep folder, existing or to be. Making one touches no disk; `find` and `check_new` do."""

    path: Path

    def __post_init__(self) -> None:
        if _URL.match(str(self.path)):
            raise FolderError(f"{self.path}: is a URL; a sweep folder lies on a file system, local or shared")
        if "\0" in str(self.path):
            raise FolderError(f"{str(self.path)!r:.80}: is no name of a folder")
        object.__setattr__(self, "path", Path(self.path))

    def __str__(self) -> str:
        return str(self.path)

    # --- names --------------------------------------------------------------------------------------------

    @property
    def sweep_json(self) -> Path:
        """The declaration. Written last at creation: it makes the folder a sweep."""
        return self.path / "sweep.json"

    @property
    def lease_json(self) -> Path:
        """Who drives the sweep."""
        return self.path / "lease.json"

    @property
    def hot_folder(self) -> Path:
        """Where commits appear."""
        return self.path / "_hot"

    @property
    def inbox_folder(self) -> Path:
        """Where commands for the running sweep arrive."""
        return self.path / "inbox"

    @property
    def checkpoints_folder(self) -> Path:
        """The checkpoints of all trials."""
        return self.path / "checkpoints"

    @property
    def logs_folder(self) -> Path:
        """What trials printed."""
        return self.path / "logs"

    @property
    def tmp_folder(self) -> Path:
        """Files on their way, on the same file system as where they go."""
        return self.path / ".tmp"

    def table_folder(self, table: Table) -> Path:
        """The folder of a table's parts."""
        return self.path / table

    def hot(self, commit: int) -> Path:
        """The file of one commit."""
        return self.hot_folder / f"{commit:012d}.arrow"

    def part(self, table: Table, first: int) -> Path:
        """The part of a table whose first commit is this one."""
        return self.table_folder(table) / f"part-{first:012d}.parquet"

    def checkpoint(self, trial: int, attempt: int, step: int) -> Path:
        """The folder of one checkpoint."""
        return self.checkpoints_folder / str(trial) / str(attempt) / str(step)

    def log(self, trial: int) -> Path:
        """The file for what one trial prints."""
        return self.logs_folder / f"{trial}.log"

    def command(self, command_id: str) -> Path:
        """The file of one command in the inbox."""
        return self.inbox_folder / f"{command_id}.json"

    def temporary(self, purpose: str) -> Path:
        """A fresh name in `.tmp`; what remains of a purpose after a crash can be told by its name."""
        return self.tmp_folder / f"{purpose}-{secrets.token_hex(8)}"

    @staticmethod
    def hot_commit(name: str) -> int | None:
        """The commit whose file has this name, or None: not one of ours."""
        match = _HOT.fullmatch(name)
        return int(match[1]) if match else None

    @staticmethod
    def part_first(name: str) -> int | None:
        """The first commit of the part that has this name, or None: not one of ours."""
        match = _PART.fullmatch(name)
        return int(match[1]) if match else None

    # --- checks -------------------------------------------------------------------------------------------

    @classmethod
    def find(cls, path: str | os.PathLike[str]) -> SweepFolder:
        """An existing sweep folder, or a `FolderError` that says why ``path`` is none."""
        folder = cls(Path(path))
        folder.declaration()
        return folder

    def declaration(self) -> dict[str, Any]:
        """What sweep.json holds; `FolderError` where there is none, or none that this caviar can read."""
        try:
            declaration = parse_object(read_plain(self.sweep_json))
        except FileNotFoundError:
            if not self.path.exists():
                raise FolderError(f"{self.path}: no such folder") from None
            raise FolderError(f"{self.path}: not a sweep folder (it has no sweep.json)") from None
        except NotADirectoryError:
            raise FolderError(f"{self.path}: is a file, not a sweep folder") from None
        except OSError as error:
            raise FolderError(f"{self.sweep_json}: cannot be read: {error.strerror}") from error
        except FolderError:
            raise
        except ValueError as error:
            raise FolderError(f"{self.sweep_json}: damaged: {error}") from None
        version = declaration.get("format")
        if type(version) is not int or version != FORMAT:
            raise FolderError(
                f"{self.sweep_json}: format version {version!r} is unknown; this caviar reads {FORMAT}"
            )
        mistake = declared_mistake(declaration)
        if mistake is not None:
            raise FolderError(f"{self.sweep_json}: damaged: {mistake}")
        self._check_inner()
        return declaration

    def _check_inner(self) -> None:
        """Check that what should be a folder is one, and lies here: what is written or removed behind a link would
        be somebody else's."""
        for name in ("_hot", "inbox", "checkpoints", "logs", ".tmp", *TABLES):
            path = self.path / name
            if path.is_symlink():
                raise FolderError(f"{path}: is a link; all that is a sweep's own lies in its folder")
            if path.exists() and not path.is_dir():
                raise FolderError(f"{path}: is not a folder")
        if self.lease_json.is_dir():
            raise FolderError(f"{self.lease_json}: is a folder, not a lease")

    def gone(self) -> FolderError:
        """The error of one who was at work in this folder when it vanished."""
        return FolderError(f"{self.path}: is gone: something removed it, or files in it, while its sweep ran")

    def check_new(self) -> None:
        """Check that a sweep can be created here; `FolderError` says why not. Writes nothing."""
        try:
            taken = next(self.path.iterdir(), None)
        except FileNotFoundError:
            self._check_parent()
            return
        except NotADirectoryError:
            raise FolderError(f"{self.path}: is a file; a new sweep needs a new or empty folder") from None
        except OSError as error:
            raise FolderError(f"{self.path}: cannot be read: {error.strerror}") from error
        if self.sweep_json.exists():
            raise FolderError(f"{self.path}: already holds a sweep; choose another folder")
        if taken is not None:
            raise FolderError(
                f"{self.path}: is not empty (it holds {taken.name}); a new sweep needs an empty folder"
            )
        if not os.access(self.path, os.W_OK | os.X_OK):
            raise FolderError(f"{self.path}: cannot be written")

    def _check_parent(self) -> None:
        parent = self.path.absolute().parent
        while not parent.exists():
            parent = parent.parent
        if not parent.is_dir():
            raise FolderError(f"{self.path}: cannot be made: {parent} is a file")
        if not os.access(parent, os.W_OK | os.X_OK):
            raise FolderError(f"{self.path}: cannot be made: {parent} is not writable")

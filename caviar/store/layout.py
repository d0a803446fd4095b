"""The sweep folder's names: the one place that knows what is called what."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from caviar.errors import FolderError
from caviar.store.declaration import declared_mistake
from caviar.store.files import Files
from caviar.store.local import LocalStorage
from caviar.store.place import Place, Url, place
from caviar.store.storage import NO_BUCKET, Storage
from caviar.store.strict_json import parse_object
from caviar.trial import ORIGIN

FORMAT = 1
"""The version of the folder's format that this caviar writes, and the only one that it reads."""

LOST = "caviar.lost"
"""The metadata of a file that a repair made: the ranges of commits whose rows it lacks, as JSON."""

Table = Literal["metrics", "events"]
TABLES: tuple[Table, ...] = ("metrics", "events")

LAST_COMMIT = 10**12 - 1
"""Commits have names of 12 digits."""

_HOT = re.compile(r"(\d{12})\.arrow")
_PART = re.compile(r"part-(\d{12})\.parquet")


@dataclass(frozen=True, slots=True)
class SweepFolder:
    """A sweep folder, existing or to be: its names as keys, and the storage that knows what lies under them.

    Making one touches no disk, and asks no server; `find` does. ``files``: the file system, for those who stand
    between. ``settings``: how to reach an object store; None: as this process's environment says.
    """

    path: Place
    files: Files = field(default_factory=Files, compare=False, repr=False)
    settings: Mapping[str, str] | None = field(default=None, compare=False, repr=False)
    storage: Storage = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        path = place(self.path)
        if "\0" in str(path):
            raise FolderError(f"{str(path)!r:.80}: is no name of a folder")
        object.__setattr__(self, "path", path)
        storage = _objects(path, self.settings) if isinstance(path, Url) else LocalStorage(path, self.files)
        object.__setattr__(self, "storage", storage)

    def __str__(self) -> str:
        return str(self.path)

    # --- names --------------------------------------------------------------------------------------------

    @property
    def sweep_json(self) -> str:
        """The declaration. Written last at creation: it makes the folder a sweep."""
        return "sweep.json"

    @property
    def sweep_copy(self) -> str:
        """A copy of the declaration, in case that should be damaged; folders of the first version have none."""
        return ".sweep.copy"

    @property
    def lease_json(self) -> str:
        """Who drives the sweep."""
        return "lease.json"

    @property
    def hot_folder(self) -> str:
        """Where commits appear."""
        return "_hot"

    @property
    def inbox_folder(self) -> str:
        """Where commands for the running sweep arrive."""
        return "inbox"

    @property
    def checkpoints_folder(self) -> str:
        """The checkpoints of all trials."""
        return "checkpoints"

    @property
    def logs_folder(self) -> str:
        """What trials printed."""
        return "logs"

    @property
    def damaged_folder(self) -> str:
        """Where a repair sets files aside, under the names that they had in the sweep folder."""
        return ".damaged"

    def table_folder(self, table: Table) -> str:
        """The folder of a table's parts."""
        return table

    def hot(self, commit: int) -> str:
        """The file of one commit."""
        return f"{self.hot_folder}/{commit:012d}.arrow"

    def part(self, table: Table, first: int) -> str:
        """The part of a table whose first commit is this one."""
        return f"{self.table_folder(table)}/part-{first:012d}.parquet"

    def checkpoint(self, trial: int, attempt: int, step: int) -> str:
        """The folder of one checkpoint. The origin of a sweep belongs to no trial."""
        of = "origin" if attempt == ORIGIN else f"{trial}/{attempt}"
        return f"{self.checkpoints_folder}/{of}/{step}"

    def log(self, trial: int) -> str:
        """The file for what one trial prints."""
        return f"{self.logs_folder}/{trial}.log"

    def command(self, command_id: str) -> str:
        """The file of one command in the inbox."""
        return f"{self.inbox_folder}/{command_id}.json"

    @property
    def folders(self) -> tuple[str, ...]:
        """The folders that a new sweep has."""
        tables = map(self.table_folder, TABLES)
        return (self.hot_folder, *tables, self.inbox_folder, self.checkpoints_folder)

    def where(self, key: str) -> str:
        """The whole location of a key, for messages."""
        return self.storage.where(key)

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
    def find(cls, path: str | os.PathLike[str], *, files: Files | None = None) -> SweepFolder:
        """An existing sweep folder, or a `FolderError` that says why ``path`` is none."""
        folder = cls(place(path)) if files is None else cls(place(path), files)
        folder.declaration()
        return folder

    def exists(self) -> bool:
        """Whether a sweep is here."""
        return self.storage.exists(self.sweep_json)

    def declaration(self) -> dict[str, Any]:
        """What sweep.json holds; `FolderError` where there is none, or none that this caviar can read."""
        try:
            declaration = parse_object(self.storage.read(self.sweep_json))
        except FileNotFoundError as error:
            if error.strerror == NO_BUCKET:
                raise FolderError(f"{self.path}: {NO_BUCKET}") from None
            if not self.storage.exists(""):
                raise FolderError(f"{self.path}: no such folder") from None
            raise FolderError(f"{self.path}: not a sweep folder (it has no sweep.json)") from None
        except NotADirectoryError:
            raise FolderError(f"{self.path}: is a file, not a sweep folder") from None
        except OSError as error:
            raise FolderError(f"{self.where(self.sweep_json)}: cannot be read: {error.strerror}") from error
        except FolderError:
            raise
        except ValueError as error:
            raise FolderError(f"{self.where(self.sweep_json)}: damaged: {error}") from None
        version = declaration.get("format")
        if type(version) is not int or version != FORMAT:
            raise FolderError(
                f"{self.where(self.sweep_json)}: format version {version!r} is unknown; this caviar reads {FORMAT}"
            )
        mistake = declared_mistake(declaration)
        if mistake is not None:
            raise FolderError(f"{self.where(self.sweep_json)}: damaged: {mistake}")
        self.storage.check_plain((*self.folders, self.logs_folder), (self.lease_json,))
        return declaration

    def gone(self) -> FolderError:
        """The error of one who was at work in this folder when it vanished."""
        return FolderError(f"{self.path}: is gone: something removed it, or files in it, while its sweep ran")


def _objects(url: Url, settings: Mapping[str, str] | None) -> Storage:
    try:
        from caviar.store.objects import ObjectStorage
    except ModuleNotFoundError as error:
        if error.name != "obstore":
            raise
        raise FolderError(f'{url}: object stores need obstore: pip install "caviar-sweep[s3]"') from None
    return ObjectStorage(url, settings)

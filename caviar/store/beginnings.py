"""Whether a new sweep can be made of a place: it is empty, or what is there is the beginning of a sweep that was
cut off before it had its sweep.json, and nobody is at it any more.

Such beginnings are not removed but used: what they hold is the same for every sweep. So two drivers that go on
with the same ones harm nobody: sweep.json is created by one of them alone.
"""

from __future__ import annotations

import re
from contextlib import suppress
from pathlib import Path

from caviar.errors import FolderError
from caviar.store.layout import TABLES, SweepFolder
from caviar.store.lease import refuse_if_held
from caviar.store.storage import NO_BUCKET

TMP = ".tmp"
_ON_ITS_WAY = re.compile(r"founding|probe-[0-9a-f]{16}(-2)?|[_a-z]+(\.json)?-[0-9a-f]{16}")


def check_new(folder: SweepFolder, now_us: int) -> bool:
    """Check that a new sweep can be made here, leaving nothing; whether one was begun here, and cut off.

    Raises `FolderError` that says why not, `LeaseError` where another driver is just making one.
    """
    outer = _sweep_around(folder)
    if outer is not None:
        raise FolderError(f"{folder}: lies within the sweep folder {outer}; choose a folder beside it")
    try:
        taken = folder.storage.names("")
    except FileNotFoundError as error:
        if error.strerror == NO_BUCKET:
            raise FolderError(f"{folder}: {NO_BUCKET}") from None
        taken = []
    except NotADirectoryError:
        raise FolderError(f"{folder}: is a file; a new sweep needs a new or empty folder") from None
    except OSError as error:
        raise FolderError(f"{folder}: cannot be read: {error.strerror}") from error
    if folder.sweep_json in taken:
        raise FolderError(f"{folder}: already holds a sweep; choose another folder")
    begun = False
    if taken and folder.storage.exists(""):  # not only what some servers remember of folders that were there
        foreign = _foreign(folder, taken)
        if foreign is not None:
            raise FolderError(f"{folder}: is not empty (it holds {foreign}); a new sweep needs an empty folder")
        refuse_if_held(folder, now_us)
        begun = True
    folder.storage.check_writable()
    return begun


def _sweep_around(folder: SweepFolder) -> Path | None:
    """The sweep folder that this one lies within, in a file system."""
    if not isinstance(folder.path, Path):
        return None
    for parent in folder.path.absolute().parents:
        with suppress(OSError):  # not everybody may look into every folder
            if (parent / folder.sweep_json).is_file():
                return parent
    return None


def _foreign(folder: SweepFolder, taken: list[str]) -> str | None:
    """Something that no sweep has at its beginning; None: there is nothing."""
    if TMP not in taken:  # it comes first
        return taken[0]
    expected: dict[str, set[str]] = {name: set() for name in folder.folders}
    for key in (folder.hot(0), *(folder.part(table, 0) for table in TABLES)):
        place, _, name = key.rpartition("/")
        expected[place].add(name)
    for name in taken:
        if name == TMP:
            found = [each for each in _names(folder, TMP) if not _ON_ITS_WAY.fullmatch(each)]
        elif name in expected:
            found = [each for each in _names(folder, name) if each not in expected[name]]
        elif name == folder.lease_json:
            continue
        else:
            return name
        if found:
            return f"{name}/{found[0]}"
    return None


def _names(folder: SweepFolder, name: str) -> list[str]:
    try:
        return folder.storage.names(name)
    except (FileNotFoundError, NotADirectoryError):
        return [""]  # it is no folder, or goes away just now
    except OSError as error:
        raise FolderError(f"{folder.where(name)}: cannot be read: {error.strerror}") from error

"""The folder of an export: there whole or not at all, and never in the place of what no export has made."""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path

from caviar.errors import UsageError
from caviar.store.place import Place, Url, place

RECORD = "export.json"
"""Says what was exported, and so that the folder is an export."""

_OURS = re.compile(r"(curves|trials|events)\.csv|export\.json|(trial-\d+/)?events\.out\.tfevents\.\d+\.caviar")


@contextlib.contextmanager
def made(path: str | os.PathLike[str], *, outside: Place, replace: bool) -> Iterator[tuple[Path, Path]]:
    """A new folder beside ``path``, to be filled, which gets this name when the block has ended well, and is
    removed otherwise; and where it will be. What is there already is refused, or with ``replace`` removed then."""
    goal = _free(path, outside=outside, replace=replace)
    goal.parent.mkdir(parents=True, exist_ok=True)
    folder, old = (goal.with_name(f".{goal.name}.{secrets.token_hex(4)}") for _ in range(2))
    folder.mkdir()
    try:
        yield folder, goal
        if goal.exists():
            goal.rename(old)
        folder.rename(goal)
    finally:
        for left in (folder, old):
            shutil.rmtree(left, ignore_errors=True)


def _free(path: str | os.PathLike[str], *, outside: Place, replace: bool) -> Path:
    """Where the folder is to be, once it is sure that nothing is lost."""
    where = place(path)
    if isinstance(where, Url):
        raise UsageError(f"{where}: an export goes into a folder of this machine, not to a URL")
    goal = where.resolve()
    if not isinstance(outside, Url):
        sweep = outside.resolve()
        if goal.is_relative_to(sweep) or sweep.is_relative_to(goal):
            raise UsageError(f"{where}: lies inside the sweep folder {outside}, or around it; name another folder")
    if not goal.exists():
        return goal
    if not goal.is_dir():
        raise UsageError(f"{where}: is a file; an export is a folder")
    found = sorted(_files(goal))
    if not found:
        return goal
    if RECORD not in found:
        raise UsageError(f"{where}: is there already, and is no export of caviar's; name another folder")
    if not replace:
        raise UsageError(f"{where}: is there already; replace it with --replace (in Python: replace=True)")
    foreign = [name for name in found if not _OURS.fullmatch(name)]
    if foreign:
        raise UsageError(f"{where}: is not replaced: {foreign[0]} in it is no export's")
    return goal


def _files(folder: Path) -> Iterator[str]:
    """What lies in a folder, at any depth; of folders only links and empty ones."""
    for path, folders, files in os.walk(folder):
        here = Path(path)
        links = [name for name in folders if (here / name).is_symlink()]
        empty = [] if folders or files or here == folder else [here]
        for each in (*(here / name for name in (*files, *links)), *empty):
            yield each.relative_to(folder).as_posix()

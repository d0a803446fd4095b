"""The working directory as a cluster takes it: as a zip.

A zip is the same to the last byte where the files in it are, so a folder that has not changed is not sent again:
Ray knows it by its content.
"""

from __future__ import annotations

import os
import zipfile
from collections.abc import Callable
from pathlib import Path

from caviar.errors import UsageError
from caviar.jobs.working_dir import WorkingDir

EPOCH = (1980, 1, 1, 0, 0, 0)
"""The time of every file in a zip; a zip knows none before."""

PIECE_BYTES = 2**20


def most_bytes() -> int:
    """The largest package that Ray's job API takes: its web server, that is; what lies behind it takes more."""
    from ray._private import ray_constants

    most: int = getattr(ray_constants, "DASHBOARD_CLIENT_MAX_SIZE", 100 * 2**20)
    return most


def told(working_dir: WorkingDir) -> str:
    """How much is sent, in a line."""
    count = len(working_dir.sizes_bytes)
    return f"{working_dir.root}: {count:,} file{'' if count == 1 else 's'}, {size(working_dir.size_bytes)}"


def pack(working_dir: WorkingDir, into: Path, *, at_most: int) -> Path:
    """Make a zip of a working directory in the folder ``into``.

    `UsageError` where it would have more than ``at_most`` bytes, which is found out on the way, or where a file
    cannot be read.
    """
    path = into / "working_dir.zip"
    with path.open("wb") as file, zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as package:
        for name in sorted(working_dir.sizes_bytes):
            try:
                _add(package, name, working_dir.root / name, room=lambda: file.tell() <= at_most)
            except _FullError:
                raise _too_large(working_dir, at_most) from None
            except OSError as error:
                raise UsageError(f"{working_dir.root / name}: cannot be read: {error.strerror}") from error
    if path.stat().st_size > at_most:
        raise _too_large(working_dir, at_most)
    return path


class _FullError(Exception):
    """There is no room for more."""


def _add(package: zipfile.ZipFile, name: str, path: Path, *, room: Callable[[], bool]) -> None:
    entry = zipfile.ZipInfo(name, EPOCH)
    entry.compress_type = zipfile.ZIP_DEFLATED
    executable = os.access(path, os.X_OK)
    entry.external_attr = (0o100755 if executable else 0o100644) << 16
    with path.open("rb") as source, package.open(entry, "w", force_zip64=True) as target:
        while piece := source.read(PIECE_BYTES):
            target.write(piece)
            if not room():
                raise _FullError


def _too_large(working_dir: WorkingDir, at_most: int) -> UsageError:
    heavy = ", ".join(f"{name} ({size(size_bytes)})" for name, size_bytes in working_dir.largest())
    return UsageError(
        f"the working directory {told(working_dir)}: packed, that is more than the {size(at_most)} that Ray "
        f"takes; the largest: {heavy}; name what no trial needs in .gitignore or .rayignore, or a smaller folder "
        "with --working-dir"
    )


def size(size_bytes: int) -> str:
    """A size as people read it: ``1.2 MB``."""
    for unit, factor in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if size_bytes >= factor:
            return f"{size_bytes / factor:.1f} {unit}"
    return f"{size_bytes} bytes"

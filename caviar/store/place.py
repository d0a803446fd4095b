"""Where a sweep lies: a folder of a file system, or the URL of one in an object store.

A `pathlib.Path` made of a URL loses a slash, so whoever takes a sweep folder from a person calls `place`.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TypeAlias

_URL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):/(.*)", re.DOTALL)  # one slash: a Path makes one of two


class Url(str):
    """The URL of a sweep folder, without a slash at its end. As text it goes to pandas and others as it is."""

    __slots__ = ()

    @property
    def name(self) -> str:
        """What comes last in it."""
        return self.rpartition("/")[2]

    def __truediv__(self, key: str) -> Url:
        return Url(f"{self}/{key}")


Place: TypeAlias = Path | Url


def place(path: str | os.PathLike[str]) -> Place:
    """The place that a person means."""
    match = _URL.fullmatch(os.fspath(path))
    if match is None:
        return Path(path)
    return Url(f"{match[1].lower()}://{match[2].strip('/')}")


def absolute(path: Place) -> Place:
    """The same place, wherever the current folder is."""
    return path if isinstance(path, Url) else path.absolute()

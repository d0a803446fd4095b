"""What one driver writes under its nonce, and how it learns that another has taken its place."""

from __future__ import annotations

import secrets
from pathlib import Path

from caviar.errors import FencedError
from caviar.store import segment
from caviar.store.files import Files
from caviar.store.layout import SweepFolder
from caviar.store.segment import Segment


class Fence:
    """Every create of one driver. A name that turns out to be another driver's fences this one off, for good."""

    def __init__(self, folder: SweepFolder, files: Files) -> None:
        self.folder = folder
        self.files = files
        self.nonce = secrets.token_hex(16)
        self.closed = False
        """Whether another driver took over."""

    def create(self, path: Path, data: bytes) -> None:
        """`Files.create`, with a temporary of this sweep."""
        self.files.create(path, data, temporary=self.folder.temporary("create"))

    def check(self) -> None:
        """Raise `FencedError` if another driver took over."""
        if self.closed:
            raise FencedError(f"{self.folder}: another driver took it over; this one has stopped writing")

    def compare(self, nonce: str) -> None:
        """A file that this driver was about to make carries this nonce: `FencedError` unless it is ours."""
        self.closed = nonce != self.nonce
        self.check()

    def read(self, commit: int) -> Segment:
        """A commit of anybody's."""
        path = self.folder.hot(commit)
        return segment.decode(path, self.files.read(path))

    def read_own(self, commit: int) -> Segment | None:
        """A commit of ours, or None where there is none yet; `FencedError` where it is another driver's."""
        try:
            content = self.read(commit)
        except FileNotFoundError:
            return None
        self.compare(content.nonce)
        return content

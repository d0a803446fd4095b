"""What one driver writes under its nonce, and how it learns that another has taken its place."""

from __future__ import annotations

import secrets
from collections.abc import Sequence

from caviar.errors import FencedError
from caviar.store import segment
from caviar.store.layout import SweepFolder
from caviar.store.segment import Segment


class Fence:
    """Every create of one driver. A name that turns out to be another driver's fences this one off, for good."""

    def __init__(self, folder: SweepFolder) -> None:
        self.folder = folder
        self.storage = folder.storage
        self.nonce = secrets.token_hex(16)
        self.closed = False
        """Whether another driver took over."""

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
        return segment.read_commit(self.folder, commit)

    def read_all(self, commits: Sequence[int]) -> list[Segment]:
        """Several commits of anybody's."""
        keys = [self.folder.hot(commit) for commit in commits]
        contents = zip(keys, self.storage.read_many(keys), strict=True)
        return [segment.decode(self.folder.where(key), data) for key, data in contents]

    def read_own(self, commit: int) -> Segment | None:
        """A commit of ours, or None where there is none yet; `FencedError` where it is another driver's."""
        try:
            content = self.read(commit)
        except FileNotFoundError:
            return None
        self.compare(content.nonce)
        return content

    def check_last(self, commit: int) -> None:
        """Raise `FencedError` where anybody has made a commit after this one."""
        numbers = map(SweepFolder.hot_commit, self.storage.names(self.folder.hot_folder))
        self.closed = any(number is not None and number > commit for number in numbers)
        self.check()

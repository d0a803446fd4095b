"""Rolls commits into parts: when, and in which order so that a crash in between harms nobody."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial

import pyarrow as pa

from caviar.store.fence import Fence
from caviar.store.layout import TABLES, Table
from caviar.store.part import encode_part, read_footer
from caviar.store.segment import Segment, SegmentKind
from caviar.store.tables import SCHEMAS, join

ROLL_ROWS = 1_000_000
"""So many rows of metrics in `_hot` are rolled at once."""

ROLL_MIN_S, ROLL_MAX_S, ROLL_SHARE = 30.0, 600.0, 1 / 20
"""A commit waits in `_hot` for this share of the sweep's age, within these limits: so parts stay few."""


class Roller:
    """Moves commits from `_hot` into parts. Each table goes on from what its own parts cover, so that a failure
    or a crash only leaves something to catch up with. Rows are read back from `_hot`, not kept in memory."""

    def __init__(self, fence: Fence, *, created_us: int) -> None:
        self._fence = fence
        self._created_us = created_us
        self._covered: dict[Table, int] = dict.fromkeys(TABLES, -1)
        self._waiting = 0
        self._oldest_us = 0
        """When the first of the waiting commits was made."""
        self._spent: set[int] = set()
        """Commits that parts of both tables cover, and whose files are still to be removed."""
        self.rows = 0
        """Rows of metrics that lie in `_hot` alone."""

    def beginnings(self) -> Iterator[Callable[[], None]]:
        """What makes the first part of each table: empty, it carries the schema and covers the seal of the
        creation."""
        for table in TABLES:
            yield partial(self._create, SCHEMAS[table].empty_table(), table, first=0, last=0)

    def recall(self, covered: dict[Table, int], hot: Sequence[int]) -> None:
        """Go on from parts that cover this much, with these commits in `_hot`."""
        self._covered = covered
        for commit in hot:
            if commit <= min(covered.values()) and self._fence.read(commit).kind is not SegmentKind.SEAL:
                self._spent.add(commit)

    def add(self, content: Segment, now_us: int) -> None:
        """A commit was made: it waits to be rolled."""
        if not self._waiting:
            self._oldest_us = now_us
        self._waiting += 1
        self.rows += content.metrics.num_rows

    def due(self, now_us: int) -> bool:
        """Whether to roll now: enough rows wait, or the first of them has waited long enough."""
        if not self._waiting:
            return False
        wait_s = min(ROLL_MAX_S, max(ROLL_MIN_S, (now_us - self._created_us) / 1e6 * ROLL_SHARE))
        return self.rows >= ROLL_ROWS or now_us - self._oldest_us >= wait_s * 1e6

    def roll(self, last: int, *, adopt: bool = False) -> None:
        """Bring the parts of both tables up to the commit ``last``, then remove from `_hot` what they cover.

        ``adopt``: a part that another driver has just made is as good as ours; otherwise it is a `FencedError`.
        """
        while self._waiting:
            first = min(self._covered.values()) + 1
            contents = self._fence.read_all(range(first, last + 1))
            for table in TABLES:
                self._roll_table(table, contents, adopt=adopt)
            done = min(self._covered.values())
            self._spent.update(
                content.commit
                for content in contents
                if content.commit <= done and content.kind is not SegmentKind.SEAL
            )
            if done >= last:
                self._waiting = self.rows = 0
        self._fence.storage.unlink_many([self._fence.folder.hot(commit) for commit in sorted(self._spent)])
        self._spent.clear()

    def _roll_table(self, table: Table, contents: Sequence[Segment], *, adopt: bool) -> None:
        first, last = self._covered[table] + 1, contents[-1].commit
        if first > last:
            return
        rows = join([content.rows(table) for content in contents if content.commit >= first], table)
        try:
            self._create(rows, table, first=first, last=last)
        except FileExistsError:
            key = self._fence.folder.part(table, first)
            part = read_footer(self._fence.folder, key)
            if not adopt:
                self._fence.compare(part.nonce)
            # Ours: an earlier create failed after the name was there, so it may not be on the disk yet
            self._fence.storage.sync(key)
            self._covered[table] = part.last

    def _create(self, rows: pa.Table, table: Table, *, first: int, last: int) -> None:
        data = encode_part(rows, first, last=last, nonce=self._fence.nonce)
        self._fence.storage.create(self._fence.folder.part(table, first), data)
        self._covered[table] = last

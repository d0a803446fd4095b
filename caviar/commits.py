"""Rows on their way to the disk: the loop hands them over, and a second thread commits them, one commit at a time.

So a slow disk delays no decision, and one that is full stops nothing but the launching of trials: what could not
be written is tried again until it can.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Protocol

from caviar.errors import FencedError
from caviar.messages import Recorded, Reports
from caviar.store.rows import EventRow, to_row

_log = logging.getLogger(__name__)

COMMIT_S = 0.2
"""Rows wait no longer than this before they are committed together."""

PATIENT_COMMIT_S = 1.0
"""After a failed commit, the time until the next try."""

MANY_COMMITS = 1000
"""So many are kept that nobody asks for."""

SOON_S = 0.1
"""So long at most, and once, the loop waits for a commit where somebody waits for what the next one brings."""

SLOW_COMMIT_S = 2.0
"""A commit that takes longer is told of, in the log."""

LEASE_S = 5.0


class Recorder(Protocol):
    """What is needed of the store's recorder."""

    def commit(self, reports: Sequence[Reports], events: Sequence[EventRow]) -> None: ...
    def tick(self) -> None: ...
    def close(self, *, final: bool) -> None: ...


@dataclass(slots=True)
class _Batch:
    """Rows that are committed together."""

    reports: list[Reports] = field(default_factory=list)
    events: list[Recorded] = field(default_factory=list)
    delivery: int = 0
    """The last delivery whose rows are in it."""

    def __bool__(self) -> bool:
        return bool(self.reports or self.events)

    def __len__(self) -> int:
        return sum(map(len, self.reports)) + len(self.events)


class Commits:
    """What the loop has recorded, until it is durable."""

    def __init__(
        self,
        recorder: Recorder,
        *,
        acknowledge: Callable[[int], None],
        tidy: Callable[[Recorded], None],
    ) -> None:
        """``acknowledge`` is told, on the loop's thread, up to which delivery everything is durable. ``tidy`` is
        called on the writing thread with every event that is, to remove what it makes superfluous."""
        self._recorder = recorder
        self._acknowledge = acknowledge
        self._tidy = tidy
        self._batch = _Batch()
        self._written: _Batch | None = None
        """What the writing thread is at."""
        self._writing: Future[None] | None = None
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="caviar-recorder")
        self._due_at = 0.0
        self._soon = False
        """Whether somebody waits for what is in the batch."""
        self._waited = False
        """Whether the loop has waited for the commit before that."""
        self._took_s: deque[float] = deque(maxlen=MANY_COMMITS)
        """How long the last commits took, as far as nobody has asked for it."""
        self.stuck: str | None = None
        """Why the last commit failed; None when it succeeded."""

    def add_reports(self, reports: Sequence[Reports]) -> None:
        """These are to be stored."""
        self._batch.reports.extend(reports)

    def add_event(self, event: Recorded, *, soon: bool = False) -> None:
        """This is to be stored; ``soon``: somebody waits for it."""
        self._batch.events.append(event)
        self._soon = self._soon or soon

    def delivered(self, delivery: int) -> None:
        """All of this delivery has been added."""
        self._batch.delivery = delivery

    def take(self) -> tuple[int, Sequence[float]]:
        """How many rows are not durable yet, and how long the commits took that were made since this was asked."""
        took_s = [self._took_s.popleft() for _ in range(len(self._took_s))]
        return len(self._batch) + (0 if self._written is None else len(self._written)), took_s

    def turn(self, now_s: float) -> None:
        """See how the last commit went, and begin the next one if it is due. `FencedError`: another driver took
        over."""
        if self._writing is not None:
            if self._soon and not self._waited:  # inline, the next turn may be a long step of training away
                self._waited = True
                wait([self._writing], SOON_S)
            if not self._writing.done():
                return
            self._settle()
        if now_s >= self._due_at or (self._soon and self.stuck is None):
            self._due_at = now_s + (PATIENT_COMMIT_S if self.stuck else COMMIT_S)
            self._soon = self._waited = False
            self._write()

    def flush(self) -> None:
        """Have everything that was added durable; a disk without room raises `OSError`."""
        self._write_all(waits=lambda: False)

    def finish(self, *, final: bool, gives_up: Callable[[], bool]) -> None:
        """Commit everything, roll everything, release the folder. An orderly end (``final``) waits for a disk that
        is full, until it ``gives_up``; otherwise such a disk raises `OSError`."""
        try:
            self._write_all(waits=lambda: final and not gives_up())
            self._close(final=final, gives_up=gives_up)
        finally:
            self._writer.shutdown(wait=False, cancel_futures=True)

    def abandon(self) -> None:
        """Another driver has the folder: nothing more is written."""
        self._writer.shutdown(wait=True, cancel_futures=True)

    @contextmanager
    def lease(self) -> Iterator[None]:
        """Keep the lease, and roll what is old, whatever the loop does: inline it may be in a training function,
        or in its debugger."""
        over = threading.Event()

        def keep() -> None:
            while not over.wait(LEASE_S):
                with suppress(RuntimeError):  # the writing thread has ended
                    self._writer.submit(self._recorder.tick)

        threading.Thread(target=keep, name="caviar-lease", daemon=True).start()
        try:
            yield
        finally:
            over.set()

    def _write_all(self, *, waits: Callable[[], bool]) -> None:
        """``waits``: whether to wait for a disk without room, asked each time that one was met."""
        if self._writing is not None:
            self._writing.exception()
            self._settle()
        while self._written is not None or self._batch:
            self._write().exception()
            self._settle()
            if self.stuck is not None:
                if not waits():
                    raise OSError(f"cannot write the last reports: {self.stuck}")
                time.sleep(PATIENT_COMMIT_S)

    def _write(self) -> Future[None]:
        """Give the writing thread what there is to write; what it failed to write comes first, by itself."""
        if self._written is None:
            self._written, self._batch = self._batch, _Batch(delivery=self._batch.delivery)
        self._writing = self._writer.submit(self._commit, self._written)
        return self._writing

    def _commit(self, batch: _Batch) -> None:
        self._recorder.tick()
        if batch:
            began_s = time.perf_counter()
            self._recorder.commit(batch.reports, [to_row(event) for event in batch.events])
            took_s = time.perf_counter() - began_s
            self._took_s.append(took_s)
            if took_s > SLOW_COMMIT_S:
                _log.info("a commit of %d rows took %.1f s: the storage is slow", len(batch), took_s)

    def _settle(self) -> None:
        assert self._writing is not None
        assert self._written is not None
        writing, self._writing = self._writing, None
        try:
            writing.result()
        except FencedError:
            raise
        except OSError as error:
            if self.stuck is None:
                _log.warning("cannot write to the sweep folder: %s; waiting, no trial is started meanwhile", error)
            self.stuck = str(error)
            return
        if self.stuck is not None:
            _log.warning("the sweep folder can be written again; going on")
            self.stuck = None
        written, self._written = self._written, None
        self._acknowledge(written.delivery)
        self._writer.submit(self._tidy_after, written.events)

    def _tidy_after(self, events: Sequence[Recorded]) -> None:
        for event in events:
            try:
                self._tidy(event)
            except OSError as error:
                _log.warning("cannot remove what is no longer needed, and leave it: %s", error)

    def _close(self, *, final: bool, gives_up: Callable[[], bool]) -> None:
        """Roll everything, however long the disk takes to have room for it."""
        told = False
        while True:
            try:
                return self._writer.submit(self._recorder.close, final=final).result()
            except OSError as error:
                if not final or gives_up():
                    raise
                if not told:
                    _log.warning("cannot write to the sweep folder: %s; waiting", error)
                told = True
            time.sleep(PATIENT_COMMIT_S)

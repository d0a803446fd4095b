"""What a training process prints, sorted into one bounded file a trial.

The process writes a mark into its output when a trial begins, so that nothing is attributed to the wrong trial,
whoever printed it: Python, a C library or a child process.
"""

from __future__ import annotations

import os
import queue
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.connection import Connection
from pathlib import Path
from typing import BinaryIO

LOG_BYTES = 10 * 2**20
"""A trial's log is cut at this size, and says so."""

CLOSED_AT_ONCE = 64
"""So many closed logs may wait for their way; then whoever prints the next one waits too."""

_CHUNK_BYTES = 1 << 16
_PAUSE_S = 0.02
"""How long little output may wait: every wake-up costs the training process some of its core."""


class LogPump:
    """Reads the output of one training process after another, on a thread of its own for each.

    ``logged`` is told, on yet another thread, of each log that was closed: bringing it to its place may take a
    while, and nobody who prints is to wait for that.
    """

    def __init__(
        self,
        path_of: Callable[[int], Path],
        *,
        logged: Callable[[int, Path], None] = lambda trial, path: None,
        limit_bytes: int = LOG_BYTES,
    ) -> None:
        self._path_of = path_of
        self._logged = logged
        self._limit_bytes = limit_bytes
        self._threads: list[threading.Thread] = []
        self._settler: threading.Thread | None = None
        self._closed: queue.Queue[tuple[int, Path] | None] = queue.Queue(CLOSED_AT_ONCE)

    def attach(self, output: Connection, mark: bytes) -> None:
        """Take the output of a new process, where ``mark``, a trial's number and a newline begin that trial's."""
        if self._settler is None:
            self._settler = threading.Thread(target=self._settle_all, name="caviar-log-settler", daemon=True)
            self._settler.start()
        self._threads = [thread for thread in self._threads if thread.is_alive()]
        self._threads.append(
            threading.Thread(target=self._pump, args=(output, mark), name="caviar-logs", daemon=True)
        )
        self._threads[-1].start()

    def note(self, trial: int, text: str) -> None:
        """Write a line of caviar's own into a trial's log."""
        with suppress(OSError):
            path = self._path_of(trial)
            with path.open("ab") as file:
                file.write(b"\n[caviar: %s]\n" % text.encode(errors="replace"))
            self._closed.put((trial, path))

    def close(self) -> None:
        """Wait until all that was printed has been written; the processes must have ended."""
        for thread in self._threads:
            thread.join(5)
        if self._settler is not None:
            with suppress(queue.Full):
                self._closed.put(None, timeout=5)
            self._settler.join(5)

    def _pump(self, output: Connection, mark: bytes) -> None:
        sorter = _Sorter(mark, self._path_of, self._limit_bytes, closed=self._closed.put)
        with output, suppress(OSError):
            while data := os.read(output.fileno(), _CHUNK_BYTES):
                sorter.take(data)
                if len(data) < _CHUNK_BYTES // 2:
                    time.sleep(_PAUSE_S)
        sorter.close()

    def _settle_all(self) -> None:
        while (closed := self._closed.get()) is not None:
            self._logged(*closed)


class _Sorter:
    def __init__(
        self,
        mark: bytes,
        path_of: Callable[[int], Path],
        limit_bytes: int,
        *,
        closed: Callable[[tuple[int, Path]], None],
    ) -> None:
        self._mark = mark
        self._path_of = path_of
        self._limit_bytes = limit_bytes
        self._closed = closed
        self._rest = b""
        """The end of what was read, where a mark may have begun."""
        self._trial: int | None = None
        self._path: Path | None = None
        self._file: BinaryIO | None = None
        self._written = 0

    def take(self, data: bytes) -> None:
        data = self._rest + data
        while True:
            text, mark, after = data.partition(self._mark)
            if not mark:
                keep = _begun(text, self._mark)
                self._write(text[: len(text) - keep])
                self._rest = text[len(text) - keep :]
                return
            number, newline, after = after.partition(b"\n")
            if not newline:
                self._write(text)
                self._rest = mark + number
                return
            self._write(text)
            self._next(int(number))
            data = after

    def close(self) -> None:
        self._write(self._rest)
        self._rest = b""
        self._close_file()

    def _next(self, trial: int) -> None:
        self._close_file()
        self._trial = trial

    def _close_file(self) -> None:
        if self._file is not None:
            assert self._trial is not None
            assert self._path is not None
            self._file.close()
            self._file = None
            self._closed((self._trial, self._path))

    def _write(self, text: bytes) -> None:
        if not text or self._trial is None:
            return
        with suppress(OSError):  # a full disk, say: what is printed is lost, but nobody who prints may fail for it
            self._append(text)

    def _append(self, text: bytes) -> None:
        if self._file is None:
            assert self._trial is not None
            self._path = self._path_of(self._trial)
            self._file = self._path.open("ab", buffering=0)
            self._written = self._file.tell()
        room = max(0, self._limit_bytes - self._written)
        self._file.write(text[:room])
        if len(text) > room and self._written <= self._limit_bytes:
            self._file.write(b"\n[caviar: what it printed past %d bytes is dropped]\n" % self._limit_bytes)
            self._written = self._limit_bytes + 1  # said once
        self._written += len(text)


def _begun(text: bytes, mark: bytes) -> int:
    """How many of the last bytes of ``text`` may be the beginning of a mark."""
    for size in range(min(len(mark) - 1, len(text)), 0, -1):
        if text.endswith(mark[:size]):
            return size
    return 0

"""``python -m caviar.cli.answering``: the command line, as a query runs it on a cluster.

What it prints goes into the job's log as records, so that the other end can tell it from whatever else is there.
"""

from __future__ import annotations

import io
import json
import os
import signal
import sys
from types import FrameType
from typing import Any

from caviar.cli.app import DONE, main
from caviar.cli.pictures import Drawn, OverdueError, Screen
from caviar.jobs.query import SETTING, Manner
from caviar.jobs.records import Kind, Record, to_line

PIECE = 1 << 18
"""Bytes of output in one record, at most about."""


class Recording(io.RawIOBase):
    """A stream whose bytes become records."""

    def __init__(self, kind: Kind, *, terminal: bool, eager: bool) -> None:
        self._kind = kind
        self._terminal = terminal
        self._eager = eager
        self._bytes = bytearray()

    def writable(self) -> bool:
        return True

    def isatty(self) -> bool:
        return self._terminal

    def write(self, data: Any) -> int:
        self._bytes += data
        if self._eager or len(self._bytes) >= PIECE:
            self.send()
        return len(data)

    def send(self) -> None:
        """Send what is there."""
        if self._bytes:
            send(Record(self._kind, bytes(self._bytes)))
            self._bytes.clear()


def send(record: Record) -> None:
    """Write a record into the log."""
    line = to_line(record).encode()
    while line:
        line = line[os.write(1, line) :]


def answer(words: list[str], manner: Manner) -> Record:
    """Carry out a command line, sending what it prints; returns the record that ends the answer."""
    # a table is sent in few pieces, but of what is followed each line at once
    out = Recording(Kind.OUT, terminal=manner.terminal, eager="watch" in words[:1])
    err = Recording(Kind.ERR, terminal=False, eager=True)
    before = sys.stdout, sys.stderr
    sys.stdout = Screen(io.BufferedWriter(out), lambda: _drawn(manner))
    sys.stderr = io.TextIOWrapper(io.BufferedWriter(err), "utf-8")
    try:
        main.main(words, prog_name="caviar")
    except OverdueError:
        return Record(Kind.AGAIN, b"")
    except SystemExit as ended:
        return Record(Kind.END, str(ended.code if isinstance(ended.code, int) else DONE).encode())
    finally:
        for stream, raw in ((sys.stdout, out), (sys.stderr, err)):
            stream.flush()
            raw.send()
        sys.stdout, sys.stderr = before
    raise AssertionError("click always exits")


def _drawn(manner: Manner) -> Drawn:
    return Drawn(
        lambda picture: send(Record(Kind.PICTURE, picture.encode())),
        columns=manner.columns,
        lines=manner.lines,
        life_s=manner.life_s,
    )


def _interrupt(number: int, frame: FrameType | None) -> None:
    """The other end has gone, or had a Ctrl-C: the same as one here, but only once."""
    signal.signal(number, signal.SIG_IGN)
    raise KeyboardInterrupt


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, _interrupt)
    send(answer(sys.argv[1:], Manner(**json.loads(os.environ[SETTING]))))

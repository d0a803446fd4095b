"""What a query sends back through its log, one record a line, among whatever else is printed there."""

from __future__ import annotations

import base64
import binascii
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum

MARK = "caviar-answer:"


class Kind(StrEnum):
    """What a record holds."""

    OUT = "out"
    """A piece of the standard output."""
    ERR = "err"
    """A piece of the standard error."""
    PICTURE = "picture"
    """The whole of a live view, in place of the one before."""
    END = "end"
    """The exit status; nothing comes after it."""
    AGAIN = "again"
    """It has lived as long as it may: who still wants to know asks again."""


@dataclass(frozen=True, slots=True)
class Record:
    """One record."""

    kind: Kind
    data: bytes


def to_line(record: Record) -> str:
    """A record as a line of ASCII."""
    return f"{MARK}{record.kind}:{base64.b64encode(zlib.compress(record.data, 6)).decode()}\n"


def from_pieces(pieces: Iterable[str]) -> Iterator[Record | str]:
    """The records in a log that comes in pieces; lines that are none come as they are, without their end."""
    rest = ""
    for piece in pieces:
        lines = (rest + piece).split("\n")
        rest = lines.pop()
        for line in lines:
            yield _from_line(line)
    if rest:
        yield _from_line(rest)


def _from_line(line: str) -> Record | str:
    _, mark, text = line.partition(MARK)  # what else prints there may have left its line open
    kind, _, data = text.partition(":")
    if not mark:
        return line
    try:
        return Record(Kind(kind), zlib.decompress(base64.b64decode(data, validate=True)))
    except (ValueError, binascii.Error, zlib.error):
        return line

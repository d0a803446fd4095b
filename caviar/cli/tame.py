"""Text that comes from elsewhere, as a terminal may be shown it: it colours, and does nothing else."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

_COLOURS = r"\x1b\[[0-9;:]*m"
_ORDERS = re.compile(rf"({_COLOURS})|\r\n?|[\x00-\x08\x0b-\x1f\x7f-\x9f]")
"""Colours, and whatever else a terminal obeys: without the character that it begins with, the rest is text."""

_BEGUN = re.compile(r"\x1b(\[[0-9;:]{0,40})?\Z")
"""What may become a colour with more of the text."""


def tame(text: str) -> str:
    """The text with its lines, tabs and colours, and without anything else that a terminal obeys. What would go
    back to the beginning of a line goes on with another."""
    if text.isprintable():
        return text
    return _ORDERS.sub(lambda found: found[1] or ("\n" if found[0][0] == "\r" else ""), text)


def plain(text: str) -> str:
    """The text without its colours too."""
    return tame(re.sub(_COLOURS, "", text))


def tame_pieces(pieces: Iterable[str]) -> Iterator[str]:
    """The same of a text that comes in pieces: a colour may be cut in two."""
    rest = ""
    for piece in pieces:
        text = rest + piece
        begun = _BEGUN.search(text)
        rest = "" if begun is None else begun[0]
        if shown := tame(text[: len(text) - len(rest)]):
            yield shown

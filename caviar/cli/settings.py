"""``name=value`` on the command line."""

from __future__ import annotations

from typing import Any

_WORDS = {"true": True, "false": False, "null": None}


def value_of(text: str) -> Any:
    """A number where the text is one, true, false and null as JSON has them, else the text itself."""
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return _WORDS.get(text, text)

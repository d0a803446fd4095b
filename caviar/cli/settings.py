"""``name=value`` on the command line, and ``name*=value``."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from caviar.errors import UsageError

_WORDS = {"true": True, "false": False, "null": None}
_OPERATORS = "*/+-"


def value_of(text: str) -> Any:
    """A number where the text is one, true, false and null as JSON has them, what JSON text in quotes holds,
    else the text itself. Raises `UsageError` for a number that is not finite."""
    if text.startswith('"'):
        try:
            return json.loads(text)
        except ValueError as error:
            raise UsageError(f"what begins with a double quote must be JSON text: {error}") from None
    number = _number(text)
    if number is None:
        return _WORDS.get(text, text)
    if not abs(number) <= sys.float_info.max:
        raise UsageError("needs a finite number; a word of these letters goes in double quotes")
    return number


def parse_changes(words: Sequence[str]) -> dict[str, Any]:
    """New values by name; those relative to the current ones (``lr*=0.5``) as text that begins with the operation.

    Raises `UsageError` for what is no change, and for a name that is given twice.
    """
    changes: dict[str, Any] = {}
    for word in words:
        try:
            name, value = _parse(word)
            if name in changes:
                raise UsageError(f"{name} is given twice")
        except UsageError as error:
            shown = word if len(word) <= 60 else f"{word[:60]}..."
            raise UsageError(f"{shown}: {error}") from None
        changes[name] = value
    return changes


def _parse(word: str) -> tuple[str, Any]:
    name, equals, text = word.partition("=")
    operator = name[-1:] if name[-1:] in _OPERATORS else ""
    name = name.removesuffix(operator)
    if not equals:
        raise UsageError(f"needs a value, as in {name or 'lr'}=0.01")
    if not name:
        raise UsageError(f"needs a name before {operator}=, as in lr{operator}=0.5")
    if not text:
        raise UsageError(f"needs a value after {operator}=")
    value = value_of(text)
    if not operator:
        return name, value
    if _number(text) is None:
        raise UsageError(f"needs a number after {operator}=")
    return name, f"{operator}={text}"


def _number(text: str) -> int | float | None:
    if "_" in text:  # a word, although Python would read 1_000
        return None
    for read in (int, float):
        with suppress(ValueError):
            return read(text)
    return None

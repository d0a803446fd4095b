"""``NAME=VALUE`` words of a command line -> the changes of params that they ask for."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from caviar.errors import UsageError

_OPERATORS = "*/+-"


def parse_changes(words: Sequence[str]) -> dict[str, Any]:
    """New values by name; those relative to the current ones (``lr*=0.5``) as text that begins with the operation.

    A value is a number, ``true`` or ``false``, text in double quotes, or else a word. Raises `UsageError` for what
    is no change, and for a name given twice.
    """
    changes: dict[str, Any] = {}
    for word in words:
        name, value = _parse(word)
        if name in changes:
            raise UsageError(f"{word}: {name} is given twice")
        changes[name] = value
    return changes


def _parse(word: str) -> tuple[str, Any]:
    shown = word if len(word) <= 60 else f"{word[:60]}..."
    name, equals, text = word.partition("=")
    if not equals:
        raise UsageError(f"{shown}: needs a value, as in {shown or 'lr'}=0.01")
    operator = name[-1:] if name[-1:] in _OPERATORS else ""
    name = name.removesuffix(operator)
    if not name:
        raise UsageError(f"{shown}: needs a name before {operator}=, as in lr{operator}=0.5")
    if not text:
        raise UsageError(f"{shown}: needs a value after {operator}=")
    value = _value(shown, text)
    if not operator:
        return name, value
    if isinstance(value, str | bool):
        raise UsageError(f"{shown}: needs a number after {operator}=")
    return name, f"{operator}={text}"


def _value(shown: str, text: str) -> Any:
    if text in ("true", "false"):
        return text == "true"
    if text.startswith('"'):
        try:
            return json.loads(text)
        except ValueError as error:
            raise UsageError(f"{shown}: what begins with a double quote must be JSON text: {error}") from None
    number = _number(text)
    if number is None:
        return text
    if not abs(number) <= sys.float_info.max:
        raise UsageError(f"{shown}: needs a finite number; a word of these letters goes in double quotes")
    return number


def _number(text: str) -> int | float | None:
    if "_" in text:  # a word, although Python would read 1_000
        return None
    for read in (int, float):
        with suppress(ValueError):
            return read(text)
    return None

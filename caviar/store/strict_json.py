"""JSON out of a sweep folder, which may come from a stranger: refused unless it can be handled like our own.

Python's parser takes more than JSON has: NaN, numbers beyond any float, halves of characters that cannot be
printed, and nesting so deep that whatever walks through it later fails. None of that gets past here.
"""

from __future__ import annotations

import json
from typing import Any

DEEPEST = 100
"""Values may lie in so many lists and objects. What caviar writes needs five."""


def parse_object(data: bytes | str) -> dict[str, Any]:
    """The JSON object in a file or a cell; anything else raises `ValueError`, which says in one line why."""
    try:
        value = json.loads(data.decode() if isinstance(data, bytes) else data)
        if not isinstance(value, dict):
            raise ValueError(f"it is {_KINDS[type(value)]}, not an object")  # noqa: TRY004 - the one error of this
        check_depth(value)
        json.dumps(value, allow_nan=False, ensure_ascii=False).encode()
    except UnicodeError:
        raise ValueError("it is not UTF-8") from None
    except json.JSONDecodeError as error:
        raise ValueError(f"it is not JSON: {error}") from None
    except RecursionError:
        raise ValueError(f"it is nested deeper than {DEEPEST}") from None
    return value


_KINDS = {
    list: "a list",
    str: "text",
    int: "a number",
    float: "a number",
    bool: "a truth value",
    type(None): "null",
}


def check_depth(value: object) -> None:
    """Raise `ValueError` for a value that is nested too deeply."""
    level = [value]
    for _ in range(DEEPEST):
        below: list[object] = []
        for each in level:
            if isinstance(each, dict):
                below.extend(each.values())
            elif isinstance(each, list):
                below.extend(each)
        if not below:
            return
        level = below
    raise ValueError(f"it is nested deeper than {DEEPEST}")


def is_whole(value: object, *, least: int = 0, most: int = 2**63 - 1) -> bool:
    """Whether a value is a whole number within these bounds; true and false are none."""
    return type(value) is int and least <= value <= most

"""What sweep.json may say: checked once, where it is read, so that nobody meets a text where a number must be."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from caviar.errors import FolderError
from caviar.store.strict_json import is_whole
from caviar.trial import MAX_TRIALS


def _is_text(value: object) -> bool:
    return isinstance(value, str) and bool(value)


_FIELDS: Mapping[str, tuple[Callable[[Any], bool], str]] = {
    "created_us": (lambda value: is_whole(value, most=2**57), "microseconds since the epoch"),
    "name": (lambda value: isinstance(value, str), "text"),
    "metric": (_is_text, "a metric's name"),
    "mode": (lambda value: value in ("min", "max"), "min or max"),
    "trials": (lambda value: is_whole(value, least=1, most=MAX_TRIALS), f"a number from 1 to {MAX_TRIALS}"),
    "max_step": (lambda value: value is None or is_whole(value, least=1, most=2**53), "a step, or null"),
    "space": (lambda value: isinstance(value, dict), "an object"),
}
"""What readers use of it."""

_SHOWN = ("metric", "mode", "trials", "space")
"""Without these a sweep cannot be shown."""


def check_complete(declaration: Mapping[str, Any], path: Path) -> None:
    """Raise `FolderError` where the declaration of the sweep in ``path`` lacks what is needed to show it."""
    for name in _SHOWN:
        if name not in declaration:
            raise FolderError(f"{path / 'sweep.json'}: damaged: {name} is missing")


def declared_mistake(declaration: Mapping[str, Any]) -> str | None:
    """What is wrong with what a declaration says, in a few words, or None."""
    from caviar.space import Space  # loads numpy, which those who only know the folder's names do not need

    for name, (is_good, allowed) in _FIELDS.items():
        if name in declaration and not is_good(declaration[name]):
            return f"{name} is {declaration[name]!r:.80}, not {allowed}"
    if "space" in declaration:
        try:
            Space.from_dict(declaration["space"])
        except ValueError as error:
            return f"space: {error!s:.300}"
    return None

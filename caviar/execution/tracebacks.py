"""How the errors of training functions are told: in one line, and in full."""

from __future__ import annotations

import traceback
from pathlib import Path

_OURS = str(Path(__file__).parent)
"""Frames of files in here are caviar's, and tell the user nothing."""


def one_line(error: BaseException) -> str:
    """An error as one line: its type and the first line of its text."""
    name = type(error).__name__
    try:
        text = str(error).strip().splitlines()
    except Exception:  # noqa: BLE001 - an error that cannot even say what it is
        return name
    return f"{name}: {text[0]}"[:300] if text else name


def format_error(error: BaseException) -> str:
    """The traceback in full, without caviar's own frames: what remains is the user's."""
    told = traceback.TracebackException.from_exception(error)
    told.stack = traceback.StackSummary.from_list(
        [frame for frame in told.stack if not frame.filename.startswith(_OURS)]
    )
    return "".join(told.format())

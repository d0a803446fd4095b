"""How the errors of training functions are told, in one line and in full; and where one is that does not end."""

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


def format_stack(dumped: str) -> str:
    """What faulthandler wrote of all threads, the main thread first, without what is caviar's own."""
    threads: list[str] = []
    for block in dumped.strip().split("\n\n"):
        frames: list[str] = []
        for frame in block.splitlines()[1:]:
            ours = frame.startswith(f'  File "{_OURS}')
            if ours and frame.endswith(" in run_attempt"):
                break  # what is further out is the same for every trial
            if ours and frame.endswith(" in listen"):
                frames = []  # our second thread
                break
            if not ours:
                frames.append(frame)
        if frames:
            threads.append("\n".join(frames))
    titles = ["Its main thread, most recent call first:"] + ["Another thread:"] * len(threads)
    return "\n\n".join(f"{title}\n{text}" for title, text in zip(titles, reversed(threads), strict=False))

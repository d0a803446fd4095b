"""Asking something of a running sweep, and waiting for the answer."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from caviar.errors import CaviarError
from caviar.messages import CommandAnswered
from caviar.store import inbox


def ask(
    folder: str | os.PathLike[str],
    command: str,
    *,
    trial: int | None = None,
    args: Mapping[str, Any] | None = None,
    timeout_s: float = 30.0,
) -> CommandAnswered:
    """Leave a command and return its answer; `CaviarError` where it is refused, or there is none in time."""
    command_id = inbox.post(folder, command, trial=trial, args=args or {})
    answer = inbox.answer(folder, command_id, timeout_s=timeout_s)
    if answer is None or not answer.applied:
        raise CaviarError("no answer" if answer is None else answer.text)
    return answer

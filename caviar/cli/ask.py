"""A command to a running sweep, through its inbox, and its answer."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import click

from caviar.cli.app import DONE, FAILED
from caviar.errors import CaviarError, UsageError

AnyFunction = TypeVar("AnyFunction", bound=Callable[..., Any])


def timeout_option(command: AnyFunction) -> AnyFunction:
    """``--timeout``, as the parameter ``timeout_s``."""
    option = click.option(
        "--timeout",
        "timeout_s",
        type=click.FloatRange(min=0),
        default=30.0,
        show_default=True,
        help="Seconds to wait for the answer of a running sweep.",
    )
    return option(command)


def ask(
    folder: str, command: str, *, trial: int | None = None, args: Mapping[str, Any] | None = None, timeout_s: float
) -> int:
    """Leave a command, wait for its answer and print it; returns the exit status."""
    if math.isnan(timeout_s):
        raise UsageError(f"--timeout {timeout_s}: needs a number of seconds")
    from caviar.store import inbox

    command_id = inbox.post(folder, command, trial=trial, args=args or {})
    answer = inbox.answer(folder, command_id, timeout_s=timeout_s)
    if answer is None:
        raise CaviarError(
            f"{folder}: no answer within {timeout_s:g} s; the command stays in the inbox and is applied when the "
            "driver comes to it (--timeout waits longer)"
        )
    click.echo(answer.text)
    return DONE if answer.applied else FAILED

"""``caviar stop``: a command to a running sweep."""

from __future__ import annotations

import math

import click

from caviar.cli.app import DONE, FAILED, debug_option, folder_argument
from caviar.errors import CaviarError, UsageError


@click.command()
@folder_argument
@click.option("--trial", type=click.IntRange(min=0), help="Only this trial; without it, the whole sweep.")
@click.option(
    "--timeout",
    "timeout_s",
    type=click.FloatRange(min=0),
    default=30.0,
    show_default=True,
    help="Seconds to wait for the answer.",
)
@debug_option
def stop(folder: str, trial: int | None, timeout_s: float) -> int:
    """Stop a running sweep, or one of its trials.

    Every trial that is to stop does so at its next report.
    """
    if math.isnan(timeout_s):
        raise UsageError(f"--timeout {timeout_s}: needs a number of seconds")
    from caviar.store import inbox
    from caviar.store.reader import Reader

    reader = Reader(folder)
    state = reader.state()
    if state != "running":
        raise UsageError(f"{folder}: is not running ({state}), so there is nothing to stop")
    command = inbox.post(folder, "stop", trial=trial, args={})
    answer = inbox.answer(folder, command, timeout_s=timeout_s)
    if answer is None:
        raise CaviarError(
            f"{folder}: no answer within {timeout_s:g} s; the command stays in the inbox and is applied when the "
            "driver comes to it (--timeout waits longer)"
        )
    click.echo(answer.text)
    return DONE if answer.applied else FAILED

"""``caviar stop``: a command to a running sweep."""

from __future__ import annotations

import click

from caviar.cli.app import debug_option, folder_argument
from caviar.cli.ask import ask, timeout_option
from caviar.errors import UsageError


@click.command()
@folder_argument
@click.option("--trial", type=click.IntRange(min=0), help="Only this trial; without it, the whole sweep.")
@timeout_option
@debug_option
def stop(folder: str, trial: int | None, timeout_s: float) -> int:
    """Stop a running sweep, or one of its trials.

    Every trial that is to stop does so at its next report.
    """
    from caviar.store.reader import Reader

    state = Reader(folder).state()
    if state != "running":
        raise UsageError(f"{folder}: is not running ({state}), so there is nothing to stop")
    return ask(folder, "stop", trial=trial, timeout_s=timeout_s)

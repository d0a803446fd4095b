"""The commands by which a person steers what is running: set, pause, unpause, rollback, stop."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

from caviar.cli.afar import address_option
from caviar.cli.app import debug_option, folder_argument
from caviar.cli.ask import ask, timeout_option

AnyFunction = TypeVar("AnyFunction", bound=Callable[..., Any])

_CHANGES = "NAME=VALUE"


def _trial_option(help_text: str) -> Callable[[AnyFunction], AnyFunction]:
    return click.option("--trial", type=click.IntRange(min=0), metavar="N", help=help_text)


_one_trial = _trial_option("The trial; may be left out where the sweep has one.")
_note = click.option("-m", "--note", metavar="NOTE", help="Why, for the record.")
_force = click.option("--force", is_flag=True, help="Also to numbers beyond the bounds of the space.")
_as_json = click.option(
    "--json", "as_json", is_flag=True, help="The answer as a JSON object, with what was recorded for it."
)


def _waiting(command: AnyFunction) -> AnyFunction:
    """The options of commands that take one trial, a note and no more."""
    return _one_trial(_note(timeout_option(_as_json(debug_option(command)))))


@click.command()
@folder_argument
@address_option
@click.argument("changes", metavar=f"{_CHANGES}...", nargs=-1, required=True)
@_one_trial
@_note
@click.option("--dry-run", is_flag=True, help="Only say what would be set.")
@_force
@timeout_option
@_as_json
@debug_option
def set(  # noqa: A001 - the command's name
    folder: str,
    changes: tuple[str, ...],
    trial: int | None,
    note: str | None,
    dry_run: bool,
    force: bool,
    timeout_s: float,
    as_json: bool,
) -> int:
    """Change params of a trial while it trains.

    \b
    caviar set runs/live lr=0.01
    caviar set runs/live 'lr*=0.5' momentum=0.95 -m "too jumpy"

    NAME=VALUE sets a value; NAME*=, /=, += and -= change the current one. It takes effect at the trial's next step
    boundary, and the answer says at which.
    """
    from caviar.cli.settings import parse_changes

    args = {"changes": parse_changes(changes), "note": note, "dry_run": dry_run, "force": force}
    return ask(folder, "set", trial=trial, args=args, timeout_s=timeout_s, as_json=as_json)


@click.command()
@folder_argument
@address_option
@_waiting
def pause(folder: str, trial: int | None, note: str | None, timeout_s: float, as_json: bool) -> int:
    """Let a trial wait, at its next step boundary.

    It keeps its worker and its memory, and can be set, rolled back and stopped meanwhile.
    """
    return ask(folder, "pause", trial=trial, args={"note": note}, timeout_s=timeout_s, as_json=as_json)


@click.command()
@folder_argument
@address_option
@_waiting
def unpause(folder: str, trial: int | None, note: str | None, timeout_s: float, as_json: bool) -> int:
    """Let a trial that was paused train on."""
    return ask(folder, "unpause", trial=trial, args={"note": note}, timeout_s=timeout_s, as_json=as_json)


@click.command()
@folder_argument
@address_option
@click.argument("changes", metavar=f"[{_CHANGES}]...", nargs=-1)
@click.option(
    "--to-step",
    type=click.IntRange(min=0),
    metavar="N",
    required=True,
    help="Go on after this step; 0: begin again.",
)
@_one_trial
@_note
@_force
@timeout_option
@_as_json
@debug_option
def rollback(
    folder: str,
    changes: tuple[str, ...],
    to_step: int,
    trial: int | None,
    note: str | None,
    force: bool,
    timeout_s: float,
    as_json: bool,
) -> int:
    """Take a trial back to a step, and let it train on from there.

    It goes back to its nearest checkpoint at or before that step; without one, to its beginning. With NAME=VALUE,
    as in `set`, it goes on with other params.
    """
    from caviar.cli.settings import parse_changes

    args = {"to_step": to_step, "changes": parse_changes(changes), "note": note, "force": force}
    return ask(folder, "rollback", trial=trial, args=args, timeout_s=timeout_s, as_json=as_json)


@click.command()
@folder_argument
@address_option
@_trial_option("Only this trial; without it, the whole sweep.")
@timeout_option
@_as_json
@debug_option
def stop(folder: str, trial: int | None, timeout_s: float, as_json: bool) -> int:
    """Stop a running sweep, or one of its trials.

    Every trial that is to stop does so at its next step boundary.
    """
    return ask(folder, "stop", trial=trial, timeout_s=timeout_s, as_json=as_json)

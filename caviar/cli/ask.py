"""A command to a running sweep, and its answer printed."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

import click

from caviar.cli.app import DONE
from caviar.cli.table import print_json
from caviar.errors import UsageError

if TYPE_CHECKING:
    from caviar.messages import Recorded

AnyFunction = TypeVar("AnyFunction", bound=Callable[..., Any])


def timeout_option(command: AnyFunction) -> AnyFunction:
    """``--timeout``, as the parameter ``timeout_s``."""
    option = click.option(
        "--timeout",
        "timeout_s",
        type=click.FloatRange(min=0),
        metavar="S",
        default=30.0,
        show_default=True,
        help="Seconds to wait for the answer of a running sweep.",
    )
    return option(command)


def ask(
    folder: str,
    command: str,
    *,
    trial: int | None = None,
    args: Mapping[str, Any] | None = None,
    timeout_s: float,
    as_json: bool = False,
) -> int:
    """Have a running sweep carry out a command and print its answer; returns the exit status.

    ``as_json``: as an object, with the events that came of it as ``caviar events --json`` has them.
    """
    if math.isnan(timeout_s):
        raise UsageError(f"--timeout {timeout_s}: needs a number of seconds")
    from caviar.panda.asking import carried_out

    given = {name: value for name, value in (args or {}).items() if value is not None}
    outcome = carried_out(folder, command, trial=trial, args=given, timeout_s=timeout_s)
    answer = outcome.answer
    if as_json:
        print_json({"id": answer.id, "text": answer.text, "events": [_as_dict(event) for event in outcome.events]})
    else:
        click.echo(answer.text)
    return DONE


def _as_dict(event: Recorded) -> dict[str, Any]:
    import json

    from caviar.store.rows import to_row

    row = to_row(event)
    return {
        "kind": row.kind,
        "trial": row.trial,
        "attempt": row.attempt,
        "step": row.step,
        "data": json.loads(row.data),
    }

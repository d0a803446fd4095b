"""``caviar zoom``: the space around the trials that did best."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

import click

from caviar.cli import figures
from caviar.cli.app import DONE, debug_option, folder_argument
from caviar.cli.ask import ask, timeout_option
from caviar.cli.conduct import Where, conduct, conduct_options
from caviar.cli.resume import declared, resume_options
from caviar.cli.table import print_json, print_prose
from caviar.errors import UsageError

if TYPE_CHECKING:
    from caviar.space import Parameter
    from caviar.space.narrowed import NarrowedSpace


@click.command()
@folder_argument
@click.option(
    "--top", type=float, default=0.1, show_default=True, help="The share of trials that count as the best."
)
@click.option(
    "--margin",
    type=float,
    default=0.15,
    show_default=True,
    help="At least so much of a new range is added at either end.",
)
@click.option("--no-widen", is_flag=True, help="Never go past the end of a range.")
@click.option("--run", "going_on", is_flag=True, help="Go on with the sweep in the new space, as its next stage.")
@click.option(
    "--trials",
    type=click.IntRange(min=1),
    metavar="N",
    help="With --run, so many trials.  [default: as many as the last stage has]",
)
@resume_options
@timeout_option
@conduct_options
@debug_option
def zoom(
    folder: str,
    top: float,
    margin: float,
    no_widen: bool,
    going_on: bool,
    trials: int | None,
    target: str | None,
    allow_change: bool,
    take_over: bool,
    timeout_s: float,
    where: Where,
    as_json: bool,
    **changes: Any,
) -> int:
    """The space around the trials that did best: of each param the old range, the new one, and why.

    With --run, further trials are sampled from it, also in a sweep that is running.
    """
    from caviar.analysis.result import load
    from caviar.store.place import place

    if trials is not None and not going_on:
        raise UsageError("--trials is for --run, which trains them")
    result = load(folder)
    if going_on and result.declaration.get("panda") is not None:
        raise UsageError(
            f"{folder}: is a live run, of one trial; caviar fork {folder} --vary tries several values"
        )
    space = result.zoom(top, margin=margin, widen=not no_widen)
    if as_json:
        print_json({"kind": "zoom", "share": space.share, **space.to_dict(changes=True)})
    else:
        _print(space)
        click.echo()
    if not going_on:
        for line in [] if as_json else _next(folder, space):
            click.echo(line)
        return DONE
    stages = result.trials()["stage"]
    more = trials or int((stages == stages.max()).sum())
    if not as_json and _as_it_was(space):
        print_prose(f"nothing to narrow: {_trials(more)} from the same space")
    if result.status == "running" and not take_over:
        told = {"trials": more, "space": space.to_dict(), "zoom": [change.to_dict() for change in space.changes]}
        return ask(folder, "extend", args=told, timeout_s=timeout_s, as_json=as_json)
    chosen = where.executor()
    sweep, source = declared(folder, target, changes)
    return conduct(
        place(folder),
        lambda: sweep.extend(
            folder,
            chosen,
            trials=more,
            space=space,
            allow_change=allow_change,
            take_over=take_over,
            source=source,
        ),
        as_json=as_json,
        live=where.live,
    )


def _print(space: NarrowedSpace) -> None:
    """Of each param that varied what it was, what it is, and why: on a terminal the reason below, wrapped."""
    if not sys.stdout.isatty():
        for line in space.explained().splitlines():
            click.echo(figures.one_line(line))
        return
    from caviar.space import Constant
    from caviar.space.narrowed import shown

    changes = [change for change in space.changes if not isinstance(change.old, Constant)]
    if not changes:
        click.echo(space.explained())
        return
    rows = [("param", "old", "new")]
    for change in changes:
        new = (
            figures.MISSING if change.new is None else "as before" if change.kind == "kept" else shown(change.new)
        )
        rows.append((change.name, shown(change.old), new))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for place, row in enumerate(rows):
        print_prose(figures.one_line("  ".join(map(str.ljust, row, widths)).rstrip()), indent="    ")
        if place:
            print_prose("  " + figures.one_line(changes[place - 1].why))


def _as_it_was(space: NarrowedSpace) -> bool:
    return all(change.kind == "kept" for change in space.changes)


def _trials(more: int) -> str:
    return "1 more trial" if more == 1 else f"{more:,} more trials"


def _next(folder: str, space: NarrowedSpace) -> list[str]:
    """What to do with it."""
    if _as_it_was(space):
        return [f"Nothing to narrow yet. More trials tell more: caviar extend {folder} --trials N"]
    params = [f"    {name}={_code(parameter)}," for name, parameter in space.items()]
    if not all(map(str.isidentifier, space)):
        params = [f"        {json.dumps(name)}: {_code(parameter)}," for name, parameter in space.items()]
        params = ["    {", *params, "    }"]
    return [
        f"The new space is {figures.percent(space.share)} of the old one:",
        *["", "space = caviar.Space(", *params, ")", ""],
        f"To sample from it: caviar zoom {folder} --run --trials N",
    ]


def _code(parameter: Parameter) -> str:
    """The param as one writes it."""
    from caviar.space import Constant  # loads numpy, which the help page does not need

    if isinstance(parameter, Constant):
        return repr(parameter.value)
    return "caviar." + repr(parameter).replace(", scale='linear'", "")

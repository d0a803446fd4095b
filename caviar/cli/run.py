"""``caviar run``: run the Sweep that a file defines."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from caviar.cli.app import debug_option
from caviar.cli.conduct import Where, changed, conduct, conduct_options
from caviar.errors import UsageError

if TYPE_CHECKING:
    from caviar.store.layout import SweepFolder
    from caviar.sweep import Sweep

AnyFunction = TypeVar("AnyFunction", bound=Callable[..., Any])

_CHANGES = (
    click.option(
        "--trials", type=click.IntRange(min=1), metavar="N", help="How many trials, instead of the Sweep's."
    ),
    click.option(
        "--max-step",
        type=click.IntRange(min=1),
        metavar="N",
        help="The last step of a trial, instead of the Sweep's.",
    ),
    click.option("--seed", type=int, metavar="N", help="Another seed: other params."),
)


def change_options(command: AnyFunction) -> AnyFunction:
    """The options by which a command changes the Sweep that it runs."""
    for option in reversed(_CHANGES):
        command = option(command)
    return command


@click.command()
@click.argument("target", metavar="FILE[:NAME]")
@click.option("--out", metavar="DIR", help="The sweep folder to make.  [default: runs/<stem of FILE>]")
@change_options
@click.option("--resume", is_flag=True, help="Go on with the sweep in DIR, where there is one.")
@click.option(
    "--allow-change", is_flag=True, help="With --resume, also where space, metric, code, ... have changed."
)
@click.option("--plan", is_flag=True, help="Only say what would happen, how long it takes and what it costs.")
@click.option(
    "--measure-s",
    type=click.FloatRange(min=0),
    metavar="S",
    help="With --plan: see for S seconds how long steps take, by training some; 0: train nothing.  [default: 30]",
)
@conduct_options
@debug_option
def run(
    target: str,
    out: str | None,
    resume: bool,
    allow_change: bool,
    where: Where,
    as_json: bool,
    plan: bool,
    measure_s: float | None,
    **changes: Any,
) -> int:
    """Run the Sweep that FILE defines.

    NAME says which, where FILE defines several. With --resume the same command can be given again and again, until
    the sweep has ended.
    """
    if measure_s is not None and not plan:
        raise UsageError(f"--measure-s {measure_s:g}: goes with --plan")
    if plan and resume:
        raise UsageError("--plan: is of a sweep that is yet to begin; leave --resume out")
    if allow_change and not resume:
        raise UsageError("--allow-change: a new sweep has nothing that could have changed; it goes with --resume")
    chosen = where.executor()
    from caviar.cli.load_file import load_sweep, split_target
    from caviar.cli.predecessor import outlive
    from caviar.store.beginnings import check_new
    from caviar.store.layout import SweepFolder
    from caviar.store.lease import wall_clock_us
    from caviar.store.place import place

    file, name = split_target(target)
    folder = SweepFolder(place(out) if out is not None else Path("runs") / file.stem)
    if plan:
        from caviar.cli.plan import show

        sweep = changed(load_sweep(target), changes)
        return show(sweep, file, folder.path, where=where, measure_s=measure_s, as_json=as_json)
    how: dict[str, Any] = {}
    if resume:
        how = {"resume": True, "allow_change": allow_change, "take_over": outlive(folder)}
    if resume and folder.exists():
        sweep, how["source"] = _again(folder, target, changes, allow_change=allow_change)
    else:
        sweep, how["source"] = changed(load_sweep(target), changes), source_of(file, name, changes)
        # before anything is shown: a folder that holds another sweep must not be shown as this one
        check_new(folder, wall_clock_us())
    return conduct(
        folder.path,
        functools.partial(sweep.run, folder.path, executor=chosen, **how),
        as_json=as_json,
        live=where.live,
    )


def _again(
    folder: SweepFolder, target: str, changes: dict[str, Any], *, allow_change: bool
) -> tuple[Sweep, dict[str, Any]]:
    """The Sweep to go on with, and where it is from. Says so where there is nothing left to do."""
    from caviar.cli.resume import declared, refuse_another, tell_if_ended

    if folder.declaration().get("panda") is not None:
        raise UsageError(f"{folder}: holds a live run; caviar resume {folder} goes on with it")
    found = declared(str(folder), target, changes)
    if not allow_change:  # before anything is said or shown of the one that is there
        refuse_another(str(folder), found[0])
    tell_if_ended(str(folder), "--trials N adds trials")
    return found


def source_of(file: Path, name: str | None, changes: Mapping[str, Any]) -> dict[str, Any]:
    """Where `resume` finds the Sweep again, and what the command line made of it."""
    asked = {key: value for key, value in changes.items() if value is not None}
    return {"file": str(file.resolve()), "name": name, "changes": asked}

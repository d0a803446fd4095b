"""``caviar run``: run the Sweep that a file defines."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from caviar.cli.app import debug_option
from caviar.cli.conduct import Where, changed, conduct, conduct_options
from caviar.errors import UsageError


@click.command()
@click.argument("target", metavar="FILE[:NAME]")
@click.option("--out", metavar="DIR", help="The sweep folder to make.  [default: runs/<stem of FILE>]")
@click.option("--trials", type=click.IntRange(min=1), metavar="N", help="How many trials, instead of the Sweep's.")
@click.option(
    "--max-step", type=click.IntRange(min=1), metavar="N", help="The last step of a trial, instead of the Sweep's."
)
@click.option("--seed", type=int, metavar="N", help="Another seed: other params.")
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
    where: Where,
    as_json: bool,
    plan: bool,
    measure_s: float | None,
    **changes: Any,
) -> int:
    """Run the Sweep that FILE defines.

    NAME says which, where FILE defines several.
    """
    if measure_s is not None and not plan:
        raise UsageError(f"--measure-s {measure_s:g}: goes with --plan")
    chosen = where.executor()
    from caviar.cli.load_file import load_sweep, split_target
    from caviar.store.beginnings import check_new
    from caviar.store.layout import SweepFolder
    from caviar.store.lease import wall_clock_us
    from caviar.store.place import place

    sweep = changed(load_sweep(target), changes)
    file, name = split_target(target)
    folder = place(out) if out is not None else Path("runs") / file.stem
    if plan:
        from caviar.cli.plan import show

        return show(sweep, file, folder, where=where, measure_s=measure_s, as_json=as_json)
    source = source_of(file, name, changes)
    # before anything is shown: a folder that holds another sweep must not be shown as this one
    check_new(SweepFolder(folder), wall_clock_us())
    return conduct(
        folder,
        lambda: sweep.run(folder, executor=chosen, source=source),
        as_json=as_json,
        live=where.live,
    )


def source_of(file: Path, name: str | None, changes: Mapping[str, Any]) -> dict[str, Any]:
    """Where `resume` finds the Sweep again, and what the command line made of it."""
    asked = {key: value for key, value in changes.items() if value is not None}
    return {"file": str(file.resolve()), "name": name, "changes": asked}

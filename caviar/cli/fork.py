"""``caviar fork`` and ``adopt``: from a live run to a sweep of it, and back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import click

from caviar.cli.app import DONE, debug_option, folder_argument
from caviar.cli.ask import ask, timeout_option
from caviar.cli.conduct import Where, conduct, conduct_options


@click.command()
@folder_argument
@click.option(
    "--vary", metavar="NAME", multiple=True, required=True, help="A param that is to differ; repeatable, or a,b,c."
)
@click.option(
    "--at-step",
    type=click.IntRange(min=1),
    metavar="N",
    help="From the nearest checkpoint at or before it.  [default: the newest]",
)
@click.option("--trials", type=click.IntRange(min=1), default=8, show_default=True, metavar="N", help="How many.")
@click.option("--trial", type=click.IntRange(min=0), default=0, show_default=True, help="The trial to go on from.")
@click.option("--out", metavar="DIR2", help="The sweep folder to make.  [default: DIR-fork-STEP]")
@click.option("--max-step", type=click.IntRange(min=1), metavar="N", help="The last step, instead of DIR's.")
@click.option(
    "--adopt",
    "and_adopt",
    type=click.Choice(["best"]),
    help="Have DIR go on from the best trial of the fork, as caviar adopt does.",
)
@click.option(
    "--file",
    "target",
    metavar="FILE[:NAME]",
    help="The file that defines the Sweep.  [default: the one that DIR was run from]",
)
@click.option("--allow-change", is_flag=True, help="Go on although the training function has changed.")
@timeout_option
@conduct_options
@debug_option
def fork(
    folder: str,
    vary: Sequence[str],
    at_step: int | None,
    trials: int,
    trial: int,
    out: str | None,
    max_step: int | None,
    and_adopt: str | None,
    target: str | None,
    allow_change: bool,
    timeout_s: float,
    where: Where,
    as_json: bool,
    **changes: Any,
) -> int:
    """Train several trials from a checkpoint of a run on, which differ in some params alone.

    DIR is a live run, under way or not, or any sweep. The trials go into a folder of their own, with the seed and
    the other params that the run had at that step."""
    chosen = where.executor()
    from caviar.cli.resume import declared
    from caviar.forking import fork_path
    from caviar.store.beginnings import check_new
    from caviar.store.layout import SweepFolder
    from caviar.store.lease import wall_clock_us
    from caviar.store.place import place

    sweep, source = declared(folder, target, changes)
    names = [name.strip() for text in vary for name in text.split(",") if name.strip()]
    forked = sweep.forked(
        folder,
        trial=trial,
        at_step=at_step,
        vary=names,
        trials=trials,
        max_step=max_step,
        allow_change=allow_change,
    )
    origin = forked.origin
    assert origin is not None
    into = fork_path(folder, origin.step) if out is None else place(out)
    check_new(SweepFolder(into), wall_clock_us())
    click.echo(
        f"{into}: {trials} trials from step {origin.step} of {folder} on, by {', '.join(names)}", err=as_json
    )
    status = conduct(
        into,
        lambda: forked.run(into, chosen, source=source),
        as_json=as_json,
        live=where.live,
    )
    if status != DONE or and_adopt is None:
        return status
    return _adopt(folder, str(into), trial=None, note=None, timeout_s=timeout_s, as_json=as_json)


@click.command()
@folder_argument
@click.option("--from", "other", metavar="DIR2", required=True, help="The fork of it, as caviar fork made it.")
@click.option(
    "--trial", type=click.IntRange(min=0), help="Of the fork.  [default: the best of those that completed]"
)
@click.option("-m", "--note", metavar="NOTE", help="Why, for the record.")
@timeout_option
@click.option(
    "--json", "as_json", is_flag=True, help="The answer as a JSON object, with what was recorded for it."
)
@debug_option
def adopt(folder: str, other: str, trial: int | None, note: str | None, timeout_s: float, as_json: bool) -> int:
    """Have a live run go on from what a fork of it came to.

    It goes back to the step at which the fork began, and on from the last checkpoint of that trial, with its
    params. One that is not running does so when it is gone on with."""
    return _adopt(folder, other, trial=trial, note=note, timeout_s=timeout_s, as_json=as_json)


def _adopt(
    folder: str, other: str, *, trial: int | None, note: str | None, timeout_s: float, as_json: bool
) -> int:
    from caviar.adopting import winner
    from caviar.cli.table import print_json
    from caviar.store.inbox import post
    from caviar.store.reader import Reader

    chosen = winner(folder, other, trial=trial)
    if Reader(folder, metrics=False).state() == "running":
        args = chosen.args(note)
        return ask(folder, "adopt", trial=chosen.of_trial, args=args, timeout_s=timeout_s, as_json=as_json)
    command_id = post(folder, "adopt", trial=chosen.of_trial, args=chosen.args(note))
    text = f"trial {chosen.trial} of {other} is adopted when {folder} is gone on with: caviar resume {folder}"
    if as_json:
        print_json({"id": command_id, "text": text, "events": []})
    else:
        click.echo(text)
    return DONE

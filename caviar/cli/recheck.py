"""``caviar recheck``: train what was best again, and say whether it still is."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from caviar.cli import logs
from caviar.cli.app import DONE, FAILED, debug_option, folder_argument
from caviar.cli.conduct import Where, conduct, conduct_options
from caviar.cli.table import print_json, print_prose
from caviar.errors import UsageError

if TYPE_CHECKING:
    from caviar.analysis.result import Result
    from caviar.recheck import Retest
    from caviar.store.place import Place


@click.command()
@folder_argument
@click.option(
    "--top", type=click.IntRange(min=1), metavar="N", help="How many of the best settings.  [default: 5]"
)
@click.option(
    "--trial", "trials", type=click.IntRange(min=0), multiple=True, help="This trial instead; may be repeated."
)
@click.option(
    "--fresh", type=click.IntRange(min=0), metavar="N", help="How many fresh settings beside them.  [default: 20]"
)
@click.option(
    "--seeds", type=click.IntRange(min=1), metavar="K", help="How often each of the best is trained.  [default: 3]"
)
@click.option(
    "--out",
    metavar="DIR2",
    help="The folder to make, or a recheck that is there: to compare it again, without training.  "
    "[default: DIR-recheck]",
)
@click.option("--resume", "going_on", is_flag=True, help="Go on with one that was cut off, DIR2 or the last.")
@click.option("--same-metric", is_flag=True, help="The metric has another name now, and is the same.")
@click.option(
    "--file",
    "target",
    metavar="FILE[:NAME]",
    help="The file that defines the Sweep.  [default: the one that DIR was run from]",
)
@conduct_options
@debug_option
def recheck(
    folder: str,
    top: int | None,
    trials: Sequence[int],
    fresh: int | None,
    seeds: int | None,
    out: str | None,
    going_on: bool,
    same_metric: bool,
    target: str | None,
    where: Where,
    as_json: bool,
    **changes: Any,
) -> int:
    """Train the best settings again, with today's code and data, and say whether the choice still holds.

    Each is trained from several seeds, which gives the seed noise, beside fresh settings of the same space;
    nothing is stopped early. All that goes into a sweep folder of its own."""
    from caviar.analysis.result import load
    from caviar.recheck import FRESH, SEEDS, TOP, last_path, next_path, retest
    from caviar.store.layout import SweepFolder
    from caviar.store.place import place

    chosen_executor = where.executor()
    how = {"--top": top, "--trial": trials or None, "--fresh": fresh, "--seeds": seeds}
    there = place(out) if out is not None else last_path(folder) if going_on else None
    if going_on and (there is None or not SweepFolder(there).exists()):
        raise UsageError(f"--resume: {there or f'{folder}-recheck'}: there is no recheck to go on with")
    live = where.live
    then = load(folder)
    if there is not None and SweepFolder(there).exists():
        given = [name for name, value in how.items() if value is not None]
        if given:
            raise UsageError(f"{there}: is there already, so {given[0]} changes nothing; choose another --out")
        _check_of(then, load(there))
        tell = functools.partial(_tell, then, as_json=as_json)
        if not going_on:
            return tell(load(there))
        from caviar.cli.resume import declared

        sweep, source = declared(str(there), target, changes)
        begin = functools.partial(sweep.run, there, chosen_executor, resume=True, source=source)
        return conduct(there, begin, as_json=as_json, live=live, summarize=tell, go_on=_going_on(then, there))
    if top is not None and trials:
        raise UsageError("--top and --trial: give one of them")
    from caviar.cli.resume import declared
    from caviar.store.beginnings import check_new
    from caviar.store.lease import wall_clock_us

    sweep, source = declared(folder, target, changes)
    chosen = retest(
        then,
        sweep.space,
        metric=sweep.metric,
        mode=sweep.mode,
        top=TOP if top is None else top,
        trials=list(trials) or None,
        fresh=FRESH if fresh is None else fresh,
        seeds=SEEDS if seeds is None else seeds,
        same_metric=same_metric,
    )
    into = next_path(folder) if there is None else there
    check_new(SweepFolder(into), wall_clock_us())
    _announce(chosen, into, as_json=as_json)
    return conduct(
        into,
        lambda: sweep.retrain(chosen, into, chosen_executor, source=source),
        as_json=as_json,
        live=live,
        summarize=functools.partial(_tell, then, as_json=as_json),
        go_on=_going_on(then, into),
    )


def _going_on(then: Result, into: Place) -> str:
    return f"caviar recheck {then.path} --out {into} --resume"


def _announce(chosen: Retest, into: Place, *, as_json: bool) -> None:
    for line in chosen.told:
        logs.say(line)
    numbers = ", ".join(str(trial) for trial, _ in chosen.settings)
    what = f"trial{'s' * (len(chosen.settings) > 1)} {numbers} from {chosen.seeds} seed{'s' * (chosen.seeds > 1)}"
    beside = f" and {chosen.fresh} fresh setting{'s' * (chosen.fresh > 1)}" if chosen.fresh else ""
    steps = "to the end" if chosen.max_step is None else f"of {chosen.max_step:,} steps"
    text = f"{into}: {what}{beside}: {chosen.trials:,} trainings {steps}, none of them stopped early"
    if as_json:
        logs.say(text)
    else:
        click.echo(text)


def _check_of(then: Result, now: Result) -> None:
    from caviar.analysis.then_and_now import declared_in

    declared_in(now, of=then)


def _tell(then: Result, now: Result, *, as_json: bool) -> int:
    from caviar.analysis.then_and_now import compare

    found = compare(then, now)
    status = FAILED if found.outcome == "fails" and not found.fresh else DONE
    if as_json:
        print_json(found.to_dict())
        return status
    for line in str(found).splitlines():
        print_prose(line, indent="  ")
    again = f"caviar recheck {then.path} --out {now.path}"
    if now.status == "interrupted":
        click.echo(f"{now.path} was interrupted; go on with: {_going_on(then, now.path)}")
    else:
        click.echo(f"everything is in {now.path}; this again: {again}")
    return status

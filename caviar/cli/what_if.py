"""``caviar what-if``: what other schedulers would have cost, and found."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from caviar.cli import figures, logs
from caviar.cli.app import debug_option, folder_argument
from caviar.cli.scheduler_text import parse_scheduler, scheduler_text
from caviar.cli.table import print_json, print_prose, print_rows
from caviar.errors import UsageError

if TYPE_CHECKING:
    from caviar.analysis.result import Result
    from caviar.analysis.what_if import Cost, WhatIf
    from caviar.schedulers import Scheduler

USUAL = ("asha", "hyperband", "median_stop", "run_all")
"""What is compared where nothing is asked for: all that need no argument."""


@click.command("what-if")
@folder_argument
@click.option(
    "--scheduler",
    "texts",
    metavar="SPEC",
    multiple=True,
    help=f"A name, or asha:grace_steps=2,reduction_factor=4; repeatable.  [default: {', '.join(USUAL)}]",
)
@click.option(
    "--workers", type=click.IntRange(min=1), metavar="N", help="Trials at once.  [default: as in the record]"
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object a scheduler; the record's comes first.")
@debug_option
def what_if(folder: str, texts: Sequence[str], workers: int | None, as_json: bool) -> None:
    """What other schedulers would have cost and found, by the recorded curves.

    The curves are replayed in virtual time, at the pace of the record. How trials that were stopped would have
    gone on nobody knows: where that matters, the table says so, and costs are a range."""
    from caviar.analysis.result import load
    from caviar.analysis.what_if import what_if as replay

    schedulers = [parse_scheduler(text) for text in texts or USUAL]
    result = load(folder)
    if not texts:
        schedulers = _possible(schedulers, result.declaration.get("max_step"))
    found = replay(result, schedulers, workers=workers)
    if as_json:
        for row in (_recorded_json(result, found[0]), *map(_json, found)):
            print_json(row)
        return
    _print(result, found)


def _possible(schedulers: Sequence[Scheduler], max_step: int | None) -> list[Scheduler]:
    """Those that can serve the sweep; a line on standard error for each that cannot."""
    possible = []
    for scheduler in schedulers:
        try:
            scheduler.begin(max_step=max_step)
        except UsageError as error:
            logs.say(f"without {scheduler_text(scheduler.to_dict(), short=True)}: {error}")
        else:
            possible.append(scheduler)
    return possible


# --- for people ----------------------------------------------------------------------------------------------


def _print(result: Result, found: Sequence[WhatIf]) -> None:
    one = found[0]
    names = [
        "scheduler", "steps", "of all", "best kept", "regret", f"top {one.top} kept", "beyond",
        f"best {result.metric}", "training", "of record",
    ]  # fmt: skip
    rows = [_recorded_row(result, one), *map(_row, found)]
    print_rows(names, rows, right=[False, *[True] * (len(names) - 1)])
    click.echo(f"recorded with {scheduler_text(result.declaration['scheduler'])}")
    for line in _notes(found):
        print_prose(line)


def _recorded_row(result: Result, one: WhatIf) -> list[str]:
    steps = one.recorded.steps
    return [
        "as recorded",
        f"{steps:,}",
        _share((steps, steps), None if one.run_all is None else one.run_all.steps),
        "yes" if one.top else figures.MISSING,
        _regret(0.0 if one.top else math.nan),
        str(one.top),
        figures.MISSING,
        figures.number(one.best_recorded),
        figures.duration(one.recorded.seconds),
        _share((steps, steps), steps),
    ]


def _row(one: WhatIf) -> list[str]:
    least, most = one.least, one.most
    steps = (least.steps, None if most is None else most.steps)
    low, high = one.top_kept
    return [
        scheduler_text(one.scheduler.to_dict(), short=True),
        _range(f"{least.steps:,}", None if most is None else f"{most.steps:,}"),
        _share(steps, None if one.run_all is None else one.run_all.steps),
        figures.MISSING if not one.top else {True: "yes", False: "no", None: "unsure"}[one.best_kept],
        _regret(one.regret),
        _range(str(low), str(high)),
        str(one.beyond) if one.beyond else figures.MISSING,
        figures.number(one.best),
        _range(figures.duration(least.seconds), None if most is None else figures.duration(most.seconds)),
        _share(steps, one.recorded.steps),
    ]


def _range(low: str, high: str | None) -> str:
    return low if low == high else f"at least {low}" if high is None else f"{low} to {high}"


def _regret(value: float) -> str:
    return "0" if value == 0 else figures.number(value)


def _share(steps: tuple[int, int | None], of: int | None) -> str:
    if not of:
        return figures.MISSING
    low, high = steps
    return _range(f"{low / of:.0%}", None if high is None else f"{high / of:.0%}")


def _notes(found: Sequence[WhatIf]) -> list[str]:
    one = found[0]
    left_out = f", without {one.unreported:,} that reported nothing" if one.unreported else ""
    at_once = "1 trial at a time" if one.workers == 1 else f"{one.workers} trials at once"
    notes = [f"replayed {at_once}, each at its own pace{left_out}"]
    if any(each.beyond for each in found):
        notes.append(
            "beyond: trials that would have trained past the end of their record: nobody knows how they had ended."
        )
        if any(each.most is None for each in found):
            notes.append("The sweep has no max_step, so nobody knows for how long either: costs are the least.")
        else:
            notes.append("Costs are those if they had been worse than all others from there on, and if better.")
    return notes


# --- for machines --------------------------------------------------------------------------------------------


def _json(one: WhatIf) -> dict[str, Any]:
    least, most = one.least, one.most
    return {
        "scheduler": one.scheduler.to_dict(),
        "record": False,
        "workers": one.workers,
        "steps": [least.steps, None if most is None else most.steps],
        "seconds": [least.seconds, None if most is None else most.seconds],
        "elapsed_s": list(one.elapsed_s),
        "steps_recorded": one.recorded.steps,
        "seconds_recorded": one.recorded.seconds,
        **_all_json(one.run_all),
        "beyond": one.beyond,
        "best": one.best,
        "best_recorded": one.best_recorded,
        "regret": one.regret,
        "best_kept": one.best_kept,
        "top": one.top,
        "top_kept": list(one.top_kept),
        "unreported": one.unreported,
    }


def _recorded_json(result: Result, one: WhatIf) -> dict[str, Any]:
    had = one.recorded
    return {
        **_json(one),
        "scheduler": result.declaration["scheduler"],
        "record": True,
        "workers": None,
        "steps": [had.steps, had.steps],
        "seconds": [had.seconds, had.seconds],
        "elapsed_s": [result.elapsed_s()] * 2,
        "beyond": 0,
        "best": one.best_recorded,
        "regret": 0.0,
        "best_kept": True if one.top else None,
        "top_kept": [one.top, one.top],
    }


def _all_json(cost: Cost | None) -> dict[str, Any]:
    return {
        "steps_of_all": None if cost is None else cost.steps,
        "seconds_of_all": None if cost is None else cost.seconds,
    }

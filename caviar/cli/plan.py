"""``caviar run FILE --plan``: what would happen, how long it would take and what it would cost."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from caviar.cli import figures
from caviar.cli.app import DONE
from caviar.cli.scheduler_text import scheduler_text
from caviar.cli.table import print_json, print_prose
from caviar.forecast import MEASURE_S

if TYPE_CHECKING:
    from caviar.cli.conduct import Where
    from caviar.forecast.estimate import Estimate
    from caviar.forecast.forecast import Forecast
    from caviar.forecast.timings import Timings
    from caviar.schedulers.outlook import Cohort
    from caviar.store.place import Place
    from caviar.sweep import Sweep

FIRST = 9
"""So wide is the column of the names."""

BRIEFEST_S = 1e-3
"""What takes less beside steps is not worth a word."""

MANY_RUNGS = 12
"""Of more, those in the middle are left out."""


def show(
    sweep: Sweep,
    file: Path,
    folder: Place,
    *,
    where: Where,
    measure_s: float | None,
    as_json: bool,
) -> int:
    """Print the plan of a sweep; returns the exit status."""
    seconds = MEASURE_S if measure_s is None else measure_s
    from caviar.store.layout import SweepFolder

    if seconds and not SweepFolder(folder).exists():
        click.echo(
            f"training some trials for up to {figures.duration(seconds)}, to see how long steps take; nothing of "
            "it is kept (--measure-s 0: not at all)",
            err=True,
        )
    found = sweep.forecast(
        path=folder,
        measure_s=seconds,
        workers=where.workers,
        address=where.address,
        autoscale=where.autoscale,
        inline=where.kind == "inline",
    )
    if as_json:
        print_json(_as_dict(found, sweep, file))
        return DONE
    click.echo(f"plan of {file}; nothing is written")
    for name, fact in _facts(found, sweep):
        print_prose(f"  {name.ljust(FIRST)} {fact}", indent=" " * (FIRST + 1))
    for note in found.notes:
        print_prose(f"  note      {note}", indent=" " * (FIRST + 1))
    return DONE


def _facts(found: Forecast, sweep: Sweep) -> Iterator[tuple[str, str]]:
    sampler = sweep.sampler.to_dict()["name"]
    first = f"{found.first:,} given, {found.trials - found.first:,} sampled" if found.first else "sampled"
    yield "trials", f"{found.trials:,}: {first} ({sampler}); each up to {_attempts(sweep)}"
    if len(found.stages) > 1:
        yield "stages", ", then ".join(f"{trials:,}" for trials in found.stages) + " trials"
    until = "until the function returns" if found.max_step is None else f"{found.max_step:,}"
    yield "max_step", until if not found.begin else f"{until}; all begin after step {found.begin:,}"
    yield "scheduler", scheduler_text(sweep.scheduler.to_dict())
    for line in _rungs(found):
        yield "", line
    yield "steps", _steps(found)
    yield "workers", _workers(found, sweep)
    if found.timings is not None:
        yield from _timings(found.timings)
    budget = "" if found.time_budget_s is None else f"; the time budget is {figures.duration(found.time_budget_s)}"
    if found.wall_s is not None:
        at_once = "one trial at a time" if found.workers == 1 else f"{found.workers:,} trials at once"
        yield "time", f"{_estimate(found.wall_s, figures.duration)}, {at_once}{budget}"
    else:
        yield "time", f"not known{budget}"
    if found.training_s is not None and found.workers != 1:
        yield "training", f"{_estimate(found.training_s, figures.duration)}, all trials added up"
    if found.price_per_hour is not None:
        price = f"at {figures.money(found.price_per_hour)} an hour and worker"
        yield "cost", f"{'not known' if found.cost is None else _estimate(found.cost, figures.money)}, {price}"


def _attempts(sweep: Sweep) -> str:
    return "1 attempt" if not sweep.retries else f"{1 + sweep.retries} attempts, where it fails"


def _rungs(found: Forecast) -> Iterator[str]:
    """What is expected at each rung, a line each."""
    least = found.outlook.least_step
    if least is not None:
        yield f"none stops before step {least:,}; how many stop there and later depends on their curves"
        return
    for cohort in found.outlook.cohorts:
        if cohort.name is not None:
            yield f"{cohort.name}: {_trials(cohort.trials)}{'' if cohort.rungs else ', to the end'}"
        yield from _of_cohort(cohort, "  " if cohort.name is not None else "", found)


def _of_cohort(cohort: Cohort, lead: str, found: Forecast) -> Iterator[str]:
    rungs = list(cohort.rungs)
    if len(rungs) > MANY_RUNGS:
        rungs = [*rungs[: MANY_RUNGS - 1], rungs[-1]]
    for number, rung in enumerate(rungs):
        if number and number == MANY_RUNGS - 1:
            yield f"{lead}... {len(cohort.rungs) - MANY_RUNGS:,} more rungs ..."
        spared = f", {_about(rung.spared)} spared" if rung.spared else ""
        reach = _trials(rung.reach) if not number else f"about {_about(rung.reach)}"
        yield f"{lead}step {rung.step:,}: {reach} judged, about {_about(rung.go_on)} go on{spared}"
    if rungs and found.limit is not None:
        yield f"{lead}step {found.limit:,}: about {_about(cohort.to_the_end)} come to the end"


def _trials(count: float) -> str:
    return f"{_about(count)} trial{'' if round(count) == 1 else 's'}"


def _about(count: float) -> str:
    """A number of trials; below one and a half to a tenth."""
    return f"{count:,.0f}" if count >= 1.5 or count == round(count) else f"{count:.1f}"


def _steps(found: Forecast) -> str:
    steps, all_of_them = found.steps, found.steps_of_all
    if steps is None or not all_of_them:
        return "not known"
    if steps.sure:
        return f"{all_of_them:,}; nothing is stopped early"
    said = _estimate(steps, lambda count: f"{round(count):,}")
    if steps.about is None:
        return f"{said}, as nothing may be stopped early"
    return f"{said}: {steps.about / all_of_them:.0%} of the {all_of_them:,} that it takes to stop none"


def _workers(found: Forecast, sweep: Sweep) -> str:
    kinds = sweep.resources.kinds
    wanted = "; otherwise ".join(_amounts(kind.cpus, kind.gpus) for kind in kinds)
    there = found.capacity
    if there is None:
        return f"none: {found.where} trains one trial at a time"
    fits = " and ".join(f"{count:,}" for count in there.fits)
    nodes = "" if there.nodes == 1 else f"{there.nodes:,} nodes, "
    return f"{wanted} each; {fits} fit on {found.where} ({nodes}{_amounts(there.cpus, there.gpus)})"


def _amounts(cpus: float, gpus: float) -> str:
    named = [(cpus, "core"), (gpus, "GPU")]
    return ", ".join(f"{much:g} {noun}{'' if much <= 1 else 's'}" for much, noun in named if much) or "nothing"


def _timings(timings: Timings) -> Iterator[tuple[str, str]]:
    one = timings.trials == 1
    span = "" if one else f", from {_brief(timings.fastest_s)} to {_brief(timings.slowest_s)}"
    middle = _brief(timings.median_s) if one else f"{_brief(timings.median_s)} in the middle"
    yield "a step", f"{middle}{span}: {_trials(timings.trials)}, {timings.source}"
    beside = [("a trial", timings.start_s, ""), ("a worker", timings.setup_s, " to set up")]
    said = [f"{who} {_brief(seconds)}{what}" for who, seconds, what in beside if seconds >= BRIEFEST_S]
    if said:
        yield "", f"beside steps it takes {' and '.join(said)}"


def _brief(seconds: float) -> str:
    """A duration that may be a fraction of a millisecond."""
    if seconds >= 1:
        return figures.duration(seconds)
    return f"{seconds * 1e3:.2g} ms" if seconds < 0.1 else f"{seconds:.2g} s"


def _estimate(found: Estimate, figure: Any) -> str:
    """``about 3 h (2 h to 4 h)``, or ``between 1 h and 4 h``."""
    least, most = figure(found.least), figure(found.most)
    if found.about is None:
        return f"at most {most}, at least {least}"
    about = figure(found.about)
    return f"about {about}" if least == most == about else f"about {about} ({least} to {most})"


def _as_dict(found: Forecast, sweep: Sweep, file: Path) -> dict[str, Any]:
    """The same for machines."""
    plain = dataclasses.asdict(found)
    return {
        "kind": "plan",
        "file": str(file),
        "scheduler": sweep.scheduler.to_dict(),
        "resources": sweep.resources.to_dict(),
        "retries": sweep.retries,
        **plain,
    }

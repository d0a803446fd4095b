"""``caviar panda`` and ``replay``: one live run, and the same once more."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import click

from caviar.cli import figures, logs
from caviar.cli.app import DONE, FAILED, debug_option, folder_argument
from caviar.cli.conduct import Where, changed, conduct, conduct_options
from caviar.cli.run import source_of
from caviar.errors import UsageError
from caviar.store.place import Url, place

if TYPE_CHECKING:
    from caviar.analysis.result import Result
    from caviar.execution.contract import Executor
    from caviar.sweep import Sweep


@click.command()
@click.argument("target", metavar="FILE[:NAME]|DIR")
@click.option("--trial", type=click.IntRange(min=0), metavar="N", help="Of the sweep in DIR: go on from it.")
@click.option(
    "--at-step",
    type=click.IntRange(min=1),
    metavar="N",
    help="From its nearest checkpoint at or before this step.  [default: the newest]",
)
@click.option(
    "--set", "settings", metavar="NAME=VALUE", multiple=True, help="A param at the beginning; repeatable."
)
@click.option(
    "--rule",
    "rules",
    metavar="RULE",
    multiple=True,
    help="A rule that may change params, as OnSpike(scale={'lr': 0.5}), or a function of FILE; repeatable.",
)
@click.option(
    "--out", metavar="DIR2", help="The sweep folder to make.  [default: runs/<stem of FILE>-live, or DIR-trial-N]"
)
@click.option("--max-step", type=click.IntRange(min=1), metavar="N", help="The last step, instead of the Sweep's.")
@click.option(
    "--checkpoint-every",
    type=click.IntRange(min=1),
    metavar="N",
    help="Steps between checkpoints, instead of the Sweep's.",
)
@click.option("--seed", type=int, metavar="N", help="Another seed.")
@conduct_options
@debug_option
def panda(
    target: str,
    trial: int | None,
    at_step: int | None,
    settings: Sequence[str],
    rules: Sequence[str],
    out: str | None,
    checkpoint_every: int | None,
    where: Where,
    as_json: bool,
    **changes: Any,
) -> int:
    """Train one trial of the Sweep that FILE defines, live; or go on with a trial of the sweep in DIR.

    Watch its curve, and from another terminal change its params (caviar set), pause it, or roll it back. Params
    that are not given are the middle of their scale, or those that the trial had."""
    chosen = _one(where).executor()
    from caviar.cli.load_file import find_sweep, import_target, split_target
    from caviar.store.beginnings import check_new
    from caviar.store.layout import SweepFolder
    from caviar.store.lease import wall_clock_us

    params = _params(settings)
    if _is_sweep(target):
        sweep, source = _going_on(target, trial, at_step, changes)
        module = sys.modules[sweep.train.__module__]
        folder = place(out if out is not None else f"{target.rstrip('/')}-trial-{trial or 0}")
    else:
        if trial is not None or at_step is not None:
            raise UsageError(f"--trial and --at-step are of a sweep folder, and {target} is a file")
        file, name = split_target(target)
        module = import_target(target)
        sweep = changed(find_sweep(module, file, name=name), changes)
        folder = place(out) if out is not None else Path("runs") / f"{file.stem}-live"
        params = _complete(sweep, params)
        source = source_of(file, name, changes)
    check_new(SweepFolder(folder), wall_clock_us())
    watching = _rules(rules, module)

    def begin() -> Result:
        run = sweep.panda(
            folder,
            chosen,
            params=params,
            rules=watching,
            checkpoint_every=checkpoint_every,
            source=source,
            background=False,
        )
        return run.result()

    return conduct(folder, begin, as_json=as_json, live=where.live)


@click.command()
@folder_argument
@click.option("--out", metavar="DIR", help="The sweep folder to make.  [default: DIR-replay]")
@click.option(
    "--file",
    "target",
    metavar="FILE[:NAME]",
    help="The file that defines the Sweep.  [default: the one that the run was made from]",
)
@conduct_options
@debug_option
def replay(
    folder: str,
    out: str | None,
    target: str | None,
    where: Where,
    as_json: bool,
    **changes: Any,
) -> int:
    """Repeat a live run: the same params, changed at the same steps, without the branches that it left.

    Says whether the curve is the same, bit for bit, as it is for a training function that depends on nothing but
    its params and seed."""
    chosen = _one(where).executor()
    from caviar import forking
    from caviar.cli.resume import declared
    from caviar.forking import as_declared
    from caviar.panda.live_run import attach
    from caviar.panda.replaying import compare, told
    from caviar.store.beginnings import check_new
    from caviar.store.layout import SweepFolder
    from caviar.store.lease import wall_clock_us

    sweep, source = declared(folder, target, changes)
    run = attach(folder)
    if (trials := run.result().declaration["trials"]) != 1:
        raise UsageError(f"{folder}: is a sweep of {trials} trials; what can be repeated is a live run")
    schedule = run.schedule()
    if not schedule.last_step:
        raise UsageError(f"{folder}: has not reported a step yet, so there is nothing to repeat")
    made = place(out if out is not None else f"{folder.rstrip('/')}-replay")
    check_new(SweepFolder(made), wall_clock_us())
    how = run.result().declaration
    again = sweep.but(seed=how["seed"], schedule=None)
    if how.get("origin") is not None:
        again = again.but(**as_declared(how) | {"origin": forking.again(folder, how), "schedule": None})

    def begin() -> Result:
        every, last = how.get("checkpoint_every"), schedule.last_step
        repeated = again.panda(
            made, chosen, schedule=schedule, checkpoint_every=every, max_step=last, source=source, background=False
        )
        return repeated.result()

    status = conduct(made, begin, as_json=as_json, live=where.live)
    if status != DONE:
        return status
    difference = compare(run, attach(made))
    click.echo(told(schedule, difference), err=as_json)
    return DONE if difference is None else FAILED


def go_on_live(
    sweep: Sweep, folder: str, executor: Executor, *, declaration: Mapping[str, Any], module: ModuleType
) -> Callable[..., Any]:
    """What goes on with a live run, as ``Sweep.run`` does with a sweep: with the params, rules and schedule on
    record."""
    from caviar.panda.rule_hand import recorded

    rules = recorded(declaration["panda"], functions=_functions(module), where=folder)

    def begin(**how: Any) -> Result:
        run = sweep.panda(
            folder,
            executor,
            params=declaration["first"][0] if declaration["first"] else None,  # a fork has its origin's
            rules=rules,
            schedule=dict(declaration.get("schedule") or ()),
            checkpoint_every=declaration["checkpoint_every"],
            max_step=declaration["max_step"],
            resume=True,
            background=False,
            **how,
        )
        return run.result()

    return begin


def _complete(sweep: Sweep, given: Mapping[str, Any]) -> dict[str, Any]:
    """All params; those that were not given are told, above whatever is shown of the run."""
    params = sweep.space.middle(given)
    missing = {name: value for name, value in params.items() if name in sweep.space.varying and name not in given}
    if missing:
        logs.say(f"not given, so the middle of their scale: {figures.params(missing)}")
    return params


def _is_sweep(target: str) -> bool:
    """Whether it is the folder of a sweep, or may be its URL, rather than a file."""
    return isinstance(place(target), Url) or Path(target, "sweep.json").exists()


def _going_on(
    folder: str, trial: int | None, at_step: int | None, changes: Mapping[str, Any]
) -> tuple[Sweep, dict[str, Any]]:
    """The Sweep of one trial that goes on from a trial of another, and where it is from."""
    from caviar.analysis.result import load
    from caviar.cli.resume import declared

    count = len(load(folder).trials())
    if trial is None and count > 1:
        raise UsageError(f"{folder}: has {count} trials; say which one to go on with, as --trial 0")
    freely = {name: value for name, value in changes.items() if name not in ("max_step", "seed")}
    sweep, source = declared(folder, None, freely)
    return sweep.forked(folder, trial=trial or 0, at_step=at_step, max_step=changes["max_step"]), source


def _params(settings: Sequence[str]) -> dict[str, Any]:
    from caviar.cli.settings import value_of

    params: dict[str, Any] = {}
    for text in settings:
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise UsageError(f"--set {text}: needs a param and its value, as in --set lr=0.1")
        try:
            params[name.strip()] = value_of(value.strip())
        except UsageError as error:
            raise UsageError(f"--set {text:.60}: {error}") from None
    return params


def _rules(texts: Sequence[str], module: ModuleType) -> list[Any]:
    from caviar.panda.rules import parse

    return [parse(text, _functions(module)) for text in texts]


def _functions(module: ModuleType) -> dict[str, Callable[..., Any]]:
    return {name: value for name, value in vars(module).items() if inspect.isfunction(value)}


def _one(where: Where) -> Where:
    if where.workers is not None and where.workers != 1:
        raise UsageError(f"--workers {where.workers}: a live run is one trial, so it has one")
    return where

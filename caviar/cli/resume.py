"""``caviar resume`` and ``extend``: go on with a sweep that was cut off, or beyond what it had."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from caviar.cli import logs
from caviar.cli.app import debug_option, folder_argument
from caviar.cli.ask import ask, timeout_option
from caviar.cli.conduct import Where, changed, conduct, conduct_options
from caviar.cli.run import source_of
from caviar.errors import UsageError

if TYPE_CHECKING:
    from caviar.sweep import Sweep

AnyFunction = TypeVar("AnyFunction", bound=Callable[..., Any])

_OPTIONS = (
    click.option(
        "--file",
        "target",
        metavar="FILE[:NAME]",
        help="The file that defines the Sweep.  [default: the one that the sweep was run from]",
    ),
    click.option("--allow-change", is_flag=True, help="Go on although space, metric, code, ... have changed."),
    click.option("--take-over", is_flag=True, help="Also from a driver that seems to be alive, which then stops."),
)

_NUMBERS = ("trials", "max_step", "seed", "cpus", "gpus")
"""What `run` may change of the Sweep in its file."""


def resume_options(command: AnyFunction) -> AnyFunction:
    """The options of every command that goes on with a sweep."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


@click.command()
@folder_argument
@resume_options
@conduct_options
@debug_option
def resume(
    folder: str,
    target: str | None,
    allow_change: bool,
    take_over: bool,
    where: Where,
    as_json: bool,
    **changes: Any,
) -> int:
    """Go on with a sweep after a crash or Ctrl-C.

    Trials that have ended are not run again; those that were cut off start from their last checkpoint.
    """
    chosen = where.executor()
    from caviar.analysis.result import load
    from caviar.store.place import place

    sweep, source = declared(folder, target, changes)
    begin: Callable[..., Any] = functools.partial(sweep.run, folder, chosen, resume=True)
    more = "--trials N adds trials"
    if (how := load(folder).declaration).get("panda") is not None:
        from caviar.cli.panda import go_on_live

        begin = go_on_live(sweep, folder, chosen, declaration=how, module=sys.modules[sweep.train.__module__])
        more = "--max-step N trains on"
    elif not allow_change:  # before anything is said or shown of the one that is there
        refuse_another(folder, sweep)
    tell_if_ended(folder, more)
    return conduct(
        place(folder),
        lambda: begin(allow_change=allow_change, take_over=take_over, source=source),
        as_json=as_json,
        live=where.live,
    )


@click.command()
@folder_argument
@click.option("--trials", type=click.IntRange(min=1), metavar="N", help="So many more trials.")
@click.option("--max-step", type=click.IntRange(min=1), metavar="N", help="Train up to this step.")
@resume_options
@timeout_option
@conduct_options
@debug_option
def extend(
    folder: str,
    trials: int | None,
    max_step: int | None,
    target: str | None,
    allow_change: bool,
    take_over: bool,
    timeout_s: float,
    where: Where,
    as_json: bool,
    **changes: Any,
) -> int:
    """Add trials or steps to a sweep, finished, cut off or running.

    With --max-step, completed trials that have a checkpoint train on. With --allow-change and another space in
    FILE, the further trials are a new stage.
    """
    if trials is None and max_step is None:
        raise UsageError("extend: by nothing; give --trials N, --max-step N or both")
    from caviar.store.place import place
    from caviar.store.reader import Reader

    reader = Reader(folder, metrics=False)
    if reader.state() == "running" and not take_over:
        reader.refresh()
        asked: dict[str, Any] = {"trials": trials, "max_step": max_step}
        if allow_change:
            space = declared(folder, target, changes)[0].space.to_dict()
            asked["space"] = None if space == reader.declaration["space"] else space
        given = {name: value for name, value in asked.items() if value is not None}
        return ask(folder, "extend", args=given, timeout_s=timeout_s, as_json=as_json)
    chosen = where.executor()
    sweep, source = declared(folder, target, changes)
    reader.refresh()
    if reader.declaration.get("panda") is not None:
        from caviar.cli.panda import go_on_live

        if trials is not None or max_step is None:
            raise UsageError(f"{folder}: is a live run, of one trial: it can be extended by --max-step alone")
        module = sys.modules[sweep.train.__module__]
        go_on = go_on_live(sweep, folder, chosen, declaration=reader.declaration, module=module)
        return conduct(
            place(folder),
            lambda: go_on(extend_to=max_step, allow_change=allow_change, take_over=take_over, source=source),
            as_json=as_json,
            live=where.live,
        )
    return conduct(
        place(folder),
        lambda: sweep.extend(
            folder,
            chosen,
            trials=trials or 0,
            max_step=max_step,
            allow_change=allow_change,
            take_over=take_over,
            source=source,
        ),
        as_json=as_json,
        live=where.live,
    )


def refuse_another(folder: str, sweep: Sweep) -> None:
    """`UsageError` where a Sweep is not the one that was recorded in a folder, or a fork's or recheck's of it."""
    from caviar.launch import check_same
    from caviar.store.layout import SweepFolder
    from caviar.store.place import place
    from caviar.sweep import declared_in

    check_same(SweepFolder(place(folder)), declared_in(folder, sweep).declaration(""))


def tell_if_ended(folder: str, more: str) -> None:
    """Say that a sweep has ended, where it has, and nobody wants more of it; ``more``: what adds to it."""
    from caviar.adopting import asked
    from caviar.analysis.result import load
    from caviar.store.layout import SweepFolder
    from caviar.store.place import place

    before = load(folder)
    done = before.ended == "done" and len(before.trials()) >= before.declaration["trials"]
    if done and asked(SweepFolder(place(folder))) is None:
        logs.say(f"{folder}: has ended already; caviar extend {folder} {more}")


def declared(folder: str, target: str | None, changes: dict[str, Any]) -> tuple[Sweep, dict[str, Any]]:
    """The Sweep to go on with, and where it is from: the file given, or the one on record."""
    from caviar.cli.load_file import import_target, pick_sweep, split_target
    from caviar.store.reader import Reader

    reader = Reader(folder, metrics=False)
    reader.refresh()
    declaration = reader.declaration
    recorded = declaration.get("source")
    recorded = recorded if isinstance(recorded, dict) else {}
    if target is None:
        target = _recorded_target(folder, recorded)
    file, name = split_target(target)
    asked = {**_recorded_changes(folder, recorded), **{k: v for k, v in changes.items() if v is not None}}

    def fits(sweep: Sweep) -> bool:
        # the module's name depends on how the file was loaded
        names = [str(one).rpartition(":")[2] for one in (sweep.declaration("")["train"], declaration.get("train"))]
        return names[0] == names[1]

    sweep = pick_sweep(import_target(target), file, name=name, fits=fits)
    return changed(sweep, asked), source_of(file, name, asked)


def _recorded_changes(folder: str, recorded: dict[str, Any]) -> dict[str, Any]:
    """What `run` was told on its command line: numbers, whoever wrote them down."""
    made = recorded.get("changes", {})
    if not isinstance(made, dict):
        raise UsageError(f"{folder}/sweep.json: damaged: source.changes is {made!r:.80}, not an object")
    for name, value in made.items():
        if name not in _NUMBERS or type(value) not in (int, float):
            raise UsageError(
                f"{folder}/sweep.json: damaged: source.changes has {name!r:.80}: {value!r:.80}; "
                f"it has numbers for {', '.join(_NUMBERS)}"
            )
    return made


def _recorded_target(folder: str, recorded: dict[str, Any]) -> str:
    file, name = recorded.get("file"), recorded.get("name")
    mend = "name the file that defines the Sweep with --file FILE[:NAME]"
    if not isinstance(file, str):
        raise UsageError(f"{folder}: its sweep.json does not say which file it was run from; {mend}")
    path = Path(file)
    try:
        there = path.is_file()
    except OSError:  # longer than any name
        there = False
    if not there:
        raise UsageError(f"{folder}: was run from {_shown(file)}, which is not there any more; {mend}")
    if path.resolve().is_relative_to(Path(folder).resolve()):
        raise UsageError(f"{folder}: says it was run from {file}, which lies in the sweep folder itself; {mend}")
    if name is None:
        return file
    if not isinstance(name, str) or not (name.isidentifier() and len(name) < 200):
        raise UsageError(
            f"{folder}/sweep.json: damaged: source.name is {name!r:.80}, not the name of a Sweep; {mend}"
        )
    return f"{file}:{name}"


def _shown(file: str) -> str:
    return file if file.isprintable() and len(file) < 500 else f"{file!r:.200}"

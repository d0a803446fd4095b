"""What `run`, `resume` and `extend` have in common: the executor, the display, the summary."""

from __future__ import annotations

import dataclasses
import functools
import os
from collections import Counter
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar, cast

import click

from caviar.cli import costs, figures, logs
from caviar.cli.app import DONE, INTERRUPTED
from caviar.cli.table import print_json
from caviar.errors import CaviarError, UsageError
from caviar.faults import SAME_FAULT
from caviar.jobs.entry import WITHIN_JOB
from caviar.trial import Params

if TYPE_CHECKING:
    from caviar.analysis.result import Best, Result
    from caviar.execution.contract import Executor
    from caviar.store.place import Place
    from caviar.sweep import Sweep

AnyFunction = TypeVar("AnyFunction", bound=Callable[..., Any])

_CREW = (
    click.option(
        "--workers", type=click.IntRange(min=1), metavar="N", help="Trials at once.  [default: what fits]"
    ),
    click.option("--autoscale", is_flag=True, help="The cluster grows: ask its autoscaler for nodes."),
    click.option("--cpus", type=click.FloatRange(min=0), metavar="N", help="Cores for each trial."),
    click.option(
        "--gpus", type=click.FloatRange(min=0), metavar="N", help="GPUs for each trial; may be a fraction."
    ),
)
_OPTIONS = (
    click.option(
        "--executor",
        type=click.Choice(["ray", "inline"]),
        default="ray",
        show_default=True,
        help="Where trials run: inline is this process, one at a time, for a debugger.",
    ),
    click.option(
        "--address", metavar="A", help="The Ray cluster to use.  [default: RAY_ADDRESS, else this machine]"
    ),
    *_CREW,
    click.option("--json", "as_json", is_flag=True, help="One JSON object a line."),
)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Where:
    """Where trials are to run, as the command line says."""

    kind: str
    address: str | None
    workers: int | None
    autoscale: bool

    @property
    def live(self) -> bool:
        """Whether training leaves the terminal free for a live view: not to a debugger, say."""
        return self.kind != "inline"

    def executor(self) -> Executor:
        """The executor; `UsageError` for options that it does not have."""
        from caviar import execution

        if self.kind == "ray":
            return execution.Ray(self.address, workers=self.workers, autoscale=self.autoscale)
        given = {"--address": self.address, "--workers": self.workers, "--autoscale": self.autoscale or None}
        for option, value in given.items():
            if value is not None:
                told = option if value is True else f"{option} {value}"
                raise UsageError(f"{told}: the inline executor has none; leave it out, or use --executor ray")
        return execution.Inline()


def conduct_options(command: AnyFunction) -> AnyFunction:
    """The options of every command that runs trials: ``where``, a `Where`, and the rest by their names."""

    @functools.wraps(command)
    def gathered(
        *args: Any, executor: str, address: str | None, workers: int | None, autoscale: bool, **rest: Any
    ) -> Any:
        where = Where(kind=executor, address=address, workers=workers, autoscale=autoscale)
        return command(*args, where=where, **rest)

    for option in reversed(_OPTIONS):
        gathered = option(gathered)
    return cast(AnyFunction, gathered)


def crew_options(command: AnyFunction) -> AnyFunction:
    """How many trials at once, and with what, where it is known that they run on a cluster."""
    for option in reversed(_CREW):
        command = option(command)
    return command


def changed(sweep: Sweep, changes: Mapping[str, Any]) -> Sweep:
    """The Sweep with what the command line says otherwise."""
    asked = {name: value for name, value in changes.items() if value is not None}
    amounts = {name: asked.pop(name) for name in ("cpus", "gpus") if name in asked}
    if amounts:
        asked["resources"] = dataclasses.replace(sweep.resources, **amounts, otherwise=None)
    return sweep.but(**asked) if asked else sweep


def conduct(
    folder: Place,
    begin: Callable[[], Result],
    *,
    as_json: bool,
    live: bool,
    summarize: Callable[[Result], int] | None = None,
    go_on: str | None = None,
) -> int:
    """Run a sweep into ``folder`` with what ``begin`` does, and show it; returns the exit status. ``summarize``:
    says what was found, in place of the usual summary."""
    from caviar.cli.follow import shown
    from caviar.cli.lines import choose_display
    from caviar.store.layout import SweepFolder

    logs.about(folder)
    try:
        with shown(folder, choose_display(json=as_json, live=live)):
            result = begin()
    except KeyboardInterrupt:
        so_far = f"everything so far is in {folder}"
        if WITHIN_JOB not in os.environ:  # else who follows or ends the job says how
            so_far += f"; go on with: {go_on or f'caviar resume {folder}'}"
        logs.say(f"interrupted; {so_far if SweepFolder(folder).exists() else 'nothing was started yet'}")
        return INTERRUPTED
    if summarize is not None:
        return summarize(result)
    _summarize(result, as_json=as_json)
    return DONE


def _summarize(result: Result, *, as_json: bool) -> None:
    """Say what was found; raises `CaviarError` if no trial completed or was stopped."""
    counts = result.counts()
    worked = counts.get("completed", 0) + counts.get("stopped", 0)
    if as_json:
        print_json(_as_dict(result))
    if not worked:
        raise CaviarError(_failure(result))
    reason = result.ended
    if reason is not None and reason.startswith(SAME_FAULT):
        raise CaviarError(f"stopped early: {reason} (traceback: caviar events {result.path} --kind trial_ended)")
    saved = result.savings()
    if as_json:
        return
    if result.declaration.get("panda") is not None:
        _summarize_run(result)
        return
    click.echo(f"{sum(counts.values()):,} trials: {figures.counts(counts)}")
    _tell_best(result, lambda best: (f"{best.step} of trial {best.trial}", best.params))
    if saved.trials_stopped:
        click.echo(
            f"early stopping saved {saved.fraction:.0%} of the steps: {saved.steps:,} trained instead of "
            f"{saved.steps_without:,}"
        )
    _tell_cost(result)
    click.echo(f"everything is in {result.path}")
    if (again := result.declaration.get("recheck")) is not None:
        click.echo(f"what that means: caviar recheck {again['path']} --out {result.path}")


def _summarize_run(result: Result) -> None:
    """Say what came of a live run: its params are those of the best step, which may not be those that it began
    with."""
    from caviar.panda.live_run import LiveRun

    run = LiveRun(result.path)
    click.echo(f"{run.status} at step {run.step:,}")
    _tell_best(result, lambda best: (f"{best.step:,}, trained with", run.params_at(best.step)))
    _tell_cost(result)
    click.echo(f"everything is in {result.path}")


def _tell_best(result: Result, found: Callable[[Best], tuple[str, Params]]) -> None:
    """Say what was best, at which step, and with which params, or that nothing was."""
    try:
        best = result.best
    except CaviarError as error:
        click.echo(str(error))
        return
    where, params = found(best)
    click.echo(f"best {result.metric} {figures.number(best.value)} at step {where}:")
    click.echo(f"  {figures.params(params)}")


def _tell_cost(result: Result) -> None:
    """Say what it cost, if a price is known."""
    cost = result.cost()
    told = costs.told(dataclasses.replace(cost, to_come=None))
    if told is None:
        return
    saved = f"; early stopping saved about {figures.money(cost.saved)}" if cost.saved else ""
    click.echo(f"cost {told}, for {figures.duration(cost.hours * 3600)} of training{saved}")


def _as_dict(result: Result) -> dict[str, Any]:
    from caviar.panda.live_run import LiveRun

    saved, cost = result.savings(), result.cost()
    try:
        best = dataclasses.asdict(result.best)
        if result.declaration.get("panda") is not None:
            best["params"] = LiveRun(result.path).params_at(best["step"])
    except CaviarError:
        best = None
    return {
        "kind": "result",
        "folder": str(result.path),
        "state": result.status,
        "counts": result.counts(),
        "metric": result.metric,
        "best": best,
        "steps": saved.steps,
        "steps_without_stopping": saved.steps_without,
        "hours": cost.hours,
        "spent": cost.spent,
        "saved": cost.saved,
    }


def _failure(result: Result) -> str:
    """Why no trial came to anything, in one line, and how to learn more."""
    frame = result.trials()
    failed = frame[frame["status"] == "failed"]
    if not len(failed):
        return f"{result.path}: no trial completed or was stopped"
    reason, count = Counter(failed["reason"].astype(str)).most_common(1)[0]
    trial = failed.index[failed["reason"].astype(str) == reason][0]
    often = "each time" if count == len(failed) else f"{count} times"
    return (
        f"no trial completed or was stopped: {len(failed)} failed, {often} with: {reason} "
        f"(traceback: caviar events {result.path} --trial {trial})"
    )

"""``caviar trials``, ``best`` and ``curves``: what a sweep found, as tables."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from caviar.cli import figures
from caviar.cli.afar import address_option
from caviar.cli.app import debug_option, folder_argument
from caviar.cli.table import Form, form_options, print_frame, print_json, print_rows
from caviar.errors import UsageError
from caviar.trial import TrialState

if TYPE_CHECKING:
    import pandas as pd

    from caviar.analysis.result import Result

SPARKLINE_WIDTH = 32


@click.command()
@folder_argument
@click.option(
    "--sort",
    metavar="COL",
    help="Sort by a column (lr for params.lr): the sweep's metric best first, others rising; -COL reverses.",
)
@click.option(
    "--top", type=click.IntRange(min=1), help="Only the first N; without --sort the best by last report."
)
@click.option(
    "--status", type=click.Choice([state.value for state in TrialState]), help="Only trials in this state."
)
@form_options()
@address_option
@debug_option
def trials(folder: str, sort: str | None, top: int | None, status: str | None, form: Form | None) -> None:
    """All trials: params, state, last metrics."""
    from caviar.analysis.result import load

    result = load(folder)
    frame = result.trials()
    if status is not None:
        frame = frame[frame["status"] == status]
    if sort is None and top is not None:
        sort = f"metrics.{result.metric}"
    if sort is not None:
        frame = _sorted(frame, sort, result)
    if top is not None:
        frame = frame.head(top)
    print_frame(frame if form else _readable(frame), form or "text")


def _sorted(frame: pd.DataFrame, sort: str, result: Result) -> pd.DataFrame:
    name = sort.removeprefix("-")
    column = _column(frame, name)
    rising = not (column == f"metrics.{result.metric}" and result.maximize)
    if sort.startswith("-"):
        rising = not rising
    frame = frame.reset_index()
    try:
        # missing ones last, whichever way; the sort is stable, so ties stay by trial
        frame = frame.sort_values(column, ascending=rising, kind="stable", na_position="last")
    except TypeError:  # a choice among numbers and texts
        frame = frame.sort_values(column, ascending=rising, kind="stable", key=lambda values: values.astype(str))
    return frame.set_index("trial")


def _column(frame: pd.DataFrame, name: str) -> str:
    """The column that a person means by a name, with or without what stands before the dot."""
    columns = ["trial", *map(str, frame.columns)]
    if name in columns:
        return name
    meant = [column for column in (f"metrics.{name}", f"params.{name}") if column in columns]
    if len(meant) == 1:
        return meant[0]
    problem = f"is both {meant[0]} and {meant[1]}" if meant else "is no column"
    raise UsageError(f"--sort {name}: {name!r} {problem}; there are {', '.join(columns)}")


def _readable(frame: pd.DataFrame) -> pd.DataFrame:
    """The columns that a person reads, those first that matter most: no stage or attempts that are the same for
    all, and how long, not when."""
    import pandas as pd

    seconds = (frame["end_time"] - frame["start_time"]).dt.total_seconds()
    frame = frame.assign(time=pd.Series([figures.duration(each) for each in seconds], frame.index, dtype=object))
    frame = frame.drop(columns=["start_time", "end_time"])
    for name, usual in (("stage", 0), ("attempts", 1), ("by_hand", False), ("spared", False)):
        if (frame[name] == usual).all():
            frame = frame.drop(columns=name)
    if frame["reason"].isna().all():
        frame = frame.drop(columns="reason")
    names = [str(name) for name in frame.columns]
    metrics = [name for name in names if name.startswith("metrics.")]
    params = [name for name in names if name.startswith("params.")]
    others = [name for name in names if name not in ("status", "steps", "reason", *metrics, *params)]
    order = ["status", "steps", *metrics, *params, *others, *(name for name in ("reason",) if name in names)]
    return frame[order].rename(columns=_short_names(order))


def _short_names(columns: list[str]) -> dict[str, str]:
    """``params.lr`` -> ``lr``, wherever no other column is called so."""
    short = {
        name: name.split(".", 1)[-1] if name.startswith(("params.", "metrics.")) else name for name in columns
    }
    taken = list(short.values())
    return {name: new for name, new in short.items() if new != "trial" and taken.count(new) == 1}


@click.command()
@folder_argument
@click.option("--top", type=click.IntRange(min=1), help="The N best trials as a table.")
@form_options()
@address_option
@debug_option
def best(folder: str, top: int | None, form: Form | None) -> None:
    """The best setting: of all reports of all trials, the best."""
    from caviar.analysis.result import load

    result = load(folder)
    if top is not None or form == "csv":
        frame = result.top(top or 1)
        if form is None:
            columns = [str(name) for name in frame.columns]
            frame = frame.rename(columns={**_short_names(columns), "value": result.metric})
        print_frame(frame, form or "text")
        return
    found = result.best
    if form == "json":
        print_json(
            {
                "trial": found.trial,
                "metric": result.metric,
                "value": found.value,
                "step": found.step,
                "params": found.params,
                "metrics": found.metrics,
            }
        )
        return
    click.echo(f"{result.metric} {figures.number(found.value)} at step {found.step} of trial {found.trial}")
    width = max(map(len, found.params), default=0)
    for name, value in found.params.items():
        click.echo(f"  {name.ljust(width)}  {figures.number(value)}")
    others = {name: value for name, value in found.metrics.items() if name != result.metric}
    if others:
        click.echo(f"there: {figures.params(others)}")


@click.command()
@folder_argument
@click.option("--trial", "wanted", type=int, multiple=True, help="Every report of this trial; may be repeated.")
@click.option("--top", type=click.IntRange(min=1), default=20, show_default=True, help="How many trials to draw.")
@form_options()
@address_option
@debug_option
def curves(folder: str, wanted: tuple[int, ...], top: int, form: Form | None) -> None:
    """The learning curves, drawn; with --trial, --csv or --json in numbers."""
    from caviar.analysis.result import load

    result = load(folder)
    if not wanted and form is None:
        _draw(result, top)
        return
    frame = result.curves()
    if wanted:
        check_trials(result, wanted)
        frame = frame[frame["trial"].isin(wanted)]
    print_frame(frame, form or "text", index=False)


def _draw(result: Result, top: int) -> None:
    """One line a trial, the best first: its curve between the bounds of all that are drawn."""
    leaders = result.top(top)
    reports = result.curves()
    reports = reports[reports["trial"].isin(leaders.index)]
    if len(leaders):  # otherwise nobody has reported the metric, and there may be no such column
        reports = reports.dropna(subset=[result.metric])
    by_trial = {trial: reports.loc[reports["trial"] == trial, result.metric].tolist() for trial in leaders.index}
    low, high = figures.bounds(by_trial.values())
    rows = [
        [
            str(trial),
            status,
            str(len(by_trial[trial])),
            figures.number(float(value)),
            str(step),
            figures.sparkline(by_trial[trial], SPARKLINE_WIDTH, low, high),
        ]
        for trial, status, value, step in zip(
            leaders.index.tolist(), leaders["status"], leaders["value"], leaders["step"], strict=True
        )
    ]
    names = ["trial", "status", "reports", f"best {result.metric}", "at step", "curve"]
    print_rows(names, rows, right=[True, False, True, True, True, False])


def check_trials(result: Result, wanted: tuple[int, ...]) -> None:
    """Raise `UsageError` for a trial that the sweep does not have."""
    known = result.trials().index
    for trial in wanted:
        if trial not in known:
            have = f"it has trials {known.min()} to {known.max()}" if len(known) else "it has no trials yet"
            raise UsageError(f"{result.path}: has no trial {trial}; {have}")

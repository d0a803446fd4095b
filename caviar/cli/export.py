"""``caviar export``: a sweep in files of other tools."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from caviar.cli import logs
from caviar.cli.app import debug_option, folder_argument
from caviar.errors import UsageError

if TYPE_CHECKING:
    from caviar.store.place import Place

MANY_RUNS = 500
"""With more runs than this TensorBoard is slow."""


@click.command()
@folder_argument
@click.option("--to", type=click.Choice(["csv", "tensorboard"]), required=True, help="What to make of it.")
@click.option("--out", type=click.Path(), help="The folder to make; by default DIR and -csv, or -tensorboard.")
@click.option("--top", type=click.IntRange(min=1), help="Only the N best trials.")
@click.option("--trial", "wanted", type=int, multiple=True, help="Only this trial; may be repeated.")
@click.option(
    "--attempts",
    type=click.Choice(["last", "all"]),
    default="last",
    show_default=True,
    help="Of CSV: only what the last attempt of each trial saw, or all.",
)
@click.option("--tidy", is_flag=True, help="Of CSV: a row a value in curves.csv, instead of a column a metric.")
@click.option("--replace", is_flag=True, help="Also where an earlier export lies, in its place.")
@debug_option
def export(
    folder: str,
    to: Literal["csv", "tensorboard"],
    out: str | None,
    top: int | None,
    wanted: tuple[int, ...],
    attempts: Literal["last", "all"],
    tidy: bool,
    replace: bool,
) -> None:
    """Write a sweep as CSV, or for TensorBoard.

    The folder that it makes is there as a whole or not at all. Sweeps that are running, or were interrupted, are
    exported as far as they have come.
    """
    from caviar.analysis.result import load
    from caviar.cli.tables import check_trials

    if top is not None and wanted:
        raise UsageError("--top and --trial: give one of the two")
    if to == "tensorboard":
        for option, given in (("--tidy", tidy), ("--attempts all", attempts == "all")):
            if given:
                raise UsageError(f"{option}: is for --to csv; TensorBoard has one curve a trial")
    result = load(folder)
    check_trials(result, wanted)
    made = result.export(
        out or _beside(result.path, to),
        to,
        top=top,
        trials=wanted or None,
        attempts=attempts,
        tidy=tidy,
        replace=replace,
    )
    _tell(json.loads((made / "export.json").read_text("utf-8")), _shown(made))


def _beside(path: Place, to: str) -> Path:
    """Beside the sweep; what lies elsewhere is exported into the current folder."""
    if isinstance(path, str):
        return Path(f"{path.name}-{to}")
    path = path if path.name not in ("", "..") else path.resolve()
    return path.with_name(f"{path.name}-{to}")


def _shown(path: Path) -> str:
    """As a person would type it."""
    here = Path.cwd()
    return shlex.quote(str(path.relative_to(here) if path.is_relative_to(here) else path))


def _tell(record: dict[str, Any], where: str) -> None:
    trials, of = record["trials"], record["of_trials"]
    count = f"{trials:,} trials" if trials == of else f"{trials:,} of {of:,} trials"
    reports, events = f"{record['reports']:,} reports", f"{record['events']:,} events"
    if record["to"] == "csv":
        click.echo(f"{count}, {reports} and {events} are in {where}: curves.csv, trials.csv, events.csv")
        return
    click.echo(f"{count} and {reports} are in {where}; look at them with")
    click.echo(f"  tensorboard --logdir {where}")
    if trials > MANY_RUNS:
        logs.say(f"TensorBoard is slow with so many runs: --top {MANY_RUNS // 5} exports the best alone")

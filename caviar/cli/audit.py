"""``caviar audit``: what early stopping saved, and what it cost."""

from __future__ import annotations

import math
from dataclasses import asdict, fields
from typing import TYPE_CHECKING, Any, Literal

import click

from caviar.cli import figures
from caviar.cli.app import debug_option, folder_argument
from caviar.cli.table import Form, form_options, print_json, print_prose, print_rows

if TYPE_CHECKING:
    from caviar.analysis.audit import Audit


@click.command()
@folder_argument
@click.option(
    "--by",
    type=click.Choice(["last", "best"]),
    default="last",
    show_default=True,
    help="What counts as the end of a trial: its last value, or the best of its curve.",
)
@form_options(csv=False)
@debug_option
def audit(folder: str, by: Literal["last", "best"], form: Form | None) -> None:
    """What early stopping saved, and what it cost.

    What it cost is told by trials that were spared, as with Asha(spare=0.05): they would have been stopped, and
    ran to their end."""
    from caviar.analysis.result import load

    found = load(folder).audit(by)
    if form == "json":
        print_json(_as_dict(found))
        return
    for line in found.in_words():
        print_prose(line)
    if len(found.rungs):
        click.echo()
        _print_rungs(found)


def _print_rungs(found: Audit) -> None:
    """The columns that say something here, in the figures of the words above."""
    frame = found.rungs.drop(columns="of_all")
    if not found.spared:
        frame = frame.drop(columns=["spared", "pairs_spared", "steps_spent", "seconds_spent"])
    shown = {name: [_shown(str(name), value) for value in frame[name].tolist()] for name in frame.columns}
    names = [name.replace("seconds", "training").replace("_", " ") for name in shown]
    print_rows(names, list(zip(*shown.values(), strict=True)), right=[True] * len(names))


def _shown(name: str, value: float) -> str:
    from caviar.analysis.audit_words import duration

    if math.isnan(value):
        return figures.MISSING
    if name == "correlation":
        return f"{value:.2f}"
    if name.startswith("seconds"):
        return duration(value) if value else "0 s"
    return f"{value:,.0f}"


def _as_dict(found: Audit) -> dict[str, Any]:
    told = {field.name: getattr(found, field.name) for field in fields(found)}
    rungs = found.rungs
    rows = [dict(zip(rungs.columns, row, strict=True)) for row in rungs.itertuples(index=False, name=None)]
    return {
        **told,
        "fraction_saved": found.fraction_saved,
        "rungs": rows,
        "control": None if found.control is None else asdict(found.control),
        "text": list(found.in_words()),
    }

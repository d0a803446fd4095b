"""``caviar audit``: what early stopping saved, and what it cost."""

from __future__ import annotations

from dataclasses import asdict, fields
from typing import TYPE_CHECKING, Any, Literal

import click

from caviar.cli.app import debug_option, folder_argument
from caviar.cli.table import Form, form_options, print_frame, print_json

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
        click.echo(line)
    if len(found.rungs):
        click.echo()
        print_frame(_readable(found), "text", index=False)


def _readable(found: Audit) -> Any:
    """The columns that say something here."""
    frame = found.rungs.drop(columns="of_all")
    if not found.spared:
        frame = frame.drop(columns=["spared", "pairs_spared", "steps_spent", "seconds_spent"])
    whole = [name for name in ("steps_saved", "steps_spent") if name in frame and frame[name].notna().all()]
    return frame.astype(dict.fromkeys(whole, "int64"))


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

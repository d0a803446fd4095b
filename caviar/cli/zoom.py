"""``caviar zoom``: the space around the trials that did best."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from caviar.cli import figures
from caviar.cli.app import debug_option, folder_argument
from caviar.cli.table import Form, form_options, print_json

if TYPE_CHECKING:
    from caviar.space.narrowed import NarrowedSpace


@click.command()
@folder_argument
@click.option(
    "--top", type=float, default=0.1, show_default=True, help="The share of trials that count as the best."
)
@click.option(
    "--margin",
    type=float,
    default=0.1,
    show_default=True,
    help="At least so much of a new range is added at either end.",
)
@click.option("--no-widen", is_flag=True, help="Never go past the end of a range.")
@form_options(csv=False)
@debug_option
def zoom(folder: str, top: float, margin: float, no_widen: bool, form: Form | None) -> None:
    """The space around the trials that did best: of each param the old range, the new one, and why."""
    from caviar.analysis.result import load

    space = load(folder).zoom(top, margin=margin, widen=not no_widen)
    if form == "json":
        print_json({"kind": "zoom", "share": space.share, **space.to_dict(changes=True)})
        return
    for line in space.explained().splitlines():
        click.echo(figures.one_line(line))
    click.echo()
    for line in _next(folder, space):
        click.echo(line)


def _next(folder: str, space: NarrowedSpace) -> list[str]:
    """What to do with it."""
    if all(change.kind == "kept" for change in space.changes):
        return [f"Nothing to narrow yet. More trials tell more: caviar extend {folder} --trials N"]
    params = [f"    {name}={_code(parameter)}," for name, parameter in space.items()]
    return [
        f"The new space is {figures.percent(space.share)} of the old one. To go on with it, write it in",
        "your file,",
        *["", "space = caviar.Space(", *params, ")", ""],
        f"and run: caviar extend {folder} --trials N --allow-change",
    ]


def _code(parameter: object) -> str:
    text = repr(parameter)
    return text.removeprefix("Constant(").removesuffix(")") if text.startswith("Constant(") else f"caviar.{text}"

"""``caviar importance``: which params mattered, in words and as bars."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from caviar.cli.app import debug_option, folder_argument
from caviar.cli.figures import MISSING
from caviar.cli.table import Form, form_options, print_json, print_prose, print_rows, speaks_unicode

if TYPE_CHECKING:
    import pandas as pd

    from caviar.analysis.importance import Importance

METHODS = ("auto", "anova", "ped-anova", "fanova")
BAR_WIDTH = 30


@click.command()
@folder_argument
@click.option(
    "--stage", type=int, help="Only this stage; by default the first, and the last where there are more."
)
@click.option("--method", type=click.Choice(METHODS), default="auto", show_default=True, help="How it is found.")
@click.option("--pairs", is_flag=True, help="Also the pairs of params that may act together.")
@click.option("--seed", type=int, default=0, show_default=True, help="Of the resamples and shuffles.")
@form_options(csv=False)
@debug_option
def importance(folder: str, stage: int | None, method: str, pairs: bool, seed: int, form: Form | None) -> None:
    """Which params mattered, and how sure that is.

    \b
    share  of the differences between trials that goes with this param alone; the bar
           shows it as a block, and its interval (right 9 times in 10) as a line
    noise  what chance alone gives at most, 19 times in 20
    """
    from caviar.analysis.result import load

    found = load(folder).importance(stage, method=method, seed=seed)  # type: ignore[arg-type]
    if form == "json":
        print_json(found.to_dict())
        return
    for line in found.summary().splitlines():
        print_prose(line)
    parts = [found] if found.later is None else [found, found.later]
    for part in parts:
        click.echo()
        if len(parts) > 1:
            click.echo(f"stage {part.stage}, {part.trials:,} trials")
        _print_params(part)
        if pairs:
            click.echo()
            _print_pairs(part.pairs)


def _print_params(found: Importance) -> None:
    rows = [
        [str(name), *_cells(row), row["verdict"], row["values"], row["where"]] for name, row in _each(found.params)
    ]
    names = ["param", "share", "interval", "noise", "", "verdict", "tried", "where"]
    if not any(row[-1] for row in rows):
        names, rows = names[:-1], [row[:-1] for row in rows]
    print_rows(names, rows, right=[name in ("share", "interval", "noise") for name in names])


def _print_pairs(pairs: pd.DataFrame) -> None:
    if pairs.empty:
        click.echo("too few trials to tell which pairs act together")
        return
    rows = [[f"{row['first']} with {row['second']}", *_cells(row), row["verdict"]] for _, row in _each(pairs)]
    print_rows(
        ["pair", "share", "interval", "noise", "", "verdict"], rows, right=[False, True, True, True, False, False]
    )


def _each(frame: pd.DataFrame) -> Iterator[tuple[object, pd.Series]]:
    return iter(frame.iterrows())


def _cells(row: pd.Series) -> list[str]:
    from caviar.analysis.importance.words import percent

    share, low, high, noise = (float(row[name]) for name in ("importance", "low", "high", "noise"))
    if math.isnan(share):
        return [MISSING, MISSING, MISSING, ""]
    return [percent(share), f"{percent(low)} to {percent(high)}", percent(noise), bar(share, low, high)]


def bar(share: float, low: float, high: float) -> str:
    """A share from 0 to 1 as a bar, with its interval as a line."""
    block, line = ("█", "─") if speaks_unicode() else ("#", "-")
    cells = [" "] * BAR_WIDTH
    for place in range(round(low * BAR_WIDTH), round(high * BAR_WIDTH)):
        cells[place] = line
    for place in range(round(share * BAR_WIDTH)):
        cells[place] = block
    return "".join(cells).rstrip()

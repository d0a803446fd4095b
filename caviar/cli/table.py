"""One frame, four ways out: a table on a terminal, aligned text in a pipe, CSV, and JSON lines."""

from __future__ import annotations

import itertools
import json
import math
import re
import shutil
import sys
import textwrap
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import click

from caviar.cli import figures

if TYPE_CHECKING:
    import pandas as pd

Form = Literal["text", "csv", "json"]
GAP = 2
"""Blanks between two columns."""

AnyFunction = TypeVar("AnyFunction", bound=Callable[..., Any])


def form_options(*, csv: bool = True) -> Callable[[AnyFunction], AnyFunction]:
    """``--json`` and ``--csv``, as the parameter ``form``; of both the last one counts."""

    def add(command: AnyFunction) -> AnyFunction:
        command = click.option(
            "--json",
            "form",
            flag_value="json",
            help="One JSON object a line; NaN and infinities are null.",
        )(command)
        if csv:
            command = click.option("--csv", "form", flag_value="csv", help="Comma-separated, in full precision.")(
                command
            )
        return command

    return add


def speaks_unicode() -> bool:
    """Whether the standard output takes any character."""
    return (sys.stdout.encoding or "ascii").lower().startswith("utf")


def print_json(value: Mapping[str, Any]) -> None:
    """One JSON object on one line."""
    text = json.dumps(plain(value), allow_nan=False, ensure_ascii=False)
    # JSON itself leaves these as they are, and a terminal obeys them
    click.echo(re.sub(r"[\x7f-\x9f]", lambda found: f"\\u{ord(found[0]):04x}", text))


def print_prose(line: str, indent: str = "") -> None:
    """Print a line of words: on a terminal wrapped, ``indent`` before its further lines, else as it is."""
    if sys.stdout.isatty() and line:
        width = max(shutil.get_terminal_size().columns, 2 * len(indent) + 20)
        lead = line[: len(line) - len(line.lstrip())]
        line = textwrap.fill(
            line, width, subsequent_indent=lead + indent, break_long_words=False, break_on_hyphens=False
        )
    click.echo(line)


def plain(value: Any) -> Any:
    """The same value in what JSON knows: what is missing or not finite becomes None, times become ISO text."""
    if value is None or isinstance(value, str | bool | int):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(name): plain(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if hasattr(value, "isoformat"):
        return value.isoformat() if value == value else None  # NaT differs from itself
    if hasattr(value, "tolist"):
        return plain(value.tolist())
    return None if type(value).__name__ == "NAType" else str(value)


def print_frame(frame: pd.DataFrame, form: Form, *, index: bool = True) -> None:
    """Print the rows of a frame. CSV and JSON have every digit; text has those that one reads.

    ``index``: whether the index is a column too.
    """
    if index:
        frame = frame.reset_index()
    if form == "csv":
        frame.to_csv(sys.stdout, index=False, date_format="%Y-%m-%dT%H:%M:%S.%fZ")
    elif form == "json":
        names = [str(name) for name in frame.columns]
        for row in frame.itertuples(index=False, name=None):
            print_json(dict(zip(names, row, strict=True)))
    else:
        rows = [[cell(value) for value in row] for row in frame.itertuples(index=False, name=None)]
        right = [
            all(_is_number(value) for value in frame.iloc[:, place].dropna().head(100))
            for place in range(frame.shape[1])
        ]
        print_rows([str(name) for name in frame.columns], rows, right=right)


def cell(value: Any) -> str:
    """A value as a table shows it; missing is ``-``."""
    if isinstance(value, float) and math.isnan(value):
        return figures.MISSING
    if hasattr(value, "to_pydatetime") and value == value:
        return figures.moment(value.to_pydatetime())
    value = value if isinstance(value, str | bool | int | float | None) else plain(value)
    return figures.number(value)


def _is_number(value: Any) -> bool:
    return not isinstance(value, str | bool)


def print_rows(names: Sequence[str], rows: Iterable[Sequence[str]], *, right: Sequence[bool]) -> None:
    """Print a table: on a terminal as far as it is wide, else in full. ``right``: which columns hold numbers."""
    if sys.stdout.isatty():
        _print_rich(names, list(rows), right=right)
        return
    lines = [list(names), *rows]
    widths = [max(len(line[place]) for line in lines) for place in range(len(names))]
    for line in lines:
        cells = [
            text.rjust(width) if flush else text.ljust(width)
            for text, width, flush in zip(line, widths, right, strict=True)
        ]
        click.echo((" " * GAP).join(cells).rstrip())


def _print_rich(names: Sequence[str], rows: Sequence[Sequence[str]], *, right: Sequence[bool]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console()
    widths = [max(map(len, column)) + GAP for column in zip(names, *rows, strict=True)]
    ends = itertools.accumulate(widths)
    # whole columns go, from the right: cut ones cannot be read, and wrapped lines neither
    fit = max(sum(end - GAP <= console.width for end in ends), 1)
    table = Table(box=None, padding=(0, GAP, 0, 0), pad_edge=False, header_style="bold")
    for name, flush in zip(names[:fit], right, strict=False):
        table.add_column(Text(name), justify="right" if flush else "left", no_wrap=True)
    for row in rows:
        table.add_row(*(Text(text) for text in row[:fit]))
    console.print(table)
    if left_out := names[fit:]:
        console.print(
            Text(f"no room for {', '.join(left_out)} (in a pipe, or with --json, nothing is left out)", "dim")
        )

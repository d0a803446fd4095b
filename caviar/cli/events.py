"""``caviar events``: what happened in a sweep, one line an event."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import click

from caviar.cli import figures
from caviar.cli.afar import address_option
from caviar.cli.app import debug_option, folder_argument
from caviar.cli.table import Form, form_options, print_json, speaks_unicode
from caviar.errors import FolderError, UsageError

if TYPE_CHECKING:
    from caviar.analysis.result import Result


@click.command()
@folder_argument
@click.option("--trial", type=int, help="Only this trial's, with tracebacks in full.")
@click.option("--kind", "kinds", multiple=True, metavar="KIND", help="Only events of this kind; may be repeated.")
@click.option("--tail", type=click.IntRange(min=1), metavar="N", help="Only the last N.")
@form_options(csv=False)
@address_option
@debug_option
def events(folder: str, trial: int | None, kinds: tuple[str, ...], tail: int | None, form: Form | None) -> None:
    """What happened, in order."""
    from caviar.analysis.result import load
    from caviar.cli.in_words import what
    from caviar.cli.tables import check_trials

    result = load(folder)
    frame = result.events()
    if kinds:
        _check_kinds(kinds, set(frame["kind"]))
        frame = frame[frame["kind"].isin(kinds)]
    if trial is not None:
        check_trials(result, (trial,))
        frame = frame[(frame["trial"] == trial).fillna(False)]
    if tail is not None:
        frame = frame.tail(tail)
    names = [str(name) for name in frame.columns]
    width = max(map(len, frame["kind"]), default=0)
    for row in frame.itertuples(index=False, name=None):
        event = dict(zip(names, row, strict=True))
        check_event(result, event)
        if form == "json":
            print_json(event)
            continue
        when = figures.moment(event["time"].to_pydatetime())
        of_trial = "" if event["trial"] is _missing() else f"trial {event['trial']}"
        line = f"{when}  {event['kind'].ljust(width)}  {of_trial.ljust(10)}  {what(event)}"
        click.echo(figures.one_line(line.rstrip()))
        if trial is not None and event["data"].get("error"):
            click.echo(_indented(event["data"]["error"]))
    if not kinds and tail is None:
        _print_branches(result, trial, form)


def _print_branches(result: Result, wanted: int | None, form: Form | None) -> None:
    """How the attempts came out of one another, of trials that were rolled back."""
    from caviar.analysis.branches import tree

    for trial, branches in result.branches().items():
        if wanted not in (None, trial):
            continue
        if form == "json":
            attempts = [dataclasses.asdict(branch) for branch in branches]
            print_json({"kind": "branches", "trial": trial, "attempts": attempts})
            continue
        click.echo()
        for line in tree(trial, branches, unicode=speaks_unicode()):
            click.echo(figures.one_line(line))


def check_event(result: Result, event: Mapping[str, Any]) -> None:
    """Raise `FolderError` for data that no event of its kind can have: nothing could be said of it."""
    from caviar.store import event_data

    try:
        event_data.check_event(event["data"], event["kind"])
    except event_data.EventDataError as error:
        raise FolderError(f"{result.path}: event {event['seq']}, {event['kind']!r:.80}: {error}") from None


def _missing() -> object:
    import pandas as pd

    return pd.NA


def _check_kinds(kinds: tuple[str, ...], present: set[str]) -> None:
    from caviar.messages import Recorded

    # what a later version wrote, or an earlier one, is shown as well
    known = present | {kind.kind for kind in Recorded.__subclasses__()}
    for kind in kinds:
        if kind not in known:
            raise UsageError(f"--kind {kind}: no events are of that kind; there are {', '.join(sorted(known))}")


def _indented(text: str) -> str:
    return "".join(f"    {line}" for line in text.rstrip().splitlines(keepends=True))

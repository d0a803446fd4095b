"""``caviar status`` and ``caviar watch``: how a sweep stands, once or live."""

from __future__ import annotations

import logging
import sys
from typing import TYPE_CHECKING

import click

from caviar.cli import costs, figures, logs
from caviar.cli.afar import address_option
from caviar.cli.app import DONE, FAILED, debug_option, folder_argument
from caviar.cli.table import Form, form_options, print_json

if TYPE_CHECKING:
    from caviar.analysis.live_run import LiveRunView
    from caviar.cli.follow import Moment

PIPED_WIDTH, HEIGHT = 100, 30
"""The size of a picture that is shown once: in a pipe, and at most."""


@click.command()
@folder_argument
@form_options(csv=False)
@address_option
@debug_option
def status(folder: str, form: Form | None) -> None:
    """How a sweep stands, once."""
    from caviar.cli.follow import Follower
    from caviar.cli.lines import as_dict
    from caviar.store.place import place

    moment = Follower(place(folder)).look()
    view = moment.view
    if form == "json":
        print_json(as_dict(moment))
        return
    if moment.run is not None:
        _show_run(moment, moment.run)
        return
    ended = f" ({view.ended})" if view.ended not in (None, "done") else ""
    click.echo(f"{folder}: {moment.state}{ended}, {moment.done:,} of {view.wanted:,} trials ended")
    facts = [("trials", figures.counts(view.counts))]
    if view.best is not None:
        best = view.best
        facts += [
            (
                "best",
                f"{moment.metric} {figures.number(best.best)} at step {best.best_step} of trial {best.trial}",
            ),
            ("", figures.params(best.params)),
        ]
    facts.append(("reports", f"{view.reports:,}"))
    facts.append(("time", f"{figures.duration(view.elapsed_s)}{costs.budget(view)}"))
    if moment.state == "running":
        left = "" if view.left_s is None else f", about {figures.duration(view.left_s)} left"
        facts.append(
            (
                "speed",
                f"{figures.rate(view.trials_per_s)} trials/s, {figures.rate(view.reports_per_s)} reports/s{left}",
            )
        )
    if (cost := costs.told(view.cost)) is not None:
        facts.append(("cost", f"{cost}, for {figures.duration(view.cost.hours * 3600)} of training"))
    for name, fact in facts:
        click.echo(f"  {name.ljust(8)} {fact}")
    for note in view.notes:
        click.echo(f"  {figures.clock(note.time_us)}  {note.text}")


def _show_run(moment: Moment, run: LiveRunView) -> None:
    """The picture of a live run, once."""
    from rich.console import Console

    from caviar.cli.live_run import Picture

    if sys.stdout.isatty():
        console = Console()
        console.print(Picture(moment, run, console.width, min(HEIGHT, console.height - 2)))
    else:
        console = Console(file=sys.stdout, width=PIPED_WIDTH)
        console.print(Picture(moment, run, PIPED_WIDTH, HEIGHT, cut=False), crop=False, soft_wrap=True)


@click.command()
@folder_argument
@form_options(csv=False)
@address_option
@debug_option
def watch(folder: str, form: Form | None) -> int:
    """A sweep live, until it ends; plain lines when piped."""
    from caviar.cli import follow
    from caviar.cli.lines import choose_display
    from caviar.store.place import place

    follower = follow.Follower(place(folder))
    logs.about(place(folder))
    display = choose_display(json=form == "json")
    try:
        moment = follow.watch(follower, display)
    finally:
        display.close()
    if moment.state == "finished":
        return DONE
    logs.say(f"{folder}: {moment.state}: no driver has it in hand, and it has not ended", level=logging.ERROR)
    return FAILED

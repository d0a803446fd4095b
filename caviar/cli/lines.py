"""How a sweep stands, in plain lines for a pipe or a log, and in JSON for machines."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import click

from caviar.cli import costs, figures
from caviar.cli.follow import Display, Moment
from caviar.cli.table import print_json

if TYPE_CHECKING:
    from caviar.analysis.curve import TrialView
    from caviar.cli.run_lines import RunLines


class Lines:
    """A line every few seconds, if anything happened: so a debugger that holds the sweep has the screen."""

    interval_s = 5.0

    def __init__(self) -> None:
        self._before: object = None
        self._run: RunLines | None = None

    def show(self, moment: Moment) -> None:
        """Print a line, unless nothing has changed."""
        if moment.run is not None:
            from caviar.cli.run_lines import RunLines

            self._run = self._run or RunLines()
            for text in self._run.new(moment, moment.run):
                click.echo(text)
            sys.stdout.flush()
            return
        view = moment.view
        now = (dict(view.counts), view.reports, moment.state)
        if now != self._before:
            click.echo(line(moment))
            sys.stdout.flush()
        self._before = now

    def close(self) -> None:
        """Nothing to do."""


class JsonLines:
    """One JSON object a line, about every second."""

    interval_s = 1.0

    def show(self, moment: Moment) -> None:
        """Print one."""
        print_json(as_dict(moment))
        sys.stdout.flush()

    def close(self) -> None:
        """Nothing to do."""


def choose_display(*, json: bool, live: bool = True) -> Display:
    """JSON lines if asked for, the live view on a terminal, else plain lines."""
    if json:
        return JsonLines()
    if live and sys.stdout.isatty():
        from caviar.cli.live import LiveView
        from caviar.cli.pictures import Screen

        return sys.stdout.display() if isinstance(sys.stdout, Screen) else LiveView()
    return Lines()


def line(moment: Moment) -> str:
    """Everything that matters, in one line."""
    view = moment.view
    parts = [f"{moment.done:,}/{view.wanted:,} trials: {figures.counts(view.counts)}"]
    if view.best is not None:
        parts.append(f"best {moment.metric} {figures.number(view.best.best)} (trial {view.best.trial})")
    if moment.state == "running":
        parts.append(f"{figures.rate(view.trials_per_s)} trials/s, {figures.rate(view.reports_per_s)} reports/s")
        if view.left_s is not None:
            parts.append(f"about {figures.duration(view.left_s)} left")
    else:
        parts.append(moment.state)
    if (cost := costs.told(view.cost)) is not None:
        parts.append(f"cost {cost}")
    return f"[{figures.duration(view.elapsed_s)}] {'; '.join(parts)}"


def as_dict(moment: Moment) -> dict[str, Any]:
    """The same for machines."""
    if moment.run is not None:
        from caviar.cli import run_lines

        return run_lines.as_dict(moment, moment.run)
    view = moment.view
    return {
        "kind": "progress",
        "folder": str(moment.folder),
        "state": moment.state,
        "ended": view.ended,
        "trials": view.wanted,
        "counts": dict(view.counts),
        "metric": moment.metric,
        "best": None if view.best is None else _best(view.best),
        "reports": view.reports,
        "reports_per_s": view.reports_per_s,
        "trials_per_s": view.trials_per_s,
        "elapsed_s": view.elapsed_s,
        "left_s": view.left_s,
        **costs.as_dict(view),
    }


def _best(best: TrialView) -> dict[str, Any]:
    return {"trial": best.trial, "value": best.best, "step": best.best_step, "params": dict(best.params)}

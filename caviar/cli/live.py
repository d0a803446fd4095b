"""How a sweep stands, live on a terminal."""

from __future__ import annotations

import math
from collections.abc import Sequence

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from caviar.analysis.curve import TrialView
from caviar.analysis.progress import View
from caviar.cli import costs, figures
from caviar.cli.follow import Moment
from caviar.cli.live_run import Picture

SPARKLINE_WIDTH = 24
STYLES = {
    "completed": "green",
    "stopped": "yellow",
    "failed": "red",
    "running": "cyan",
    "paused": "magenta",
    "pending": "dim",
}
NOTES = 3
HEIGHT_FOR_NOTES = 20
STATE, CURVE = 3, 4  # the columns that hold text


class LiveView:
    """Redraws a few lines in place. What anybody prints meanwhile appears above them."""

    interval_s = 0.25

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or Console()
        # redrawn by `show` alone, so that there is one place that paces it
        self._live = Live(console=self._console, auto_refresh=False, vertical_overflow="crop")
        self._last: Moment | None = None
        self._live.start()
        self._live.update(Text("starting …", style="dim"), refresh=True)

    def show(self, moment: Moment) -> None:
        """Draw how things stand."""
        self._last = moment
        self._live.update(draw(moment, self._console.size.width, self._console.size.height), refresh=True)

    def close(self) -> None:
        """Leave the last picture, without the trials under way."""
        self._live.update(Text("") if self._last is None else last_picture(self._last, *self._console.size))
        self._live.stop()


def draw(moment: Moment, width: int, height: int) -> RenderableType:
    """The whole picture, on at most ``height`` lines of ``width`` characters, as far as that is possible."""
    if moment.run is not None:
        return Picture(moment, moment.run, width, height - 1)
    best = _best(moment)
    leaders = moment.view.leaders[: max(1, height // 4)]
    notes = _notes(moment.view) if height >= HEIGHT_FOR_NOTES else []
    # what else takes a line: three of the head, a blank one and the names of the columns, a blank one before the
    # notes, two about the running trials, and the last of the screen, where the cursor stands
    taken = 3 + -(-best.cell_len // width) + 2 + len(leaders) + (len(notes) + 1 if notes else 0) + 2 + 1
    running = moment.view.running[: max(height - taken, 0)]
    lines = [*_head(moment, width), best, *_table(moment, leaders, running)]
    if more := len(moment.view.running) - len(running):
        lines.append(Text(f"and {more:,} more", style="dim"))
    return Group(*lines, *([Text(), *notes] if notes else []))


def last_picture(moment: Moment, width: int, height: int) -> RenderableType:
    """The picture that stays: without the trials under way."""
    if moment.run is not None:
        return Picture(moment, moment.run, width, height - 1, hint=False)
    return Group(*_head(moment, width), *_table(moment, moment.view.leaders, []))


def _head(moment: Moment, width: int) -> list[RenderableType]:
    view = moment.view
    bar = Table.grid(padding=(0, 1), expand=True)
    bar.add_column(no_wrap=True)
    bar.add_column(ratio=1)
    bar.add_column(no_wrap=True)
    bar.add_row(
        Text(str(moment.folder), style="bold"),
        ProgressBar(total=max(view.wanted, 1), completed=moment.done),
        Text(f"{moment.done:,}/{view.wanted:,} trials"),
    )
    states = Text(no_wrap=True, overflow="ellipsis")
    for state, count in view.counts.items():
        if count:
            states.append(f"{count:,} {state}", style=STYLES[state]).append("   ")
    return [bar, states, Text(_timing(moment, width), style="dim", no_wrap=True, overflow="ellipsis")]


def _timing(moment: Moment, width: int) -> str:
    """What there is room for of times, speeds and cost: better a part left out than a figure cut."""
    view = moment.view
    parts = [(figures.duration(view.elapsed_s), 0), (f"{view.reports:,} reports", 4)]
    if moment.state == "running":
        parts.append((f"{figures.rate(view.trials_per_s)} trials/s", 3))
        parts.append((f"{figures.rate(view.reports_per_s)} reports/s", 5))
        if view.left_s is not None:
            parts.append((f"about {figures.duration(view.left_s)} left", 1))
    else:
        parts.append((moment.state, 1))
    if (cost := costs.told(view.cost)) is not None:
        parts.append((f"cost {cost}", 2))
    while len(parts) > 1 and len("   ".join(text for text, _ in parts)) > width:
        parts.remove(max(parts, key=lambda part: part[1]))
    return "   ".join(text for text, _ in parts)


def _best(moment: Moment) -> Text:
    best = moment.view.best
    if best is None:
        return Text("no report yet", style="dim")
    text = Text.assemble(
        "best ",
        (f"{moment.metric} {figures.number(best.best)}", "bold green"),
        f" at step {best.best_step} of trial {best.trial}   ",
    )
    return text.append(figures.params(best.params), style="cyan")


def _table(moment: Moment, leaders: Sequence[TrialView], running: Sequence[TrialView]) -> list[RenderableType]:
    """The best trials with their best values, and below them running ones with their last."""
    if not leaders and not running:
        return []
    max_step = moment.declaration.get("max_step")
    low, high = figures.bounds(list(trial.values) for trial in moment.view.leaders)
    names = [param["name"] for param in moment.declaration["space"]["params"] if param["type"] != "constant"]

    def row(trial: TrialView, value: float) -> list[str]:
        curve = figures.sparkline(trial.values.tolist(), SPARKLINE_WIDTH, low, high)
        shown = figures.MISSING if math.isnan(value) else figures.number(value)
        step = f"{trial.step}/{max_step}" if max_step else str(trial.step)
        params = [figures.number(trial.params.get(name)) for name in names]
        return [str(trial.trial), shown, step, trial.status, curve, *params]

    header = ["trial", moment.metric, "step", "state", "curve", *names]
    best, under_way = [row(trial, trial.best) for trial in leaders], [row(trial, trial.value) for trial in running]
    widths = [max(map(len, column)) for column in zip(header, *best, *under_way, strict=True)]
    lines: list[RenderableType] = [
        Text(),
        _line(header, widths, style="dim"),
        *(_line(cells, widths) for cells in best),
    ]
    if under_way:
        lines += [Text("running", style="dim"), *(_line(cells, widths) for cells in under_way)]
    return lines


def _line(cells: list[str], widths: list[int], *, style: str = "") -> Text:
    """One line of the table; what the screen is too narrow for is cut at its right end alone."""
    line = Text(no_wrap=True, overflow="ellipsis", style=style)
    for place, (cell, width) in enumerate(zip(cells, widths, strict=True)):
        is_text = place in (STATE, CURVE)
        line.append(cell.ljust(width) if is_text else cell.rjust(width), style=STYLES.get(cell, ""))
        line.append("  ")
    return line


def _notes(view: View) -> list[Text]:
    return [
        Text(f"{figures.clock(note.time_us)} {note.text}", style="dim", no_wrap=True, overflow="ellipsis")
        for note in list(view.notes)[-NOTES:]
    ]

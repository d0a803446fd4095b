"""How a sweep stands, live on a terminal."""

from __future__ import annotations

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from caviar.analysis.curve import TrialView
from caviar.analysis.progress import View
from caviar.cli import figures
from caviar.cli.follow import Moment

SPARKLINE_WIDTH = 24
STYLES = {"completed": "green", "stopped": "yellow", "failed": "red", "running": "cyan", "pending": "dim"}
NOTES = 3


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
        final = Text("") if self._last is None else Group(*_head(self._last), *_leaders(self._last))
        self._live.update(final)
        self._live.stop()


def draw(moment: Moment, width: int, height: int) -> RenderableType:
    """The whole picture, on at most ``height`` lines, ``width`` characters wide."""
    best = _best(moment)
    head, leaders, notes = _head(moment), _leaders(moment), _notes(moment.view)
    # what the fixed lines take, the last line of the screen included, where the cursor stands
    taken = (
        3 + len(best.plain) // width + 1 + (len(moment.view.leaders) + 2) + (len(notes) + 1 if notes else 0) + 1
    )
    return Group(*head, best, *leaders, *_running(moment, max(height - taken, 0)), *_spaced(notes))


def _head(moment: Moment) -> list[RenderableType]:
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
    speed = f"{figures.rate(view.trials_per_s)} trials/s   {figures.rate(view.reports_per_s)} reports/s"
    timing = f"{figures.duration(view.elapsed_s)}   {view.reports:,} reports"
    if moment.state == "running":
        left = "" if view.left_s is None else f"   about {figures.duration(view.left_s)} left"
        timing = f"{timing}   {speed}{left}"
    else:
        timing = f"{timing}   {moment.state}"
    return [bar, states, Text(timing, style="dim", no_wrap=True, overflow="ellipsis")]


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


def _leaders(moment: Moment) -> list[RenderableType]:
    if not moment.view.leaders:
        return []
    low, high = figures.bounds(list(trial.values) for trial in moment.view.leaders)
    rows = [_row(trial, trial.best, low, high, moment) for trial in moment.view.leaders]
    return [Text(), _grid(rows)]


def _running(moment: Moment, room: int) -> list[RenderableType]:
    """As many running trials as there is room for, under a line of their own."""
    running = moment.view.running
    if not running or room < 3:
        return []
    fits = running if len(running) <= room - 2 else running[: room - 3]
    low, high = figures.bounds(list(trial.values) for trial in moment.view.leaders)
    lines: list[RenderableType] = [
        Text(),
        Text("running", style="dim"),
        _grid([_row(trial, trial.value, low, high, moment) for trial in fits]),
    ]
    if len(fits) < len(running):
        lines.append(Text(f"and {len(running) - len(fits):,} more", style="dim"))
    return lines


def _row(trial: TrialView, value: float, low: float, high: float, moment: Moment) -> list[Text]:
    max_step = moment.declaration.get("max_step")
    return [
        Text(f"trial {trial.trial}", style="dim"),
        Text(figures.sparkline(trial.values.tolist(), SPARKLINE_WIDTH, low, high).ljust(SPARKLINE_WIDTH)),
        Text("-" if value != value else figures.number(value)),
        Text(f"step {trial.step}" + (f"/{max_step}" if max_step else ""), style="dim"),
        Text(trial.status, style=STYLES[trial.status]),
        Text(figures.params(trial.params), style="dim"),
    ]


def _grid(rows: list[list[Text]]) -> Table:
    grid = Table.grid(padding=(0, 2))
    for place in range(len(rows[0])):
        grid.add_column(no_wrap=True, overflow="ellipsis", justify="right" if place in (0, 2) else "left")
    for row in rows:
        grid.add_row(*row)
    return grid


def _notes(view: View) -> list[Text]:
    return [
        Text(f"{figures.clock(note.time_us)} {note.text}", style="dim", no_wrap=True, overflow="ellipsis")
        for note in list(view.notes)[-NOTES:]
    ]


def _spaced(lines: list[Text]) -> list[Text]:
    return [Text(), *lines] if lines else []

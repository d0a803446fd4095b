"""How a live run stands, as a picture on a terminal: its curve, its params, and what was done to it."""

from __future__ import annotations

import shlex
import string
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rich.console import Console, ConsoleOptions
from rich.text import Text

from caviar.adjusting import shown
from caviar.analysis.acts import Act
from caviar.analysis.live_run import LiveRunView
from caviar.cli import figures
from caviar.cli.chart import MARK, MIN_HEIGHT, Chart, Line, Mark, rows
from caviar.cli.follow import Moment

STYLES = {
    "running": "cyan", "paused": "bold magenta", "starting": "dim", "interrupted": "bold yellow",
    "completed": "green", "stopped": "yellow", "failed": "bold red",
}  # fmt: skip
FEWEST_ACTS, SHARE_OF_ACTS = 3, 4
"""So many of the last things that were done have their lines before the chart has, and one line in so many."""

TALLEST = 30
"""A chart does not become clearer beyond so many lines."""

PARAM_LINES = 3
"""Params take so many lines at most."""

BAR = 24


@dataclass(frozen=True, slots=True)
class Picture:
    """A live run on at most ``height`` lines of ``width`` characters. ``hint``: whether the last one says which
    commands there are."""

    moment: Moment
    run: LiveRunView
    width: int
    height: int
    hint: bool = True
    cut: bool = True
    """Whether lines are cut to the width, or only the chart is made for it."""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Text]:
        for line in lines(self, unicode=not options.ascii_only):
            yield _sayable(line, console.encoding)


def lines(picture: Picture, *, unicode: bool = True) -> list[Text]:
    """The picture from top to bottom."""
    moment, run, width = picture.moment, picture.run, picture.width
    head = [_title(moment, run), _way(moment, run, unicode=unicode), _metrics(moment, run)]
    params = _params(moment, run, width)
    hint = [_hint(moment, run, unicode=unicode)] if picture.hint else []
    room = picture.height - len(head) - len(params) - len(hint)
    chart_height = min(room - min(len(run.acts), max(FEWEST_ACTS, room // SHARE_OF_ACTS)), TALLEST)
    drawn = chart_height >= MIN_HEIGHT and (len(run.steps) > 0 or len(run.branches) > 0)
    chart = rows(_chart(moment, run, width, chart_height), braille=unicode) if drawn else []
    acts = run.acts[-(room - len(chart)) :] if room > len(chart) else ()
    found = [*head, *chart, *params, *(_act(act) for act in acts), *hint]
    for line in found:
        line.plain = figures.one_line(line.plain)
        line.no_wrap = True
        if picture.cut:
            line.truncate(width, overflow="ellipsis" if unicode else "crop")
    return found[: picture.height]


def standing(moment: Moment, run: LiveRunView) -> tuple[str, str]:
    """How it stands in a few words, and the word of them that a style goes with."""
    step, reason = run.step, "" if run.reason is None else f": {run.reason}"
    if run.status in ("completed", "stopped", "failed"):
        return f"{run.status} at step {step}{reason}", run.status
    if moment.state == "interrupted":
        return f"interrupted at step {step}", "interrupted"
    if run.status == "paused":
        return f"paused at step {step}", "paused"
    if run.status == "pending":
        return (f"starting from step {step}" if step else "starting"), "starting"
    return "running", "running"


def letter(act: Act) -> str:
    """What stands for an act on the chart; blank where it has no place there."""
    return " " if act.number is None else string.ascii_lowercase[act.number % len(string.ascii_lowercase)]


def _title(moment: Moment, run: LiveRunView) -> Text:
    words, state = standing(moment, run)
    return Text.assemble((str(moment.folder), "bold"), "  ", (words, STYLES[state]))


def _way(moment: Moment, run: LiveRunView, *, unicode: bool) -> Text:
    """How far it has come, and how fast it goes on."""
    most = moment.declaration.get("max_step")
    text = Text(f"step {run.step:,}" if most is None else f"step {run.step:,} of {most:,}")
    if most:
        done = min(run.step * BAR // most, BAR)
        full, rest = ("━", "─") if unicode else ("#", "-")
        text.append("  ").append(full * done, "cyan").append(rest * (BAR - done), "dim")
    parts = [figures.duration(moment.view.elapsed_s)]
    if run.status == "running" and moment.state == "running":
        if run.steps_per_s:
            parts.append(f"{figures.rate(run.steps_per_s)} steps/s")
        if run.left_s is not None:
            parts.append(f"about {figures.duration(run.left_s)} left")
    if moment.view.cost.spent is not None:
        parts.append(f"cost {figures.money(moment.view.cost.spent)}")
    return text.append("  " + "   ".join(parts), "dim")


def _metrics(moment: Moment, run: LiveRunView) -> Text:
    if not len(run.steps):
        return Text("no report yet", "dim")
    text = Text.assemble(
        (f"{moment.metric} {figures.number(run.value)}", "bold"), f" at step {run.steps[-1]:,}", "   best "
    )
    if run.best_step or run.best == run.best:
        text.append(figures.number(run.best), "bold green").append(f" at step {run.best_step:,}")
    else:
        text.append(figures.MISSING)
    for name, value in run.others.items():
        text.append(f"   {name} {figures.number(value)}", "dim")
    return text


def _chart(moment: Moment, run: LiveRunView, width: int, height: int) -> Chart:
    return Chart(
        title=moment.metric,
        lines=[*(Line(*branch, main=False) for branch in run.branches), Line(run.steps, run.values)],
        marks=[Mark(act.step, letter(act)) for act in run.acts if act.step is not None and not act.dropped],
        width=width,
        height=height,
        left_out=run.not_finite,
    )


def _params(moment: Moment, run: LiveRunView, width: int) -> list[Text]:
    """The params that vary or may change, each with its last change."""
    fixed = {each["name"] for each in moment.declaration["space"]["params"] if each["type"] == "constant"}
    knobs = moment.declaration.get("knobs") or ()
    pieces = []
    for name, value in run.params.items():
        change = run.changes.get(name)
        if change is not None:
            piece = Text.assemble((f"{name} {shown(value)}", "bold"))
            pieces.append(piece.append(f" (was {shown(change.old)}, step {change.step:,})", MARK))
        elif name not in fixed or name in knobs:
            pieces.append(Text(f"{name} {shown(value)}"))
    found: list[Text] = []
    for piece in pieces:
        if found and found[-1].cell_len + 3 + piece.cell_len <= width:
            found[-1].append("   ").append_text(piece)
        else:
            found.append(piece)
    return found[:PARAM_LINES]


def _act(act: Act) -> Text:
    text = Text.assemble((letter(act), MARK), (f" {figures.clock(act.time_us)} ", "dim"))
    if act.kind == "adjusted":
        text.append(f"step {act.step:,}  ")
    text.append(act.text)
    if act.why:
        text.append(f"   {act.why}", "dim")
    if act.dropped:
        text.append("   (holds no more)")
        text.stylize("dim")
    return text


def _hint(moment: Moment, run: LiveRunView, *, unicode: bool) -> Text:
    """The commands that it takes as it stands."""
    return Text("   ".join(commands(moment, run, unicode=unicode)), "dim")


def commands(moment: Moment, run: LiveRunView, *, unicode: bool = True) -> Sequence[str]:
    """The commands that a live run takes as it stands."""
    folder = shlex.quote(str(moment.folder))
    if moment.state == "interrupted":
        return [f"caviar resume {folder}"]
    if moment.state == "finished" or run.status in ("completed", "stopped", "failed"):
        return [f"caviar events {folder}", f"caviar replay {folder}"]
    knob = _knob(moment.declaration, run)
    setting = [] if knob is None else [f"caviar set {folder} {knob}={'…' if unicode else '...'}"]
    hold = "unpause" if run.status == "paused" else "pause"
    back = [] if run.checkpoint is None else [f"caviar rollback {folder} --to-step {run.checkpoint}"]
    return [*setting, f"caviar {hold} {folder}", *back]


def _knob(declaration: Mapping[str, Any], run: LiveRunView) -> str | None:
    """A param to show how it is set: the one that was changed last, else the first that may change."""
    if run.changes:
        return max(run.changes, key=lambda name: run.changes[name].step)
    numeric = {each["name"] for each in declaration["space"]["params"] if each["type"] in ("float", "int")}
    knobs = declaration.get("knobs")
    return next((name for name in run.params if name in (numeric if knobs is None else knobs)), None)


def _sayable(text: Text, encoding: str) -> Text:
    """The text in characters that this encoding has."""
    text.plain = text.plain.encode(encoding, "replace").decode(encoding)
    return text

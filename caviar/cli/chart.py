"""A learning curve drawn with characters."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from rich.console import Console, ConsoleOptions
from rich.text import Text

from caviar.cli.canvas import Grid, drawable, trace
from caviar.cli.ticks import Axis, Tick, step_ticks, ticks
from caviar.messages import Floats, Ints

MIN_WIDTH, MIN_HEIGHT = 20, 5
"""Nothing can be read off a smaller chart, so it is not drawn."""

LABEL = 12
"""Labels of the vertical axis that are longer are left out."""

MOST_LABELS = 6
"""So many labels at most has the vertical axis."""

WIDENING = 2.0
"""The axis reaches at most so many times the height of the main line beyond it, for the sake of the others."""

CROWDED = 6
"""Marks in more than one of so many columns stand under the axis alone."""

MAIN, BRANCH, FRAME, MARK = "bold cyan", "dim", "dim", "yellow"


@dataclass(frozen=True, slots=True)
class Line:
    """A curve, by steps that do not fall. ``main``: whether it stands out; the others are what was abandoned."""

    steps: Ints
    values: Floats
    main: bool = True


@dataclass(frozen=True, slots=True)
class Mark:
    """Something that happened at a step: a letter under the axis, and a thin line above it."""

    step: int
    letter: str = "▲"


@dataclass(frozen=True, slots=True, kw_only=True)
class Chart:
    """Curves over steps, on ``height`` lines of ``width`` characters; one smaller than `MIN_WIDTH` by `MIN_HEIGHT`
    is empty. In braille, or in ASCII where the terminal is not said to have more."""

    title: str
    lines: Sequence[Line]
    marks: Sequence[Mark] = ()
    """Of those that fall into one column the last one shows."""
    width: int
    height: int
    log: bool | None = None
    """Whether the vertical axis is logarithmic; None: where the values are positive and span two decades."""
    left_out: int | None = None
    """How many values are not finite, of which the lines may have only some; None: as many as they have."""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Text]:
        yield from rows(self, braille=not options.ascii_only)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Frame:
    """Where things lie in a chart."""

    grid: Grid
    axis: Axis
    upright: Sequence[Tick]
    low: int
    """The first step, and the last."""
    high: int
    marks: Mapping[int, str]
    """Letters by the column of characters."""

    @property
    def margin(self) -> int:
        """The width of the labels, a blank and the axis."""
        return max((len(tick.label) for tick in self.upright), default=0) + 2

    def place(self, step: int) -> int:
        """The column of characters of a step."""
        dots = self.grid.column(np.array([step]), self.low, self.high)
        return int(dots[0]) * self.grid.width // self.grid.columns


def rows(chart: Chart, *, braille: bool = True) -> list[Text]:
    """The chart from top to bottom: its title, the field, the axis, the steps."""
    if chart.width < MIN_WIDTH or chart.height < MIN_HEIGHT:
        return []
    values = np.concatenate([np.zeros(0), *(line.values for line in chart.lines)])
    shown = values[drawable(values, log=bool(chart.log))]
    left_out = len(values) - len(shown) if chart.left_out is None else chart.left_out
    if not len(shown):
        why = "no value is finite" if left_out else "nothing to draw yet"
        lines = [_title(chart, []), Text(why, FRAME, no_wrap=True, overflow="crop")]
        return [*lines, *(Text() for _ in range(chart.height - len(lines)))]
    frame = _frame(chart, _axis(chart, shown), braille=braille)
    remarks = ["log scale"] if frame.axis.log else []
    if left_out:
        kind = "above 0" if chart.log and np.isfinite(values).all() else "finite"
        remarks.append(f"{left_out:,} value{'' if left_out == 1 else 's'} not {kind}")
    field = zip(_sides(frame), _field(chart.lines, frame), strict=True)
    return [_title(chart, remarks), *(side + line for side, line in field), *_foot(frame)]


def _axis(chart: Chart, shown: Floats) -> Axis:
    """As high as the main line; what was abandoned widens it no more than `WIDENING` allows, and is cut off beyond
    that: it may have exploded."""
    whole = Axis.of(float(shown.min()), float(shown.max()), log=chart.log)
    main = np.concatenate([np.zeros(0), *(line.values for line in chart.lines if line.main)])
    main = main[drawable(main, log=bool(chart.log))]
    if not len(main) or main.min() == main.max():
        return whole
    least, most = float(main.min()), float(main.max())
    narrow = Axis.of(least, most, log=chart.log if whole.low > 0 or chart.log else False)
    below, above = (narrow.at(share) for share in (-WIDENING, 1 + WIDENING))
    return Axis.of(max(whole.low, below), min(whole.high, above), log=narrow.log)


def _frame(chart: Chart, axis: Axis, *, braille: bool) -> _Frame:
    height = chart.height - 3
    upright = ticks(axis, max(2, min(MOST_LABELS, (height + 1) // 2)))
    if max((len(tick.label) for tick in upright), default=0) > min(LABEL, chart.width // 3):
        upright = []
    steps = np.concatenate([[mark.step for mark in chart.marks], *(line.steps for line in chart.lines)])
    low, high = int(steps.min()), int(steps.max())
    frame = _Frame(grid=Grid(1, height, braille), axis=axis, upright=upright, low=low, high=high, marks={})
    frame = replace(frame, grid=Grid(chart.width - frame.margin, height, braille))
    letters = {
        frame.place(mark.step): mark.letter if braille or mark.letter.isascii() else "^" for mark in chart.marks
    }
    return replace(frame, marks=letters)


def _title(chart: Chart, remarks: Sequence[str]) -> Text:
    title = Text(chart.title, "bold", no_wrap=True)
    for remark in remarks:
        title.append(f"   {remark}", style="not bold dim")
    title.truncate(chart.width)
    return title


def _runs(characters: Iterable[tuple[str, str]]) -> Text:
    """Characters with their styles, as text; neighbours of one style are one span."""
    text = Text(no_wrap=True)
    for style, run in itertools.groupby(characters, key=lambda each: each[1]):
        text.append("".join(character for character, _ in run), style)
    return text


def _sides(frame: _Frame) -> list[Text]:
    """The vertical axis with its labels, beside each row of the field."""
    bar, tee = ("│", "┤") if frame.grid.braille else ("|", "+")
    shares = frame.axis.shares(np.array([tick.value for tick in frame.upright], np.float64))
    per_cell = frame.grid.rows // frame.grid.height
    at = dict(zip((frame.grid.row(shares) // per_cell).tolist(), frame.upright, strict=True))
    width = frame.margin - 1
    return [
        Text.assemble((f"{at[row].label.rjust(width - 1)} {tee}" if row in at else f"{' ' * width}{bar}", FRAME))
        for row in range(frame.grid.height)
    ]


def _field(lines: Sequence[Line], frame: _Frame) -> list[Text]:
    """The curves: where the main line is, nothing else."""
    grid = frame.grid
    layers = []
    for main, style, dot in ((True, MAIN, "*"), (False, BRANCH, ".")):
        dots = np.zeros((grid.rows, grid.columns), np.bool_)
        for line in lines:
            if line.main is main:
                dots |= trace(grid, line.steps, line.values, low=frame.low, high=frame.high, axis=frame.axis)
        layers.append((grid.characters(dots, ascii_dot=dot), style))
    crowded = len(frame.marks) * CROWDED > grid.width
    thin = {} if crowded else dict.fromkeys(frame.marks, "┊" if grid.braille else ":")

    def cell(row: int, place: int) -> tuple[str, str]:
        for cells, style in layers:
            if cells[row][place] != " ":
                return cells[row][place], style
        return (thin[place], f"dim {MARK}") if place in thin else (" ", "")

    return [_runs(cell(row, place) for place in range(grid.width)) for row in range(grid.height)]


def _foot(frame: _Frame) -> list[Text]:
    """The horizontal axis with its marks, and the steps below it."""
    width = frame.grid.width
    corner, bar, tee = ("└", "─", "┬") if frame.grid.braille else ("+", "-", "+")
    labels, places, free = [" "] * (width + 1), set(), 0
    for tick in step_ticks(frame.low, frame.high, max(2, width // 12)):
        place = frame.place(int(tick.value))
        begin = min(max(place - len(tick.label) // 2, 0), width - len(tick.label))
        if begin >= free:
            places.add(place)
            labels[begin : begin + len(tick.label)] = tick.label
            free = begin + len(tick.label) + 1
    line = [(tee if place in places else bar, FRAME) for place in range(width)]
    for place, letter in frame.marks.items():
        line[place] = letter, MARK
    axis = _runs([(" " * (frame.margin - 1) + corner, FRAME), *line])
    return [axis, _runs([(" " * frame.margin + "".join(labels).rstrip(), FRAME)])]

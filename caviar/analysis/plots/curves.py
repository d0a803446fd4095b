"""Learning curves, thousands of them."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from caviar.analysis.plots.axes import MetricAxis, log_ticks
from caviar.analysis.plots.look import BEST, COLOUR_OF, empty, figure, goal, kind, plain, slim, stage_colour, whole
from caviar.analysis.plots.scene import ROOM_FOR_TEXT, Scene, Texts
from caviar.analysis.reports import Bools, ReportColumns
from caviar.errors import UsageError
from caviar.messages import Floats, Ints

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

MAX_POINTS = 40_000
"""Points of all learning curves together; longer ones are thinned out."""

BEST_POINTS = 1_000
"""Points of the best trial's curve."""

EARLY = 20
"""Where half of the curves end before one step in so many, steps are drawn on a log axis."""

TITLE = "Learning curves"


@dataclass(frozen=True, slots=True)
class Points:
    """What is drawn of some curves, one after the other."""

    owner: Ints
    """Which curve it is of, counted from 0."""
    step: Ints
    value: Floats
    last: Bools
    """Whether it is the last of its curve."""
    alone: Bools
    """Whether nothing else is drawn of its curve."""

    @classmethod
    def of(cls, line: ReportColumns, start: Ints, stop: Ints, *, share: int, log: bool, maximize: bool) -> Points:
        """Of the curves from row ``start`` to ``stop`` of ``line``, none with more than its share of points, and
        two more: the first, the last, the best, and others evenly between them, or evenly on a log axis."""
        length = stop - start
        owner = np.repeat(np.arange(len(start)), length)
        begin = np.repeat(np.cumsum(length) - length, length)
        index = np.arange(len(owner)) - begin
        rows = np.repeat(start, length) + index
        value = line.value[rows]
        along = index / np.maximum(np.repeat(length, length) - 1, 1)
        if log:
            along = np.log1p(index) / np.log1p(np.maximum(np.repeat(length, length) - 1, 1))
        bucket = np.minimum(np.floor(along * (share - 1)), np.minimum(share, np.repeat(length, length)) - 1)
        kept = np.ones(len(owner), bool)
        kept[1:] = (bucket[1:] != bucket[:-1]) | (owner[1:] != owner[:-1])
        last = np.zeros(len(owner), bool)
        last[(np.cumsum(length) - 1)[length > 0]] = True
        kept |= last | (np.repeat(length, length) <= share) | _best(value, owner, maximize=maximize)
        some = np.flatnonzero(kept)
        count = np.bincount(owner[some], minlength=len(start))
        return cls(owner[some], line.step[rows][some], value[some], last[some], count[owner[some]] == 1)

    def take(self, mask: Bools) -> Points:
        """Some of the curves."""
        return Points(*(getattr(self, name)[mask] for name in ("owner", "step", "value", "last", "alone")))

    def trace(self, trial: Ints, texts: Texts, *, everywhere: bool) -> dict[str, Any]:
        """All curves as one line with gaps. ``trial`` and ``texts`` are by owner."""
        gaps = np.flatnonzero(self.owner[1:] != self.owner[:-1]) + 1
        sizes = np.where(self.alone, 5, 0)  # one point has no line
        said = texts[self.owner] if everywhere else np.where(self.last, texts[self.owner], "")
        return {
            "x": np.insert(whole(self.step), gaps, self.step[gaps]),
            "y": np.insert(slim(self.value), gaps, np.nan),
            "customdata": np.insert(whole(trial[self.owner]), gaps, 0),
            "text": np.insert(said, gaps, "").tolist() if len(self.owner) else [],
            "mode": "lines+markers" if sizes.any() else "lines",
            "marker.size": np.insert(sizes.astype(np.uint8), gaps, 0) if sizes.any() else 0,
            "connectgaps": False,
        }


def curves(
    scene: Scene,
    metric: str | None,
    *,
    log_x: bool | None,
    log_y: bool | None,
    by: Literal["state", "stage"] | None,
    limit: int | None,
) -> Figure:
    """See `Plots.curves`."""
    if by not in (None, "state", "stage"):
        raise UsageError(f'curves(by={by!r}): must be "state" or "stage"')
    line, name = scene.line_of(metric), metric or scene.metric
    if not np.isfinite(line.value).any():
        return empty(
            TITLE,
            f"No trial has reported a finite {name} yet." if len(line) else f"No trial has reported {name} yet.",
        )
    out = scene.outcomes
    reported = np.flatnonzero(np.isin(out.trial, line.trial))
    rows = scene.shown(reported, limit)
    trial, status, stage = out.trial[rows], out.status[rows], out.stage[rows]
    start, stop = np.searchsorted(line.trial, trial), np.searchsorted(line.trial, trial, side="right")
    log_x = _early(line.step[stop - 1]) if log_x is None else log_x
    how: dict[str, Any] = {"log": log_x, "maximize": scene.maximize}
    share = max(MAX_POINTS // len(rows), 8)
    points = Points.of(line, start, stop, share=share, **how)
    own = name == scene.metric
    axis = MetricAxis.of(points.value, maximize=scene.maximize if own else None, log=log_y)

    by = by or ("stage" if len(np.unique(out.stage)) > 1 else "state")
    texts = np.array([f"<br>{text}" if text else "" for text in scene.texts(rows)], object)
    everywhere = sum(map(len, texts[points.owner].tolist())) <= ROOM_FOR_TEXT
    type_, width = kind(len(points.owner)), float(np.clip(12 / np.sqrt(len(rows)), 0.5, 1.5))
    best = np.flatnonzero(rows == scene.best) if scene.best is not None else rows[:0]
    said = f"<br>{plain(name, 40)} %{{y:.5~g}} at step %{{x:d}}%{{text}}<extra></extra>"
    traces: list[dict[str, Any]] = []
    fade = float(np.clip(20 / np.sqrt(len(rows)), 0.4, 1.0))
    for group in _groups(status, stage, by):
        mine = points.take(np.isin(points.owner, np.setdiff1d(group.curves, best)))
        traces.append(mine.trace(trial, texts, everywhere=everywhere) | group.look(width, fade))
        traces[-1] |= {"type": type_, "hovertemplate": f"<b>trial %{{customdata}}</b>, {group.said}{said}"}
    for one in best.tolist():
        only = slice(one, one + 1)
        whole_ = Points.of(line, start[only], stop[only], share=BEST_POINTS, **how)
        told = len(whole_.owner) * len(texts[one]) <= ROOM_FOR_TEXT
        traces.append(whole_.trace(trial[only], texts[only], everywhere=told) | {
            "type": type_, "mode": "lines+markers", "name": f"best: trial {trial[one]}",
            "line": {"color": BEST, "width": 2.6},
            "marker.color": BEST, "marker.size": np.where(whole_.step == out.best_step[rows[one]], 9, 0),
            "hovertemplate": f"<b>trial %{{customdata}}</b>, the best{said}",
        })  # fmt: skip
    caption = [goal(name, maximize=scene.maximize) if own else f"{plain(name)}."]
    caption.append(scene.drawn(rows, reported))
    if len(points.owner) < int((stop - start).sum()):
        caption.append(f"Long curves are thinned out to about {share} points each.")
    if not everywhere:
        caption.append("Point at the end of a curve for its params.")
    layout = {
        "xaxis": {"title": {"text": "step"}, **_steps(points.step, log=log_x)},
        "yaxis": axis.layout(name),
    }
    return figure(traces, layout, title=TITLE, caption=[*caption, *axis.told()], height=520)


@dataclass(frozen=True, slots=True)
class Group:
    """Curves that are drawn alike."""

    name: str
    colour: str
    opacity: float
    curves: Ints
    said: str
    """Of each of them."""
    listed: bool = True
    """Whether the legend names it: one of several groups of the same name."""

    def look(self, width: float, fade: float) -> dict[str, Any]:
        """What a trace of this group has, but for its points."""
        return {
            "name": self.name, "legendgroup": self.name, "showlegend": self.listed, "opacity": self.opacity * fade,
            "line": {"color": self.colour, "width": width}, "marker.color": self.colour, "marker.line.width": 0,
        }  # fmt: skip


def _groups(status: Texts, stage: Ints, by: str) -> Iterator[Group]:
    """The curves by state, or by stage and state, in the order in which they are drawn."""
    named: set[int] = set()
    for state, colour in COLOUR_OF.items():
        of_state = np.flatnonzero(status == state)
        if by == "state":
            if len(of_state):
                yield Group(f"{state} ({len(of_state):,})", colour, 0.75, of_state, state)
            continue
        for number in np.unique(stage[of_state]).tolist():
            label = f"stage {number} ({np.count_nonzero(stage == number):,})"
            opacity = 0.5 if state == "stopped" else 0.9
            mine = of_state[stage[of_state] == number]
            yield Group(
                label, stage_colour(number), opacity, mine, f"{state}, stage {number}", number not in named
            )
            named.add(number)


def _best(value: Floats, owner: Ints, *, maximize: bool) -> Bools:
    """The first of the best finite values of each curve."""
    loss = np.where(np.isfinite(value), -value if maximize else value, np.inf)
    order = np.lexsort((loss, owner))
    first = order[np.r_[True, owner[order][1:] != owner[order][:-1]]] if len(order) else order
    best = np.zeros(len(value), bool)
    best[first] = True
    return best


def _early(ends: Ints) -> bool:
    """Whether most curves are so short against the longest that they would lie in a corner."""
    return len(ends) >= 10 and float(ends.max()) >= EARLY * max(float(np.median(ends)), 1.0)


def _steps(step: Ints, *, log: bool) -> dict[str, Any]:
    """The axis of the steps."""
    low, high = float(step.min()), float(step.max())
    if not log:
        margin = (high - low or 1.0) * 0.015
        return {"range": [low - margin, high + margin], "showgrid": False}
    low, high = max(low, 1.0), max(high, 1.0)
    margin = (math.log10(high / low) or 1.0) * 0.015
    ends = [math.log10(low) - margin, math.log10(high) + margin]
    return {"type": "log", "range": ends, **log_ticks(low, high)}

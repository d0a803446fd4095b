"""The curve of a live run, with the branches that were left, and what was done to it."""

from __future__ import annotations

import string
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from caviar.analysis.plots.axes import MetricAxis
from caviar.analysis.plots.look import BEST, INK, MAIN, empty, figure, plain, slim, whole
from caviar.analysis.reports import ReportColumns

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

    from caviar.analysis.acts import Act
    from caviar.analysis.result import Result

MARKED = 40
"""So many changes at most are marked on the curve: the last ones."""
MAX_POINTS = 4_000
TITLE = "The learning curve"


def letter(number: int) -> str:
    """What a change is called on the curve, as `caviar watch` calls it: after z comes a again."""
    return string.ascii_lowercase[number % len(string.ascii_lowercase)]


def run_curve(result: Result, bends: Sequence[Act]) -> Figure:
    """The main line, the branches that were left, and the changes ``bends``, in their order."""
    metric = result.metric
    line = result._main_line.of_metric(metric)
    every = result._reports.of_metric(metric)
    if not len(every) or not np.isfinite(every.value).any():
        return empty(TITLE, f"No finite {metric} was reported yet.")
    traces: list[dict[str, Any]] = []
    for attempt in np.unique(every.attempt).tolist():
        rows = every.take(every.attempt == attempt)
        kept = line.step[line.attempt == attempt]
        left = rows.take(rows.step >= kept.max()) if len(kept) else rows  # from where it was left on
        if len(left) > 1 or not len(kept):
            traces.append(_line(left, "left by a roll-back", INK, 1.2, listed=not traces))
    traces.append(_line(line, "main line", MAIN, 2.2, listed=True))
    if len(result._best_of_each):
        best = result.best
        traces.append({"type": "scatter", "mode": "markers", "x": [best.step], "y": [best.value], "name": "best",
                       "marker": {"color": BEST, "size": 10}})  # fmt: skip
    shapes, notes = [], []
    for number, act in list(enumerate(bends))[-MARKED:]:
        shapes.append({"type": "line", "x0": act.step, "x1": act.step, "y0": 0, "y1": 1, "yref": "paper",
                       "line": {"color": INK, "width": 1, "dash": "dot"}})  # fmt: skip
        notes.append({"x": act.step, "y": 1, "yref": "paper", "yanchor": "bottom", "text": letter(number),
                      "hovertext": plain(act.text, 200), "showarrow": False, "font": {"size": 12}})  # fmt: skip
    axis = MetricAxis.of(every.value, maximize=result.maximize)
    layout = {"shapes": shapes, "annotations": notes, "xaxis": {"title": {"text": "step"}, "showgrid": False},
              "yaxis": axis.layout(metric)}  # fmt: skip
    caption = axis.told()
    if len(bends) > MARKED:
        caption.append(f"Marked: the last {MARKED} of {len(bends):,} changes.")
    if len(every) > MAX_POINTS:
        caption.append(f"Long lines are thinned out to about {MAX_POINTS:,} points.")
    return figure(traces, layout, title=TITLE, caption=caption, height=500)


def _line(rows: ReportColumns, name: str, colour: str, width: float, *, listed: bool) -> dict[str, Any]:
    step, value = rows.step, rows.value
    if len(step) > MAX_POINTS:
        kept = np.unique(np.linspace(0, len(step) - 1, MAX_POINTS).round().astype(np.int64))
        step, value = step[kept], value[kept]
    return {"type": "scatter", "mode": "lines" if len(step) > 1 else "markers", "x": whole(step), "y": slim(value),
            "name": name, "legendgroup": name, "showlegend": listed, "line": {"color": colour, "width": width},
            "marker": {"color": colour, "size": 5}, "connectgaps": False,
            "hovertemplate": f"step %{{x:d}}: %{{y:.5~g}}<extra>{name}</extra>"}  # fmt: skip

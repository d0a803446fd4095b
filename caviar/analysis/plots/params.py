"""The metric against each param, on the scale that the param is sampled on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from caviar.analysis.plots.axes import MetricAxis, ParamAxis
from caviar.analysis.plots.look import BEST, COLOUR_OF, empty, figure, goal, kind, number, plain, slim, whole
from caviar.analysis.plots.panels import Panels
from caviar.analysis.plots.scene import ROOM_FOR_TEXT, Scene
from caviar.messages import Ints
from caviar.trial import TrialState

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

MAX_PANELS = 24
MAX_DOTS = 16_000
"""Dots of all panels together."""

TITLE = "Each param against the metric"
STOPPED = TrialState.STOPPED.value


def params(scene: Scene, names: Sequence[str] | None, *, log_y: bool | None, limit: int | None) -> Figure:
    """See `Plots.params`."""
    axes = scene.axes if names is None else [scene.axis(name) for name in names]
    known = np.flatnonzero(np.isfinite(scene.outcomes.value))
    if not axes:
        return empty(TITLE, "No param varies in this sweep.")
    if not len(known):
        return empty(TITLE, f"No trial has reported a finite {scene.metric} yet.")
    left_out, axes = len(axes[MAX_PANELS:]), axes[:MAX_PANELS]
    rows = scene.shown(known, limit or max(MAX_DOTS // len(axes), 200))
    y = MetricAxis.of(scene.outcomes.value[known], maximize=scene.maximize, log=log_y)
    panels = Panels(len(axes))
    said, template = _said(scene, rows, len(axes))
    traces: list[dict[str, Any]] = []
    layout: dict[str, Any] = {}
    seen: set[str] = set()
    for panel, axis in enumerate(axes):
        first = panel % panels.columns == 0
        layout |= panels.axes(
            panel,
            axis.layout(scene.places(axis, known)) | {"showgrid": False},
            y.layout(scene.metric, title=first),
        )
        for trace in _dots(scene, axis, rows, said):
            name = trace["name"]
            traces.append(
                {
                    "type": kind(len(rows) * len(axes)),
                    "mode": "markers",
                    "hovertemplate": template,
                    **panels.of(panel),
                    **trace,
                    "legendgroup": name,
                    "showlegend": name not in seen,
                }
            )
            seen.add(name)
    caption = [goal(scene.metric, maximize=scene.maximize), scene.drawn(rows, known), *y.told()]
    if np.any(scene.outcomes.status[rows] == STOPPED):
        caption.insert(1, "Each trial at its best value, a stopped one at the value for which it was stopped.")
    if left_out:
        caption.append(f"{left_out} more params are not shown: name those that you want.")
    return figure(traces, layout, title=TITLE, caption=caption, height=panels.figure_height)


def _dots(scene: Scene, axis: ParamAxis, rows: Ints, said: list[str]) -> Iterator[dict[str, Any]]:
    """The trials of one panel, by state, the best one last."""
    out = scene.outcomes
    place = scene.places(axis, rows, spread=True)
    known = np.isfinite(place)
    best = known & (rows == scene.best)
    looks: list[tuple[str, str, dict[str, Any]]] = [
        (state, colour, {"size": 5, "opacity": 0.55} if state == STOPPED else {"size": 6, "opacity": 0.8})
        for state, colour in COLOUR_OF.items()
    ]
    groups = [(known & ~best & (out.status[rows] == state), state, colour, look) for state, colour, look in looks]
    groups.append((best, "best", BEST, {"size": 12, "symbol": "star"}))
    values = scene.column(axis.name, rows)
    for group, name, colour, look in groups:
        mine = np.flatnonzero(group)
        if len(mine):
            value = (out.best if name == "best" else out.value)[rows[mine]]
            yield {
                "name": name,
                "x": slim(place[mine]),
                "y": slim(value),
                "customdata": whole(out.trial[rows[mine]]),
                "text": [
                    said[row] if said else f"{plain(axis.name, 40)} {number(values[row])}" for row in mine.tolist()
                ],
                "marker": {"color": colour, "line": {"width": 0}, **look},
            }


def _said(scene: Scene, rows: Ints, panels: int) -> tuple[list[str], str]:
    """What is said of each trial that is pointed at, and how: all of its params if there is room for that, else an
    empty list."""
    texts = scene.texts(rows)
    if sum(map(len, texts)) * panels <= ROOM_FOR_TEXT:
        return [
            f"{head}<br>{text}" for head, text in zip(scene.heads(rows), texts, strict=True)
        ], "%{text}<extra></extra>"
    return [], f"<b>trial %{{customdata}}</b><br>{plain(scene.metric, 40)} %{{y:.5~g}}<br>%{{text}}<extra></extra>"

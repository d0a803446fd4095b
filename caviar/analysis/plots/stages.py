"""What changed from stage to stage: how well trials did, and where their params lay."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from caviar.analysis.plots.axes import MetricAxis, ParamAxis
from caviar.analysis.plots.look import INK, count, empty, figure, goal, number, plain, slim, stage_colour
from caviar.analysis.plots.panels import Panels
from caviar.analysis.plots.scene import Scene
from caviar.messages import Floats, Ints

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

MAX_PANELS = 24
MAX_OF_STAGE = 1_000
"""Trials of a stage that a distribution is drawn from."""
DOTS = 50
"""Stages with no more trials than this show each."""

TITLE = "Stage by stage"


def stages(scene: Scene) -> Figure:
    """See `Plots.stages`."""
    out = scene.outcomes
    known = np.flatnonzero(np.isfinite(out.value))
    if not len(known):
        return empty(TITLE, f"No trial has reported a finite {scene.metric} yet.")
    numbers = np.unique(out.stage[known])
    rows_of = [scene.shown(known[out.stage[known] == stage], MAX_OF_STAGE) for stage in numbers]
    metric = MetricAxis.of(out.value[known], maximize=scene.maximize)
    axes = scene.axes[: MAX_PANELS - 1]
    panels = Panels(1 + len(axes))
    space = max(3 - len(numbers), 0) / 2  # one violin would fill its panel
    x = {
        "tickvals": list(range(len(numbers))),
        "ticktext": [f"{stage} ({np.count_nonzero(out.stage == stage):,})" for stage in numbers.tolist()],
        "range": [-0.6 - space, len(numbers) - 0.4 + space],
        "showgrid": False,
    }
    ticks = metric.ticks()
    y: dict[str, Any] = {}
    if ticks is not None:
        y |= {"tickvals": ticks[0], "ticktext": ticks[1]}
    layout = panels.axes(0, {**x, "title": {"text": plain(scene.metric, 40)}}, y)
    traces: list[dict[str, Any]] = []
    for place, rows in enumerate(rows_of):
        value = out.value[rows]
        value = value[(value >= metric.low) & (value <= metric.high)]
        traces.append(_violin(metric.places(value), place) | panels.of(0))
    for panel, axis in enumerate(axes, 1):
        layout |= panels.axes(
            panel, {**x, "title": {"text": axis.label}}, axis.layout(scene.places(axis, known), title=False)
        )
        traces += [trace | panels.of(panel) for trace in _param(scene, axis, rows_of)]
    drawn = sum(map(len, rows_of))
    caption = [
        goal(scene.metric, maximize=scene.maximize),
        f"{count(len(numbers), 'stage')}, with the number of trials in brackets.",
        f"Drawn: {drawn:,} of {count(len(known), 'trial')}."
        if drawn < len(known)
        else f"Drawn: {count(drawn, 'trial')}.",
        *metric.told()[:1],
    ]
    if len(scene.axes) > len(axes):
        caption.append(f"{len(scene.axes) - len(axes)} more params are not shown.")
    extra = {"showlegend": False, "violingap": 0.25}
    return figure(traces, {**layout, **extra}, title=TITLE, caption=caption, height=panels.figure_height)


def _param(scene: Scene, axis: ParamAxis, rows_of: list[Ints]) -> Iterator[dict[str, Any]]:
    """Where the values of one param lie: a violin a stage, of a choice a dot a value, as large as its share."""
    if axis.scale != "choice":
        for place, rows in enumerate(rows_of):
            yield _violin(scene.places(axis, rows, spread=True), place)
        return
    name = plain(axis.name, 40)
    for place, rows in enumerate(rows_of):
        at = scene.places(axis, rows)
        at = at[np.isfinite(at)].astype(np.int64)
        if len(at):
            share = np.bincount(at, minlength=len(axis.values)) / len(at)
            there = np.flatnonzero(share)
            yield {
                "type": "scatter",
                "mode": "markers+text",
                "x": np.full(len(there), place),
                "y": there,
                "text": [f"{part:.0%}" for part in share[there]],
                "textposition": "middle right",
                "textfont": {"size": 10.5},
                "hovertext": [f"{name} {number(axis.values[row])}: {share[row]:.1%}" for row in there],
                "hovertemplate": "%{hovertext}<extra></extra>",
                "marker": {"color": stage_colour(place), "opacity": 0.75, "line": {"width": 0}},
                "marker.size": 4 + 26 * np.sqrt(share[there]),
            }


def _violin(values: Floats, place: int) -> dict[str, Any]:
    values = values[np.isfinite(values)]
    colour = stage_colour(place)
    return {
        "type": "violin",
        "y": slim(values),
        "x0": place,
        "name": str(place),
        "line": {"color": colour, "width": 1.2},
        "fillcolor": colour,
        "opacity": 0.7,
        "box": {
            "visible": True,
            "width": 0.14,
            "fillcolor": "rgba(255,255,255,0.65)",
            "line": {"color": INK, "width": 1},
        },
        "points": "all" if len(values) <= DOTS else False,
        "pointpos": 0,
        "jitter": 0.6,
        "marker": {"size": 3, "color": colour, "opacity": 0.6},
        "spanmode": "hard",
        "scalemode": "width",
        "width": 0.75,
        "hoverinfo": "skip",
    }

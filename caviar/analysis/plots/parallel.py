"""Parallel coordinates: every trial a line through all of its params."""

from __future__ import annotations

import html
from typing import TYPE_CHECKING, Any

import numpy as np

from caviar.analysis.plots.axes import MetricAxis, ParamAxis
from caviar.analysis.plots.look import GOOD, INK, empty, figure, goal, plain, slim
from caviar.analysis.plots.scene import Scene
from caviar.messages import Floats

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

MAX_AXES = 14

TITLE = "Parallel coordinates"

PLAIN = {"tickformat": ".8~g"}
"""Of ticks that plotly chooses: its own powers of ten are markup, which these axes show as it is written."""


def parallel(scene: Scene, *, limit: int | None) -> Figure:
    """See `Plots.parallel`."""
    axes = scene.axes[:MAX_AXES]
    known = np.flatnonzero(np.isfinite(scene.outcomes.value) & np.isfinite(scene.ranks))
    if not axes:
        return empty(TITLE, "No param varies in this sweep.")
    if not len(known):
        return empty(TITLE, f"No trial has reported a finite {scene.metric} yet.")
    rows = scene.shown(known, limit)
    rows = rows[np.argsort(scene.ranks[rows], kind="stable")]  # the best is drawn last
    rank = scene.ranks[rows]
    y = MetricAxis.of(scene.outcomes.value[known], maximize=scene.maximize)
    dimensions = [_dimension(axis, scene.places(axis, rows)) for axis in axes]
    dimensions.append(_metric(scene.metric, y, scene.outcomes.value[rows]))
    trace = {
        "type": "parcoords",
        "dimensions": dimensions,
        "line": {
            "color": slim(rank),
            "cmin": 0,
            "cmax": 1,
            "colorscale": [list(stop) for stop in GOOD],
            "showscale": True,
            "colorbar": {
                "tickvals": [0.02, 0.5, 0.8, 0.98],
                "ticktext": ["worst", "median", "best fifth", "best"],
                "thickness": 12,
                "len": 0.9,
                "outlinewidth": 0,
                "title": {"text": "rank"},
            },
        },
        "labelfont": {"color": INK, "size": 12.5},
        "tickfont": {"color": INK, "size": 11, "shadow": "none"},
        "rangefont": {"color": INK, "size": 1},
        "unselected": {"line": {"color": INK, "opacity": 0.06}},
    }
    caption = [goal(scene.metric, maximize=scene.maximize), scene.drawn(rows, known)]
    if len(scene.axes) > MAX_AXES:
        caption.append(f"{len(scene.axes) - MAX_AXES} more params are not shown.")
    caption.append("Ranks are among all trials, each compared with the others at the step that it came to.")
    caption.append("Drag along an axis to pick trials.")
    return figure(
        [trace], {"margin": {"t": 112, "l": 60, "r": 40, "b": 30}}, title=TITLE, caption=caption, height=520
    )


def _dimension(axis: ParamAxis, places: Floats) -> dict[str, Any]:
    """One param; trials without it run through a place of its own below the others."""
    low, high = axis.limits(places)
    ticks = axis.ticks(low, high)
    found: dict[str, Any] = {"label": plain(axis.name, 24), "range": [low, high]}
    absent = np.isnan(places)
    if absent.any():
        below = low - (high - low) * 0.12
        places = np.where(absent, below, places)
        found["range"] = [below - (high - low) * 0.02, high]
        ticks = ticks or _even(low, high)
        ticks = [below, *ticks[0]], ["absent", *ticks[1]]
    if ticks is not None:
        # unlike everywhere else, plotly takes these as they are
        found |= {"tickvals": ticks[0], "ticktext": [html.unescape(label) for label in ticks[1]]}
    else:
        found |= PLAIN
    return found | {"values": slim(places)}


def _metric(name: str, y: MetricAxis, values: Floats) -> dict[str, Any]:
    """The metric as the last axis; values off it run through its end."""
    places = y.places(np.clip(values, y.low, y.high))
    low, high = y.places(np.array([y.low, y.high])).tolist()
    margin = (high - low or abs(high) or 1.0) * 0.04
    found: dict[str, Any] = {
        "label": plain(name, 40),
        "values": slim(places),
        "range": [low - margin, high + margin],
    }
    ticks = y.ticks()
    return found | (PLAIN if ticks is None else {"tickvals": ticks[0], "ticktext": ticks[1]})


def _even(low: float, high: float) -> tuple[list[float], list[str]]:
    """Some ticks of a linear axis, at round values."""
    step = 10.0 ** np.floor(np.log10((high - low) / 2))
    step *= next(factor for factor in (5, 2, 1) if (high - low) / (step * factor) >= 2)
    values = (np.arange(np.ceil(low / step), np.floor(high / step) + 1) * step).tolist()
    return values, [f"{value:.5g}" for value in values]

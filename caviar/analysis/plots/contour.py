"""The metric over two params."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from caviar.analysis.plots.axes import ParamAxis
from caviar.analysis.plots.look import BEST, SURFACE, count, empty, figure, goal, kind, plain, slim
from caviar.analysis.plots.scene import Scene
from caviar.analysis.plots.surface import surface, telling
from caviar.errors import CaviarError, UsageError
from caviar.messages import Ints

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

FEWEST = 8
"""With fewer trials than this there are dots alone."""

CELLS = 64
"""The surface has so many cells along each axis."""

MAX_DOTS = 600

COLOURS = {
    "colorscale": SURFACE,
    "cmin": 0,
    "cmax": 1,
    "colorbar": {
        "title": {"text": "rank"},
        "thickness": 12,
        "outlinewidth": 0,
        "tickvals": [1.0, 0.75, 0.5, 0.25, 0.0],
        "ticktext": ["best", "best quarter", "median", "worst quarter", "worst"],
    },
}
"""By rank, so that a few that blew up do not paint all others the same."""

TITLE = "The metric over two params"


def contour(scene: Scene, x: str | None, y: str | None, *, limit: int | None) -> Figure:
    """See `Plots.contour`."""
    if x is not None and x == y:
        raise UsageError(f"contour({x!r}, {y!r}): needs two different params")
    given = [scene.axis(name) for name in (x, y) if name is not None]
    known = np.flatnonzero(np.isfinite(scene.ranks) & (scene.best is not None))
    if len(scene.axes) < 2:
        return empty(TITLE, "Fewer than two params vary in this sweep.")
    if not len(known):
        return empty(TITLE, f"No trial has reported a finite {scene.metric} yet.")
    more, why = ([], "") if len(given) == 2 else _most_telling(scene, known, given)
    axes = [*given, *more] if x is not None or y is None else [*more, *given]
    across, up = axes[0], axes[1]
    both = known[np.isfinite(scene.places(across, known)) & np.isfinite(scene.places(up, known))]
    if not len(both):
        return empty(TITLE, f"No trial has both {across.name} and {up.name}.")
    rows = scene.shown(both, limit or MAX_DOTS)
    traces = [_dots(scene, across, up, rows)]
    if scene.best in rows:
        traces.append(_star(scene, across, up))
    caption = [goal(scene.metric, maximize=scene.maximize), why, scene.drawn(rows, known)]
    caption.append("Colours: ranks among all trials, each compared with the others at the step that it came to.")
    if len(both) >= FEWEST:
        traces.insert(0, _surface(scene, across, up, both))
        caption.append(
            f"The surface smooths over {count(len(both), 'trial')}, and is blank where hardly any lies near."
        )
    else:
        caption.append(f"There are too few trials for a surface: it takes {FEWEST}.")
    layout = {
        "xaxis": across.layout(scene.places(across, known)) | {"showgrid": False},
        "yaxis": up.layout(scene.places(up, known)) | {"showgrid": False},
        "coloraxis": COLOURS,
    }
    title = f"{plain(scene.metric, 40)} over {plain(across.name, 30)} and {plain(up.name, 30)}"
    return figure(traces, layout, title=title, caption=[each for each in caption if each], height=540)


def _most_telling(scene: Scene, known: Ints, given: list[ParamAxis]) -> tuple[list[ParamAxis], str]:
    """The params that matter most, as many as are still to be named, and how they were found."""
    left = [axis for axis in scene.axes if axis not in given]
    try:
        measured = scene.result.overall_importance.params["importance"]
        weight = {axis.name: float(measured.get(axis.name, 0.0)) for axis in left}
        why = "Chosen: the params that matter most." if not given else "Chosen: the other param that matters most."
    except CaviarError:
        ranks = scene.ranks[known]
        weight = {axis.name: telling(scene.places(axis, known), ranks) for axis in left}
        why = "Chosen: params by which the ranks of trials differ most."
    left.sort(key=lambda axis: -np.nan_to_num(weight[axis.name]))
    return left[: 2 - len(given)], why


def _surface(scene: Scene, across: ParamAxis, up: ParamAxis, rows: Ints) -> dict[str, Any]:
    """The smoothed metric: contours, or where a param has no order, cells."""
    places, units, grids, spots = [], [], [], []
    for axis in (across, up):
        at = scene.places(axis, rows)
        smooth = axis.scale != "choice"
        low, high = (float(at.min()), float(at.max())) if smooth else (0.0, 1.0)
        span = high - low or 1.0
        grid = np.linspace(0, 1, CELLS) if smooth else np.arange(len(axis.values), dtype=np.float64)
        places.append(at)
        units.append((at - low) / span if smooth else at)
        grids.append(grid)
        spots.append(low + grid * span if smooth else grid)
    smooth_x, smooth_y = across.scale != "choice", up.scale != "choice"
    heights = surface(
        units[0],
        units[1],
        scene.ranks[rows],
        grid_x=grids[0],
        grid_y=grids[1],
        smooth_x=smooth_x,
        smooth_y=smooth_y,
    )
    trace = {
        "x": spots[0],
        "y": spots[1],
        "z": slim(heights),
        "coloraxis": "coloraxis",
        "hoverinfo": "skip",
        "opacity": 0.85,
    }
    if smooth_x and smooth_y:
        line = {"width": 0.6, "color": "rgba(255,255,255,0.35)"}
        return trace | {"type": "contour", "contours": {"coloring": "heatmap"}, "line": line, "ncontours": 14}
    gaps = {"xgap": 0 if smooth_x else 6, "ygap": 0 if smooth_y else 6}
    return trace | {"type": "heatmap", "zsmooth": False, **gaps}


def _dots(scene: Scene, across: ParamAxis, up: ParamAxis, rows: Ints) -> dict[str, Any]:
    texts = zip(scene.heads(rows), scene.texts(rows), strict=True)
    return {
        "type": kind(len(rows)),
        "mode": "markers",
        "x": slim(scene.places(across, rows, spread=True)),
        "y": slim(scene.places(up, rows, spread=True, up=True)),
        "text": [f"{head}<br>{text}" for head, text in texts],
        "hovertemplate": "%{text}<extra></extra>",
        "showlegend": False,
        "marker": {
            "size": 6,
            "color": slim(scene.ranks[rows]),
            "coloraxis": "coloraxis",
            "line": {"width": 0.8, "color": "rgba(255,255,255,0.6)"},
        },
    }


def _star(scene: Scene, across: ParamAxis, up: ParamAxis) -> dict[str, Any]:
    best = np.array([scene.best])
    return {
        "type": "scatter",
        "mode": "markers",
        "name": f"best: trial {scene.outcomes.trial[best][0]}",
        "x": scene.places(across, best, spread=True),
        "y": scene.places(up, best, spread=True, up=True),
        "text": [f"{scene.heads(best)[0]}<br>{scene.texts(best)[0]}"],
        "hovertemplate": "%{text}<extra></extra>",
        "showlegend": True,
        "marker": {"color": BEST, "size": 15, "symbol": "star", "line": {"color": "#fff", "width": 1}},
    }

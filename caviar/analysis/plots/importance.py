"""Which params matter, and how sure that is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from caviar.analysis.plots.look import BEST, INK, MAIN, count, empty, figure, plain
from caviar.analysis.plots.scene import Scene
from caviar.errors import CaviarError

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

MAX_BARS = 20
MAX_PAIRS = 8
BAR = 30
"""Pixels a bar."""

TITLE = "Which params matter"

MATTERS = "matters"
"""The verdict on what is above chance."""


def importance(scene: Scene) -> Figure:
    """See `Plots.importance`."""
    try:
        found = scene.result.overall_importance
    except CaviarError as error:
        return empty(TITLE, str(error).removeprefix(f"{scene.result.path}: "))
    params = found.params.sort_values("importance", ascending=False)
    params = params[np.isfinite(params["importance"].to_numpy(np.float64))]
    if not len(params):
        return empty(TITLE, "No param varies in this sweep, or too few trials tell them apart.")
    alone = params.head(MAX_BARS)
    names = [plain(name, 30) for name in alone.index]
    value, low, high = (alone[column].to_numpy(np.float64) for column in ("importance", "low", "high"))
    traces: list[dict[str, Any]] = [_bars(names, value, MAIN, "alone")]
    traces[0]["error_x"] = {
        "type": "data",
        "symmetric": False,
        "array": np.maximum(high - value, 0),
        "arrayminus": np.maximum(value - low, 0),
        "color": INK,
        "thickness": 1.4,
        "width": 4,
    }
    traces[0]["customdata"] = np.stack([low, high], axis=1)
    traces[0]["hovertemplate"] = (
        "<b>%{y}</b> %{x:.1%}<br>between %{customdata[0]:.1%} and %{customdata[1]:.1%}<extra></extra>"
    )
    pairs = found.pairs[found.pairs["verdict"] == MATTERS]  # the others are what chance gives
    pairs = pairs.sort_values("importance", ascending=False).head(MAX_PAIRS)
    if len(pairs):
        both = [f"{plain(a, 24)} and {plain(b, 24)}" for a, b in zip(pairs["first"], pairs["second"], strict=True)]
        traces.append(_bars(both, pairs["importance"].to_numpy(np.float64), BEST, "together"))
        names = [*names, *both]
    layout = {
        "xaxis": {
            "title": {"text": "part of what varies between trials"},
            "tickformat": ".0%",
            "rangemode": "tozero",
        },
        "yaxis": {"type": "category", "categoryorder": "array", "categoryarray": names[::-1], "showgrid": False},
        "showlegend": bool(len(pairs)),
        "bargap": 0.35,
        "barmode": "overlay",
    }
    caption = [
        "How much of the difference between trials each param explains, with the range that is likely for it."
    ]
    several = f" of stage {found.stage}" if len(np.unique(scene.outcomes.stage)) > 1 else ""
    caption.append(f"Told from {count(found.trials, 'trial')}{several}.")
    if len(pairs):
        caption.append("Together: what two params explain only in combination.")
    if len(params) > MAX_BARS:
        caption.append(f"Drawn: {MAX_BARS} of {len(params)} params.")
    return figure(traces, layout, title=TITLE, caption=caption, height=150 + BAR * len(names))


def _bars(names: list[str], values: Any, colour: str, label: str) -> dict[str, Any]:
    return {
        "type": "bar",
        "orientation": "h",
        "name": label,
        "y": names,
        "x": values,
        "marker": {"color": colour, "opacity": 0.85},
        "hovertemplate": "<b>%{y}</b> %{x:.1%}<extra></extra>",
    }

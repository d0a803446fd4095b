"""Early stopping rung by rung, as a figure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from caviar.analysis.plots.look import COLOUR_OF, INK, empty, figure

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

    from caviar.analysis.result import Result

TITLE = "Early stopping, rung by rung"
BAR = 34
"""Pixels a rung."""
MAX_RUNGS = 24
COLOURS = {"went on": COLOUR_OF["completed"], "spared": COLOUR_OF["paused"], "stopped": COLOUR_OF["stopped"]}


def rungs(result: Result) -> Figure:
    """What became of the trials at each rung; beside it how well the rung ranks trials as their ends do."""
    frame = result.audit().rungs
    if not len(frame):
        return empty(TITLE, "No trial was judged at a rung.")
    drawn = frame
    if len(frame) > MAX_RUNGS:
        drawn = frame.iloc[np.unique(np.linspace(0, len(frame) - 1, MAX_RUNGS).round().astype(int))]
    names = [f"step {rung:,} " for rung in drawn["rung"].tolist()]
    traces: list[dict[str, Any]] = []
    for name, colour in COLOURS.items():
        value = drawn[name.replace(" ", "_")].to_numpy()
        if value.any():
            traces.append({
                "type": "bar", "orientation": "h", "name": name, "y": names, "x": value.tolist(),
                "marker": {"color": colour, "opacity": 0.85, "line": {"width": 0}},
                "hovertemplate": f"%{{x:,d}} {name} at %{{y}}<extra></extra>",
            })  # fmt: skip
    judged = drawn["judged"].tolist()
    notes = [
        {"x": total, "y": name, "text": f" {value:.2f}", "xanchor": "left", "showarrow": False,
         "font": {"size": 12, "color": INK}}
        for total, name, value in zip(judged, names, drawn["correlation"].tolist(), strict=True)
        if np.isfinite(value)
    ]  # fmt: skip
    caption = []
    if notes:
        caption.append(
            "The number beside a bar says how well that rung ranks the trials that went on as their ends do: 1 is "
            "perfectly, 0 is not at all."
        )
    if len(drawn) < len(frame):
        caption.append(f"Drawn: {len(drawn)} of {len(frame):,} rungs.")
    layout = {
        "barmode": "stack",
        "bargap": 0.35,
        "annotations": notes,
        "xaxis": {"title": {"text": "trials judged"}, "rangemode": "tozero", "range": [0, 1.09 * max(judged)]},
        "yaxis": {"type": "category", "categoryorder": "array", "categoryarray": names[::-1], "showgrid": False},
    }
    return figure(traces, layout, title=TITLE, caption=caption, height=160 + BAR * len(names))

"""What the scheduler decided at each rung, and whether the rung could tell."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from caviar.analysis.plots.look import BEST, COLOUR_OF, INK, empty, figure, whole
from caviar.analysis.plots.panels import Panels
from caviar.analysis.plots.scene import Scene

if TYPE_CHECKING:
    import pandas as pd
    from plotly.graph_objects import Figure

TITLE = "Early stopping, rung by rung"

FEW = 10
"""A correlation of fewer trials is drawn hollow."""


def audit(scene: Scene) -> Figure:
    """See `Plots.audit`."""
    found = scene.result.audit()
    rungs = found.rungs
    if not len(rungs):
        return empty(TITLE, "Nothing was judged at a rung, so nothing was stopped early.")
    panels = Panels(2, columns=2, height=330)
    at = [f"{rung:,}" for rung in rungs["rung"].tolist()]
    x = {"type": "category", "title": {"text": "rung (step)"}, "showgrid": False, "categoryarray": at}
    counts = {"title": {"text": "trials judged"}, "rangemode": "tozero"}
    told = rungs["correlation"].to_numpy(np.float64)
    low = float(np.nanmin(told, initial=0.0)) if np.isfinite(told).any() else 0.0
    part = {"title": {"text": "rank correlation with the end"}, "range": [min(low, 0.0) - 0.05, 1.05]}
    layout = {
        **panels.axes(0, x, counts),
        **panels.axes(1, x, part),
        "barmode": "stack",
        "bargap": 0.35,
    }
    traces = [
        {
            "type": "bar",
            "name": name,
            "x": at,
            "y": whole(rungs[column].to_numpy()),
            "marker": {"color": colour, "line": {"width": 0}},
            "hovertemplate": f"rung %{{x}}: %{{y:,}} {name}<extra></extra>",
            **panels.of(0),
        }
        for name, column, colour in (
            ("went on", "went_on", COLOUR_OF["completed"]),
            ("stopped", "stopped", COLOUR_OF["stopped"]),
            ("spared", "spared", BEST),
        )
        if name != "spared" or rungs[column].any()
    ]
    traces.append(_correlation(rungs, at) | panels.of(1))
    said = found.in_words()[0]
    caption = [said[:1].upper() + said[1:] + ("" if said.endswith(".") else ".")]
    if not np.isfinite(told).any():
        caption.append("How well a rung tells the end is not known: too few of those judged there came to it.")
    elif not rungs["of_all"].all():
        caption.append(
            "Hollow: told by those that were kept, which are alike, or by few; it would be higher for all."
            if not found.spared
            else "Hollow: told by few trials, or by those that were kept alone."
        )
    return figure(traces, layout, title=TITLE, caption=caption, height=panels.figure_height)


def _correlation(rungs: pd.DataFrame, at: list[str]) -> dict[str, Any]:
    """How well the value at each rung tells the one at the end."""
    solid = rungs["of_all"].to_numpy(bool) & (rungs["pairs"].to_numpy() >= FEW)
    counts = [
        f"{pairs:,} trials" + (f", {spared:,} of them spared" if spared else "")
        for pairs, spared in zip(rungs["pairs"].tolist(), rungs["pairs_spared"].tolist(), strict=True)
    ]
    return {
        "type": "scatter",
        "mode": "lines+markers",
        "name": "correlation of the value at the rung and at the end",
        "x": at,
        "y": rungs["correlation"].to_numpy(np.float64),
        "text": counts,
        "line": {"color": INK, "width": 1.2, "dash": "dot"},
        "marker": {
            "size": 10,
            "color": COLOUR_OF["running"],
            "symbol": np.where(solid, "circle", "circle-open").tolist(),
        },
        "marker.line": {"color": COLOUR_OF["running"], "width": 2},
        "hovertemplate": "rung %{x}: %{y:.2f}, by %{text}<extra></extra>",
    }

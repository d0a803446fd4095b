"""The timeline of the workers, and how busy they were."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from caviar.analysis.plots.elapsed import Terms, told, unit
from caviar.analysis.plots.look import COLOUR_OF, count, empty, figure, plain, slim, whole
from caviar.analysis.plots.scene import Scene
from caviar.analysis.plots.shifts import ENDS, Attempts, Shifts, merged

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

MAX_WORKERS = 60
MAX_BARS = 4_000
"""With more attempts than this, neighbours are drawn together."""
ROW = 22
"""Pixels a worker."""

TITLE = "What the workers did"
COLOURS = {**COLOUR_OF, "lost": "#a8872f"}


def workers(scene: Scene) -> Figure:
    """See `Plots.workers`."""
    result = scene.result
    terms = Terms.of(result._events, result._reports.time_us)
    shifts = Shifts.of(result._events, terms, running=result.status == "running")
    if not len(shifts.attempts):
        return empty(TITLE, "No trial has been started yet.")
    drawn = np.arange(len(shifts.names))
    if len(drawn) > MAX_WORKERS:
        drawn = drawn[np.linspace(0, len(drawn) - 1, MAX_WORKERS).round().astype(np.int64)]
    attempts = shifts.attempts.take(np.isin(shifts.attempts.worker, drawn))
    together = len(attempts) > MAX_BARS
    if together:
        attempts = merged(attempts, int(np.clip(1.5 * MAX_BARS // len(drawn), 100, 600)), shifts.total_s)
    name, size = unit(shifts.total_s)
    row = np.searchsorted(drawn, attempts.worker)
    traces = [
        _bars(attempts.take(mine), row[mine], end, size=size, unit=name, together=together)
        for code, end in enumerate(ENDS)
        if len(mine := np.flatnonzero(attempts.end == code))
    ]
    labels = [f"{plain(shifts.names[place], 30)}  {shifts.shares[place]:.0%}" for place in drawn.tolist()]
    layout = {
        "barmode": "overlay",
        "bargap": 0.25,
        "xaxis": {"title": {"text": f"wall time ({name})"}, "range": [0, shifts.total_s / size]},
        "yaxis": {
            "tickvals": list(range(len(drawn))),
            "ticktext": labels,
            "range": [len(drawn) - 0.5, -0.5],
            "showgrid": False,
        },
    }
    busy, present = float(shifts.busy_s.sum()), float(shifts.present_s.sum())
    caption = [
        f"{count(len(shifts.names), 'worker')}, at work for {shifts.share:.0%} of the time since the first trial "
        f"of each: {told(busy)} of {told(present)}.",
        f"Drawn: {len(drawn):,} of {count(len(shifts.names), 'worker')}."
        if len(drawn) < len(shifts.names)
        else "",
        "Short attempts are drawn together, in the colour of what took most of the time." if together else "",
    ]
    height = 150 + ROW * max(len(drawn), 3)
    return figure(traces, layout, title=TITLE, caption=[each for each in caption if each], height=height)


def _bars(attempts: Attempts, row: Any, end: str, *, size: float, unit: str, together: bool) -> dict[str, Any]:
    """The attempts that ended in one way."""
    said = "" if together else "<b>trial %{customdata[0]}</b>, attempt %{customdata[1]}<br>"
    trace = {
        "type": "bar",
        "orientation": "h",
        "name": end,
        "y": whole(row),
        "base": slim(attempts.start_s / size),
        "x": slim((attempts.stop_s - attempts.start_s) / size),
        "marker": {"color": COLOURS[end], "line": {"width": 0}},
        "hovertemplate": f"{said}{end}, %{{x:.3~g}} {unit}<extra></extra>",
    }
    if not together:
        trace["customdata"] = np.stack([whole(attempts.trial), whole(attempts.attempt)], axis=1)
    return trace

"""The best value found, against what it took to find it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from caviar.analysis.plots.axes import MetricAxis
from caviar.analysis.plots.elapsed import Terms, unit
from caviar.analysis.plots.look import BEST, COLOUR_OF, empty, figure, goal, kind, plain, slim, whole
from caviar.analysis.plots.scene import Scene
from caviar.analysis.reports import ReportColumns, sort_order
from caviar.analysis.trials import NO_TIME, EventColumns
from caviar.errors import UsageError
from caviar.messages import Floats, Ints

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

Against = Literal["cost", "time", "trials"]

EARLY = 0.05
"""Where half of all improvements came within this part of the whole, the axis is a log one."""

TITLE = "Best value so far"


def best_so_far(
    scene: Scene, against: Against, *, log_x: bool | None, log_y: bool | None, limit: int | None
) -> Figure:
    """See `Plots.best_so_far`."""
    if against not in ("cost", "time", "trials"):
        raise UsageError(f'best_so_far(against={against!r}): must be "cost", "time" or "trials"')
    out = scene.outcomes
    known = np.flatnonzero(np.isfinite(out.best))
    if not len(known):
        return empty(TITLE, f"No trial has reported a finite {scene.metric} yet.")
    at, end, title = spent(scene, against)
    order = known[np.argsort(at[known], kind="stable")]
    value = out.best[order]
    running = np.maximum.accumulate(value) if scene.maximize else np.minimum.accumulate(value)
    better = np.r_[True, running[1:] != running[:-1]]
    x, y = np.r_[at[order][better], end], np.r_[running[better], running[-1]]
    trial = np.r_[out.trial[order][better], out.trial[order][better][-1]]
    if log_x is None:
        log_x = len(x) > 3 and x[0] > 0 and float(np.median(x[:-1])) < EARLY * end
    axis = MetricAxis.of(out.best[known], maximize=scene.maximize, log=log_y)
    rows = scene.shown(known, limit)
    said = f"{plain(scene.metric, 40)} %{{y:.5~g}}<br>{title} %{{x:,.6~g}}<extra></extra>"
    traces: list[dict[str, Any]] = []
    for state, colour in COLOUR_OF.items():
        mine = rows[out.status[rows] == state]
        if len(mine):
            traces.append(
                {
                    "type": kind(len(rows)),
                    "mode": "markers",
                    "name": f"best of each trial, {state}",
                    "x": slim(at[mine]),
                    "y": slim(out.best[mine]),
                    "customdata": whole(out.trial[mine]),
                    "marker": {"color": colour, "size": 4.5, "opacity": 0.55, "line": {"width": 0}},
                    "hovertemplate": f"<b>trial %{{customdata}}</b>, {state}<br>best {said}",
                }
            )
    traces.append(
        {
            "type": kind(len(rows)),
            "mode": "lines+markers",
            "name": "best so far",
            "x": x,
            "y": y,
            "customdata": whole(trial),
            "line": {"color": BEST, "width": 2.4, "shape": "hv"},
            "marker": {"color": BEST, "size": np.r_[np.full(len(x) - 1, 7), 0], "line": {"width": 0}},
            "hovertemplate": f"best so far: <b>trial %{{customdata}}</b><br>{said}",
        }
    )
    layout = {
        "xaxis": {"title": {"text": title}, "type": "log" if log_x else "linear", "showgrid": False},
        "yaxis": axis.layout(scene.metric),
    }
    if not log_x:
        layout["xaxis"]["range"] = [-0.015 * end, 1.015 * end]
    caption = [
        goal(scene.metric, maximize=scene.maximize),
        _meaning(against),
        scene.drawn(rows, known),
        *axis.told(),
    ]
    return figure(traces, layout, title=TITLE, caption=caption)


def spent(scene: Scene, against: Against) -> tuple[Floats, float, str]:
    """For each trial what had been spent when it came to its best value, what was spent in all, and of what."""
    out, result = scene.outcomes, scene.result
    if against == "trials":
        started = result._trials.start_us
        order = np.lexsort((out.trial, np.where(started == NO_TIME, np.iinfo(np.int64).max, started)))
        place = np.empty(len(out))
        place[order] = np.arange(1, len(out) + 1)
        return place, float(max(int(np.count_nonzero(started != NO_TIME)), 1)), "trials started"
    if against == "time":
        terms = Terms.of(result._events, result._reports.time_us)
        name, size = unit(terms.total_s)
        return terms.seconds(out.best_us) / size, terms.total_s / size, f"wall time ({name})"
    time_us, steps = trained(result._reports, result._events)
    total = np.r_[0, np.cumsum(steps)]
    return (
        total[np.searchsorted(time_us, out.best_us, side="right")].astype(np.float64),
        float(total[-1]),
        "steps trained, of all trials",
    )


def trained(reports: ReportColumns, events: EventColumns) -> tuple[Ints, Ints]:
    """The time of every report, of all attempts, in order, and how many steps were trained for it since the report
    before it of the same attempt, or since what the attempt began from."""
    rows = reports.take(reports.report_starts())
    order = sort_order((rows.trial, rows.attempt, rows.step))
    if order is not None:
        rows = rows.take(order)
    first = np.r_[True, (rows.trial[1:] != rows.trial[:-1]) | (rows.attempt[1:] != rows.attempt[:-1])][: len(rows)]
    since = np.r_[0, rows.step[:-1]][: len(rows)]
    since[first] = 0
    starts = events.rows("trial_started")
    (restored,) = events.fields(starts, "trial_started", "restored")
    begun = {
        (trial, attempt): step
        for trial, attempt, step in zip(
            events.trial[starts].tolist(), events.attempt[starts].tolist(), restored, strict=True
        )
        if step is not None
    }
    if begun:
        for row in np.flatnonzero(first).tolist():  # one an attempt
            since[row] = begun.get((int(rows.trial[row]), int(rows.attempt[row])), 0)
    in_time = np.argsort(rows.time_us, kind="stable")
    return rows.time_us[in_time], np.maximum(rows.step - since, 0)[in_time]


def _meaning(against: Against) -> str:
    return {
        "cost": "Cost is steps trained, of all trials together, also of attempts that were lost.",
        "time": "Time is that in which a driver had the sweep in hand.",
        "trials": "Trials count in the order in which they were started.",
    }[against]

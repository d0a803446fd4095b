"""Columns made into pandas. Nothing here is done row by row: a million reports take a fraction of a second."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pandas as pd

from caviar.analysis.reports import ReportColumns, best_of_each
from caviar.analysis.trials import MISSING, EventColumns, TrialColumns
from caviar.errors import UsageError
from caviar.messages import Ints

MANY_CELLS, MANY_CELLS_PER_VALUE = 2**26, 16
"""A frame has no more cells than the greater of the two allows."""


def curves_frame(
    reports: ReportColumns, trials: TrialColumns, *, tidy: bool, params: Sequence[str], with_attempt: bool
) -> pd.DataFrame:
    """One row a report, or with ``tidy`` one row a value."""
    starts = reports.report_starts()
    rows = slice(None) if tidy or starts.all() else np.flatnonzero(starts)
    columns: dict[str, Any] = {"trial": reports.trial[rows]}
    if with_attempt:
        columns["attempt"] = reports.attempt[rows]
    columns["step"] = reports.step[rows]
    columns["time"] = times(reports.time_us[rows])
    if tidy:
        columns["metric"] = pd.Categorical.from_codes(reports.code, categories=pd.Index(reports.names))
        columns["value"] = reports.value
    elif len(reports.names) == 1:
        columns[reports.names[0]] = reports.value
    else:
        check_cells(int(starts.sum()) * len(reports.names), len(reports), "curves(tidy=True) has them as rows")
        wide = np.full((len(reports.names), int(starts.sum())), np.nan)
        wide[reports.code, np.cumsum(starts) - 1] = reports.value
        columns.update(zip(reports.names, wide, strict=True))
    if params:
        known = trials.known(columns["trial"])
        place = np.where(known, trials.places(columns["trial"]), -1)
        for name in params:
            values = _param(trials, name)
            columns[f"params.{name}"] = (values.take(place) if known.all() else values.reindex(place)).array
    return pd.DataFrame(columns)  # copies: what is kept here stays as it was read


def trials_frame(
    trials: TrialColumns, reports: ReportColumns, *, params: Sequence[str], metrics: Sequence[str]
) -> pd.DataFrame:
    """One row a trial; ``reports`` are those of the main lines."""
    filled = len(reports) + sum(map(len, trials.params))
    check_cells(len(trials) * (len(params) + len(metrics)), filled, "curves(tidy=True) has metrics as rows")
    last = np.flatnonzero(np.r_[reports.trial[1:] != reports.trial[:-1], True]) if len(reports) else slice(0)
    steps = np.zeros(len(trials), np.int64)
    steps[trials.places(reports.trial[last])] = reports.step[last]
    columns: dict[str, Any] = {
        "stage": trials.stage,
        "status": pd.Series(trials.status, dtype="str"),
        "reason": pd.Series(trials.reason, dtype=object),
        "attempts": trials.attempts,
        "steps": steps,
        "start_time": times(trials.start_us),
        "end_time": times(trials.end_us),
        "by_hand": trials.by_hand,
        "spared": trials.spared,
    }
    for name in params:
        columns[f"params.{name}"] = _param(trials, name)
    for name in metrics:
        rows = reports.of_metric(name)
        values = np.full(len(trials), np.nan)
        ends = np.flatnonzero(np.r_[rows.trial[1:] != rows.trial[:-1], True]) if len(rows) else slice(0)
        values[trials.places(rows.trial[ends])] = rows.value[ends]
        columns[f"metrics.{name}"] = values
    frame = pd.DataFrame(columns)
    frame.index = pd.Index(trials.trial, name="trial")
    return frame


def top_frame(
    trials: TrialColumns, rows: ReportColumns, k: int, *, maximize: bool, params: Sequence[str]
) -> pd.DataFrame:
    """The ``k`` trials with the best values, best first; ``rows`` are one metric's on the main lines."""
    best = best_of_each(rows, maximize=maximize)
    order = np.argsort(-best.value if maximize else best.value, kind="stable")[:k]  # stable: ties by lowest trial
    place = trials.places(best.trial[order])
    columns: dict[str, Any] = {
        "value": best.value[order],
        "step": best.step[order],
        "status": pd.Series(trials.status[place], dtype="str"),
    }
    for name in params:
        columns[f"params.{name}"] = _param(trials, name).take(place).array
    frame = pd.DataFrame(columns)
    frame.index = pd.Index(best.trial[order], name="trial")
    return frame


def events_frame(events: EventColumns) -> pd.DataFrame:
    """One row an event. Trial, attempt and step stay integers where others are missing (dtype Int64)."""
    return pd.DataFrame(
        {
            "seq": events.seq,
            "time": times(events.time_us),
            "kind": pd.Series(np.array(events.kinds, object)[events.code], dtype="str"),
            "trial": _maybe(events.trial),
            "attempt": _maybe(events.attempt),
            "step": _maybe(events.step),
            "data": pd.Series(events.data(np.arange(len(events))), dtype=object),
        }
    )


def param_names(trials: TrialColumns, declared: Iterable[str]) -> list[str]:
    """The params of a sweep: in the order of its space, then any that other stages brought."""
    names = dict.fromkeys(declared)
    for params in trials.params:
        names.update(dict.fromkeys(params))
    return list(names)


def known(names: Iterable[str], allowed: Sequence[str]) -> list[str]:
    """The names, once it is sure that each is a param."""
    names = list(names)
    for name in names:
        if name not in allowed:
            raise UsageError(f"params: no param is called {name!r}; there are {', '.join(allowed)}")
    return names


def times(time_us: Ints) -> pd.DatetimeIndex:
    """Microseconds since the epoch as UTC times; the least integer is NaT."""
    return pd.DatetimeIndex(time_us.view("M8[us]")).tz_localize("UTC")


def check_cells(cells: int, filled: int, instead: str) -> None:
    """Refuse a frame that would take far more memory than what it is made of: nearly all of it would be NaN."""
    if cells > max(MANY_CELLS, MANY_CELLS_PER_VALUE * filled):
        raise UsageError(f"a table of {cells:,} cells for {filled:,} values: there are too many names; {instead}")


def _param(trials: TrialColumns, name: str) -> pd.Series[Any]:
    """One param of every trial, NaN where its condition does not hold."""
    values = [params.get(name, np.nan) for params in trials.params]
    return pd.Series(values, dtype=None if values else object)


def _maybe(integers: Ints) -> Any:
    """Integers of which some are `MISSING`."""
    return pd.arrays.IntegerArray(integers.copy(), integers == MISSING)

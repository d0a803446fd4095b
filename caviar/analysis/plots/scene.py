"""What all figures of one result are made from, worked out once: how each trial did, and which are drawn."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from caviar.analysis.plots.axes import ParamAxis, param_axes, spread_of, told
from caviar.analysis.plots.look import count, number, plain
from caviar.analysis.reports import ReportColumns, best_of_each
from caviar.errors import UsageError
from caviar.messages import Floats, Ints
from caviar.space import Space
from caviar.trial import TrialState

if TYPE_CHECKING:
    from caviar.analysis.result import Result

MAX_TRIALS = 2_000
"""With more trials than this a figure draws the best of them, and of the others every so-and-so-manieth."""

BEST_DRAWN = 200
"""How many of the best are drawn in any case."""

TOLD_PARAMS = 16
"""Of a trial so many params are told when it is pointed at."""

ROOM_FOR_TEXT = 300_000
"""Characters that a figure may spend on what it says when pointed at."""

Texts = npt.NDArray[np.object_]


@dataclass(frozen=True, slots=True)
class Outcomes:
    """How each trial did, by the sweep's metric on its main line: one row a trial, sorted by number."""

    trial: Ints
    stage: Ints
    status: Texts
    best: Floats
    """The best finite value; NaN where there is none."""
    best_step: Ints
    best_us: Ints
    """When it was reported, in microseconds since the epoch."""
    last: Floats
    """The last finite value: of a stopped trial that of the rung at which it was stopped."""
    last_step: Ints

    def __len__(self) -> int:
        return len(self.trial)

    @property
    def value(self) -> Floats:
        """By what a figure judges a trial: its best value, but a stopped one by that at which it was stopped."""
        return np.where(self.status == TrialState.STOPPED.value, self.last, self.best)

    @property
    def step(self) -> Ints:
        """The step of ``value``."""
        return np.where(self.status == TrialState.STOPPED.value, self.last_step, self.best_step)


class Scene:
    """One result, as the figures want it."""

    def __init__(self, result: Result) -> None:
        self.result = result
        self.metric = result.metric
        self.maximize = result.maximize

    @cached_property
    def line(self) -> ReportColumns:
        """The sweep's metric on the main lines, without trials whose params are lost."""
        return self.result._known_line.of_metric(self.metric)

    def line_of(self, metric: str | None) -> ReportColumns:
        """Another metric on the main lines; one that nobody reported raises `UsageError`."""
        if metric is None or metric == self.metric:
            return self.line
        rows = self.result._known_line
        if metric not in rows.names:
            known = ", ".join(dict.fromkeys([self.metric, *rows.names]))
            raise UsageError(f"metric {metric!r}: no trial has reported it; there are {known}")
        return rows.of_metric(metric)

    @cached_property
    def outcomes(self) -> Outcomes:
        """How each trial did."""
        trials = self.result._trials
        best, last = best_of_each(self.line, maximize=self.maximize), _last_of_each(self.line)

        def laid(rows: ReportColumns, column: npt.NDArray[Any], missing: Any) -> npt.NDArray[Any]:
            found = np.full(len(trials), missing, column.dtype)
            found[trials.places(rows.trial)] = column
            return found

        return Outcomes(
            trials.trial,
            trials.stage,
            trials.status,
            best=laid(best, best.value, math.nan),
            best_step=laid(best, best.step, 0),
            best_us=laid(best, best.time_us, 0),
            last=laid(last, last.value, math.nan),
            last_step=laid(last, last.step, 0),
        )

    @cached_property
    def best(self) -> int | None:
        """The row of the best trial; None: no trial has a finite value."""
        value = self.outcomes.best
        if not np.isfinite(value).any():
            return None
        return int(np.nanargmax(value) if self.maximize else np.nanargmin(value))

    @cached_property
    def ranks(self) -> Floats:
        """For each trial, what part of all does no better, as far as `Result.evidence` can tell, which compares
        each where it came to: 1 for the best; NaN where nothing is known."""
        evidence = self.result.evidence
        known = self.result._trials.places(evidence.trial)
        _, place, equal = np.unique(-evidence.score, return_inverse=True, return_counts=True)
        ranks = np.full(len(self.outcomes), math.nan)
        ranks[known] = (np.cumsum(equal) / max(len(known), 1))[place]
        return ranks

    @cached_property
    def spaces(self) -> list[Space]:
        """The spaces of the stages, the first one first."""
        events = self.result._events
        found = [self.result.space]
        (later,) = events.fields(events.rows("stage_opened"), "stage_opened", "space")
        return [*found, *(space for data in later if (space := Space.from_dict(data)) not in found)]

    @cached_property
    def axes(self) -> list[ParamAxis]:
        """An axis for each param that varies."""
        return param_axes(self.result.params, self.spaces)

    def axis(self, name: str) -> ParamAxis:
        """The axis of one param; one that is not, or does not vary, raises `UsageError`."""
        for axis in self.axes:
            if axis.name == name:
                return axis
        raise UsageError(f"param {name!r}: does not vary in this sweep; {', '.join(a.name for a in self.axes)} do")

    def column(self, name: str, rows: Ints) -> list[Any]:
        """One param of some trials, None where it is absent."""
        params = self.result._trials.params
        return [params[row].get(name) for row in rows.tolist()]

    def places(self, axis: ParamAxis, rows: Ints, *, spread: bool = False, up: bool = False) -> Floats:
        """Where some trials lie on the axis of a param, spread where values are told apart; ``up``: as the second
        of two such axes."""
        moved = spread_of(self.outcomes.trial[rows], up=up) if spread else None
        return axis.places(self.column(axis.name, rows), spread=moved)

    def shown(self, rows: Ints, limit: int | None = None) -> Ints:
        """Of these trials those to draw: all if they are not too many, else the best, and evenly of the others."""
        limit = MAX_TRIALS if limit is None else limit
        if limit < 1:
            raise UsageError(f"limit={limit!r}: needs a number of trials of at least 1")
        if len(rows) <= limit:
            return rows
        loss = self.outcomes.best[rows] * (-1 if self.maximize else 1)
        order = np.argsort(loss, kind="stable")  # NaN comes last
        first = order[: min(BEST_DRAWN, max(limit // 10, 1))]
        others = np.setdiff1d(order, first, assume_unique=True)
        others.sort()
        evenly = np.linspace(0, len(others) - 1, limit - len(first)).round().astype(np.int64)
        return rows[np.union1d(first, others[evenly])]

    def drawn(self, rows: Ints, of: Ints) -> str:
        """How many trials are drawn, in a sentence."""
        if len(rows) == len(of):
            return f"Drawn: {count(len(of), 'trial')}."
        return f"Drawn: {len(rows):,} of {count(len(of), 'trial')}, the best among them."

    def texts(self, rows: Ints) -> list[str]:
        """The params of some trials, for who points at them."""
        axes, params = self.axes, self.result._trials.params
        first = axes[:TOLD_PARAMS]
        more = f"<br>… and {len(axes) - TOLD_PARAMS} more" if len(axes) > TOLD_PARAMS else ""
        return [
            "<br>".join(told(axis, params[row][axis.name]) for axis in first if axis.name in params[row]) + more
            for row in rows.tolist()
        ]

    def heads(self, rows: Ints) -> list[str]:
        """Of some trials the number, state and value, for who points at them."""
        out = self.outcomes
        columns = (out.trial[rows], out.status[rows], out.value[rows], out.step[rows])
        return [
            f"<b>trial {trial}</b>, {status}<br>{plain(self.metric, 40)} "
            + (f"{number(value)} at step {step}" if math.isfinite(value) else "none")
            for trial, status, value, step in zip(*(column.tolist() for column in columns), strict=True)
        ]


def _last_of_each(rows: ReportColumns) -> ReportColumns:
    """One row a trial: its last finite value."""
    rows = rows.take(np.isfinite(rows.value))
    return rows.take(np.flatnonzero(np.r_[rows.trial[1:] != rows.trial[:-1], np.ones(min(len(rows), 1), bool)]))

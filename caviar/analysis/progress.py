"""The live view of a sweep: a fold over what the store adds, in memory that finished trials do not swell.

Kept are the trials under way, the best few that have ended, and counts. A first update over a finished sweep of
any size goes through the same few vectorised passes as the next one.
"""

from __future__ import annotations

import math
from collections import Counter, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, cast

import numpy as np
import pyarrow as pa

from caviar.analysis.cost import NOTHING, Cost, Spending
from caviar.analysis.curve import Curve, TrialView, trial_view
from caviar.analysis.notes import Note, notes
from caviar.analysis.rates import RECENT_S, Clock, Rate
from caviar.analysis.reports import ReportColumns, Restarts, best_of_each
from caviar.analysis.time_left import TimeLeft
from caviar.analysis.trials import (
    MOVES_OF_DRIVERS,
    MOVES_OF_TRIALS,
    EventColumns,
    beginnings,
    lasting_ends,
    under_way,
)
from caviar.errors import FolderError
from caviar.store.event_data import EventDataError, parse_event
from caviar.trial import Params, TrialState

KEPT_BEST = 5
"""How many of the best trials keep their curve after they ended."""

NOTABLE = 8
"""How many notable events are remembered."""


class Increment(Protocol):
    """What a reader gives: rows new since the last time, or all of them if ``fresh``."""

    @property
    def metrics(self) -> pa.Table: ...
    @property
    def events(self) -> pa.Table: ...
    @property
    def fresh(self) -> bool: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """How a sweep stands at one moment."""

    wanted: int
    """Trials that the sweep is to have."""
    sampled: int
    counts: Mapping[str, int]
    """Trials by state, every state, in the order of a trial's life."""
    best: TrialView | None
    """The trial with the best finite value so far; ties: the lowest number."""
    leaders: Sequence[TrialView]
    """The best few, best first."""
    running: Sequence[TrialView]
    """Those with a worker, also where they are paused, by number."""
    reports: int
    reports_per_s: float
    trials_per_s: float
    """Trials that ended; both over the last `RECENT_S` seconds."""
    elapsed_s: float
    """Time in the hands of a driver, over all resumes."""
    left_s: float | None
    """An estimate of the time left; None while nothing says."""
    budget_s: float | None = None
    """The time that the sweep may take, over all resumes; None: as long as it needs."""
    cost: Cost = NOTHING
    notes: Sequence[Note]
    """The last notable events, the oldest first."""
    ended: str | None
    """Why the sweep ended: ``done``, or what cut it short; None while it has not."""

    @property
    def budget_left_s(self) -> float | None:
        """What is left of the time that the sweep may take."""
        return None if self.budget_s is None else max(self.budget_s - self.elapsed_s, 0.0)


class Progress:
    """Folds increments of the store into a `View`."""

    def __init__(self, where: str = "events", *, price_per_hour: float | None = None) -> None:
        """``where``: the sweep folder, for errors. ``price_per_hour``: instead of what was declared."""
        self._where = where
        self._price_per_hour = price_per_hour
        self._forget()

    def _forget(self) -> None:
        self._wanted: int | None = None
        self._max_step: int | None = None
        self._first_step = 0
        """After which trials begin."""
        self._maximize = False
        self._sampled = 0
        self._ended: Counter[str] = Counter()
        # of trials under way, that is sampled and not ended: all have params, those that reported have a curve
        self._params: dict[int, str] = {}
        self._curves: dict[int, Curve] = {}
        self._running: set[int] = set()
        self._paused: set[int] = set()
        self._best: list[tuple[Curve, str]] = []  # the best that have ended, with their status
        self._clock = Clock()
        self._spending: Spending | None = None
        self._budget_s: float | None = None
        self._reports = Rate()
        self._starts = Rate()
        self._trials = Rate()
        self._time_left = TimeLeft()
        self._scheduler: Mapping[str, Any] | None = None
        self._notes: deque[Note] = deque(maxlen=NOTABLE)
        self._reason: str | None = None
        self._gaps = False

    def update(
        self,
        increment: Increment,
        declaration: Mapping[str, Any],
        *,
        written: Mapping[str, Any] | None = None,
    ) -> None:
        """Take in what is new; ``declaration`` is what sweep.json says, with what was changed since, and
        ``written`` without (None: nothing was). What a reader calls fresh starts over."""
        if increment.fresh:
            self._forget()
        if self._wanted is None:
            self._wanted = int(declaration["trials"])
        if self._spending is None:
            resources = (written or declaration).get("resources")
            self._spending = Spending(resources, price_per_hour=self._price_per_hour)
        self._budget_s = declaration.get("time_budget_s")
        self._max_step = declaration.get("max_step")
        self._first_step = (declaration.get("origin") or {"step": 0})["step"]
        self._scheduler = declaration.get("scheduler")
        self._maximize = declaration["mode"] == "max"
        events = EventColumns(increment.events, self._where)
        reports = ReportColumns.of(increment.metrics, declaration["metric"])
        self._clock.add(events, reports.time_us)
        self._spending.add(events, reports.time_us)
        self._reports.add(reports.time_us[reports.report_starts()])
        self._starts.add(events.time_us[events.rows("trial_started")])
        self._trials.add(events.time_us[events.rows("trial_ended")])
        self._gaps = self._gaps or events.gaps
        restarts = self._restart(events)  # first, while only trials of earlier increments are known
        self._read_sweep(events)
        if not self._gaps:
            events.check_sampled(lambda trial: trial < self._sampled)
        self._reopen(events)
        self._read_moves(events)
        known = self._params.keys()  # all that have not ended, unless events were lost
        statuses = {trial: status for trial, status in _statuses(events).items() if trial in known}
        main_line = reports.main_line(restarts).of_metric(declaration["metric"])
        self._read_reports(main_line, statuses)
        self._time_left.add_reports(main_line, self._params.keys() - statuses.keys(), events)
        self._time_left.add_events(events, self._first_step)
        self._end(statuses)
        self._notes.extend(notes(events, NOTABLE))

    def _read_sweep(self, events: EventColumns) -> None:
        for row in events.rows("sweep_started", "extended").tolist():
            self._wanted = events.event(row)["trials"]
        ends = events.rows("driver_started", "sweep_ended")
        if len(ends):  # a sweep that ended may be extended, and then a driver starts again
            self._reason = events.event(int(ends[-1])).get("reason")
        rows = events.rows("trial_sampled")
        wrong = np.flatnonzero(events.trial[rows] != np.arange(self._sampled, self._sampled + len(rows)))
        if len(wrong) and not self._gaps:
            raise events.damaged(int(rows[wrong[0]]), "trials are not sampled in the order of their numbers")
        self._sampled += len(rows)
        self._params.update(zip(events.trial[rows].tolist(), events.text(rows), strict=True))

    def _restart(self, events: EventColumns) -> Restarts:
        """Cut known curves back to where new attempts began; the rest is for those that this increment brings."""
        trial, attempt, restored = beginnings(events, events.rows("trial_started", "rolled_back"))
        known = np.isin(trial, list(self._curves))
        for number, step in zip(trial[known].tolist(), restored[known].tolist(), strict=True):
            self._curves[number].back_to(step, maximize=self._maximize)
        return Restarts.of(trial, attempt, restored, continued=np.array(list(self._params), np.int64))

    def _reopen(self, events: EventColumns) -> None:
        """Trials that had ended are under way again. Of their curves only those of the best were kept."""
        rows = events.rows("trial_reopened")
        params = dict(zip(events.trial[rows].tolist(), events.text(rows), strict=True))
        checkpoints, ends = events.fields(rows, "trial_reopened", "checkpoint", "ended")
        before = list(zip(checkpoints, ends, strict=True))
        first = dict(zip(events.trial[rows][::-1].tolist(), before[::-1], strict=True))
        steps = dict(zip(events.trial[rows][::-1].tolist(), events.step[rows][::-1].tolist(), strict=True))
        self._time_left.reopened([step for trial, step in steps.items() if trial not in self._params])
        for trial, (checkpoint, ended) in first.items():
            if trial not in self._params:  # else it ended within these events
                usual = TrialState.STOPPED if checkpoint is None else TrialState.COMPLETED
                self._ended[ended or usual.value] -= 1
        for curve, _ in self._best:
            if curve.trial in params:
                self._curves[curve.trial] = curve
        self._best = [kept for kept in self._best if kept[0].trial not in params]
        self._params.update(params)

    def _read_moves(self, events: EventColumns) -> None:
        moved = set(events.trial[events.rows(*MOVES_OF_TRIALS)].tolist())
        for known, rows in zip((self._running, self._paused), under_way(events), strict=True):
            if len(events.rows(*MOVES_OF_DRIVERS)):
                known.clear()
            known.difference_update(moved)
            known.update(self._params.keys() & set(events.trial[rows].tolist()))

    def _read_reports(self, rows: ReportColumns, statuses: Mapping[int, str]) -> None:
        best = best_of_each(rows, maximize=self._maximize)
        losses = -best.value if self._maximize else best.value
        fresh = ~np.isin(best.trial, list(self._curves)) & np.isin(best.trial, list(statuses))
        # of those that began and ended within this increment, only the best can be among the best
        candidates = np.flatnonzero(fresh)[np.argsort(losses[fresh], kind="stable")[:KEPT_BEST]]
        under_way = self._params.keys() - statuses.keys()
        for trial in under_way | self._curves.keys() | set(best.trial[candidates].tolist()):
            low, high = np.searchsorted(rows.trial, [trial, trial + 1])
            if low == high:
                continue
            if (curve := self._curves.get(trial)) is None:
                curve = self._curves[trial] = Curve(trial, self._params_of(trial))
            curve.add(rows.step[low:high], rows.value[low:high], maximize=self._maximize)

    def _params_of(self, trial: int) -> Params:
        """The params of a trial under way; none of one that is not, though its reports say so."""
        if trial not in self._params:
            return {}
        try:
            return cast(Params, parse_event(self._params[trial], "trial_sampled")["params"])
        except EventDataError as error:
            raise FolderError(f"{self._where}: trial {trial} as it was sampled: {error}") from None

    def _end(self, statuses: Mapping[int, str]) -> None:
        self._ended.update(statuses.values())
        for trial, status in statuses.items():
            self._params.pop(trial, None)
            if (curve := self._curves.pop(trial, None)) is not None and math.isfinite(curve.best):
                self._best.append((curve, status))
        self._best = sorted(self._best, key=lambda kept: self._rank(kept[0]))[:KEPT_BEST]

    def _rank(self, curve: Curve) -> tuple[float, int]:
        return (-curve.best if self._maximize else curve.best, curve.trial)

    def view(self, now_us: int | None = None, *, alive: bool = True) -> View:
        """How the sweep stands at ``now_us`` (microseconds since the epoch), by default when it last recorded
        something. Where no driver has it in hand (``alive`` false), trials that were cut off are pending."""
        if not alive:
            self._running.clear()
            self._paused.clear()
        now_us = self._clock.last_us or 0 if now_us is None else now_us
        since_us = now_us if self._clock.since_us is None else self._clock.since_us
        ended = sum(self._ended.values())
        counts = {
            TrialState.PENDING.value: self._sampled - ended - len(self._running) - len(self._paused),
            TrialState.RUNNING.value: len(self._running),
            TrialState.PAUSED.value: len(self._paused),
        } | {state.value: self._ended[state.value] for state in TrialState if state.final}
        under_way = [
            (curve, self._state(trial)) for trial, curve in self._curves.items() if math.isfinite(curve.best)
        ]
        leaders = sorted(self._best + under_way, key=lambda kept: self._rank(kept[0]))[:KEPT_BEST]
        views = [trial_view(curve, status) for curve, status in leaders]
        elapsed_s, left_s = self._clock.elapsed_s(now_us), self._left_s(now_us, since_us, alive=alive)
        if left_s is not None and self._budget_s is not None:
            left_s = min(left_s, max(self._budget_s - elapsed_s, 0.0))
        spending = self._spending or Spending(None)
        return View(
            wanted=max(self._wanted or 0, self._sampled),
            sampled=self._sampled,
            counts=counts,
            best=views[0] if views else None,
            leaders=views,
            running=[self._view_of(trial) for trial in sorted(self._running | self._paused)],
            reports=self._reports.total,
            reports_per_s=self._reports.per_s(now_us, since_us),
            trials_per_s=self._trials.per_s(now_us, since_us),
            elapsed_s=elapsed_s,
            left_s=left_s,
            budget_s=self._budget_s,
            cost=spending.cost(now_us, left_s),
            notes=tuple(self._notes),
            ended=self._reason,
        )

    def _state(self, trial: int) -> str:
        return (
            TrialState.RUNNING if trial in self._running
            else TrialState.PAUSED if trial in self._paused
            else TrialState.PENDING
        ).value  # fmt: skip

    def _view_of(self, trial: int) -> TrialView:
        curve = self._curves.get(trial) or Curve(trial, self._params_of(trial))
        return trial_view(curve, self._state(trial))

    def _left_s(self, now_us: int, since_us: int, *, alive: bool) -> float | None:
        """By what the trials still have to train; nobody knows it where no driver is at work."""
        if self._reason is not None:
            return 0.0
        if not alive:
            return None
        under_way = {
            trial: self._first_step if (curve := self._curves.get(trial)) is None else curve.step
            for trial in self._running | self._paused
        }
        # one that waits for a worker between two trials is no less a worker
        span_us = min(now_us - since_us, round(RECENT_S * 1e6))
        gaps = self._trials.over(now_us, span_us) - self._starts.over(now_us, span_us)
        return self._time_left.seconds(
            now_us,
            under_way,
            to_start=(self._wanted or 0) - sum(self._ended.values()) - len(under_way),
            at_once=len(under_way) + gaps,
            first_step=self._first_step,
            max_step=self._max_step,
            scheduler=self._scheduler,
        )


def _statuses(events: EventColumns) -> dict[int, str]:
    """How the trials ended that did so in these events."""
    rows = lasting_ends(events)
    [status] = events.fields(rows, "trial_ended", "status")
    return dict(zip(events.trial[rows].tolist(), status, strict=True))

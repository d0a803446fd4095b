"""How a live run stands: a fold over what the store adds about its one trial, in bounded memory."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from caviar.adjusting import Timeline, effective, with_adjustment
from caviar.analysis.acts import Act, acts
from caviar.analysis.envelope import Envelope
from caviar.analysis.pace import Pace
from caviar.analysis.progress import Increment
from caviar.analysis.reports import ReportColumns
from caviar.analysis.trials import MISSING, MOVES_OF_DRIVERS, MOVES_OF_TRIALS, EventColumns, beginnings
from caviar.errors import FolderError, UsageError
from caviar.messages import LAST_STEP, Floats, Ints
from caviar.trial import Params, TrialState

TRIAL = 0
"""A live run is a sweep of this trial."""

KEPT_ACTS = 200
"""So many of the last things that were done to it are remembered."""

KEPT_BRANCHES = 20
"""So many of the last branches that it left are remembered."""

_MOVES = {kind: TrialState.PENDING for kind in (*MOVES_OF_TRIALS, *MOVES_OF_DRIVERS) if kind != "trial_ended"} | {
    "trial_started": TrialState.RUNNING,
    "unpaused": TrialState.RUNNING,
    "paused": TrialState.PAUSED,
}
"""The events after which its trial stands elsewhere, but for the end."""

_KINDS = (*_MOVES, "trial_sampled", "trial_ended", "adjusted", "checkpointed", "checkpoint_lost")


@dataclass(frozen=True, slots=True)
class Change:
    """The last change of a param."""

    old: Any
    step: int
    """The first that was trained with the new value."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveRunView:
    """How a live run stands at one moment. Values are those of the sweep's metric, as reported."""

    status: str
    """The state of its trial; pending also while it goes back or starts again."""
    reason: str | None
    """Why it ended so, where that was said."""
    attempt: int
    step: int
    """The last one reported on the main line; 0 before the first."""
    value: float
    """As last reported there; NaN before the first report."""
    best: float
    """The best finite value of the main line; NaN while there is none."""
    best_step: int
    others: Mapping[str, float]
    """The other metrics, as last reported on the main line."""
    params: Params
    """With which it trains the next step."""
    changes: Mapping[str, Change]
    """Of the params that changed on the main line."""
    steps: Ints
    """The main line, thinned out where it is long, with its extremes."""
    values: Floats
    branches: Sequence[tuple[Ints, Floats]]
    """What was abandoned, by roll-backs and by faults, the oldest first: steps and values."""
    not_finite: int
    """How many values of the main line are not."""
    acts: Sequence[Act]
    """What was done to it, the oldest first."""
    checkpoint: int | None
    """The step of the last checkpoint of the main line."""
    steps_per_s: float
    left_s: float | None
    """An estimate of the time until max_step; None while nothing says, or while it waits."""


class LiveRunProgress:
    """Folds increments of the store into a `LiveRunView`."""

    def __init__(self, where: str = "events") -> None:
        """``where``: the sweep folder, for errors."""
        self._where = where
        self._forget(maximize=False)

    def _forget(self, *, maximize: bool) -> None:
        self._line = Envelope(maximize=maximize)
        self._branches: deque[tuple[Ints, Floats]] = deque(maxlen=KEPT_BRANCHES)
        self._pace = Pace()
        self._attempt = -1
        self._step = 0
        self._others: dict[str, float] = {}
        self._max_step: int | None = None
        self._sampled: Params = {}
        self._schedule: Timeline = []
        self._course: tuple[Params, Timeline] | None = None
        """The params at the beginning and all changes, worked out when it is asked for."""
        self._adjustments: list[tuple[int, Params]] = []
        self._adjusted_at = 0
        """The last step from which on this attempt was adjusted: it has come so far, reported or not."""
        self._checkpoint: int | None = None
        self._status = TrialState.PENDING
        self._reason: str | None = None
        self._acts: deque[Act] = deque(maxlen=KEPT_ACTS)
        self._bends = 0
        self._driven = False

    def update(self, increment: Increment, declaration: Mapping[str, Any]) -> None:
        """Take in what is new; ``declaration`` is what sweep.json says. What a reader calls fresh starts over."""
        if increment.fresh:
            self._forget(maximize=declaration["mode"] == "max")
        self._max_step = declaration.get("max_step")
        schedule = [(step, changes) for step, changes in declaration.get("schedule") or ()]
        if schedule != self._schedule:
            self._schedule, self._course = schedule, None
        events = EventColumns(increment.events, self._where)
        self._read_curve(events, ReportColumns.of(increment.metrics, declaration["metric"]), declaration["metric"])
        for row in events.rows(*_KINDS).tolist():
            if events.trial[row] in (TRIAL, MISSING):
                self._read_event(events.kinds[events.code[row]], row, events)
        for act in acts(events, TRIAL):
            self._take_down(act)

    # --- the curve -----------------------------------------------------------------------------------

    def _read_curve(self, events: EventColumns, reports: ReportColumns, metric: str) -> None:
        """The reports of each attempt, in the order of attempts, each after where it began."""
        began = _beginnings(events)
        reports = reports.take(reports.trial == TRIAL)
        breaks = events.rows(*_MOVES)
        if len(breaks):
            self._pace.stop()
            since_us = int(events.time_us[breaks].max())
        else:
            since_us = 0
        for attempt in sorted({*began, *np.unique(reports.attempt).tolist()}):
            if attempt < self._attempt:
                continue  # it had been left when this came
            if attempt in began:
                self._go_back(began[attempt])
            self._attempt = attempt
            of_attempt = reports.take(reports.attempt == attempt)
            for name in of_attempt.names:
                own = of_attempt.of_metric(name)
                if name == metric:
                    self._line.add(own.step, own.value)
                elif len(own):
                    self._others[name] = float(own.value[-1])
            if len(of_attempt):
                self._step = int(of_attempt.step[-1])
                recent = of_attempt.take(of_attempt.time_us > since_us)
                self._pace.add(recent.time_us, recent.step)

    def _go_back(self, step: int) -> None:
        gone = self._line.back_to(step)
        if len(gone[0]) > 1:
            self._branches.append(gone)
        if step < self._step:
            self._step = max(step, 0)
            self._others.clear()

    # --- what happened -------------------------------------------------------------------------------

    def _read_event(self, kind: str, row: int, events: EventColumns) -> None:
        step = int(events.step[row])
        match kind:
            case "trial_sampled":
                self._sampled, self._course = events.event(row)["params"], None
            case "trial_ended":
                data = events.event(row)
                self._status, self._reason = TrialState(data["status"]), data.get("reason")
            case "checkpointed":
                self._checkpoint = step
            case "checkpoint_lost":
                self._checkpoint = None
            case "adjusted":
                self._adjust(step, events.event(row)["new"])
            case _:
                if kind == "rolled_back":
                    self._course = None
                    self._adjustments = [(at, new) for at, new in self._adjustments if at <= step]
                    self._checkpoint = step or None
                if kind in ("rolled_back", "trial_started"):
                    self._adjusted_at = 0
                if kind == "trial_reopened" or not self._status.final:
                    self._status, self._reason = _MOVES[kind], None

    def _adjust(self, step: int, new: Params) -> None:
        self._adjusted_at, self._course = max(self._adjusted_at, step), None
        if self._adjustments and self._adjustments[-1][0] >= step:
            self._adjustments = with_adjustment(self._adjustments, step, new)
        else:
            self._adjustments.append((step, new))

    def _take_down(self, act: Act) -> None:
        if act.kind == "driver_started" and not self._driven:
            self._driven = True
            return
        if act.step is not None:
            left = [replace(each, dropped=True) if act.drops(each) else each for each in self._acts]
            self._acts.clear()
            self._acts.extend(left)
            act = replace(act, number=self._bends)
            self._bends += 1
        self._acts.append(act)

    # --- the view --------------------------------------------------------------------------------------

    def view(self, *, alive: bool = True) -> LiveRunView:
        """How the run stands. Where no driver has it in hand (``alive`` false) it is pending, unless it ended."""
        status = self._status if alive or self._status.final else TrialState.PENDING
        params, changes = self._params()
        per_s = self._pace.per_s
        to_come = None if self._max_step is None else max(self._max_step - self._step, 0)
        moving = status is TrialState.RUNNING and to_come is not None and per_s > 0
        return LiveRunView(
            status=status.value,
            reason=self._reason,
            attempt=max(self._attempt, 0),
            step=self._step,
            value=self._line.last,
            best=self._line.best,
            best_step=self._line.best_step,
            others=dict(self._others),
            params=params,
            changes=changes,
            steps=self._line.steps,
            values=self._line.values,
            branches=tuple(self._branches),
            not_finite=self._line.not_finite,
            acts=tuple(self._acts),
            checkpoint=self._checkpoint,
            steps_per_s=per_s,
            left_s=to_come / per_s if moving and to_come is not None else None,
        )

    def _params(self) -> tuple[Params, dict[str, Change]]:
        """The params of the next step, and the last change of each that changed."""
        if self._course is None:
            try:
                self._course = effective(self._sampled, self._schedule, self._adjustments, step=0)
            except (UsageError, ArithmeticError) as error:
                raise FolderError(f"{self._where}: its params cannot be worked out: {error}") from None
        begin, later = self._course
        here, changes = dict(begin), dict[str, Change]()
        for step, new in later:
            if step > max(self._step + 1, self._adjusted_at):
                break
            for name, value in new.items():
                if value != here[name]:
                    changes[name] = Change(here[name], step)
                    here[name] = value
        return here, changes


def _beginnings(events: EventColumns) -> dict[int, int]:
    """After which step each attempt began that did so in these events."""
    rows = events.rows("trial_started", "rolled_back")
    _, attempts, steps = beginnings(events, rows[events.trial[rows] == TRIAL])
    found: dict[int, int] = {}
    for attempt, step in zip(attempts.tolist(), steps.tolist(), strict=True):
        found[attempt] = min(step, found.get(attempt, LAST_STEP))
    return found

"""What the scheduler decided, and what became of it: the events and reports of a sweep as columns for an audit."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np

from caviar.analysis.reports import Bools, ReportColumns
from caviar.analysis.trials import NO_TIME, EventColumns, TrialColumns, by_person
from caviar.messages import SPARE, Floats, Ints
from caviar.store.event_data import NON_FINITE
from caviar.trial import TrialState

_STOP = "stop"


@dataclass(frozen=True, slots=True)
class Decisions:
    """One row for each trial and rung at which it was judged; of several the last one."""

    trial: Ints
    rung: Ints
    loss: Floats
    stop: Bools
    spare: Bools
    era: Ints
    """Under which scheduler it was taken: they are counted from 0 on, as the sweep was gone on with under
    another."""
    touched: Bools
    """Whether a person had had a hand in the trial before."""

    def __len__(self) -> int:
        return len(self.trial)

    def take(self, rows: Bools) -> Decisions:
        """Some of the rows."""
        return Decisions(**{each.name: getattr(self, each.name)[rows] for each in fields(self)})

    @classmethod
    def of(cls, events: EventColumns, trials: TrialColumns, *, maximize: bool) -> Decisions:
        """From the events table."""
        rows = events.rows("decision")
        rows = rows[trials.known(events.trial[rows])]
        rung, value, decision = events.fields(rows, "decision", "rung", "value", "decision")
        trial, rungs = events.trial[rows], np.array(rung, np.int64)
        # the last one of each: of equal keys, the sort leaves the later row behind the earlier one
        order = np.lexsort((rows, rungs, trial))
        lasts = np.r_[(np.diff(trial[order]) != 0) | (np.diff(rungs[order]) != 0), True][: len(order)]
        last = np.sort(order[lasts])
        values = np.array([NON_FINITE[one] if type(one) is str else one for one in value], float)
        words = np.array(decision, object)
        hand = by_person(events)
        touched = np.full(len(trials), np.iinfo(np.int64).max)
        hand = hand[trials.known(events.trial[hand])]
        np.minimum.at(touched, trials.places(events.trial[hand]), hand)
        changes = _changes(events)
        return cls(
            trial=trial[last],
            rung=rungs[last],
            loss=losses(values[last], maximize=maximize),
            stop=words[last] == _STOP,
            spare=words[last] == SPARE,
            era=np.searchsorted(changes, rows[last]),
            touched=touched[trials.places(trial[last])] < rows[last],
        )


def _changes(events: EventColumns) -> Ints:
    """The rows at which trials were judged differently from then on."""
    rows = events.rows("declaration_changed")
    [changes] = events.fields(rows, "declaration_changed", "changes")
    judged = ("scheduler", "metric", "mode", "seed")
    found: Ints = rows[np.array([not one.keys().isdisjoint(judged) for one in changes], bool)]
    return found


def losses(values: Floats, *, maximize: bool) -> Floats:
    """Values of the metric turned so that less is better; what is not finite is worst."""
    return np.where(np.isfinite(values), -values if maximize else values, np.inf)


@dataclass(frozen=True, slots=True)
class Ends:
    """How each trial ended, one row a trial of `TrialColumns`."""

    loss: Floats
    """Of a trial that came to nothing ``inf``; NaN where nobody knows how it would have ended."""
    completed: Bools
    step: Ints
    """The last step of its main line; 0 before the first report."""
    pace_s: Floats
    """Seconds a step took it; NaN where its reports do not say."""

    @classmethod
    def of(cls, trials: TrialColumns, line: ReportColumns, last: ReportColumns, *, maximize: bool) -> Ends:
        """``line``: the reports of the main lines; ``last``: one row a trial, the value that counts as its end."""
        completed = trials.status == TrialState.COMPLETED.value
        diverged = (trials.status == TrialState.STOPPED.value) & (trials.reason == "diverged")
        failed = trials.status == TrialState.FAILED.value
        loss = np.full(len(trials), np.nan)
        loss[completed | diverged | failed] = np.inf
        at = trials.places(last.trial)
        known = completed[at]
        loss[at[known]] = losses(last.value[known], maximize=maximize)
        loss[trials.by_hand] = np.nan
        step, pace_s = _pace(trials, line)
        return cls(loss, completed.astype(bool), step, pace_s)


def last_of_each(rows: ReportColumns) -> ReportColumns:
    """One row a trial: its last one. ``rows`` hold one metric."""
    if not len(rows):
        return rows
    return rows.take(np.flatnonzero(np.r_[rows.trial[1:] != rows.trial[:-1], True]))


def _pace(trials: TrialColumns, line: ReportColumns) -> tuple[Ints, Floats]:
    """The last step of each trial, and how long a step took it: from the first report of its last attempt to the
    last one; where both are of one step, from the moment that it started."""
    steps, pace_s = np.zeros(len(trials), np.int64), np.full(len(trials), np.nan)
    if not len(line):
        return steps, pace_s
    ends = np.flatnonzero(np.r_[line.trial[1:] != line.trial[:-1], True])
    at = trials.places(line.trial[ends])
    steps[at] = line.step[ends]
    latest = np.repeat(line.attempt[ends], np.diff(np.r_[-1, ends]))
    own = line.take(line.attempt == latest)
    first = np.flatnonzero(np.r_[True, own.trial[1:] != own.trial[:-1]])
    last = np.r_[first[1:] - 1, len(own) - 1]
    span = own.step[last] - own.step[first]
    took_us = (own.time_us[last] - own.time_us[first]).astype(float)
    start_us, step = trials.start_us[at], own.step[last]
    alone = (span == 0) & (trials.attempts[at] == 1) & (start_us != NO_TIME) & (step > 0)
    took_us[alone] = own.time_us[last][alone] - start_us[alone]
    span[alone] = step[alone]
    told = (span > 0) & (took_us >= 0)
    pace_s[at[told]] = took_us[told] / span[told] / 1e6
    return steps, pace_s

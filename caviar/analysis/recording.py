"""The learning curves of a sweep with the time they took, to be trained once more in virtual time."""

from __future__ import annotations

import math
from bisect import bisect_right
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from caviar.analysis.reports import Bools, ReportColumns
from caviar.analysis.trials import MOVES_OF_DRIVERS, MOVES_OF_TRIALS, EventColumns, TrialColumns
from caviar.errors import CaviarError
from caviar.execution.contract import Job
from caviar.execution.course import Course
from caviar.messages import AttemptEnded, Floats, Ints, Launch
from caviar.trial import TrialState

if TYPE_CHECKING:
    from caviar.analysis.result import Result

DIVERGED = "diverged"

FAR_BETTER = -1e100
"""The loss of a trial that is better than every other; so much better again with each report, and still a number
when it is added up."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recording:
    """The main lines of all trials, by the sweep's metric. Trial numbers are places: those that nothing was
    reported of have an empty curve."""

    metric: str
    maximize: bool
    begin: int
    """The step that all trials begin from: 0, unless the sweep is a fork."""
    max_step: int | None
    first: Ints
    """Of each trial, the place of its first report; one more at the end."""
    step: Ints
    value: Floats
    second: Floats
    """For how long the trial had trained by then."""
    last_step: Ints
    """Of each trial, how far it trained, be it past its last report of the metric."""
    last_second: Floats
    pace_s: Floats
    """Of each trial, seconds a step; 0 where it has trained none."""
    cut: Bools
    """Trials whose record is cut off: they would have trained on, had they not been stopped or interrupted."""
    diverged: Bools
    workers: int
    """The most attempts at once."""

    @classmethod
    def of(cls, result: Result) -> Recording:
        """Read a sweep. Raises `CaviarError` where nothing was reported of its metric."""
        events, trials, line = result._events, result._trials, result._known_line
        reports = line.take(np.flatnonzero(line.report_starts()))
        places = int(trials.trial[-1]) + 1 if len(trials) else 0
        seconds = _seconds(events, reports)
        metric_rows = line.of_metric(result.metric)
        if not len(metric_rows):
            raise CaviarError(f"{result.path}: no trial has reported {result.metric!r} yet: nothing to replay")
        last_step, last_second = np.zeros(places, np.int64), np.zeros(places)
        origin = result.declaration.get("origin")
        begin = 0 if origin is None else int(origin["step"])
        last_step[:] = begin
        ends = np.flatnonzero(np.r_[reports.trial[1:] != reports.trial[:-1], True])
        last_step[reports.trial[ends]] = reports.step[ends]
        last_second[reports.trial[ends]] = seconds[ends]
        # the time of a value is that of its report
        place = np.cumsum(line.report_starts()) - 1
        of_metric = line.code == line.names.index(result.metric)
        cut, diverged = _cut(trials, places)
        trained = last_step - begin
        return cls(
            metric=result.metric,
            maximize=result.maximize,
            begin=begin,
            max_step=result.declaration.get("max_step"),
            first=np.searchsorted(metric_rows.trial, np.arange(places + 1)),
            step=metric_rows.step,
            value=metric_rows.value,
            second=seconds[place[of_metric]],
            last_step=last_step,
            last_second=last_second,
            pace_s=np.divide(last_second, trained, out=np.zeros(places), where=trained > 0),
            cut=cut,
            diverged=diverged,
            workers=_most_at_once(events),
        )

    def __len__(self) -> int:
        return len(self.cut)

    @property
    def trial(self) -> Ints:
        """The trial of each report."""
        return np.repeat(np.arange(len(self)), np.diff(self.first))

    @property
    def reported(self) -> Bools:
        """Trials of which there is anything to replay."""
        return np.diff(self.first) > 0

    @property
    def loss(self) -> Floats:
        """Less is better, and what is not finite is ``inf``."""
        return np.where(np.isfinite(self.value), -self.value if self.maximize else self.value, math.inf)


@dataclass(slots=True)
class RecordedCourse(Course):
    """A course with the times at which its reports came."""

    times_us: Ints = field(default_factory=lambda: np.zeros(0, np.int64))
    """Of each report, since it began."""

    def due_us(self, position: int) -> int:
        return self.began_us + (int(self.times_us[position - 1]) if position else 0)

    def position_at(self, now_us: int) -> int:
        return bisect_right(self.times_us, now_us - self.began_us)


@dataclass(frozen=True, slots=True)
class Courses:
    """The courses of a recording. A trial whose record is cut off goes on to max_step, at its own pace and with
    reports as far apart, better than every other or worse."""

    recording: Recording
    better: bool

    def course(self, launch: Launch, job: Job) -> Course:
        """The course of a trial, which has one attempt."""
        record, trial = self.recording, launch.trial
        rows = slice(record.first[trial], record.first[trial + 1])
        steps, values, seconds = record.step[rows], record.value[rows], record.second[rows]
        if record.cut[trial] and len(steps):
            further = self._further(trial, steps)
            loss = np.full(len(further), math.inf)
            if self.better:
                loss = FAR_BETTER * np.arange(1.0, len(further) + 1)
            values = np.concatenate([values, -loss if record.maximize else loss])
            later = seconds[-1] + (further - steps[-1]) * record.pace_s[trial]
            seconds, steps = np.concatenate([seconds, later]), np.concatenate([steps, further])
        outcome, reason = ("stopped", DIVERGED) if record.diverged[trial] else ("returned", None)
        last = int(steps[-1]) if len(steps) else record.begin
        return RecordedCourse(
            launch,
            (record.metric,),
            steps.tolist(),
            values.reshape(-1, 1),
            AttemptEnded(0, trial, launch.attempt, last, outcome, reason),
            0,
            next_rung=launch.next_rung,
            times_us=np.round(seconds * 1e6).astype(np.int64),
        )

    def _further(self, trial: int, steps: Ints) -> Ints:
        """The steps that it would report beyond its record; none where nobody knows how far it would train."""
        max_step = self.recording.max_step
        if max_step is None or steps[-1] >= max_step:
            return np.zeros(0, np.int64)
        apart = max(1, round(int(steps[-1] - self.recording.begin) / len(steps)))
        further = np.arange(steps[-1] + apart, max_step + apart, apart)
        return np.minimum(further, max_step)


def _cut(trials: TrialColumns, places: int) -> tuple[Bools, Bools]:
    """Which trials were cut off, and which diverged. One that failed had come to its end."""
    cut, diverged = np.zeros(places, bool), np.zeros(places, bool)
    diverged[trials.trial] = trials.reason == DIVERGED
    ended = np.isin(trials.status.astype(str), (TrialState.COMPLETED.value, TrialState.FAILED.value))
    cut[trials.trial] = ~ended & (trials.reason != DIVERGED)
    return cut, diverged


def _seconds(events: EventColumns, reports: ReportColumns) -> Floats:
    """For how long its trial had trained at each report of a main line, pauses left out. ``reports``: a row each,
    in order. What an attempt lost when another took its place does not count."""
    before = np.r_[0, reports.time_us[:-1]]
    first = np.ones(len(reports), bool)
    first[1:] = (reports.trial[1:] != reports.trial[:-1]) | (reports.attempt[1:] != reports.attempt[:-1])
    starts = events.rows("trial_started")
    at = np.flatnonzero(first)
    found = _place(events.trial[starts], events.attempt[starts], of=(reports.trial[at], reports.attempt[at]))
    before[at] = np.where(found >= 0, events.time_us[starts][found], reports.time_us[at])
    took = np.maximum(reports.time_us - before, 0)  # two machines' clocks differ
    for row, waited_us in _pauses(events, reports):
        took[row] = max(took[row] - waited_us, 0)
    total = np.cumsum(took)
    begins = np.flatnonzero(np.r_[True, reports.trial[1:] != reports.trial[:-1]][: len(reports)])
    lengths = np.diff(np.r_[begins, len(reports)])
    seconds: Floats = (total - np.repeat(total[begins] - took[begins], lengths)) / 1e6
    return seconds


def _place(trial: Ints, attempt: Ints, *, of: tuple[Ints, Ints]) -> Ints:
    """The last row of each of some attempts; -1 where there is none."""
    base = int(max(attempt.max(initial=0), of[1].max(initial=0))) + 1
    # before all of them one that nobody asks for, so that there is always a row to look at
    keys, wanted = np.r_[-1, trial * base + attempt], of[0] * base + of[1]
    order = np.argsort(keys, kind="stable")
    at: Ints = order[np.searchsorted(keys[order], wanted, side="right") - 1]
    found: Ints = np.where(keys[at] == wanted, at - 1, -1)
    return found


def _pauses(events: EventColumns, reports: ReportColumns) -> list[tuple[int, int]]:
    """The reports before which their trial had waited, and for how many microseconds. Pauses are few."""
    since: dict[tuple[int, int], int] = {}
    found = []
    for row in events.rows("paused", "unpaused").tolist():
        ids = (int(events.trial[row]), int(events.attempt[row]))
        if events.kinds[events.code[row]] == "paused":
            since.setdefault(ids, int(events.time_us[row]))
        elif ids in since:
            begin, end = np.searchsorted(reports.trial, [ids[0], ids[0] + 1])
            mine = np.flatnonzero(
                (reports.attempt[begin:end] == ids[1]) & (reports.step[begin:end] > events.step[row])
            )
            if len(mine):
                found.append((int(begin + mine[0]), int(events.time_us[row]) - since.pop(ids)))
    return found


def _most_at_once(events: EventColumns) -> int:
    """How many attempts were under way at the same time, at most."""
    ends = [kind for kind in MOVES_OF_TRIALS if kind not in ("paused", "unpaused")]
    rows = events.rows(*ends)
    order = np.lexsort((rows, events.trial[rows]))
    rows = rows[order]
    is_start = np.isin(rows, events.rows("trial_started"))
    at = np.flatnonzero(is_start)
    drivers = events.rows(*MOVES_OF_DRIVERS)
    never = len(events)
    after = np.r_[rows[1:], never]
    same = np.r_[events.trial[rows][1:] == events.trial[rows][:-1], False]
    next_move = np.where(same, after, never)[at]
    next_driver = np.r_[drivers, never][np.searchsorted(drivers, rows[at], side="right")]
    end = np.minimum(next_move, next_driver)
    times = np.r_[events.time_us, np.iinfo(np.int64).max]
    moments = np.r_[times[rows[at]], times[end]]
    change = np.r_[np.ones(len(at), np.int64), -np.ones(len(at), np.int64)]
    order = np.lexsort((change, moments))  # of the same moment, ends first: a worker goes on with the next
    return max(1, int(np.cumsum(change[order]).max(initial=1)))

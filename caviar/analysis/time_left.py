"""How long a sweep will go on: what its trials still have to train, at the pace they were seen to train at."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from heapq import heapify, heapreplace
from typing import Any

import numpy as np

from caviar.analysis.reports import ReportColumns
from caviar.analysis.survival import Survival
from caviar.analysis.trials import EventColumns, lasting_ends
from caviar.errors import UsageError
from caviar.messages import Floats, Ints

ENOUGH_TRIALS = 3
"""Where only the curves tell how early trials stop, so many must have been seen, ended ones and parts of others,
before anything is said."""

PLAYED = 1_000
"""The end of a sweep is played through with about so many trials in all, at most `TIMES` times."""

TIMES = 16

OUTLOOK_TRIALS = 100
"""A scheduler's outlook is asked for at most so many trials: that takes some hundredths of a second."""

OWN_STEPS = 2.0
"""The pace of all trials counts as much in that of one as so many of its own steps."""


@dataclass(slots=True)
class _Pace:
    """How fast one trial under way trains."""

    attempt: int
    last_us: int
    last_step: int
    time_us: int = 0
    steps: int = 0


class TimeLeft:
    """Folds what is recorded into how far trials get, and how fast. Kept are the trials under way, and sums."""

    def __init__(self) -> None:
        self._begun: dict[int, tuple[int, int | None]] = {}
        """When trials under way began, and after which step (None: the first)."""
        self._pace: dict[int, _Pace] = {}
        self._ended: Counter[int] = Counter()
        """Trials by the step they ended at, of far ones to within 0.2%."""
        self._time_us = self._steps = 0
        """Between reports of all trials."""
        self._whole_us = self._whole_steps = self._whole = 0
        """From start to end, of trials that ended."""
        self._outlook: tuple[Any, Mapping[int, float] | None, bool] = (None, None, False)

    def add_events(self, events: EventColumns, first_step: int) -> None:
        """Take in what began and ended."""
        rows = events.rows("trial_started")
        [restored] = events.fields(rows, "trial_started", "restored")
        starts = zip(events.time_us[rows].tolist(), restored, strict=True)
        self._begun.update(zip(events.trial[rows].tolist(), starts, strict=True))
        for trial in events.trial[events.rows("paused")].tolist():
            self._begun.pop(trial, None)  # its time is no measure
        ends = lasting_ends(events)
        columns = (events.trial[ends].tolist(), events.time_us[ends].tolist(), events.step[ends].tolist())
        for trial, time_us, step in zip(*columns, strict=True):
            self._pace.pop(trial, None)
            self._ended[_about(step)] += 1
            begun = self._begun.pop(trial, None)
            if begun is not None:
                self._whole += 1
                self._whole_us += max(time_us - begun[0], 0)
                self._whole_steps += max(step - (begun[1] or first_step), 0)

    def reopened(self, steps: Collection[int]) -> None:
        """Trials that had ended at these steps are under way again."""
        self._ended.subtract(map(_about, steps))
        self._ended = +self._ended

    def add_reports(self, rows: ReportColumns, under_way: Collection[int], events: EventColumns) -> None:
        """Take in reports of one metric, of which trials ``under_way`` have not ended."""
        self._go_on(events)
        follows = (rows.trial[1:] == rows.trial[:-1]) & (rows.attempt[1:] == rows.attempt[:-1])
        for row in events.rows("unpaused").tolist():  # a pause is no step that took long
            now_us = events.time_us[row]
            across = (rows.time_us[:-1] < now_us) & (rows.time_us[1:] >= now_us)
            follows &= ~(across & (rows.trial[1:] == events.trial[row]))
        time_us = np.where(follows, np.maximum(np.diff(rows.time_us), 0), 0)
        steps = np.where(follows, np.maximum(np.diff(rows.step), 0), 0)
        self._time_us += int(time_us.sum())
        self._steps += int(steps.sum())
        for trial in under_way:
            low, high = np.searchsorted(rows.trial, [trial, trial + 1]).tolist()
            if low < high:
                self._add(
                    trial, rows, low, high, int(time_us[low : high - 1].sum()), int(steps[low : high - 1].sum())
                )
        self._go_on(events)

    def _go_on(self, events: EventColumns) -> None:
        """What comes after a pause is measured from its end."""
        rows = events.rows("unpaused")
        for trial, now_us in zip(events.trial[rows].tolist(), events.time_us[rows].tolist(), strict=True):
            if (pace := self._pace.get(trial)) is not None:
                pace.last_us = max(pace.last_us, now_us)

    def _add(self, trial: int, rows: ReportColumns, low: int, high: int, time_us: int, steps: int) -> None:
        attempt, last = int(rows.attempt[high - 1]), (int(rows.time_us[high - 1]), int(rows.step[high - 1]))
        pace = self._pace.get(trial)
        if pace is None or pace.attempt != attempt:
            self._pace[trial] = _Pace(attempt, *last, time_us, steps)
            return
        if rows.attempt[low] == attempt and rows.step[low] > pace.last_step:
            between_us = max(int(rows.time_us[low]) - pace.last_us, 0)
            between = int(rows.step[low]) - pace.last_step
            self._time_us += between_us
            self._steps += between
            time_us, steps = time_us + between_us, steps + between
        pace.last_us, pace.last_step = last
        pace.time_us += time_us
        pace.steps += steps

    def seconds(
        self,
        now_us: int,
        under_way: Mapping[int, int],
        *,
        to_start: int,
        at_once: float,
        first_step: int,
        max_step: int | None,
        scheduler: Mapping[str, Any] | None,
    ) -> float | None:
        """For how long the sweep will go on; None while nothing says. ``under_way``: the steps of trials that have
        a worker; ``to_start``: those that wait for one, of whom about ``at_once`` are trained at a time."""
        if not under_way and to_start <= 0:
            return 0.0
        trials = np.array(sorted(under_way), np.int64)
        step = np.array([under_way[trial] for trial in trials.tolist()], np.int64)
        began_us = np.array([self._begun.get(trial, (now_us, None))[0] for trial in trials.tolist()], np.int64)
        age_s = np.maximum(now_us - began_us, 0) / 1e6
        workers = max(round(at_once), len(trials), 1)
        fresh = min(to_start, 2 * workers + 100)
        random = np.random.default_rng(0)
        if not self._steps:  # no trial reported twice
            if not self._whole:
                return None
            each_s = self._whole_us / self._whole / 1e6
            rest_s, new_s = np.maximum(each_s - age_s, 0.0)[None], np.full((1, fresh), each_s)
        else:
            survival = self._survival(
                step, max_step, first_step=first_step, scheduler=scheduler, to_start=to_start
            )
            if survival is None:
                return None
            times = int(np.clip(PLAYED // (fresh + len(trials)), 1, TIMES))
            pace_s = self._time_us / self._steps / 1e6
            start_s = 0.0
            if self._whole:
                start_s = max(self._whole_us / 1e6 - self._whole_steps * pace_s, 0.0) / self._whole
            rest_s = self._rest_s(survival, trials, step, random.random((times, len(trials))), now_us=now_us)
            reported = np.isin(trials, list(self._pace))
            rest_s = np.where(reported, rest_s, np.maximum(rest_s + start_s - age_s, 0.0))
            begins = np.full((times, fresh), first_step)
            new_s = start_s + (survival.ends(begins, random.random((times, fresh))) - first_step) * pace_s
        mean_s = float(new_s.mean()) if fresh else 0.0
        before_s = (to_start - fresh) * mean_s / workers  # the middle of a long sweep goes by evenly
        lasts = [_play(rest, new, workers) for rest, new in zip(rest_s.tolist(), new_s.tolist(), strict=True)]
        return before_s + float(np.mean(lasts))

    def _rest_s(self, survival: Survival, trials: Ints, step: Ints, chance: Floats, *, now_us: int) -> Floats:
        """For how long trials under way will go on, the time since their last report taken off."""
        nobody = _Pace(0, now_us, 0)
        paces = [self._pace.get(trial, nobody) for trial in trials.tolist()]
        common_s = self._time_us / self._steps / 1e6
        own_s = np.array(
            [(pace.time_us / 1e6 + OWN_STEPS * common_s) / (pace.steps + OWN_STEPS) for pace in paces], np.float64
        )
        since_s = np.array([max(now_us - pace.last_us, 0) / 1e6 for pace in paces], np.float64)
        ends = survival.ends(np.broadcast_to(step, chance.shape), chance)
        found: Floats = np.maximum((ends - step) * own_s - np.minimum(since_s, own_s), 0.0)
        return found

    def _survival(
        self,
        step: Ints,
        max_step: int | None,
        *,
        first_step: int,
        scheduler: Mapping[str, Any] | None,
        to_start: int,
    ) -> Survival | None:
        """None where too little is known."""
        ended = sum(self._ended.values())
        total = ended + len(step) + to_start
        expected, sure = self._expected(scheduler, total, max_step=max_step, first_step=first_step)
        if max_step is not None:
            seen = ended + float((step - first_step).sum()) / max(max_step - first_step, 1)
            if not sure and seen < min(ENOUGH_TRIALS, total / 2):
                return None
        if max_step is None:
            if not ended:
                return None
            return Survival.of(self._ended, step, limit=max(max(self._ended), int(step.max(initial=0)) + 1))
        return Survival.of(self._ended, step, limit=_about(max_step), expected=expected)

    def _expected(
        self, scheduler: Mapping[str, Any] | None, trials: int, *, max_step: int | None, first_step: int
    ) -> tuple[Mapping[int, float] | None, bool]:
        """How many trials end where as their scheduler expects, and whether it expects anything."""
        if max_step is None:
            return None, False
        if scheduler is None:
            return None, True
        asked = (scheduler, max_step, first_step)
        if self._outlook[0] != asked:
            self._outlook = (asked, *_outlook(scheduler, min(trials, OUTLOOK_TRIALS), max_step, first_step))
        return self._outlook[1:]


def _outlook(
    scheduler: Mapping[str, Any], trials: int, max_step: int, first_step: int
) -> tuple[Mapping[int, float] | None, bool]:
    from caviar.schedulers import from_dict

    try:
        outlook = from_dict(scheduler).outlook(max(trials, 1), max_step=max_step, begin=first_step)
    except UsageError:  # of a live run, whose trials end by hand, or of a later version
        return None, True
    if outlook.least_step is not None:
        return None, False
    ends: Counter[int] = Counter()
    for cohort in outlook.cohorts:
        for step, count in cohort.ends(max_step):
            ends[_about(step)] += count  # type: ignore[assignment]
    return ends, True


def _play(rest_s: list[float], new_s: list[float], workers: int) -> float:
    """When the last trial ends, where each that waits takes the first worker that is free."""
    free = rest_s + [0.0] * (workers - len(rest_s))
    last_s = max(free)
    heapify(free)
    for trial_s in new_s:
        end_s = free[0] + trial_s
        heapreplace(free, end_s)
        last_s = max(last_s, end_s)
    return last_s


def _about(step: int) -> int:
    """The step, rounded down so that there are only so many different ones."""
    step = max(step, 0)
    bits = max(step.bit_length() - 10, 0)
    return step >> bits << bits

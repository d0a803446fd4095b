"""How well each trial did, on one scale, though they did not all come equally far."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.stats import rankdata

from caviar.analysis.reports import Bools
from caviar.messages import Floats, Ints
from caviar.schedulers.base import Verdict
from caviar.trial import Params, TrialState

if TYPE_CHECKING:
    from caviar.analysis.reports import ReportColumns
    from caviar.analysis.trials import EventColumns, TrialColumns

MAX_LEVELS = 16
"""At so many steps at most trials are compared."""

DIVERGED = "diverged"
"""The reason of a trial whose metric was not finite any more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """One row a trial of which something is known, sorted by number.

    Trials are compared at *levels*: the rungs, and the end. The loss of a trial is its best one up to its own
    level, the last that it came to. Its **score** is the share of all trials that do as well or better, as far as
    that can be told: its rank among all trials that came to its level (those that went farther too, by what they
    had there), times the share of trials that are let go on so far, which is estimated as Kaplan and Meier
    estimate survival: trials that run, or that were cut off by hand, by a fault or by the time budget, are not
    taken for bad ones. So 0 is best and 1 is worst, and one that was stopped early counts, at its rung, against
    its peers there.

    A trial that diverged, or that has no finite loss, scores 1 and has the loss ``inf``; so does one that failed
    by its own fault before it reported the metric, as others with such params would. One that its scheduler
    spared counts as stopped where it was spared, or at the last level beyond it where it does better than half of
    the trials that were kept. Other trials without a report of the metric are left out, and so are those whose
    params were changed on their way: how they did says nothing about the params that they began with.
    """

    trial: Ints
    stage: Ints
    params: Sequence[Params]
    score: Floats
    """From above 0, the best, to 1."""
    loss: Floats
    """The metric at its level, turned so that less is better; ``inf`` where it is not finite."""
    level: Ints
    """The step at which it is compared; of those at the end, the last that was reported."""
    at_end: Bools
    """Whether it is compared at the end."""

    def __len__(self) -> int:
        return len(self.trial)

    def take(self, rows: Ints) -> Evidence:
        """Some of the rows, by index."""
        return Evidence(
            trial=self.trial[rows],
            stage=self.stage[rows],
            params=[self.params[row] for row in rows.tolist()],
            score=self.score[rows],
            loss=self.loss[rows],
            level=self.level[rows],
            at_end=self.at_end[rows],
        )

    def best_first(self) -> Ints:
        """The rows by score; ties by loss, then by number."""
        return np.lexsort((self.trial, self.loss, self.score))

    def best(self, share: float) -> Evidence:
        """The rows of the best ``share`` (0 to 1), best first: one at least, and none without a finite loss."""
        order = self.best_first()
        count = max(1, round(share * len(self)))
        return self.take(order[:count][np.isfinite(self.loss[order[:count]])])


def evidence(
    trials: TrialColumns, line: ReportColumns, events: EventColumns, *, maximize: bool, converges: bool
) -> Evidence:
    """What the record says of each trial. ``line``: the main line's reports of the sweep's metric. ``converges``:
    whether the scheduler stops trials because they improve no more, and not because others are better."""
    line = line.take(~np.isin(line.trial, events.trial[events.rows("adjusted")]))
    first = np.flatnonzero(np.r_[True, line.trial[1:] != line.trial[:-1]][: len(line)])
    end = np.r_[first[1:], len(line)][: len(first)]
    place = trials.places(line.trial[first])
    number = trials.trial[place]
    judged = _Ends.of(events, number)
    status, reason = trials.status[place], trials.reason[place]
    stopped = (status == TrialState.STOPPED.value) & judged.stopped
    at_end = (status == TrialState.COMPLETED.value) | (stopped & converges)
    loss = -line.value if maximize else line.value
    loss = np.where(np.isfinite(loss), loss, np.inf)
    diverged = (status == TrialState.STOPPED.value) & (reason == DIVERGED)
    worst = diverged | (at_end & ~np.isfinite(loss[end - 1]))
    last = line.step[end - 1]
    levels = _levels(judged.rungs, last, ~at_end & ~worst)
    curves = _Curves(line.step, _running_best(loss, first), first, end)
    silent = _failed_in_silence(trials, events, number)
    score, own_loss, own = _scored(
        curves,
        levels,
        at_end=at_end,
        worst=worst,
        stopped=stopped,
        spared_at=judged.spared_at,
        silent=len(silent),
    )
    steps = np.array([level or 0 for level in levels], np.int64)
    kept = np.flatnonzero(own >= 0)
    rows = np.r_[place[kept], silent]
    none = np.zeros(len(silent), np.int64)
    level = np.where(own == len(levels) - 1, last, steps[own])
    found = Evidence(
        trial=trials.trial[rows],
        stage=trials.stage[rows],
        params=[trials.params[row] for row in rows.tolist()],
        score=np.r_[score[kept], none + 1.0],
        loss=np.r_[own_loss[kept], none + np.inf],
        level=np.r_[level[kept], none],
        at_end=np.r_[((own == len(levels) - 1) & ~diverged)[kept], none > 0],
    )
    return found.take(np.argsort(found.trial)) if len(silent) else found


def _failed_in_silence(trials: TrialColumns, events: EventColumns, reported: Ints) -> Ints:
    """The rows of trials that failed by their own fault, and not with their worker, without any report."""
    lost = events.trial[events.rows("attempt_lost")]
    failed = (trials.status == TrialState.FAILED.value) & ~np.isin(trials.trial, np.r_[reported, lost])
    rows: Ints = np.flatnonzero(failed)
    return rows


@dataclass(frozen=True, slots=True)
class _Ends:
    """What a scheduler's decisions put an end to; those that let a trial go on are many, and never parsed."""

    rungs: Ints
    """At which rungs trials were stopped or spared, rising."""
    stopped: Bools
    """Whether a trial was stopped."""
    spared_at: Ints
    """The rung at which a trial was spared, or -1."""

    @classmethod
    def of(cls, events: EventColumns, trials: Ints) -> _Ends:
        """Of these trials, which are sorted."""
        rows = events.rows("decision")
        words = (Verdict.STOP.value, Verdict.SPARE.value)
        rows = np.unique(np.concatenate([events.saying(rows, f'"{word}"') for word in words]))
        verdicts, rungs = (np.array(each) for each in events.fields(rows, "decision", "decision", "rung"))
        stop, spare = (np.flatnonzero(verdicts == word) for word in words)
        spared_at = np.full(len(trials), -1, np.int64)
        if len(trials):
            place = np.minimum(np.searchsorted(trials, events.trial[rows[spare]]), len(trials) - 1)
            known = trials[place] == events.trial[rows[spare]]
            spared_at[place[known]] = rungs[spare][known]
        ends = np.unique(np.r_[rungs[stop], rungs[spare]].astype(np.int64))
        return cls(ends, np.isin(trials, events.trial[rows[stop]]), spared_at)


@dataclass(frozen=True, slots=True)
class _Curves:
    """Learning curves one after the other: curve i has the rows from ``first[i]`` up to ``end[i]``."""

    step: Ints
    best: Floats
    """The least finite loss up to this report."""
    first: Ints
    end: Ints

    def at(self, level: int | None) -> Floats:
        """The loss of each at the first report at or past this step; NaN where there is none. None: at its end."""
        if level is None:
            return self.best[self.end - 1]
        place = np.cumsum(np.r_[0, self.step >= level])
        # steps rise within a curve, so those at or past the level are its last ones
        past = place[self.end] - place[self.first]
        found = np.full(len(self.first), np.nan)
        there = past > 0
        found[there] = self.best[self.end[there] - past[there]]
        return found


def _scored(
    curves: _Curves,
    levels: Sequence[int | None],
    *,
    at_end: Bools,
    worst: Bools,
    stopped: Bools,
    spared_at: Ints,
    silent: int,
) -> tuple[Floats, Floats, Ints]:
    """The score, loss and place in ``levels`` of each curve: NaN, NaN and -1 where it came to none of them.
    ``silent``: how many trials beside them are worse than all at every level."""
    count = len(curves.first)
    values = [curves.at(level) for level in levels]
    values[-1] = np.where(at_end, values[-1], np.nan)
    own = np.full(count, -1)
    for place, here in enumerate(values):
        own[~np.isnan(here)] = place
    spared = spared_at >= 0
    steps = np.array([level for level in levels if level is not None], np.int64)
    own[spared] = np.minimum(own, np.searchsorted(steps, spared_at, side="right") - 1)[spared]
    own[worst] = len(levels) - 1
    score, loss = np.full(count, np.nan), np.full(count, np.nan)
    share = 1.0
    for place, here in enumerate(values):
        here = np.where(worst, np.inf, here)
        peers = ~np.isnan(here) & (own >= place)
        if not peers.any():
            continue
        rank = np.full(count, np.nan)
        rank[peers] = rankdata(here[peers], method="average")
        mine = peers & (own == place)
        count_here = int(peers.sum()) + silent
        score[mine] = share * rank[mine] / count_here
        loss[mine] = here[mine]
        kept = np.sort(here[peers & ~worst])
        beyond = spared & ~worst & (own < place) & ~np.isnan(here)
        if len(kept) and beyond.any():
            beyond[beyond] = here[beyond] <= np.median(kept)
            score[beyond] = share * (np.searchsorted(kept, here[beyond]) + 1) / (count_here + 1)
            loss[beyond], own[beyond] = here[beyond], place
        share *= 1 - (mine & (stopped | spared)).sum() / count_here
    score[worst], loss[worst] = 1.0, np.inf
    return score, loss, own


def _levels(rungs: Ints, last: Ints, cut_off: Bools) -> list[int | None]:
    """The steps at which trials are compared, rising; None, the last, is the end. They are the rungs at which
    trials were stopped, and without any, as far as trials were cut off, thirds of thirds of the longest curve."""
    steps = rungs
    if not len(steps) and cut_off.any():
        longest = int(last.max())
        steps = np.unique([max(1, longest // 3**power) for power in range(MAX_LEVELS)])
    if len(steps) > MAX_LEVELS:
        steps = steps[np.unique(np.linspace(0, len(steps) - 1, MAX_LEVELS).round().astype(np.int64))]
    return [*steps.tolist(), None]


def _running_best(loss: Floats, first: Ints) -> Floats:
    """The least loss up to each report of its curve; curves begin at the rows ``first``."""
    best = loss.copy()
    lengths = np.diff(np.r_[first, len(loss)])
    longest = int(lengths.max(initial=0))
    if longest > len(first):  # few long curves
        for begin, length in zip(first.tolist(), lengths.tolist(), strict=True):
            np.minimum.accumulate(loss[begin : begin + length], out=best[begin : begin + length])
        return best
    for offset in range(1, longest):  # many short ones
        rows = first[lengths > offset] + offset
        best[rows] = np.minimum(best[rows], best[rows - 1])
    return best

"""The median stopping rule."""

from __future__ import annotations

import math
from dataclasses import KW_ONLY, dataclass
from typing import ClassVar

from caviar.schedulers.base import Judge, Scheduler, Verdict
from caviar.schedulers.rung import RegularRungs, Rung, check_whole
from caviar.schedulers.sparing import check_spare


@dataclass(frozen=True, slots=True)
class MedianStop(Scheduler):
    """Stops a trial whose best loss is worse than what the middle trial has on average.

    Rungs lie at ``grace_steps`` and then every ``every`` steps, below max_step. At a rung a trial stops if its
    best loss so far is strictly worse than the median, over the other trials judged at this rung, of the running
    average of each: the mean of its losses at all rungs up to this one. Losses between rungs do not count,
    neither for the best nor for the average, and a report that passed several rungs counts at each of them.
    The median of an even number is the mean of the middle two.

    ``grace_steps``: no trial stops before this step. ``every``: steps between rungs, at each of which `report`
    waits for an answer. ``min_trials``: nobody stops at a rung before so many others were judged there. ``spare``:
    as in `Asha`.

    Ties with the median go on. Non-finite losses arrive as ``inf``: from then on the trial's average is ``inf``,
    while its best stays; where the median is ``inf`` nobody stops. Whom a trial is compared with depends on
    the order of arrival.

    Costs O(log n) for the n-th trial at a rung, and about 32 bytes for each trial at each rung it reached: with
    very many long trials raise ``every``. Wrong arguments raise `UsageError`.

    Source: Golovin, Solnik, Moitra, Kochanski, Karro and Sculley, "Google Vizier: A Service for Black-Box
    Optimization", KDD 2017, section 3.2.2. There the median is over completed trials; here it is over all that
    came as far, so that it says something before the first has completed.
    """

    name: ClassVar[str] = "median_stop"
    grace_steps: int = 1
    every: int = 1
    _: KW_ONLY
    min_trials: int = 5
    spare: float = 0.0

    def __post_init__(self) -> None:
        check_whole("MedianStop", grace_steps=self.grace_steps, every=self.every, min_trials=self.min_trials)
        check_spare("MedianStop", self.spare)

    def begin(self, *, max_step: int | None) -> Judge:
        rungs = RegularRungs(self.grace_steps, self.every, max_step=max_step)
        return MedianStopJudge(rungs, min_trials=self.min_trials)


@dataclass(slots=True)
class _Curve:
    """What is kept of a running trial's losses at its rungs."""

    best: float = math.inf
    total: float = 0.0
    rungs: int = 0

    def add(self, loss: float) -> float:
        """Count a loss; returns the average."""
        self.best = min(self.best, loss)
        # once inf, always inf: a sum that had overflowed to -inf would turn into NaN, which no heap can order
        self.total = math.inf if loss == math.inf else self.total + loss
        self.rungs += 1
        return self.total / self.rungs


class MedianStopJudge(Judge):
    """Keeps the best loss and the sum of each running trial, and the averages seen at each rung."""

    __slots__ = ("_averages", "_curves", "_min_trials", "_rungs")

    def __init__(self, rungs: RegularRungs, *, min_trials: int) -> None:
        self._rungs = rungs
        self._min_trials = min_trials
        self._curves: dict[int, _Curve] = {}
        self._averages: dict[int, Rung] = {}

    def first_rung(self, trial: int) -> int | None:
        return self._rungs.first

    def rung_after(self, trial: int, rung: int) -> int | None:
        return self._rungs.after(rung)

    def extend(self, max_step: int | None) -> None:
        self._rungs.extend(max_step)

    def decide(self, trial: int, rung: int, loss: float) -> Verdict:
        averages = self._averages.get(rung)
        if averages is None or len(averages) < self._min_trials:
            return Verdict.CONTINUE
        curve = self._curves.get(trial)
        best = loss if curve is None else min(curve.best, loss)
        return Verdict.STOP if best > _median(averages) else Verdict.CONTINUE

    def observe(self, trial: int, rung: int, loss: float) -> None:
        average = self._curve(trial).add(loss)
        averages = self._averages.get(rung)
        if averages is None:
            averages = self._averages[rung] = Rung()
        # the lower half, and the middle one with it
        averages.add(average, len(averages) // 2 + 1)

    def observe_alone(self, trial: int, rung: int, loss: float) -> None:
        self._curve(trial).add(loss)

    def _curve(self, trial: int) -> _Curve:
        curve = self._curves.get(trial)
        if curve is None:
            curve = self._curves[trial] = _Curve()
        return curve

    def forget(self, trial: int) -> None:
        self._curves.pop(trial, None)


def _median(averages: Rung) -> float:
    n = len(averages)
    lower = averages.kth_lowest((n + 1) // 2)
    return lower if n % 2 else (lower + averages.kth_lowest(n // 2 + 1)) / 2

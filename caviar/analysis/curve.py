"""A learning curve in bounded memory."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np

from caviar.messages import Floats, Ints
from caviar.trial import Params

CURVE_POINTS = 200
"""A curve keeps at most this many points: past it, every second one goes."""


@dataclass(slots=True)
class Curve:
    """The metric of one trial: thinned out, but for its best value, which is exact."""

    trial: int
    params: Params
    steps: Ints = field(default_factory=lambda: np.zeros(0, np.int64))
    values: Floats = field(default_factory=lambda: np.zeros(0))
    step: int = 0
    """The last one reported."""
    last: float = math.nan
    best: float = math.nan
    """The best finite value; NaN while there is none."""
    best_step: int = 0
    stride: int = 1
    """How many reports a kept point stands for."""
    seen: int = 0

    def add(self, steps: Ints, values: Floats, *, maximize: bool) -> None:
        """The next reports, one or more, in order."""
        self.step, self.last = int(steps[-1]), float(values[-1])
        losses = np.where(np.isfinite(values), -values if maximize else values, math.inf)
        at = int(losses.argmin())
        best = math.inf if math.isnan(self.best) else -self.best if maximize else self.best
        if losses[at] < best:
            self.best, self.best_step = float(values[at]), int(steps[at])
        keep = slice(-self.seen % self.stride, None, self.stride)
        self.seen += len(steps)
        self.steps = np.concatenate([self.steps, steps[keep]])
        self.values = np.concatenate([self.values, values[keep]])
        while len(self.steps) > CURVE_POINTS:
            # copies: a view would hold on to the whole of what it was cut from
            self.steps, self.values = self.steps[::2].copy(), self.values[::2].copy()
            self.stride *= 2

    def back_to(self, step: int, *, maximize: bool) -> None:
        """A new attempt began from ``step``: what came later does not count. If the best value came later,
        the best is from now on that of the points that were kept."""
        if self.step <= step:
            return
        best, best_step = self.best, self.best_step
        steps, values = self.steps[keep := self.steps <= step], self.values[keep]
        self.steps, self.values = steps[:0], values[:0]
        self.step, self.last, self.best, self.best_step, self.stride, self.seen = 0, math.nan, math.nan, 0, 1, 0
        if len(steps):
            self.add(steps, values, maximize=maximize)
        if best_step <= step:
            self.best, self.best_step = best, best_step


@dataclass(frozen=True, slots=True)
class TrialView:
    """One trial as the live view shows it. Values are the metric as reported."""

    trial: int
    params: Params
    status: str
    step: int
    value: float
    """As last reported; NaN before the first report."""
    best: float
    best_step: int
    steps: Ints
    """At most `CURVE_POINTS` steps, and the values there."""
    values: Floats


def trial_view(curve: Curve, status: str) -> TrialView:
    """The curve as the live view shows it."""
    return TrialView(
        curve.trial,
        curve.params,
        status,
        step=curve.step,
        value=curve.last,
        best=curve.best,
        best_step=curve.best_step,
        steps=curve.steps,
        values=curve.values,
    )

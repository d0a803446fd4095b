"""Acts where a loss that fell suddenly rises."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass, field
from typing import ClassVar

import numpy as np

from caviar.messages import Floats, Ints
from caviar.panda.change import Change
from caviar.panda.live import Live
from caviar.panda.rules.base import Watching

HISTORY = 8
"""Fewer finite reports before a rise say too little about the noise."""

_SIGMA = 1.4826 / 6**0.5
"""The standard deviation of normal noise, by the median of its absolute second differences: each of these is
a - 2b + c of three values, so its variance is 1 + 4 + 1 times as large."""


@dataclass(frozen=True, slots=True)
class OnSpike(Watching):
    """Goes back and lowers the learning rate when the loss, after it fell, suddenly rises.

    It fires when each of the last ``patience`` reports lies above a threshold. All numbers are losses: the metric
    turned so that less is better. Of the ``window`` reports before these, only the finite ones count, and there
    must be at least 8:

    - The *best* is their lowest, once each was replaced by the median of itself and its two neighbours; so a
      single lucky report is none.
    - The *noise* is 1.4826 / sqrt(6) times the median of the absolute second differences of successive ones: the
      standard deviation if they scatter normally about a smooth curve, however steeply that falls.
    - The *threshold* is the highest of: ``factor`` times the best; the best plus ``noise`` times the noise; the
      best plus ``min_delta``. A best below 0 is divided by ``factor`` instead: accuracy to be maximised, 0.9 at
      best, spikes with a factor of 1.5 below 0.6. Near 0 a factor says little, and the noise decides; a loss that
      comes to exactly 0 wants ``min_delta``, in the metric's own units.

    A loss that is not finite lies above any threshold. Reports up to the last firing do not count among the
    ``patience``, which are reports also where ``every`` is not 1.

    ``rollback``: it goes back to the last report whose loss lies at most halfway from the best to the threshold,
    and sets the values scaled from those with which the run spiked, so that what spikes again is scaled again.
    ``at_most`` is 10: where scaling does not help, it gives up.
    """

    name: ClassVar[str] = "OnSpike"
    factor: float = 1.5
    patience: int = 2
    rollback: bool = True
    _: KW_ONLY
    scale: Mapping[str, float] = field(default_factory=lambda: {"lr": 0.5}, hash=False)
    window: int = 20
    noise: float = 8.0
    min_delta: float = 0.0
    at_most: int | None = 10

    def __post_init__(self) -> None:
        Watching.__post_init__(self)
        self._number(above=1, factor=self.factor)
        self._whole(patience=self.patience)
        self._whole(at_least=HISTORY, window=self.window)
        self._number(noise=self.noise, min_delta=self.min_delta)
        self._flag(rollback=self.rollback)
        self._does_something(rollback=self.rollback)

    def consider(self, live: Live, fired: int) -> Change | None:
        seen = live.watching(self.metric, mode=self.mode)
        return None if seen is None else self._consider(seen, fired)

    def _consider(self, live: Live, fired: int) -> Change | None:
        start = len(live.losses) - self.patience
        if start < HISTORY or live.numbers[start] <= fired:
            return None
        before = slice(max(0, start - self.window), start)
        found = self._threshold(live.steps[before], live.losses[before])
        if found is None:
            return None
        best, best_step, threshold = found
        late = live.losses[start:]
        if not (np.isinf(late) | (late > threshold)).all():
            return None
        # halfway, so that a rise that took several reports is left behind as a whole
        good = np.isfinite(live.losses) & (live.losses <= best + (threshold - best) / 2)
        return Change(
            self.scaled,
            int(live.steps[good][-1]) if self.rollback else None,
            reason=self._reason(live, best, best_step),
        )

    def _threshold(self, steps: Ints, losses: Floats) -> tuple[float, int, float] | None:
        """The best of these reports, its step, and the threshold; None: they are too few."""
        finite = np.isfinite(losses)
        steps, losses = steps[finite], losses[finite]
        if len(losses) < HISTORY:
            return None
        smooth = np.median([losses[:-2], losses[1:-1], losses[2:]], axis=0)
        at = int(smooth.argmin())
        best = float(smooth[at])
        best_step = int(steps[at + int((losses[at : at + 3] == best).argmax())])
        with np.errstate(over="ignore", invalid="ignore"):
            spread = _SIGMA * float(np.median(np.abs(np.diff(losses, 2))))
        factored = best * self.factor if best >= 0 else best / self.factor
        return best, best_step, max(factored, best + self.noise * spread, best + self.min_delta)

    def _reason(self, live: Live, best: float, best_step: int) -> str:
        value, shown = live.value, best if live.minimize else -best
        how = (
            f"is {value / best:.2g} times"
            if live.minimize and best > 0 and np.isfinite(value)
            else f"is far {'above' if live.minimize else 'below'}"
            if np.isfinite(value)
            else "came after"
        )
        reports = "a report" if self.patience == 1 else f"{self.patience} reports"
        return f"{live.metric} {value:.4g} {how} its best, {shown:.4g} at step {best_step}, for {reports}"

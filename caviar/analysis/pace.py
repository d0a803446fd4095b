"""How fast one trial trains, from the times of its reports."""

from __future__ import annotations

import numpy as np

from caviar.analysis.rates import RECENT_S
from caviar.messages import Ints

FEWEST = 20
"""Where fewer reports came of late, so many are looked at, however old."""

KEPT = 1024
"""So many reports at most are remembered; of more, every second one is forgotten."""


class Pace:
    """Steps a second over the last `RECENT_S` seconds, or the last `FEWEST` reports if those go further back."""

    def __init__(self) -> None:
        self.stop()

    def stop(self) -> None:
        """What comes next does not follow from what was before: it waited, or begins again elsewhere."""
        self._time_us: Ints = np.zeros(0, np.int64)
        self._step: Ints = np.zeros(0, np.int64)

    def add(self, time_us: Ints, steps: Ints) -> None:
        """The next reports, in order."""
        time_us, steps = np.concatenate([self._time_us, time_us]), np.concatenate([self._step, steps])
        if not len(time_us):
            return
        recent = int(np.searchsorted(time_us, time_us[-1] - int(RECENT_S * 1e6)))
        begin = min(recent, max(len(time_us) - FEWEST, 0))
        time_us, steps = time_us[begin:], steps[begin:]
        while len(time_us) > KEPT:
            # from the last one back, as that one has to stay
            time_us, steps = time_us[::-2][::-1], steps[::-2][::-1]
        self._time_us, self._step = time_us.copy(), steps.copy()

    @property
    def per_s(self) -> float:
        """Steps a second; 0 while nothing says."""
        if len(self._time_us) < 2:
            return 0.0
        span_us = int(self._time_us[-1] - self._time_us[0])
        return float(self._step[-1] - self._step[0]) / span_us * 1e6 if span_us > 0 else 0.0

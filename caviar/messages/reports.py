"""Reports in columns."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

LAST_STEP = 2**53
"""Steps travel among floats, which hold whole numbers exactly up to here."""

RESERVED_METRICS = frozenset({"trial", "attempt", "step", "time"})
"""Names that no metric has: those of other columns."""


@dataclass(frozen=True, slots=True)
class Reports:
    """A batch of reports that carry the same metrics, for any number of trials: n rows, k metrics.

    The reports of one attempt are numbered by ``seq`` from 0, across the blocks of all metric names.
    """

    names: tuple[str, ...]
    trial: Ints
    attempt: Ints
    seq: Ints
    step: Ints
    time_us: Ints
    values: Floats
    """Shape (n, k); NaN and infinities as reported."""

    def __len__(self) -> int:
        return len(self.trial)

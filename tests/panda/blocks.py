"""Reports of a single trial, by hand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from caviar.messages import Reports


def reports(
    steps: Sequence[int],
    values: Mapping[str, Sequence[float]] | Sequence[float],
    *,
    attempt: int = 0,
    seq: Sequence[int] | None = None,
    trial: int = 0,
) -> Reports:
    """A block of reports: of the metric ``loss``, or of several. ``seq``: that of the step, by default."""
    columns = values if isinstance(values, Mapping) else {"loss": values}
    n = len(steps)
    return Reports(
        tuple(columns),
        trial=np.full(n, trial),
        attempt=np.full(n, attempt),
        seq=np.array(steps if seq is None else seq, np.int64),
        step=np.array(steps, np.int64),
        time_us=np.zeros(n, np.int64),
        values=np.array(list(columns.values()), np.float64).T.reshape(n, len(columns)),
    )

"""Acts where the loss no longer falls."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass, field
from typing import ClassVar

import numpy as np

from caviar.panda.change import Change
from caviar.panda.live import Live
from caviar.panda.rules.base import Watching


@dataclass(frozen=True, slots=True)
class OnPlateau(Watching):
    """Lowers the learning rate when the metric no longer improves.

    It fires when the best of the last ``patience`` reports is no better, by more than ``min_delta`` in the
    metric's own units, than the best before them. After a firing it waits for ``patience`` further reports. Ties
    do not improve, nor does what is not finite. It does not roll back, and fires without limit: say how far with
    ``least``, or how often with ``at_most``.
    """

    name: ClassVar[str] = "OnPlateau"
    patience: int = 10
    min_delta: float = 0.0
    _: KW_ONLY
    scale: Mapping[str, float] = field(default_factory=lambda: {"lr": 0.5}, hash=False)

    def __post_init__(self) -> None:
        Watching.__post_init__(self)
        self._whole(patience=self.patience)
        self._number(min_delta=self.min_delta)
        self._does_something(rollback=False)

    def consider(self, live: Live, fired: int) -> Change | None:
        seen = live.watching(self.metric, mode=self.mode)
        return None if seen is None else self._consider(seen, fired)

    def _consider(self, live: Live, fired: int) -> Change | None:
        start = len(live.losses) - self.patience
        if start < 1 or live.numbers[start] <= fired:
            return None
        best_at = int(live.losses[:start].argmin())
        best = live.losses[best_at]
        late = live.losses[start:].min()
        if np.isfinite(late) and best - late > self.min_delta:
            return None
        if np.isinf(best):
            return Change(
                self.scaled, reason=f"{live.metric} has not been finite yet, for {len(live.losses)} reports"
            )
        by = f" by more than {self.min_delta:g}" if self.min_delta else ""
        reason = (
            f"{live.metric} has not improved{by} on {live.values[best_at]:.4g}, its best at step "
            f"{live.steps[best_at]}, for {self.patience} reports"
        )
        return Change(self.scaled, reason=reason)

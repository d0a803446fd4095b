"""Acts where a metric is NaN or infinite."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass, field
from typing import ClassVar

import numpy as np

from caviar.panda.change import Change
from caviar.panda.live import Live
from caviar.panda.rules.base import Scaling


@dataclass(frozen=True, slots=True)
class OnNonFinite(Scaling):
    """Goes back and lowers the learning rate as soon as a metric is NaN or infinite.

    It looks at the newest value of every metric, or of ``metric`` alone, and fires at the next report of the
    sweep's metric; what it has fired on, it does not fire on again. ``rollback``: it goes back to the last report
    of the sweep's metric before any of those metrics ceased to be finite, or to the beginning. ``at_most`` is 10:
    where scaling does not help, it gives up. A metric that is NaN where it was not measured needs ``metric``.
    """

    name: ClassVar[str] = "OnNonFinite"
    rollback: bool = True
    _: KW_ONLY
    scale: Mapping[str, float] = field(default_factory=lambda: {"lr": 0.1}, hash=False)
    metric: str | None = None
    at_most: int | None = 10

    def __post_init__(self) -> None:
        Scaling.__post_init__(self)
        self._flag(rollback=self.rollback)
        if self.metric is not None and not isinstance(self.metric, str):
            raise self._wrong("metric", self.metric, "needs the name of a metric, or None for all")
        self._does_something(rollback=self.rollback)

    def consider(self, live: Live, fired: int) -> Change | None:
        names = sorted(live.curves, key=lambda name: (name != live.metric, name))
        found: list[tuple[int, str]] = []
        for name in names if self.metric is None else [self.metric]:
            steps, values = live.curve(name)
            if not len(steps) or np.isfinite(values[-1]):
                continue
            report = int(np.searchsorted(live.steps, steps[-1]))
            if report < len(live.numbers) and live.numbers[report] > fired:
                finite = np.flatnonzero(np.isfinite(values))
                first = int(steps[finite[-1] + 1 if len(finite) else 0])
                found.append((first, f"{name} is {values[-1]:g}"))
        if not found:
            return None
        first = min(first for first, _ in found)
        good = live.steps[live.steps < first]
        since = f"since step {first}" if first < live.step else f"at step {first}"
        return Change(
            self.scaled,
            (int(good[-1]) if len(good) else 0) if self.rollback else None,
            reason=f"{', '.join(text for _, text in found)} {since}",
        )

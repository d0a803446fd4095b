"""What a rule sees of the run at a report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from caviar.errors import UsageError
from caviar.messages import Floats, Ints
from caviar.panda.change import Change
from caviar.trial import Params


@dataclass(frozen=True, slots=True)
class Firing:
    """A rule asked for a change."""

    rule: str
    step: int
    """Of the report at which it did. After a roll-back this may lie ahead of the run."""
    judged: int
    """What `Live.judged` was: this goes up, whatever the run does."""
    change: Change
    """As it was carried out: values are absolute, and ``rollback_to`` is the step that it came to."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Live:
    """What a rule sees of the run at a report of its metric: the main line up to and with this report, what the
    run trains with, and what rules have done. Nothing else may matter to a rule, so that it decides the same when
    a run is resumed or repeated. Arrays are read-only, and stay as they are.
    """

    step: int
    """Of the report that is judged."""
    metric: str
    """The name of the sweep's metric."""
    steps: Ints
    """The steps of the metric's reports, rising; the last one is ``step``."""
    values: Floats
    """The metric at these steps, as reported."""
    losses: Floats
    """The same turned so that less is better; ``inf`` where it was not finite."""
    numbers: Ints
    """Each report's number: what ``judged`` was there. Reports that a roll-back took away leave a gap."""
    judged: int
    """How many reports of the metric there were, this one included, over all that was rolled back too."""
    params: Params = field(default_factory=dict)
    """What the run trains with."""
    curves: Mapping[str, tuple[Ints, Floats]] = field(default_factory=dict)
    """Every metric: its steps and values; see `curve`."""
    minimize: bool = True
    """Whether less of the metric is better."""
    max_step: int | None = None
    """The step at which the run is complete; None: when its function returns."""
    firings: Sequence[Firing] = ()
    """What rules asked for at earlier reports, in order."""
    bounds: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    """From where to where the space lets each numeric param go."""
    rule: str = ""
    """The name under which the rule that looks at this fires."""

    @classmethod
    def of(
        cls,
        values: Sequence[float] | Floats,
        steps: Sequence[int] | Ints | None = None,
        *,
        metric: str = "loss",
        minimize: bool = True,
        **others: Any,
    ) -> Live:
        """The view of a run that was never rolled back, to try a rule on a curve: ``values`` of the metric at
        ``steps``, 1, 2, … by default. ``others``: fields. Without a value, or with steps that do not rise, it
        raises `UsageError`."""
        column = np.array(values, np.float64)
        along = np.arange(1, len(column) + 1) if steps is None else np.array(steps, np.int64)
        if column.ndim != 1 or not len(column) or column.shape != along.shape or (np.diff(along) <= 0).any():
            raise UsageError("Live.of: needs at least one value, and as many steps, which rise")
        others["curves"] = {metric: (along, column), **others.get("curves", {})}
        return cls(
            step=int(along[-1]),
            metric=metric,
            steps=along,
            values=column,
            losses=losses_of(column, minimize=minimize),
            numbers=np.arange(1, len(column) + 1),
            judged=len(column),
            minimize=minimize,
            **others,
        )

    @property
    def value(self) -> float:
        """The metric at this report."""
        return float(self.values[-1])

    @property
    def metrics(self) -> dict[str, float]:
        """All that was reported at this step so far, by metric."""
        here = ((name, steps, values) for name, (steps, values) in self.curves.items() if len(steps))
        return {name: float(values[-1]) for name, steps, values in here if steps[-1] == self.step}

    def curve(self, name: str) -> tuple[Ints, Floats]:
        """The steps and values of a metric on the main line, up to and with this report; both empty if it has not
        been reported."""
        return self.curves.get(name, (np.zeros(0, np.int64), np.zeros(0)))

    def watching(self, metric: str | None, *, mode: str = "min") -> Live | None:
        """The same view with another metric in place of the sweep's, of which ``mode`` says what is better; None
        where this report does not carry it. Without a ``metric``, the view itself."""
        if metric is None or metric == self.metric:
            return self
        steps, values = self.curve(metric)
        judged = np.isin(steps, self.steps)
        steps, values = steps[judged], values[judged]
        if not len(steps) or steps[-1] != self.step:
            return None
        minimize = mode == "min"
        numbers = self.numbers[np.searchsorted(self.steps, steps)]
        return replace(
            self,
            metric=metric,
            minimize=minimize,
            steps=steps,
            values=values,
            losses=losses_of(values, minimize=minimize),
            numbers=numbers,
        )

    def passes(self, every: int) -> bool:
        """Whether this report is the first at or past a multiple of ``every`` steps."""
        before = int(self.steps[-2]) if len(self.steps) > 1 else 0
        return self.step // every > before // every


def losses_of(values: Floats, *, minimize: bool) -> Floats:
    """Values turned so that less is better; ``inf`` where one is not finite."""
    losses: Floats = np.where(np.isfinite(values), values if minimize else -values, np.inf)
    return losses

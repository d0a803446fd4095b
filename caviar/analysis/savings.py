"""What early stopping saved."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from caviar.analysis.trials import TrialColumns
from caviar.messages import BY_HAND, Ints
from caviar.trial import TrialState

NOT_EARLY_STOPPING = (BY_HAND, "time_budget", "diverged")
"""Reasons for a stop that are no scheduler's; a trial that diverged had come to its end."""


@dataclass(frozen=True, slots=True)
class Savings:
    """Steps trained, against the steps that the same trials had taken if none had been stopped."""

    steps: int
    steps_without: int
    """``steps``, and for each trial that was stopped early what it lacked up to max_step."""
    trials_stopped: int

    @property
    def fraction(self) -> float:
        """The part of the steps that was saved: 0 where nothing was stopped."""
        return 1 - self.steps / self.steps_without if self.steps_without else 0.0


def savings(trials: TrialColumns, steps: Ints, max_step: int | None) -> Savings:
    """What early stopping saved; ``steps`` holds the last step of each trial's main line.

    Trials stopped by hand or by the time budget, or that diverged, count with the steps that they trained, and so
    do those that run, failed or completed. Without ``max_step`` nobody knows what was saved: 0.
    """
    counts = np.array([why not in NOT_EARLY_STOPPING for why in trials.reason], bool)
    stopped = (trials.status == TrialState.STOPPED.value) & counts
    trained = int(steps.sum())
    lacking = 0 if max_step is None else int(np.maximum(max_step - steps[stopped], 0).sum())
    return Savings(trained, trained + lacking, int(stopped.sum()))

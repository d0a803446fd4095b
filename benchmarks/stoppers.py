"""The early stopping of three systems, each fed the same reports: for `bench_early_stopping.py`.

caviar's judges, Ray Tune's schedulers and Optuna's pruners are the real ones, called as their own systems call
them, without workers, disks or trials behind them:

- *caviar*: `Scheduler.begin` gives the judge; at a rung it decides and observes, as the controller has it do.
- *Ray Tune*: ``on_trial_add``, ``on_trial_result``, and ``on_trial_complete`` also for a trial that it stopped, as
  ``TuneController`` does; the trial is a stand-in with an id. Ray itself is not started. Only schedulers that
  stop: ``HyperBandScheduler`` pauses trials, and ``MedianStoppingRule`` would, to fill its first comparisons, if
  it were not told that no trial waits.
- *Optuna*: a study in memory; ``ask``, ``report``, ``should_prune`` and ``tell``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import numpy as np
from curves import Stopper

import caviar
from caviar.schedulers.base import Scheduler, Verdict


@dataclass(frozen=True, slots=True)
class Way:
    """One way of early stopping, as the tables name it."""

    system: str
    how: str
    make: Callable[[int, int], Stopper]
    """From max_step and a seed."""


class Judged:
    """A scheduler of caviar."""

    def __init__(self, scheduler: Scheduler, max_step: int) -> None:
        self._judge = scheduler.begin(max_step=max_step)
        self._rungs: dict[int, int | None] = {}
        self._max_step = max_step

    def begin(self, trial: int) -> None:
        self._rungs[trial] = self._judge.first_rung(trial)

    def report(self, trial: int, step: int, loss: float) -> bool:
        rung, verdict = self._rungs[trial], Verdict.CONTINUE
        while rung is not None and rung <= step < self._max_step and verdict is not Verdict.STOP:
            verdict = self._judge.decide(trial, rung, loss)
            self._judge.observe(trial, rung, loss)
            rung = self._rungs[trial] = self._judge.rung_after(trial, rung)
        return verdict is Verdict.STOP

    def end(self, trial: int, how: str, step: int, loss: float) -> None:
        self._judge.forget(trial)


class Tune:
    """A scheduler of Ray Tune."""

    def __init__(self, scheduler: Any) -> None:
        scheduler.set_search_properties("loss", "min")
        self._scheduler = scheduler
        self._controller = SimpleNamespace(get_live_trials=list, get_trials=list)
        self._trials: dict[int, Any] = {}

    def begin(self, trial: int) -> None:
        self._trials[trial] = stand_in = _TuneTrial(f"{trial:05d}")
        self._scheduler.on_trial_add(self._controller, stand_in)

    def report(self, trial: int, step: int, loss: float) -> bool:
        result = {"training_iteration": step, "loss": loss}
        return str(self._scheduler.on_trial_result(self._controller, self._trials[trial], result)) == "STOP"

    def end(self, trial: int, how: str, step: int, loss: float) -> None:
        if how == "diverged":
            self._scheduler.on_trial_error(self._controller, self._trials[trial])
        else:
            result = {"training_iteration": step, "loss": loss}
            self._scheduler.on_trial_complete(self._controller, self._trials[trial], result)


@dataclass(frozen=True, slots=True)
class _TuneTrial:
    """All that those schedulers look at of a trial."""

    trial_id: str


class Pruned:
    """A pruner of Optuna."""

    def __init__(self, pruner: Any, seed: int) -> None:
        import optuna

        optuna.logging.set_verbosity(optuna.logging.ERROR)
        sampler = optuna.samplers.RandomSampler(seed=seed)
        # the name, of which Optuna makes the brackets of trials, would be drawn at random
        self._study = optuna.create_study(study_name=f"order-{seed}", sampler=sampler, pruner=pruner)
        self._trials: dict[int, Any] = {}

    def begin(self, trial: int) -> None:
        self._trials[trial] = self._study.ask()

    def report(self, trial: int, step: int, loss: float) -> bool:
        self._trials[trial].report(loss, step)
        return bool(self._trials[trial].should_prune())

    def end(self, trial: int, how: str, step: int, loss: float) -> None:
        from optuna.trial import TrialState

        states = {"completed": TrialState.COMPLETE, "stopped": TrialState.PRUNED, "diverged": TrialState.FAIL}
        self._study.tell(self._trials.pop(trial), loss if how == "completed" else None, state=states[how])


# --- what is compared --------------------------------------------------------------------------------------


def ways() -> list[Way]:
    """All of them; those of a system that is not installed are left out."""
    return [*_caviar(), *_tune(), *_optuna()]


def _caviar() -> list[Way]:
    schedulers: dict[str, Scheduler] = {"RunAll()": caviar.RunAll()}
    for grace_steps in (1, 2, 3):
        for factor in (2, 3, 4):
            told = f"Asha(grace_steps={grace_steps}, reduction_factor={factor})"
            schedulers[told] = caviar.Asha(grace_steps=grace_steps, reduction_factor=factor)
    for factor in (3, 4):
        schedulers[f"Hyperband(reduction_factor={factor})"] = caviar.Hyperband(reduction_factor=factor)
    for grace_steps in (1, 3):
        schedulers[f"MedianStop(grace_steps={grace_steps})"] = caviar.MedianStop(grace_steps=grace_steps)
    for patience in (1, 2):
        schedulers[f"Patience({patience})"] = caviar.Patience(patience)
    return [
        Way("caviar", told, lambda max_step, seed, chosen=scheduler: Judged(chosen, max_step))  # type: ignore[misc]
        for told, scheduler in schedulers.items()
    ]


def _tune() -> list[Way]:
    try:
        from ray.tune.schedulers import ASHAScheduler, MedianStoppingRule
    except ImportError:
        return []

    def asha(**arguments: Any) -> Callable[[int, int], Stopper]:
        def make(max_step: int, seed: int) -> Stopper:
            np.random.seed(seed)
            return Tune(ASHAScheduler(max_t=max_step, **arguments))

        return make

    def median(grace_period: int) -> Callable[[int, int], Stopper]:
        return lambda max_step, seed: Tune(
            MedianStoppingRule(time_attr="training_iteration", grace_period=grace_period)
        )

    made = {f"ASHAScheduler(reduction_factor={n})": asha(reduction_factor=n) for n in (2, 3)}
    made["ASHAScheduler()"] = asha()
    made["ASHAScheduler(grace_period=2, reduction_factor=3)"] = asha(grace_period=2, reduction_factor=3)
    made["ASHAScheduler(brackets=3, reduction_factor=3)"] = asha(brackets=3, reduction_factor=3)
    for grace_period in (1, 3):
        made[f"MedianStoppingRule(grace_period={grace_period})"] = median(grace_period)
    return [Way("Ray Tune", told, make) for told, make in made.items()]


def _optuna() -> list[Way]:
    try:
        import optuna.exceptions
        from optuna import pruners
    except ImportError:
        return []
    import warnings

    warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
    made: Mapping[str, Callable[[int], Any]] = {
        "SuccessiveHalvingPruner(1, reduction_factor=2)": lambda n: pruners.SuccessiveHalvingPruner(1, 2),
        "SuccessiveHalvingPruner(1, reduction_factor=3)": lambda n: pruners.SuccessiveHalvingPruner(1, 3),
        "SuccessiveHalvingPruner(1, reduction_factor=4)": lambda n: pruners.SuccessiveHalvingPruner(1, 4),
        "SuccessiveHalvingPruner()": lambda n: pruners.SuccessiveHalvingPruner(),
        "HyperbandPruner()": lambda n: pruners.HyperbandPruner(max_resource=n),
        "MedianPruner()": lambda n: pruners.MedianPruner(),
        "PercentilePruner(25)": lambda n: pruners.PercentilePruner(25.0),
        "PatientPruner(patience=2)": lambda n: pruners.PatientPruner(None, patience=2),
    }
    return [
        Way("Optuna", told, lambda max_step, seed, one=make: Pruned(one(max_step), seed))  # type: ignore[misc]
        for told, make in made.items()
    ]

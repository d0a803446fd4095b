"""The systems that `bench_overhead.py` compares: each trains a function that does nothing but report.

Every system samples one learning rate at random and reports one metric. A system runs in a process of its own.
``run`` returns the seconds from asking for the trials to having them all; Ray is up before the clock starts.
``load`` reads the learning curves back in another process: what is not found there was not stored.
"""

from __future__ import annotations

import os
import time
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any, ClassVar

import pandas as pd
from machine import start_ray


class System(ABC):
    """One tuner, used as its documentation says."""

    name: ClassVar[str]
    stores_curves: ClassVar[bool] = True
    trials: ClassVar[int]
    """How many trials of 10 reports it is given: what it does in some seconds, Ray Tune in some tens."""
    long_trials: ClassVar[int]
    """How many trials of 500 reports."""

    @abstractmethod
    def import_modules(self) -> None:
        """Import what ``run`` and ``load`` need: never part of a measurement."""

    def start(self) -> None:
        """Start what has to be up before ``run``."""

    @abstractmethod
    def run(self, folder: Path, *, trials: int, reports: int) -> float:
        """Run so many trials of so many reports each; returns seconds."""

    @abstractmethod
    def load(self, folder: Path) -> pd.DataFrame:
        """Every learning curve, one row a report, in the way the system offers. Imports are done before."""


class Caviar(System):
    name = "caviar"
    trials = 10_000
    long_trials = 2_000

    def import_modules(self) -> None:
        import pyarrow.parquet  # noqa: F401

        import caviar

        assert caviar.Sweep, caviar.load  # the public names are loaded when first asked for

    def start(self) -> None:
        start_ray()

    def run(self, folder: Path, *, trials: int, reports: int) -> float:
        import caviar

        def train(trial: caviar.Trial) -> None:
            for step in trial.steps():
                trial.report(loss=trial.params["lr"] + step)

        start = time.perf_counter()
        space = caviar.Space(lr=caviar.Float(1e-4, 1.0, scale="log"))
        sweep = caviar.Sweep(train, space, metric="loss", trials=trials, max_step=reports)
        sweep.run(folder / "sweep", executor=caviar.Ray())
        return time.perf_counter() - start

    def load(self, folder: Path) -> pd.DataFrame:
        import caviar

        return caviar.load(folder / "sweep").curves()


class RayTune(System):
    """Ray Tune as `Tuner(...).fit()` does it; only its progress tables are off."""

    name = "Ray Tune"
    trials = 30
    long_trials = 20
    reuse_actors: ClassVar[bool] = False

    def import_modules(self) -> None:
        from ray import tune  # noqa: F401

    def start(self) -> None:
        start_ray()

    def run(self, folder: Path, *, trials: int, reports: int) -> float:
        from ray import tune

        def train(config: dict[str, Any]) -> None:
            for step in range(1, reports + 1):
                tune.report({"loss": config["lr"] + step})

        start = time.perf_counter()
        results = tune.Tuner(
            train,
            param_space={"lr": tune.loguniform(1e-4, 1.0)},
            tune_config=tune.TuneConfig(
                num_samples=trials, metric="loss", mode="min", reuse_actors=self.reuse_actors
            ),
            run_config=tune.RunConfig(name="sweep", storage_path=str(folder), verbose=0),
        ).fit()
        seconds = time.perf_counter() - start
        if len(results) != trials or results.num_errors:
            raise RuntimeError(f"Ray Tune: {len(results)} of {trials} trials, {results.num_errors} errors")
        return seconds

    def load(self, folder: Path) -> pd.DataFrame:
        from ray.tune import ExperimentAnalysis

        frames = ExperimentAnalysis(str(folder / "sweep")).trial_dataframes
        return pd.concat(frames.values(), ignore_index=True)


class RayTuneFastest(RayTune):
    """Actors reused, no loggers, the experiment's state hardly ever saved: no learning curve is stored.

    More trials than cores (cpus below 1) and buffered results were tried and were slower or no faster.
    """

    name = "Ray Tune, fastest"
    stores_curves = False
    trials = 300
    long_trials = 20
    reuse_actors = True

    def import_modules(self) -> None:
        os.environ["TUNE_DISABLE_AUTO_CALLBACK_LOGGERS"] = "1"
        os.environ["TUNE_GLOBAL_CHECKPOINT_S"] = "3600"
        super().import_modules()


class OptunaJournal(System):
    """Optuna's journal file, in one process: two threads or two processes on one journal are slower."""

    name = "Optuna, journal"
    trials = 2_000
    long_trials = 60

    def import_modules(self) -> None:
        import warnings

        import optuna

        optuna.logging.set_verbosity(optuna.logging.ERROR)
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)

    def run(self, folder: Path, *, trials: int, reports: int) -> float:
        import optuna

        start = time.perf_counter()
        sampler = optuna.samplers.RandomSampler(seed=0)
        study = optuna.create_study(storage=self._storage(folder), study_name="sweep", sampler=sampler)
        for _ in range(trials):
            trial = study.ask()
            lr = trial.suggest_float("lr", 1e-4, 1.0, log=True)
            for step in range(1, reports + 1):
                trial.report(lr + step, step)
            study.tell(trial, lr + reports)
        return time.perf_counter() - start

    def load(self, folder: Path) -> pd.DataFrame:
        import optuna

        study = optuna.load_study(study_name="sweep", storage=self._storage(folder))
        rows = [
            (trial.number, step, value)
            for trial in study.get_trials(deepcopy=False)
            for step, value in trial.intermediate_values.items()
        ]
        return pd.DataFrame(rows, columns=["trial", "step", "loss"])

    def _storage(self, folder: Path) -> Any:
        from optuna.storages import JournalStorage
        from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock

        path = str(folder / "journal.log")
        return JournalStorage(JournalFileBackend(path, lock_obj=JournalFileOpenLock(path)))


SYSTEMS: dict[str, type[System]] = {
    system.name: system for system in (Caviar, RayTune, RayTuneFastest, OptunaJournal)
}

"""Recorded learning curves of real training runs, replayed in virtual time under any early stopping.

The runs are 1,500 of OpenCLIP with hyperparameters drawn at random: `data/README.md` says where they are from.
"""

from __future__ import annotations

import heapq
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import pandas as pd

DATA = Path(__file__).parent / "data" / "openclip_curves.parquet"

CAP = 5.0
"""The worst validation loss in the data: what diverged was cut down to it."""

TOP = 10


@dataclass(frozen=True, slots=True)
class Runs:
    """Recorded runs that can be compared with each other."""

    name: str
    max_step: int
    losses: Sequence[npt.NDArray[np.float64]]
    """Of each run, one an epoch."""
    seconds: Sequence[npt.NDArray[np.float64]]
    """The GPU time of each of these epochs."""
    steps: Sequence[Sequence[int]]
    """What each epoch is reported as, rising up to ``max_step``."""
    diverged: npt.NDArray[np.bool_]
    """Runs that ended before they were trained out; their last loss is the cap."""

    def __len__(self) -> int:
        return len(self.losses)

    @property
    def best(self) -> npt.NDArray[np.float64]:
        """The best loss of each run, at any epoch; infinite where it diverged, as such a run is of no use."""
        return np.array([np.inf if gone else x.min() for x, gone in zip(self.losses, self.diverged, strict=True)])


def groups(path: Path = DATA) -> dict[str, Runs]:
    """The runs by how many epochs they were planned for: such runs compare. And all of 6 to 10 epochs together,
    each epoch reported as how many tenths of its run are over."""
    rows = pd.read_parquet(path)
    # NaN stands where a run diverged: what the others were capped to. An epoch without a time took a usual one.
    rows["val_loss"] = rows["val_loss"].fillna(CAP)
    usual = rows.groupby("trial")["epoch_seconds"].transform("median").fillna(rows["epoch_seconds"].median())
    rows["epoch_seconds"] = rows["epoch_seconds"].fillna(usual)
    found = {}
    for max_step, same in rows.groupby("max_step"):
        found[str(max_step)] = _runs(f"{max_step} epochs", int(max_step), same)
    several = _runs("6 to 10 epochs, by tenths", 10, rows[rows["max_step"].between(6, 10)])
    return {**found, "6-10": several}


def _runs(name: str, max_step: int, rows: pd.DataFrame) -> Runs:
    by_run = [run for _, run in rows.sort_values(["trial", "step"]).groupby("trial")]
    return Runs(
        name,
        max_step,
        losses=[run["val_loss"].to_numpy(float) for run in by_run],
        seconds=[run["epoch_seconds"].to_numpy(float) for run in by_run],
        steps=[_tenths(run, max_step) for run in by_run],
        diverged=np.array([run["diverged"].any() for run in by_run]),
    )


def _tenths(run: pd.DataFrame, max_step: int) -> list[int]:
    """Epochs as they are, where the run was planned for max_step of them; else as so many parts of it."""
    planned = int(run["max_step"].iloc[0])
    return [-(-step * max_step // planned) for step in run["step"].tolist()]


class Stopper(Protocol):
    """One way of early stopping, through one sweep. Trials are numbered in the order in which they begin."""

    def begin(self, trial: int) -> None: ...

    def report(self, trial: int, step: int, loss: float) -> bool:
        """A trial reports; whether it is to stop."""

    def end(self, trial: int, how: str, step: int, loss: float) -> None:
        """A trial came to its end: ``completed``, ``stopped`` or ``diverged``, with its last report."""


def replay(runs: Runs, order: Sequence[int], stopper: Stopper, *, workers: int) -> npt.NDArray[np.int64]:
    """Train the runs in this order, on so many workers at once; returns how many epochs of each were trained.

    A worker begins the next run as soon as it is free; an epoch takes as long as it took. All reports come to the
    stopper in the order of that time, also a run's last one, at which nothing is left to stop."""
    epochs = np.zeros(len(runs), np.int64)
    waiting = iter(enumerate(order))
    due: list[tuple[float, int, int]] = []
    """When a trial has trained another epoch: (time, trial, run)."""

    def begin(now: float) -> None:
        for trial, run in waiting:
            stopper.begin(trial)
            heapq.heappush(due, (now + runs.seconds[run][0], trial, run))
            return

    for _ in range(workers):
        begin(0.0)
    while due:
        now, trial, run = heapq.heappop(due)
        at = epochs[run]
        epochs[run] += 1
        step, loss = runs.steps[run][at], float(runs.losses[run][at])
        stopped = stopper.report(trial, step, loss)
        if at + 1 == len(runs.losses[run]):
            stopper.end(trial, "diverged" if runs.diverged[run] else "completed", step, loss)
        elif stopped:
            stopper.end(trial, "stopped", step, loss)
        else:
            heapq.heappush(due, (now + runs.seconds[run][at + 1], trial, run))
            continue
        begin(now)
    return epochs


def outcome(runs: Runs, epochs: npt.NDArray[np.int64]) -> Mapping[str, Any]:
    """What it cost, and what it kept. The final set are the runs that were trained out."""
    lengths = np.array([len(losses) for losses in runs.losses])
    spent = sum(float(x[:n].sum()) for x, n in zip(runs.seconds, epochs, strict=True))
    best = runs.best
    final = (epochs == lengths) & ~runs.diverged
    ranking = np.argsort(best, kind="stable")
    kept = final[ranking]
    first = int(kept.argmax()) if kept.any() else len(runs)
    return {
        "epochs": float(epochs.sum() / lengths.sum()),
        "gpu_s": spent / sum(float(x.sum()) for x in runs.seconds),
        "best_kept": bool(kept[0]),
        "rank": first + 1,
        "regret": float(best[ranking[first]] - best[ranking[0]]) if kept.any() else float("inf"),
        "top": int(kept[:TOP].sum()),
        "final": int(final.sum()),
    }

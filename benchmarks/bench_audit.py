"""Is what an audit says of early stopping true? The estimator against curves of which every end is known.

    python benchmarks/bench_audit.py            # a few minutes
    python benchmarks/bench_audit.py --quick    # a smoke test

How to read it. Each row is many sweeps of learning curves that are known, judged by a real scheduler in virtual
time, where trials come and go on eight workers. Those to be stopped are spared with a small probability, as in a
sweep. What the control group says is held against the truth: what all those that were to be stopped would have
come to.

"among the best", "above the best" and "above the middle" are `ControlGroup.among_top`, ``above_best`` and
``above_middle``. For each: the mean of the truth; the bias, which is the mean of estimate less truth, give or
take twice its standard error; how many of the 95% intervals hold the truth; and their mean width, in trials and
as a part of what it could be at most (N, or the size of "the best").

In "real" the curves are recorded ones of OpenCLIP runs (`curves.py`), in another order each time. The others are
made up, ``end + rise / step**speed`` and noise: in "crossing" the trials that end best are slow at first, so that
curves cross; in "parallel" they do not; in "noisy" the first rungs see little but noise.
"""

from __future__ import annotations

import argparse
import heapq
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from curves import Runs, groups
from machine import describe, print_table, save

from caviar.analysis.control_group import ControlGroup, control_group
from caviar.messages import Floats
from caviar.schedulers import Asha, Hyperband, MedianStop, Scheduler, Verdict
from caviar.schedulers.sparing import drawn

WORKERS = 8
ESTIMATES = ("among_top", "above_best", "above_middle")
WORDS = {"among_top": "among the best", "above_best": "above the best", "above_middle": "above the middle"}


@dataclass(frozen=True, slots=True)
class Case:
    """A kind of sweep."""

    curves: str
    scheduler: Scheduler
    trials: int

    @property
    def name(self) -> str:
        return f"{self.scheduler.name}, {self.curves}, {self.trials:,} trials, spare={self.scheduler.spare:g}"


def cases() -> list[Case]:
    """What is tried."""
    of_real = [Case("real", Asha(spare=spare), trials) for trials in (200, 700) for spare in (0.05, 0.1)]
    of_crossing = [Case("crossing", Asha(spare=spare), trials) for trials in (200, 1000) for spare in (0.05, 0.1)]
    of_noisy = [Case("noisy", Asha(spare=0.1), trials) for trials in (200, 1000)]
    others = [Hyperband(spare=0.1), MedianStop(3, 6, spare=0.1), Asha(3, 2, spare=0.3)]
    return [
        *of_real,
        Case("real", MedianStop(spare=0.1), 700),
        *of_crossing,
        *of_noisy,
        Case("parallel", Asha(spare=0.1), 1000),
        *(Case("crossing", scheduler, 500) for scheduler in others),
    ]


class Curves(Protocol):
    """The learning curves of one sweep."""

    max_step: int

    def losses(self, step: int) -> Floats:
        """Of all trials at one step; those of ``max_step`` are the truth."""


class Recorded:
    """Some recorded runs, in any order. One that diverged has no finite loss from then on."""

    def __init__(self, trials: int, rng: np.random.Generator) -> None:
        runs = recorded_runs()
        self.max_step = runs.max_step
        self._at = np.full((self.max_step + 1, trials), np.inf)
        for trial, run in enumerate(rng.permutation(len(runs))[:trials]):
            begin = 0
            for step, loss in zip(runs.steps[run], runs.losses[run], strict=True):
                self._at[begin : step + 1, trial] = loss  # a rung is judged by the first report at or past it
                begin = step + 1
            if runs.diverged[run]:
                self._at[runs.steps[run][-1] :, trial] = np.inf

    def losses(self, step: int) -> Floats:
        return self._at[step]


@cache
def recorded_runs() -> Runs:
    """Those of 6 to 10 epochs: 759."""
    return groups()["6-10"]


class MadeUp:
    """Curves of a kind."""

    max_step = 81

    def __init__(self, kind: str, trials: int, rng: np.random.Generator) -> None:
        self._end = rng.exponential(1.0, trials)
        slow = np.exp(-self._end) if kind == "crossing" else np.zeros(trials)
        self._speed = rng.uniform(0.4, 1.2, trials) * (1 - 0.7 * slow)
        self._rise = np.full(trials, 2.0) if kind == "parallel" else rng.uniform(1.0, 4.0, trials)
        self._noise = {"crossing": 0.15, "parallel": 0.02, "noisy": 2.0}[kind]
        self._rng = rng

    def losses(self, step: int) -> Floats:
        """Of all trials at one step; noise grows less as they train."""
        noise = self._rng.normal(size=len(self._end)) * self._noise / math.sqrt(step)
        return self._end + self._rise * step**-self._speed + noise


@dataclass(frozen=True, slots=True)
class Sweep:
    """What became of each trial."""

    end: Floats
    """Its loss at the end, had it run on."""
    stopped: np.ndarray
    """Whether the scheduler would have stopped it."""
    spared: np.ndarray

    def audit(self) -> ControlGroup | None:
        """What can be known of it."""
        return control_group(self.end[~self.stopped], self.end[self.spared], int(self.stopped.sum()))

    def truth(self, top: int) -> Mapping[str, int]:
        """What the audit is about."""
        kept, stopped = np.sort(self.end[~self.stopped]), self.end[self.stopped]
        order = np.lexsort((self.stopped, self.end))  # ties go to those kept
        return {
            "among_top": int(self.stopped[order[:top]].sum()),
            "above_best": int((stopped < kept[0]).sum()),
            "above_middle": int((stopped < kept[(len(kept) - 1) // 2]).sum()),
        }


def run(case: Case, seed: int) -> Sweep:
    """One sweep, judged as the controller does, in virtual time."""
    rng = np.random.default_rng([seed, 7])
    curves: Curves = Recorded(case.trials, rng) if case.curves == "real" else MadeUp(case.curves, case.trials, rng)
    last = curves.max_step
    judge = case.scheduler.begin(max_step=last)
    at: dict[int, list[float]] = {}
    stopped, spared = np.zeros(case.trials, bool), np.zeros(case.trials, bool)
    step_s = np.random.default_rng([seed, 8]).uniform(0.5, 1.5, case.trials)
    waiting = iter(range(case.trials))
    arrivals: list[tuple[float, int, int]] = []

    def go_on(now: float, trial: int, step: int) -> None:
        rung = judge.first_rung(trial) if step == 0 else judge.rung_after(trial, step)
        goal = last if rung is None or spared[trial] else rung
        heapq.heappush(arrivals, (now + (goal - step) * step_s[trial], trial, goal))

    def launch(now: float) -> None:
        trial = next(waiting, None)
        if trial is not None:
            go_on(now, trial, 0)

    for _ in range(WORKERS):
        launch(0.0)
    while arrivals:
        now, trial, step = heapq.heappop(arrivals)
        if step == last:
            judge.forget(trial)
            launch(now)
            continue
        if step not in at:
            at[step] = curves.losses(step).tolist()
        loss = at[step][trial]
        verdict = judge.decide(trial, step, loss)
        judge.observe(trial, step, loss)
        if verdict is Verdict.STOP:
            stopped[trial] = True
            spared[trial] = drawn(seed, trial) < case.scheduler.spare
            if not spared[trial]:
                judge.forget(trial)
                launch(now)
                continue
        go_on(now, trial, step)
    return Sweep(curves.losses(last), stopped, spared)


def measure(case: Case, seeds: Sequence[int]) -> dict[str, Any]:
    """Many sweeps of a kind: how true what is said of them is."""
    found: dict[str, list[tuple[int, float, int, int]]] = {name: [] for name in ESTIMATES}
    sizes: list[tuple[int, int, int]] = []
    for seed in seeds:
        sweep = run(case, seed)
        told = sweep.audit()
        if told is None:  # nobody was spared: it says that it cannot tell
            continue
        sizes.append((told.population, told.spared, told.top))
        truth = sweep.truth(told.top)
        for name in ESTIMATES:
            said = getattr(told, name)
            found[name].append((truth[name], said.value, said.low, said.high))
    population, spared, top = (float(mean) for mean in np.mean(sizes, axis=0))
    result: dict[str, Any] = {
        "case": case.name,
        "repeats": len(seeds),
        "told": len(sizes),
        "stopped": population,
        "spared": spared,
        "top": top,
    }
    for name, rows in found.items():
        truth, value, low, high = np.array(rows, float).T
        width = high - low
        error = value - truth
        result[name] = {
            "truth": float(truth.mean()),
            "bias": float(error.mean()),
            "bias_standard_error": float(error.std() / math.sqrt(len(rows))),
            "root_mean_square_error": float(math.sqrt((error**2).mean())),
            "coverage": float(((low <= truth) & (truth <= high)).mean()),
            "width": float(width.mean()),
            "width_of_most": float(width.mean() / (top if name == "among_top" else population)),
        }
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="20 sweeps a row")
    parser.add_argument("--repeat", type=int, default=1000, help="sweeps a row (default 1000)")
    parser.add_argument("--json", type=Path, help="default: results/audit.json beside this file")
    arguments = parser.parse_args()

    repeats = 20 if arguments.quick else arguments.repeat
    began = time.perf_counter()
    rows = []
    for number, case in enumerate(cases()):
        print(f"{repeats} x {case.name} ...", flush=True)
        rows.append(measure(case, range(number * 1_000_000, number * 1_000_000 + repeats)))
    took_s = time.perf_counter() - began
    print_results(rows)
    found = {"machine": describe(Path()), "quick": arguments.quick, "took_s": took_s, "rows": rows}
    save("audit", found, arguments.json)


def print_results(rows: Sequence[Mapping[str, Any]]) -> None:
    print()
    header = ["sweeps", "N", "spared", "best"]
    table = [[row["case"], f"{row['stopped']:.0f}", f"{row['spared']:.0f}", f"{row['top']:.0f}"] for row in rows]
    for name in ESTIMATES:
        header.append(f"{WORDS[name]}: truth, bias, coverage, width")
        for cells, row in zip(table, rows, strict=True):
            one = row[name]
            cells.append(
                f"{one['truth']:.1f}, {one['bias']:+.2f} ± {2 * one['bias_standard_error']:.2f}, "
                f"{one['coverage']:.1%}, {one['width']:.0f} ({one['width_of_most']:.0%})"
            )
    print_table(header, table)


if __name__ == "__main__":
    main()

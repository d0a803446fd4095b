"""One model watched over, or many at once? Panda mode and caviar mode at equal training cost.

    python benchmarks/bench_panda_vs_caviar.py            # about six minutes on two cores
    python benchmarks/bench_panda_vs_caviar.py --quick    # a smoke test

How to read it. Every run has the same budget of epochs, and each epoch that is trained costs one, whatever becomes
of it: those of trials that are stopped early, those that diverge, those that are rolled back, and those trained
once more between a checkpoint and the step that a roll-back was for. The training function itself counts them.

- *caviar*: sampled settings one after the other, each for at most 100 epochs, stopped early by ASHA or run in
  full, until the budget is spent. ASHA also with short trials, of 30 epochs at most; and with these for half the
  budget, after which the best setting that they found is trained from the beginning with all that is left.
- *one run* that goes on until the budget is spent, begun from a setting that nothing was tried for: one that is
  usual, the same with other learning rates, or the middle of every scale. Each start *fixed*, and in panda mode by
  four hands: the *rules* as they are, without an argument, which can only lower the learning rate; *patient*
  ones, whose plateau is 30 epochs instead of 10; *bold* ones, with one more that raises the learning rate until
  something goes wrong; and *bold, patient*.

Everything chooses by the best validation loss so far. The test score is what that very network, of that very
epoch, is worth on the test part. Medians of the repeats, quartiles in brackets; a dash where nothing had a loss.
A repeat has its own split of the data, first weights and draws, the same in every mode, so that "beats ASHA"
compares pairs. Epochs of different networks are not equally long: `cpu` is the time of a whole run, caviar's own
part included.

`contrast.py` prints the tables once more from the JSON, and draws them.
"""

from __future__ import annotations

import argparse
import logging
import math
import multiprocessing
import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from contrast import print_results
from machine import describe, save, scratch, workers
from tasks import TASKS, Shared, Task

import caviar
from caviar.rules import Change, Live, OnNonFinite, OnPlateau, OnSpike

BUDGET = 300
"""Epochs of a run."""

CHECKPOINT_EVERY = 5
"""Epochs between checkpoints in panda mode."""

MANY: dict[str, tuple[caviar.Asha | caviar.RunAll, int]] = {
    "ASHA": (caviar.Asha(grace_steps=3), 100),
    "ASHA, short trials": (caviar.Asha(grace_steps=3), 30),
    "run all": (caviar.RunAll(), 100),
    "ASHA, then one run": (caviar.Asha(grace_steps=3), 30),
}
"""In caviar mode: the scheduler, and the most epochs of a trial."""

STARTS: dict[str, float | None] = {
    "lr / 10": 0.1,
    "usual": 1.0,
    "lr x 10": 10.0,
    "lr x 100": 100.0,
    "middle of the scales": None,
}
"""Where one run begins: at so many times the usual learning rate."""


def bold(live: Live) -> dict[str, str] | None:
    """Raise the learning rate every five epochs, until any other rule has fired."""
    if live.step % 5 or any(firing.rule != "bold" for firing in live.firings):
        return None
    return {"lr": "*=1.5"}


RULES = [OnNonFinite(metric="loss"), OnSpike(), OnPlateau()]
PATIENT = [OnNonFinite(metric="loss"), OnSpike(), OnPlateau(patience=30)]
HANDS: dict[str, list[Any]] = {
    "fixed": [],
    "rules": RULES,
    "patient": PATIENT,
    "bold": [*RULES, bold],
    "bold, patient": [*PATIENT, bold],
}


@dataclass(frozen=True, slots=True)
class Way:
    """One way to spend the budget."""

    mode: str
    """``caviar``, ``panda`` or ``fixed``."""
    how: str
    """One of `MANY`, or of `HANDS`."""
    start: str = ""
    """One of `STARTS`."""


def ways() -> Iterator[Way]:
    yield from (Way("caviar", how) for how in MANY)
    for start in STARTS:
        yield from (Way("panda" if rules else "fixed", hand, start) for hand, rules in HANDS.items())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a tenth of the budget, and two repeats")
    parser.add_argument(
        "--repeat", type=int, default=10, help="each with a split and a seed of its own (default 10)"
    )
    parser.add_argument("--task", choices=TASKS, action="append", help="only this one")
    parser.add_argument("--folder", type=Path, default=Path("runs"), help="on the disk to use (default runs)")
    parser.add_argument("--json", type=Path, help="default: results/panda_vs_caviar.json beside this file")
    arguments = parser.parse_args()
    budget = BUDGET // 10 if arguments.quick else BUDGET
    repeats = min(2, arguments.repeat) if arguments.quick else arguments.repeat

    runs: list[dict[str, Any]] = []
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[name] = "1"  # for the processes: networks this small train slower on more threads
    spawn = multiprocessing.get_context("spawn")
    with scratch(arguments.folder) as folder, spawn.Pool(workers(), initializer=quiet) as pool:
        jobs = [(task, n, budget, folder) for task in arguments.task or TASKS for n in range(repeats)]
        for (task, repeat, *_), found in zip(jobs, pool.imap(measure_all, jobs), strict=True):
            print(f"{task}, repeat {repeat}: {sum(run['cpu_s'] for run in found):.0f} s of computing", flush=True)
            runs += found
        machine = describe(folder)
    print_results(runs)
    found = {"machine": machine, "quick": arguments.quick, "budget": budget, "runs": runs}
    save("panda_vs_caviar", found, arguments.json)


def quiet() -> None:
    """That params are in the middle of their scales is no news here."""
    logging.getLogger("caviar").setLevel(logging.ERROR)


def measure_all(job: tuple[str, int, int, Path]) -> list[dict[str, Any]]:
    """All ways, with the same data and seed."""
    task, repeat, budget, folder = job
    return [
        measure(TASKS[task], way, repeat=repeat, budget=budget, path=folder / f"{task}-{repeat}-{number}")
        for number, way in enumerate(ways())
    ]


def measure(task: Task, way: Way, *, repeat: int, budget: int, path: Path) -> dict[str, Any]:
    """Spend the budget one way, and tell what it came to."""
    data = task.split(repeat)
    spend = many if way.mode == "caviar" else one
    start_s = time.process_time()
    run = spend(task, way, data, seed=repeat, budget=budget, path=path)
    cpu_s = time.process_time() - start_s
    told = {"task": task.name, "repeat": repeat, "mode": way.mode, "how": way.how, "start": way.start}
    return {**told, **run, "cpu_s": cpu_s}


def many(task: Task, way: Way, data: Shared, *, seed: int, budget: int, path: Path) -> dict[str, Any]:
    """Caviar mode: further trials until the budget is spent. What the last ones train beyond it counts nowhere."""
    scheduler, longest = MANY[way.how]
    for_trials = budget // 2 if "then" in way.how else budget
    longest = min(longest, for_trials)
    sweep = task.sweep(data, seed=seed, trials=1, max_step=longest, scheduler=scheduler)
    result = sweep.run(path, caviar.Inline())
    while (left := for_trials - len(data.trained)) > 0:
        # a few, as nobody knows how many epochs ASHA gives them
        few = left // (longest if isinstance(scheduler, caviar.RunAll) else 12)
        result = sweep.extend(path, caviar.Inline(), trials=max(1, few))
    results = [result]
    if "then" in way.how:
        left = max(1, budget - len(data.trained))
        alone = sweep.but(first=[result.best.params], max_step=left, scheduler=caviar.RunAll())
        results.append(alone.run(path.with_suffix(".then"), caviar.Inline()))
    return {**outcome(results, data, budget=budget), "trials": sum(len(one.trials()) for one in results)}


def one(task: Task, way: Way, data: Shared, *, seed: int, budget: int, path: Path) -> dict[str, Any]:
    """One run, by a hand or by none."""

    def spent(live: Live) -> Change | None:
        # `judged` goes on over roll-backs; steps would not
        return Change(stop=True, reason="the budget is spent") if live.judged >= budget else None

    times = STARTS[way.start]
    params = {} if times is None else {**task.usual, "lr": task.usual["lr"] * times}
    rules = [spent, *HANDS[way.how]] if HANDS[way.how] else []
    sweep = task.sweep(data, seed=seed, trials=1, max_step=budget, checkpoint_every=CHECKPOINT_EVERY)
    run = sweep.panda(path, caviar.Inline(), params=params, rules=rules, background=False)
    adjustments = run.adjustments()
    return {
        **outcome([run.result()], data, budget=budget),
        "trials": 1,
        "changes": len(adjustments),
        "by": adjustments["by"].value_counts().to_dict(),
        "rolled_back": len(data.trained) - len(run.curves()),
    }


def outcome(results: Sequence[caviar.Result], data: Shared, *, budget: int) -> dict[str, Any]:
    """The best loss so far by cost, as the points where it got better, and what the best network is worth.

    Trials and attempts were trained one after the other, so their order is that of the training."""
    order = ["trial", "attempt", "step"]
    curves = pd.concat([result.curves(attempts="all").sort_values(order) for result in results])
    if curves["step"].tolist() != data.trained:
        raise RuntimeError(f"{len(data.trained)} epochs were trained, and others are in the {len(curves)} reports")
    curves = curves.iloc[:budget]
    loss = np.nan_to_num(curves["loss"].to_numpy(), nan=math.inf)
    before = np.minimum.accumulate(np.concatenate([[math.inf], loss[:-1]]))
    better = np.flatnonzero(loss < before)
    test = float(curves["test"].iloc[better[-1]]) if len(better) else None
    return {"cost": len(curves), "best": [[int(at) + 1, float(loss[at])] for at in better], "test": test}


if __name__ == "__main__":
    main()

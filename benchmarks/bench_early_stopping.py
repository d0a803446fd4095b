"""Early stopping on real learning curves: what does it cost, and does it keep the best run?

    python benchmarks/bench_early_stopping.py            # about fifteen minutes on two cores
    python benchmarks/bench_early_stopping.py --quick    # a smoke test

The curves are those of 1,500 OpenCLIP training runs with hyperparameters drawn at random, one report an epoch
(`data/README.md`). Runs were planned for 2 to 10 epochs, with a learning rate schedule as long, so they are
compared with those of as many epochs; and once those of 6 to 10 epochs all together, each epoch reported as how
many tenths of its run are over. Every scheduler of caviar, and those of Ray Tune and Optuna that stop trials, get
the same reports in the same order: that of 8 workers, each of which begins the next run when it is free, where an
epoch takes as long as it took. The order in which the runs begin is drawn at random, 100 times; the same 100
orders for each scheduler. `stoppers.py` says how each is called.

How to read it. Medians over the orders, quartiles in brackets.

- *epochs*, *GPU time*: what was trained, as a share of running all runs to their end.
- *best kept*: in how many of the orders the best run of all was trained to its end.
- *regret*: how much worse the best of the runs that were trained to their end is than the best of all, in
  validation loss; each run counts with its best epoch. And the worst over the orders.
- *top 10 kept*: how many of the ten best runs were trained to their end.
- *kept*: how many runs were.

A run that diverged ends there, with a last loss of 5.0, the cap of the data; it is never one of the best.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import multiprocessing
import statistics
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from contrast import quartiles
from curves import TOP, Runs, groups, outcome, replay
from machine import describe, print_table, save, workers
from stoppers import Way, ways

WORKERS = 8
"""Runs at once."""

OTHER_WORKERS = (1, 32)
"""And for the three that are the same algorithm, to see how much that matters."""

SAME = (
    "Asha(grace_steps=1, reduction_factor=3)",
    "ASHAScheduler(reduction_factor=3)",
    "SuccessiveHalvingPruner(1, reduction_factor=3)",
)
"""One algorithm, three times."""

Found = dict[str, Any]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="three orders of the runs of 10 epochs")
    parser.add_argument("--orders", type=int, default=100, help="random orders of the runs (default 100)")
    parser.add_argument("--group", action="append", help="only these runs: 2 to 10 epochs, or 6-10")
    parser.add_argument("--show", type=Path, help="print the tables of a JSON that there is already")
    parser.add_argument("--json", type=Path, help="default: results/early_stopping.json beside this file")
    arguments = parser.parse_args()
    if arguments.show is not None:
        print_results(json.loads(arguments.show.read_text())["runs"])
        return
    orders = min(3, arguments.orders) if arguments.quick else arguments.orders
    names = arguments.group or (["10"] if arguments.quick else list(groups()))
    wanted = [(name, number) for name in names for number in range(len(ways()))]
    with multiprocessing.get_context("spawn").Pool(workers()) as pool:
        jobs = [(name, number, orders) for name, number in wanted]
        runs = list(itertools.chain.from_iterable(pool.imap(measure, jobs)))
    print_results(runs)
    save("early_stopping", {"machine": describe(Path.cwd()), "orders": orders, "runs": runs}, arguments.json)


@cache
def data() -> dict[str, Runs]:
    """Read once in each process."""
    return groups()


def measure(job: tuple[str, int, int]) -> list[Found]:
    """One way of early stopping on one group of runs: every order, with the usual number of workers and perhaps
    with others."""
    name, number, orders = job
    way, runs = ways()[number], data()[name]
    counts = (WORKERS, *OTHER_WORKERS) if way.how in SAME else (WORKERS,)
    return [measure_orders(runs, way, name=name, orders=orders, at_once=count) for count in counts]


def measure_orders(runs: Runs, way: Way, *, name: str, orders: int, at_once: int) -> Found:
    """Every order, with so many workers; each figure as a list."""
    found = []
    for seed in range(orders):
        order = np.random.default_rng(seed).permutation(len(runs)).tolist()
        epochs = replay(runs, order, way.make(runs.max_step, seed), workers=at_once)
        found.append(outcome(runs, epochs))
    figures = {key: [_plain(one[key]) for one in found] for key in found[0]}
    best = np.sort(runs.best)
    about = {
        "group": name,
        "name": runs.name,
        "runs": len(runs),
        "diverged": int(runs.diverged.sum()),
        "best": round(float(best[0]), 4),
        "median": round(float(np.median(best[np.isfinite(best)])), 4),
    }
    return {**about, "system": way.system, "how": way.how, "workers": at_once, **figures}


def _plain(value: Any) -> Any:
    """As JSON has it: a regret that is infinite, as no run was kept, as null."""
    if isinstance(value, float):
        return round(value, 5) if math.isfinite(value) else None
    return value


# --- tables --------------------------------------------------------------------------------------------------


def print_results(runs: Sequence[Found]) -> None:
    names = list(dict.fromkeys(run["group"] for run in runs))
    for name in names:
        _print_group([run for run in runs if run["group"] == name and run["workers"] == WORKERS])
    if len(names) > 1:
        _print_all([run for run in runs if run["workers"] == WORKERS], names)
    _print_workers([run for run in runs if run["how"] in SAME], names)


def _print_group(runs: Sequence[Found]) -> None:
    first = runs[0]
    print(
        f"\n## {first['name']}: {first['runs']} runs, {first['diverged']} of them diverged; "
        f"validation loss of the best {first['best']:.3f}, of the middle one {first['median']:.3f}; "
        f"{len(first['epochs'])} orders\n"
    )
    header = ["", "", "epochs", "GPU time", "best kept", "regret", "worst", f"top {TOP} kept", "kept"]
    print_table(header, [_row(run) for run in runs])


def _row(run: Found) -> list[str]:
    regret = [math.inf if one is None else one for one in run["regret"]]
    worst = max(regret)
    return [
        run["system"],
        f"`{run['how']}`",
        _shares(run["epochs"]),
        _shares(run["gpu_s"]),
        _kept(run),
        _told(regret, ".3f"),
        f"{worst:.3f}" if math.isfinite(worst) else "none kept",
        _told(run["top"], ".0f"),
        _told(run["final"], ".0f"),
    ]


def _print_all(runs: Sequence[Found], names: Sequence[str]) -> None:
    """A column for each group: the share of the epochs, and how often the best run was kept."""
    print(f"\n## All: epochs, median; in how many of {len(runs[0]['epochs'])} orders the best run was kept\n")
    table = []
    for how in dict.fromkeys((run["system"], run["how"]) for run in runs):
        same = {run["group"]: run for run in runs if (run["system"], run["how"]) == how}
        cells = [
            f"{statistics.median(same[name]['epochs']):.0%}, {sum(same[name]['best_kept'])}" for name in names
        ]
        table.append([how[0], f"`{how[1]}`", *cells])
    print_table(["", "", *names], table)


def _print_workers(runs: Sequence[Found], names: Sequence[str]) -> None:
    print("\n## As many workers: epochs, median; in how many orders the best run was kept\n")
    table = []
    for how, count in itertools.product(SAME, sorted((WORKERS, *OTHER_WORKERS))):
        same = {run["group"]: run for run in runs if (run["how"], run["workers"]) == (how, count)}
        if same:
            cells = [
                f"{statistics.median(same[name]['epochs']):.0%}, {sum(same[name]['best_kept'])}" for name in names
            ]
            table.append([f"`{how}`", str(count), *cells])
    print_table(["", "workers", *names], table)


def _kept(run: Found) -> str:
    return f"{sum(run['best_kept'])} of {len(run['best_kept'])}"


def _shares(values: Sequence[float]) -> str:
    low, middle, high = quartiles(values)
    return f"{middle:.1%} ({low:.1%} to {high:.1%})"


def _told(values: Sequence[float], form: str) -> str:
    low, middle, high = quartiles(values)
    return f"{middle:{form}} ({low:{form}} to {high:{form}})"


if __name__ == "__main__":
    main()

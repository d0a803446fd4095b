"""How close caviar comes to keeping every core busy: the makespan of equal trials over the ideal.

    python benchmarks/bench_efficiency.py            # about three minutes
    python benchmarks/bench_efficiency.py --quick    # a smoke test

How to read it. Trials of 1 s and of 0.1 s, a whole multiple of the workers, so that the ideal is trials x seconds
/ workers. `makespan` runs from the moment when all workers are ready (they wait for each other in `setup`) to the
last trial's end; `to sweep end` adds the last commit; `total` is the whole `sweep.run()`, the start of its workers
included (Ray itself is up before).

Sleeping trials show what caviar loses between trials, as they leave the cores to it. Busy trials use their core
fully, so that caviar's driver and workers have to share the cores with them. Their ideal is the same loops in as
many plain processes, just before and just after, which knows the machine's own contention (turbo, shared caches,
neighbours). The JSON has both times: where they differ by more than the loss, it was too restless to tell.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import statistics
import time
from pathlib import Path
from typing import Any

from machine import describe, print_table, save, scratch, start_ray, workers

import caviar

LENGTHS_S = {1.0: 15, 0.1: 100}
"""Trials for every worker, by the length of a trial."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a fifth of the trials")
    parser.add_argument("--repeat", type=int, default=1, help="rounds; the table shows medians (default 1)")
    parser.add_argument("--folder", type=Path, default=Path("runs"), help="on the disk to use (default runs)")
    parser.add_argument("--json", type=Path, help="default: results/efficiency.json beside this file")
    arguments = parser.parse_args()

    start_ray()
    runs: list[dict[str, Any]] = []
    with scratch(arguments.folder) as folder:
        for repeat in range(arguments.repeat):
            for length_s, each in LENGTHS_S.items():
                each = max(2, each // 5) if arguments.quick else each
                for busy in (False, True):
                    run = measure(folder / f"{len(runs)}", length_s=length_s, each=each, busy=busy)
                    runs.append({"repeat": repeat, **run})
        machine = describe(folder)
    print_results(runs)
    save("efficiency", {"machine": machine, "quick": arguments.quick, "runs": runs}, arguments.json)


def measure(path: Path, *, length_s: float, each: int, busy: bool) -> dict[str, Any]:
    """Run one sweep of equal trials, ``each`` for every worker."""
    kind, trials = "busy" if busy else "sleeping", each * workers()
    print(f"{trials} {kind} trials of {length_s} s ...", flush=True)
    turns = calibrate(length_s) if busy else 0
    before_s = plain_processes(turns, each) if busy else length_s * each

    ready = path.with_suffix(".ready")
    ready.mkdir()

    def setup() -> None:
        mine = ready / str(os.getpid())
        mine.touch()
        while len(list(ready.iterdir())) < workers():
            time.sleep(0.001)
        mine.write_text(str(time.time()))

    def train(trial: caviar.Trial) -> None:
        if busy:
            burn(turns)
        else:
            time.sleep(length_s)
        trial.report(loss=trial.params["x"])

    space = caviar.Space(x=caviar.Float(0, 1))
    sweep = caviar.Sweep(train, space, metric="loss", trials=trials, max_step=1, setup=setup)
    start = time.perf_counter()
    result = sweep.run(path, executor=caviar.Ray())
    total_s = time.perf_counter() - start
    after_s = plain_processes(turns, each) if busy else length_s * each
    events = result.events()
    ready_s = max(float(file.read_text()) for file in ready.iterdir())
    last = events["time"][events["kind"] == "trial_ended"].max()
    end = events["time"][events["kind"] == "sweep_ended"].max()
    if result.counts() != {"completed": trials}:
        raise RuntimeError(f"{trials} trials, but {result.counts()}")
    return {
        "kind": kind,
        "length_s": length_s,
        "trials": trials,
        "workers": workers(),
        "ideal_s": (before_s + after_s) / 2,
        "plain_processes_s": [before_s, after_s] if busy else None,
        "nominal_s": length_s * each,
        "makespan_s": last.timestamp() - ready_s,
        "to_sweep_end_s": end.timestamp() - ready_s,
        "total_s": total_s,
    }


def burn(turns: int) -> float:
    """Keep one core fully busy, in the interpreter alone: no library's threads, nearly no memory."""
    x = 0.0
    for i in range(turns):
        x = x * 0.5 + i
    return x


def calibrate(length_s: float) -> int:
    """How many turns take ``length_s`` on a core while nothing else runs."""
    turns, took = 200_000, []
    for _ in range(7):
        start = time.perf_counter()
        burn(turns)
        took.append(time.perf_counter() - start)
    return round(turns * length_s / statistics.median(took))


def plain_processes(turns: int, each: int) -> float:
    """Seconds that one process a worker takes for ``each`` loops, one after the other, from a common start."""
    processes = multiprocessing.get_context("spawn")
    # in sessions of their own, as caviar's are: Linux shares the cores out among sessions first
    with processes.Pool(workers(), initializer=os.setsid) as pool:
        pool.map(_nothing, range(workers()), chunksize=1)  # all are up
        start = time.perf_counter()
        pool.map(_burn_many, [(turns, each)] * workers(), chunksize=1)
        return time.perf_counter() - start


def _nothing(_: int) -> None:
    time.sleep(0.2)  # long enough that every process takes one


def _burn_many(task: tuple[int, int]) -> None:
    turns, times = task
    for _ in range(times):
        burn(turns)


def print_results(runs: list[dict[str, Any]]) -> None:
    groups: dict[tuple[str, float], list[dict[str, Any]]] = {}
    for run in runs:
        groups.setdefault((run["kind"], run["length_s"]), []).append(run)
    rows = []
    for (kind, length_s), same in groups.items():
        ideal_s = statistics.median(run["ideal_s"] for run in same)
        row = [f"{same[0]['trials']} x {length_s} s, {kind}", f"{ideal_s:.2f} s"]
        for key in ("makespan_s", "to_sweep_end_s", "total_s"):
            took_s = statistics.median(run[key] for run in same)
            over = statistics.median(run[key] / run["ideal_s"] - 1 for run in same)
            row.append(f"{took_s:.2f} s ({over:+.2%})")
        rows.append(row)
    print()
    print_table([f"trials, on {workers()} workers", "ideal", "makespan", "to sweep end", "total"], rows)


if __name__ == "__main__":
    main()

"""What `trial.report()` costs the training function: three metrics, in a real training process on Ray.

    python benchmarks/bench_report.py                # about a minute
    python benchmarks/bench_report.py --quick        # a smoke test

How to read it. Two trials train side by side; each times its own calls with `perf_counter_ns`, and what an empty
pair of clock readings costs is taken off. `20 ms steps`: 20 milliseconds of computing between reports, as in
training: each report finds that the last one was long ago. `0.2 ms steps`: far more often than any training
reports. `back to back`: as fast as they go, so that sending them competes with making them. The computing keeps a
core fully busy in the interpreter, so on a machine with no more cores than trials the longest calls are those
during which something else ran. No scheduler judges, so no call waits for an answer: rungs are another matter.
`bare append` is the least that any report could cost at that pace: a function that appends the same row to a list,
timed in the same loop. After 20 ms of computing, what was in the processor's caches is gone, for both.

Below the table: what a trial costs that reports once, in a training process that is used again and in one of its
own (`Resources(fresh_process=True)`), one worker, from the first start to the last end.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

import numpy as np
from machine import describe, print_table, save, scratch, start_ray

import caviar

PACES = {"20 ms steps": (20_000, 500), "0.2 ms steps": (200, 20_000), "back to back": (0, 50_000)}
"""Microseconds of computing before each report, and how many reports."""

WARM_UP = 50
"""The first calls of a trial, left out: imports and first allocations."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a tenth of the reports")
    parser.add_argument("--folder", type=Path, default=Path("runs"), help="on the disk to use (default runs)")
    parser.add_argument("--json", type=Path, help="default: results/report.json beside this file")
    arguments = parser.parse_args()

    start_ray()
    found: dict[str, dict[str, Any]] = {}
    with scratch(arguments.folder) as folder:
        machine = describe(folder)
        for title, (work_us, reports) in PACES.items():
            reports = max(2 * WARM_UP, reports // 10) if arguments.quick else reports
            found[title] = summarise(measure(folder, reports=reports, work_us=work_us))
        trial_ms = {
            "reused": milliseconds_a_trial(folder, fresh_process=False),
            "fresh": milliseconds_a_trial(folder, fresh_process=True),
        }
    columns = ("p50_us", "bare_p50_us", "p99_us", "bare_p99_us", "p999_us", "max_us")
    rows = [
        [title, f"{row['calls']:,}", *(f"{row[key]:.1f} us" for key in columns)] for title, row in found.items()
    ]
    print_table(
        [
            "report(loss=, accuracy=, rate=)",
            "calls",
            "median",
            "bare append",
            "99%",
            "bare append",
            "99.9%",
            "longest",
        ],
        rows,
    )
    print(
        f"\na trial in a process used again: {trial_ms['reused']:.2f} ms; in its own: {trial_ms['fresh']:.2f} ms"
    )
    content = {"machine": machine, "quick": arguments.quick, "trial_ms": trial_ms, **found}
    save("report", content, arguments.json)


def measure(folder: Path, *, reports: int, work_us: int) -> np.ndarray:
    """Nanoseconds of every report of two trials side by side, and of every bare append, less the clock's cost."""

    def train(trial: caviar.Trial) -> None:
        clock = time.perf_counter_ns
        empty = np.empty(1000, np.int64)
        for i in range(len(empty)):
            start = clock()
            empty[i] = clock() - start
        took = np.empty((reports, 2), np.int64)
        kept: list[tuple[Any, ...]] = []

        def bare(**metrics: float) -> None:
            kept.append((time.time_ns(), *metrics.values()))

        for step in trial.steps():
            until = clock() + work_us * 1000
            while clock() < until:
                pass
            start = clock()
            trial.report(loss=0.5, accuracy=0.25, rate=0.125)
            took[step - 1, 0] = clock() - start
            until = clock() + work_us * 1000
            while clock() < until:
                pass
            start = clock()
            bare(loss=0.5, accuracy=0.25, rate=0.125)
            took[step - 1, 1] = clock() - start
        np.save(folder / f"took-{work_us}-{trial.id}.npy", took[WARM_UP:] - int(np.median(empty)))

    space = caviar.Space(x=caviar.Float(0, 1))
    sweep = caviar.Sweep(train, space, metric="loss", trials=2, max_step=reports)
    result = sweep.run(folder / f"sweep-{work_us}", executor=caviar.Ray())
    stored = len(result.curves())
    if stored != 2 * reports:
        raise RuntimeError(f"{stored:,} of {2 * reports:,} reports were stored")
    return np.concatenate([np.load(path) for path in sorted(folder.glob(f"took-{work_us}-*.npy"))])


def milliseconds_a_trial(folder: Path, *, fresh_process: bool, trials: int = 300) -> float:
    """What a trial takes that does nothing but report once."""

    def train(trial: caviar.Trial) -> None:
        trial.report(loss=1.0)

    space = caviar.Space(x=caviar.Float(0, 1))
    resources = caviar.Resources(fresh_process=fresh_process)
    sweep = caviar.Sweep(train, space, metric="loss", trials=trials, max_step=1, resources=resources)
    table = sweep.run(folder / f"fresh-{fresh_process}", executor=caviar.Ray(workers=1)).trials()
    if set(table.status) != {"completed"}:
        raise RuntimeError(f"trials ended {table.status.value_counts().to_dict()}")
    return (table.end_time.max() - table.start_time.min()).total_seconds() / trials * 1000


def summarise(took_ns: np.ndarray) -> dict[str, Any]:
    p50, p99, p999 = np.percentile(took_ns[:, 0], [50, 99, 99.9]) / 1000
    bare50, bare99 = np.percentile(took_ns[:, 1], [50, 99]) / 1000
    return {
        "calls": len(took_ns),
        "bare_p50_us": round(bare50, 2),
        "bare_p99_us": round(bare99, 2),
        "p50_us": round(p50, 2),
        "p99_us": round(p99, 2),
        "p999_us": round(p999, 2),
        "max_us": round(int(took_ns[:, 0].max()) / 1000, 1),
    }


if __name__ == "__main__":
    main()

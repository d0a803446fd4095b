"""What `trial.report()` costs the training function: three metrics, in a real training process on Ray.

    python benchmarks/bench_report.py                # about half a minute
    python benchmarks/bench_report.py --quick        # a smoke test

How to read it. The training function times each of its own calls with `perf_counter_ns`; what an empty pair of
clock readings costs is taken off. `back to back`: reports as fast as they go, so that sending them competes with
making them: the worst case. `paced`: 200 microseconds of computing between reports, which is still far more often
than any training reports. No scheduler judges, so no call waits for an answer: rungs are another matter.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

import numpy as np
from machine import describe, print_table, save, scratch, start_ray

import caviar

WARM_UP = 100
"""The first calls of a process, left out: imports and first allocations."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a tenth of the reports")
    parser.add_argument("--folder", type=Path, default=Path("runs"), help="on the disk to use (default runs)")
    parser.add_argument("--json", type=Path, help="default: results/report.json beside this file")
    arguments = parser.parse_args()

    start_ray()
    reports = 5_000 if arguments.quick else 50_000
    found: dict[str, dict[str, Any]] = {}
    with scratch(arguments.folder) as folder:
        machine = describe(folder)
        for title, work_us in (("paced", 200), ("back to back", 0)):
            found[title] = summarise(measure(folder, reports=reports, work_us=work_us))
    columns = ("p50_us", "p99_us", "p999_us", "max_us")
    rows = [
        [title, f"{row['calls']:,}", *(f"{row[key]:.1f} us" for key in columns)] for title, row in found.items()
    ]
    print_table(
        ["report(loss=, accuracy=, rate=)", "calls", "median", "99th percentile", "99.9th", "longest"], rows
    )
    save("report", {"machine": machine, "quick": arguments.quick, **found}, arguments.json)


def measure(folder: Path, *, reports: int, work_us: int) -> np.ndarray:
    """Nanoseconds of every report of two trials side by side, the clock's own cost taken off."""

    def train(trial: caviar.Trial) -> None:
        clock = time.perf_counter_ns
        empty = np.empty(1000, np.int64)
        for i in range(len(empty)):
            start = clock()
            empty[i] = clock() - start
        took = np.empty(reports, np.int64)
        for step in trial.steps():
            until = clock() + work_us * 1000
            while clock() < until:
                pass
            start = clock()
            trial.report(loss=0.5, accuracy=0.25, rate=0.125)
            took[step - 1] = clock() - start
        np.save(folder / f"took-{work_us}-{trial.id}.npy", took[WARM_UP:] - int(np.median(empty)))

    space = caviar.Space(x=caviar.Float(0, 1))
    sweep = caviar.Sweep(train, space, metric="loss", trials=2, max_step=reports)
    result = sweep.run(folder / f"sweep-{work_us}", executor=caviar.Ray())
    stored = len(result.curves())
    if stored != 2 * reports:
        raise RuntimeError(f"{stored:,} of {2 * reports:,} reports were stored")
    return np.concatenate([np.load(path) for path in sorted(folder.glob(f"took-{work_us}-*.npy"))])


def summarise(took_ns: np.ndarray) -> dict[str, Any]:
    p50, p99, p999 = np.percentile(took_ns, [50, 99, 99.9]) / 1000
    return {
        "calls": len(took_ns),
        "p50_us": round(p50, 2),
        "p99_us": round(p99, 2),
        "p999_us": round(p999, 2),
        "max_us": round(int(took_ns.max()) / 1000, 1),
    }


if __name__ == "__main__":
    main()

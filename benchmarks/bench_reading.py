"""What it takes to read a large sweep: its tables, the analyses, and the whole report.

10,000 trials of 100 reports each, made in virtual time, so that the store is as a real sweep would write it.
Each is measured in a fresh process, from `caviar.load` on, with everything imported: what is asked first also pays
for what the others would share. `caviar report` is measured from its start to its end.
"""

from __future__ import annotations

import argparse
import math
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from machine import describe, print_table, save, scratch

import caviar

SPACE = caviar.Space(
    lr=caviar.Float(1e-4, 1.0, scale="log"),
    momentum=caviar.Float(0.9, 0.999, scale="one_minus_log"),
    hidden=caviar.Int(16, 256, scale="log"),
    batch_size=caviar.Choice([32, 64, 128, 256]),
    optimizer=caviar.Choice(["sgd", "adam"]),
    layers=caviar.Int(1, 4),
    decay=caviar.Float(1e-6, 1e-2, scale="log"),
    dropout=caviar.Float(0.0, 0.5),
)

ASKED = {
    "trials": "result.trials()",
    "curves": "result.curves()",
    "top": "result.top(10)",
    "importance": "result.importance()",
    "zoom": "result.zoom()",
    "audit": "result.audit()",
}

MEASURE = """
import time, numpy, pandas, pyarrow.parquet, scipy.stats, plotly.graph_objects, caviar
start = time.perf_counter()
result = caviar.load({folder!r})
{asked}
print(time.perf_counter() - start)
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a tenth of the trials")
    parser.add_argument("--folder", type=Path, default=Path("runs"), help="on the disk to use (default runs)")
    parser.add_argument("--json", type=Path, help="default: results/reading.json beside this file")
    arguments = parser.parse_args()

    trials = 1_000 if arguments.quick else 10_000
    found: dict[str, dict[str, Any]] = {}
    with scratch(arguments.folder) as folder:
        machine = describe(folder)
        for name, scheduler in (("run to the end", caviar.RunAll()), ("ASHA", caviar.Asha(grace_steps=3))):
            sweep = folder / name.replace(" ", "-")
            found[name] = {"trials": trials, "reports": make(sweep, trials, scheduler)} | measure(sweep)
    rows = [
        [
            name,
            f"{row['reports']:,}",
            *(f"{row[f'{key}_s']:.2f} s" for key in (*ASKED, "report")),
            f"{row['report_cpu_s']:.2f} s",
            f"{row['report_mb']:.1f} MB",
        ]
        for name, row in found.items()
    ]
    header = ["10,000 trials" if trials == 10_000 else f"{trials:,} trials", "reports"]
    print_table([*header, *(f"{name}()" for name in ASKED), "caviar report", "of it CPU", "its size"], rows)
    save("reading", {"machine": machine, "quick": arguments.quick, "found": found}, arguments.json)


def make(folder: Path, trials: int, scheduler: Any, steps: int = 100) -> int:
    """A sweep of which some settings are much better than others; returns how many reports it has."""

    def curve(launch: Any) -> dict[str, Any]:
        params, rng = launch.params, np.random.default_rng(launch.trial)
        off = (math.log10(params["lr"]) + 2) ** 2 + 0.2 * math.log2(params["hidden"] / 64) ** 2 / 4
        pace = 3 + 10 * rng.random()
        at = np.arange(1, steps + 1)
        loss = 0.1 + 0.1 * off + (2 + 0.1 * off) * np.exp(-at / pace) + rng.normal(0, 0.01, steps)
        return {"loss": loss}

    sweep = caviar.Sweep(never, SPACE, metric="loss", trials=trials, max_step=steps, scheduler=scheduler)
    result = sweep.run(folder, executor=caviar.Simulated(2, curves=curve))
    return len(result.curves())


def never(trial: caviar.Trial) -> None:
    """Stands for a training function: the curves are known."""


def measure(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, asked in ASKED.items():
        code = MEASURE.format(folder=str(folder), asked=asked)
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        found[f"{name}_s"] = round(float(done.stdout), 3)
    start, before = time.perf_counter(), _cpu_s()
    subprocess.run([sys.executable, "-m", "caviar", "report", folder], capture_output=True, check=True)
    found["report_s"] = round(time.perf_counter() - start, 2)
    found["report_cpu_s"] = round(_cpu_s() - before, 2)
    page = folder.with_name(f"{folder.name}.html")
    found["report_mb"] = round(page.stat().st_size / 1e6, 2)
    return found


def _cpu_s() -> float:
    """What the processes that have ended spent on the processor: it does not grow with others' work."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    main()

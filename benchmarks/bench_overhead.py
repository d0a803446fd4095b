"""What a tuner costs when training costs nothing: caviar, Ray Tune and Optuna in one run, on one machine.

    python benchmarks/bench_overhead.py              # about four minutes on two cores; also: make bench
    python benchmarks/bench_overhead.py --quick      # a smoke test: the numbers mean little

How to read it. The training function only reports. `trials/s` is for trials of 10 reports, `reports/s` for trials
of 500; both are totals over the wall time of the whole run, starting of workers included and starting of Ray
not, for every system that uses Ray. Sizes differ from system to system so that each runs for some seconds: a
system's start weighs most on caviar, which is done soonest. Every system gets its own process and folder, on the
same disk; what was stored is read back in yet another process and counted, and a missing row fails the run.
What is stored is not equally safe: caviar commits with fsync a few times a second, Optuna with every single
report, Ray Tune never. Optuna runs in one process without workers, so it saves itself all communication.
`load` is the time from the folder to one DataFrame with every report (imports excluded, files in the page cache),
for the trials of 500 reports, per million of reports. `driver memory` is the growth of the driver's peak.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
from pathlib import Path
from time import perf_counter
from typing import Any

from machine import describe, peak_memory_bytes, print_table, save, scratch
from systems import SYSTEMS

SHORT, LONG = 10, 500


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a fifth of the trials, down to 2")
    parser.add_argument("--repeat", type=int, default=1, help="rounds; the table shows medians (default 1)")
    parser.add_argument("--systems", nargs="+", metavar="NAME", help="only these (default: all)")
    parser.add_argument("--folder", type=Path, default=Path("runs"), help="on the disk to measure (default runs)")
    parser.add_argument("--json", type=Path, help="default: results/overhead.json beside this file")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        child(**json.loads(arguments.child))
        return

    for name in arguments.systems or ():
        if name not in SYSTEMS:
            parser.error(f"--systems {name!r}: choose from {', '.join(map(repr, SYSTEMS))}")
    names = arguments.systems or list(SYSTEMS)
    runs: list[dict[str, Any]] = []
    with scratch(arguments.folder) as folder:
        machine = describe(folder)
        for repeat in range(arguments.repeat):
            shift = repeat % len(names)  # so that no system always runs first, or always after the same one
            for name in names[shift:] + names[:shift]:
                for reports in (SHORT, LONG):
                    trials = SYSTEMS[name].trials if reports == SHORT else SYSTEMS[name].long_trials
                    trials = max(2, trials // 5) if arguments.quick else trials
                    run = measure(name, folder / f"{len(runs)}", trials=trials, reports=reports)
                    runs.append({"repeat": repeat, **run})
    print_results(runs, names)
    save("overhead", {"machine": machine, "quick": arguments.quick, "runs": runs}, arguments.json)


def measure(name: str, folder: Path, *, trials: int, reports: int) -> dict[str, Any]:
    """Run one system in a process of its own, read back what it stored in another one, and count."""
    print(f"{name}: {trials:,} trials x {reports} reports ...", end=" ", flush=True)
    folder.mkdir()
    task = {"system": name, "folder": str(folder), "trials": trials, "reports": reports}
    run = _in_process({**task, "action": "run"})
    files = [path for path in folder.rglob("*") if path.is_file()]
    found = {
        "system": name,
        "trials": trials,
        "reports_per_trial": reports,
        "seconds": run["seconds"],
        "trials_per_s": trials / run["seconds"],
        "reports_per_s": trials * reports / run["seconds"],
        "driver_memory_bytes": run["memory_bytes"],
        "files": len(files),
        "size_bytes": sum(path.stat().st_size for path in files),
    }
    if SYSTEMS[name].stores_curves:
        loaded = _in_process({**task, "action": "load"})
        if loaded["rows"] != trials * reports:
            sys.exit(f"{name}: {loaded['rows']:,} of {trials * reports:,} reports were read back")
        found |= {"rows_read_back": loaded["rows"], "load_s": loaded["seconds"]}
    print(
        f"{run['seconds']:.1f} s, {found['trials_per_s']:,.1f} trials/s, {found['reports_per_s']:,.0f} reports/s"
    )
    return found


def child(system: str, folder: str, trials: int, reports: int, action: str, answer: str) -> None:
    """What one process of the benchmark does; it answers through a file, as Ray may print."""
    subject = SYSTEMS[system]()
    subject.import_modules()
    if action == "run":
        subject.start()
        before = peak_memory_bytes()
        seconds = subject.run(Path(folder), trials=trials, reports=reports)
        found: dict[str, Any] = {"seconds": seconds, "memory_bytes": peak_memory_bytes() - before}
    else:
        start = perf_counter()
        curves = subject.load(Path(folder))
        found = {"seconds": perf_counter() - start, "rows": len(curves)}
    Path(answer).write_text(json.dumps(found))


def _in_process(task: dict[str, Any]) -> dict[str, Any]:
    answer = Path(task["folder"]).with_suffix(".answer")
    task = {**task, "answer": str(answer)}
    command = [sys.executable, __file__, "--child", json.dumps(task)]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    if ended.returncode or not answer.exists():
        sys.exit(f"{task['system']}: the process failed with {ended.returncode}\n{ended.stdout}\n{ended.stderr}")
    found: dict[str, Any] = json.loads(answer.read_text())
    answer.unlink()
    return found


def print_results(runs: list[dict[str, Any]], names: list[str]) -> None:
    def median(name: str, reports: int, key: str) -> float | None:
        values = [
            run[key] for run in runs if (run["system"], run["reports_per_trial"]) == (name, reports) and key in run
        ]
        return statistics.median(values) if values else None

    def row(title: str, reports: int, key: str, show: Any) -> list[str]:
        cells = [title]
        for name in names:
            value = median(name, reports, key)
            cells.append("not stored" if value is None else show(value, name))
        return cells

    def rate(value: float, _: str) -> str:
        return f"{value:,.0f}" if value >= 100 else f"{value:.2g}" if value < 10 else f"{value:.0f}"

    def stored(value: float, name: str) -> str:
        return (
            rate(value, name) if median(name, LONG, "load_s") is not None else f"({rate(value, name)} not stored)"
        )

    def memory(value: float, name: str) -> str:
        return f"{value / 2**20:.0f} MiB in {median(name, SHORT, 'trials'):,.0f} trials"

    def files(value: float, name: str) -> str:
        return f"{value:,.0f} in {median(name, SHORT, 'trials'):,.0f} trials"

    def load(value: float, name: str) -> str:
        rows = median(name, LONG, "rows_read_back") or 1
        return f"{value * 1e6 / rows:.2f} s a million ({rows:,.0f} read)"

    print()
    print_table(
        ["", *names],
        [
            row("trials/s", SHORT, "trials_per_s", rate),
            row("stored reports/s", LONG, "reports_per_s", stored),
            row("load", LONG, "load_s", load),
            row("files", SHORT, "files", files),
            row("driver memory", SHORT, "driver_memory_bytes", memory),
        ],
    )
    if "caviar" not in names:
        return
    print()
    for name in names:
        if name == "caviar":
            continue
        ratios = []
        for reports, key, unit in ((SHORT, "trials_per_s", "trials/s"), (LONG, "reports_per_s", "reports/s")):
            ours, theirs = median("caviar", reports, key), median(name, reports, key)
            assert ours is not None
            assert theirs is not None
            ratios.append(f"{ours / theirs:,.1f} times its {unit}")
        print(f"caviar against {name}: {', '.join(ratios)}")


if __name__ == "__main__":
    main()

"""How many workers can one driver feed? What it costs the driver's process, and how long trials wait for it.

    python benchmarks/bench_workers.py            # about four minutes
    python benchmarks/bench_workers.py --quick    # a smoke test

Every worker reports once a second, under ASHA, which stops most trials after a few seconds: so there are rungs
to decide and trials to launch all the time. `simulated` workers are played by a few actors (`crowd.py`), many
each: the driver is the real one, with its runner, controller, recorder and Ray executor, and every exchange is a
call of a real Ray actor on this machine. What is simulated is what stands behind it, a supervisor and its
training process, and there is no network. `real` workers are real in every respect, and sleep for a second a
step.

How to read it. All figures are of one window of time, in which all workers train. `driver` is the processor time
of the driver's process, all of its threads and those of Ray among them, as a share of one core; `waited` is how
long these threads were ready to run and found no core, in the same terms: where that is not small, the machine
was too small for all that ran on it, and the latencies are worse than they had to be. `replies` are those of
workers to the driver, each the answer to one call; `reports` are stored ones. `decision` is what a trial waits
at a rung, from asking to going on. `launch` is the time from the sampling of a trial to its arrival at a worker,
which has another one in training then. `lag` is how long a reply lies in the driver before it is looked at.
`idle` is the share of the workers' time in which they had no trial. `memory` is the driver's resident memory.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import math
import os
import queue
import random
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from unittest.mock import patch

import crowd
import numpy as np
import pyarrow.compute as pc
from machine import describe, print_table, save, scratch

import caviar
import caviar.execution.ray as driver
from caviar.errors import CaviarError
from caviar.execution import exchange
from caviar.messages import Decided, TrialSampled
from caviar.panda.asking import ask
from caviar.store.reader import Reader

SIMULATED = (10, 100, 300, 1_000)
REAL = (8, 32)
STEP_S = 1.0
MAX_STEP = 100
ASHA = caviar.Asha(grace_steps=4, reduction_factor=3)
RUNGS = frozenset(4 * 3**k for k in range(10))
WORKERS_A_CROWD = 200
SPACE = caviar.Space(lr=caviar.Float(1e-4, 1.0, scale="log"), momentum=caviar.Float(0.9, 0.999))
PARTS = ("decision", "launch", "lag")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="fewer workers, for seconds")
    parser.add_argument("--simulated", type=int, nargs="*", help=f"numbers of workers (default {SIMULATED})")
    parser.add_argument("--real", type=int, nargs="*", help=f"numbers of workers (default {REAL})")
    parser.add_argument("--window", type=float, help="seconds to measure for (default 20)")
    parser.add_argument("--repeat", type=int, default=1, help="rounds; the table shows medians (default 1)")
    parser.add_argument("--folder", type=Path, default=Path("runs"), help="on the disk to use (default runs)")
    parser.add_argument("--json", type=Path, help="default: results/workers.json beside this file")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        child(**json.loads(arguments.child))
        return

    quick = arguments.quick
    simulated = ((10, 40) if quick else SIMULATED) if arguments.simulated is None else arguments.simulated
    real = ((2,) if quick else REAL) if arguments.real is None else arguments.real
    window_s = arguments.window or (4.0 if quick else 20.0)
    runs: list[dict[str, Any]] = []
    with scratch(arguments.folder) as folder:
        machine = describe(folder)
        for repeat in range(arguments.repeat):
            for kind, numbers in (("simulated", simulated), ("real", real)):
                for count in numbers:
                    print(f"{count} {kind} workers ...", end=" ", flush=True)
                    run = _in_process(kind, count, path=folder / f"{len(runs)}", window_s=window_s)
                    print(f"{run['core']:.2f} of a core", flush=True)
                    runs.append({"repeat": repeat, **run})
    print_results(runs)
    save("workers", {"machine": machine, "quick": quick, "runs": runs}, arguments.json)


def child(kind: str, count: int, path: str, window_s: float, answer: str) -> None:
    """What one process of the benchmark does; it answers through a file, as Ray may print."""
    import ray

    ray.init("local", num_cpus=count + 4, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    found = measure(kind, count, path=Path(path), window_s=window_s)
    Path(answer).write_text(json.dumps(found))


def _in_process(kind: str, count: int, *, path: Path, window_s: float) -> dict[str, Any]:
    answer = path.with_suffix(".answer")
    task = {"kind": kind, "count": count, "path": str(path), "window_s": window_s, "answer": str(answer)}
    command = [sys.executable, __file__, "--child", json.dumps(task)]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    if ended.returncode or not answer.exists():
        sys.exit(f"{count} {kind}: the process failed with {ended.returncode}\n{ended.stdout}\n{ended.stderr}")
    found: dict[str, Any] = json.loads(answer.read_text())
    return found


def measure(
    kind: str, count: int, *, path: Path, window_s: float, warm_s: float = 6.0, step_s: float = STEP_S
) -> dict[str, Any]:
    """Run a sweep on so many workers until a window of time is over. Ray is up, and left up."""
    executor = Watched(count)
    with tempfile.TemporaryDirectory() as notes, played(kind, count, step_s) as crowds:
        watching = threading.Thread(target=executor.watch, args=(path, warm_s, window_s), daemon=True)
        watching.start()
        sweep = caviar.Sweep(
            training(notes, step_s),
            SPACE,
            metric="loss",
            trials=10_000_000,
            max_step=MAX_STEP,
            scheduler=ASHA,
            resources=caviar.Resources(cpus=1),
        )
        sweep.run(path, executor=executor)
        watching.join()
        noted = of_crowds(crowds) if crowds else of_trials(Path(notes))
    return {"kind": kind, "workers": count, **figures(executor, noted, path)}


# --- the driver, watched --------------------------------------------------------------------------------


class Stamped(queue.SimpleQueue):
    """A queue that notes how long things lay in it."""

    def __init__(self) -> None:
        super().__init__()
        self.lay: list[tuple[float, float]] = []
        """(when it was taken, for how long it had lain there)."""

    def put(self, item: Any, block: bool = True, timeout: float | None = None) -> None:
        super().put((time.time(), item))

    def get(self, block: bool = True, timeout: float | None = None) -> Any:
        put_s, item = super().get(block, timeout)
        now_s = time.time()
        self.lay.append((now_s, now_s - put_s))
        return item

    def get_nowait(self) -> Any:
        return self.get(block=False)


class Watched(caviar.Ray):
    """The Ray executor, which counts its calls."""

    def __init__(self, count: int) -> None:
        super().__init__(workers=count)
        self.count = count
        self.marks: list[dict[str, float]] = []
        """At the beginning and at the end of the window."""
        self.failed: BaseException | None = None

    def start(self, job: Any, deliver: Any) -> None:
        with patch.object(exchange, "SimpleQueue", Stamped):
            super().start(job, deliver)

    def watch(self, path: Path, warm_s: float, window_s: float) -> None:
        """Take marks, then stop the sweep."""
        while sum(worker.ready for worker in list(self._workers)) < self.count:
            time.sleep(0.05)
        for wait_s in (warm_s, window_s):
            time.sleep(wait_s)
            self.marks.append(mark())
        ask(path, "stop")


def mark() -> dict[str, float]:
    """Where this process is: seconds of its processor time, seconds it waited for a core, bytes of memory."""
    waited_ns = 0
    for task in Path("/proc/self/task").iterdir():
        with contextlib.suppress(OSError):
            waited_ns += int((task / "schedstat").read_text().split()[1])
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return {
        "time_s": time.time(),
        "cpu_s": time.process_time(),
        "waited_s": waited_ns / 1e9,
        "memory_bytes": pages * os.sysconf("SC_PAGE_SIZE"),
    }


# --- workers --------------------------------------------------------------------------------------------


@contextlib.contextmanager
def played(kind: str, count: int, step_s: float) -> Iterator[list[Any]]:
    """Have workers played by crowds, where they are to be simulated."""
    if kind == "real":
        yield []
        return
    import ray

    actor = ray.remote(crowd.Crowd).options(
        num_cpus=0, enable_task_events=False, max_concurrency=4 * WORKERS_A_CROWD
    )
    crowds = [actor.remote(step_s) for _ in range(math.ceil(count / WORKERS_A_CROWD))]
    try:
        ray.get([one.noted.remote() for one in crowds])
        with patch.object(driver, "Hiring", crowd.hiring_from(crowds)):
            yield crowds
    finally:
        for one in crowds:
            ray.kill(one)


def of_crowds(crowds: Sequence[Any]) -> dict[str, Any]:
    """What all crowds noted."""
    import ray

    found = ray.get([one.noted.remote() for one in crowds])
    return {key: [item for one in found for item in one[key]] for key in ("answers", "launches", "idle")}


def training(notes: str, step_s: float) -> Any:
    """A training function that sleeps; how long it waits at rungs, and between trials, it writes into a file."""
    last: list[float] = []

    def sleeps(trial: caviar.Trial) -> None:
        uneven = random.Random(trial.seed)
        loss = uneven.random()
        with Path(notes, str(os.getpid())).open("a") as file:

            def note(what: str, *seconds: float) -> None:
                print(json.dumps([what, *seconds]), file=file, flush=True)

            if last:
                note("idle", last.pop(), time.time())
            try:
                for step in trial.steps():
                    time.sleep(step_s * uneven.uniform(0.5, 1.5))
                    asked_s = time.time()
                    try:
                        trial.report(loss=loss + 1 / step, accuracy=1 - loss)
                    finally:
                        if step in RUNGS:
                            note("answers", asked_s, time.time() - asked_s)
            finally:
                last.append(time.time())

    return sleeps


def of_trials(notes: Path) -> dict[str, Any]:
    """What all trials noted."""
    found: dict[str, Any] = {"answers": [], "launches": [], "idle": []}
    for file in notes.iterdir():
        for line in file.read_text().splitlines():
            what, *seconds = json.loads(line)
            found[what].append(seconds)
    return found


# --- figures --------------------------------------------------------------------------------------------


def figures(executor: Watched, noted: dict[str, Any], path: Path) -> dict[str, Any]:
    """What was seen within the window."""
    if len(executor.marks) < 2:
        raise CaviarError("the sweep ended before the window was over")
    before, after = executor.marks
    from_s, to_s = before["time_s"], after["time_s"]
    window_s = to_s - from_s
    metrics, events = Reader(path).read()
    metrics = metrics.filter(pc.equal(metrics.column("metric"), "loss"))  # a row a report
    times_s = metrics.column("time").to_numpy().astype("datetime64[us]").astype(np.int64) / 1e6
    kinds = events.column("kind").to_numpy(zero_copy_only=False)
    at_s = events.column("time").to_numpy().astype("datetime64[us]").astype(np.int64) / 1e6
    within = (at_s >= from_s) & (at_s < to_s)
    trials = events.column("trial").to_pylist()
    sampled_s = {trials[i]: at_s[i] for i in np.flatnonzero(kinds == TrialSampled.kind)}
    idle_s = sum(max(0.0, min(to_s, end) - max(from_s, begin)) for begin, end in noted["idle"])
    seconds = {
        "decision": [took for asked, took in noted["answers"] if from_s <= asked < to_s],
        "launch": [at - sampled_s[trial] for trial, at in noted["launches"] if from_s <= at < to_s],
        "lag": [lay for at, lay in executor._exchanges._replies.lay if from_s <= at < to_s],
    }
    found: dict[str, Any] = {
        "window_s": window_s,
        "core": (after["cpu_s"] - before["cpu_s"]) / window_s,
        "waited": (after["waited_s"] - before["waited_s"]) / window_s,
        "replies_per_s": len(seconds["lag"]) / window_s,
        "reports_per_s": float(np.count_nonzero((times_s >= from_s) & (times_s < to_s))) / window_s,
        "decisions_per_s": float(np.count_nonzero(within & (kinds == Decided.kind))) / window_s,
        "launches_per_s": float(np.count_nonzero(within & (kinds == TrialSampled.kind))) / window_s,
        "idle": idle_s / window_s / executor.count,
        "memory_bytes": after["memory_bytes"],
        "interval_s": exchange.interval_s(executor.count),
    }
    for name, values in seconds.items():
        for what, quantile in (("median", 0.5), ("p99", 0.99), ("most", 1.0)):
            found[f"{name}_{what}_s"] = float(np.quantile(values, quantile)) if values else None
    return found


def print_results(runs: list[dict[str, Any]]) -> None:
    def median(same: list[dict[str, Any]], key: str) -> float | None:
        values = [run[key] for run in same if run[key] is not None]
        return statistics.median(values) if values else None

    def pair(same: list[dict[str, Any]], part: str) -> str:
        middle, high = median(same, f"{part}_median_s"), median(same, f"{part}_p99_s")
        return "-" if middle is None or high is None else f"{1e3 * middle:,.0f}, {1e3 * high:,.0f} ms"

    groups: dict[tuple[str, int], list[dict[str, Any]]] = {}
    for run in runs:
        groups.setdefault((run["kind"], run["workers"]), []).append(run)
    rows = []
    for (kind, count), same in groups.items():
        figure = {key: median(same, key) or 0.0 for key in same[0] if key not in ("kind", "repeat")}
        rows.append(
            [
                f"{count:,} {kind}",
                f"{figure['core']:.0%}",
                f"{figure['waited']:.0%}",
                f"{figure['replies_per_s']:,.0f}",
                f"{figure['reports_per_s']:,.0f}",
                f"{figure['decisions_per_s']:,.0f}",
                *(pair(same, part) for part in PARTS),
                f"{figure['idle']:.1%}",
                f"{figure['memory_bytes'] / 2**20:,.0f} MiB",
            ]
        )
    header = ["workers", "driver", "waited", "replies/s", "reports/s", "decisions/s", *PARTS, "idle", "memory"]
    print("\nmedian and 99th percentile:\n")
    print_table(header, rows)


if __name__ == "__main__":
    main()

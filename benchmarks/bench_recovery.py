"""How long does it take to go on with a large sweep whose driver was killed?

    python benchmarks/bench_recovery.py              # about two minutes, most of it to make the sweep
    python benchmarks/bench_recovery.py --quick      # a tenth of it: a smoke test
    python benchmarks/bench_recovery.py --profile    # and where the time goes

A driver runs a sweep under ASHA in virtual time, with two metrics a report and checkpoints in one of 20 trials,
and is killed with SIGKILL once it has 100,000 trials and 1,000,000 reports: commits lie in `_hot`, and the
lease is a dead process's. Then another process calls ``sweep.run(path, resume=True)``, some times, each time on
a copy of the folder. How to read it: `recovery` is from that call to the first launch of a trial: reading what
was committed, learning which reports are stored, rolling the commits that were left, replaying the events,
looking at the checkpoints of trials that were under way, and asking the scheduler. Imports are not in it.
`processor` is what of it was computing. `memory` is the peak of the process that recovered, in all.
"""

from __future__ import annotations

import argparse
import cProfile
import json
import os
import pstats
import shutil
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from machine import describe, peak_memory_bytes, print_table, save, scratch

import caviar
from caviar.execution.contract import Arrivals, Deliver, Job
from caviar.messages import Checkpointed, Command, Event, Launch, Recorded, Reports, RungReached
from caviar.store.reader import Reader

TRIALS = 100_000
REPORTS_A_TRIAL = 10
AT_ONCE = 64
MAX_STEP = 243
ONE_IN = 20
TARGET_S = 10.0

SPACE = caviar.Space(
    lr=caviar.Float(1e-4, 1.0, scale="log"),
    momentum=caviar.Float(0.9, 0.999, scale="one_minus_log"),
    hidden=caviar.Int(16, 256, scale="log"),
    batch_size=caviar.Choice([32, 64, 128, 256]),
)
STEPS = np.arange(1, MAX_STEP + 1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="10,000 trials instead of 100,000")
    parser.add_argument("--repeat", type=int, default=3, help="recoveries; median (default 3)")
    parser.add_argument("--profile", action="store_true", help="print where the time of one more recovery goes")
    parser.add_argument("--folder", type=Path, default=Path("runs"), help="on the disk to use (default runs)")
    parser.add_argument("--json", type=Path, help="default: results/recovery.json beside this file")
    parser.add_argument("--as", dest="role", choices=["driver", "successor"], help=argparse.SUPPRESS)
    parser.add_argument("--path", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()

    trials = TRIALS // 10 if arguments.quick else TRIALS
    if arguments.role is not None:
        return {"driver": drive, "successor": succeed}[arguments.role](arguments.path, trials, arguments.profile)
    with scratch(arguments.folder) as folder:
        machine = describe(folder)
        died = _call("driver", folder / "sweep", arguments)
        assert died.returncode == -signal.SIGKILL, died.stderr
        size = _size(folder / "sweep")
        found = []
        for number in range(arguments.repeat + arguments.profile):
            shutil.copytree(folder / "sweep", folder / "copy")
            told = _call("successor", folder / "copy", arguments, profile=number == arguments.repeat)
            shutil.rmtree(folder / "copy")
            assert told.returncode == 0, told.stderr
            found.append(json.loads(told.stdout.splitlines()[-1]))
            if number == arguments.repeat:
                print(told.stdout.rpartition("{")[0])
                found.pop()
    seconds = statistics.median(one["seconds"] for one in found)
    busy = statistics.median(one["processor_seconds"] for one in found)
    header = ["trials", "reports", "events", "in _hot", "recovery", "processor", "memory"]
    row = [f"{size[name]:,}" for name in ("trials", "reports", "events", "hot")]
    print_table(
        header, [[*row, f"{seconds:.1f} s", f"{busy:.1f} s", f"{found[0]['memory_bytes'] / 2**20:,.0f} MiB"]]
    )
    save("recovery", {"machine": machine, "size": size, "recoveries": found}, arguments.json)
    if not arguments.quick and seconds > TARGET_S:
        sys.exit(f"recovery took {seconds:.1f} s, and was to take no more than {TARGET_S:.0f} s")
    return None


def _call(
    role: str, path: Path, arguments: argparse.Namespace, *, profile: bool = False
) -> subprocess.CompletedProcess[str]:
    flags = ["--quick"] * arguments.quick + ["--profile"] * profile
    command = [sys.executable, __file__, "--as", role, "--path", str(path), *flags]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def _sweep(trials: int) -> caviar.Sweep:
    return caviar.Sweep(
        _never,
        SPACE,
        metric="loss",
        trials=2 * trials,  # it is killed in the middle
        max_step=MAX_STEP,
        scheduler=caviar.Asha(grace_steps=3, reduction_factor=3),
    )


def _never(trial: caviar.Trial) -> None:
    raise RuntimeError("the curves are given: nothing trains")


def _curves(launch: Launch) -> dict[str, np.ndarray]:
    loss = launch.seed / 2**32 * (1 + launch.trial % 7 / STEPS)
    return {"loss": loss, "accuracy": 1 - loss}


class Saving(caviar.Simulated):
    """Some trials save a checkpoint whenever they come to a rung."""

    def start(self, job: Job, deliver: Deliver) -> None:
        def saving(arrivals: Arrivals) -> int:
            events: list[Event] = []
            for event in arrivals.events:
                if isinstance(event, RungReached) and event.trial % ONE_IN == 0:
                    with job.files.checkpoint(event.trial, event.attempt, event.step) as folder:
                        (folder / "model").write_bytes(b"0" * 100)
                    events.append(Checkpointed(self.now_us(), event.trial, event.attempt, event.step))
                events.append(event)
            return deliver(Arrivals(arrivals.reports, events))

        super().start(job, saving)


def drive(path: Path, trials: int, profile: bool) -> None:
    """The driver that is killed."""
    sampled = reports = 0

    def watch(item: Recorded | Reports) -> None:
        nonlocal sampled, reports
        if isinstance(item, Reports):
            reports += len(item)
        elif item.kind == "trial_sampled":
            sampled += 1
        if sampled >= 1.03 * trials and reports >= 1.03 * REPORTS_A_TRIAL * trials:  # not all is committed
            os.kill(os.getpid(), signal.SIGKILL)

    _sweep(trials).run(path, Saving(AT_ONCE, curves=_curves), on_event=watch)


def succeed(path: Path, trials: int, profile: bool) -> None:
    """The driver after it."""
    sweep, executor = _sweep(trials), caviar.Simulated(AT_ONCE, curves=_curves)
    profiler = cProfile.Profile()
    begun, used = time.perf_counter(), time.process_time()

    def first_launch(commands: Sequence[Command]) -> None:
        profiler.disable()
        told = {
            "seconds": time.perf_counter() - begun,
            "processor_seconds": time.process_time() - used,
            "memory_bytes": peak_memory_bytes(),
        }
        if profile:
            pstats.Stats(profiler, stream=sys.stdout).sort_stats("cumtime").print_stats(45)
        print(json.dumps(told), flush=True)
        os._exit(0)

    executor.send = first_launch  # type: ignore[method-assign]
    if profile:
        profiler.enable()
    sweep.run(path, executor, resume=True)


def _size(path: Path) -> dict[str, Any]:
    metrics, events = Reader(path).read()
    kinds = events.column("kind").to_pylist()
    return {
        "trials": kinds.count("trial_sampled"),
        "ended": kinds.count("trial_ended"),
        "checkpoints": kinds.count("checkpointed"),
        "reports": metrics.num_rows // 2,
        "events": events.num_rows,
        "hot": len(list((path / "_hot").iterdir())),
    }


if __name__ == "__main__":
    main()

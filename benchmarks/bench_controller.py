"""What the driver does for each trial: 100,000 trials under ASHA, the controller alone and the whole loop.

    python benchmarks/bench_controller.py            # about a minute
    python benchmarks/bench_controller.py --quick    # 5,000 trials: a smoke test

How to read it. `controller`: the pure core is fed the consequences of its own commands, 64 trials at a time; only
the time inside `handle` counts, and an event is one call of it: room, a start, a rung, an end. `whole loop`: the
same sweep through `Sweep.run` with `caviar.Simulated`, so with the runner and the recorder, and every report and
event written and fsync'd; an event is a row of the events table. `early` and `late` are the mean cost of an event
around trial 1,000 and around the last; their ratio shows whether anything is scanned, copied or searched and grows
with finished trials. `bytes a trial` is what memory grew by for each finished trial between a tenth of the sweep
and its end: by tracemalloc, in a pass of its own, for the controller; resident memory for the whole loop, which
includes whatever the recorder holds at that moment.
"""

from __future__ import annotations

import argparse
import statistics
import time
import tracemalloc
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from machine import describe, print_table, save, scratch

import caviar
from caviar.controller import Controller
from caviar.messages import (
    Answer,
    AttemptEnded,
    DriverStarted,
    Event,
    Launch,
    Recorded,
    Reports,
    RoomOffered,
    RungReached,
    TrialEnded,
    TrialStarted,
)
from caviar.state import Plan

AT_ONCE = 64
MAX_STEP = 81
EARLY = 1_000
WINDOW = 1_000
"""How many trials around a point the cost of an event is averaged over."""

SPACE = caviar.Space(
    lr=caviar.Float(1e-4, 1.0, scale="log"),
    momentum=caviar.Float(0.9, 0.999, scale="one_minus_log"),
    hidden=caviar.Int(16, 256, scale="log"),
    batch_size=caviar.Choice([32, 64, 128, 256]),
)
ASHA = caviar.Asha(grace_steps=1, reduction_factor=3)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="5,000 trials instead of 100,000")
    parser.add_argument("--repeat", type=int, default=3, help="passes of the controller; medians (default 3)")
    parser.add_argument("--folder", type=Path, default=Path("runs"), help="on the disk to use (default runs)")
    parser.add_argument("--json", type=Path, help="default: results/controller.json beside this file")
    arguments = parser.parse_args()

    trials = 5_000 if arguments.quick else 100_000
    passes = [controller_alone(trials) for _ in range(arguments.repeat)]
    alone = {key: statistics.median(one[key] for one in passes) for key in passes[0]}
    alone["bytes_per_trial"] = controller_memory(trials)
    with scratch(arguments.folder) as folder:
        machine = describe(folder)
        loop = whole_loop(folder / "sweep", trials)
    rows = [
        [
            title,
            f"{found['events']:,.0f}",
            f"{found['events_per_s']:,.0f}",
            f"{found['early_us']:.1f} us",
            f"{found['late_us']:.1f} us",
            f"{found['late_us'] / found['early_us']:.2f}",
            f"{found['bytes_per_trial']:,.0f}",
        ]
        for title, found in (("controller", alone), ("whole loop", loop))
    ]
    print_table([f"{trials:,} trials", "events", "events/s", "early", "late", "ratio", "bytes a trial"], rows)
    print(f"\nthe whole loop took {loop['seconds']:.1f} s and stored {loop['reports']:,} reports")
    found = {"machine": machine, "trials": trials, "controller": alone, "passes": passes, "whole_loop": loop}
    save("controller", found, arguments.json)


def new_controller(trials: int) -> Controller:
    plan = Plan(space=SPACE, sampler=caviar.RandomSampler(), scheduler=ASHA, trials=trials, max_step=MAX_STEP)
    return Controller(plan)


def drive(controller: Controller, handle: Callable[[Event], list[Any]]) -> Iterator[int]:
    """Run a whole sweep of no training; yields the number of finished trials at every end of one."""
    losses = np.random.default_rng(0).random(controller.state.trials).tolist()
    controller.begin(DriverStarted(0, "here", 0, "0"))
    due: deque[Event] = deque([RoomOffered(AT_ONCE)])
    finished = 0
    while due:
        for output in handle(due.popleft()):
            match output:
                case Launch(trial, attempt):
                    due.append(TrialStarted(0, trial, attempt, "simulated-0"))
                    due.append(_next(trial, attempt, output.next_rung, losses))
                case Answer(trial, attempt, stop):
                    if stop:
                        due.append(AttemptEnded(0, trial, attempt, 1, "stopped", value=losses[trial]))
                    else:
                        due.append(_next(trial, attempt, output.next_rung, losses))
                case TrialEnded():
                    finished += 1
                    due.append(RoomOffered(1))
                    yield finished


def _next(trial: int, attempt: int, rung: int | None, losses: list[float]) -> Event:
    if rung is None:
        return AttemptEnded(0, trial, attempt, MAX_STEP, "returned", value=losses[trial])
    return RungReached(trial, attempt, rung, losses[trial] * (1 + trial % 7 / rung))


def controller_alone(trials: int) -> dict[str, float]:
    """Time inside `Controller.handle`, for every trial that ended."""
    controller = new_controller(trials)
    clock, spent, events = time.perf_counter, 0.0, 0

    def timed(event: Event) -> list[Any]:
        nonlocal spent, events
        start = clock()
        outputs = controller.handle(event, 0)
        spent += clock() - start
        events += 1
        return outputs

    marks = [(0.0, 0)]
    for _ in drive(controller, timed):
        marks.append((spent, events))  # noqa: PERF401 - the generator moves both
    assert controller.ended
    return {"events": events, "events_per_s": events / spent, **early_and_late(marks)}


def controller_memory(trials: int) -> float:
    """Bytes that one finished trial leaves in the controller, by tracemalloc."""
    tracemalloc.start()
    controller = new_controller(trials)
    at_tenth = 0
    for finished in drive(controller, lambda event: controller.handle(event, 0)):
        if finished == trials // 10:
            at_tenth = tracemalloc.get_traced_memory()[0]
    # what `drive` holds has the same size at both points, but for the trials that run at once
    grown = tracemalloc.get_traced_memory()[0] - at_tenth
    tracemalloc.stop()
    return grown / (trials - trials // 10)


def whole_loop(path: Path, trials: int) -> dict[str, Any]:
    """The same sweep through the runner and the recorder."""
    steps = np.arange(1, MAX_STEP + 1)

    def curves(launch: Launch) -> dict[str, np.ndarray]:
        return {"loss": launch.seed / 2**32 * (1 + launch.trial % 7 / steps)}

    marks = np.zeros((trials + 1, 2))  # as large as it will ever be, so that it does not count as growth
    marks[0, 0] = time.perf_counter()
    memory_bytes: dict[int, int] = {}
    events = ended = 0

    def watch(event: Recorded | Reports) -> None:
        nonlocal events, ended
        events += isinstance(event, Recorded)
        if isinstance(event, TrialEnded):
            ended += 1
            marks[ended] = time.perf_counter(), events
            if ended in (trials // 10, trials):
                memory_bytes[ended] = resident_bytes()

    sweep = caviar.Sweep(_never, SPACE, metric="loss", trials=trials, max_step=MAX_STEP, scheduler=ASHA)
    start = time.perf_counter()
    result = sweep.run(path, executor=caviar.Simulated(AT_ONCE, curves=curves), on_event=watch)
    seconds = time.perf_counter() - start
    reports = len(result.curves())
    return {
        "events": events,
        "reports": reports,
        "seconds": seconds,
        "events_per_s": events / seconds,
        "reports_per_s": reports / seconds,
        "bytes_per_trial": (memory_bytes[trials] - memory_bytes[trials // 10]) / (trials - trials // 10),
        **early_and_late(marks.tolist()),
    }


def _never(trial: caviar.Trial) -> None:
    raise RuntimeError("the curves are given: nothing trains")


def early_and_late(marks: Sequence[Sequence[float]]) -> dict[str, float]:
    """Microseconds an event, around trial 1,000 and at the end, from (seconds, events) after every trial."""

    def around(first: int, last: int) -> float:
        (start_s, before), (end_s, after) = marks[first], marks[last]
        return (end_s - start_s) / (after - before) * 1e6

    end = len(marks) - 1
    late_until = end - AT_ONCE  # the last ones end without others beginning
    return {
        "early_us": around(EARLY - WINDOW // 2, EARLY + WINDOW // 2),
        "late_us": around(late_until - WINDOW, late_until),
    }


def resident_bytes() -> int:
    """Memory that this process holds now. Linux; elsewhere 0."""
    status = Path("/proc/self/statm")
    return int(status.read_text().split()[1]) * 4096 if status.exists() else 0


if __name__ == "__main__":
    main()

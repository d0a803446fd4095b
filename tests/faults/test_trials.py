"""Training functions that do what they should not, side by side in one sweep on Ray: each harms itself alone."""

from __future__ import annotations

import ctypes
import math
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import caviar
from caviar.execution import logs
from caviar.messages import Reports, TrialStarted

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("ray_cluster")]

DEADLINE_S = 30
LONG_NAME = "loss of the " + "very " * 50_000 + "last layer"


class MuteError(Exception):
    def __str__(self) -> str:
        raise RuntimeError("not even this")


# Every one reports a loss first, so that what it had reported can be looked for afterwards.


def well_behaved(trial: caviar.Trial) -> None:
    trial.report(loss=0.5)
    print("all is well")


def segfaults(trial: caviar.Trial) -> None:
    trial.report(loss=1.0)
    trial.report(loss=0.9)
    time_to_send(trial)
    ctypes.string_at(0)


def leaves_by_os_exit(trial: caviar.Trial) -> None:
    trial.report(loss=1.0)
    time_to_send(trial)
    os._exit(7)


def kills_itself(trial: caviar.Trial) -> None:
    trial.report(loss=1.0)
    os.kill(os.getpid(), signal.SIGKILL)


def interrupts(trial: caviar.Trial) -> None:
    trial.report(loss=1.0)
    trial.report(loss=0.9)
    raise KeyboardInterrupt


def raises_generator_exit(trial: caviar.Trial) -> None:
    trial.report(loss=1.0)
    raise GeneratorExit


def recurses(trial: caviar.Trial) -> None:
    trial.report(loss=1.0)
    recurses_on(0)


def recurses_on(depth: int) -> int:
    return 1 + recurses_on(depth + 1)


def runs_out_of_memory(trial: caviar.Trial) -> None:
    trial.report(loss=1.0)
    bytearray(1 << 60)


def raises_what_cannot_be_printed(trial: caviar.Trial) -> None:
    trial.report(loss=1.0)
    raise MuteError


def reports_nan(trial: caviar.Trial) -> None:
    trial.report(loss=1.0)
    trial.report(loss=math.nan)
    trial.report(loss=0.0)


def never_lets_a_stop_pass(trial: caviar.Trial) -> None:
    raised = 0
    for step in range(1, 2000):
        try:
            trial.report(loss=math.nan if step == 3 else 1.0 / step)
        except BaseException:
            raised += 1
    print(f"swallowed {raised}")


def reports_a_huge_name(trial: caviar.Trial) -> None:
    trial.report(loss=1.0)
    trial.report(**{LONG_NAME: 3.0})


def reports_a_name_that_is_no_text(trial: caviar.Trial) -> None:
    trial.report(loss=1.0)
    trial.report(**{"\udcff": 1.0})


def reports_a_step_beyond_all_numbers(trial: caviar.Trial) -> None:
    trial.report(loss=1.0)
    trial.report(step=2**63, loss=1.0)


def closes_its_output(trial: caviar.Trial) -> None:
    trial.report(loss=1.0)
    print("the last words")
    sys.stdout.flush()
    os.close(1)
    os.close(2)


def closes_its_streams(trial: caviar.Trial) -> None:
    trial.report(loss=1.0)
    sys.stdout.close()
    sys.stderr.close()


def loses_its_streams(trial: caviar.Trial) -> None:
    trial.report(loss=1.0)
    sys.stdout = sys.stderr = None


def prints_a_gigabyte(trial: caviar.Trial) -> None:
    trial.report(loss=1.0)
    line = "x" * 999_999
    for _ in range(1000):
        print(line)


def prints_what_looks_like_ours(trial: caviar.Trial) -> None:
    os.write(1, b"\0caviar:0123456789abcdef:3\n" + b"\0caviar:")
    trial.report(loss=1.0)


def forks(trial: caviar.Trial) -> None:
    child = os.fork()
    if not child:
        os._exit(0)
    os.waitpid(child, 0)
    trial.report(loss=1.0)


def leaves_a_child_running(trial: caviar.Trial) -> None:
    child = subprocess.Popen(["sleep", "600"])
    Path(os.environ["CAVIAR_FAULTS"], "child").write_text(str(child.pid))
    trial.report(loss=1.0)


def leaves_a_thread_running(trial: caviar.Trial) -> None:
    trial.report(loss=1.0)
    threading.Thread(target=threading.Event().wait).start()  # no daemon: an orderly exit would wait for it


def changes_what_is_its_process(trial: caviar.Trial) -> None:
    trial.report(loss=1.0)
    os.chdir("/")
    signal.signal(signal.SIGTERM, signal.SIG_IGN)


def time_to_send(trial: caviar.Trial) -> None:
    """A checkpoint sends what waits: what a process that dies has not sent is lost with it."""
    with trial.checkpoint():
        pass


FAULTS: list[tuple[Callable[[caviar.Trial], None], str, str | None, int]] = [
    (segfaults, "failed", "its training process was killed by SIGSEGV", 2),
    (leaves_by_os_exit, "failed", "its training process exited with status 7", 1),
    (kills_itself, "failed", "its training process was killed by SIGKILL", 0),
    (interrupts, "failed", "KeyboardInterrupt", 2),
    (raises_generator_exit, "failed", "GeneratorExit", 1),
    (recurses, "failed", "RecursionError: maximum recursion depth exceeded", 1),
    (runs_out_of_memory, "failed", "MemoryError", 1),
    (raises_what_cannot_be_printed, "failed", "MuteError", 1),
    (reports_nan, "stopped", "diverged", 2),
    (never_lets_a_stop_pass, "stopped", "diverged", 3),
    (reports_a_huge_name, "completed", None, 2),
    (reports_a_name_that_is_no_text, "failed", r"MetricError: report('\udcff'=...): the name cannot be stored", 1),
    (reports_a_step_beyond_all_numbers, "failed", "MetricError: report(step=9223372036854775808)", 1),
    (closes_its_output, "completed", None, 1),
    (closes_its_streams, "completed", None, 1),
    (loses_its_streams, "completed", None, 1),
    (prints_a_gigabyte, "completed", None, 1),
    (prints_what_looks_like_ours, "completed", None, 1),
    (forks, "completed", None, 1),
    (leaves_a_child_running, "completed", None, 1),
    (leaves_a_thread_running, "completed", None, 1),
    (changes_what_is_its_process, "completed", None, 1),
]
"""What a training function does, and what must become of its trial: status, reason, and at least so many steps."""

NAMES = [fault.__name__ for fault, *_ in FAULTS]


def train(trial: caviar.Trial) -> None:
    """Even trials do something bad; the odd ones after them must not notice."""
    number, good = divmod(trial.id, 2)
    (well_behaved if good else FAULTS[number][0])(trial)


class Outcome:
    """What one sweep of all faults came to."""

    def __init__(self, result: caviar.Result, folder: Path) -> None:
        self.result = result
        self.folder = folder
        self.trials = result.trials()
        self.curves = result.curves()

    def log(self, trial: int) -> str:
        return (self.folder / "sweep" / "logs" / f"{trial}.log").read_text()


@pytest.fixture(scope="module", params=[False, True], ids=["reused", "fresh"])
def outcome(
    request: pytest.FixtureRequest, ray_cluster: None, tmp_path_factory: pytest.TempPathFactory
) -> Outcome:
    folder = tmp_path_factory.mktemp("faults")
    sweep = caviar.Sweep(
        train,
        caviar.Space(lr=caviar.Float(0, 1)),
        metric="loss",
        trials=2 * len(FAULTS),
        retries=0,
        resources=caviar.Resources(fresh_process=request.param),
    )
    executor = caviar.Ray(workers=2, runtime_env={"env_vars": {"CAVIAR_FAULTS": str(folder)}})
    return Outcome(sweep.run(folder / "sweep", executor), folder)


def test_the_sweep_came_to_its_end(outcome: Outcome) -> None:
    assert outcome.result.status == "finished"
    assert len(outcome.trials) == 2 * len(FAULTS)


@pytest.mark.parametrize("name", NAMES)
def test_it_harmed_itself_alone(outcome: Outcome, name: str) -> None:
    number = NAMES.index(name)
    _, status, reason, steps = FAULTS[number]
    row = outcome.trials.loc[2 * number]
    assert (row.status, row.attempts) == (status, 1)
    assert pd.isna(row.reason) if reason is None else row.reason.startswith(reason), row.reason
    assert row.steps >= steps
    neighbour = outcome.trials.loc[2 * number + 1]
    assert (neighbour.status, neighbour["metrics.loss"]) == ("completed", 0.5)
    assert outcome.log(2 * number + 1) == "all is well\n"


def test_failures_carry_their_cause_in_full(outcome: Outcome) -> None:
    events = outcome.result.events()
    ends = events[events.kind == "trial_ended"].set_index("trial")
    recursion = ends.data[2 * NAMES.index("recurses")]["error"]
    assert "in recurses_on" in recursion
    assert "more times]" in recursion
    assert "in interrupts" in ends.data[2 * NAMES.index("interrupts")]["error"]


def test_nothing_is_stored_after_a_stop_that_was_swallowed(outcome: Outcome) -> None:
    curves = outcome.curves
    swallowing = curves[curves.trial == 2 * NAMES.index("never_lets_a_stop_pass")]
    assert list(swallowing.step) == [1, 2, 3]
    assert outcome.log(2 * NAMES.index("never_lets_a_stop_pass")) == "swallowed 1997\n"


def test_a_huge_name_is_stored_whole(outcome: Outcome) -> None:
    assert outcome.trials.loc[2 * NAMES.index("reports_a_huge_name"), f"metrics.{LONG_NAME}"] == 3.0


def test_a_flood_of_output_is_cut(outcome: Outcome) -> None:
    path = outcome.folder / "sweep" / "logs" / f"{2 * NAMES.index('prints_a_gigabyte')}.log"
    assert logs.LOG_BYTES <= path.stat().st_size <= logs.LOG_BYTES + 200
    assert outcome.log(2 * NAMES.index("closes_its_output")) == "the last words\n"


def test_nobody_is_left_behind(outcome: Outcome) -> None:
    child = int((outcome.folder / "child").read_text())
    deadline = time.monotonic() + DEADLINE_S
    while alive(child):
        assert time.monotonic() < deadline, "what a trial started outlives the sweep"
        time.sleep(0.05)


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


# --- limits -------------------------------------------------------------------------------------------


def hangs(trial: caviar.Trial) -> None:
    trial.report(loss=1.0)
    threading.Event().wait()


def spins(trial: caviar.Trial) -> None:
    trial.report(loss=1.0)
    while True:
        pass


def hangs_in_a_library(trial: caviar.Trial) -> None:
    trial.report(loss=1.0)
    time_to_send(trial)
    ctypes.PyDLL(None).sleep(600)  # holds the GIL: no other thread of this process runs any more


def hangs_in_a_child(trial: caviar.Trial) -> None:
    trial.report(loss=1.0)
    subprocess.run(["sleep", "600"], check=True)


def ignores_its_end(trial: caviar.Trial) -> None:
    while True:
        try:
            trial.report(loss=1.0 if trial.step < 2 else math.nan)
        except BaseException:
            time.sleep(0.01)


def uses_too_much_memory(trial: caviar.Trial) -> None:
    trial.report(loss=1.0)
    held = []
    while True:
        held.append(b"x" * (32 * 2**20))
        time.sleep(0.02)


LIMITED: list[tuple[Callable[[caviar.Trial], None], str, str]] = [
    (hangs, "failed", "no progress for 5 s (last at step 1)"),
    (spins, "failed", "no progress for 5 s (last at step 1)"),
    (hangs_in_a_library, "failed", "no progress for 5 s (last at step 1)"),
    (hangs_in_a_child, "failed", "no progress for 5 s (last at step 1)"),
    (ignores_its_end, "stopped", "diverged"),
    (uses_too_much_memory, "failed", "used "),
]


def train_within_limits(trial: caviar.Trial) -> None:
    number, good = divmod(trial.id, 2)
    (well_behaved if good else LIMITED[number][0])(trial)


@pytest.fixture(scope="module", params=[False, True], ids=["reused", "fresh"])
def limited(
    request: pytest.FixtureRequest, ray_cluster: None, tmp_path_factory: pytest.TempPathFactory
) -> Outcome:
    folder = tmp_path_factory.mktemp("limits")
    sweep = caviar.Sweep(
        train_within_limits,
        caviar.Space(lr=caviar.Float(0, 1)),
        metric="loss",
        trials=2 * len(LIMITED),
        retries=0,
        resources=caviar.Resources(
            fresh_process=request.param, progress_timeout_s=5, stop_grace_s=1, memory_bytes=2**29
        ),
    )
    return Outcome(sweep.run(folder / "sweep", caviar.Ray(workers=3)), folder)


@pytest.mark.parametrize("name", [fault.__name__ for fault, *_ in LIMITED])
def test_who_does_not_keep_within_limits_is_ended(limited: Outcome, name: str) -> None:
    (number,) = (number for number, (fault, *_) in enumerate(LIMITED) if fault.__name__ == name)
    _, status, reason = LIMITED[number]
    row, neighbour = limited.trials.loc[2 * number], limited.trials.loc[2 * number + 1]
    assert (row.status, row.attempts, row.reason[: len(reason)]) == (status, 1, reason), row.reason
    assert "caviar: ended: " in limited.log(2 * number)
    assert (neighbour.status, neighbour["metrics.loss"], neighbour.attempts) == ("completed", 0.5, 1)
    assert limited.log(2 * number + 1) == "all is well\n"
    events = limited.result.events()
    (end,) = events[(events.kind == "trial_ended") & (events.trial == 2 * number)].data
    assert end["error"].startswith("Its main thread, most recent call first:\n")
    assert re.search(rf'File "{re.escape(__file__)}", line \d+ in {name}$', end["error"], re.MULTILINE)


def test_a_sweep_ends_in_time_although_its_function_ignores_that(tmp_path: Path) -> None:
    def goes_on(trial: caviar.Trial) -> None:
        while True:
            try:
                trial.report(loss=1.0)
            except BaseException:
                time.sleep(0.01)
            time.sleep(0.001)

    sweep = caviar.Sweep(
        goes_on,
        caviar.Space(lr=caviar.Float(0, 1)),
        metric="loss",
        trials=3,
        time_budget_s=0.5,
        resources=caviar.Resources(stop_grace_s=0.5),
    )
    trials = sweep.run(tmp_path / "sweep", caviar.Ray(workers=1)).trials()
    assert set(trials.status) <= {"stopped"}
    assert set(trials.reason) <= {"time_budget"}


@pytest.mark.parametrize("fresh_process", [False, True])
def test_memory_that_grows_from_trial_to_trial_has_the_process_replaced(
    tmp_path: Path, fresh_process: bool
) -> None:
    def leaks(trial: caviar.Trial) -> None:
        sys.modules[f"leaked by {trial.id}"] = b"x" * (48 * 2**20)  # type: ignore[assignment]
        trial.report(loss=float(os.getpid()))

    sweep = caviar.Sweep(
        leaks,
        caviar.Space(lr=caviar.Float(0, 1)),
        metric="loss",
        trials=12,
        resources=caviar.Resources(fresh_process=fresh_process, memory_growth_bytes=100 * 2**20),
    )
    result = sweep.run(tmp_path / "sweep", caviar.Ray(workers=1))
    trials, events = result.trials(), result.events()
    assert list(zip(trials.status, trials.attempts, strict=True)) == [("completed", 1)] * 12
    assert trials["metrics.loss"].nunique() == (12 if fresh_process else 3), "processes"
    replaced = events[events.kind == "process_replaced"].data
    assert len(replaced) >= (0 if fresh_process else 2)
    assert all(data["reason"].startswith("its memory between two trials grew from ") for data in replaced)
    assert not set(events.kind) & {"attempt_failed", "attempt_lost", "worker_lost"}


def test_an_observer_that_takes_its_time_delays_nothing_for_good(tmp_path: Path) -> None:
    blocked = threading.Event()
    seen: list[int] = []

    def observe(item: Any) -> None:
        if isinstance(item, TrialStarted) and item.trial == 3:
            blocked.wait(1.0)
        if isinstance(item, Reports):
            seen.append(len(item))

    def learns(trial: caviar.Trial) -> None:
        for step in trial.steps():
            trial.report(loss=1.0 / step)

    sweep = caviar.Sweep(
        learns,
        caviar.Space(lr=caviar.Float(0, 1)),
        metric="loss",
        trials=60,
        max_step=10,
        scheduler=caviar.Asha(grace_steps=2, reduction_factor=2),
    )
    result = sweep.run(tmp_path / "sweep", caviar.Ray(workers=2), on_event=observe)
    assert result.trials().status.isin(["completed", "stopped"]).all()
    assert sum(seen) == len(result.curves())

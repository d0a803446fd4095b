"""A supervisor and its real training process, without Ray."""

from __future__ import annotations

import ctypes
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import cloudpickle
import pytest

from caviar.execution import birth, memory
from caviar.execution import supervisor as supervisor_module
from caviar.execution.birth import TrainingProcess
from caviar.execution.contract import Job
from caviar.execution.process import ANSWER, LAUNCH, RECALL, SEND_S, STOP
from caviar.execution.resources import Resources
from caviar.execution.supervisor import Supervisor
from caviar.execution.training import Trial
from caviar.execution.wire import BACK, ENDED, REPLACED, REPORTS, RUNG, STARTED, Entry, columns, pack
from caviar.store.checkpoints import CheckpointFiles

DEADLINE_S = 30


class Driver:
    """The driver's side of one supervisor."""

    def __init__(self, supervisor: Supervisor) -> None:
        self.supervisor = supervisor
        self.number = 0
        self.received = 0
        self.rows: list[tuple[int, int, int, float]] = []
        self.entries: list[Entry] = []

    def exchange(self, *orders: tuple[Any, ...], acknowledge: bool = True, hold_s: float = 0.2) -> list[Entry]:
        self.number += 1
        fresh: list[Entry] = []
        acknowledged = self.received if acknowledge else 0
        for number, blocks, entries in self.supervisor.exchange(
            self.number,
            list(orders),
            received=self.received,
            acknowledged=acknowledged,
            interval_s=0.01,
            hold_s=hold_s,
        ):
            assert number == self.received + 1
            self.received = number
            for _, trial, attempt, seq, _, _, values in [*blocks, *map(pack, columns(entries))]:
                self.rows += zip(
                    trial.tolist(), attempt.tolist(), seq.tolist(), values[:, 0].tolist(), strict=True
                )
            fresh += [entry for entry in entries if entry[0] != REPORTS]
        self.entries += fresh
        return fresh

    def until(self, done: Callable[[], object]) -> None:
        deadline = time.monotonic() + DEADLINE_S
        while not done():
            assert time.monotonic() < deadline, self.entries
            self.exchange()

    def until_ended(self, count: int) -> list[Entry]:
        self.until(lambda: len(self.ended) >= count)
        return sorted(self.ended, key=lambda entry: entry[2])

    def of(self, kind: int) -> list[Entry]:
        return [entry for entry in self.entries if entry[0] == kind]

    @property
    def ended(self) -> list[Entry]:
        return self.of(ENDED)


def launches(*trials: int, attempt: int = 0, next_rung: int | None = None) -> tuple[Any, ...]:
    return (LAUNCH, [(trial, attempt, {"lr": 0.1}, trial, next_rung, None) for trial in trials])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path


@contextmanager
def supervised(folder: Path, train: Callable[[Trial], object], **changes: Any) -> Iterator[Driver]:
    resources = changes.pop("resources", Resources())
    clock = changes.pop("clock", time.monotonic)
    files = CheckpointFiles(str(folder))
    arguments: dict[str, Any] = {"setup": None, "max_step": 3, **changes}
    job = Job(
        name="test",
        train=train,
        metric="loss",
        minimize=True,
        stop_on_nan=True,
        checkpoint_every=None,
        resources=resources,
        files=files,
        trials=9,
        **arguments,
    )
    supervisor = Supervisor(cloudpickle.dumps(job), resources=resources, files=files, clock=clock)
    try:
        yield Driver(supervisor)
    finally:
        supervisor.close()


# --- training functions -------------------------------------------------------------------------------


def learns(trial: Trial) -> None:
    for step in trial.steps():
        trial.report(loss=1.0 / step)


def tells_its_process(trial: Trial) -> None:
    trial.report(loss=float(os.getpid()))


def tells_what_setup_made(trial: Trial) -> None:
    trial.report(loss=float(trial.shared))


def counts_setups() -> float:
    counts_setups.calls = getattr(counts_setups, "calls", 0) + 1  # type: ignore[attr-defined]
    return float(counts_setups.calls)  # type: ignore[attr-defined]


def reports_and_is_heard(trial: Trial, loss: float) -> None:
    """A report, and time enough for it to be sent."""
    trial.report(loss=loss)
    time.sleep(10 * SEND_S)


def dies_at_one(trial: Trial) -> None:
    reports_and_is_heard(trial, 1.0)
    if trial.id == 1:
        os._exit(7)


def segfaults_at_one(trial: Trial) -> None:
    reports_and_is_heard(trial, 1.0)
    if trial.id == 1:
        ctypes.string_at(0)


def waits(trial: Trial) -> None:
    trial.report(loss=1.0)
    while True:
        trial.report(loss=1.0)
        time.sleep(0.005)


def prints(trial: Trial) -> None:
    if trial.id == 1:
        trial.report(loss=1.0)
        return
    print("from python", trial.id)
    print("to stderr", trial.id, file=sys.stderr)
    os.write(1, b"from a library %d\n" % trial.id)
    subprocess.run([sys.executable, "-c", f"print('from a child {trial.id}')"], check=True)
    trial.log(f"from trial.log {trial.id}")
    sys.stdout.write("no newline")
    trial.report(loss=1.0)


def prints_much(trial: Trial) -> None:
    line = "x" * 99 + "\n"
    for _ in range(200):
        print(line * 1024, end="")
    trial.report(loss=1.0)


def leaves_a_child(trial: Trial) -> None:
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    reports_and_is_heard(trial, float(child.pid))
    os._exit(1)


def reports_much(trial: Trial) -> None:
    for _ in range(20_000):
        trial.report(loss=1.0)


def tells_its_threads(trial: Trial) -> None:
    trial.report(loss=float(os.environ["OMP_NUM_THREADS"]))


# --- tests ----------------------------------------------------------------------------------------------


def test_one_process_trains_many_trials_and_nothing_is_missing(folder: Path) -> None:
    with supervised(folder, tells_its_process, max_step=1) as driver:
        driver.exchange(launches(*range(50)))
        driver.until_ended(50)
        assert [entry[2] for entry in driver.of(STARTED)] == list(range(50))
        assert [row[0] for row in driver.rows] == list(range(50))
        assert len({row[3] for row in driver.rows}) == 1


def test_fresh_process_gives_every_trial_its_own(folder: Path) -> None:
    with supervised(folder, tells_its_process, max_step=1, resources=Resources(fresh_process=True)) as driver:
        driver.exchange(launches(*range(5)))
        ends = driver.until_ended(5)
        assert {entry[5] for entry in ends} == {"returned"}
        assert len({row[3] for row in driver.rows}) == 5


def test_setup_runs_once_a_process(folder: Path) -> None:
    with supervised(folder, tells_what_setup_made, setup=counts_setups) as driver:
        driver.exchange(launches(0, 1, 2))
        driver.until_ended(3)
        assert {row[3] for row in driver.rows} == {1.0}


@pytest.mark.parametrize(
    ("train", "cause"),
    [
        (dies_at_one, "its training process exited with status 7"),
        (segfaults_at_one, "its training process was killed by SIGSEGV"),
    ],
)
def test_a_process_that_dies_costs_the_running_trial_alone(folder: Path, train: Any, cause: str) -> None:
    with supervised(folder, train) as driver:
        driver.exchange(launches(0, 1, 2, 3))
        ends = driver.until_ended(4)
        assert [entry[5] for entry in ends] == ["returned", "failed", "returned", "returned"]
        assert ends[1][6] == cause
        assert ends[1][4] == 1, "its last step"
        assert sorted(row[0] for row in driver.rows) == [0, 1, 2, 3], "what was reported before is kept"
        assert len(driver.of(STARTED)) == 4


def test_what_a_dead_trial_left_running_ends_with_it(folder: Path) -> None:
    with supervised(folder, leaves_a_child) as driver:
        driver.exchange(launches(0))
        driver.until_ended(1)
        child = int(driver.rows[0][3])
        driver.until(lambda: not _alive(child))


def test_a_stop_reaches_a_running_trial_and_one_in_hand(folder: Path) -> None:
    with supervised(folder, waits, max_step=None) as driver:
        driver.exchange(launches(0, 1))
        driver.until(lambda: driver.of(STARTED))
        driver.exchange((STOP, 1, 0, "by hand"), (STOP, 0, 0, "by hand"))
        ends = driver.until_ended(2)
        assert [entry[5:7] for entry in ends] == [("stopped", "by hand")] * 2
        assert ends[1][4] == 0
        assert len(driver.of(STARTED)) == 1, "the one in hand was never begun"


def test_what_is_stopped_in_hand_has_ended_while_the_one_before_it_trains_on(folder: Path) -> None:
    with supervised(folder, waits, max_step=None) as driver:
        driver.exchange(launches(0, 1, 2))
        driver.until(lambda: driver.of(STARTED))
        driver.exchange((STOP, 1, 0, "by hand"))
        (end,) = driver.until_ended(1)
        assert end[2:7] == (1, 0, 0, "stopped", "by hand")
        driver.exchange((STOP, 0, 0, "by hand"))
        assert {entry[2] for entry in driver.until_ended(2)} == {0, 1}
        driver.until(lambda: len(driver.of(STARTED)) == 2)
        assert [entry[2] for entry in driver.of(STARTED)] == [0, 2]


def test_a_rung_is_urgent_and_waits_for_its_answer(folder: Path) -> None:
    with supervised(folder, learns) as driver:
        driver.exchange(launches(0, next_rung=2))
        driver.until(lambda: driver.of(RUNG))
        assert len(driver.rows) == 2, "its reports come with the question"
        driver.exchange(hold_s=0.05)
        assert not driver.ended
        driver.exchange((ANSWER, 0, 0, None, "asha: rung 2"))
        (end,) = driver.until_ended(1)
        assert end[5:7] == ("stopped", "asha: rung 2")
        assert len(driver.rows) == 2


def test_what_is_in_hand_can_be_called_back(folder: Path) -> None:
    with supervised(folder, waits, max_step=None) as driver:
        driver.exchange(launches(0, 1, 2, 3))
        driver.until(lambda: driver.of(STARTED))
        driver.exchange((RECALL, 2))
        driver.until(lambda: driver.of(BACK))
        assert [trial for entry in driver.of(BACK) for trial in entry[1]] == [3, 2]


def test_a_lost_reply_is_sent_again_and_its_orders_are_not_repeated(folder: Path) -> None:
    with supervised(folder, learns) as driver:
        number = driver.number = 1
        orders = [launches(0)]
        deadline = time.monotonic() + DEADLINE_S
        lost: list[Any] = []
        while not lost and time.monotonic() < deadline:
            lost = driver.supervisor.exchange(
                number, orders, received=0, acknowledged=0, interval_s=0.01, hold_s=0.1
            )
        assert lost
        again = driver.supervisor.exchange(number, orders, received=0, acknowledged=0, interval_s=0.01, hold_s=0.1)
        assert again[0][2] == lost[0][2]
        driver.until_ended(1)
        driver.exchange()
        assert len(driver.of(STARTED)) == 1
        assert [row[2] for row in driver.rows] == [0, 1, 2]


def test_what_a_trial_prints_goes_to_its_log(folder: Path) -> None:
    with supervised(folder, prints) as driver:
        driver.exchange(launches(0, 1, 2))
        driver.until_ended(3)
    logs = {path.name: path.read_text() for path in (folder / "logs").iterdir()}
    assert set(logs) == {"0.log", "2.log"}, "only where it printed"
    for trial in (0, 2):
        lines = logs[f"{trial}.log"].splitlines()
        assert set(lines) == {
            f"from python {trial}",
            f"to stderr {trial}",
            f"from a library {trial}",
            f"from a child {trial}",
            f"from trial.log {trial}",
            "no newline",
        }


def test_logs_are_bounded(folder: Path) -> None:
    with supervised(folder, prints_much) as driver:
        driver.exchange(launches(0))
        driver.until_ended(1)
    size_bytes = (folder / "logs" / "0.log").stat().st_size
    assert 10 * 2**20 <= size_bytes < 10 * 2**20 + 100
    assert b"is dropped" in (folder / "logs" / "0.log").read_bytes()[-100:]


def test_many_reports_of_one_trial_arrive_whole_and_in_order(folder: Path) -> None:
    with supervised(folder, reports_much, max_step=None) as driver:
        driver.exchange(launches(0))
        driver.until_ended(1)
        assert [row[2] for row in driver.rows] == list(range(20_000))


def test_libraries_use_as_many_threads_as_a_trial_has_cores(folder: Path) -> None:
    with supervised(folder, tells_its_threads, resources=Resources(cpus=3)) as driver:
        driver.exchange(launches(0))
        driver.until_ended(1)
        # the fork server lives as long as this test process: it has what the first supervisor set
        assert driver.rows[0][3] >= 1


def test_a_job_that_cannot_be_loaded_there_fails_its_trials_one_by_one(folder: Path) -> None:
    with supervised(folder, _Unloadable()) as driver:  # type: ignore[arg-type]
        driver.exchange(launches(0, 1))
        ends = driver.until_ended(2)
        assert {entry[5] for entry in ends} == {"failed"}
        assert {entry[6] for entry in ends} == {
            "its worker cannot load the training function: ImportError: no module here"
        }


class _Unloadable:
    def __call__(self, trial: Trial) -> None:
        raise AssertionError("never called")

    def __reduce__(self) -> tuple[Any, ...]:
        return _refuse, ()


def _refuse() -> None:
    raise ImportError("no module here")


def _alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


# --- found by reading, and kept -------------------------------------------------------------------


class _Tee:
    """What people put in the place of sys.stdout: it has write and flush, and nothing else."""

    def write(self, text: str) -> int:
        return len(text)

    def flush(self) -> None:
        pass


def replaces_stdout(trial: Trial) -> None:
    print(f"before {trial.id}")
    sys.stdout = _Tee()  # type: ignore[assignment]
    trial.report(loss=1.0)


def prints_from_c(trial: Trial) -> None:
    ctypes.CDLL(None).printf(b"from C %d\n", trial.id)
    trial.report(loss=1.0)


def learns_without_the_metric(trial: Trial) -> None:
    for _ in range(20):
        trial.report(accuracy=1.0)


def test_a_trial_that_replaces_stdout_costs_no_other_its_output(folder: Path) -> None:
    with supervised(folder, replaces_stdout) as driver:
        driver.exchange(launches(0, 1, 2))
        ends = driver.until_ended(3)
        assert {entry[5] for entry in ends} == {"returned"}
    logs = {path.name: path.read_text() for path in (folder / "logs").iterdir()}
    assert logs == {f"{trial}.log": f"before {trial}\n" for trial in range(3)}


def test_what_c_prints_is_kept(folder: Path) -> None:
    with supervised(folder, prints_from_c) as driver:
        driver.exchange(launches(0, 1))
        driver.until_ended(2)
    assert {path.name: path.read_text() for path in (folder / "logs").iterdir()} == {
        "0.log": "from C 0\n",
        "1.log": "from C 1\n",
    }


def test_logs_that_cannot_be_written_fail_no_trial(folder: Path) -> None:
    (folder / "logs").write_text("a file where the folder should be")
    with supervised(folder, prints) as driver:
        driver.exchange(launches(0, 1, 2))
        assert {entry[5] for entry in driver.until_ended(3)} == {"returned"}


def test_training_past_max_step_without_the_metric_is_no_success(folder: Path) -> None:
    with supervised(folder, learns_without_the_metric) as driver:
        driver.exchange(launches(0))
        (end,) = driver.until_ended(1)
        assert end[5:7] == ("failed", "no report of loss; it reported accuracy")


def test_a_supervisor_that_cannot_start_processes_says_so(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with supervised(folder, dies_at_one) as driver:
        monkeypatch.setattr(supervisor_module, "TrainingProcess", _cannot_start)
        driver.exchange(launches(1, 2))
        with pytest.raises(OSError, match="no more processes"):
            driver.until_ended(2)


def _cannot_start(*args: Any, **kwargs: Any) -> None:
    raise OSError("no more processes")


# --- time and memory ----------------------------------------------------------------------------------


class Clock:
    """A clock that stands, unless it is moved."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


SHORT = Resources(progress_timeout_s=2.0, stop_grace_s=2.0)
"""Limits of seconds make the supervisor look more often; how long they are, a clock decides."""


def hangs_at_one(trial: Trial) -> None:
    trial.report(loss=1.0)
    if trial.id == 1:
        waits_for_godot()
    trial.report(loss=0.5)


def waits_for_godot() -> None:
    threading.Event().wait()


def hangs_in_a_child_at_one(trial: Trial) -> None:
    trial.report(loss=1.0)
    if trial.id == 1:
        subprocess.run(["sleep", "600"], check=True)


def hangs_at_once(trial: Trial) -> None:
    waits_for_godot()


def setup_hangs() -> None:
    waits_for_godot()


def never_ends_at_one(trial: Trial) -> None:
    while True:
        try:
            trial.report(loss=float("nan") if trial.id == 1 and trial.step == 2 else 1.0)
            time.sleep(0.001)
        except BaseException:
            if trial.id != 1:
                raise
            time.sleep(0.001)


def takes_long_to_tidy_up(trial: Trial) -> None:
    try:
        for _ in trial.steps():
            trial.report(loss=1.0)
            time.sleep(0.001)
    finally:
        time.sleep(0.5)


def goes_on_past_max_step(trial: Trial) -> None:
    while True:
        with suppress(BaseException):
            trial.report(loss=1.0)


def leaves_abruptly_when_told(trial: Trial) -> None:
    try:
        while True:
            trial.report(loss=1.0)
            time.sleep(0.001)
    finally:
        time.sleep(10 * SEND_S)
        os._exit(9)


def uses_memory_at_one(trial: Trial) -> None:
    trial.report(loss=1.0)
    if trial.id == 1:
        held = bytearray(os.urandom(1)) * (500 * 2**20)
        reports_and_is_heard(trial, float(len(held)))
        waits_for_godot()


def has_a_child_that_uses_memory_at_one(trial: Trial) -> None:
    trial.report(loss=1.0)
    if trial.id == 1:
        subprocess.run([sys.executable, "-c", "x = b'x' * (500 * 2**20); input()"], check=True, stdin=os.pipe()[0])


def leaks(trial: Trial) -> None:
    LEAKED.append(b"%d" % trial.id * (64 * 2**20))
    trial.report(loss=float(os.getpid()))


LEAKED: list[bytes] = []


def read(path: Path) -> str:
    return path.read_text() if path.exists() else ""


@pytest.mark.parametrize("fresh_process", [False, True])
@pytest.mark.parametrize("train", [hangs_at_one, hangs_in_a_child_at_one])
def test_a_trial_without_progress_is_ended_and_says_where_it_hung(
    folder: Path, train: Any, fresh_process: bool
) -> None:
    clock = Clock()
    resources = replace(SHORT, fresh_process=fresh_process)
    with supervised(folder, train, resources=resources, clock=clock, max_step=None) as driver:
        driver.exchange(launches(0, 1, 2, 3))
        driver.until(lambda: any(row[0] == 1 for row in driver.rows))
        clock.now += 1.9
        driver.exchange(hold_s=0.6)
        assert len(driver.ended) == 1, "its time is not up"
        clock.now += 0.2
        ends = driver.until_ended(4)
    assert [entry[5] for entry in ends] == ["returned", "failed", "returned", "returned"]
    assert ends[1][4] == 1
    assert ends[1][6] == "no progress for 2 s (last at step 1)"
    stack = ends[1][7].splitlines()
    assert stack[0] == "Its main thread, most recent call first:"
    assert any(line.endswith(f"in {train.__name__}") and __file__ in line for line in stack), stack
    assert "caviar/execution" not in ends[1][7]
    assert read(folder / "logs" / "1.log") == "\n[caviar: ended: no progress for 2 s (last at step 1)]\n"


def test_setup_and_the_first_step_have_their_time_each(folder: Path) -> None:
    clock = Clock()

    def setup() -> None:
        while not (folder / "setup").exists():
            time.sleep(0.005)

    def train(trial: Trial) -> None:
        while not (folder / "train").exists():
            time.sleep(0.005)
        trial.report(loss=1.0)

    with supervised(folder, train, setup=setup, resources=SHORT, clock=clock) as driver:
        driver.exchange(launches(0))
        driver.until(lambda: driver.of(STARTED))
        clock.now += 1.5
        (folder / "setup").touch()
        driver.until(lambda: driver.supervisor._watchdog._heard_at == clock.now)
        clock.now += 1.5
        driver.exchange(hold_s=0.6)
        (folder / "train").touch()
        (end,) = driver.until_ended(1)
    assert end[5] == "returned"


def test_a_setup_that_hangs_is_ended(folder: Path) -> None:
    clock = Clock()
    with supervised(folder, learns, setup=setup_hangs, resources=SHORT, clock=clock) as driver:
        driver.exchange(launches(0))
        driver.until(lambda: driver.of(STARTED))
        clock.now += 3
        (end,) = driver.until_ended(1)
    assert end[5:7] == ("failed", "no progress for 2 s (before its first report)")
    assert "in setup_hangs" in end[7]


def test_waiting_for_the_scheduler_is_no_hang(folder: Path) -> None:
    clock = Clock()
    with supervised(folder, learns, resources=SHORT, clock=clock) as driver:
        driver.exchange(launches(0, next_rung=2))
        driver.until(lambda: driver.of(RUNG))
        clock.now += 100
        driver.exchange(hold_s=1.0)
        assert not driver.ended
        driver.exchange((ANSWER, 0, 0, None, None))
        (end,) = driver.until_ended(1)
    assert end[5] == "returned"


def test_a_process_that_does_not_begin_is_replaced_and_at_last_its_trial_charged(folder: Path) -> None:
    job = _HangsWhenLoaded()
    with supervised(folder, job, resources=Resources(progress_timeout_s=0.3)) as driver:  # type: ignore[arg-type]
        driver.exchange(launches(0))
        (end,) = driver.until_ended(1)
    assert end[5:7] == ("failed", "no progress for 0.3 s (before it began a trial)")


class _HangsWhenLoaded:
    def __call__(self, trial: Trial) -> None:
        raise AssertionError("never called")

    def __reduce__(self) -> tuple[Any, ...]:
        return waits_for_godot, ()


@pytest.mark.parametrize("fresh_process", [False, True])
def test_a_function_that_ignores_its_end_is_ended_and_the_decision_counts(
    folder: Path, fresh_process: bool
) -> None:
    clock = Clock()
    resources = replace(SHORT, fresh_process=fresh_process)
    with supervised(folder, never_ends_at_one, resources=resources, clock=clock, max_step=None) as driver:
        driver.exchange(launches(0, 1, 2))
        driver.until(lambda: driver.of(STARTED))
        driver.exchange((STOP, 0, 0, "by hand"))
        driver.until(lambda: len([row for row in driver.rows if row[0] == 1]) == 3)
        driver.exchange(hold_s=0.6)
        assert len(driver.ended) == 1, "it has some time to come to its end"
        clock.now += 2
        driver.until_ended(2)
        driver.until(lambda: len(driver.of(STARTED)) == 3)
        driver.exchange((STOP, 2, 0, "by hand"))
        ends = driver.until_ended(3)
    assert [entry[5:7] for entry in ends] == [
        ("stopped", "by hand"),
        ("stopped", "diverged"),
        ("stopped", "by hand"),
    ]
    assert (ends[1][4], ends[1][9], ends[1][10]) == (3, 1.0, 1), (
        "its last step, its best value, and the step of that"
    )
    assert "in never_ends_at_one" in ends[1][7]
    assert "still there 2 s after it was told to end: diverged" in read(folder / "logs" / "1.log")


def test_who_is_stopped_by_hand_and_ignores_it_is_ended_too(folder: Path) -> None:
    clock = Clock()
    with supervised(folder, never_ends_at_one, resources=SHORT, clock=clock, max_step=None) as driver:
        driver.exchange(launches(1))
        driver.until(lambda: driver.of(STARTED))
        driver.exchange((STOP, 1, 0, "time_budget"))
        deadline = time.monotonic() + DEADLINE_S
        while not driver.ended and time.monotonic() < deadline:
            clock.now += 0.5  # whenever it hears of it: not before its next step
            driver.exchange(hold_s=0.1)
        (end,) = driver.ended
    assert end[5] == "stopped"
    assert end[6] in {"time_budget", "diverged"}


def test_who_is_stopped_at_a_rung_and_ignores_it_is_ended_too(folder: Path) -> None:
    clock = Clock()
    with supervised(folder, goes_on_past_max_step, resources=SHORT, clock=clock, max_step=9) as driver:
        driver.exchange(launches(0, next_rung=2))
        driver.until(lambda: driver.of(RUNG))
        driver.exchange((ANSWER, 0, 0, None, "asha: rung 2"))
        driver.until(lambda: driver.supervisor._watchdog._told)
        clock.now += 2
        (end,) = driver.until_ended(1)
    assert end[4:7] == (2, "stopped", "asha: rung 2")
    assert "after it was told to end: asha: rung 2" in read(folder / "logs" / "0.log")


def test_who_needs_less_than_the_grace_comes_to_its_end(folder: Path) -> None:
    resources = Resources(stop_grace_s=DEADLINE_S)
    with supervised(folder, takes_long_to_tidy_up, resources=resources, max_step=None) as driver:
        driver.exchange(launches(0, 1))
        driver.until(lambda: driver.of(STARTED))
        driver.exchange((STOP, 0, 0, "by hand"), (STOP, 1, 0, "by hand"))
        ends = driver.until_ended(2)
    assert [entry[5:8] for entry in ends] == [("stopped", "by hand", None)] * 2
    assert read(folder / "logs" / "0.log") == ""


def test_a_function_that_goes_on_past_max_step_has_completed(folder: Path) -> None:
    clock = Clock()
    with supervised(folder, goes_on_past_max_step, resources=SHORT, clock=clock) as driver:
        driver.exchange(launches(0))
        driver.until(lambda: driver.supervisor._watchdog._told)
        clock.now += 3
        (end,) = driver.until_ended(1)
    assert end[4:7] == (3, "returned", None)
    assert "it had come to max_step" in read(folder / "logs" / "0.log")


def test_a_process_that_dies_after_the_decision_changes_nothing_about_it(folder: Path) -> None:
    with supervised(folder, leaves_abruptly_when_told, max_step=None) as driver:
        driver.exchange(launches(0))
        driver.until(lambda: driver.rows)
        driver.exchange((STOP, 0, 0, "by hand"))
        (end,) = driver.until_ended(1)
    assert end[5:8] == ("stopped", "by hand", "its training process exited with status 9")


def test_an_end_that_was_sent_wins_and_who_begins_after_it_is_not_charged(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The end of one and the beginning of the next are on their way when the process is ended for the first."""
    clock, gather, end = Clock(), Supervisor._gather, TrainingProcess.end_with_words

    def train(trial: Trial) -> None:
        trial.report(loss=1.0)
        if trial.id == 0:
            while not (folder / "go").exists():
                time.sleep(0.005)
        if trial.id == 1:
            (folder / "begun").touch()  # its start has been sent
            waits_for_godot()

    def take_no_end_before_the_verdict(supervisor: Supervisor, entries: list[Entry]) -> None:
        if any(entry[0] == ENDED for entry in entries):
            clock.now += 3
            wait_until(lambda: supervisor._verdict)
        gather(supervisor, entries)

    def end_as_the_next_begins(training: TrainingProcess) -> None:
        wait_until((folder / "begun").exists)
        end(training)

    monkeypatch.setattr(Supervisor, "_gather", take_no_end_before_the_verdict)
    monkeypatch.setattr(TrainingProcess, "end_with_words", end_as_the_next_begins)
    with supervised(folder, train, resources=SHORT, clock=clock) as driver:
        driver.exchange(launches(0, 1, 2))
        driver.until(lambda: driver.rows)
        monkeypatch.setattr(driver.supervisor._training.connection, "poll", lambda: False)
        (folder / "go").touch()
        ends = driver.until_ended(3)
    assert [entry[5] for entry in ends] == ["returned", "lost", "returned"]
    assert ends[1][6].startswith("ended with its training process, which had been ended before: no progress")


def wait_until(done: Callable[[], object]) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not done():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_a_call_that_returns_for_the_signal_is_not_gone_on_from(folder: Path) -> None:
    clock = Clock()

    def train(trial: Trial) -> None:
        trial.report(loss=1.0)
        if trial.id == 0:
            time.sleep(10 * SEND_S)
            ctypes.PyDLL(None).sleep(600)  # returns for any signal
        (folder / f"{trial.id} went on").touch()

    with supervised(folder, train, resources=SHORT, clock=clock) as driver:
        driver.exchange(launches(0))
        driver.until(lambda: driver.rows)
        clock.now += 3
        driver.exchange(launches(1))
        ends = driver.until_ended(2)
    assert [entry[5] for entry in ends] == ["failed", "returned"]
    assert ends[0][7].splitlines()[1].endswith("in train")
    assert not (folder / "0 went on").exists()


def test_a_process_that_cannot_say_where_it_is_ends_all_the_same(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def blocks_signals(trial: Trial) -> None:
        signal.pthread_sigmask(signal.SIG_BLOCK, range(1, signal.NSIG))
        os.kill(os.getpid(), signal.SIGSTOP)

    monkeypatch.setattr(birth, "STACK_S", 0.1)
    clock = Clock()
    with supervised(folder, blocks_signals, resources=SHORT, clock=clock) as driver:
        driver.exchange(launches(0))
        driver.until(lambda: driver.of(STARTED))
        clock.now += 3
        (end,) = driver.until_ended(1)
    reason = "no progress for 2 s (before its first report)"
    assert end[5:8] == ("failed", reason, reason)


@pytest.mark.parametrize("train", [uses_memory_at_one, has_a_child_that_uses_memory_at_one])
def test_a_process_that_uses_too_much_memory_is_ended(folder: Path, train: Any) -> None:
    resources = Resources(memory_bytes=400 * 2**20, progress_timeout_s=DEADLINE_S)
    with supervised(folder, train, resources=resources, max_step=None) as driver:
        driver.exchange(launches(0, 1, 2))
        ends = driver.until_ended(3)
    assert [entry[5] for entry in ends] == ["returned", "failed", "returned"]
    assert re.fullmatch(r"used [45]\d\d.* MiB, more than its memory_bytes of 400 MiB", ends[1][6]), ends[1][6]
    assert f"in {train.__name__}" in ends[1][7]


def test_memory_that_grows_from_trial_to_trial_replaces_the_process_and_charges_nobody(folder: Path) -> None:
    resources = Resources(memory_growth_bytes=100 * 2**20)
    with supervised(folder, leaks, resources=resources, max_step=None) as driver:
        driver.exchange(launches(*range(9)))
        ends = driver.until_ended(9)
        driver.exchange()
    assert {entry[5] for entry in ends} == {"returned"}
    assert [entry[2] for entry in driver.of(STARTED)] == list(range(9)), "each began once, in order"
    assert len({row[3] for row in driver.rows}) == 3, "two more trials than make the measure are too many"
    replaced = driver.of(REPLACED)
    assert 2 <= len(replaced) <= 3
    assert re.fullmatch(
        r"its memory between two trials grew from [\d.]+ MiB to [\d.]+ MiB, by more than 100 MiB", replaced[0][2]
    )


def test_replacing_is_no_failed_birth(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervisor_module, "BIRTHS_WITHOUT_A_TRIAL", 1)
    resources = Resources(memory_growth_bytes=100 * 2**20)
    with supervised(folder, leaks, resources=resources, max_step=None) as driver:
        driver.exchange(launches(*range(9)))
        assert {entry[5] for entry in driver.until_ended(9)} == {"returned"}


def test_what_the_kernel_had_to_end_says_so(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def is_killed(trial: Trial) -> None:
        reports_and_is_heard(trial, 1.0)
        os.kill(os.getpid(), signal.SIGKILL)

    monkeypatch.setattr(memory, "_kernel_kills", iter([1, 1, 2, 2, 2, 2]).__next__)
    with supervised(folder, is_killed) as driver:
        driver.supervisor._kernel = memory.KernelKills()
        driver.exchange(launches(0))
        (end,) = driver.until_ended(1)
    assert end[6].startswith("its training process was killed by SIGKILL (out of memory: the kernel ended")

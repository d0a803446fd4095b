"""The driver is killed, interrupted, or meets another one on its folder."""

from __future__ import annotations

import os
import secrets
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

import pytest

import caviar
from caviar.errors import FencedError, FolderError, LeaseError
from caviar.messages import TrialStarted
from caviar.store.layout import SweepFolder
from caviar.store.lease import wall_clock_us
from caviar.store.recorder import Recorder
from caviar.store.rows import EventRow

ROOT = Path(__file__).parents[2]
DEADLINE_S = 60
MARK = "CAVIAR_FAULTS_MARK"
"""An environment variable by which every process that a driver started can be found."""

DRIVER = """
import logging, os, subprocess, sys
import caviar

base, path = getattr(caviar, sys.argv[1]), sys.argv[2]

class Telling(base):
    '''Tells on its output how many reports have been acknowledged.'''

    def start(self, job, deliver):
        self.rows = [0]

        def count(arrivals):
            self.rows.append(self.rows[-1] + sum(map(len, arrivals.reports)))
            return deliver(arrivals)

        super().start(job, count)

    def acknowledge(self, delivery):
        super().acknowledge(delivery)
        os.write(1, b"%d\\n" % self.rows[delivery])

def train(trial):
    if base is caviar.Ray:
        subprocess.Popen(["sleep", "600"])
    for step in trial.steps():
        trial.report(loss=1.0 / step, accuracy=step)

space = caviar.Space(lr=caviar.Float(0, 1))
sweep = caviar.Sweep(train, space, metric="loss", trials=1_000_000, max_step=50)
sweep.run(path, Telling() if base is caviar.Inline else Telling(workers=2))
"""


class Driver:
    """A sweep without end in a process of its own, in a group of its own as a shell would have it."""

    def __init__(self, executor: str, path: Path) -> None:
        self.mark = secrets.token_hex(8)
        self.process = subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(DRIVER), executor, str(path)],
            cwd=ROOT,
            env={**os.environ, MARK: self.mark, "PYTHONWARNINGS": "ignore"},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        assert self.process.stdout is not None
        self.output: IO[str] = self.process.stdout
        self.acknowledged = 0

    def until(self, acknowledged: int) -> None:
        """Wait until so many reports have been acknowledged."""
        while self.acknowledged < acknowledged:
            line = self.output.readline()
            assert line, self.process.communicate()[1]
            self.acknowledged = int(line)

    def ended(self) -> str:
        """Wait for its end; returns its last words."""
        output, errors = self.process.communicate(timeout=DEADLINE_S)
        lines = [line for line in output.splitlines(keepends=True) if line.endswith("\n")]
        self.acknowledged = int(lines[-1]) if lines else self.acknowledged
        return errors

    def left(self) -> dict[int, str]:
        """What it started and is still there, itself among them, by pid; but for Ray's agents, which train nothing
        and may take a minute to notice that their raylet is gone."""
        found = {}
        for path in Path("/proc").glob("[0-9]*"):
            try:
                marked = self.mark in (path / "environ").read_text(errors="replace")
                if marked and (path / "stat").read_text().rpartition(")")[2].split()[0] not in "ZX":
                    command = (path / "cmdline").read_text().replace("\0", " ")[:80]
                    if "Agent" not in command:
                        found[int(path.name)] = command
            except OSError:
                continue
        return found

    def until_nobody_is_left(self) -> None:
        deadline = time.monotonic() + DEADLINE_S
        while left := self.left():
            assert time.monotonic() < deadline, left
            time.sleep(0.1)


@pytest.fixture
def drive(tmp_path: Path) -> Any:
    drivers: list[Driver] = []

    def begin(executor: str) -> Driver:
        drivers.append(Driver(executor, tmp_path / "sweep"))
        return drivers[-1]

    yield begin
    for driver in drivers:
        for pid in driver.left():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        driver.process.communicate()


EXECUTORS = ["Inline", pytest.param("Ray", marks=pytest.mark.ray)]


@pytest.mark.parametrize("executor", EXECUTORS)
def test_killed_it_loses_nothing_that_was_acknowledged_and_leaves_no_process(
    tmp_path: Path, drive: Callable[[str], Driver], executor: str
) -> None:
    driver = drive(executor)
    driver.until(5000)
    running = caviar.load(tmp_path / "sweep")
    assert running.status == "running"
    assert len(running.curves()) >= 5000
    assert len(driver.left()) >= (1 if executor == "Inline" else 6)
    driver.process.kill()
    driver.ended()
    result = caviar.load(tmp_path / "sweep")
    assert result.status == "interrupted"
    curves = result.curves()
    assert len(curves) >= driver.acknowledged >= 5000
    assert (curves.loss * curves.step).round(9).eq(1).all()
    assert curves.groupby("trial").step.apply(lambda steps: list(steps) == list(range(1, len(steps) + 1))).all()
    driver.until_nobody_is_left()


@pytest.mark.parametrize("executor", EXECUTORS)
def test_interrupted_at_the_terminal_it_rolls_everything_and_leaves_no_process(
    tmp_path: Path, drive: Callable[[str], Driver], executor: str
) -> None:
    driver = drive(executor)
    driver.until(2000)
    os.killpg(driver.process.pid, signal.SIGINT)  # a terminal's Ctrl-C reaches all processes of the group
    assert driver.ended().rstrip().endswith("KeyboardInterrupt")
    result = caviar.load(tmp_path / "sweep")
    assert result.status == "interrupted"
    assert result.events().iloc[-1].data == {"reason": "interrupted"}
    assert len(result.curves()) >= driver.acknowledged >= 2000
    hot = [path.name for path in (tmp_path / "sweep" / "_hot").iterdir()]
    assert hot == ["000000000000.arrow"]
    driver.until_nobody_is_left()


# --- two drivers --------------------------------------------------------------------------------------


def learns(trial: caviar.Trial) -> None:
    for step in trial.steps():
        trial.report(loss=1.0 / step)


def at_trial_3(act: Callable[[], None]) -> Callable[[Any], None]:
    def observe(item: Any) -> None:
        if isinstance(item, TrialStarted) and item.trial == 3:
            act()

    return observe


def sweep(**changes: Any) -> caviar.Sweep:
    arguments: dict[str, Any] = {"metric": "loss", "trials": 200, "max_step": 20, **changes}
    return caviar.Sweep(learns, caviar.Space(lr=caviar.Float(0, 1)), **arguments)


def test_a_second_driver_is_refused_and_the_first_does_not_notice(tmp_path: Path) -> None:
    path = tmp_path / "sweep"
    refusals: list[str] = []

    def second() -> None:
        with pytest.raises(FolderError) as caught:
            sweep().run(path, caviar.Inline())
        refusals.append(str(caught.value))
        with pytest.raises(LeaseError) as held:
            Recorder.open(SweepFolder(path), now_us=wall_clock_us)
        refusals.append(str(held.value))

    result = sweep(trials=10).run(path, caviar.Inline(), on_event=at_trial_3(second))
    assert refusals[0].startswith(f"{path}: already holds a sweep")
    assert refusals[1].startswith(f"{path}: is being driven by process {os.getpid()} on ")
    assert all("\n" not in refusal for refusal in refusals)
    assert len(result.curves()) == 200


@pytest.mark.parametrize(
    "executor",
    [
        pytest.param(lambda: caviar.Inline(), id="inline"),
        pytest.param(lambda: caviar.Ray(workers=2), id="ray", marks=pytest.mark.ray),
    ],
)
def test_a_driver_that_was_taken_over_ends_and_writes_nothing_more(
    tmp_path: Path, request: pytest.FixtureRequest, executor: Callable[[], Any]
) -> None:
    if request.node.get_closest_marker("ray"):
        request.getfixturevalue("ray_cluster")
    path = tmp_path / "sweep"
    successors: list[Recorder] = []

    def take_over() -> None:
        successors.append(Recorder.open(SweepFolder(path), now_us=wall_clock_us, take_over=True))

    with pytest.raises(FencedError, match="another driver took it over") as caught:
        sweep(trials=100_000).run(path, executor(), on_event=at_trial_3(take_over))
    assert "\n" not in str(caught.value)
    (successor,) = successors
    before = caviar.load(path)
    assert before.status == "running", "the lease is the successor's"
    assert "driver_stopped" not in set(before.events().kind)
    number = successor.commits
    successor.commit([], [EventRow(wall_clock_us(), "driver_started", None, None, None, "{}")])
    assert successor.commits == number + 1, "its number was free"
    successor.close(final=False)
    after = caviar.load(path)
    assert len(after.events()) == len(before.events()) + 1
    assert after.curves().equals(before.curves())

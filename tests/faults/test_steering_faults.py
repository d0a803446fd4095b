"""A run that is steered while its driver is killed, and while nothing happens."""

from __future__ import annotations

import functools
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import caviar
from caviar.panda.asking import ask
from caviar.store import inbox

DEADLINE_S = 100
COMMANDS = 1000

DRIVER = """
import sys, time
import caviar

def train(trial):
    for step in trial.steps():
        time.sleep(0.0005)
        trial.report(loss=1.0 / step, lr=trial.params["lr"])
        if trial.checkpoint_due:
            with trial.checkpoint() as folder:
                (folder / "step").write_text(str(step))

space = caviar.Space(lr=caviar.Float(0.0, 1.0))
sweep = caviar.Sweep(train, space, metric="loss", trials=1, checkpoint_every=50)
sweep.panda(sys.argv[1], caviar.Inline(), params={"lr": 1.0}, resume=True, background=False)
"""


@pytest.fixture
def drive(tmp_path: Path) -> Iterator[Callable[[], subprocess.Popen[bytes]]]:
    """Start a driver of the run in ``tmp_path / "live"``, new or gone on with."""
    drivers: list[subprocess.Popen[bytes]] = []
    path = tmp_path / "live"

    def begin() -> subprocess.Popen[bytes]:
        errors = (tmp_path / f"errors-{len(drivers)}").open("wb")
        begun = len(started(path))
        with errors:
            drivers.append(subprocess.Popen([sys.executable, "-c", DRIVER, str(path)], stderr=errors))
        until(lambda: len(started(path)) > begun, drivers[-1])
        return drivers[-1]

    yield begin
    for driver in drivers:
        if driver.poll() is None:
            driver.kill()
        driver.wait(DEADLINE_S)


def started(path: Path) -> list[dict[str, Any]]:
    return events(path, "trial_started") if (path / "sweep.json").exists() else []


def events(path: Path, *kinds: str) -> list[dict[str, Any]]:
    frame = caviar.load(path).events()
    frame = frame[frame.kind.isin(kinds)]
    return [{"step": row.step, **row.data} for row in frame.itertuples()]


def until(condition: Callable[[], Any], driver: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        assert driver.poll() is None, "the driver has ended"
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_thousand_adjustments_and_drivers_killed_among_them(
    tmp_path: Path, drive: Callable[[], subprocess.Popen[bytes]]
) -> None:
    path = tmp_path / "live"
    driver = drive()
    ids: list[str] = []

    def answered(count: int) -> bool:
        return len(events(path, "command_answered")) >= count

    for kill_after in (200, 600):
        while len(ids) < kill_after + 100:  # so some have not been taken when it dies
            ids.append(inbox.post(path, "set", args={"changes": {"lr": 1 - len(ids) / COMMANDS}}))
        until(functools.partial(answered, kill_after), driver)
        driver.kill()
        driver.wait(DEADLINE_S)
        driver = drive()
    while len(ids) < COMMANDS:
        ids.append(inbox.post(path, "set", args={"changes": {"lr": 1 - len(ids) / COMMANDS}}))
    until(functools.partial(answered, COMMANDS), driver)
    assert caviar.attach(path).params["lr"] == 1 - (COMMANDS - 1) / COMMANDS
    ask(path, "stop", trial=0)
    assert driver.wait(DEADLINE_S) == 0

    answers = {one["id"]: one for one in events(path, "command_answered")}
    assert set(ids) <= set(answers)
    assert all(answers[one]["applied"] for one in ids), [answers[one]["text"] for one in ids][:3]
    adjusted = events(path, "adjusted")
    assert [one["command"] for one in adjusted] == ids, "each once, in order"
    assert [answers[one["command"]]["text"].split(":")[0] for one in adjusted] == [
        f"applied at step {one['step']}" for one in adjusted
    ]
    assert not list((path / "inbox").iterdir())
    curve = caviar.load(path).curves()
    assert list(curve.step) == list(range(1, len(curve) + 1))
    assert (curve.lr.diff().dropna() <= 0).all(), "as each was lower than the one before"


def test_a_pause_costs_no_processor(tmp_path: Path, drive: Callable[[], subprocess.Popen[bytes]]) -> None:
    path = tmp_path / "live"
    driver = drive()
    ask(path, "pause", trial=0)
    at = caviar.attach(path).step
    before_s, begun = cpu_s(driver.pid), time.monotonic()
    until(lambda: time.monotonic() - begun > 2, driver)
    spent_s, passed_s = cpu_s(driver.pid) - before_s, time.monotonic() - begun
    assert spent_s < 0.25 * passed_s, "a training function takes all of it"
    run = caviar.attach(path)
    assert (run.status, run.step) == ("paused", at)
    ask(path, "unpause", trial=0)
    ask(path, "stop", trial=0)
    assert driver.wait(DEADLINE_S) == 0
    steps = caviar.load(path).curves(attempts="all").step
    assert list(steps) == list(range(1, len(steps) + 1))


def cpu_s(pid: int) -> float:
    """The processor time that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def test_paused_it_is_paused_when_its_driver_was_killed(
    tmp_path: Path, drive: Callable[[], subprocess.Popen[bytes]]
) -> None:
    path = tmp_path / "live"
    driver = drive()
    ask(path, "pause", trial=0)
    at = caviar.attach(path).step
    driver.kill()
    driver.wait(DEADLINE_S)
    assert caviar.load(path).status == "interrupted"
    driver = drive()
    until(lambda: len(events(path, "paused")) == 2, driver)
    run = caviar.attach(path)
    assert (run.status, run.step) == ("paused", at), "the checkpoint before the pause is of that step"
    ask(path, "unpause", trial=0)
    driver.send_signal(signal.SIGINT)
    assert driver.wait(DEADLINE_S) != 0
    assert caviar.load(path).status == "interrupted"


@pytest.mark.parametrize(
    ("command", "args", "says"),
    [
        ("set", {"changes": {"lr": 7}}, "lr=7 lies outside its bounds"),
        ("set", {"changes": {"lr": "much"}}, "lr='much': needs a finite number"),
        ("set", {"changes": {"lrr": 0.1}}, "lrr is unknown"),
        ("set", {"changes": {"lr": None}}, "lr"),
        ("set", {"changes": {"lr": [0.1]}}, "lr"),
        ("set", {"changes": {}}, "nothing to set"),
        ("set", {"changes": "lr"}, "changes"),
        ("set", {"change": {"lr": 0.1}}, "'change' is unknown"),
        ("set", {"changes": {"lr": 0.1}, "force": "yes"}, "force"),
        ("rollback", {}, "to_step"),
        ("rollback", {"to_step": -1}, "to_step"),
        ("rollback", {"to_step": 1.5}, "to_step"),
        ("unpause", {}, "is not paused"),
        ("melt", {}, "unknown command 'melt'"),
    ],
)
def test_what_makes_no_sense_is_refused_in_one_line_and_the_run_is_unharmed(
    running: tuple[Path, subprocess.Popen[bytes]], command: str, args: dict[str, Any], says: str
) -> None:
    path, driver = running
    command_id = f"{time.time_ns() // 1000:016d}-{os.urandom(4).hex()}"
    content = {"id": command_id, "command": command, "trial": None, "args": args}
    (path / ".tmp" / command_id).write_text(json.dumps(content))
    (path / ".tmp" / command_id).rename(path / "inbox" / f"{command_id}.json")

    def answer() -> list[dict[str, Any]]:
        return [one for one in events(path, "command_answered") if one["id"] == command_id]

    until(answer, driver)
    [answered] = answer()
    assert not answered["applied"]
    assert says in answered["text"]
    assert "\n" not in answered["text"]
    assert caviar.attach(path).params == {"lr": 1.0}


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, subprocess.Popen[bytes]]]:
    path = tmp_path_factory.mktemp("steered") / "live"
    driver = subprocess.Popen([sys.executable, "-c", DRIVER, str(path)])
    until(lambda: started(path), driver)
    yield path, driver
    ask(path, "stop", trial=0)
    assert driver.wait(DEADLINE_S) == 0


def test_a_foreign_file_in_the_inbox_is_set_aside(running: tuple[Path, subprocess.Popen[bytes]]) -> None:
    path, driver = running
    (path / "inbox" / "shopping.json").write_text('{"milk": 2}')
    until(lambda: (path / "inbox" / "shopping.json.bad").exists(), driver)
    assert caviar.attach(path).status == "running"

"""The time budget of a sweep whose drivers are killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from click.testing import CliRunner

import caviar
from caviar.cli import main

DEADLINE_S = 60.0
BUDGET_S = 2.0

DRIVER = f"""
import sys, time
import caviar

def train(trial):
    for _ in trial.steps():
        time.sleep(0.01)
        trial.report(loss=1.0)

sweep = caviar.Sweep(
    train, caviar.Space(x=caviar.Float(0, 1)), metric="loss", trials=10_000, max_step=10, time_budget_s={BUDGET_S},
    resources=caviar.Resources(price_per_hour=3600.0),
)
sweep.run(sys.argv[1], caviar.Inline(), resume=True)
"""


def driver(file: Path, folder: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, file, folder], env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    )


def elapsed_s(folder: Path) -> float:
    try:
        return caviar.load(folder).elapsed_s()
    except caviar.CaviarError:  # it is not there yet
        return 0.0


def killed_after(seconds: float, file: Path, folder: Path) -> float:
    """Drive until the sweep was at work for so long, and kill the driver; returns for how long it was."""
    process, deadline = driver(file, folder), time.monotonic() + DEADLINE_S
    while elapsed_s(folder) < seconds:
        assert time.monotonic() < deadline
        assert process.poll() is None
        time.sleep(0.1)
    process.send_signal(signal.SIGKILL)
    process.wait(DEADLINE_S)
    return elapsed_s(folder)


def status(folder: Path) -> str:
    result = CliRunner().invoke(main, ["status", str(folder)])
    assert result.exit_code == 0, result.output
    return result.stdout


@pytest.mark.slow
def test_it_adds_up_over_two_drivers_that_were_killed(tmp_path: Path) -> None:
    file, folder = tmp_path / "driver.py", tmp_path / "sweep"
    file.write_text(DRIVER)
    first_s = killed_after(0.4, file, folder)
    left = BUDGET_S - first_s
    assert f"time budget: {left:.1f} s of 2.0 s left" in status(folder)
    second_s = killed_after(first_s + 0.4, file, folder)
    assert driver(file, folder).wait(DEADLINE_S) == 0

    result = caviar.load(folder)
    assert result.ended == "time_budget"
    events = result.events()
    drivers = events[events["kind"] == "driver_started"]
    driven_s = [data.get("driven_s") for data in drivers["data"]]
    assert driven_s == [None, pytest.approx(first_s, abs=0.05), pytest.approx(second_s, abs=0.05)]
    stopped = events[events["kind"] == "stop_ordered"].iloc[0]
    last_s = (stopped["time"] - drivers.iloc[2]["time"]).total_seconds()
    assert driven_s[2] + last_s >= BUDGET_S, "no sooner"
    assert result.elapsed_s() >= BUDGET_S
    assert "; time budget: nothing of 2.0 s left" in status(folder)
    # one trial at a time, and the breaks between drivers cost nothing
    assert 0 < result.cost().spent <= result.elapsed_s() + 0.1

"""Two drivers and one sweep folder, in processes of their own: never do both go on."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import caviar
from caviar.store.layout import SweepFolder
from caviar.store.lease import Lease

ROOT = Path(__file__).parents[2]
DEADLINE_S = 60
ROUNDS = 4
REFUSALS = (
    "already holds a sweep",
    "another process is making a sweep of it",
    "another process has just made a sweep of it",
    "is not empty",
    "is being driven by process",
    "another driver took it over",
)
"""What the other one is told, by how far the first one is."""

RIVAL = """
import os, signal, sys, time
from pathlib import Path
import caviar
from caviar.errors import CaviarError
from caviar.messages import TrialStarted

def train(trial):
    deadline = time.monotonic() + 50
    step = 0
    while step < 10 or not Path(os.environ["RELEASE"]).exists():
        assert time.monotonic() < deadline, "nobody was refused"
        step += 1
        trial.report(loss=1.0 / step)
        time.sleep(0.001)

def interrupt(item):
    if isinstance(item, TrialStarted) and item.trial == 2:
        signal.raise_signal(signal.SIGINT)

sweep = caviar.Sweep(train, caviar.Space(lr=caviar.Float(0, 1)), metric="loss", trials=4)

def main():
    for line in sys.stdin:
        how, name = line.split()
        release = Path(f"{name}-release")
        os.environ["RELEASE"] = str(release)
        try:
            if how == "prepare":
                os.environ["RELEASE"] = os.devnull
                sweep.run(name, caviar.Inline(), on_event=interrupt)
            sweep.run(name, caviar.Inline(), resume=how == "resume")
        except KeyboardInterrupt:
            print("interrupted", flush=True)
        except CaviarError as error:
            release.touch()
            print(f"refused {error}", flush=True)
        else:
            print("won", flush=True)

if __name__ == "__main__":
    main()
"""


class Rival:
    """A process that drives sweeps, each at a word."""

    def __init__(self, script: Path) -> None:
        self.process = subprocess.Popen(
            [sys.executable, str(script)],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def begin(self, how: str, path: Path) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(f"{how} {path}\n")
        self.process.stdin.flush()

    def outcome(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().rstrip("\n")


@pytest.fixture
def rivals(tmp_path: Path) -> Iterator[list[Rival]]:
    script = tmp_path / "rival.py"
    script.write_text(textwrap.dedent(RIVAL))
    both = [Rival(script), Rival(script)]
    for number, rival in enumerate(both):  # everything is loaded before it matters who is faster
        rival.begin("prepare", tmp_path / f"{number}")
        assert rival.outcome() == "interrupted"
    yield both
    for rival in both:
        rival.process.kill()
        rival.process.communicate()


def the_winner_goes_on(rivals: list[Rival], how: str, path: Path) -> str:
    """Both begin at once; returns the line of the one that is refused."""
    for rival in rivals:
        rival.begin(how, path)
    outcomes = sorted(rival.outcome() for rival in rivals)
    assert outcomes[1] == "won", outcomes
    refused, _, line = outcomes[0].partition(" ")
    assert refused == "refused"
    result = caviar.load(path)
    assert result.status == "finished"
    assert result.counts() == {"completed": 4}
    assert not (path / "lease.json").exists()
    curves = result.curves(attempts="all")
    assert not curves.duplicated(["trial", "attempt", "step"]).any()
    return line


def test_of_two_drivers_that_begin_one_new_folder_at_once_one_wins(tmp_path: Path, rivals: list[Rival]) -> None:
    for number in range(ROUNDS):
        path = tmp_path / f"new-{number}"
        line = the_winner_goes_on(rivals, "run", path)
        assert line.startswith(f"{path}: ")
        assert any(words in line for words in REFUSALS), line


def test_of_two_drivers_that_resume_at_once_one_wins(tmp_path: Path, rivals: list[Rival]) -> None:
    for number in range(ROUNDS):
        path = tmp_path / f"interrupted-{number}"
        rivals[0].begin("prepare", path)
        assert rivals[0].outcome() == "interrupted"
        line = the_winner_goes_on(rivals, "resume", path)
        assert line.startswith(f"{path}: ")
        assert any(words in line for words in REFUSALS[-2:]), line


# --- a driver that is suspended -----------------------------------------------------------------------------

EXPERIMENT = """
import os, time
from pathlib import Path
import caviar

def train(trial):
    for step in trial.steps():
        trial.report(loss=trial.params["lr"] / step)
        while trial.id == 3 and step == 5 and not Path(os.environ["RELEASE"]).exists():
            Path(os.environ["RELEASE"] + "-awaited").touch()
            time.sleep(0.01)

sweep = caviar.Sweep(train, caviar.Space(lr=caviar.Float(0, 1)), metric="loss", trials=8, max_step=10)
"""


def wait_for(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.02)


def snapshot(path: Path) -> dict[str, bytes]:
    return {str(file.relative_to(path)): file.read_bytes() for file in path.rglob("*") if file.is_file()}


def test_a_suspended_driver_that_wakes_after_another_took_over_ends_in_one_line(tmp_path: Path) -> None:
    file, path, release = tmp_path / "experiment.py", tmp_path / "sweep", tmp_path / "release"
    file.write_text(textwrap.dedent(EXPERIMENT))
    command = [sys.executable, "-m", "caviar"]
    setting = {"cwd": ROOT, "env": {**os.environ, "RELEASE": str(release)}, "text": True}
    run = [*command, "run", str(file), "--out", str(path), "--executor", "inline", "--json"]
    driver = subprocess.Popen(run, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, **setting)
    try:
        wait_for((tmp_path / "release-awaited").exists, "trial 3 did not begin")
        driver.send_signal(signal.SIGSTOP)
        release.touch()
        resume = [*command, "resume", str(path), "--executor", "inline"]
        refused = subprocess.run(resume, capture_output=True, check=False, timeout=DEADLINE_S, **setting)
        assert refused.returncode == 2, refused.stderr
        assert f"is being driven by process {driver.pid}" in refused.stderr
        taken = subprocess.run(
            [*resume, "--take-over"], capture_output=True, check=False, timeout=DEADLINE_S, **setting
        )
        assert taken.returncode == 0, taken.stderr
        before = snapshot(path)
        driver.send_signal(signal.SIGCONT)
        _, errors = driver.communicate(timeout=DEADLINE_S)
    finally:
        driver.kill()
        driver.wait()
    assert driver.returncode == 2
    (line,) = errors.splitlines()
    assert line == f"caviar: error: {path}: another driver took it over; this one has stopped writing"
    assert snapshot(path) == before, "it wrote something"
    result = caviar.load(path)
    assert result.status == "finished"
    assert result.counts() == {"completed": 8}
    assert Lease.read(SweepFolder(path)) is None

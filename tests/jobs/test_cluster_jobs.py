"""Jobs, and ``--address``, on a real Ray cluster whose dashboard asks for a token."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
import signal
import struct
import subprocess
import sys
import termios
import textwrap
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

import caviar
from caviar.cli import main
from caviar.errors import CaviarError
from caviar.jobs.client import COMMAND, FOLDER, KIND, NAME, ORDERLY_END, SWEEP, VERSION, Jobs
from tests.cluster.nodes import DEADLINE_S, Nodes, until

pytestmark = [pytest.mark.ray, pytest.mark.timeout(300)]

Caviar = Callable[..., Result]


@pytest.fixture(scope="module")
def cluster() -> Iterator[Nodes]:
    nodes = Nodes(cpus=2, token=True)
    yield nodes
    nodes.end()


@pytest.fixture
def jobs(cluster: Nodes, monkeypatch: pytest.MonkeyPatch) -> Jobs:
    """The cluster's jobs, for this process, which Ray has not told of any token."""
    for name in ("RAY_ADDRESS", "RAY_API_SERVER_ADDRESS", "RAY_AUTH_MODE", "RAY_AUTH_TOKEN_PATH"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("ray.dashboard.modules.dashboard_sdk.get_auth_headers_if_auth_enabled", lambda given: {})
    assert cluster.token is not None
    monkeypatch.setenv("RAY_AUTH_TOKEN", cluster.token)
    return Jobs(cluster.dashboard)


@pytest.fixture
def run(jobs: Jobs) -> Caviar:
    """The command line, in this process."""

    def run(*args: object) -> Result:
        return CliRunner().invoke(main, [*map(str, args), "--address", jobs.address])

    return run


@pytest.fixture(scope="module")
def sweep(cluster: Nodes, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file that defines a sweep of one long trial, and where its job puts it."""
    folder = tmp_path_factory.mktemp("jobs")
    (folder / "long.py").write_text(
        textwrap.dedent(
            """
            import time
            import caviar

            def train(trial):
                for step in trial.steps():
                    time.sleep(0.05)
                    trial.report(loss=trial.params["lr"] / step)

            sweep = caviar.Sweep(train, caviar.Space(lr=caviar.Float(0.1, 1.0)), metric="loss", trials=1)
            """
        )
    )
    return folder / "sweep"


@pytest.fixture
def job(cluster: Nodes, jobs: Jobs, sweep: Path) -> str:
    """The job of a sweep that is running; the same for all tests, until one ends it."""
    if sweep.exists() and caviar.load(sweep).status == "running":
        return next(job.id for job in jobs.list() if job.folder == str(sweep) and job.kind == SWEEP)
    submitted = jobs.submit(
        f"python -m caviar run {sweep.parent / 'long.py'} --out {sweep} --workers 1",
        runtime_env={"env_vars": {**ORDERLY_END}},
        metadata={
            KIND: SWEEP,
            FOLDER: str(sweep),
            NAME: "long",
            VERSION: caviar.__version__,
            COMMAND: f"caviar submit long.py --out {sweep}",
        },
    )
    until(lambda: _reports(sweep), what=lambda: jobs.log(submitted))
    return submitted


def _reports(sweep: Path) -> int:
    try:
        return len(caviar.load(sweep).curves())
    except CaviarError:
        return 0


def test_a_sweep_is_seen_and_steered_from_afar(run: Caviar, job: str, sweep: Path) -> None:
    told = run("status", sweep)
    assert (told.exit_code, told.stderr) == (0, "")
    assert told.stdout.startswith(f"{sweep}: running, 0 of 1 trials ended\n")
    told = run("set", job, "lr=0.5", "-m", "from afar")
    assert (told.exit_code, told.stderr) == (0, "")
    assert told.stdout.startswith("applied at step ")
    events = caviar.load(sweep).events()
    [adjusted] = events[events["kind"] == "adjusted"]["data"]
    assert (adjusted["new"], adjusted["note"]) == ({"lr": 0.5}, "from afar")


def test_who_has_no_token_is_told_so(run: Caviar, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("RAY_AUTH_TOKEN", "another")
    told = run("jobs")
    assert (told.exit_code, told.stderr.count("\n")) == (1, 1)
    assert "does not take the token" in told.stderr
    monkeypatch.setenv("RAY_AUTH_TOKEN", "")
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(tmp_path / "none"))
    told = run("jobs")
    assert (told.exit_code, told.stderr.count("\n")) == (1, 1)
    assert "it asks for a token" in told.stderr


class Terminal:
    """A process whose terminal has so many columns and lines, and what it has written there."""

    def __init__(self, *words: str, environment: dict[str, str], columns: int, lines: int) -> None:
        self.text = ""
        near, far = os.openpty()
        fcntl.ioctl(far, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
        environment = {name: value for name, value in environment.items() if name not in ("COLUMNS", "LINES")}
        self.process = subprocess.Popen(
            words, env={**environment, "TERM": "xterm"}, stdin=far, stdout=far, stderr=far, start_new_session=True
        )
        os.close(far)
        self._near = near
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        with contextlib.suppress(OSError):  # the other end is closed
            while data := os.read(self._near, 1 << 16):
                self.text += data.decode(errors="replace")

    def end(self) -> int:
        status = self.process.wait(DEADLINE_S)
        self._thread.join()
        os.close(self._near)
        return status


def test_a_live_view_from_afar(cluster: Nodes, jobs: Jobs, job: str, sweep: Path) -> None:
    """Ctrl-C ends the view and what draws it, and nothing else."""
    before = {each.id for each in jobs.list()}
    words = [sys.executable, "-m", "caviar", "watch", job, "--address", cluster.dashboard]
    terminal = Terminal(*words, environment=cluster.environment, columns=70, lines=20)
    # drawn again and again: the number of reports goes up
    until(lambda: len(set(re.findall(r"([\d,]+) reports ", terminal.text))) > 2, what=lambda: terminal.text)
    terminal.process.send_signal(signal.SIGINT)
    assert terminal.end() == 130, terminal.text
    assert "0/1 trials" in terminal.text
    assert "Traceback" not in terminal.text
    [query] = [each for each in jobs.list() if each.id not in before]
    until(lambda: jobs.info(query.id).status == "stopped", what="the query goes on")
    assert jobs.info(job).status == "running"
    assert caviar.load(sweep).status == "running"


def test_a_job_that_is_cancelled_leaves_a_sweep_to_go_on_with(
    run: Caviar, jobs: Jobs, job: str, sweep: Path
) -> None:
    [listed] = [json.loads(line) for line in run("jobs", "--json").stdout.splitlines()]
    assert (listed["id"], listed["status"], listed["folder"]) == (job, "running", str(sweep))
    told = run("cancel", job)
    assert told.exit_code == 0, told.stderr
    assert told.stdout.startswith(f"{job} stopped within ")
    assert told.stdout.endswith(f"go on with: caviar submit long.py --out {sweep}\n")
    result = caviar.load(sweep)
    assert (result.status, result.trials()["status"].tolist()) == ("interrupted", ["pending"])
    told = run("logs", job, "--follow")
    go_on = f"what was recorded is in {sweep}; go on with: caviar submit long.py --out {sweep}"
    assert (told.exit_code, told.stderr) == (1, f"job {job} was cancelled; {go_on}\n")
    assert "interrupted; everything so far is in" in told.stdout
    assert run("jobs").stdout.splitlines()[1].startswith(f"{job}  stopped")


def test_a_cluster_that_asks_for_no_token(jobs: Jobs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_AUTH_TOKEN")
    open_to_all = Nodes(token=False)
    try:
        there = Jobs(open_to_all.dashboard)
        job = there.submit("echo there; exit 3", job_id="one", metadata={"team": "a"})
        assert job == "one"
        text = "".join(there.follow(job))
        info = there.info(job)
    finally:
        open_to_all.end()
    assert "there\n" in text
    assert (info.status, info.exit_code, info.metadata) == ("failed", 3, {"team": "a"})

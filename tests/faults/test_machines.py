"""Machines of a Ray cluster are lost, freeze, or are cut off; so are the cluster itself and the driver."""

from __future__ import annotations

import json
import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import caviar
from caviar.execution.worker import TITLES

pytestmark = [pytest.mark.ray, pytest.mark.timeout(300)]

ROOT = Path(__file__).parents[2]
DEADLINE_S = 100
MARK = "CAVIAR_MACHINES_MARK"
"""An environment variable by which every process of a cluster, or of a sweep on it, can be found."""

CLUSTER = """
import json, sys
from ray.cluster_utils import Cluster

cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": int(sys.argv[1]), "include_dashboard": False})

def pids(node):
    return {name: [one.process.pid for one in found] for name, found in node.all_processes.items()}

def tell(told):
    print("told:" + json.dumps(told), flush=True)

nodes = {}
tell({"address": cluster.address, **pids(cluster.head_node)})
for line in sys.stdin:
    command, _, raylet = line.strip().partition(" ")
    if command == "add":
        node = cluster.add_node(num_cpus=1)
        (pid,) = pids(node)["raylet"]
        nodes[pid] = node
        tell(pid)
    elif command == "kill":
        (process,) = nodes.pop(int(raylet)).all_processes["raylet"]
        process.process.kill()
        process.process.wait()  # as long as it is a zombie, Ray takes it to be alive
        tell("killed")
    else:
        cluster.remove_node(nodes.pop(int(raylet)), allow_graceful=False)
        tell("removed")
"""

DRIVER = """
import json, logging, subprocess, sys, time
from pathlib import Path
import caviar
from caviar.execution.ray import Timeouts

mark, address, path, gate, workers, timeouts = sys.argv[1:]
logging.basicConfig()

class Hasty(caviar.Ray):
    _timeouts = Timeouts(**json.loads(timeouts))

def train(trial):
    subprocess.Popen(["sleep", "600"])
    for step in trial.steps():
        while step == 4 and not Path(gate).exists():
            time.sleep(0.02)
        trial.report(loss=1.0 / step)
        if trial.checkpoint_due:
            with trial.checkpoint() as folder:
                (folder / "step").write_text(str(step))

space = caviar.Space(lr=caviar.Float(0, 1))
sweep = caviar.Sweep(train, space, metric="loss", trials=8, max_step=6, checkpoint_every=2, retries=0)
sweep.run(path, Hasty(address, workers=int(workers), runtime_env={"env_vars": {"MARK": mark}}))
""".replace("MARK", MARK)


def until(condition: Callable[[], Any], *, what: str = "") -> Any:
    deadline = time.monotonic() + DEADLINE_S
    while not (found := condition()):
        assert time.monotonic() < deadline, what or condition
        time.sleep(0.05)
    return found


def marked(mark: str) -> dict[int, str]:
    """The processes that run under a mark, by pid."""
    found = {}
    for path in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            state = (path / "stat").read_text().rpartition(")")[2].split()[0]
            if f"{MARK}={mark}\0" in (path / "environ").read_text(errors="replace") and state not in "ZX":
                found[int(path.name)] = (path / "cmdline").read_text().replace("\0", " ").strip()
    return found


def family(pid: int) -> list[int]:
    """A process and all that descend from it."""
    children: dict[int, list[int]] = {}
    for path in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            parent = int((path / "stat").read_text().rpartition(")")[2].split()[1])
            children.setdefault(parent, []).append(int(path.name))
    found = [pid]
    for one in found:
        found += children.get(one, [])
    return found


def send(number: signal.Signals, pids: Iterable[int]) -> None:
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, number)


class Machines:
    """A Ray cluster of several nodes on this machine, in a process of its own."""

    def __init__(self, *, head_cpus: int) -> None:
        self.mark = secrets.token_hex(8)
        self.process = subprocess.Popen(
            [sys.executable, "-c", CLUSTER, str(head_cpus)],
            env={**os.environ, MARK: self.mark, "PYTHONWARNINGS": "ignore"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        self.head = self._told()
        self.address: str = self.head["address"]
        self.raylets: list[int] = []

    def _told(self) -> Any:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if line.startswith("told:"):
                return json.loads(line.removeprefix("told:"))
        raise AssertionError("the cluster has ended")

    def _ask(self, command: str) -> Any:
        assert self.process.stdin is not None
        self.process.stdin.write(command + "\n")
        self.process.stdin.flush()
        return self._told()

    def complete(self) -> None:
        """Have two nodes to train on."""
        while len(self.raylets) < 2:
            self.raylets.append(self._ask("add"))

    def remove(self, raylet: int) -> None:
        """Kill a node, with all its processes."""
        processes = family(raylet)
        self.raylets.remove(raylet)
        self._ask(f"remove {raylet}")
        send(signal.SIGKILL, processes)

    def kill_raylet(self, raylet: int) -> None:
        """Kill a node's raylet alone."""
        self.raylets.remove(raylet)
        self._ask(f"kill {raylet}")

    def end(self) -> None:
        while left := marked(self.mark):
            send(signal.SIGKILL, left)
            self.process.poll()
        self.process.communicate()


class Driver:
    """A sweep in a process of its own. Its trials wait at step 4 until the gate is open."""

    def __init__(self, folder: Path, address: str, *, workers: int = 2, **timeouts: float) -> None:
        self.path = folder / "sweep"
        self.gate = folder / "gate"
        self.mark = secrets.token_hex(8)
        self.workers = workers
        arguments = [self.mark, address, str(self.path), str(self.gate), str(workers), json.dumps(timeouts)]
        self._errors = folder / "errors"
        with self._errors.open("w") as errors:
            self.process = subprocess.Popen(
                [sys.executable, "-c", DRIVER, *arguments],
                cwd=ROOT,
                env={**os.environ, MARK: self.mark, "PYTHONWARNINGS": "ignore"},
                stdout=subprocess.DEVNULL,
                stderr=errors,
            )

    def errors(self) -> str:
        """What it has written to stderr."""
        return self._errors.read_text()

    def events(self, kind: str) -> pd.DataFrame:
        """The committed events of a kind."""
        if not (self.path / "sweep.json").exists():
            assert self.process.poll() is None, self.errors()
            return pd.DataFrame()
        events = caviar.load(self.path).events()
        return events[events.kind == kind]

    def at_the_gate(self) -> None:
        """Wait until every worker has a trial at the gate, with its checkpoint committed."""
        until(lambda: len(self.events("checkpointed")) == self.workers, what=self.errors())

    def workers_of(self, raylet: int) -> list[int]:
        """Its workers' actors on a node."""
        ours = marked(self.mark)
        return [pid for pid in family(raylet) if ours.get(pid, "").startswith(TITLES)]

    def ends_well(self) -> caviar.Result:
        """Open the gate; the sweep ends with all its trials, nobody charged, and leaves no process behind."""
        self.gate.touch()
        assert self.process.wait(DEADLINE_S) == 0, self.errors()
        result = caviar.load(self.path)
        assert result.status == "finished"
        assert list(result.trials().status) == ["completed"] * 8
        assert result.curves().groupby("trial").step.apply(list).tolist() == [list(range(1, 7))] * 8
        assert len(self.events("attempt_failed")) == 0
        self.leaves_nobody()
        return result

    def leaves_nobody(self) -> None:
        until(lambda: not marked(self.mark), what=str(marked(self.mark)))

    def end(self) -> None:
        while left := marked(self.mark):
            send(signal.SIGKILL, left)
            self.process.poll()
        self.process.communicate()


@pytest.fixture(scope="module")
def cluster() -> Iterator[Machines]:
    machines = Machines(head_cpus=0)
    yield machines
    machines.end()


@pytest.fixture
def machines(cluster: Machines) -> Machines:
    """A head, where the driver is, and two nodes with one core each."""
    cluster.complete()
    return cluster


@pytest.fixture
def drive(tmp_path: Path) -> Iterator[Callable[..., Driver]]:
    drivers: list[Driver] = []

    def begin(address: str, **changes: Any) -> Driver:
        drivers.append(Driver(tmp_path, address, **changes))
        return drivers[-1]

    yield begin
    for driver in drivers:
        driver.end()


Drive = Callable[..., Driver]


def test_a_killed_worker_is_replaced(machines: Machines, drive: Drive) -> None:
    driver = drive(machines.address)
    driver.at_the_gate()
    send(signal.SIGKILL, driver.workers_of(machines.raylets[0]))
    until(lambda: len(driver.events("attempt_lost")), what=driver.errors())
    result = driver.ends_well()
    (lost,) = driver.events("attempt_lost").itertuples()
    assert lost.data["reason"].endswith(": its worker process has died")
    again = driver.events("trial_started").query(f"trial == {lost.trial}").iloc[-1]
    assert again.data["restored"] == 2
    assert (result.trials().attempts == 2).sum() == 1


@pytest.mark.parametrize("whole", [False, True], ids=["raylet", "node"])
def test_the_trials_of_a_lost_node_start_again_elsewhere(machines: Machines, drive: Drive, whole: bool) -> None:
    driver = drive(machines.address, heartbeat_s=4.0)
    driver.at_the_gate()
    node = machines.raylets[0]
    if whole:
        machines.remove(node)
    else:
        machines.kill_raylet(node)
    until(lambda: len(driver.events("attempt_lost")), what=driver.errors())
    driver.ends_well()
    assert len(driver.events("worker_lost")) == 1
    assert len(driver.events("attempt_lost")) == 1


def test_a_frozen_node_is_noticed_and_its_late_words_lead_to_nothing(machines: Machines, drive: Drive) -> None:
    driver = drive(machines.address, cut_off_s=20.0)
    driver.at_the_gate()
    frozen = family(machines.raylets[0])
    send(signal.SIGSTOP, frozen)
    try:
        until(lambda: len(driver.events("attempt_lost")), what=driver.errors())
        (lost,) = driver.events("attempt_lost").itertuples()
        assert "has not replied for" in lost.data["reason"]
        driver.gate.touch()
        until(lambda: len(driver.events("trial_ended")) >= 2, what="the one that is left goes on")
    finally:
        send(signal.SIGCONT, frozen)
    driver.ends_well()
    assert len(driver.events("attempt_lost")) == 1


def test_when_all_nodes_are_lost_the_sweep_waits_for_others(machines: Machines, drive: Drive) -> None:
    driver = drive(machines.address, heartbeat_s=4.0, nobody_s=2.0)
    driver.at_the_gate()
    for node in list(machines.raylets):
        machines.remove(node)
    until(lambda: len(driver.events("attempt_lost")) == 2, what=driver.errors())
    until(lambda: "no worker is left" in driver.errors(), what=driver.errors())
    assert "each waits for 1 CPU to be free in the Ray cluster" in driver.errors()
    machines.complete()
    driver.ends_well()


def test_a_suspended_driver_holds_it_against_nobody(machines: Machines, drive: Drive) -> None:
    driver = drive(machines.address, heartbeat_s=4.0)
    driver.at_the_gate()
    send(signal.SIGSTOP, [driver.process.pid])
    awake = time.monotonic() + 6
    until(lambda: time.monotonic() > awake)
    send(signal.SIGCONT, [driver.process.pid])
    driver.ends_well()
    assert len(driver.events("worker_lost")) == 0


def test_workers_that_are_cut_off_end_themselves(machines: Machines, drive: Drive) -> None:
    driver = drive(machines.address, cut_off_s=3.0)
    driver.at_the_gate()
    driver_pid = driver.process.pid
    send(signal.SIGSTOP, [driver_pid])
    try:
        until(lambda: list(marked(driver.mark)) == [driver_pid], what=str(marked(driver.mark)))
    finally:
        send(signal.SIGCONT, [driver_pid])
    driver.ends_well()
    assert len(driver.events("attempt_lost")) >= 2


@pytest.mark.parametrize(
    ("service", "words"), [("gcs_server", "its head at "), ("raylet", "its raylet beside the driver at ")]
)
def test_without_a_cluster_the_sweep_ends_clearly(tmp_path: Path, drive: Drive, service: str, words: str) -> None:
    machines = Machines(head_cpus=1)
    try:
        driver = drive(machines.address, workers=1, head_s=3.0, raylet_s=2.0, cut_off_s=5.0)
        driver.at_the_gate()
        send(signal.SIGKILL, machines.head[service])
        assert driver.process.wait(DEADLINE_S) == 1
        last = driver.errors().rstrip().splitlines()[-1]
        assert last.startswith("caviar.errors.ExecutionError: the Ray cluster is gone: " + words)
        result = caviar.load(driver.path)
        assert result.status == "interrupted"
        assert result.events().iloc[-1].data["reason"].startswith("ExecutionError: the Ray cluster is gone")
        assert list(result.curves().step) == [1, 2, 3]
        assert [path.name for path in (driver.path / "_hot").iterdir()] == ["000000000000.arrow"], "all is rolled"
        driver.leaves_nobody()
    finally:
        machines.end()

"""Sweeps on a cluster of several nodes, each as somebody would start it: a file, and a command."""

from __future__ import annotations

import secrets
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd

import caviar
from tests.cluster.nodes import DEADLINE_S, MARK, NUMBER, Nodes, marked, send, until

PLAIN: dict[str, Any] = {"cpus": 3, "resources": {"place": 1}}
"""A node, and the head too: room for three trials, or for one that wants a place."""

GPU: dict[str, Any] = {"cpus": 3, "gpus": 1, "labels": {"zone": "b"}}
"""A node that says it has a GPU."""

STEPS = 6
GATE_STEP = 4

FILE = f'''
import os, time
from pathlib import Path

import caviar
import recipe

GATE = Path(__GATE__)


def train(trial):
    x = float((trial.restored / "x").read_text()) if trial.restored else 1.0
    for step in trial.steps():
        while step == {GATE_STEP} and not GATE.exists():
            time.sleep(0.02)
        x *= 1 - trial.params["lr"]
        gpu = os.environ.get("CUDA_VISIBLE_DEVICES", "")
        node = float(os.environ["{NUMBER}"])
        trial.report(loss=x, version=recipe.VERSION, node=node, gpu=float(gpu or -1))
        if trial.checkpoint_due:
            with trial.checkpoint() as folder:
                (folder / "x").write_text(repr(x))


sweep = caviar.Sweep(
    train, caviar.Space(lr=caviar.Float(1e-3, 0.5, scale="log")), metric="loss", trials=__TRIALS__,
    max_step={STEPS}, checkpoint_every=2, retries=0, resources=caviar.__RESOURCES__,
)
'''


Make = Callable[..., "Sweep"]


class Sweep:
    """A sweep of its own folder and file. Its trials wait before `GATE_STEP` until the gate is open."""

    def __init__(
        self, folder: Path, nodes: Nodes, *, trials: int = 8, resources: str = "Resources()", version: int = 1
    ) -> None:
        self.folder = folder
        self.nodes = nodes
        self.path = folder / "sweeps" / folder.name
        self.gate = folder / "gate"
        self.job = f"{folder.name}-{secrets.token_hex(3)}"
        self.project = folder / "project"
        self.project.mkdir(parents=True)
        file = FILE
        for name, value in {"GATE": repr(str(self.gate)), "TRIALS": trials, "RESOURCES": resources}.items():
            file = file.replace(f"__{name}__", str(value))
        (self.project / "gated.py").write_text(file)
        (self.project / "recipe.py").write_text(f"VERSION = {version}\n")
        self._trials = trials
        self._clients: list[Client] = []

    @property
    def name(self) -> str:
        return self.folder.name

    def run(self, *options: str) -> Client:
        """`caviar run`: the driver is this machine's."""
        return self.call("run", "gated.py", "--address", self.nodes.address, "--out", str(self.path), *options)

    def submit(self, *options: str) -> Client:
        """`caviar submit`: the driver is on the head, as the job `job`."""
        where = ["--address", self.nodes.dashboard, "--out", str(self.path), "--job-id", self.job]
        return self.call("submit", "gated.py", *where, *options)

    def call(self, *arguments: str) -> Client:
        """Any other command, of somebody who stands in the project's folder."""
        client = Client(self.nodes, self.project, arguments)
        self._clients.append(client)
        return client

    def events(self, kind: str) -> pd.DataFrame:
        """The committed events of a kind."""
        if not self._begun():
            return pd.DataFrame()
        events = caviar.load(self.path).events()
        return events[events.kind == kind]

    def curves(self) -> pd.DataFrame:
        """What has been committed of all attempts' reports."""
        return caviar.load(self.path).curves(attempts="all") if self._begun() else pd.DataFrame()

    def at_the_gate(self, count: int) -> list[int]:
        """Wait until so many trials are at the gate, each with a checkpoint; the nodes that they are on."""
        until(lambda: len(self.events("checkpointed")) >= count, what=self.told)
        until(lambda: len(self.here()) >= count, what=self.told)
        return sorted(self.here().values())

    def here(self) -> dict[int, int]:
        """The trials at the gate, and the node of each."""
        curves = self.curves()
        if curves.empty:
            return {}
        here = curves[curves.step == GATE_STEP - 1].groupby("trial").node.last().astype(int)
        return {int(trial): int(node) for trial, node in here.items()}

    def ended_well(self) -> caviar.Result:
        """Once the gate is open: it ends with all its trials, nobody charged, and no worker stays behind."""
        until(lambda: len(self.events("trial_ended")) == self._trials, what=self.told)
        until(lambda: caviar.load(self.path).status == "finished", what=self.told)
        result = caviar.load(self.path)
        assert list(result.trials().status) == ["completed"] * self._trials
        assert (
            result.curves().groupby("trial").step.apply(list).tolist()
            == [list(range(1, STEPS + 1))] * self._trials
        )
        assert len(self.events("attempt_failed")) == 0
        return result

    def _begun(self) -> bool:
        return (self.path / "sweep.json").exists()

    def told(self) -> str:
        """What its commands have said."""
        return "\n".join(client.told() for client in self._clients)

    def end(self) -> None:
        for client in self._clients:
            client.end()


class Client:
    """One command of caviar's, in a process of its own."""

    def __init__(self, nodes: Nodes, folder: Path, arguments: tuple[str, ...]) -> None:
        self._mark = secrets.token_hex(8)
        self._told = folder.parent / f"told-{self._mark}"
        with self._told.open("w") as told:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "caviar", *arguments],
                cwd=folder,
                env={**nodes.environment, MARK: self._mark},
                stdin=subprocess.DEVNULL,
                stdout=told,
                stderr=subprocess.STDOUT,
            )

    def told(self) -> str:
        return self._told.read_text()

    def says(self, words: str) -> Any:
        """Wait until it has said so."""
        return until(lambda: words in self.told(), what=self.told)

    def ends(self, status: int = 0) -> str:
        """Wait until it has ended with a status; all that it has said."""
        assert self.process.wait(DEADLINE_S) == status, self.told()
        return self.told()

    def end(self) -> None:
        """Kill it."""
        while left := marked(self._mark):
            send(signal.SIGKILL, left)
            self.process.poll()
        self.process.wait()


def outcome(result: caviar.Result) -> pd.DataFrame:
    """What is the same wherever trials were trained: params and every report's loss."""
    trials = result.trials()[["status", "params.lr", "metrics.loss", "steps"]]
    losses = result.curves().pivot(index="trial", columns="step", values="loss")
    return trials.join(losses)

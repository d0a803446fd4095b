"""A cluster that grows for a sweep, and shrinks at its tail, by Ray's own autoscaler."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

import caviar
from tests.cluster.nodes import Nodes, until

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(300)]

DRIVER = """
import sys, time
from pathlib import Path
import caviar

address, path, gates = sys.argv[1], sys.argv[2], Path(sys.argv[3])

def train(trial):
    gate = gates / ("last" if trial.id == 11 else "all")
    trial.report(loss=1.0)
    while not gate.exists():
        time.sleep(0.05)
    trial.report(loss=0.5)

sweep = caviar.Sweep(train, caviar.Space(x=caviar.Float(0, 1)), metric="loss", trials=12)
sweep.run(path, caviar.Ray(address, autoscale=True))
"""


@pytest.fixture
def growing() -> Iterator[Nodes]:
    """A head without a core, and an autoscaler that may add two nodes with two cores each."""
    nodes = Nodes(cpus=0, grows={"CPU": 2})
    yield nodes
    nodes.end()


def test_nodes_are_asked_for_and_taken_away_again(growing: Nodes, tmp_path: Path) -> None:
    path, gates = tmp_path / "sweep", tmp_path / "gates"
    gates.mkdir()
    driver = subprocess.Popen(
        [sys.executable, "-c", DRIVER, growing.address, str(path), str(gates)],
        env=growing.environment,
        stderr=subprocess.PIPE,
        text=True,
    )
    told: list[str] = []
    reading = threading.Thread(target=lambda: told.extend(driver.stderr or ()), daemon=True)
    reading.start()

    def trials(status: str) -> int:
        assert driver.poll() is None, "".join(told)
        if not (path / "sweep.json").exists():
            return 0
        return int((caviar.load(path).trials()["status"] == status).sum())

    def raylets() -> int:
        return sum("/raylet/raylet " in line for line in growing.head.processes().values())

    try:
        until(lambda: trials("running") == 4, what=lambda: f"two nodes were to be added: {told}")
        assert raylets() == 1 + 2
        (gates / "all").touch()
        until(lambda: trials("completed") == 11)
        until(lambda: raylets() <= 1 + 1, what="a node on which nobody trains was to be taken away")
        assert trials("running") == 1
        (gates / "last").touch()
        assert driver.wait(100) == 0, "".join(told)
    finally:
        driver.kill()
        driver.wait()
        reading.join()
        assert driver.stderr is not None
        driver.stderr.close()
    frame = caviar.load(path).trials()
    assert set(frame["status"]) == {"completed"}
    assert set(frame["attempts"]) == {1}, "nobody was interrupted for it"

"""slurm.sbatch for real: two machines, Ray on both by `ray symmetric-run`, a sweep that was cut off goes on there.

The machines are namespaces (`machines.py`), with a fake `srun` (`fake_slurm.py`) that runs on both what the script
asks for. So covered are the script itself, what it gives to srun, and all that Ray and caviar do; not covered is
Slurm: that it reads the #SBATCH lines as we think, and queues a job again.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import caviar
from tests.clusters.fake_slurm import CPUS, install
from tests.clusters.files import FOLDER, ROOT
from tests.clusters.machines import ADDRESSES, Machines, why_not

pytestmark = [
    pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(300),
    pytest.mark.skipif(why_not() is not None, reason=f"{why_not()}"),
]  # fmt: skip

TRIALS, STEPS = 12, 6
SWEEP = f"""
import os
import socket
import time
from pathlib import Path

import caviar

def meet(node):
    # until both nodes train: the first one alone would have done what is left in no time
    (Path.home() / node).touch()
    deadline = time.monotonic() + 200
    while not all((Path.home() / name).exists() for name in ("head", "worker")):
        assert time.monotonic() < deadline
        time.sleep(0.01)

def train(trial):
    node = {{"head": 0, "worker": 1}}.get(socket.gethostname(), 2)
    if node != 2:
        meet(socket.gethostname())
    x = 5.0
    if trial.restored:
        x = float((trial.restored / "x").read_text())
    for step in trial.steps():
        x -= trial.params["lr"] * x
        trial.report(loss=x * x, node=node)
        if os.environ.get("CUT") == f"{{trial.id}} {{step}}":
            os.kill(os.getpid(), 9)
        with trial.checkpoint() as folder:
            (folder / "x").write_text(repr(x))

space = caviar.Space(lr=caviar.Float(1e-2, 0.9, scale="log"))
sweep = caviar.Sweep(train, space, metric="loss", trials={TRIALS}, max_step={STEPS}, seed=5)
"""
CUT = (7, 4)
"""The trial and the step at which the first driver is killed."""


@pytest.fixture(scope="module")
def machines() -> Iterator[Machines]:
    with Machines() as both:
        (both.folder / "bin").mkdir()
        (both.folder / "home").mkdir()
        install(both.folder / "bin")
        (both.folder / "swept.py").write_text(SWEEP)
        yield both


def environment(machines: Machines) -> dict[str, str]:
    """What Slurm sets, what the fake one needs, and a PATH on which both `ray` and `caviar` are ours."""
    path = [machines.folder / "bin", Path(sys.executable).parent, *os.environ["PATH"].split(":")]
    return {
        "PATH": ":".join(map(str, path)), "HOME": str(machines.folder / "home"), "PYTHONPATH": str(ROOT),
        "SLURM_JOB_ID": "4242", "SLURM_JOB_NUM_NODES": str(len(ADDRESSES)), "SLURM_CPUS_ON_NODE": CPUS,
        "SLURM_RESTART_COUNT": "1", "SLURM_TMPDIR": str(machines.tmp),
        "FAKE_SLURM_DOORS": ":".join(str(machines.door(number)) for number in range(len(ADDRESSES))),
    }  # fmt: skip


def test_a_sweep_that_was_cut_off_goes_on_over_two_nodes(machines: Machines) -> None:
    alone = [sys.executable, "-m", "caviar", "run", "swept.py", "--executor", "inline", "--out"]
    env = environment(machines)
    cut = subprocess.run(
        [*alone, "out"],
        cwd=machines.folder,
        env=env | {"CUT": "{} {}".format(*CUT)},
        capture_output=True,
        check=False,
    )
    assert cut.returncode == -signal.SIGKILL, cut.stderr.decode()
    kept = set(caviar.load(machines.folder / "out").trials().query("status == 'completed'").index)
    whole = subprocess.Popen([*alone, "whole"], cwd=machines.folder, env=env, stdout=subprocess.DEVNULL)

    status, said = machines.run(
        0, ["bash", str(FOLDER / "slurm.sbatch"), "swept.py", "out"], env=env, timeout_s=270
    )

    assert status == 0, said
    assert whole.wait() == 0
    ours, theirs = (caviar.load(machines.folder / name) for name in ("out", "whole"))
    assert ours.status == "finished"
    same = ["status", "steps", "params.lr", "metrics.loss"]
    assert ours.trials()[same].equals(theirs.trials()[same])
    nodes = ours.curves().groupby("trial")["node"].last()
    assert kept
    assert set(nodes[~nodes.index.isin(kept)]) == {0, 1}  # both trained what was left
    assert set(nodes[list(kept)]) == {2}  # what was done before was not done again
    log = machines.folder / "caviar-4242-node-1.log"
    assert f"Connecting to Ray cluster at {ADDRESSES[0]}:6379" in log.read_text()
    left = {path.name for path in machines.folder.iterdir()}
    assert left <= {"bin", "home", "swept.py", "out", "whole", log.name, "__pycache__"}
    status, said = machines.run(
        0, ["sh", "-c", f"ps ax | grep -c [r]aylet; ls {machines.tmp}"], env=env, timeout_s=10
    )
    assert said == "0\n"  # no Ray and nothing of it is left on the node

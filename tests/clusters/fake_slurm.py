"""A Slurm of two machines (`machines.py`): what `srun` and `scontrol` do of it, run as files by their names.

It refuses what it does not know, as Slurm does, and does what `slurm.sbatch` relies on: `srun` runs its command on
each node of the job at the same time, with the node's number, and ends all of it when it is told to end.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

CPUS = "1"
"""Of each node."""


def srun(words: Sequence[str]) -> int:
    from tests.clusters.machines import answer, ask

    parser = argparse.ArgumentParser("srun", allow_abbrev=False)
    parser.add_argument("--nodes", type=int, required=True)
    parser.add_argument("--ntasks-per-node", type=int, choices=[1], required=True)
    parser.add_argument("--cpu-bind", choices=["none"], required=True)
    parser.add_argument("--kill-on-bad-exit", choices=["1"], required=True)
    parser.add_argument("command", nargs=argparse.REMAINDER)
    asked = parser.parse_args(words)
    doors = os.environ["FAKE_SLURM_DOORS"].split(":")
    if asked.nodes != len(doors):
        parser.error(f"the job has {len(doors)} nodes, not {asked.nodes}")
    tasks = [
        ask(
            Path(door), asked.command, cwd=Path.cwd(), out=sys.stdout.fileno(),
            env=os.environ | {"SLURM_NODEID": str(node), "SLURM_PROCID": str(node), "SLURM_CPUS_ON_NODE": CPUS},
        )
        for node, door in enumerate(doors)
    ]  # fmt: skip
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # which closes them
    worst = 0
    for task in tasks:
        worst = max(worst, answer(task))
    return worst


def scontrol(words: Sequence[str]) -> int:
    """Write down that the job is to be queued again."""
    if list(words) != ["requeue", os.environ["SLURM_JOB_ID"]]:
        print(f"scontrol: {' '.join(words)}: not known", file=sys.stderr)
        return 1
    with contextlib.suppress(FileExistsError):
        Path(os.environ["FAKE_SLURM_REQUEUED"]).touch(exist_ok=False)
    return 0


def install(folder: Path) -> None:
    """Put both commands into a folder that is to come first on PATH."""
    root = Path(__file__).parents[2]
    for name in ("srun", "scontrol"):
        command = folder / name
        module = f'{sys.executable} -m tests.clusters.fake_slurm {name} "$@"'
        command.write_text(f"#!/bin/sh\nPYTHONPATH={root}${{PYTHONPATH:+:$PYTHONPATH}} exec {module}\n")
        command.chmod(0o755)


if __name__ == "__main__":
    sys.exit({"srun": srun, "scontrol": scontrol}[sys.argv[1]](sys.argv[2:]))

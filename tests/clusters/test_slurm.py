"""slurm.sbatch: a shell and shellcheck read it, Slurm's lines are Slurm's; what it does with a small `srun`."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.clusters.files import Wrong, header, read, replace, simple_commands, sound

NAME = "slurm.sbatch"

OPTIONS = {
    "job-name": r"\w+",
    "nodes": r"\d+",
    "ntasks-per-node": "1",
    "exclusive": "",
    "time": r"(\d+-)?\d+:\d\d:\d\d",
    "requeue": "",
    "signal": r"B:USR1@\d+",
    "open-mode": "append",
    "output": r"[\w-]*%j\.log",
    "gpus-per-node": r"(\w+:)?\d+",
}
"""Those of sbatch that the file uses, and what they may be."""


def check(text: str, folder: Path) -> None:
    script = folder / NAME
    script.write_text(text)
    read_by_bash = subprocess.run(["bash", "-n", str(script)], capture_output=True, text=True, check=False)
    if read_by_bash.returncode != 0:
        raise Wrong(f"bash: {read_by_bash.stderr}")
    shellcheck = Path(sys.executable).parent / "shellcheck"
    looked = subprocess.run([str(shellcheck), str(script)], capture_output=True, text=True, check=False)
    if looked.returncode != 0:
        raise Wrong(f"shellcheck: {looked.stdout}")
    before, _, code = text.partition("\nset -euo pipefail\n")
    if "#SBATCH" in code or not code or not text.startswith("#!/usr/bin/env bash\n"):
        raise Wrong("Slurm reads its lines only before the first command")
    given = sbatch_lines(before, "#SBATCH")
    needed = set(OPTIONS) - {"gpus-per-node"}
    if set(given) != needed:
        raise Wrong(f"missing or too many: {set(given) ^ needed}")
    if set(sbatch_lines(before, "##SBATCH")) != {"gpus-per-node"}:
        raise Wrong("no line for GPUs")
    commands(code)
    if "VENV=" not in header(text)["Start"]:
        raise Wrong("VENV is told nowhere")


def sbatch_lines(text: str, mark: str) -> dict[str, str]:
    found = {}
    for line in re.findall(rf"^{mark} +(.*)$", text, re.MULTILINE):
        option = re.fullmatch(r"--([\w-]+)(?:=(\S+))?", line)
        if option is None or not re.fullmatch(OPTIONS.get(option[1], "not known"), option[2] or ""):
            raise Wrong(f"sbatch: {line}")
        found[option[1]] = option[2] or ""
    return found


def commands(code: str) -> None:
    """Its commands of caviar, Ray and Slurm."""
    joined = code.replace("\\\n", " ")
    begun = re.search(r"^    local -a ray=\((.*)\)$", joined, re.MULTILINE)
    asked = re.search(r'on_node (caviar .*) "\$@" &$', joined, re.MULTILINE)
    if begun is None or asked is None:
        raise Wrong("no `ray symmetric-run`, or no `caviar run`")
    sound(begun[1] + " -- true")
    sound(asked[1])
    if "--resume" not in asked[1].split():
        raise Wrong("a job that is queued again would not go on")
    if not re.search(r"""^trap '.*scontrol requeue "\$SLURM_JOB_ID"' USR1$""", code, re.MULTILINE):
        raise Wrong("it is not queued again when its time is up")
    if not re.search(r"RAY_AUTH_MODE=token RAY_AUTH_TOKEN$", code, re.MULTILINE):
        raise Wrong("Ray starts without a token")
    if not any(
        words[0] == "srun" and "--kill-on-bad-exit=1" in words
        for words in simple_commands(joined.split("\n# Two", 1)[1])
    ):
        raise Wrong("a node that fails would be waited for")


def test_it_is_sound(tmp_path: Path) -> None:
    check(read(NAME), tmp_path)


BROKEN = [
    ("\nset -euo pipefail\n", "\nset -euo pipefail\nif true\n", "bash"),
    ('rm -f -- "$OVER"', "rm -f -- $OVER", "shellcheck"),
    ("#SBATCH --requeue\n", "#SBATCH --requeued\n", "sbatch"),
    ("#SBATCH --requeue\n", "", "missing"),
    ("#SBATCH --exclusive\n", "", "missing"),
    ("#SBATCH --nodes=2", "#SBATCH --nodes=two", "sbatch"),
    ("--ntasks-per-node=1\n", "--ntasks-per-node=4\n", "sbatch"),
    ("--signal=B:USR1@120", "--signal=USR1@120", "sbatch"),
    ("--time=12:00:00", "--time=12h", "sbatch"),
    ("##SBATCH --gpus-per-node=4", "##SBATCH --gpu=4", "sbatch"),
    ("\nset -euo pipefail\n", "\nset -euo pipefail\n#SBATCH --qos=low\n", "first command"),
    ("(ray symmetric-run", "(ray symetric-run", "no `ray symetric-run`"),
    ('--num-cpus "$SLURM', '--num-cpu "$SLURM', "--num-cpu"),
    ("(ray symmetric-run --address", "(ray symmetric-run --head --address", "takes no --head"),
    ("on_node caviar run", "on_node caviar runs", "no `caviar runs`|no `caviar run`"),
    ("--resume ", "", "would not go on"),
    ('--out "$out"', '--oout "$out"', "--oout"),
    ("scontrol requeue", "scontrol release", "not queued again"),
    ("export RAY_AUTH_MODE=token RAY_AUTH_TOKEN", "export RAY_AUTH_TOKEN", "without a token"),
    ("--kill-on-bad-exit=1", "--kill-on-bad-exit=0", "waited for"),
    ("VENV=~/caviar-venv sbatch", "sbatch", "told nowhere"),
]


@pytest.mark.parametrize(("old", "new", "said"), BROKEN, ids=[f"{row[0]!r} {row[1]!r}" for row in BROKEN])
def test_a_broken_file_is_found(old: str, new: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(Wrong, match=said):
        check(replace(read(NAME), old, new), tmp_path)


class Job:
    """The script, begun as by Slurm on a node of one, with commands of our own in the place of those of others."""

    def __init__(self, folder: Path, **commands: str) -> None:
        self.folder = folder
        bin_folder = folder / "bin"
        bin_folder.mkdir()
        for name, code in {"hostname": "echo 192.0.2.1 192.0.2.2", **commands}.items():
            command = bin_folder / name
            command.write_text(f"#!/usr/bin/env bash\n{code}\n")
            command.chmod(0o755)
        self.script = folder / NAME
        self.script.write_text(read(NAME))
        self.env = {
            "PATH": f"{bin_folder}:{os.environ['PATH']}", "HOME": str(folder), "FOLDER": str(folder),
            "SLURM_JOB_ID": "42", "SLURM_JOB_NUM_NODES": "1", "SLURM_NODEID": "0", "SLURM_CPUS_ON_NODE": "3",
            "SLURM_TMPDIR": str(folder),
        }  # fmt: skip

    def begin(self, *words: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            ["bash", str(self.script), *words], cwd=self.folder, env=self.env, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip

    def end(self, *words: str) -> tuple[int, str]:
        process = self.begin(*words)
        said, _ = process.communicate(timeout=30)
        return process.returncode, said


SRUN = 'while [[ $1 == --* ]]; do shift; done; exec "$@"'
"""On this node, with the job's own environment."""
RAY = 'printf "%s\\n" "$*" >>"$FOLDER/ray"; while [[ $1 != -- ]]; do shift; done; shift; exec "$@"'
"""Writes down what it was given, and runs what stands behind --."""


def test_the_first_node_runs_the_sweep_and_leaves_nothing(tmp_path: Path) -> None:
    job = Job(
        tmp_path,
        srun=SRUN,
        ray=RAY,
        caviar='printf "%s\\n" "$@"; env | grep -c "^RAY_AUTH_TOKEN=[0-9a-f]\\{64\\}$"',
    )
    status, said = job.end("my file.py", "out folder", "--cpus", "2")
    assert status == 0, said
    words = [
        "run",
        "my file.py",
        "--out",
        "out folder",
        "--resume",
        "--address",
        "192.0.2.1:6379",
        "--cpus",
        "2",
        "1",
    ]
    assert said.splitlines() == words
    assert (
        (tmp_path / "ray")
        .read_text()
        .startswith("symmetric-run --address 192.0.2.1:6379 --min-nodes 1 --num-cpus 3 -- ")
    )
    assert {path.name for path in tmp_path.iterdir()} == {"bin", NAME, "ray"}


@pytest.mark.parametrize(("caviar", "status"), [("exit 1", 1), ("exit 2", 2), ("kill -TERM $$", 143)])
def test_the_job_fails_as_the_sweep_does(caviar: str, status: int, tmp_path: Path) -> None:
    assert Job(tmp_path, srun=SRUN, ray=RAY, caviar=caviar).end("a.py", "out")[0] == status


def test_a_ray_that_does_not_start_and_says_0_is_a_failure(tmp_path: Path) -> None:
    status, said = Job(tmp_path, srun=SRUN, ray="echo Failed to start Ray", caviar="exit 0").end("a.py", "out")
    assert status == 1
    assert said.splitlines() == ["Failed to start Ray", "Ray did not start; the lines above say why"]


def test_without_words_it_says_what_it_needs(tmp_path: Path) -> None:
    status, said = Job(tmp_path).end("a.py")
    assert status == 1
    assert "usage: sbatch clusters/slurm.sbatch FILE OUT [options of caviar run]" in said


def test_other_nodes_end_with_the_sweep(tmp_path: Path) -> None:
    ray = 'case $1 in stop) touch "$FOLDER/stopped";; *) echo joined; sleep 60 & wait; esac'
    job = Job(tmp_path, srun=SRUN, ray=ray, caviar="exit 0")
    job.env |= {"SLURM_NODEID": "1"}
    process = job.begin("a.py", "out")
    log = tmp_path / "caviar-42-node-1.log"
    until(lambda: log.exists() and "joined" in log.read_text())
    assert process.poll() is None
    (tmp_path / "caviar-42.over").touch()
    said, _ = process.communicate(timeout=30)
    assert (process.returncode, said) == (0, "")
    assert (tmp_path / "stopped").exists()


def test_the_job_fails_where_another_node_cannot_join(tmp_path: Path) -> None:
    job = Job(tmp_path, srun=SRUN, ray="echo no head; exit 1", caviar="exit 0")
    job.env |= {"SLURM_NODEID": "1"}
    assert job.end("a.py", "out") == (1, "")
    assert (tmp_path / "caviar-42-node-1.log").read_text().startswith("no head\n")


def test_before_its_time_is_up_it_is_queued_again_and_waits_for_its_end(tmp_path: Path) -> None:
    job = Job(
        tmp_path, ray=RAY, caviar="exit 0", scontrol='echo "$*" >"$FOLDER/asked"',
        srun='touch "$FOLDER/runs"; until [[ -e $FOLDER/end ]]; do sleep 0.02; done; exit 7',
    )  # fmt: skip
    process = job.begin("a.py", "out")
    until((tmp_path / "runs").exists)
    process.send_signal(signal.SIGUSR1)
    until((tmp_path / "asked").exists)
    assert process.poll() is None
    (tmp_path / "end").touch()
    said, _ = process.communicate(timeout=30)
    assert (tmp_path / "asked").read_text() == "requeue 42\n"
    assert (process.returncode, said) == (7, "time is nearly up: queued again\n")


def until(true: object, seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while not true():  # type: ignore[operator]
        assert time.monotonic() < deadline
        time.sleep(0.01)

"""`caviar submit`, against a web server that stands in for a cluster; tests/cluster has real ones."""

from __future__ import annotations

import dataclasses
import io
import json
import re
import shlex
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from caviar.cli import job_follow
from caviar.cli.job_follow import own_lines
from caviar.jobs.client import Jobs
from caviar.store.beginnings import check_new
from caviar.store.layout import SweepFolder
from tests.jobs.dashboards import Dashboard, Handler, know_nothing_of_ray, serving

RAYS = (
    b"2026-01-01 00:00:00,000 INFO job_manager.py:581 -- Runtime env is setting up.\nRunning entrypoint for job "
)
OURS = b"[5.1 s] 16/40 trials: 16 completed\n40 trials: 40 completed\n"


class Cluster(Dashboard):
    """Takes packages, and a job that ends at once: with this exit code, having printed this."""

    def __init__(self, printed: bytes = OURS, *, exit_code: int | None = 0) -> None:
        super().__init__()
        self.packages: dict[str, bytes] = {}
        self.submitted: list[dict[str, Any]] = []
        self.printed = printed
        self.exit_code = exit_code
        self.message = ""

    def answer(self, asked: Handler) -> None:
        url = urlsplit(asked.path)
        package = url.path.removeprefix("/api/packages/gcs/")
        job_id = url.path.removeprefix("/api/jobs/")
        if package != url.path:
            self.seen.append(f"{asked.command} package")
            if asked.command == "PUT":
                self.packages[package] = asked.body
            asked.give(200 if package in self.packages else 404, b"")
        elif url.path == "/api/jobs/" and asked.command == "POST":
            self._take(json.loads(asked.body))
            asked.give(200, {"submission_id": self.job["submission_id"], "job_id": self.job["submission_id"]})
        elif self.submitted and job_id == self.job["submission_id"]:
            asked.give(200, self.job)
        elif self.submitted and job_id == f"{self.job['submission_id']}/logs":
            asked.give(200, {"logs": ""})
        elif url.path.startswith("/api/v0/logs/") and self.submitted:
            assert parse_qs(url.query)["submission_id"] == [self.job["submission_id"]]
            asked.give(200, RAYS + self.job["submission_id"].encode() + b": exec ...\n" + self.printed)
        else:
            super().answer(asked)

    def _take(self, wanted: dict[str, Any]) -> None:
        self.submitted.append(wanted)
        facts = {name: wanted[name] for name in ("submission_id", "entrypoint", "metadata", "runtime_env")}
        self.job = {**self.job, **facts, "driver_exit_code": self.exit_code, "message": self.message}
        self.job["driver_node_id"] = None if self.exit_code is None else "node-1"
        self.end("SUCCEEDED" if self.exit_code == 0 else "FAILED")

    def files(self, field: str) -> dict[str, bytes]:
        """What was sent last as this part of the runtime environment."""
        sent = self.submitted[-1]["runtime_env"][field]
        [uri] = sent if isinstance(sent, list) else [sent]
        with zipfile.ZipFile(io.BytesIO(self.packages[uri.removeprefix("gcs://")])) as package:
            return {name: package.read(name) for name in package.namelist()}


@pytest.fixture(autouse=True)
def _nothing_known_of_ray(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    know_nothing_of_ray(monkeypatch, tmp_path)


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder: a file that defines a Sweep, and others."""
    folder = tmp_path / "project"
    (folder / "lib").mkdir(parents=True)
    (folder / "train.py").write_text("import caviar\n")
    (folder / "lib/helpers.py").write_text("X = 1\n")
    (folder / "notes.log").write_text("private")
    (folder / ".gitignore").write_text("*.log\n")
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def cluster() -> Cluster:
    return Cluster()


@pytest.fixture
def address(cluster: Cluster) -> Iterator[str]:
    with serving(cluster) as url:
        yield url


def test_a_sweep_is_sent_and_followed_to_its_end(invoke, project, cluster, address):
    done = invoke(
        "submit", "train.py:sweep", "--address", address, "--out", "s3://b/x", "--trials", 5, "--gpus", 0.5
    )
    assert done.exit_code == 0, done.output
    [job] = cluster.submitted
    name = job["submission_id"]
    assert done.stderr == ""
    assert done.stdout.splitlines() == [
        f"working directory: {project}: 3 files, {len('import caviar') + len('X = 1') + len('*.log') + 3} bytes",
        f"job {name} submitted; its sweep: s3://b/x",
        f"  follow it:  caviar logs --follow {name} --address {address}",
        f"  look at it: caviar watch {name} --address {address}",
        f"  end it:     caviar cancel {name} --address {address}",
        *OURS.decode().splitlines(),
    ]
    assert cluster.files("working_dir") == {
        "train.py": b"import caviar\n",
        "lib/helpers.py": b"X = 1\n",
        ".gitignore": b"*.log\n",
    }
    brought = set(cluster.files("py_modules"))
    assert {"caviar/__init__.py", "caviar/jobs/entry.py", "caviar/analysis/report/page.html"} <= brought
    assert not [name for name in brought if "__pycache__" in name]
    words = shlex.split(job["entrypoint"])
    assert words[-8:] == [
        "caviar.jobs.entry",
        "./train.py:sweep",
        "--out",
        "s3://b/x",
        "--trials",
        "5",
        "--gpus",
        "0.5",
    ]
    assert job["runtime_env"]["env_vars"] == {"RAY_JOB_STOP_WAIT_TIME_S": "30"}
    assert not {name for name in job if name.startswith("entrypoint_")}, (
        "it is to run on the head, and take no core"
    )
    kind = {"caviar_kind": "sweep", "caviar_folder": "s3://b/x", "caviar_name": "train"}
    assert kind.items() <= job["metadata"].items()


def test_what_has_not_changed_is_not_sent_again(invoke, project, cluster, address):
    for _ in range(2):
        assert invoke("submit", "train.py", "--address", address, "--out", "/shared/x", "--detach").exit_code == 0
    assert cluster.seen.count("PUT package") == 2  # the folder, and caviar
    (project / "train.py").write_text("import caviar  # again\n")
    invoke("submit", "train.py", "--address", address, "--out", "/shared/x", "--detach")
    assert cluster.seen.count("PUT package") == 3


@pytest.mark.parametrize("exit_code", [1, 2, 130])
def test_its_exit_status_is_that_of_the_command_on_the_cluster(invoke, project, cluster, address, exit_code):
    cluster.printed, cluster.exit_code = b"caviar: error: train.py:3: NameError: x\n", exit_code
    done = invoke("submit", "train.py", "--address", address, "--out", "/shared/x")
    assert done.exit_code == exit_code
    assert done.stderr == "caviar: error: train.py:3: NameError: x\n"


def test_a_driver_that_was_killed_is_told_with_how_to_go_on(invoke, project, cluster, address):
    cluster.exit_code = -9
    done = invoke("submit", "train.py", "--address", address, "--out", "/shared/x")
    assert done.exit_code == 1
    assert done.stderr.startswith("caviar: error: the driver of job train-")
    assert "SIGKILL" in done.stderr
    assert done.stderr.endswith("; what was recorded is in /shared/x, and the same command goes on with it\n")


def test_a_job_that_could_not_begin_is_told_in_a_line(invoke, project, cluster, address):
    cluster.exit_code, cluster.message = (
        None,
        "runtime_env setup failed:\n   ERROR: No matching distribution for x\n\n",
    )
    done = invoke("submit", "train.py", "--address", address, "--out", "/shared/x")
    assert done.exit_code == 1
    assert done.stderr.endswith("could not begin: No matching distribution for x\n")


def test_what_a_job_waits_for_is_said_now_and_then(invoke, project, cluster, address, monkeypatch):
    looked = []

    class Slow(Jobs):
        def info(self, job):
            looked.append(job)
            begun = super().info(job)
            return begun if len(looked) > 3 else dataclasses.replace(begun, node=None, status="pending")

    monkeypatch.setattr("caviar.jobs.client.Jobs", Slow)
    for name in ("BEGIN_S", "LONG_S", "AGAIN_S"):
        monkeypatch.setattr(job_follow, name, 0.0)
    (project / "needs.txt").write_text("scikit-learn\n")
    options = ["--address", address, "--out", "/shared/x", "--requirements", "needs.txt"]
    done = invoke("submit", "train.py", *options)
    assert done.exit_code == 0, done.output
    told = done.stderr.splitlines()
    assert len(told) == 3
    name = cluster.submitted[0]["submission_id"]
    for line in told:
        assert re.fullmatch(
            rf"job {name} has not begun after .* s: the cluster installs its packages \(pip\)", line
        )


def test_neither_its_log_nor_what_ray_says_of_it_steers_the_terminal(invoke, project, cluster, address):
    cluster.printed = b"\x1b]0;title\x07\x1b[32mgreen\x1b[0m\n"
    cluster.exit_code, cluster.message = 0, "x"
    done = invoke("submit", "train.py", "--address", address, "--out", "/shared/x", "--job-id", "a")
    assert done.stdout.endswith("\n]0;titlegreen\n"), "colours are for terminals"
    cluster.exit_code, cluster.message = None, "it\x1b]0;title\x07 broke"
    done = invoke("submit", "train.py", "--address", address, "--out", "/shared/x", "--job-id", "b")
    assert done.stderr == "caviar: error: job b could not begin: it ]0;title  broke\n"


def test_machines_get_json_alone(invoke, project, cluster, address):
    cluster.printed = b'a warning\n{"kind": "progress"}\n{"kind": "result"}\n'
    done = invoke("submit", "train.py", "--address", address, "--out", "/shared/x", "--json")
    first, *between, last = map(json.loads, done.stdout.splitlines())
    name = cluster.submitted[0]["submission_id"]
    assert first == {"kind": "job", "job": name, "address": address, "folder": "/shared/x"}
    assert between == [{"kind": "progress"}, {"kind": "result"}]
    assert last == {"kind": "job_ended", "job": name, "status": "succeeded", "exit_status": 0}
    assert "working directory: " in done.stderr
    assert done.stderr.endswith("a warning\n")
    assert cluster.submitted[0]["entrypoint"].endswith(" --json")


LINES = [
    ["--debug"],
    ["--log-format", "json"],
    ["--log-format=json", "--debug", "--json"],
    ["--log-format", "text"],
]


@pytest.mark.parametrize("options", LINES, ids=" ".join)
def test_the_job_writes_its_lines_as_this_command_does(
    invoke, project, cluster, address, monkeypatch, own_logging, options
):
    cluster.printed = b'{"time": "now", "message": "x"}\n{"kind": "result"}\n'
    done = invoke("submit", "train.py", "--address", address, "--out", "/shared/x", *options)
    assert done.exit_code == 0, done.output
    sent = shlex.split(cluster.submitted[0]["entrypoint"])
    wanted = {"--debug": "--debug" in options, "--log-format=json": "text" not in options and len(options) > 1}
    assert {word: word in sent for word in wanted} == wanted
    assert cluster.submitted[0]["metadata"]["caviar_command"].endswith(" --out /shared/x")
    assert '{"kind": "result"}\n' in done.stdout
    assert '{"time": "now", "message": "x"}\n' in done.stderr
    assert '{"time"' not in done.stdout


def test_what_became_of_a_job_is_told_as_all_lines_are(invoke, project, cluster, address, own_logging, caplog):
    cluster.exit_code = -9
    done = invoke("submit", "train.py", "--address", address, "--out", "/shared/x", "--log-format", "json")
    assert done.exit_code == 1
    last = caplog.records[-1]
    assert (last.levelname, last.name) == ("ERROR", "caviar.cli")
    assert last.getMessage().startswith("the driver of job train-")
    assert "driver" not in done.stderr, "a line that is not JSON"


def test_the_environment_is_what_is_named(invoke, project, cluster, address, monkeypatch):
    monkeypatch.setenv("TOKEN", "abc")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    (project / "requirements.txt").write_text("scikit-learn\n")
    (project / "env.yaml").write_text("env_vars: {A: file, B: file}\nconfig: {setup_timeout_seconds: 60}\n")
    more = ["--env", "TOKEN", "--env", "A=b=c", "--env", "AWS_ACCESS_KEY_ID", "--runtime-env", "env.yaml"]
    done = invoke("submit", "train.py", "--address", address, "--out", "s3://b/x", "--detach", *more)
    made = cluster.submitted[-1]["runtime_env"]
    wanted = {
        "A": "b=c",
        "B": "file",
        "TOKEN": "abc",
        "AWS_ACCESS_KEY_ID": "key",
        "RAY_JOB_STOP_WAIT_TIME_S": "30",
    }
    assert made["env_vars"] == wanted
    assert made["config"]["setup_timeout_seconds"] == 60
    assert "pip" not in made
    assert "requirements: requirements.txt is not installed there, unless with --requirements\n" in done.output
    assert "not sent, though set here: AWS_SECRET_ACCESS_KEY (--env NAME sends one)\n" in done.output
    again = cluster.submitted[-1]["metadata"]["caviar_command"]
    assert "abc" not in again
    assert "b=c" not in again
    assert shlex.split(again)[:3] == ["caviar", "submit", "train.py"]
    assert shlex.split(again)[3:] == [
        "--address",
        address,
        "--out",
        "s3://b/x",
        "--env",
        "TOKEN",
        "--env",
        "A",
        *more[4:],
    ]


def test_packages_are_installed_where_that_is_said(invoke, project, cluster, address):
    (project / "needs.txt").write_text("scikit-learn  # for digits\n")
    options = ["--address", address, "--out", "s3://b/x", "--detach", "--requirements", "needs.txt"]
    done = invoke("submit", "train.py", *options)
    assert "requirements: 1 from needs.txt" in done.output
    assert cluster.submitted[-1]["runtime_env"]["pip"]["packages"] == ["scikit-learn"]
    (project / "env.json").write_text('{"uv": ["numpy"]}')
    done = invoke("submit", "train.py", *options, "--runtime-env", "env.json")
    assert done.exit_code == 2
    assert "env.json has packages too, under 'uv'" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["nope.py", "--out", "/shared/x"], "nope.py: no such file"),
        (["train.py", "--out", "runs/x"], "--out runs/x: a relative folder would go with the job's own"),
        (
            ["train.py", "--out", "/shared/x", "--working-dir", "lib"],
            "train.py: lies outside of the working directory",
        ),
        (["train.py", "--out", "/shared/x", "--working-dir", "nope"], "--working-dir nope: no such folder"),
        (["train.py", "--out", "/shared/x", "--env", "NOPE_NOPE"], "--env NOPE_NOPE: is not set here"),
        (["train.py", "--out", "/shared/x", "--job-id", "a b"], "--job-id 'a b': needs letters"),
        (["train.py"], "Missing option '--out'"),
    ],
)
def test_wrong_use_is_one_line_and_nothing_is_sent(invoke, project, cluster, address, arguments, why):
    done = invoke("submit", *arguments, "--address", address)
    assert done.exit_code == 2
    assert done.stderr.startswith(f"caviar: error: {why}")
    assert done.stderr.count("\n") == 1
    assert cluster.submitted == []
    assert "PUT package" not in cluster.seen


def test_too_large_a_folder_is_told_before_anything_is_sent(invoke, project, cluster, address, monkeypatch):
    for module in ("submission", "package"):
        monkeypatch.setattr(f"caviar.jobs.{module}.most_bytes", lambda: 1000)
    (project / "data.bin").write_bytes(bytes(range(256)) * 4 + Path(__file__).read_bytes()[:3000])
    done = invoke("submit", "train.py", "--address", address, "--out", "/shared/x")
    assert done.exit_code == 2
    assert done.stderr.count("\n") == 1
    assert "more than the 1.0 kB that Ray takes; the largest: data.bin (4.0 kB)" in done.stderr
    assert done.stdout.endswith("packing it, to see whether it then has less than the 1.0 kB that Ray takes\n")
    assert "PUT package" not in cluster.seen


def test_a_cluster_out_of_reach_and_one_that_asks_for_a_token(invoke, project):
    done = invoke("submit", "train.py", "--address", "http://127.0.0.1:1", "--out", "/shared/x")
    assert done.exit_code == 1
    assert done.stderr.startswith(
        "caviar: error: cannot reach a Ray cluster at http://127.0.0.1:1: nothing listens"
    )
    with serving(Dashboard(token="secret")) as address:
        done = invoke("submit", "train.py", "--address", address, "--out", "/shared/x")
    assert done.exit_code == 1
    assert "it asks for a token; set RAY_AUTH_MODE=token" in done.stderr


def test_while_a_job_is_at_the_sweep_it_is_named_and_followed_by_its_name(invoke, project, cluster, address):
    """Of `Dashboard` itself: job-1 is at /shared/runs/digits."""
    options = ["--address", address, "--out", "/shared/runs/digits"]
    done = invoke("submit", "train.py", *options)
    assert done.exit_code == 2
    assert done.stderr.startswith(
        "caviar: error: /shared/runs/digits: job job-1 is at it already: caviar logs job-1"
    )
    done = invoke("submit", "train.py", *options, "--job-id", "job-1", "--detach")
    assert done.exit_code == 0
    assert done.stdout.startswith("job job-1 is under way; its sweep: /shared/runs/digits\n")
    done = invoke("submit", "train.py", "--address", address, "--out", "/shared/other", "--job-id", "job-1")
    assert done.exit_code == 2
    assert "--job-id job-1: a job of this name is under way, at /shared/runs/digits" in done.stderr
    assert cluster.submitted == []
    cluster.end("FAILED")
    done = invoke("submit", "train.py", *options, "--job-id", "job-1")
    assert done.stdout.splitlines()[1].startswith("job job-1-2 submitted")
    cluster.job["status"] = "RUNNING"
    for job_id in ("job-1", "job-1-2"):
        done = invoke("submit", "train.py", *options, "--job-id", job_id, "--detach")
        assert done.exit_code == 0, done.output
        assert done.stdout.startswith("job job-1-2 is under way; its sweep: /shared/runs/digits\n")
    assert invoke("submit", "train.py", *options, "--job-id", "job", "--detach").exit_code == 2
    assert len(cluster.submitted) == 1


def test_ctrl_c_only_leaves(invoke, project, cluster, address, monkeypatch):
    def follow(jobs: Jobs, job: str) -> Iterator[str]:
        yield f"Running entrypoint for job {job}\nhalf a li"
        raise KeyboardInterrupt

    monkeypatch.setattr(Jobs, "follow", follow)
    done = invoke("submit", "train.py", "--address", address, "--out", "/shared/x")
    assert done.exit_code == 130
    name = cluster.submitted[0]["submission_id"]
    assert done.stderr.startswith(
        f"job {name} goes on; caviar logs {name} --address {address} --follow follows it again"
    )
    assert f"caviar cancel {name} --address {address} ends it" in done.stderr
    assert not any(line.endswith("/stop") for line in cluster.seen)


def test_the_lines_of_ray_are_not_those_of_the_job():
    pieces = ["setting up\nRunning entry", "point for job x: exec\none\ntw", "o\n\nthree"]
    assert list(own_lines(pieces)) == ["one", "two", "", "three"]
    assert list(own_lines(["setting up\n", "no job"])) == []


def test_nothing_is_made_here(invoke, project, cluster, address, tmp_path):
    out = tmp_path / "sweep"
    invoke("submit", "train.py", "--address", address, "--out", out)
    check_new(SweepFolder(out), 0)
    assert not out.exists()


def test_a_machine_without_the_extra_is_told_of_it(invoke, project, cluster, address, monkeypatch):
    monkeypatch.setitem(sys.modules, "pathspec", None)
    done = invoke("submit", "train.py", "--address", address, "--out", "/shared/x")
    assert done.exit_code == 2
    assert done.stderr.startswith("caviar: error: this machine lacks what speaks to a cluster: pip install ")
    assert '"caviar-sweep[cluster]"' in done.stderr
    assert not cluster.submitted

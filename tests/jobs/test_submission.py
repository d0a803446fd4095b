from __future__ import annotations

import shlex
import zipfile
from pathlib import Path

import pytest

import caviar
from caviar.errors import UsageError
from caviar.jobs.client import FOLDER, KIND, SWEEP, JobInfo
from caviar.jobs.outcome import exit_status, trouble
from caviar.jobs.submission import Submission, at_work, destination, free_id
from caviar.store.place import place


def job(name: str = "digits-1", status: str = "running", **more: object) -> JobInfo:
    facts: dict[str, object] = {
        "entrypoint": "",
        "metadata": {KIND: SWEEP, FOLDER: "s3://b/digits"},
        "start_time_s": 1.0,
        "end_time_s": None,
        "message": "",
        "exit_code": None,
        "node": "n",
    }
    return JobInfo(id=name, status=status, **{**facts, **more})  # type: ignore[arg-type]


def test_the_command_on_the_cluster_is_the_one_of_here():
    wanted = Submission(
        file="a b/train $1.py", name="sweep", out=place("s3://b/x y"), options=["--trials", "5", "--autoscale"]
    )
    program, *words = shlex.split(wanted.entrypoint.removeprefix("exec "))
    assert "python" in program
    assert words[:2] == ["-m", "caviar.jobs.entry"]
    assert words[2:] == ["./a b/train $1.py:sweep", "--out", "s3://b/x y", "--trials", "5", "--autoscale"]


@pytest.mark.parametrize("out", ["s3://b/x", "gs://b/x/", "/shared/x"])
def test_a_sweep_goes_where_every_machine_finds_it(out):
    assert str(destination(out)) == out.rstrip("/")


@pytest.mark.parametrize("out", ["/shared/runs/../x", "/shared//x/", "//shared/x", "/shared/./x", "/../shared/x"])
def test_a_folder_is_the_same_in_whichever_way_it_is_spelled(out):
    assert str(destination(out)) == "/shared/x"
    mine = job("d", metadata={FOLDER: out, KIND: "sweep"})
    assert at_work([mine], destination("/shared/x")) == mine
    assert at_work([mine], destination("/shared/y")) is None


@pytest.mark.parametrize("out", ["runs/digits", "./digits", "digits"])
def test_a_relative_folder_is_refused_with_what_is_meant(out):
    with pytest.raises(
        UsageError, match=r"--out .*: a relative folder .* s3://bucket/digits, .*/shared/(runs/)?digits$"
    ):
        destination(out)


def test_the_job_that_has_a_sweep_in_hand_is_found():
    others = [
        job("a", "failed"),
        job("b", metadata={FOLDER: "s3://b/digits", KIND: "query"}),
        job("c", metadata={}),
    ]
    assert at_work(others, place("s3://b/digits")) is None
    assert at_work([*others, job("d", "pending")], place("s3://b/digits/")).id == "d"  # type: ignore[union-attr]
    assert at_work([job("d")], place("s3://b/other")) is None


def test_a_job_is_called_after_its_file_and_its_successor_after_it():
    made = {free_id(None, [], stem="my digits.v2") for _ in range(20)}
    assert len(made) == 20
    assert all(name.startswith("my-digits-v2-") for name in made)
    assert free_id("nightly", [], stem="x") == "nightly"
    ended = [job("nightly", "failed"), job("nightly-2", "stopped"), job("nightly-3")]
    assert free_id("nightly", ended, stem="x") == "nightly-4"
    with pytest.raises(UsageError, match="--job-id nightly-3: a job of this name is under way, at s3://b/digits"):
        free_id("nightly-3", ended, stem="x")
    for name in ("a/b", "", "-a", "a b", "x" * 101):
        with pytest.raises(UsageError, match=r"--job-id .*: needs letters"):
            free_id(name, [], stem="x")


PIP = """runtime_env setup failed: Failed to set up runtime environment.
Traceback (most recent call last):
    Looking in indexes: https://pypi.org/simple
    ERROR: Could not find a version that satisfies the requirement nope==1.2 (from versions: none)
    ERROR: No matching distribution found for nope==1.2

The pip environment could not be made.
"""


@pytest.mark.parametrize(
    ("ended", "status", "said"),
    [
        (job(status="succeeded", exit_code=0), 0, None),
        (job(status="failed", exit_code=1), 1, None),
        (job(status="failed", exit_code=2), 2, None),
        (job(status="failed", exit_code=130), 130, None),
        (job(status="failed", exit_code=3), 1, None),
        (job(status="stopped"), 130, "job digits-1 was cancelled"),
        (
            job(status="failed", exit_code=-9),
            1,
            "was ended by SIGKILL (where nobody did that, for want of memory)",
        ),
        (job(status="failed", exit_code=-15), 1, "the driver of job digits-1 was ended by SIGTERM"),
        (job(status="failed", exit_code=127), 1, "no python on the PATH of the cluster's head"),
        (
            job(status="failed", node=None, message=PIP),
            1,
            "could not begin: No matching distribution found for nope==1.2",
        ),
        (
            job(status="failed", message="Job supervisor actor died: x\nThe node was lost."),
            1,
            "was lost: The node was lost",
        ),
        (job(status="failed", node=None), 1, "could not begin: Ray does not say why"),
    ],
)
def test_what_came_of_a_job_is_an_exit_status_and_at_most_a_line(ended, status, said):
    assert exit_status(ended) == status
    problem = trouble(ended)
    if said is None:
        assert problem is None
    else:
        assert problem is not None
        assert said in problem
        assert "\n" not in problem


def test_packages_are_not_kept_on_this_machine(tmp_path: Path, monkeypatch):
    from caviar.jobs import submission
    from caviar.jobs.working_dir import survey

    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "tmp"))
    (tmp_path / "tmp").mkdir()
    (tmp_path / "project").mkdir()
    (tmp_path / "project/train.py").write_text("x")
    seen = {}

    class Jobs:
        def submit(self, entrypoint, *, runtime_env, job_id, metadata):
            seen.update(runtime_env)
            assert zipfile.ZipFile(runtime_env["working_dir"]).namelist() == ["train.py"]
            seen["metadata"], seen["id"] = metadata, job_id

    wanted = submission.Submission(
        file="train.py",
        name=None,
        out=place("/shared/x"),
        environment={"env_vars": {"A": "1"}, "py_modules": ["lib"], "pip": ["numpy"]},
    )
    wanted.send(Jobs(), "train-1", survey(tmp_path / "project"), command="caviar submit train.py")
    assert list((tmp_path / "tmp").iterdir()) == []
    assert seen["env_vars"] == {"A": "1", "RAY_JOB_STOP_WAIT_TIME_S": "30"}
    assert seen["py_modules"] == [str(Path(caviar.__file__).parent), "lib"]
    assert seen["pip"] == ["numpy"]
    assert seen["id"] == "train-1"
    assert seen["metadata"]["caviar_folder"] == "/shared/x"
    assert seen["metadata"]["caviar_command"] == "caviar submit train.py"

from __future__ import annotations

import json

import pytest

import caviar

FAILING = """
import caviar

def train(trial):
    raise ValueError(f"bad lr in trial {trial.id // 3}")

sweep = caviar.Sweep(train, caviar.Space(lr=caviar.Float(0.1, 1)), metric="loss", trials=4, retries=0)
"""

INTERRUPTED = """
import signal

import caviar

def train(trial):
    for step in trial.steps():
        trial.report(loss=1.0)
    if trial.id == 1:
        signal.raise_signal(signal.SIGINT)

sweep = caviar.Sweep(train, caviar.Space(lr=caviar.Float(0.1, 1)), metric="loss", trials=5, max_step=3)
"""


def run(invoke, file, out, *options):
    return invoke("run", file, "--executor", "inline", "--out", out, *options)


def test_runs_and_says_what_it_found(invoke, experiment, tmp_path):
    out = tmp_path / "out"
    result = run(invoke, experiment, out)
    assert result.exit_code == 0
    assert result.stderr == ""
    lines = result.stdout.splitlines()
    assert lines[-5:] == [
        "5 trials: 3 completed, 1 stopped, 1 failed",
        "best loss 0.025 at step 4 of trial 4:",
        "  lr=0.1 optimizer=adam",
        "early stopping saved 12% of the steps: 15 trained instead of 17",
        f"everything is in {out}",
    ]
    assert lines[-6].endswith("; finished")
    assert caviar.load(out).counts() == {"completed": 3, "stopped": 1, "failed": 1}


def test_the_folder_is_named_after_the_file(invoke, experiment, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert invoke("run", experiment.name, "--executor", "inline").exit_code == 0
    assert caviar.load("runs/experiment").status == "finished"


def test_json(invoke, experiment, tmp_path):
    result = run(invoke, experiment, tmp_path / "out", "--json")
    assert result.exit_code == 0
    *progress, last = map(json.loads, result.stdout.splitlines())
    assert {line["kind"] for line in progress} == {"progress"}
    assert progress[-1]["state"] == "finished"
    states = {"pending": 0, "running": 0, "paused": 0, "completed": 3, "stopped": 1, "failed": 1}
    assert progress[-1]["counts"] == states
    assert last["kind"] == "result"
    assert last["folder"] == str(tmp_path / "out")
    assert last["best"] == {
        "trial": 4,
        "params": {"lr": 0.1, "optimizer": "adam"},
        "value": 0.025,
        "step": 4,
        "metrics": {"loss": 0.025, "accuracy": 0.975},
    }


def test_the_command_line_overrides_the_file(invoke, experiment, tmp_path):
    options = ("--trials", 6, "--max-step", 3, "--seed", 9, "--cpus", 2, "--gpus", 0.5)
    assert run(invoke, experiment, tmp_path / "out", *options).exit_code == 0
    declared = caviar.load(tmp_path / "out").declaration
    assert (declared["trials"], declared["max_step"], declared["seed"]) == (6, 3, 9)
    assert (declared["resources"]["cpus"], declared["resources"]["gpus"]) == (2, 0.5)


def test_a_name_says_which_sweep(invoke, write, tmp_path):
    path = write(FAILING.replace("raise", "trial.report(loss=1.0) #") + "\nother = sweep.but(trials=2)\n")
    assert run(invoke, f"{path}:other", tmp_path / "out").exit_code == 0
    assert caviar.load(tmp_path / "out").declaration["trials"] == 2


def test_when_nothing_works_it_says_why_and_how_to_learn_more(invoke, write, tmp_path):
    out = tmp_path / "out"
    result = run(invoke, write(FAILING), out)
    assert result.exit_code == 1
    assert result.stderr == (
        "caviar: error: no trial completed or was stopped: 4 failed, 3 times with: ValueError: bad lr in trial 0 "
        f"(traceback: caviar events {out} --trial 0)\n"
    )
    assert 'raise ValueError(f"bad lr' in invoke("events", out, "--trial", 0).stdout


def test_within_a_job_it_is_not_said_how_to_go_on(invoke, write, tmp_path, monkeypatch):
    monkeypatch.setenv("CAVIAR_WITHIN_JOB", "1")
    out = tmp_path / "out"
    result = run(invoke, write(INTERRUPTED), out)
    assert (result.exit_code, result.stderr) == (130, f"interrupted; everything so far is in {out}\n")


def test_ctrl_c(invoke, write, tmp_path):
    out = tmp_path / "out"
    result = run(invoke, write(INTERRUPTED), out)
    assert result.exit_code == 130
    assert result.stderr == f"interrupted; everything so far is in {out}; go on with: caviar resume {out}\n"
    found = caviar.load(out)
    assert found.status == "interrupted"
    assert len(found.curves()) >= 6

    watched = invoke("watch", out)
    assert watched.exit_code == 1
    assert watched.stderr.startswith(f"{out}: interrupted: ")
    assert f"{out}: interrupted, " in invoke("status", out).stdout
    stopped = invoke("stop", out)
    assert stopped.exit_code == 2
    assert stopped.stderr == (
        f"caviar: error: {out}: is not running (interrupted), so there is nothing to stop; caviar resume {out}, "
        "in Python run(..., resume=True), goes on with it\n"
    )


def test_ctrl_c_before_anything_was_started(invoke, write, tmp_path):
    path = write(
        FAILING
        + """
class Interrupted(caviar.RandomSampler):
    def begin(self, *args, **kwargs):
        raise KeyboardInterrupt

sweep = sweep.but(sampler=Interrupted())
"""
    )
    result = run(invoke, path, tmp_path / "out")
    assert (result.exit_code, result.stderr) == (130, "interrupted; nothing was started yet\n")
    assert not (tmp_path / "out").exists()


def test_an_existing_folder_is_refused_and_left_alone(invoke, experiment, tmp_path, finished):
    before = sorted(path.name for path in finished.rglob("*"))
    result = run(invoke, experiment, finished)
    assert result.exit_code == 2
    assert result.stderr.startswith(f"caviar: error: {finished}: already holds a sweep")
    assert result.stdout == ""
    assert sorted(path.name for path in finished.rglob("*")) == before


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--executor", "inline", "--workers", 2], "--workers 2: the inline executor has none"),
        (["--executor", "inline", "--address", "auto"], "--address auto: the inline executor has none"),
        (["--executor", "inline", "--cpus", 1.5], "Resources(cpus=1.5): a fraction must be below 1"),
        (["--executor", "inline", "--seed", -1], "Sweep(seed=-1)"),
    ],
)
def test_wrong_options(invoke, experiment, tmp_path, options, says):
    result = invoke("run", experiment, "--out", tmp_path / "out", *options)
    assert result.exit_code == 2
    assert result.stderr.startswith("caviar: error: ")
    assert says in result.stderr
    assert result.stderr.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_a_file_that_cannot_be_loaded(invoke, write, tmp_path):
    path = write("1 / 0\n")
    result = run(invoke, path, tmp_path / "out")
    assert result.exit_code == 2
    assert result.stderr == f"caviar: error: {path}:1: ZeroDivisionError: division by zero\n"
    debugged = run(invoke, path, tmp_path / "out", "--debug")
    assert "Traceback" in debugged.stderr
    assert debugged.stderr.endswith(result.stderr)
    assert not (tmp_path / "out").exists()

"""``caviar run FILE --plan``."""

from __future__ import annotations

import json

import pytest

from tests.cli.conftest import EXPERIMENT

SLOW = EXPERIMENT.replace(
    "for step in trial.steps():", "for step in trial.steps():\n        time.sleep(0.01)"
).replace("import caviar\n", "import time\n\nimport caviar\n", 1)


def plan(invoke, file, tmp_path, *options):
    return invoke("run", file, "--out", tmp_path / "out", "--plan", *options)


def test_without_training(invoke, experiment, tmp_path):
    result = plan(invoke, experiment, tmp_path, "--measure-s", 0, "--workers", 2)
    assert (result.exit_code, result.stderr) == (0, "")
    lines = result.stdout.splitlines()
    assert lines[0] == f"plan of {experiment}; nothing is written"
    assert lines[1] == "  trials    5: 5 given, 0 sampled (random); each up to 1 attempt"
    assert "  max_step  4" in lines
    assert "  scheduler asha:grace_steps=2,reduction_factor=2" in lines
    assert any(line.startswith("            step 2: 5 trials judged, about ") for line in lines)
    assert any(line.startswith("  steps     about ") and line.endswith("it takes to stop none") for line in lines)
    assert "  time      not known" in lines
    assert "nothing was trained (--measure-s 0)" in lines[-1]
    assert not (tmp_path / "out").exists()


def test_measured(invoke, write, tmp_path):
    file = write(SLOW.replace("retries=0,", "retries=2, resources=caviar.Resources(price_per_hour=9.0),"))
    result = plan(invoke, file, tmp_path, "--measure-s", 20)
    assert result.exit_code == 0, result.output
    assert result.stderr == (
        "training some trials for up to 20 s, to see how long steps take; nothing of it is kept (--measure-s 0: "
        "not at all)\n"
    )
    facts = dict(line.strip().split(maxsplit=1) for line in result.stdout.splitlines()[1:])
    assert facts["trials"].endswith("each up to 3 attempts, where it fails")
    assert " ms" in facts["a"]
    assert facts["time"].startswith("about ")
    assert facts["cost"].endswith("at 9.00 an hour and worker")
    assert "1 of the 5 trials that were tried failed: ValueError: the loss exploded" in result.stdout
    assert not (tmp_path / "out").exists()


def test_for_machines(invoke, experiment, tmp_path):
    options = ("--measure-s", 0, "--json", "--executor", "inline", "--trials", 9, "--max-step", 8)
    result = plan(invoke, experiment, tmp_path, *options)
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert (found["kind"], found["trials"], found["max_step"], found["workers"]) == ("plan", 9, 8, 1)
    assert (
        found["steps"]["least"] <= found["steps"]["about"] <= found["steps"]["most"] <= found["steps_of_all"] == 72
    )
    assert [rung["step"] for rung in found["outlook"]["cohorts"][0]["rungs"]] == [2, 4]
    assert found["timings"] is None


def test_by_the_record_of_a_sweep_that_is_there(invoke, experiment, tmp_path):
    assert invoke("run", experiment, "--executor", "inline", "--out", tmp_path / "out").exit_code == 0
    before = sorted(path.name for path in (tmp_path / "out").rglob("*"))
    result = plan(invoke, experiment, tmp_path)
    assert (result.exit_code, result.stderr) == (0, ""), result.output
    assert f"5 trials, the record in {tmp_path / 'out'}" in result.stdout
    assert "holds a sweep already: to run this one it needs another --out" in result.stdout
    assert sorted(path.name for path in (tmp_path / "out").rglob("*")) == before


SCHEDULERS = {
    "caviar.RunAll()": "20; nothing is stopped early",
    "caviar.Hyperband(reduction_factor=2)": "bracket 2: ",
    "caviar.MedianStop(grace_steps=2)": "at most 20, at least 10, as nothing may be stopped early",
    "caviar.Patience(2)": "none stops before step 3",
    "caviar.Asha(spare=0.5)": " spared",
}


@pytest.mark.parametrize(("scheduler", "says"), SCHEDULERS.items())
def test_every_scheduler(invoke, write, tmp_path, scheduler, says):
    file = write(EXPERIMENT.replace("caviar.Asha(grace_steps=2, reduction_factor=2)", scheduler))
    result = plan(invoke, file, tmp_path, "--measure-s", 0)
    assert result.exit_code == 0, result.output
    assert says in result.stdout


def test_stages_a_grid_and_no_last_step(invoke, write, tmp_path):
    staged = write(EXPERIMENT.replace("retries=0,", "retries=0, stages=2, time_budget_s=7200,"))
    told = plan(invoke, staged, tmp_path, "--trials", 20, "--measure-s", 0).stdout
    assert "  stages    10, then 10 trials\n" in told
    assert "  time      not known; the time budget is 2 h\n" in told
    endless = write(EXPERIMENT.replace("    max_step=4,\n", ""))
    told = plan(invoke, endless, tmp_path, "--measure-s", 0).stdout
    assert "  max_step  until the function returns\n" in told
    assert "  steps     not known\n" in told
    assert "max_step=None: how far trials train is up to the training function" in told
    grid = write(
        EXPERIMENT.replace("retries=0,", "retries=0, sampler=caviar.GridSampler(2),").replace(
            "first=", "first=[] and "
        )
    )
    assert "5: sampled (grid)" not in plan(invoke, grid, tmp_path, "--measure-s", 0).stdout
    refused = plan(invoke, grid, tmp_path, "--measure-s", 0)
    assert (refused.exit_code, refused.stderr.count("\n")) == (2, 1)
    assert "5 trials, but the grid has 4 combinations" in refused.stderr
    assert "4: sampled (grid)" in plan(invoke, grid, tmp_path, "--trials", 4, "--measure-s", 0).stdout


def test_where_every_trial_fails(invoke, write, tmp_path):
    file = write("""
        import caviar

        def train(trial):
            raise ValueError("no such column")

        sweep = caviar.Sweep(train, caviar.Space(lr=caviar.Float(0.1, 1)), metric="loss", trials=3, max_step=3)
    """)
    result = plan(invoke, file, tmp_path, "--measure-s", 20)
    assert result.exit_code == 1
    assert result.stderr.splitlines()[-1] == (
        "caviar: error: all 3 trials that were tried failed, each time with: ValueError: no such column "
        "(--measure-s 0 plans without training)"
    )


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--measure-s", 3], "--measure-s 3: goes with --plan"),
        (["--plan", "--resume"], "--plan: is of a sweep that is yet to begin"),
        (["--plan", "--measure-s", -1], "-1"),
    ],
)
def test_wrong_options(invoke, experiment, tmp_path, options, says):
    result = invoke("run", experiment, "--out", tmp_path / "out", *options)
    assert result.exit_code == 2
    assert says in result.stderr
    assert not (tmp_path / "out").exists()


def test_a_cluster_that_is_out_of_reach(invoke, experiment, tmp_path, monkeypatch):
    monkeypatch.setattr("ray.is_initialized", lambda: False)  # as in a process of its own
    result = plan(invoke, experiment, tmp_path, "--address", "127.0.0.1:1", "--measure-s", 0)
    assert (result.exit_code, result.stderr.count("\n")) == (1, 1)
    assert "cannot reach Ray at 127.0.0.1:1" in result.stderr

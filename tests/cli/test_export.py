from __future__ import annotations

import json
import shutil

import pandas as pd
import pytest

import caviar


def test_csv_beside_the_sweep(invoke, finished, tmp_path, monkeypatch):
    monkeypatch.chdir(finished.parent)
    done = invoke("export", "sweep", "--to", "csv")
    assert done.exit_code == 0, done.output
    result = caviar.load(finished)
    count = f"5 trials, {len(result.curves())} reports and {len(result.events())} events"
    assert done.stdout == f"{count} are in sweep-csv: curves.csv, trials.csv, events.csv\n"
    trials = pd.read_csv("sweep-csv/trials.csv", index_col="trial")
    assert trials["best"].tolist() == result.top(5).sort_index()["value"].tolist()
    again = invoke("export", "sweep", "--to", "csv")
    assert again.exit_code == 2
    assert again.stderr == (
        "caviar: error: sweep-csv: is there already; replace it with --replace (in Python: replace=True)\n"
    )
    chosen = invoke("export", ".", "--to", "csv", "--out", tmp_path / "x")
    assert chosen.exit_code == 2  # the current folder is no sweep
    some = invoke("export", "sweep", "--to", "csv", "--replace", "--trial", 0, "--trial", 3, "--attempts", "all")
    assert some.stdout.startswith("2 of 5 trials, 5 reports and ")
    assert list(pd.read_csv("sweep-csv/curves.csv"))[:2] == ["trial", "attempt"]


def test_tensorboard(invoke, finished, tmp_path, monkeypatch):
    out = tmp_path / "with a blank"
    monkeypatch.setattr("caviar.cli.export.MANY_RUNS", 4)
    done = invoke("export", finished, "--to", "tensorboard", "--out", out)
    assert done.exit_code == 0, done.output
    assert done.stdout.splitlines()[1] == f"  tensorboard --logdir '{out}'"
    assert done.stderr.startswith("TensorBoard is slow with so many runs: --top ")
    assert json.loads((out / "export.json").read_text())["trials"] == 5
    few = invoke("export", finished, "--to", "tensorboard", "--out", out, "--replace", "--top", 3)
    assert few.stderr == ""
    assert sorted(path.name for path in out.iterdir() if path.is_dir()) == ["trial-0", "trial-1", "trial-4"]


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--to", "csv", "--trial", 99], "has no trial 99; it has trials 0 to 4"),
        (["--to", "csv", "--trial", 1, "--top", 1], "--top and --trial: give one of the two"),
        (["--to", "tensorboard", "--tidy"], "--tidy: is for --to csv"),
        (["--to", "tensorboard", "--attempts", "all"], "--attempts all: is for --to csv"),
        (["--to", "excel"], "'excel' is not one of 'csv', 'tensorboard'"),
        ([], "Missing option '--to'"),
    ],
)
def test_wrong_use(invoke, finished, tmp_path, options, told):
    done = invoke("export", finished, "--out", tmp_path / "out", *options)
    assert done.exit_code == 2
    assert told in done.stderr
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("to", ["csv", "tensorboard"])
def test_a_sweep_in_an_object_store(invoke, experiment, s3, tmp_path, monkeypatch, to):
    monkeypatch.chdir(tmp_path)
    assert invoke("run", experiment, "--executor", "inline", "--out", f"{s3}/sweep").exit_code == 0
    done = invoke("export", f"{s3}/sweep", "--to", to)
    assert done.exit_code == 0, done.output
    record = json.loads((tmp_path / f"sweep-{to}" / "export.json").read_text())
    assert (record["sweep"], record["trials"]) == (f"{s3}/sweep", 5)


@pytest.mark.parametrize("to", ["csv", "tensorboard"])
def test_a_running_sweep_is_exported_as_far_as_it_has_come(invoke, tmp_path, to):
    done = []

    def train(trial):
        for step in trial.steps():
            trial.report(loss=1 / step)
        if not done and caviar.load(tmp_path / "sweep").counts().get("completed", 0):
            done.append(invoke("export", tmp_path / "sweep", "--to", to))

    sweep = caviar.Sweep(train, caviar.Space(x=caviar.Float(0, 1)), metric="loss", trials=1000, max_step=3)
    result = sweep.run(tmp_path / "sweep", caviar.Inline())
    assert result.counts() == {"completed": 1000}
    assert done[0].exit_code == 0, done[0].output
    record = json.loads((tmp_path / f"sweep-{to}" / "export.json").read_text())
    assert record["status"] == "running"
    assert 0 < record["reports"] < len(result.curves())


def test_here_and_above(invoke, finished, tmp_path, monkeypatch):
    folder = shutil.copytree(finished, tmp_path / "sweep")
    monkeypatch.chdir(folder / "metrics")
    for where, name in (("..", "csv"), (".", "nothing")):
        invoke("export", where, "--to", "csv")
        assert (tmp_path / f"sweep-{name}").is_dir() == (name == "csv")
    monkeypatch.chdir(folder)
    assert invoke("export", ".", "--to", "tensorboard").stdout.splitlines()[1].endswith("sweep-tensorboard")

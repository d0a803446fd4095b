from __future__ import annotations

import io
import json

import caviar
from caviar.cli.zoom import _print
from caviar.space.narrowed import NarrowedSpace

MANY = """
import caviar


def train(trial):
    for step in trial.steps():
        trial.report(loss=abs(trial.params["x"] - 0.3) + 1 / step)


sweep = caviar.Sweep(
    train,
    caviar.Space(x=caviar.Float(0.0, 1.0), y=caviar.Choice(["a", "b"]), z=0.5),
    metric="loss",
    trials=60,
    max_step=2,
)
"""


def test_zoom_tells_old_and_new_ranges_why_and_what_next(invoke, write, tmp_path):
    folder = tmp_path / "sweep"
    assert invoke("run", write(MANY, "zoomed.py"), "--executor", "inline", "--out", folder).exit_code == 0
    found = caviar.load(folder).zoom()
    result = invoke("zoom", folder)
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    assert lines[0].split() == ["param", "old", "new", "why"]
    assert lines[1].split()[:4] == ["x", "0", "to", "1"]
    assert "the best 10 of 60 trials lie from" in lines[1]
    assert lines[2].startswith("y ")
    assert lines[-1].endswith(f"caviar zoom {folder} --run --trials N")
    code = result.stdout[result.stdout.index("space = caviar.Space(") :].rpartition(")\n\n")[0] + ")"
    namespace = {"caviar": caviar}
    exec(code, namespace)
    assert namespace["space"] == found
    data = json.loads(invoke("zoom", folder, "--json").stdout)
    assert NarrowedSpace.from_dict(data) == found
    assert data["share"] == found.share
    wider = json.loads(invoke("zoom", folder, "--json", "--top", "0.4", "--margin", "0.5", "--no-widen").stdout)
    assert wider["share"] > data["share"]


def test_zoom_of_a_small_sweep_says_what_is_missing(invoke, finished):
    result = invoke("zoom", finished)
    assert result.exit_code == 0
    assert "4 trials are too few to narrow lr: it takes 20" in result.stdout  # one failed
    assert result.stdout.splitlines()[-1].endswith(f"caviar extend {finished} --trials N")


def test_zoom_says_in_one_line_what_is_wrong(invoke, write, tmp_path, finished):
    assert invoke("zoom", finished, "--top", "0").exit_code == 2
    folder = tmp_path / "sweep"
    text = MANY.replace("abs(trial.params", "float('nan') * abs(trial.params").replace("trials=60", "trials=3")
    invoke("run", write(text, "diverging.py"), "--executor", "inline", "--out", folder)
    result = invoke("zoom", folder)
    assert result.exit_code == 1
    assert result.stderr.startswith("caviar: error: ")
    assert "no trial has reported a finite 'loss'" in result.stderr
    assert len(result.stderr.splitlines()) == 1


def test_on_a_terminal_the_reasons_are_wrapped_below(invoke, finished, monkeypatch):
    space = caviar.load(finished).zoom()
    screen = io.StringIO()
    monkeypatch.setattr(screen, "isatty", lambda: True)
    monkeypatch.setattr("sys.stdout", screen)
    monkeypatch.setenv("COLUMNS", "40")
    _print(space)
    monkeypatch.undo()
    lines = screen.getvalue().splitlines()
    assert max(map(len, lines)) <= 40
    assert lines[0].split() == ["param", "old", "new"]
    assert "as before" in lines[1]
    assert lines[2].startswith("  4 trials are too few")


def test_zoom_run_says_where_there_is_nothing_to_narrow(invoke, write, tmp_path):
    folder = tmp_path / "sweep"
    text = MANY.replace("trials=60", "trials=3")
    invoke("run", write(text, "unzoomed.py"), "--executor", "inline", "--out", folder)
    result = invoke("zoom", folder, "--run", "--executor", "inline")
    assert result.exit_code == 0, result.output
    assert "nothing to narrow: 3 more trials from the same space\n" in result.stdout
    assert len(caviar.load(folder).trials()) == 6

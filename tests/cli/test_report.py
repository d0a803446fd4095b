"""``caviar report``."""

from __future__ import annotations

import webbrowser
from pathlib import Path

import pytest
from click.testing import CliRunner

from caviar.cli import main
from caviar.cli.report import beside


def run(*args):
    return CliRunner().invoke(main, ["report", *map(str, args)])


@pytest.fixture
def folder(tmp_path):
    import caviar

    def train(trial):
        for step in trial.steps():
            trial.report(loss=trial.params["x"] / step)

    sweep = caviar.Sweep(train, caviar.Space(x=caviar.Float(0, 1)), metric="loss", trials=3, max_step=2)
    sweep.run(tmp_path / "sweep", executor=caviar.Inline())
    return tmp_path / "sweep"


def test_it_lies_beside_the_folder(folder):
    found = run(folder)
    assert found.exit_code == 0, found.output
    page = folder.with_name("sweep.html")
    assert found.output.startswith(f"{page}: ")
    assert "<h2>The best setting</h2>" in page.read_text("utf-8")
    assert run(folder, "--out", folder.parent / "new" / "a.html", "--title", "Mine").exit_code == 0
    assert "<h1>Mine</h1>" in (folder.parent / "new" / "a.html").read_text("utf-8")


def test_it_opens_in_the_browser(folder, monkeypatch):
    opened = []
    monkeypatch.setattr(webbrowser, "open", lambda url: opened.append(url) or False)
    found = run(folder, "--open")
    assert opened == [folder.with_name("sweep.html").as_uri()]
    assert "yourself" in found.stderr


def test_mistakes_are_one_line(folder, tmp_path):
    found = run(folder, "--out", tmp_path)
    assert (found.exit_code, found.stderr.count("\n")) == (2, 1)
    assert "is a folder" in found.stderr
    found = run(tmp_path / "nothing")
    assert found.exit_code != 0
    assert found.stderr.count("\n") == 1


def test_where_it_lies_without_out():
    assert beside(Path("runs/digits")) == Path("runs/digits.html")
    assert beside(Path("runs/v1.5")) == Path("runs/v1.5.html")
    assert beside(Path()) == Path.cwd().with_name(f"{Path.cwd().name}.html")
    assert beside("s3://bucket/sweeps/digits/") == Path("digits.html")


def test_out_is_a_file_beside_the_sweep(folder):
    found = run(folder, "--out", folder)
    assert found.exit_code != 0
    assert f"is a sweep folder; name a file, as in --out {folder.with_name('sweep.html')}" in found.output
    found = run(folder, "--out", folder.parent)
    assert f"is a folder; name a file, as in --out {folder.parent / 'report.html'}" in found.output

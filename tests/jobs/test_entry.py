from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from caviar.jobs import entry
from tests.pages import ROOT

FILE = """
import os, not_there_a.sub
import numpy.linalg as la
from not_there_b import thing
from . import sibling
import beside

try:
    import not_there_c
except ImportError:
    not_there_c = None

def train(trial):
    import not_there_d
"""


@pytest.fixture
def file(tmp_path, monkeypatch) -> Path:
    monkeypatch.setattr(sys, "path", sys.path.copy())
    (tmp_path / "train.py").write_text(FILE)
    (tmp_path / "beside.py").touch()
    return tmp_path / "train.py"


def test_what_caviar_needs_is_what_its_package_declares():
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["dependencies"]
    assert [re.split(r"[><=\[]", one)[0] for one in declared] == list(entry.NEEDED)


def test_modules_that_a_file_cannot_do_without_are_named_with_the_first_line(file):
    told = entry.wrong([f"{file}:sweep", "--out", "/x"])
    assert told is not None
    assert told.startswith(f"{file}:2: the cluster lacks not_there_a and not_there_b, which the file imports: ")
    assert "--requirements" in told


def test_a_file_that_is_complete_is_left_to_caviar_run(file):
    file.write_text("import numpy, beside\nimport caviar\n")
    assert entry.wrong([str(file), "--out", "/x"]) is None
    file.write_text("this is no Python")
    assert entry.wrong([str(file), "--out", "/x"]) is None


def test_what_caviar_itself_lacks_is_named(file, monkeypatch):
    file.write_text("")
    monkeypatch.setattr(entry, "_there", lambda name: name not in ("pyarrow", "scipy", "obstore"))
    assert "the cluster lacks pyarrow and scipy, which caviar needs" in (
        entry.wrong([str(file), "--out", "/x"]) or ""
    )
    for out in ("s3://b/x", "GS://b/x"):
        assert "lacks pyarrow, scipy and obstore" in (entry.wrong([str(file), "--out", out]) or "")


def test_an_old_python_is_named(file, monkeypatch):
    monkeypatch.setattr(sys, "version_info", (3, 9, 1))
    assert "the cluster has Python 3.9 " in (entry.wrong([str(file), "--out", "/x"]) or "")


def test_a_python_without_ray_is_named(file, monkeypatch):
    monkeypatch.setattr(entry, "_there", lambda name: name != "ray")
    assert "has no Ray" in (entry.wrong([str(file), "--out", "/x"]) or "")


def test_it_needs_nothing_but_python_to_say_so(file):
    ended = subprocess.run(
        [sys.executable, "-S", "-m", "caviar.jobs.entry", str(file), "--out", "/x"],
        cwd=ROOT,
        env={"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 2
    assert re.fullmatch(r"caviar: error: .* has no Ray: .*\n", ended.stderr)
    assert ended.stdout == ""


def test_it_becomes_caviar_run_in_the_python_that_ray_has(file, monkeypatch):
    file.write_text("")
    calls = []

    class BecameError(Exception):
        pass

    def become(program, words):
        calls.append((program, words))
        raise BecameError

    monkeypatch.setattr("os.execv", become)
    monkeypatch.setenv(entry.WITHIN_JOB, "")
    with pytest.raises(BecameError):
        entry.main([str(file), "--out", "/x", "--trials", "3"])
    run = ["-m", "caviar", "run", str(file), "--out", "/x", "--trials", "3", "--resume"]
    assert calls.pop() == (sys.executable, [sys.executable, *run])
    assert os.environ[entry.WITHIN_JOB] == "1"
    monkeypatch.setattr(entry, "_there", lambda name: name != "ray")
    monkeypatch.setattr(entry, "rays_python", lambda: "/opt/ray/bin/python")
    with pytest.raises(BecameError):
        entry.main([str(file), "--out", "/x"])
    assert calls.pop() == (
        "/opt/ray/bin/python",
        ["/opt/ray/bin/python", "-m", "caviar.jobs.entry", str(file), "--out", "/x"],
    )


def test_the_python_of_a_raylet_above_is_found(tmp_path):
    ask = "import caviar.jobs.entry as entry; print(entry.rays_python())"
    raylet = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {ask!r}])"
    told = subprocess.run(
        [sys.executable, "-c", raylet, "--python_worker_command=/opt/ray/bin/python worker.py --x"],
        cwd=ROOT,
        env={"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert told.stdout == "/opt/ray/bin/python\n"

"""What people type, whatever it is, is answered in one line."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from caviar.cli import main
from tests.faults.hostile import ROOT, command, fuzz

words = st.one_of(
    st.text(max_size=20),
    st.sampled_from(
        ["", "-", "--", "-1", "0", "1", "nan", "inf", "-inf", "1e400", "9" * 30, "0x10", "--trial", "-h"]
    ),
    st.sampled_from(["\udcff", "x" * 300, "x" * 5_000, "a/b", "../..", "/", "/dev/null", "~", "s3://b/x", "\n"]),
    st.sampled_from(
        [
            "loss",
            "-lr",
            "lr",
            "lr=0.1",
            "lr*=",
            "=",
            'lr="',
            "params.lr",
            "metrics.loss",
            "trial",
            "completed",
            "trial_sampled",
            "file:x",
        ]
    ),
)

options = st.sampled_from(
    [
        "--json",
        "--csv",
        "--trial",
        "--top",
        "--kind",
        "--tail",
        "--sort",
        "--status",
        "--timeout",
        "--debug",
        "--out",
        "--trials",
        "--max-step",
        "--seed",
        "--executor",
        "--address",
        "--workers",
        "--cpus",
        "--gpus",
        "--surprise",
        "-j",
        "-m",
        "--to-step",
        "--force",
        "--dry-run",
    ]
)


COMMANDS = [
    "status",
    "watch",
    "events",
    "trials",
    "best",
    "curves",
    "stop",
    "run",
    "set",
    "pause",
    "unpause",
    "rollback",
]


@fuzz(200)
@given(data=st.data())
def test_odd_words_on_the_command_line(whole: Path, tmp_path: Path, data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(COMMANDS))
    first = str(whole)
    if name == "run":
        file = tmp_path / "nothing.py"
        file.write_text("")
        first = str(file)
    rest = data.draw(st.lists(st.one_of(options, words), max_size=3))
    if data.draw(st.integers(0, 4)) == 0:
        first = data.draw(words)
    result = CliRunner().invoke(main, [name, *([first] if first != "" else []), *rest])
    unforeseen = result.exception is not None and not isinstance(result.exception, SystemExit)
    assert not unforeseen, (name, first, rest, result.exception)
    assert result.exit_code in (0, 1, 2)
    if "--debug" not in rest:
        assert "Traceback" not in result.output
        assert result.exit_code == 0 or result.stderr.count("\n") <= 2, result.stderr


@pytest.mark.parametrize(
    "words",
    [
        ["stop", "{}", "--timeout", "nan"],
        ["set", "{}", "lr=" + "9" * 5_000],
        ["set", "{}", "\udcff=1"],
        ["set", "{}", "lr=1", "-m", "\udcff"],
        ["rollback", "{}", "--to-step", "9" * 30],
        ["events", "{}", "--trial", "9" * 30],
        ["events", "{}", "--tail", "9" * 30],
        ["trials", "{}", "--top", "9" * 30],
        ["curves", "{}", "--trial", "-1"],
        ["curves", "{}", "--top", "9" * 30],
        ["best", "{}", "--top", "9" * 30],
        ["trials", "{}", "--sort", ""],
        ["trials", "{}", "--sort", "-"],
        ["status", "x" * 5_000],
        ["status", "{}/\udcff"],
        ["run", "x" * 5_000 + ".py"],
        ["run", "{}/sweep.json", "--executor", "inline"],
        ["run", "{}/sweep.json:sweep", "--trials", "9" * 30],
    ],
)
def test_numbers_and_names_beyond_reason(whole: Path, words: list[str]) -> None:
    command(*(word.replace("{}", str(whole)) for word in words))


def test_a_folder_whose_name_is_no_text(whole: Path) -> None:
    path = os.fsencode(whole.parent) + b"/\xff"
    shutil.copytree(os.fsencode(whole), path)
    for options in (["status"], ["status", "--json"]):
        done = subprocess.run(
            [sys.executable, "-m", "caviar", options[0], path, *options[1:]],
            capture_output=True,
            cwd=ROOT,
            timeout=60,
        )
        assert (done.returncode, done.stderr) == (0, b"")

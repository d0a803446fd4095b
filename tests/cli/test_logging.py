"""Lines on the standard error: text for people, JSON for machines."""

from __future__ import annotations

import json
import logging
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from caviar.cli import logs
from caviar.errors import UsageError
from tests.cli.conftest import EXPERIMENT

TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")
WARNS = EXPERIMENT.replace(
    "def train(trial):",
    "def train(trial):\n    import warnings\n    if trial.id == 0:\n        warnings.warn('it is old')",
)


def caviar(*args: Any, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "caviar", *map(str, args)],
        capture_output=True,
        text=True,
        timeout=100,
        env=os.environ | environment,
    )


def objects(text: str) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in text.splitlines()]
    for line in lines:
        assert list(line)[:4] == ["time", "level", "logger", "message"]
        assert TIME.fullmatch(line["time"])
    return lines


@pytest.mark.parametrize("by_option", [True, False])
def test_a_run_in_json(tmp_path: Path, by_option: bool) -> None:
    file = tmp_path / "experiment.py"
    file.write_text(WARNS)
    how = ["--log-format", "json"] if by_option else []
    environment = {} if by_option else {logs.VARIABLE: "json"}
    done = caviar("run", file, "--executor", "inline", "--out", tmp_path / "digits", *how, **environment)
    assert done.returncode == 0
    assert "5 trials: " in done.stdout
    lines = objects(done.stderr)
    assert {line["sweep"] for line in lines} == {"digits"}
    assert {line["folder"] for line in lines} == {str(tmp_path / "digits")}
    events = {line["event"]: line for line in lines if "event" in line}
    assert list(events) == ["driver_started", "sweep_started", "trial_ended", "sweep_ended"]
    failed = events["trial_ended"]
    assert (failed["level"], failed["logger"], failed["trial"], failed["attempt"], failed["step"]) == (
        ("INFO", "caviar.journal", 3, 0, 1)
    )
    assert "the loss exploded" in failed["message"]
    assert events["sweep_ended"]["trials"] == {"completed": 3, "stopped": 1, "failed": 1}
    (warning,) = [line for line in lines if line["level"] == "WARNING"]
    assert warning["logger"] == "py.warnings"
    assert "it is old" in warning["message"]


def test_text_is_as_quiet_as_ever(tmp_path: Path) -> None:
    file = tmp_path / "experiment.py"
    file.write_text(EXPERIMENT)
    done = caviar("run", file, "--executor", "inline", "--out", tmp_path / "sweep", "--log-format", "text")
    assert (done.returncode, done.stderr) == (0, "")


def test_an_error_in_json(tmp_path: Path) -> None:
    done = caviar("status", tmp_path / "nothing", "--log-format=json")
    assert (done.returncode, done.stdout) == (2, "")
    (line,) = objects(done.stderr)
    assert (line["level"], line["logger"]) == ("ERROR", "caviar.cli")
    assert line["message"] == f"{tmp_path / 'nothing'}: no such folder"
    assert "exception" not in line
    done = caviar("--debug", "status", tmp_path / "nothing", CAVIAR_LOG_FORMAT="json")
    (line,) = objects(done.stderr)
    assert "FolderError" in line["exception"]


def test_wrong_use_in_json() -> None:
    done = caviar("status", "--log-format", "json")
    assert done.returncode == 2
    (line,) = objects(done.stderr)
    assert line["message"] == "Missing argument 'DIR' (see caviar status --help)"


def test_a_format_that_there_is_not(tmp_path: Path) -> None:
    done = caviar("status", tmp_path, CAVIAR_LOG_FORMAT="xml")
    assert (done.returncode, done.stderr) == (2, "caviar: error: CAVIAR_LOG_FORMAT='xml': needs text or json\n")
    done = caviar("status", tmp_path, "--log-format", "xml")
    assert done.returncode == 2
    assert done.stderr.startswith("caviar: error: Invalid value for '--log-format': 'xml' is not one of")


@pytest.mark.parametrize(
    ("args", "variable", "expected"),
    [
        ([], None, "text"),
        ([], "", "text"),
        ([], "json", "json"),
        (["run", "--log-format", "json"], None, "json"),
        (["run", "--log-format=json"], None, "json"),
        (["run", "--log-format", "text"], "json", "text"),
        (["run", "--log-format"], None, "text"),
    ],
)
def test_the_option_comes_before_the_environment(
    args: list[str], variable: str | None, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(logs.VARIABLE, raising=False)
    if variable is not None:
        monkeypatch.setenv(logs.VARIABLE, variable)
    assert logs.asked_format(args) == expected


def test_the_environment_asks_for_what_there_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(logs.VARIABLE, "xml")
    with pytest.raises(UsageError, match="CAVIAR_LOG_FORMAT='xml': needs text or json"):
        logs.asked_format([])
    assert logs.asked_format(["--log-format", "json"]) == "json"


def test_a_line_has_what_it_was_given_and_nothing_else() -> None:
    record = logging.LogRecord("caviar.x", logging.WARNING, "x.py", 1, "trial %d: %s", (3, "über\n"), None)
    record.trial, record.node, record.secret = 3, Path("/n"), "x"
    line = json.loads(logs.JsonFormatter({"sweep": "digits"}).format(record))
    assert TIME.fullmatch(line.pop("time"))
    assert line == {
        "level": "WARNING",
        "logger": "caviar.x",
        "message": "trial 3: über\n",
        "sweep": "digits",
        "trial": 3,
        "node": "/n",
    }

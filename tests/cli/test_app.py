from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

import caviar
from caviar.cli.app import COMMANDS, Commands
from caviar.errors import CaviarError, FolderError

HEAVY = {"numpy", "pandas", "pyarrow", "ray", "rich", "scipy", "torch", "cloudpickle"}


@pytest.mark.parametrize(
    "args", [["--help"], ["run", "--help"], ["set", "--help"], ["--version"], ["trials", "--help"], ["nope"]]
)
def test_loads_nothing_heavy_before_a_command_runs(args):
    code = f"""
import json, sys
from caviar.cli import main
try:
    main({args!r}, prog_name="caviar")
except SystemExit:
    print(json.dumps(sorted(sys.modules)), file=sys.stderr)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert HEAVY.isdisjoint(json.loads(done.stderr.splitlines()[-1]))


def test_help_names_every_command(invoke):
    result = invoke("--help")
    assert result.exit_code == 0
    for name in COMMANDS:
        assert f"\n  {name} " in result.output


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help_and_debug(invoke, name):
    result = invoke(name, "--help")
    assert result.exit_code == 0
    assert "--debug" in result.output


def test_version(invoke):
    assert invoke("--version").output == f"caviar {caviar.__version__}\n"


def test_without_a_command_it_shows_help(invoke):
    result = invoke()
    assert result.exit_code == 2
    assert result.stderr.startswith("Usage: caviar")


def test_python_dash_m():
    done = subprocess.run(
        [sys.executable, "-m", "caviar", "--version"], capture_output=True, text=True, check=True
    )
    assert done.stdout == f"caviar {caviar.__version__}\n"


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (["nope"], "No such command 'nope' (see caviar --help)"),
        (["status"], "Missing argument 'DIR' (see caviar status --help)"),
        (["trials", "x", "--top", "0"], "'--top'"),
        (["best", "x", "--nope"], "No such option"),
        (["trials", "x", "--status", "done"], "'completed'"),
        (["run", "x", "--executor", "slurm"], "'ray', 'inline'"),
    ],
)
def test_wrong_use_is_one_line(invoke, args, says):
    result = invoke(*args)
    assert result.exit_code == 2
    assert result.stderr.startswith("caviar: error: ")
    assert says in result.stderr
    assert result.stderr.count("\n") == 1
    assert result.stdout == ""


@pytest.mark.parametrize("command", ["status", "watch", "events", "trials", "best", "curves"])
def test_a_folder_that_is_no_sweep(invoke, command, tmp_path):
    (tmp_path / "file").touch()
    for folder, says in (
        (tmp_path, "not a sweep folder"),
        (tmp_path / "nope", "no such folder"),
        (tmp_path / "file", "is a file"),
    ):
        result = invoke(command, folder)
        assert result.exit_code == 2
        assert result.stderr.startswith(f"caviar: error: {folder}: ")
        assert says in result.stderr
        assert result.stderr.count("\n") == 1


def raises(error: BaseException) -> click.Command:
    """A command line whose only command raises this."""

    class One(Commands):
        def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command:
            def callback() -> None:
                raise error

            return click.Command(
                "one", callback=callback, params=[click.Option(["--debug"], expose_value=False, is_flag=True)]
            )

    return One("caviar")


@pytest.mark.parametrize(
    ("error", "status", "stderr"),
    [
        (FolderError("runs/x: no"), 2, "caviar: error: runs/x: no\n"),
        (CaviarError("it\nfailed"), 1, "caviar: error: it failed\n"),
        (PermissionError(13, "Permission denied", "a/b"), 1, "caviar: error: a/b: Permission denied\n"),
        (click.ClickException("no"), 1, "caviar: error: no\n"),
        (BrokenPipeError(32, "Broken pipe"), 0, ""),
    ],
)
def test_errors_and_exit_statuses(error, status, stderr):
    result = CliRunner().invoke(raises(error), ["one"])
    assert (result.exit_code, result.stderr) == (status, stderr)


def test_interrupted():
    assert CliRunner().invoke(raises(KeyboardInterrupt()), ["one"]).exit_code == 130


def test_debug_shows_the_traceback():
    result = CliRunner().invoke(raises(CaviarError("it failed")), ["one", "--debug"])
    assert "Traceback (most recent call last)" in result.stderr
    assert result.stderr.endswith("caviar: error: it failed\n")


def test_a_bug_is_not_dressed_up_as_an_error_of_the_user():
    result = CliRunner().invoke(raises(ZeroDivisionError("bug")), ["one"])
    assert isinstance(result.exception, ZeroDivisionError)


def test_a_reader_that_has_seen_enough_hears_no_complaint(finished: Path):
    command = f"{sys.executable} -m caviar events {finished} --json | head -n 1; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)
    assert done.stderr == ""
    assert done.stdout.count("\n") == 1

from __future__ import annotations

import io
import json
import re

import pandas as pd
import pytest

import caviar
from caviar.cli.table import cell, plain, print_rows


def json_lines(result):
    assert result.exit_code == 0, result.output
    return [json.loads(line) for line in result.stdout.splitlines()]


def test_trials(invoke, finished):
    lines = invoke("trials", finished).stdout.splitlines()
    assert " ".join(lines[0].split()) == "trial status steps loss accuracy lr optimizer time reason"
    assert [line.split()[:2] for line in lines[1:]] == [
        ["0", "completed"], ["1", "completed"], ["2", "stopped"], ["3", "failed"], ["4", "completed"],
    ]  # fmt: skip
    assert lines[5].split()[2:7] == ["4", "0.025", "0.975", "0.1", "adam"]
    assert lines[4].endswith("ValueError: the loss exploded")


def test_trials_as_csv_and_json_have_every_column_and_digit(invoke, finished):
    expected = caviar.load(finished).trials().reset_index()
    frame = pd.read_csv(io.StringIO(invoke("trials", finished, "--csv").stdout))
    assert list(frame.columns) == list(expected.columns)
    assert frame["metrics.loss"].tolist() == expected["metrics.loss"].tolist()
    rows = json_lines(invoke("trials", finished, "--json"))
    assert [list(row) for row in rows] == [list(expected.columns)] * 5
    assert [row["metrics.loss"] for row in rows] == expected["metrics.loss"].tolist()
    assert pd.Timestamp(rows[0]["start_time"]) == expected["start_time"][0]
    assert rows[0]["reason"] is None
    assert rows[3]["reason"] == "ValueError: the loss exploded"


@pytest.mark.parametrize(
    ("options", "order"),
    [
        (["--sort", "lr"], [4, 1, 0, 2, 3]),
        (["--sort", "-params.lr"], [3, 2, 0, 1, 4]),
        (["--sort", "metrics.loss"], [4, 1, 0, 2, 3]),
        (["--sort", "-loss"], [3, 2, 0, 1, 4]),
        (["--sort", "optimizer"], [1, 4, 0, 2, 3]),
        (["--sort", "-trial"], [4, 3, 2, 1, 0]),
        (["--top", "2"], [4, 1]),
        (["--top", "2", "--sort", "trial"], [0, 1]),
        (["--status", "completed"], [0, 1, 4]),
        (["--status", "pending"], []),
    ],
)
def test_trials_sorted_and_chosen(invoke, finished, options, order):
    assert [row["trial"] for row in json_lines(invoke("trials", finished, "--json", *options))] == order


def test_a_metric_to_maximise_is_sorted_best_first(invoke, write, tmp_path):
    path = write(
        """
        import caviar

        def train(trial):
            if trial.id != 1:
                trial.report(score=float(trial.id))

        space = caviar.Space(x=caviar.Float(0, 1))
        sweep = caviar.Sweep(train, space, metric="score", mode="max", trials=4, retries=0)
        """
    )
    assert invoke("run", path, "--executor", "inline", "--out", tmp_path / "out").exit_code == 0
    rows = json_lines(invoke("trials", tmp_path / "out", "--json", "--sort", "score"))
    assert [row["trial"] for row in rows] == [3, 2, 0, 1]  # what is missing comes last


@pytest.mark.parametrize("column", ["nope", "-nope"])
def test_an_unknown_column(invoke, finished, column):
    result = invoke("trials", finished, "--sort", column)
    assert result.exit_code == 2
    assert result.stderr.startswith("caviar: error: --sort nope: 'nope' is no column; there are trial, stage, ")
    assert result.stderr.count("\n") == 1


def test_best(invoke, finished):
    assert invoke("best", finished).stdout.splitlines() == [
        "loss 0.025 at step 4 of trial 4",
        "  lr         0.1",
        "  optimizer  adam",
        "there: accuracy=0.975",
    ]


def test_best_for_machines(invoke, finished):
    assert json_lines(invoke("best", finished, "--json")) == [
        {
            "trial": 4,
            "metric": "loss",
            "value": 0.025,
            "step": 4,
            "params": {"lr": 0.1, "optimizer": "adam"},
            "metrics": {"loss": 0.025, "accuracy": 0.975},
        }
    ]


def test_best_few(invoke, finished):
    lines = invoke("best", finished, "--top", 2).stdout.splitlines()
    assert [line.split() for line in lines] == [
        ["trial", "loss", "step", "status", "lr", "optimizer"],
        ["4", "0.025", "4", "completed", "0.1", "adam"],
        ["1", "0.05", "4", "completed", "0.2", "adam"],
    ]
    assert [row["trial"] for row in json_lines(invoke("best", finished, "--top", 3, "--json"))] == [4, 1, 0]
    frame = pd.read_csv(io.StringIO(invoke("best", finished, "--csv").stdout))
    assert frame["value"].tolist() == [0.025]


def test_best_of_nothing(invoke, write, tmp_path):
    path = write(
        """
        import caviar

        def train(trial):
            trial.report(loss=float("nan"))

        sweep = caviar.Sweep(train, caviar.Space(x=caviar.Float(0, 1)), metric="loss", trials=1)
        """
    )
    ran = invoke("run", path, "--executor", "inline", "--out", tmp_path / "out")
    assert ran.exit_code == 0
    assert "no trial has reported a finite 'loss' yet" in ran.stdout
    result = invoke("best", tmp_path / "out")
    assert result.exit_code == 1
    assert result.stderr.count("\n") == 1
    assert json_lines(invoke("curves", tmp_path / "out", "--json"))[0]["loss"] is None
    assert invoke("curves", tmp_path / "out").exit_code == 0


def test_curves_are_drawn_best_first(invoke, finished):
    lines = [line.split() for line in invoke("curves", finished).stdout.splitlines()]
    assert lines[0][:3] == ["trial", "status", "reports"]
    assert [line[0] for line in lines[1:]] == ["4", "1", "0", "2", "3"]
    assert lines[1] == ["4", "completed", "4", "0.025", "4", "▁▁▁▁"]
    assert lines[5] == ["3", "failed", "1", "1.0", "1", "█"]
    assert len(invoke("curves", finished, "--top", 2).stdout.splitlines()) == 3


def test_curves_in_numbers(invoke, finished):
    lines = [line.split() for line in invoke("curves", finished, "--trial", 2).stdout.splitlines()]
    assert lines[0] == ["trial", "step", "time", "loss", "accuracy"]
    assert [(line[1], line[-2]) for line in lines[1:]] == [("1", "0.8"), ("2", "0.4")]
    expected = caviar.load(finished).curves()
    frame = pd.read_csv(io.StringIO(invoke("curves", finished, "--csv").stdout), parse_dates=["time"])
    assert list(frame.columns) == list(expected.columns)
    assert frame["loss"].tolist() == expected["loss"].tolist()
    assert frame["time"].tolist() == expected["time"].tolist()
    rows = json_lines(invoke("curves", finished, "--trial", 2, "--trial", 3, "--json"))
    assert [row["trial"] for row in rows] == [2, 2, 3]


@pytest.mark.parametrize("command", ["curves", "events"])
def test_an_unknown_trial(invoke, finished, command):
    result = invoke(command, finished, "--trial", 99)
    assert result.exit_code == 2
    assert result.stderr == f"caviar: error: {finished}: has no trial 99; it has trials 0 to 4\n"


def on_a_terminal(monkeypatch, width: int, names, rows) -> list[str]:
    screen = io.StringIO()
    monkeypatch.setattr(screen, "isatty", lambda: True)
    monkeypatch.setattr("sys.stdout", screen)
    monkeypatch.setenv("COLUMNS", str(width))
    monkeypatch.setenv("TERM", "xterm")
    print_rows(names, rows, right=[True] * len(names))
    monkeypatch.undo()
    return [re.sub(r"\x1b\[\d*m", "", line).rstrip() for line in screen.getvalue().splitlines()]


def test_a_table_on_a_terminal(monkeypatch):
    assert on_a_terminal(monkeypatch, 40, ["trial", "lr"], [["1", "0.5"], ["22", "0.25"]]) == [
        "trial    lr",
        "    1   0.5",
        "   22  0.25",
    ]


def test_columns_that_a_terminal_has_no_room_for_are_named(monkeypatch):
    lines = on_a_terminal(monkeypatch, 16, ["trial", "status", "lr", "loss"], [["1", "completed", "0.1", "0.5"]])
    assert lines[:2] == ["trial     status", "    1  completed"]
    assert " ".join(lines[2:]).startswith("no room for lr, loss")


def test_what_json_has_no_word_for():
    times = pd.Series([pd.Timestamp("2026-01-02T03:04:05Z"), pd.NaT])
    value = {"a": float("nan"), "b": [float("inf"), 1], "c": pd.NA, "d": times[1], "e": times[0], "f": "x"}
    assert plain(value) == {
        "a": None, "b": [None, 1], "c": None, "d": None, "e": "2026-01-02T03:04:05+00:00", "f": "x",
    }  # fmt: skip


def test_cells():
    assert [cell(value) for value in (float("nan"), float("inf"), None, pd.NA, 3, "x", True)] == [
        "-", "inf", "-", "-", "3", "x", "True",
    ]  # fmt: skip

"""``caviar importance``."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result

from caviar.cli.importance import BAR_WIDTH, METHODS, bar

Invoke = Callable[..., Result]

EXPERIMENT = """
import caviar


def train(trial):
    trial.report(loss=abs(trial.params["x"] - 0.3) + 0.001 * trial.params["y"])


sweep = caviar.Sweep(
    train, caviar.Space(x=caviar.Float(0, 1), y=caviar.Float(0, 1)), metric="loss", trials=60, max_step=1
)
"""


@pytest.fixture(scope="module")
def valley(tmp_path_factory: pytest.TempPathFactory, invoke: Invoke) -> Path:
    """A sweep in which x decides and y does not."""
    folder = tmp_path_factory.mktemp("valley")
    file = folder / "valley_experiment.py"
    file.write_text(EXPERIMENT)
    result = invoke("run", file, "--executor", "inline", "--out", folder / "sweep")
    assert result.exit_code == 0, result.output
    return folder / "sweep"


def test_the_summary_then_a_table_with_bars(invoke: Invoke, valley: Path) -> None:
    result = invoke("importance", valley)
    assert result.exit_code == 0, result.output
    first, blank, head, x, y = result.output.splitlines()
    assert first.startswith("x decides ")
    assert blank == ""
    assert head.split() == ["param", "share", "interval", "noise", "verdict", "tried"]
    assert x.split()[0] == "x"
    assert x.count("█") > 20
    assert "matters" in x
    assert y.split()[0] == "y"
    assert y.count("█") < 5


def test_pairs(invoke: Invoke, valley: Path) -> None:
    output = invoke("importance", valley, "--pairs").output
    assert "x with y" in output.splitlines()[-1]


def test_json(invoke: Invoke, valley: Path) -> None:
    said = json.loads(invoke("importance", valley, "--json").output)
    assert said["method"] == "anova"
    assert [row["param"] for row in said["params"]] == ["x", "y"]
    assert said["params"][0]["importance"] > 0.7


def test_another_method(invoke: Invoke, valley: Path) -> None:
    pytest.importorskip("optuna")
    said = json.loads(invoke("importance", valley, "--method", "ped-anova", "--json").output)
    assert said["method"] == "ped-anova"
    assert said["params"][0]["param"] == "x"


def test_a_stage(invoke: Invoke, valley: Path) -> None:
    assert invoke("importance", valley, "--stage", "0").exit_code == 0
    result = invoke("importance", valley, "--stage", "3")
    assert result.exit_code == 2
    assert "stage=3" in result.output


def test_too_few_trials_is_one_line(invoke: Invoke, finished: Path) -> None:
    result = invoke("importance", finished)
    assert result.exit_code == 1
    assert len(result.output.splitlines()) == 1
    assert "takes 10" in result.output


def test_bars_show_the_share_and_its_interval(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("caviar.cli.importance.speaks_unicode", lambda: True)
    assert bar(0.5, 0.2, 1.0) == "█" * (BAR_WIDTH // 2) + "─" * (BAR_WIDTH // 2)
    assert bar(0.0, 0.0, 0.0) == ""
    monkeypatch.setattr("caviar.cli.importance.speaks_unicode", lambda: False)
    assert bar(0.1, 0.0, 0.2) == "###---"


def test_the_methods_are_those_of_the_result() -> None:
    from typing import get_args

    from caviar.analysis.importance import Method

    assert get_args(Method) == METHODS

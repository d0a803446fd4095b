"""The command line as tests call it, and small sweeps for it to look at."""

from __future__ import annotations

import logging
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from caviar.cli import logs, main

Invoke = Callable[..., Result]
Write = Callable[..., Path]

EXPERIMENT = """
import caviar


def train(trial):
    for step in trial.steps():
        loss = trial.params["lr"] / step
        trial.report(loss=loss, accuracy=1 - loss)
        if trial.params["lr"] > 0.9:
            raise ValueError("the loss exploded")


sweep = caviar.Sweep(
    train,
    caviar.Space(lr=caviar.Float(0.1, 1.0), optimizer=caviar.Choice(["sgd", "adam"])),
    metric="loss",
    trials=5,
    max_step=4,
    retries=0,
    scheduler=caviar.Asha(grace_steps=2, reduction_factor=2),
    first=[
        {"lr": 0.4, "optimizer": "sgd"},
        {"lr": 0.2, "optimizer": "adam"},
        {"lr": 0.8, "optimizer": "sgd"},
        {"lr": 1.0, "optimizer": "sgd"},
        {"lr": 0.1, "optimizer": "adam"},
    ],
)
"""
"""Trials 0, 1 and 4 complete, 2 is stopped at step 2, 3 fails; the best is 4 with a loss of 0.025."""


@pytest.fixture(scope="session")
def invoke() -> Invoke:
    """Call the command line in this process."""
    return lambda *args: CliRunner().invoke(main, [str(arg) for arg in args])


@pytest.fixture
def own_logging() -> Iterator[None]:
    """Whatever the command line makes of logging ends with the test."""
    ours = logging.getLogger("caviar")
    level = ours.level
    yield
    logs.configure(debug=False, as_json=False)
    ours.setLevel(level)


@pytest.fixture(autouse=True)
def _imports_undone() -> Iterator[None]:
    """A loaded file leaves its folder on the path, and itself among the modules: not beyond a test."""
    path, modules = sys.path.copy(), set(sys.modules)
    yield
    sys.path[:] = path
    for name in set(sys.modules) - modules:
        file = getattr(sys.modules[name], "__file__", None) or ""
        if "pytest-" in file:
            del sys.modules[name]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Write a file of Python into the test's folder."""

    def write(text: str, name: str = "experiment.py") -> Path:
        path = tmp_path / name
        path.write_text(textwrap.dedent(text))
        return path

    return write


@pytest.fixture
def experiment(write: Write) -> Path:
    """A file that defines a sweep of five trials."""
    return write(EXPERIMENT)


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory, invoke: Invoke) -> Path:
    """The folder of that sweep, run to its end."""
    folder = tmp_path_factory.mktemp("finished")
    file = folder / "finished_experiment.py"  # a module name of its own: it outlives the tests that use it
    file.write_text(EXPERIMENT)
    result = invoke("run", file, "--executor", "inline", "--out", folder / "sweep")
    assert result.exit_code == 0, result.output
    return folder / "sweep"

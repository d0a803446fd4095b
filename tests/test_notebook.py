"""The notebook among the examples runs from its first cell to its last, and shows what it says."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient
from traitlets.config import Config

import caviar
from tests.pages import ROOT

NOTEBOOK = ROOT / "examples" / "analysis.ipynb"


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Path]:
    """The notebook with its outputs, and the folder where it ran: a copy of what it needs of examples/."""
    folder = tmp_path_factory.mktemp("notebook")
    shutil.copy(ROOT / "examples" / "digits.py", folder)
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("PYTHONPATH", str(ROOT))
        for name in ("JUPYTER_RUNTIME_DIR", "JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "IPYTHONDIR"):
            environment.setenv(name, str(folder / name.lower()))
        # sockets in the file system: nothing listens on a port
        sockets = Config({"KernelManager": {"transport": "ipc", "connection_file": str(folder / "kernel.json")}})
        client = NotebookClient(
            notebook,
            kernel_name="python3",
            timeout=100,
            resources={"metadata": {"path": str(folder)}},
            config=sockets,
        )
        client.execute()
    assert client.km is None  # the kernel was ended
    return notebook, folder


def outputs(notebook: Any) -> list[Any]:
    return [output for cell in notebook.cells for output in cell.get("outputs", ())]


def test_every_cell_ran_without_a_warning(ran: tuple[Any, Path]) -> None:
    notebook, _ = ran
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    assert [output for output in outputs(notebook) if output.get("name") == "stderr"] == []


def test_it_shows_the_sweep_that_it_ran(ran: tuple[Any, Path]) -> None:
    notebook, folder = ran
    result = caviar.load(folder / "runs" / "notebook")
    assert result.status == "finished"
    assert sum(result.counts().values()) == 60
    assert result.best.value > 0.9
    text = "\n".join(
        output.get("text", "") or output.get("data", {}).get("text/plain", "") for output in outputs(notebook)
    )
    assert f"{result.best.value:.1%} at step {result.best.step} of trial {result.best.trial}" in text
    figures = [
        output for output in outputs(notebook) if "application/vnd.plotly.v1+json" in output.get("data", {})
    ]
    assert len(figures) >= 2
    assert (folder / "runs" / "notebook.html").stat().st_size > 1_000_000
    assert "curves.csv" in text


def test_the_notebook_in_the_repository_has_no_outputs() -> None:
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    nbformat.validate(notebook)
    assert outputs(notebook) == []
    assert [cell.execution_count for cell in notebook.cells if cell.cell_type == "code"].count(None) > 8
    assert NOTEBOOK.stat().st_size < 20_000

"""``caviar audit``."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

import caviar
from tests.cli.conftest import EXPERIMENT


@pytest.fixture(scope="module")
def spared(tmp_path_factory: pytest.TempPathFactory, invoke) -> Path:
    folder = tmp_path_factory.mktemp("spared")
    file = folder / "spared_experiment.py"
    text = EXPERIMENT.replace("reduction_factor=2", "reduction_factor=2, spare=0.4").replace(
        "trials=5", "trials=60"
    )
    file.write_text(text.replace("> 0.9", "> 9"))
    result = invoke("run", file, "--executor", "inline", "--out", folder / "sweep")
    assert result.exit_code == 0, result.output
    return folder / "sweep"


def test_in_words_and_as_a_table(invoke, spared):
    found = caviar.load(spared).audit()
    assert found.control is not None
    lines = invoke("audit", spared).stdout.splitlines()
    blank = lines.index("")
    assert lines[:blank] == found.in_words()
    assert lines[0].startswith(f"stopped {found.stopped} of 60 trials at a rung, and saved ")
    assert lines[1].startswith(f"of the {found.stopped + found.spared} that it stopped or spared, an estimated ")
    assert lines[blank + 1].split("  ")[:5] == ["rung", "judged", "stopped", "spared", "went on"]
    cells = dict(zip(*(re.split(r"\s{2,}", line.strip()) for line in lines[blank + 1 : blank + 3]), strict=True))
    counts = [name for name in cells if name not in ("correlation", "training saved", "training spent")]
    assert not [name for name in counts if "." in cells[name]]
    assert lines[blank + 2].split()[:4] == ["2", "60", str(found.stopped), str(found.spared)]
    assert len(lines) == blank + 3


def test_as_json(invoke, spared):
    [line] = invoke("audit", spared, "--json").stdout.splitlines()
    told, found = json.loads(line), caviar.load(spared).audit()
    assert (told["stopped"], told["steps_saved"]) == (found.stopped, found.steps_saved)
    assert told["control"]["above_best"] == {
        "value": found.control.above_best.value, "low": found.control.above_best.low,
        "high": found.control.above_best.high,
    }  # fmt: skip
    assert told["rungs"][0]["rung"] == 2
    assert told["text"] == found.in_words()
    assert json.loads(invoke("audit", spared, "--json", "--by", "best").stdout)["by"] == "best"


def test_without_a_control_group_it_says_so_and_how_to_get_one(invoke, finished):
    result = invoke("audit", finished)
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    assert lines[0].startswith("stopped 1 of 5 trials at a rung, and saved ")
    assert "no trial was spared: with spare=0.5" in lines[1]
    assert lines[3].split("  ") == [
        "rung", "judged", "stopped", "went on", "correlation", "pairs", "steps saved", "training saved",
    ]  # fmt: skip
    assert json.loads(invoke("audit", finished, "--json").stdout)["control"] is None


def test_what_is_no_sweep(invoke, tmp_path):
    result = invoke("audit", tmp_path / "nothing")
    assert result.exit_code == 2
    assert len(result.stderr.splitlines()) == 1


def test_events_and_trials_tell_who_was_spared(invoke, spared, finished):
    told = invoke("events", spared, "--kind", "decision").stdout
    count = int(caviar.load(spared).trials().spared.sum())
    assert told.count("; to be stopped, but runs to its end") == count > 3
    assert " spared " in f" {invoke('trials', spared).stdout.splitlines()[0]} "
    assert "spared" not in invoke("trials", finished).stdout

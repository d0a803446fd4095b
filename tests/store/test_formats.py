"""Folders that released versions wrote are read, gone on with and extended by this one.

``formats/format-1.tar.xz`` was written by caviar 0.1.0 from ``formats/old_task.py``: a sweep that ended, one of
whose trials failed at first, and one whose driver died within its last trial.
"""

from __future__ import annotations

import importlib.util
import sys
import tarfile
from pathlib import Path

import pytest

import caviar
from caviar.store.check.look import check
from caviar.store.layout import SweepFolder

FORMATS = Path(__file__).parent / "formats"


@pytest.fixture
def old(tmp_path: Path) -> Path:
    with tarfile.open(FORMATS / "format-1.tar.xz") as archive:
        archive.extractall(tmp_path, filter="data")
    return tmp_path


@pytest.fixture
def sweep(monkeypatch: pytest.MonkeyPatch) -> caviar.Sweep:
    spec = importlib.util.spec_from_file_location("old_task", FORMATS / "old_task.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "old_task", module)
    spec.loader.exec_module(module)
    return module.sweep


def test_it_is_sound(old: Path) -> None:
    for name in ("finished", "cut-off"):
        verdict = check(SweepFolder(old / name), log_bytes=10 * 2**20)
        assert verdict.sound, verdict.findings


def test_what_it_says_has_not_changed(old: Path) -> None:
    result = caviar.load(old / "finished")
    assert result.status == "finished"
    assert result.counts() == {"completed": 1, "stopped": 8}
    assert (result.best.trial, result.best.step) == (0, 6)
    assert result.best.value == 3.570747688026454e-05
    assert result.trials().attempts[0] == 2
    assert result.trials()["params.lr"][0] == 0.6742371196942597
    assert list(result.curves().query("trial == 0").step) == [1, 1, 2, 3, 3, 4, 5, 5, 6]


def test_it_is_gone_on_with(old: Path, sweep: caviar.Sweep) -> None:
    cut_off = old / "cut-off"
    assert caviar.load(cut_off).status == "interrupted"
    result = sweep.run(cut_off, caviar.Inline(), resume=True)
    assert result.status == "finished"
    whole = caviar.load(old / "finished")
    columns = ["stage", "status", "reason", "steps", "by_hand", "params.lr", "params.beta", "metrics.loss"]
    assert result.trials()[columns].equals(whole.trials()[columns])
    assert result.trials().attempts[8] == 2


def test_it_is_extended(old: Path, sweep: caviar.Sweep) -> None:
    result = sweep.extend(old / "finished", caviar.Inline(), trials=2, max_step=12)
    assert len(result.trials()) == 11
    assert result.trials().steps[0] == 12, "it went on from its checkpoint"

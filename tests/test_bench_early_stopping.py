"""The comparison of early stopping: real curves, the same reports for all, in the same order."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import caviar
from caviar.schedulers import Scheduler

HERE = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def bench() -> Iterator[SimpleNamespace]:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(HERE / "examples"))
        patch.syspath_prepend(str(HERE / "benchmarks"))
        names = {"main": "bench_early_stopping", "curves": "curves", "stoppers": "stoppers"}
        yield SimpleNamespace(**{key: importlib.import_module(name) for key, name in names.items()})


@pytest.fixture(scope="module")
def groups(bench: SimpleNamespace) -> dict[str, Any]:
    found: dict[str, Any] = bench.curves.groups()
    return found


def order(runs: Any, seed: int) -> list[int]:
    found: list[int] = np.random.default_rng(seed).permutation(len(runs)).tolist()
    return found


def test_the_data_is_what_its_note_says(groups: dict[str, Any]) -> None:
    several = groups.pop("6-10")
    assert list(groups) == [str(n) for n in range(2, 11)]
    assert sum(map(len, groups.values())) == 1_500
    assert sum(int(runs.diverged.sum()) for runs in groups.values()) == 134
    assert sum(len(losses) for runs in groups.values() for losses in runs.losses) == 7_674
    assert len(several) == 759
    for runs in (*groups.values(), several):
        for losses, steps, gone in zip(runs.losses, runs.steps, runs.diverged, strict=True):
            assert np.isfinite(losses).all()
            assert list(steps) == sorted(set(steps))
            assert gone or steps[-1] == runs.max_step
    groups["6-10"] = several


@pytest.mark.parametrize("workers", [1, 8, 200])
def test_running_all_trains_every_epoch(bench: SimpleNamespace, groups: dict[str, Any], workers: int) -> None:
    runs = groups["5"]
    stopper = bench.stoppers.Judged(caviar.RunAll(), 5)
    epochs = bench.curves.replay(runs, order(runs, 0), stopper, workers=workers)
    assert epochs.tolist() == [len(losses) for losses in runs.losses]
    found = bench.curves.outcome(runs, epochs)
    assert (found["epochs"], found["gpu_s"], found["regret"], found["top"]) == (1.0, 1.0, 0.0, 10)
    assert found["final"] == 73 - 5


class Watch:
    """Stops nothing, and remembers who reported when."""

    def __init__(self) -> None:
        self.seen: list[tuple[int, int]] = []
        self.under_way: set[int] = set()
        self.most = 0

    def begin(self, trial: int) -> None:
        self.under_way.add(trial)
        self.most = max(self.most, len(self.under_way))

    def report(self, trial: int, step: int, loss: float) -> bool:
        self.seen.append((trial, step))
        return False

    def end(self, trial: int, how: str, step: int, loss: float) -> None:
        self.under_way.remove(trial)


def test_reports_come_in_the_order_of_their_time(bench: SimpleNamespace) -> None:
    runs = bench.curves.Runs(
        "three", 2, losses=[np.ones(2)] * 3, seconds=[np.array([1.0, 5.0]), np.array([2.0, 2.0]), np.ones(2)],
        steps=[[1, 2]] * 3, diverged=np.zeros(3, bool),
    )  # fmt: skip
    watch = Watch()
    bench.curves.replay(runs, [1, 0, 2], watch, workers=2)
    # trial 0 is run 1: reports at 2 and 4; trial 1 is run 0: at 1 and 6; trial 2 is run 2, from 4 on: at 5 and 6
    assert watch.seen == [(1, 1), (0, 1), (0, 2), (2, 1), (1, 2), (2, 2)]
    assert watch.most == 2


@pytest.mark.parametrize(
    "scheduler",
    [caviar.Asha(), caviar.Asha(grace_steps=2, reduction_factor=4), caviar.Hyperband(), caviar.MedianStop(),
     caviar.Patience(1)],
    ids=repr,
)  # fmt: skip
def test_a_judge_is_asked_as_a_sweep_asks_it(
    bench: SimpleNamespace, groups: dict[str, Any], tmp_path: Path, scheduler: Scheduler
) -> None:
    runs = groups["10"]
    chosen = [run for run in order(runs, 1) if not runs.diverged[run]][:60]
    epochs = bench.curves.replay(runs, chosen, bench.stoppers.Judged(scheduler, 10), workers=1)
    sweep = caviar.Sweep(
        lambda trial: None, caviar.Space(x=caviar.Float(0, 1)), metric="loss", trials=60, max_step=10,
        scheduler=scheduler,
    )  # fmt: skip
    curves = caviar.Simulated(1, curves=lambda launch: {"loss": runs.losses[chosen[launch.trial]]})
    real = sweep.run(tmp_path / "sweep", curves).trials()["steps"]
    assert epochs[chosen].tolist() == real.tolist()
    assert 60 <= epochs.sum() < 600


def test_what_it_keeps(bench: SimpleNamespace) -> None:
    losses = [np.array([float(n), float(n) / 2]) for n in range(1, 21)]
    runs = bench.curves.Runs(
        "twenty", 2, losses=losses, seconds=[np.array([1.0, 3.0])] * 20, steps=[[1, 2]] * 20,
        diverged=np.arange(20) == 0,
    )  # fmt: skip
    epochs = np.ones(20, np.int64)
    epochs[[0, 3, 5]] = 2  # run 0 diverged, so the best is run 1
    found = bench.curves.outcome(runs, epochs)
    assert found["epochs"] == 23 / 40
    assert found["gpu_s"] == (20 + 9) / 80
    assert (found["best_kept"], found["rank"], found["top"], found["final"]) == (False, 3, 2, 2)
    assert found["regret"] == 2.0 - 1.0
    none = bench.curves.outcome(runs, np.ones(20, np.int64))
    assert (none["regret"], none["rank"], none["final"]) == (np.inf, 21, 0)


def test_the_benchmark_on_a_small_sample(
    bench: SimpleNamespace, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("ray.tune.schedulers", "optuna"):
        monkeypatch.setitem(sys.modules, name, None)  # as where they are not installed
    ways = bench.stoppers.ways()
    assert {way.system for way in ways} == {"caviar"}
    runs = [one for group in ("5", "10") for n in range(len(ways)) for one in bench.main.measure((group, n, 3))]
    asha = {run["workers"]: run for run in runs if run["how"] == bench.main.SAME[0] and run["group"] == "10"}
    assert set(asha) == {1, 8, 32}
    assert asha[1]["epochs"] != asha[8]["epochs"]
    bench.main.print_results(runs)
    printed = capsys.readouterr().out
    assert "## 10 epochs: 150 runs, 16 of them diverged" in printed
    assert "| caviar | `RunAll()`" in printed
    assert "100.0% (100.0% to 100.0%)" in printed
    assert "| `Asha(grace_steps=1, reduction_factor=3)` | 32" in printed


@pytest.mark.filterwarnings("ignore")
def test_optunas_successive_halving_with_the_same_rungs_is_ours(
    bench: SimpleNamespace, groups: dict[str, Any]
) -> None:
    pytest.importorskip("optuna")
    _same = {(way.system, way.how): way.make for way in bench.stoppers.ways()}
    runs = groups["5"]
    for factor in (2, 3, 4):
        ours = _same["caviar", f"Asha(grace_steps=1, reduction_factor={factor})"](5, 0)
        theirs = _same["Optuna", f"SuccessiveHalvingPruner(1, reduction_factor={factor})"](5, 0)
        trained = [
            bench.curves.replay(runs, order(runs, 2), stopper, workers=8).tolist() for stopper in (ours, theirs)
        ]
        assert trained[0] == trained[1]


@pytest.mark.filterwarnings("ignore")
def test_every_way_that_is_installed_runs(bench: SimpleNamespace, groups: dict[str, Any]) -> None:
    runs = groups["5"]
    whole = sum(map(len, runs.losses))
    for way in bench.stoppers.ways():
        epochs = [bench.curves.replay(runs, order(runs, 3), way.make(5, 3), workers=8).tolist() for _ in range(2)]
        assert epochs[0] == epochs[1], "the same order gives the same"
        assert len(runs) <= sum(epochs[0]) <= whole

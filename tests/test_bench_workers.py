"""The benchmark of a driver with many workers, in small: the simulated ones speak as real ones do."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from pathlib import Path
from random import Random
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import caviar
from caviar.samplers.base import trial_seed, trial_seeds

pytestmark = pytest.mark.ray

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


@pytest.fixture(scope="module")
def bench(ray_cluster: None) -> Iterator[Any]:
    from ray import cloudpickle

    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(BENCHMARKS))
        crowd = importlib.import_module("crowd")
        cloudpickle.register_pickle_by_value(crowd)
        yield SimpleNamespace(main=importlib.import_module("bench_workers"), crowd=crowd)
        cloudpickle.unregister_pickle_by_value(crowd)


def never(trial: caviar.Trial) -> None:
    raise AssertionError("nobody trains")


def test_a_sweep_on_simulated_workers_comes_to_its_end_with_every_report(bench: Any, tmp_path: Path) -> None:
    space = caviar.Space(lr=caviar.Float(0, 1))
    sweep = caviar.Sweep(
        never, space, metric="loss", trials=150, max_step=9, scheduler=caviar.Asha(), seed=3, retries=0
    )
    with bench.main.played("simulated", 40, 0.005):
        result = sweep.run(tmp_path / "sweep", executor=caviar.Ray(workers=40))
    counts = result.counts()
    assert set(counts) == {"completed", "stopped"}
    assert sum(counts.values()) == 150
    for trial, curve in result.curves().groupby("trial"):
        assert curve["step"].tolist() == list(range(1, len(curve) + 1))
        base = Random(trial_seed(trial_seeds(3, int(trial)))).random()
        np.testing.assert_allclose(curve["loss"], base + 1 / curve["step"])
        assert len(curve) in (1, 3, 9), "it ends at a rung, or at its max_step"


@pytest.mark.parametrize(("kind", "count"), [("simulated", 20), ("real", 2)])
def test_the_figures_of_a_window_are_of_what_happened_in_it(
    bench: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str], kind: str, count: int
) -> None:
    found = bench.main.measure(kind, count, path=tmp_path / "sweep", window_s=1.0, warm_s=0.2, step_s=0.03)
    assert (found["kind"], found["workers"]) == (kind, count)
    assert found["window_s"] >= 1.0
    assert 0 < found["core"] < 4
    assert 0 < found["decisions_per_s"] < found["reports_per_s"] < count / 0.015
    assert 0 <= found["idle"] < 1
    for part in bench.main.PARTS[: 3 if kind == "simulated" else 1]:
        assert 0 <= found[f"{part}_median_s"] <= found[f"{part}_p99_s"] <= found[f"{part}_most_s"]
    bench.main.print_results([found])
    assert f"| {count} {kind} " in capsys.readouterr().out

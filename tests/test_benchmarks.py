"""The comparison of panda mode and caviar mode: every epoch is counted, and all modes see the same."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest

HERE = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def bench() -> Iterator[SimpleNamespace]:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(HERE / "examples"))
        patch.syspath_prepend(str(HERE / "benchmarks"))
        names = ("bench_panda_vs_caviar", "contrast", "tasks")
        found: dict[str, ModuleType] = {name: importlib.import_module(name) for name in names}
        yield SimpleNamespace(main=found[names[0]], contrast=found["contrast"], tasks=found["tasks"])


@pytest.fixture(scope="module")
def runs(bench: SimpleNamespace, tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """Every way of one repeat, with a tiny budget."""
    return bench.main.measure_all(("diabetes", 0, 12, tmp_path_factory.mktemp("diabetes")))


def chosen(runs: list[dict[str, Any]], how: str, start: str = "") -> dict[str, Any]:
    (found,) = (run for run in runs if (run["how"], run["start"]) == (how, start))
    return found


def test_every_way_spends_the_whole_budget_unless_it_diverged(runs: list[dict[str, Any]]) -> None:
    costs = {(run["how"], run["start"]): run["cost"] for run in runs}
    assert costs.pop(("fixed", "lr x 100")) == 1
    assert set(costs.values()) == {12}


def test_epochs_that_were_rolled_back_are_paid_for(runs: list[dict[str, Any]]) -> None:
    run = chosen(runs, "rules", "lr x 100")
    assert run["rolled_back"] >= 1
    assert run["by"]["OnNonFinite"] == run["rolled_back"]  # back to the beginning from the first epoch
    assert run["cost"] == 12


def test_a_hand_changes_nothing_before_it_fires(runs: list[dict[str, Any]]) -> None:
    fixed, rules = chosen(runs, "fixed", "usual"), chosen(runs, "rules", "usual")
    assert [point for point in fixed["best"] if point[0] <= 5] == [p for p in rules["best"] if p[0] <= 5]
    assert chosen(runs, "bold", "lr / 10")["by"]["bold"] >= 1


def test_the_best_so_far_only_falls(runs: list[dict[str, Any]]) -> None:
    for run in runs:
        costs, losses = [cost for cost, _ in run["best"]], [loss for _, loss in run["best"]]
        assert costs == sorted(set(costs))
        assert losses == sorted(set(losses), reverse=True)


def test_digits_run_too(bench: SimpleNamespace, tmp_path: Path) -> None:
    way = bench.main.Way("panda", "bold", "lr x 10")
    run = bench.main.measure(bench.tasks.DIGITS, way, repeat=1, budget=6, path=tmp_path / "run")
    assert run["cost"] == 6
    assert run["best"][-1][1] < run["best"][0][1]
    assert run["test"] > 0.5


def test_tables_and_picture(
    bench: SimpleNamespace, runs: list[dict[str, Any]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bench.contrast.print_results(runs)
    printed = capsys.readouterr().out
    assert "## diabetes: 12 epochs a run, 1 repeats" in printed
    assert "- (- to -)" in printed  # the one that diverged
    assert "ridge, no network: validation loss 0.4" in printed
    bench.contrast.draw(runs, html=tmp_path / "page.html", png=None)
    assert "fixed: diverges" in (tmp_path / "page.html").read_text("utf-8")


def test_quartiles_with_runs_that_have_nothing(bench: SimpleNamespace) -> None:
    assert bench.contrast.quartiles([1.0, 2.0, 3.0, 4.0]) == (1.75, 2.5, 3.25)
    assert bench.contrast.quartiles([1.0, 2.0, np.inf, np.inf]) == (1.75, np.inf, np.inf)


def test_gradients_of_the_regression_match_finite_differences(bench: SimpleNamespace) -> None:
    params = {"hidden": 7, "layers": 2}
    network = bench.tasks.Regression(params, 3)
    rng = np.random.default_rng(0)
    network.weights = [w.astype("float64") + 0.1 * rng.standard_normal(w.shape) for w in network.weights]
    x, y = rng.standard_normal((20, 10)), rng.standard_normal(20)
    for w, g in zip(network.weights, network.gradients(x, y), strict=True):
        for place in rng.integers(0, w.size, 5):
            kept, h = w.flat[place], 1e-6
            w.flat[place] = kept + h
            above = network.evaluate(x, y)[0]
            w.flat[place] = kept - h
            below = network.evaluate(x, y)[0]
            w.flat[place] = kept
            assert g.flat[place] == pytest.approx((above - below) / (2 * h), rel=1e-4, abs=1e-8)


def test_a_restored_network_goes_on_exactly(bench: SimpleNamespace, tmp_path: Path) -> None:
    task = bench.tasks.DIABETES
    data = task.split(0)
    network, other = task.network(task.usual, 5), task.network(task.usual, 5)
    network.train_epoch(*data.epoch(5, 1), task.usual, 1)
    network.save(tmp_path / "network.npz")
    other.load(tmp_path / "network.npz")
    for one in (network, other):
        one.train_epoch(*data.epoch(5, 2), task.usual, 2)
    for w, v in zip(network.weights + network.velocity, other.weights + other.velocity, strict=True):
        np.testing.assert_array_equal(w, v)


@pytest.mark.parametrize("name", ["digits", "diabetes"])
def test_no_example_is_in_two_parts(bench: SimpleNamespace, name: str) -> None:
    data = bench.tasks.TASKS[name].split(3)
    rows = [row.tobytes() for part in (data.validation, data.test) for row in part[0]]
    train = {row.tobytes() for number in range(1, 40) for row in data.epoch(0, number)[0]}
    assert len(set(rows)) == len(rows)
    assert not train & set(rows)

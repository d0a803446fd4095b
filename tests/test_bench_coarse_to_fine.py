"""Stages beside other searches: the functions have their optima where they say, and every way runs."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

HERE = Path(__file__).parents[1]
OPTIMA = {
    "Rosenbrock, a bent valley": [(0.75, 0.75)],
    "Branin, 3 optima": [
        ((x + 5) / 15, y / 15) for x, y in ((-3.14159, 12.275), (3.14159, 2.275), (9.42478, 2.475))
    ],
    "Hartmann, 6 params, 6 optima": [(0.20169, 0.150011, 0.476874, 0.275332, 0.311652, 0.6573)],
    "Rastrigin, 1,000 valleys": [(0.37, 0.37, 0.37)],
}
"""As the literature has them, in coordinates from 0 to 1."""


@pytest.fixture(scope="module")
def bench() -> Iterator[ModuleType]:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(HERE / "examples"))
        patch.syspath_prepend(str(HERE / "benchmarks"))
        yield importlib.import_module("bench_coarse_to_fine")


@pytest.mark.parametrize("name", OPTIMA)
def test_functions_have_their_optima(bench: ModuleType, name: str) -> None:
    landscape = bench.landscapes()[name]
    for place in OPTIMA[name]:
        best = landscape.value(landscape.space.from_unit(place), 0)
        assert best == pytest.approx(0, abs=0.02)  # a whole number rounds its coordinate
        assert landscape.value(landscape.space.from_unit([0.9 * each for each in place]), 0) > best


@pytest.mark.parametrize("way", ["random", "Sobol", "2 stages", "3 stages, Sobol", "TPE (Optuna)"])
def test_every_way_finds_something(bench: ModuleType, way: str) -> None:
    for task in ("bowl, 6 params, 3 matter", "optimizers, conditional params", "OpenCLIP, nearest run"):
        found = bench.search(task, way, 30, 1)
        assert 0 <= found["best"] < 3
        landscape = bench.landscapes()[task]
        landscape.space.check(found["params"])
        assert found == bench.search(task, way, 30, 1)


def test_the_tables_count_who_beats_random(bench: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    runs = [
        {"task": "Branin, 3 optima", "way": way, "trials": 9, "number": number, "best": best}
        for way, values in (("random", (1.0, 2.0)), ("2 stages", (0.5, 2.5)))
        for number, best in enumerate(values)
    ]
    bench.print_results(runs)
    told = capsys.readouterr().out
    assert "## Branin, 3 optima, several valleys: 9 trials, 2 searches" in told
    assert "1 of 2" in told

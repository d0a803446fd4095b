"""The audit's estimates are true of sweeps of which every end is known: the benchmark of it, in small."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from caviar.schedulers import Asha, Hyperband

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


@pytest.fixture(scope="module")
def bench() -> Iterator[Any]:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(BENCHMARKS))
        yield importlib.import_module("bench_audit")


@pytest.mark.parametrize(("curves", "spare"), [("crossing", 0.1), ("noisy", 0.1), ("noisy", 0.05)])
def test_intervals_hold_the_truth_and_values_are_right_on_average(bench: Any, curves: str, spare: float) -> None:
    found = bench.measure(bench.Case(curves, Asha(spare=spare), 200), range(100))
    assert found["told"] >= 99
    for name in bench.ESTIMATES:
        assert found[name]["coverage"] >= 0.93, name
    for name in ("above_best", "above_middle"):
        assert abs(found[name]["bias"]) <= 3.3 * found[name]["bias_standard_error"] + 1e-9, name
        assert found[name]["width"] < 0.5 * found["stopped"], "not so wide that it says nothing"
    assert -1.5 < found["among_top"]["bias"] < 0.5


def test_a_bar_that_depends_on_who_was_spared_would_be_found_out(bench: Any) -> None:
    """The bars are of those kept alone: with spared ones among them, the values would be wrong on average."""
    from caviar.analysis.control_group import control_group

    errors = []
    for seed in range(100):
        sweep = bench.run(bench.Case("noisy", Asha(spare=0.1), 200), seed)
        kept = np.r_[sweep.end[~sweep.stopped], sweep.end[sweep.spared]]
        told = control_group(kept, sweep.end[sweep.spared], int(sweep.stopped.sum()))
        assert told is not None
        errors.append(told.above_best.value - (sweep.end[sweep.stopped] < kept.min()).sum())
    assert np.mean(errors) < -3.3 * np.std(errors) / 10


def test_its_sweeps_are_judged_as_a_controller_does(bench: Any) -> None:
    sweep = bench.run(bench.Case("crossing", Hyperband(spare=0.3), 200), 3)
    assert 0 < sweep.spared.sum() < sweep.stopped.sum() < 200
    assert not (sweep.spared & ~sweep.stopped).any()
    same = bench.run(bench.Case("crossing", Hyperband(spare=0.3), 200), 3)
    assert (same.end == sweep.end).all()

"""Figures of large sweeps stay light, and say what they leave out."""

from __future__ import annotations

import numpy as np
import pytest

import caviar

SPACE = caviar.Space(
    lr=caviar.Float(1e-5, 1.0, scale="log"),
    momentum=caviar.Float(0.8, 0.999, scale="one_minus_log"),
    hidden=caviar.Int(16, 512, scale="log"),
    layers=caviar.Int(1, 5),
    dropout=caviar.Float(0.0, 0.6),
    optimizer=caviar.Choice(["sgd", "adam", "rmsprop"]),
    beta2=caviar.Float(0.9, 0.9999, scale="one_minus_log", when={"optimizer": "adam"}),
    batch_size=caviar.Choice([32, 64, 128, 256]),
)
TRIALS, STEPS = 10_000, 50
FIGURES = ("curves", "params", "parallel", "best_so_far", "contour", "stages", "audit", "workers")


def never(trial):
    raise RuntimeError("the curves are given: nothing trains")


def curve(launch):
    steps = np.arange(1, STEPS + 1)
    return {"loss": 1 / steps + abs(np.log10(launch.params["lr"]) + 2) + launch.seed % 1000 / 1000}


@pytest.fixture(scope="module")
def result(tmp_path_factory):
    sweep = caviar.Sweep(never, SPACE, metric="loss", trials=TRIALS, max_step=STEPS)
    return sweep.run(tmp_path_factory.mktemp("size") / "sweep", caviar.Simulated(16, curves=curve))


@pytest.mark.slow
def test_no_figure_of_ten_thousand_trials_is_heavy(result):
    sizes = {name: len(getattr(result.plot, name)().to_json()) for name in FIGURES}
    assert max(sizes.values()) < 1_300_000, sizes
    assert sum(sizes.values()) < 4_000_000, sizes


@pytest.mark.slow
def test_they_say_how_much_they_draw_and_draw_the_best(result):
    for name in ("curves", "params", "parallel", "best_so_far"):
        assert "Drawn: 2,000 of 10,000 trials" in getattr(result.plot, name)().layout.meta["caption"]
    figure = result.plot.curves()
    drawn = set(np.concatenate([np.asarray(trace.customdata) for trace in figure.data]).tolist())
    assert set(result.top(200).index) <= drawn
    assert sum(len(trace.y) for trace in figure.data) < 50_000
    assert "10,000 trials" in result.plot.contour().layout.meta["caption"]
    assert sum(len(trace.x) for trace in result.plot.workers().data) < 8_000

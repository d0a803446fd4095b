"""The tasks of bench_coarse_to_fine.py: functions with known optima on the scales of hyperparameters, and real
learning curves by their nearest run.

Each is a space and what a setting is worth there: less is better. A function is defined on coordinates, in which
the declared range of a param goes from 0 to 1 on its own scale; beyond the range it goes on, for those who look
there. Noise of the given size is added to what a search sees; what it found is judged without.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

import caviar

Params = Mapping[str, Any]

DATA = Path(__file__).parent / "data" / "openclip_curves.parquet"


@dataclass(frozen=True, slots=True, kw_only=True)
class Landscape:
    """A space, and what settings are worth there."""

    name: str
    space: caviar.Space
    value: Callable[[Params, int], float]
    """What a setting is worth, in the search of this number: where its optimum lies may depend on that."""
    noise: float = 0.0
    unimodal: bool = True
    """Whether there is one valley."""


def coordinate(parameter: Any, value: Any) -> float:
    """Where a value lies in the range of its param, on its scale: from 0 to 1, and beyond."""
    if isinstance(parameter, caviar.Choice):
        return float(parameter.values.index(value)) / max(1, len(parameter.values) - 1)
    way = {"linear": float, "log": math.log10, "one_minus_log": lambda x: -math.log10(1 - x)}[parameter.scale]
    low, high = way(parameter.low), way(parameter.high)
    return (way(value) - low) / (high - low)


def _at(space: caviar.Space, params: Params) -> np.ndarray:
    return np.array([coordinate(space[name], params[name]) for name in space.varying])


def _ranges(count: int) -> caviar.Space:
    """The first params of a network, on the scales that they are sampled on."""
    every = {
        "lr": caviar.Float(1e-5, 1.0, scale="log"),
        "momentum": caviar.Float(0.9, 0.9999, scale="one_minus_log"),
        "dropout": caviar.Float(0.0, 0.9),
        "weight_decay": caviar.Float(1e-6, 1e-1, scale="log"),
        "hidden": caviar.Int(16, 1024, scale="log"),
        "warmup": caviar.Int(0, 100),
    }
    return caviar.Space(dict(list(every.items())[:count]))


def _bowl(
    count: int, weights: list[float], *, low: float = 0.15, high: float = 0.85
) -> Callable[[Params, int], float]:
    """A bowl whose bottom lies elsewhere in each search; ``weights``: how steep it is along each param."""
    space, steep = _ranges(count), np.array(weights)

    def value(params: Params, number: int) -> float:
        bottom = np.random.default_rng([number, count]).uniform(low, high, count)
        return float(steep @ (_at(space, params) - bottom) ** 2)

    return value


def _rosenbrock(params: Params, number: int) -> float:
    x, y = _at(_ranges(2), params) * 4 - 2
    return float((1 - x) ** 2 + 100 * (y - x * x) ** 2)


def _branin(params: Params, number: int) -> float:
    """Three optima, of 0.397887 each."""
    x, y = _at(_ranges(2), params) * 15 - np.array([5, 0])
    bend = y - 5.1 / (4 * math.pi**2) * x**2 + 5 / math.pi * x - 6
    return float(bend**2 + 10 * (1 - 1 / (8 * math.pi)) * math.cos(x) + 10 - 0.397887)


_HARTMANN = (
    np.array([1.0, 1.2, 3.0, 3.2]),
    np.array(
        [
            [10, 3, 17, 3.5, 1.7, 8],
            [0.05, 10, 17, 0.1, 8, 14],
            [3, 3.5, 1.7, 10, 17, 8],
            [17, 8, 0.05, 10, 0.1, 14],
        ]
    ),
    np.array(
        [
            [1312, 1696, 5569, 124, 8283, 5886],
            [2329, 4135, 8307, 3736, 1004, 9991],
            [2348, 1451, 3522, 2883, 3047, 6650],
            [4047, 8828, 8732, 5743, 1091, 381],
        ]
    )
    / 1e4,
)  # fmt: skip


def _hartmann(params: Params, number: int) -> float:
    """Six params, six local optima; 3.32237 is added, so that the best is 0."""
    alpha, a, p = _HARTMANN
    return float(3.32237 - alpha @ np.exp(-(a * (_at(_ranges(6), params) - p) ** 2).sum(axis=1)))


def _rastrigin(params: Params, number: int) -> float:
    """Ten valleys along each of three params."""
    x = (_at(_ranges(3), params) - 0.37) * 10
    return float((x**2 - 10 * np.cos(2 * np.pi * x) + 10).sum())


_CONDITIONAL = caviar.Space(
    lr=caviar.Float(1e-5, 1.0, scale="log"),
    optimizer=caviar.Choice(["sgd", "adam", "rmsprop"]),
    momentum=caviar.Float(0.9, 0.999, scale="one_minus_log", when={"optimizer": "sgd"}),
    beta2=caviar.Float(0.9, 0.9999, scale="one_minus_log", when={"optimizer": "adam"}),
)


def _conditional(params: Params, number: int) -> float:
    """Each optimizer has a learning rate of its own; adam is a little better."""
    best_lr, worse = {"sgd": (0.7, 0.05), "adam": (0.4, 0.0), "rmsprop": (0.35, 0.1)}[params["optimizer"]]
    found = worse + 2 * (coordinate(_CONDITIONAL["lr"], params["lr"]) - best_lr) ** 2
    for name, best in (("momentum", 0.5), ("beta2", 0.75)):
        if name in params:
            found += 0.3 * (coordinate(_CONDITIONAL[name], params[name]) - best) ** 2
    return found


# --- real curves -----------------------------------------------------------------------------------------------


@cache
def _runs() -> tuple[list[str], np.ndarray, np.ndarray]:
    """The names of the params, the coordinates of all runs of ten epochs, and their best validation losses."""
    frame = pd.read_parquet(DATA)
    frame = frame[frame["max_step"] == 10]
    names = [name for name in frame if name.startswith("params.")]
    first = frame.groupby("trial").first()
    best = frame.groupby("trial")["val_loss"].min()
    space = openclip_space()
    places = [
        [coordinate(space[name.removeprefix("params.")], row[name]) for name in names]
        for _, row in first.iterrows()
    ]
    return [name.removeprefix("params.") for name in names], np.array(places), best.to_numpy()


@cache
def openclip_space() -> caviar.Space:
    """The params of the OpenCLIP runs, from the least value to the largest, on the scales they were drawn on."""
    frame = pd.read_parquet(DATA)
    frame = frame[frame["max_step"] == 10]
    params: dict[str, Any] = {}
    for name in (name for name in frame if name.startswith("params.")):
        low, high = float(frame[name].min()), float(frame[name].max())
        scale = "log" if low > 0 and high / low > 100 else "linear"
        params[name.removeprefix("params.")] = caviar.Float(low, high, scale=scale)
    return caviar.Space(params)


def _nearest(params: Params, number: int) -> float:
    names, places, best = _runs()
    here = np.array([coordinate(openclip_space()[name], params[name]) for name in names])
    return float(best[((places - here) ** 2).sum(axis=1).argmin()])


def landscapes() -> dict[str, Landscape]:
    """Every task but the network, by name."""
    even, steep = [1.0] * 4, [4.0, 1.0, 0.25, 0.0, 0.0, 0.0]
    found = [
        Landscape(name="bowl, 2 params", space=_ranges(2), value=_bowl(2, [1.0, 0.3]), noise=0.003),
        Landscape(name="bowl, 4 params, all alike", space=_ranges(4), value=_bowl(4, even), noise=0.01),
        Landscape(name="bowl, 6 params, 3 matter", space=_ranges(6), value=_bowl(6, steep), noise=0.01),
        Landscape(
            name="bowl, bottom outside the range", space=_ranges(3),
            value=_bowl(3, [2.0, 0.5, 0.0], low=1.02, high=1.1), noise=0.003,
        ),
        Landscape(name="optimizers, conditional params", space=_CONDITIONAL, value=_conditional, noise=0.01),
        Landscape(name="Rosenbrock, a bent valley", space=_ranges(2), value=_rosenbrock),
        Landscape(name="Branin, 3 optima", space=_ranges(2), value=_branin, unimodal=False),
        Landscape(name="Hartmann, 6 params, 6 optima", space=_ranges(6), value=_hartmann, unimodal=False),
        Landscape(name="Rastrigin, 1,000 valleys", space=_ranges(3), value=_rastrigin, unimodal=False),
    ]  # fmt: skip
    if DATA.exists():
        found.append(
            Landscape(name="OpenCLIP, nearest run", space=openclip_space(), value=_nearest, unimodal=False)
        )
    return {one.name: one for one in found}

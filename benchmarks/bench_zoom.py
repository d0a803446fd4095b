"""Does zooming keep the optimum, and how much of the space does it leave out?

    python benchmarks/bench_zoom.py            # some minutes
    python benchmarks/bench_zoom.py --quick    # 20 sweeps a setting: a smoke test

Every sweep samples a space of mixed scales at random and has a loss with one optimum, known to the benchmark
alone: a sum over its params, each with a slope of its own to either side, straight or curved. One param matters
most, others less, some not at all; there is noise on every value. With stopping, the sweep has three rungs, a
third goes on at each, what is seen early is noisier and favours other values than the end does, and a trial
counts where it was stopped.

How to read it. `kept`: in how many sweeps the new space holds the optimum, in all params at once (of one beyond
a range: the end that is nearest to it). `volume`: the median volume of the new space, in parts of the old.
`changed`: the median number of params that were changed. `idle`: how often one was changed that does not matter.
`widened`: how often a range was widened although its optimum is at least a tenth of it away from either end.
`beyond`: of the optima beyond a range by up to a fifth of it, those that the new space holds.
"""

from __future__ import annotations

import argparse
import itertools
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from machine import describe, print_table, save

from caviar.space import Choice, Float, Int, Space
from caviar.space.narrowed import NarrowedSpace
from caviar.space.narrowing import Tried, narrow

PARAMS: dict[str, Any] = {
    "lr": Float(1e-4, 1.0, scale="log"),
    "hidden": Int(16, 256, scale="log"),
    "momentum": Float(0.9, 0.999, scale="one_minus_log"),
    "batch_size": Choice([32, 64, 128, 256]),
    "dropout": Float(0.0, 0.8),
    "layers": Int(1, 6),
}
WEIGHTS = {2: (1.0, 0.3), 3: (1.0, 0.4, 0.0), 4: (1.0, 0.5, 0.2, 0.0), 6: (1.0, 0.7, 0.4, 0.2, 0.0, 0.0)}
"""How much each param matters, by their number; which one has which is drawn for each sweep."""
PLACES = ("anywhere", "near an end", "beyond an end")
BEYOND = 0.2
"""So far at most, in parts of a range, an optimum lies beyond it."""


@dataclass(frozen=True)
class Setting:
    params: int
    trials: int
    noise: float
    """The standard deviation of the noise, in parts of the loss's own."""
    stopping: bool
    place: str


@dataclass(frozen=True)
class Task:
    """A space and a loss with a known optimum."""

    space: Space
    weight: dict[str, float]
    optimum: dict[str, float]
    """On the scale of a range, from 0 to 1 within it; of a choice the offset of each value has its least here."""
    slopes: dict[str, tuple[float, float]]
    power: dict[str, float]
    offsets: dict[str, Any]

    @classmethod
    def drawn(cls, setting: Setting, rng: np.random.Generator) -> Task:
        names = sorted(rng.choice(list(PARAMS), setting.params, replace=False).tolist())
        weights = rng.permutation(WEIGHTS[setting.params]).tolist()
        ranged = [name for name in names if not isinstance(PARAMS[name], Choice)]
        at_an_end = ranged[int(rng.integers(len(ranged)))]
        if setting.place != "anywhere":  # the one at the end matters
            place = names.index(at_an_end)
            most = int(np.argmax(weights))
            weights[place], weights[most] = weights[most], weights[place]
        optimum = {name: float(rng.random()) for name in names}
        if setting.place == "near an end":
            optimum[at_an_end] = float(rng.random() * 0.05)
        elif setting.place == "beyond an end":
            optimum[at_an_end] = float(-rng.random() * BEYOND)
        # below 0 and below one layer there is nothing
        if at_an_end in ("dropout", "layers") or rng.random() < 0.5:
            optimum[at_an_end] = 1 - optimum[at_an_end]
        return cls(
            Space({name: PARAMS[name] for name in names}),
            dict(zip(names, weights, strict=True)),
            optimum,
            {name: tuple(np.exp(rng.uniform(-0.7, 0.7, 2)).tolist()) for name in names},  # type: ignore[misc]
            {name: float(rng.choice([1.0, 2.0])) for name in names},
            {
                name: rng.permutation(len(PARAMS[name].values)) / 3
                for name in names
                if isinstance(PARAMS[name], Choice)
            },
        )

    def term(self, name: str, value: Any, shift: float = 0.0) -> float:
        """What a param adds to the loss."""
        parameter = self.space[name]
        if isinstance(parameter, Choice):
            return float(self.weight[name] * self.offsets[name][list(parameter.values).index(value)])
        away = parameter.to_unit(value) - self.optimum[name] - shift  # type: ignore[union-attr]
        slope = self.slopes[name][int(away > 0)]
        return float(self.weight[name] * (slope * abs(away)) ** self.power[name])

    def loss(self, params: dict[str, Any], shift: float = 0.0) -> float:
        return sum(self.term(name, value, shift) for name, value in params.items())

    def best(self, name: str) -> Any:
        """The best value of a param within the old space."""
        parameter = self.space[name]
        if isinstance(parameter, Choice):
            return parameter.values[int(np.argmin(self.offsets[name]))]
        if isinstance(parameter, Int):
            return min(range(parameter.low, parameter.high + 1), key=lambda value: self.term(name, value))
        return parameter.from_unit(min(1.0, max(0.0, self.optimum[name])))  # type: ignore[union-attr]


def sweep(task: Task, setting: Setting, rng: np.random.Generator) -> Tried:
    """The trials of one sweep, with the scores that the evidence of a sweep would give them."""
    params = [task.space.sample(rng) for _ in range(setting.trials)]
    end = np.array([task.loss(each) for each in params])
    spread = end.std()
    end = end + setting.noise * spread * rng.standard_normal(len(end))
    if not setting.stopping:
        return Tried(params=params, score=np.argsort(np.argsort(end)) + 1.0)
    left, score = np.arange(len(end)), np.empty(len(end))
    for shift, noise in ((0.1, 2.0), (0.05, 1.5)):
        seen = np.array([task.loss(params[row], shift) for row in left])
        seen = seen + noise * setting.noise * spread * rng.standard_normal(len(left))
        order = left[np.argsort(seen)]
        score[order] = np.arange(1, len(order) + 1)
        left = order[: max(1, len(order) // 3)]
    score[left[np.argsort(end[left])]] = np.arange(1, len(left) + 1)
    return Tried(params=params, score=score)


def holds(space: NarrowedSpace, name: str, value: Any) -> bool:
    parameter = space[name]
    if isinstance(parameter, Choice):
        return value in parameter.values
    # a bound that is the optimum itself, but for rounding
    return bool(parameter.low * (1 - 1e-9) <= value <= parameter.high * (1 + 1e-9))  # type: ignore[union-attr]


def one(setting: Setting, seed: int) -> dict[str, Any]:
    rng = np.random.default_rng([seed, setting.params, setting.trials, PLACES.index(setting.place)])
    task = Task.drawn(setting, rng)
    began = time.perf_counter()
    space = narrow(task.space, sweep(task, setting, rng), seed=seed)
    took = time.perf_counter() - began
    matter = [name for name in task.space if task.weight[name] > 0]
    found: dict[str, Any] = {
        "kept": all(holds(space, name, task.best(name)) for name in matter),
        "lost": [name for name in matter if not holds(space, name, task.best(name))],
        "volume": space.share,
        "changed": sum(change.kind != "kept" for change in space.changes),
        "spurious": sum(change.kind != "kept" for change in space.changes if task.weight[change.name] == 0),
        "idle": sum(weight == 0 for weight in task.weight.values()),
        "seconds": took,
        "beyond": [],
        "widened": [],
    }
    for change in space.changes:
        name, old, new = change.name, change.old, change.new
        if isinstance(old, Choice) or isinstance(new, Choice) or new is None:
            continue
        at = task.optimum[name]
        out = new.low < old.low or new.high > old.high  # type: ignore[union-attr]
        if 0.1 <= at <= 0.9:
            found["widened"].append(out)
        elif not 0 <= at <= 1 and task.weight[name] > 0:
            low, high = old.value_at(at), old.value_at(at)  # type: ignore[union-attr]
            found["beyond"].append(bool(new.low <= low and high <= new.high))  # type: ignore[union-attr]
    return found


def settings(quick: bool) -> Iterator[Setting]:
    noises = (0.3,) if quick else (0.1, 0.3)
    for place, params, trials, noise, stopping in itertools.product(
        PLACES, (2, 4, 6), (40, 100, 300), noises, (False, True)
    ):
        yield Setting(params, trials, noise, stopping, place)


def summary(runs: Sequence[dict[str, Any]]) -> dict[str, float]:
    def share(name: str) -> float:
        flags = [flag for run in runs for flag in run[name]]
        return float(np.mean(flags)) if flags else float("nan")

    idle = sum(run["idle"] for run in runs)
    return {
        "kept": float(np.mean([run["kept"] for run in runs])),
        "volume": float(np.median([run["volume"] for run in runs])),
        "changed": float(np.median([run["changed"] for run in runs])),
        "spurious": sum(run["spurious"] for run in runs) / idle if idle else float("nan"),
        "beyond": share("beyond"),
        "widened": share("widened"),
    }


def percent(share: float) -> str:
    return "-" if np.isnan(share) else f"{share:.0%}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="20 sweeps a setting, and fewer settings")
    parser.add_argument("--sweeps", type=int, help="a setting (default 200)")
    parser.add_argument("--json", type=Path, help="default: results/zoom.json beside this file")
    arguments = parser.parse_args()
    sweeps = arguments.sweeps or (20 if arguments.quick else 200)
    found, rows = [], []
    for setting in settings(arguments.quick):
        runs = [one(setting, seed) for seed in range(sweeps)]
        here = summary(runs)
        found.append({**vars(setting), **here, "runs": runs})
        rows.append(
            [
                setting.place,
                str(setting.params),
                str(setting.trials),
                f"{setting.noise:.0%}",
                "yes" if setting.stopping else "no",
                *(f"{here[name]:.1%}" for name in ("kept", "volume")),
                f"{here['changed']:.0f}",
                *(
                    f"{here[name]:.0%}" if here[name] == here[name] else "-"
                    for name in ("spurious", "widened", "beyond")
                ),
            ]
        )
    head = ["optimum", "params", "trials", "noise", "stopping", "kept", "volume", "changed"]
    print_table([*head, "idle", "widened", "beyond"], rows)
    for trials in sorted({each["trials"] for each in found}):
        here = [each for each in found if each["trials"] == trials]
        kept, volume = [each["kept"] for each in here], [each["volume"] for each in here]
        print(
            f"{trials} trials: kept in {np.mean(kept):.1%} of the sweeps, {min(kept):.1%} in the worst setting; "
            f"volume {min(volume):.0%} to {max(volume):.0%}, in the middle {np.median(volume):.0%}"
        )
    save("zoom", {"machine": describe(Path.cwd()), "sweeps": sweeps, "settings": found}, arguments.json)


if __name__ == "__main__":
    main()

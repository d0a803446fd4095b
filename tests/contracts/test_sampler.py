"""What every sampler promises. A new one adds a line to SAMPLERS, and no test."""

from __future__ import annotations

import copy
import json
import math
import pickle
import random
from collections.abc import Mapping
from dataclasses import FrozenInstanceError, dataclass
from typing import Any, ClassVar

import numpy as np
import pytest
from numpy.random import PCG64, Generator, SeedSequence

from caviar import samplers
from caviar.errors import UsageError
from caviar.samplers import GridSampler, Proposer, RandomSampler, Sampler, SobolSampler, trial_seeds
from caviar.space import Choice, Float, Int, Space


class NearestToBest(Proposer):
    """Draws around the best params it was told of, and closer with every one."""

    def __init__(self, space: Space, spread: float) -> None:
        self.space = space
        self.spread = spread
        self.told = 0
        self.best_loss = math.inf
        self.best: Mapping[str, Any] | None = None

    def suggest(self, trial: int, seeds: SeedSequence) -> Mapping[str, Any]:
        units = Generator(PCG64(seeds)).random(len(self.space.varying))
        if self.best is None:
            return self.space.from_unit(units)
        center = self.space.to_unit(self.best)
        center = np.where(np.isnan(center), units, center)
        return self.space.from_unit(np.clip(center + self.spread / (1 + self.told / 10) * (units - 0.5), 0, 1))

    def tell(self, trial: int, params: Mapping[str, Any], loss: float) -> None:
        self.told += 1
        if loss < self.best_loss:
            self.best_loss, self.best = loss, params


@dataclass(frozen=True, slots=True)
class LearningSampler(Sampler):
    """The smallest sampler that learns."""

    name: ClassVar[str] = "nearest_to_best"
    learns: ClassVar[bool] = True
    spread: float = 0.5

    def begin(self, space: Space, *, seed: int, trials: int) -> Proposer:
        return NearestToBest(space, self.spread)

    def to_dict(self) -> Mapping[str, Any]:
        return {"name": self.name, "spread": self.spread}


SAMPLERS = [
    RandomSampler(),
    SobolSampler(),
    GridSampler(),
    GridSampler(4),
    GridSampler({"lr": 7, "beta2": 6}),
    LearningSampler(),
]
SPACE = Space(
    lr=Float(1e-4, 1.0, scale="log"),
    optimizer=Choice(["sgd", "adam"]),
    hidden=Int(16, 256, scale="log"),
    beta2=Float(0.9, 0.9999, scale="one_minus_log", when={"optimizer": "adam"}),
    epsilon=1e-8,
)
TRIALS = 80
SEED = 11


@pytest.fixture(params=SAMPLERS, ids=repr)
def sampler(request: pytest.FixtureRequest) -> Sampler:
    assert isinstance(request.param, Sampler)
    return request.param


def propose(sampler: Sampler, order: list[int], *, seed: int = SEED, trials: int = TRIALS) -> dict[int, Any]:
    proposer = sampler.begin(SPACE, seed=seed, trials=trials)
    return {trial: proposer.suggest(trial, trial_seeds(seed, trial)) for trial in order}


def test_params_belong_to_the_space_and_are_plain_json(sampler: Sampler) -> None:
    for params in propose(sampler, list(range(TRIALS))).values():
        assert SPACE.check(params) == params
        assert list(params) == [name for name in SPACE if name in params]
        assert json.loads(json.dumps(params)) == params
        assert {type(value) for value in params.values()} <= {str, int, float, bool}


def test_the_order_of_asking_does_not_matter(sampler: Sampler) -> None:
    in_order = propose(sampler, list(range(TRIALS)))
    shuffled = random.Random(0).sample(range(TRIALS), TRIALS)
    assert propose(sampler, shuffled) == in_order
    assert propose(sampler, list(reversed(range(TRIALS)))) == in_order
    assert propose(sampler, [TRIALS - 1]) == {TRIALS - 1: in_order[TRIALS - 1]}


def test_asking_again_gives_the_same(sampler: Sampler) -> None:
    proposer = sampler.begin(SPACE, seed=SEED, trials=TRIALS)
    first, again = (proposer.suggest(3, trial_seeds(SEED, 3)) for _ in range(2))
    assert first == again


def test_the_number_of_trials_changes_no_params(sampler: Sampler) -> None:
    assert propose(sampler, list(range(10)), trials=10) == propose(sampler, list(range(10)))


def test_trials_differ(sampler: Sampler) -> None:
    proposed = propose(sampler, list(range(TRIALS)))
    assert len({json.dumps(params) for params in proposed.values()}) == TRIALS


def test_a_proposer_that_does_not_learn_ignores_what_it_is_told(sampler: Sampler) -> None:
    proposer = sampler.begin(SPACE, seed=SEED, trials=TRIALS)
    before = proposer.suggest(5, trial_seeds(SEED, 5))
    for trial, loss in enumerate([0.5, math.inf, -1.0]):
        proposer.tell(trial, proposer.suggest(trial, trial_seeds(SEED, trial)), loss)
    after = proposer.suggest(5, trial_seeds(SEED, 5))
    assert (before != after) == sampler.learns


def test_a_space_of_constants_alone_is_served(sampler: Sampler) -> None:
    space = Space(a=1, b="x")
    if isinstance(sampler, GridSampler) and isinstance(sampler.points, dict):
        with pytest.raises(UsageError, match="points of 'lr'"):
            sampler.begin(space, seed=0, trials=1)
        return
    assert sampler.begin(space, seed=0, trials=1).suggest(0, trial_seeds(0, 0)) == {"a": 1, "b": "x"}


def test_a_sampler_is_a_value(sampler: Sampler) -> None:
    assert copy.deepcopy(sampler) == sampler
    assert pickle.loads(pickle.dumps(sampler)) == sampler
    assert hash(pickle.loads(pickle.dumps(sampler))) == hash(sampler)
    with pytest.raises((FrozenInstanceError, AttributeError, TypeError)):
        sampler.points = 9  # type: ignore[attr-defined]


def test_a_sampler_comes_back_from_json(sampler: Sampler) -> None:
    data = json.loads(json.dumps(dict(sampler.to_dict())))
    assert data["name"] == sampler.name
    if isinstance(sampler, LearningSampler):
        with pytest.raises(
            UsageError, match="sampler 'nearest_to_best' is not known; there are random, sobol, grid"
        ):
            samplers.from_dict(data)
        return
    assert samplers.from_dict(data) == sampler
    with pytest.raises(UsageError, match="wrong=1"):
        samplers.from_dict({**data, "wrong": 1})


def test_a_sampler_that_learns_finds_what_random_does_not() -> None:
    def loss(params: Mapping[str, Any]) -> float:
        return abs(math.log10(params["lr"]) + 2.5) + abs(math.log(params["hidden"] / 100))

    def best(sampler: Sampler) -> float:
        proposer = sampler.begin(SPACE, seed=1, trials=200)
        losses = []
        for trial in range(200):
            params = proposer.suggest(trial, trial_seeds(1, trial))
            losses.append(loss(params))
            proposer.tell(trial, params, losses[-1])
        return min(losses)

    assert best(LearningSampler()) < best(RandomSampler()) / 3

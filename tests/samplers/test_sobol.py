"""Sobol points: balanced, scrambled by the seed, and the same in whatever order trials are asked for."""

from __future__ import annotations

import random

import numpy as np
import pytest
from numpy.random import PCG64, Generator, SeedSequence
from scipy.stats import qmc

from caviar.errors import UsageError
from caviar.samplers import Proposer, RandomSampler, Sampler, SobolSampler, trial_seeds
from caviar.space import Choice, Float, Space

CUBE = Space({f"x{axis}": Float(0, 1) for axis in range(5)})


def points(sampler: Sampler, trials: int, *, seed: int = 0) -> np.ndarray:
    proposer = sampler.begin(CUBE, seed=seed, trials=trials)
    return np.array([list(ask(proposer, trial).values()) for trial in range(trials)])


def ask(proposer: Proposer, trial: int) -> dict[str, float]:
    return dict(proposer.suggest(trial, trial_seeds(0, trial)))


def test_points_are_scipy_s() -> None:
    engine = qmc.Sobol(5, rng=Generator(PCG64(SeedSequence(4))))
    assert points(SobolSampler(), 1024, seed=4) == pytest.approx(engine.random(1024), abs=0)


def test_any_trial_can_be_asked_for_at_any_time() -> None:
    in_order = points(SobolSampler(), 1500)
    proposer = SobolSampler().begin(CUBE, seed=0, trials=1500)
    order = [*random.Random(0).sample(range(1500), 60), 0, 255, 256, 0, 511, 512, 256, 1499]
    for trial in order:
        assert list(ask(proposer, trial).values()) == in_order[trial].tolist(), trial
    later = SobolSampler().begin(CUBE, seed=0, trials=10)  # the sweep was extended
    assert list(ask(later, 1499).values()) == in_order[1499].tolist()


def test_every_sixteenth_of_a_param_has_a_sixteenth_of_the_trials() -> None:
    for axis in points(SobolSampler(), 64).T:
        assert np.histogram(axis, bins=16, range=(0, 1))[0].tolist() == [4] * 16


def test_points_fill_the_cube_more_evenly_than_random_ones() -> None:
    sobol, chance = (qmc.discrepancy(points(sampler, 256)) for sampler in (SobolSampler(), RandomSampler()))
    assert sobol < chance / 5


def test_the_seed_scrambles() -> None:
    one, other = points(SobolSampler(), 8, seed=1), points(SobolSampler(), 8, seed=2)
    assert not np.isclose(one, other).any()


def test_a_choice_gets_its_share_exactly() -> None:
    space = Space(lr=Float(1e-3, 1, scale="log"), act=Choice(["a", "b"], [1, 3]))
    proposer = SobolSampler().begin(space, seed=0, trials=64)
    assert [ask(proposer, trial)["act"] for trial in range(64)].count("a") == 16


def test_what_it_cannot_serve_is_refused() -> None:
    with pytest.raises(UsageError, match="2000000000 trials: the sobol sampler has 1073741824 points"):
        SobolSampler().begin(CUBE, seed=0, trials=2 * 10**9)
    with pytest.raises(UsageError, match="ends at 1073741824"):
        ask(SobolSampler().begin(CUBE, seed=0, trials=1), 2**30)
    wide = Space({f"x{axis}": Float(0, 1) for axis in range(21202)})
    with pytest.raises(UsageError, match="21202 params: the sobol sampler takes at most 21201"):
        SobolSampler().begin(wide, seed=0, trials=1)

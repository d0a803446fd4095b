"""Random sampling and the seeds of trials."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from numpy.random import PCG64, Generator, SeedSequence

from caviar.samplers import RandomSampler, trial_seed, trial_seeds
from caviar.space import Choice, Float, Int, Space

SPACE = Space(lr=Float(1e-4, 1.0, scale="log"), units=Int(1, 100), act=Choice(["relu", "tanh"], [1, 3]))


def test_params_depend_on_the_trial_s_seeds_alone() -> None:
    seeds = trial_seeds(3, 17)
    proposer = RandomSampler().begin(SPACE, seed=999, trials=5)
    assert proposer.suggest(4, seeds) == SPACE.from_unit(Generator(PCG64(seeds)).random(3))


def test_params_are_the_same_for_ever() -> None:
    proposer = RandomSampler().begin(SPACE, seed=0, trials=3)
    drawn = [proposer.suggest(trial, trial_seeds(0, trial)) for trial in range(3)]
    assert [params["lr"] for params in drawn] == pytest.approx(
        [0.5912214898848229, 0.05114314462961874, 0.22546783353686137]
    )
    assert [(params["units"], params["act"]) for params in drawn] == [(32, "tanh"), (25, "tanh"), (9, "tanh")]


def test_seeds_differ_between_trials_and_sweeps() -> None:
    numbers = [trial_seed(trial_seeds(seed, trial)) for seed in range(5) for trial in range(200)]
    assert len(set(numbers)) == 1000
    assert all(type(number) is int and 0 <= number < 2**32 for number in numbers)
    assert trial_seed(trial_seeds(0, 1)) == int(SeedSequence(0, spawn_key=(1,)).generate_state(1)[0])


def test_trials_are_uniform_over_the_cube() -> None:
    space = Space({f"x{axis}": Float(0, 1) for axis in range(4)})
    proposer = RandomSampler().begin(space, seed=5, trials=4000)
    points = np.array([list(proposer.suggest(trial, trial_seeds(5, trial)).values()) for trial in range(4000)])
    assert abs(points.mean(axis=0) - 0.5).max() < 4 * np.sqrt(1 / 12 / 4000)
    assert abs(np.corrcoef(points.T) - np.eye(4)).max() < 4 / np.sqrt(4000)


def test_importing_the_samplers_imports_no_scipy() -> None:
    code = "import sys, caviar.samplers; sys.exit('scipy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=60).returncode == 0

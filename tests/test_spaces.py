"""The ready spaces."""

from __future__ import annotations

from typing import Any

import pytest

from caviar.errors import SpaceError
from caviar.samplers import RandomSampler, trial_seeds
from caviar.space import Constant, Float, Space
from caviar.spaces import deep_learning

ADDED = {
    1: {"lr"},
    2: {"momentum", "hidden", "batch_size"},
    3: {"layers", "lr_decay"},
    4: {"beta1", "beta2", "epsilon"},
}


@pytest.mark.parametrize("tier", [1, 2, 3, 4])
def test_a_tier_varies_its_params_and_those_of_the_tiers_before(tier: int) -> None:
    space = deep_learning(tier)
    assert set(space.varying) == set().union(*(ADDED[each] for each in range(1, tier + 1)))
    constants = {name: each.value for name, each in space.items() if isinstance(each, Constant)}
    assert constants == ({} if tier == 4 else {"beta1": 0.9, "beta2": 0.999, "epsilon": 1e-8})
    assert Space.from_dict(space.to_dict()) == space


def test_scales_are_those_of_the_lecture() -> None:
    space = deep_learning(tier=4)
    scales = {name: each.scale for name, each in space.items() if isinstance(each, Float)}
    assert scales == {
        "lr": "log",
        "momentum": "one_minus_log",
        "lr_decay": "log",
        "beta1": "one_minus_log",
        "beta2": "one_minus_log",
        "epsilon": "log",
    }
    space.check_partial({"momentum": 0.9, "beta1": 0.9, "beta2": 0.999, "epsilon": 1e-8})  # the usual values


def test_a_trial_has_the_same_lr_in_every_tier() -> None:
    proposers = [RandomSampler().begin(deep_learning(tier), seed=0, trials=1) for tier in (1, 2, 3, 4)]
    assert len({proposer.suggest(0, trial_seeds(0, 0))["lr"] for proposer in proposers}) == 1


@pytest.mark.parametrize("tier", [0, 5, -1, True, 1.0, "1", None])
def test_another_tier_is_refused(tier: Any) -> None:
    with pytest.raises(SpaceError, match="tier must be 1, 2, 3 or 4"):
        deep_learning(tier)

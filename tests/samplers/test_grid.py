"""The grid: every combination once, in order, and no more trials than it has."""

from __future__ import annotations

from typing import Any

import pytest

from caviar.errors import UsageError
from caviar.samplers import GridSampler, trial_seeds
from caviar.space import Choice, Float, Int, Space

SPACE = Space(lr=Float(1e-2, 1.0, scale="log"), layers=Int(1, 3), act=Choice(["relu", "tanh"]))


def grid(sampler: GridSampler, trials: int, space: Space = SPACE) -> list[dict[str, Any]]:
    proposer = sampler.begin(space, seed=0, trials=trials)
    return [dict(proposer.suggest(trial, trial_seeds(0, trial))) for trial in range(trials)]


def test_trials_go_through_the_grid_of_the_space() -> None:
    assert grid(GridSampler(3), 18) == SPACE.grid(3)
    assert grid(GridSampler(3), 5) == SPACE.grid(3)[:5]


def test_params_that_the_mapping_does_not_name_get_5_points() -> None:
    assert grid(GridSampler({"layers": 2}), 20) == SPACE.grid({"lr": 5, "layers": 2})
    assert grid(GridSampler(), 30) == SPACE.grid(5)


def test_more_trials_than_combinations_are_refused() -> None:
    with pytest.raises(UsageError, match="19 trials, but the grid has 18 combinations"):
        GridSampler(3).begin(SPACE, seed=0, trials=19)
    conditional = Space(o=Choice(["a", "b"]), x=Float(0, 1, when={"o": "b"}))
    assert len(grid(GridSampler(3), 4, conditional)) == 4
    with pytest.raises(UsageError, match="5 trials, but the grid has 4 combinations"):
        GridSampler(3).begin(conditional, seed=0, trials=5)


def test_a_huge_grid_is_not_laid_out_whole() -> None:
    space = Space({f"x{axis}": Float(0, 1) for axis in range(40)})
    assert len(grid(GridSampler(10), 3, space)) == 3


def test_a_trial_beyond_those_it_began_with_is_refused() -> None:
    with pytest.raises(UsageError, match="trial 4: the grid was begun for 4 trials"):
        GridSampler(3).begin(SPACE, seed=0, trials=4).suggest(4, trial_seeds(0, 4))


def test_what_is_handed_out_is_a_copy() -> None:
    proposer = GridSampler(3).begin(SPACE, seed=0, trials=2)
    dict.clear(proposer.suggest(0, trial_seeds(0, 0)))  # type: ignore[arg-type]
    assert proposer.suggest(0, trial_seeds(0, 0)) == SPACE.grid(3)[0]


@pytest.mark.parametrize("points", [0, -2, 1.5, True, "5", None, {"lr": 0}, {"lr": None}])
def test_numbers_of_points_must_be_whole_and_positive(points: Any) -> None:
    with pytest.raises(UsageError, match="whole number of at least 1"):
        GridSampler(points)


@pytest.mark.parametrize("name", ["momentum", "act"])
def test_points_of_what_has_none_are_refused(name: str) -> None:
    with pytest.raises(UsageError, match=f"points of '{name}', but the Floats and Ints are: lr, layers"):
        GridSampler({name: 2}).begin(SPACE, seed=0, trials=1)

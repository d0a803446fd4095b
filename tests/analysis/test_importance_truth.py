"""The shares that are found, against shares that are known."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pytest
from scipy.stats import rankdata

import caviar
from caviar.analysis.importance.anova import Effects, one_by_one, pairs_of
from caviar.analysis.importance.columns import columns_of, groups_for
from caviar.messages import Floats

Params = Mapping[str, Any]

SPACE = caviar.Space(
    lr=caviar.Float(1e-4, 1.0, scale="log"),
    momentum=caviar.Float(0.9, 0.999, scale="one_minus_log"),
    hidden=caviar.Int(16, 256, scale="log"),
    kind=caviar.Choice(["a", "b", "c"], weights=[2, 1, 1]),
    beta=caviar.Float(0.9, 0.9999, scale="one_minus_log", when={"kind": ["a", "b"]}),
    nothing=caviar.Float(0, 1),
)
ORTHOGONAL = np.sqrt(12.0)
"""A coordinate from 0 to 1 times this has the variance 1."""


def drawn(count: int, seed: int) -> tuple[list[dict[str, Any]], Floats]:
    """Params, and their coordinates: NaN where one is absent."""
    rng = np.random.default_rng(seed)
    params = [SPACE.sample(rng) for _ in range(count)]
    return params, np.array([SPACE.to_unit(each) for each in params])


def found(
    params: Sequence[Params], score: Floats, *, seed: int = 0
) -> dict[str, tuple[float, float, float, float]]:
    columns = columns_of(params, SPACE)
    effects, _ = one_by_one(columns, score, np.random.default_rng(seed))
    return dict(zip((column.name for column in columns), rows(effects), strict=True))


def rows(effects: Effects) -> list[tuple[float, float, float, float]]:
    return list(zip(effects.share, effects.low, effects.high, effects.noise, strict=True))


def additive(unit: Floats) -> Floats:
    """lr 60%, momentum 30%, hidden 10% of the variance; the rest nothing."""
    weight = np.sqrt([0.6, 0.3, 0.1]) * ORTHOGONAL
    return np.asarray(unit[:, :3] @ weight, np.float64)


@pytest.mark.parametrize(("trials", "off"), [(100, 0.2), (500, 0.1), (2000, 0.05)])
def test_additive_shares(trials: int, off: float) -> None:
    params, unit = drawn(trials, seed=trials)
    shares = found(params, additive(unit))
    for name, truth in {"lr": 0.6, "momentum": 0.3, "hidden": 0.1, "kind": 0.0, "nothing": 0.0}.items():
        share, low, high, noise = shares[name]
        assert share == pytest.approx(truth, abs=off)
        assert low - 0.5 * off <= truth <= high + 0.5 * off
        assert (share > noise) == (truth > 0)


def test_ranks_keep_the_shares_about() -> None:
    """What `Result.importance` explains are ranks, which make a little interaction of a sum."""
    params, unit = drawn(2000, seed=1)
    score = additive(unit)
    plain, ranked = found(params, score), found(params, rankdata(score))
    for name in ("lr", "momentum", "hidden", "nothing"):
        assert ranked[name][0] == pytest.approx(plain[name][0], abs=0.05)


def test_noise_takes_its_share_and_adds_none() -> None:
    """Half of the variance is chance: the others keep half of theirs."""
    params, unit = drawn(2000, seed=2)
    score = additive(unit) + np.random.default_rng(3).normal(size=2000)
    shares = found(params, score)
    for name, truth in {"lr": 0.3, "momentum": 0.15, "hidden": 0.05, "kind": 0.0, "nothing": 0.0}.items():
        assert shares[name][0] == pytest.approx(truth, abs=0.04)


def test_a_choice_with_weights() -> None:
    """One value in two is worth 1, the others 0: all of it, whatever the weights."""
    params, _ = drawn(300, seed=4)
    score = np.array([float(each["kind"] == "a") for each in params])
    shares = found(params, score)
    assert shares["kind"][0] == pytest.approx(1)
    assert max(shares[name][0] for name in shares if name != "kind") < 0.05


def test_a_conditional_param_has_its_share_of_its_own_trials() -> None:
    params, unit = drawn(1000, seed=5)
    beta, nothing = np.nan_to_num(unit[:, 4]), unit[:, 5]
    score = np.where(np.isnan(unit[:, 4]), 5.0, 2 * beta + nothing)  # 4 to 1 where it exists
    shares = found(params, score)
    assert shares["beta"][0] == pytest.approx(0.8, abs=0.06)


@pytest.mark.parametrize("trials", [300, 2000])
def test_a_pure_interaction_is_found_in_the_pair_alone(trials: int) -> None:
    params, unit = drawn(trials, seed=6)
    score = (unit[:, 0] - 0.5) * (unit[:, 1] - 0.5)
    shares = found(params, score)
    assert max(share for share, *_ in shares.values()) < 0.08
    columns = columns_of(params, SPACE)
    _, rest = one_by_one(columns, score, np.random.default_rng(0))
    pairs, effects = pairs_of(columns, score, rest, np.random.default_rng(0))
    by_pair = {(pair.first, pair.second): row for pair, row in zip(pairs, rows(effects), strict=True)}
    share, low, _, noise = by_pair.pop(("lr", "momentum"))
    assert share > (0.85 if trials == 300 else 0.95)
    assert low > 0.7
    assert share > noise
    assert max(other for other, *_ in by_pair.values()) < 0.12


def test_main_effects_make_no_pair() -> None:
    params, unit = drawn(500, seed=7)
    columns, score = columns_of(params, SPACE), additive(unit)
    _, rest = one_by_one(columns, score, np.random.default_rng(0))
    _, effects = pairs_of(columns, score, rest, np.random.default_rng(0))
    assert (effects.share < 0.01).all()


def test_a_lesser_param_is_seen_beside_one_that_decides_nearly_everything() -> None:
    params, unit = drawn(200, seed=8)
    score = (np.sqrt([0.96, 0.03, 0.01]) * ORTHOGONAL * unit[:, :3]).sum(axis=1)
    shares = found(params, score)
    for name, truth in {"lr": 0.96, "momentum": 0.03, "hidden": 0.01}.items():
        assert shares[name][0] == pytest.approx(truth, abs=0.03 if name == "lr" else 0.01)
        assert shares[name][0] > shares[name][3]
    assert shares["nothing"][0] < 0.005


def misses(
    truth: Mapping[str, float], score_of: Callable[[Floats, np.random.Generator], Floats]
) -> dict[str, int]:
    """How often, of 20 sweeps of 200 trials, the interval does not hold the truth."""
    count = dict.fromkeys(truth, 0)
    for seed in range(20):
        params, unit = drawn(200, seed=100 + seed)
        shares = found(params, score_of(unit, np.random.default_rng(seed)), seed=seed)
        for name, share in truth.items():
            count[name] += not shares[name][1] - 0.003 <= share <= shares[name][2] + 0.003
    return count


@pytest.mark.slow
def test_intervals_hold_the_truth_about_nine_times_in_ten() -> None:
    count = misses(
        {"lr": 0.3, "momentum": 0.15, "hidden": 0.05, "nothing": 0.0},
        lambda unit, rng: additive(unit) + rng.normal(size=len(unit)),
    )
    assert max(count.values()) <= 6  # of 20, where 2 are expected
    assert count["nothing"] <= 2


@pytest.mark.slow
def test_without_influence_hardly_any_sweep_shows_any() -> None:
    """Of 20 sweeps of pure noise, one should have a param above its noise."""
    above = 0
    for seed in range(20):
        params, unit = drawn(100, seed=500 + seed)
        score = np.random.default_rng(seed).random(len(unit))
        above += any(share > noise for share, _, _, noise in found(params, score, seed=seed).values())
    assert above <= 5


def test_groups_grow_with_the_trials() -> None:
    counts = [groups_for(trials) for trials in (10, 100, 1_000, 10_000, 1_000_000)]
    assert counts == sorted(counts)
    assert counts[0] >= 2
    assert counts[1] <= 10  # ten trials a group, to have a mean

"""The statistics of a re-test: against known distributions, and against hundreds of simulated re-tests."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from caviar.analysis import retest
from caviar.analysis.rechecked import Fresh, Recheck, Setting
from caviar.analysis.retest import Noise

RNG = np.random.default_rng


def test_noise_is_pooled_within_settings() -> None:
    groups = [np.array([1.0, 3.0]), np.array([10.0, 10.0, 13.0]), np.array([7.0]), np.array([])]
    noise = retest.pooled(groups)
    assert noise.df == 3
    assert noise.sd == pytest.approx(math.sqrt((2 + 6) / 3))
    assert not retest.pooled([np.array([1.0]), np.array([2.0])]).known
    assert retest.pooled([]).df == 0


def test_noise_by_step_is_the_noise_of_each_step() -> None:
    curves = [RNG(0).normal(size=(3, 6)), RNG(1).normal(size=(2, 6)), RNG(2).normal(size=(1, 6))]
    curves[0][1, 2] = math.nan
    curves[1][:, 5] = math.inf
    found = retest.pooled_by_step(curves)
    for step in range(6):
        columns = [rows[:, step] for rows in curves]
        expected = retest.pooled([values[np.isfinite(values)] for values in columns])
        assert found[step].df == expected.df
        assert found[step].sd == pytest.approx(expected.sd)


@pytest.mark.parametrize("df", [1, 2, 10, 500])
@pytest.mark.parametrize("difference", [-1.0, 0.0, 0.4, 3.0])
def test_one_rival_is_the_t_test(df: int, difference: float) -> None:
    found = retest.exceeds(difference, Noise(0.5, df), rivals=[3], own=2)
    assert found == pytest.approx(stats.t.sf(difference / 0.5 / math.sqrt(1 / 3 + 1 / 2), df), rel=1e-6)


def test_several_rivals_are_dunnetts_test() -> None:
    rng = RNG(5)
    control = rng.normal(0.0, 1.0, 4)
    others = [rng.normal(0.6, 1.0, 4) for _ in range(3)]
    noise = retest.pooled([control, *others])
    ahead = max(values.mean() for values in others) - control.mean()
    expected = stats.dunnett(*others, control=control, alternative="greater", rng=rng).pvalue.min()
    assert retest.exceeds(ahead, noise, rivals=[4] * 3, own=4) == pytest.approx(expected, abs=0.003)


def test_rivals_of_several_sizes_are_as_drawn() -> None:
    rng = RNG(6)
    draws = 100_000
    rivals = rng.normal(0, [1, 1, 1 / math.sqrt(3)], (draws, 3)).max(axis=1)
    above = rivals - rng.normal(0, 1 / math.sqrt(2), draws)
    scale = np.sqrt(rng.chisquare(5, draws) / 5)
    for bound in (0.5, 2.0, 3.5):
        found = retest.exceeds(bound, Noise(1.0, 5), rivals=[1, 1, 3], own=2)
        assert found == pytest.approx((above >= bound * scale).mean(), abs=0.006)


def test_the_luck_of_the_best_is_that_of_order_statistics() -> None:
    drawn = np.sort(RNG(7).normal(size=(20_000, 50)), axis=1)
    assert retest.expected_luck(1, 50) == pytest.approx(drawn[:, -1].mean(), abs=0.02)
    assert retest.expected_luck(5, 50) == pytest.approx(drawn[:, -5:].mean(), abs=0.02)
    assert retest.expected_luck(1, 1) == pytest.approx(0, abs=0.03)
    assert retest.expected_luck(3, 3) == pytest.approx(0, abs=0.03)


def test_without_any_noise_every_difference_counts_and_none_does_not() -> None:
    still = Noise(0.0, 4)
    assert retest.exceeds(1e-9, still, rivals=[1], own=3) == 0
    assert retest.exceeds(0.0, still, rivals=[1], own=3) == 1
    assert retest.moves(0.0, still, of=10, seeds=3) == 1
    assert retest.moves(-0.1, still, of=10, seeds=3) == 0
    assert retest.all_move(np.array([0.0, 0.0]), still, of=10, seeds=[1, 1]) == 1
    assert retest.all_move(np.array([-0.1, 0.0]), still, of=10, seeds=[1, 1]) == 0
    assert retest.differ([np.array([1.0, 1.0]), np.array([2.0, 2.0])]) == 0
    assert retest.differ([np.array([1.0, 1.0]), np.array([1.0, 1.0])]) == 1


def test_where_noise_is_unknown_so_is_every_p() -> None:
    unknown = Noise(math.nan, 0)
    assert math.isnan(retest.exceeds(1.0, unknown, rivals=[1], own=1))
    assert math.isnan(retest.moves(1.0, unknown, of=5, seeds=1))
    assert math.isnan(retest.all_move(np.array([1.0]), unknown, of=5, seeds=[1]))
    assert math.isnan(retest.half_width(unknown, 3))
    assert math.isnan(retest.exceeds(1.0, Noise(1.0, 3), rivals=[], own=1))
    assert math.isnan(retest.differ([np.array([1.0, 2.0])]))
    assert math.isnan(retest.all_move(np.array([]), Noise(1.0, 3), of=5, seeds=[]))


def test_the_f_test_and_the_rank_correlation_are_scipys() -> None:
    groups = [RNG(8).normal(mean, 1, 4) for mean in (0, 0.5, 2)]
    assert retest.differ(groups) == pytest.approx(stats.f_oneway(*groups).pvalue)
    assert retest.order_kept(np.array([3.0, 2.0, 1.0, 0.0]), np.array([30.0, 20.0, 10.0, 5.0])) == pytest.approx(
        (1.0, 1 / 12)
    )
    assert all(map(math.isnan, retest.order_kept(np.array([1.0]), np.array([1.0]))))
    assert all(map(math.isnan, retest.order_kept(np.array([1.0, 2.0]), np.array([1.0, 1.0]))))


def test_noise_that_stands_out_is_found() -> None:
    even = [retest.uneven(list(RNG(seed).normal(size=(5, 3)))) for seed in range(400)]
    assert np.mean(np.array(even) < 0.05) <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / 400)
    assert np.mean(np.array(even) < 0.05) > 0.02, "and it can be found at all"
    assert retest.uneven([np.array([1.0, 1.0, 1.0])] * 2 + [np.array([0.0, 5.0, 9.0])]) < 0.01
    assert math.isnan(retest.uneven([np.array([1.0, 2.0])]))
    assert math.isnan(retest.uneven([np.array([1.0, 1.0])] * 3))


def test_search_alone_finds_better_ones_as_often_as_ranks_fall() -> None:
    ranks = np.argsort(RNG(9).normal(size=(100_000, 30)), axis=1)  # fresh ones have the numbers from 20 on
    for better in (1, 2, 3):
        drawn = (ranks[:, :better] >= 20).all(axis=1).mean()
        assert retest.by_search_alone(better, fresh=10, of=20) == pytest.approx(drawn, abs=0.01)
    assert retest.by_search_alone(0, fresh=10, of=20) == 1
    assert retest.by_search_alone(11, fresh=10, of=20) == 0


def test_curves_part_where_they_stay_apart() -> None:
    then = np.array([1.0, 2.0, 3.0, 4.0, 5.0])
    now = then + np.array([[0.1], [-0.1], [0.0]])
    noise = [Noise(0.1, 6)] * 5
    assert retest.parts(then, now, noise) is None
    assert retest.parts(then, now + 2, noise) == 0
    away = np.array([0.0, 2.0, 0.0, 2.0, 2.0])
    assert retest.parts(then, now + away, noise) == 3, "what comes together again has not parted"
    assert retest.parts(then, now + away[::-1], noise) is None
    assert retest.parts(then, now + 2, [Noise(math.nan, 0)] * 5) is None
    assert retest.parts(np.array([]), now[:, :0], []) is None
    lost = now + 2
    lost[:, 2] = math.nan
    assert retest.parts(then, lost, noise) == 3


# --- simulated re-tests ------------------------------------------------------------------------------------

SD = 0.3


def simulated(
    seed: int,
    *,
    spread: float,
    of: int = 40,
    top: int = 4,
    seeds: int = 3,
    fresh: int = 6,
    shift: float = 0.0,
) -> tuple[Recheck, dict[int, float]]:
    """A recheck of a sweep whose settings have known true values, and those, by the number of the trial; the fresh
    ones follow from ``of`` on. ``shift``: by how much all are better now."""
    rng = RNG(seed)
    truth = rng.normal(0.0, spread, of + fresh)
    recorded = truth[:of] + rng.normal(0.0, SD, of)
    best = np.argsort(-recorded)[:top]
    values = {int(trial): truth[trial] + shift + rng.normal(0.0, SD, seeds) for trial in best}
    noise = retest.pooled(list(values.values()))
    settings = tuple(
        Setting(
            trial=trial,
            params={},
            then=float(recorded[trial]),
            steps=1,
            now=tuple(now.tolist()),
            up_to=tuple(now.tolist()),
            trials=(),
            troubles=(),
            parts_at=None,
            p=retest.moves(float(now.mean() - recorded[trial]), noise, of=of, seeds=seeds),
        )
        for trial, now in values.items()
    )
    new = truth[of:] + shift + rng.normal(0.0, SD, fresh)
    return (
        Recheck(
            path=Path("now"),
            of=Path("then"),
            metric="score",
            maximize=True,
            among=of,
            settings=settings,
            fresh=tuple(
                Fresh(
                    trial=of + place,
                    params={},
                    value=float(value),
                    p=retest.exceeds(float(value) - settings[0].mean, noise, rivals=[1] * fresh, own=seeds),
                )
                for place, value in enumerate(new)
            ),
            unfinished=0,
            cut_short=None,
            changes=(),
            noise=noise,
            noise_up_to=noise,
        ),
        dict(enumerate(truth.tolist())),
    )


COUNT = 300
MOST = 0.05 + 3 * math.sqrt(0.05 * 0.95 / COUNT)
"""Of so many at a true rate of 5%, more than this are seen once in a thousand times."""


@pytest.mark.slow
@pytest.mark.parametrize("spread", [0.0, 0.3, 3.0])
def test_nothing_has_changed_and_that_is_found(spread: float) -> None:
    stale, wrong, inside = 0, 0, 0
    for seed in range(COUNT):
        found, truth = simulated(seed, spread=spread)
        stale += found.values != "same"
        own = truth[found.choice.trial]
        if found.outcome != "holds":  # then one of those that are said to be better has to be
            better = [one.trial for one in found.fresh if one.p < found.level]
            if found.p_rival < found.level and found.rival is not None:
                better.append(found.rival.trial)
            wrong += all(truth[trial] <= own for trial in better)
        low, high = found.interval
        inside += low <= own <= high
    assert stale / COUNT <= MOST
    assert wrong / COUNT <= MOST
    assert inside / COUNT == pytest.approx(0.95, abs=3 * math.sqrt(0.05 * 0.95 / COUNT))


@pytest.mark.slow
def test_the_bound_for_luck_is_reached_where_all_are_equal() -> None:
    falls = [simulated(seed, spread=0.0, top=2, seeds=6)[0].choice for seed in range(COUNT)]
    below = np.mean([one.p < 0.2 for one in falls])
    assert below == pytest.approx(0.1, abs=3 * math.sqrt(0.1 * 0.9 / COUNT)), (
        "half of it: no one is better than then"
    )
    assert np.mean([one.change for one in falls]) == pytest.approx(-retest.expected_luck(1, 40) * SD, abs=0.03)


@pytest.mark.slow
def test_without_regard_to_luck_most_of_these_would_be_called_stale() -> None:
    plain = 0
    for seed in range(COUNT):
        found, _ = simulated(seed, spread=0.0)
        plain += retest.exceeds(-found.choice.change, found.noise, rivals=[1], own=3) < 0.05
    assert plain / COUNT > 0.4


@pytest.mark.parametrize(("shift", "expected"), [(-2.4, "worse"), (2.4, "better")])
def test_a_change_of_eight_times_the_noise_is_found(shift: float, expected: str) -> None:
    found = [simulated(seed, spread=0.5, shift=shift)[0].values for seed in range(100)]
    assert found.count(expected) >= 90  # type: ignore[arg-type]
    assert set(found) <= {expected, "same"}


def test_a_choice_that_is_beaten_by_many_has_moved() -> None:
    found, _ = simulated(1, spread=0.2)
    for count, outcome in ((10, "moved"), (1, "moved")):  # one of one, against 40: a chance of 1 in 41
        rivals = [1] * count
        values = [found.choice.mean + 3.0 + place / 100 for place in range(count)]
        ahead = [retest.exceeds(one - found.choice.mean, found.noise, rivals=rivals, own=3) for one in values]
        fresh = tuple(
            Fresh(trial=40 + place, params={}, value=value, p=p)
            for place, (value, p) in enumerate(zip(values, ahead, strict=True))
        )
        again = dataclasses.replace(found, fresh=fresh)
        assert again.beat == count
        assert again.outcome == outcome
    lower = [dataclasses.replace(one, p=0.9, value=-9.0) for one in fresh * 9]
    again = dataclasses.replace(found, fresh=(*fresh, *lower))
    assert again.outcome == "beaten", "one of ten, against 40: a chance of 1 in 5"

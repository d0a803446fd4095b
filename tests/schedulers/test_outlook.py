"""What schedulers expect, beside what their judges do with losses in random order."""

from __future__ import annotations

import numpy as np
import pytest

import caviar
from caviar.schedulers.by_hand import ByHand


def expected(outlook, max_step):
    return sum(step * count for cohort in outlook.cohorts for step, count in cohort.ends(max_step))


def steps_of(scheduler, *, trials, max_step, seed, alike):
    """The steps of trials whose losses at any two rungs have this correlation."""
    judge, random, steps = scheduler.begin(max_step=max_step), np.random.default_rng(1000 + seed), 0
    for trial in range(trials):
        own, rung, end = alike**0.5 * random.standard_normal(), judge.first_rung(trial), max_step
        while rung is not None:
            loss = own + (1 - alike) ** 0.5 * random.standard_normal()
            stops = judge.decide(trial, rung, loss) == "stop"
            judge.observe(trial, rung, loss)
            if stops:
                end = rung
                break
            rung = judge.rung_after(trial, rung)
        steps += end
    return steps


@pytest.mark.parametrize("scheduler", [caviar.Asha(3), caviar.Asha(1, 2.5), caviar.Hyperband()], ids=repr)
def test_what_comes_of_it_lies_within_the_rehearsals(scheduler):
    outlook = scheduler.outlook(80, max_step=81)
    assert sum(cohort.trials for cohort in outlook.cohorts) == pytest.approx(80)
    assert np.mean(outlook.rehearsed) == pytest.approx(expected(outlook, 81))
    found = [steps_of(scheduler, trials=80, max_step=81, seed=seed, alike=0.6) for seed in range(60)]
    low, high = np.quantile(outlook.rehearsed, (0.05, 0.95))
    assert np.mean([low <= one <= high for one in found]) >= 0.8
    assert expected(outlook, 81) == pytest.approx(np.mean(found), rel=0.2)


def test_of_the_first_rung_only_chance_is_left():
    [cohort] = caviar.Asha(grace_steps=3).outlook(100, max_step=9).cohorts
    [rung] = cohort.rungs
    assert (rung.step, rung.reach) == (3, 100)
    # the n-th to come is among the best max(1, floor(n / 3)) with this chance
    assert rung.go_on == pytest.approx(sum(max(1, n // 3) / n for n in range(1, 101)), rel=0.06)
    assert cohort.to_the_end == rung.go_on


def test_without_rungs_there_is_nothing_to_guess():
    for scheduler in (caviar.RunAll(), caviar.Asha(grace_steps=30)):
        outlook = scheduler.outlook(20, max_step=30)
        assert outlook.least_step is None
        assert expected(outlook, 30) == 600
        assert set(outlook.rehearsed) <= {600.0}


def test_more_trials_than_are_rehearsed_do_alike():
    few, many = (caviar.Asha().outlook(trials, max_step=27) for trials in (5_000, 250_000))
    assert expected(many, 27) == pytest.approx(50 * expected(few, 27), rel=0.01)


def test_those_spared_come_to_the_end():
    plain, sparing = (caviar.Asha(3, spare=spare).outlook(100, max_step=30) for spare in (0.0, 0.25))
    [cohort], [spared] = plain.cohorts, sparing.cohorts
    first = spared.rungs[0]
    assert first.spared == pytest.approx(0.25 * (100 - first.go_on), rel=0.1)
    assert first.go_on == pytest.approx(cohort.rungs[0].go_on, rel=0.06), "they make room for nobody"
    assert sum(count for _, count in spared.ends(30)) == pytest.approx(100)
    assert spared.to_the_end > cohort.to_the_end + 15


def test_hyperband_has_a_cohort_for_each_bracket():
    outlook = caviar.Hyperband().outlook(40, max_step=27)
    rungs = {cohort.name: [rung.step for rung in cohort.rungs] for cohort in outlook.cohorts}
    assert rungs == {"bracket 3": [1, 3, 9], "bracket 2": [3, 9], "bracket 1": [9], "bracket 0": []}
    with pytest.raises(caviar.UsageError, match="needs a max_step"):
        caviar.Hyperband().outlook(40, max_step=None)


def test_a_fork_passes_the_rungs_before_its_beginning():
    for scheduler in (caviar.Asha(), caviar.Hyperband()):
        for cohort in scheduler.outlook(30, max_step=81, begin=9).cohorts:
            assert all(rung.step > 9 for rung in cohort.rungs)
    assert caviar.MedianStop(grace_steps=2, every=4).outlook(9, max_step=81, begin=9).least_step == 10


@pytest.mark.parametrize(
    ("scheduler", "least"),
    [
        (caviar.MedianStop(grace_steps=4), 4),
        (caviar.Patience(3), 4),  # the first time counts as an improvement
        (caviar.Patience(2, grace_steps=5, every=10), 25),
        (caviar.Patience(50), None),
        (caviar.RunAll(), None),
        (ByHand(7), 7),
    ],
    ids=repr,
)
def test_where_it_depends_on_the_curves_no_expectation_is_made_up(scheduler, least):
    outlook = scheduler.outlook(12, max_step=30)
    assert outlook.least_step == least
    [cohort] = outlook.cohorts
    assert (cohort.rungs, cohort.to_the_end) == ((), 12)


def test_patience_stops_no_trial_before_that():
    judge = caviar.Patience(2, grace_steps=5, every=10).begin(max_step=100)
    rung, stopped = judge.first_rung(0), None
    while rung is not None and stopped is None:
        if judge.decide(0, rung, 1.0) == "stop":
            stopped = rung
        judge.observe(0, rung, 1.0)
        rung = judge.rung_after(0, rung)
    assert stopped == 25


def test_without_a_max_step_rungs_go_on_and_steps_are_not_known():
    outlook = caviar.Asha().outlook(50, max_step=None)
    [cohort] = outlook.cohorts
    assert [rung.step for rung in cohort.rungs[:4]] == [1, 3, 9, 27]
    assert outlook.rehearsed == ()


def test_one_trial_goes_everywhere():
    outlook = caviar.Asha().outlook(1, max_step=81)
    assert set(outlook.rehearsed) == {81.0}

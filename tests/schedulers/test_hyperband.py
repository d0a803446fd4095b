from __future__ import annotations

import math
import random
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from caviar.errors import UsageError
from caviar.schedulers import Asha, Hyperband, Verdict
from caviar.schedulers.hyperband import Bracket, HyperbandJudge


def started(scheduler: Hyperband, max_step: int) -> HyperbandJudge:
    judge = scheduler.begin(max_step=max_step)
    assert isinstance(judge, HyperbandJudge)
    return judge


def test_the_papers_example() -> None:
    """R = 81 and eta = 3: s_max = 4, and n = ceil(5 / (s + 1) * 3**s).

    s  n                       trains to r first, and is then judged at
    4  ceil(5 / 5 * 81) = 81    1   1 3 9 27
    3  ceil(5 / 4 * 27) = 34    3     3 9 27
    2  ceil(5 / 3 *  9) = 15    9       9 27
    1  ceil(5 / 2 *  3) =  8   27         27
    0  ceil(5 / 1 *  1) =  5   81   not at all
    """
    assert Hyperband().plan(81) == (
        Bracket(s=4, rungs=(1, 3, 9, 27), trials=81, share=81 / 143),
        Bracket(s=3, rungs=(3, 9, 27), trials=34, share=34 / 143),
        Bracket(s=2, rungs=(9, 27), trials=15, share=15 / 143),
        Bracket(s=1, rungs=(27,), trials=8, share=8 / 143),
        Bracket(s=0, rungs=(), trials=5, share=5 / 143),
    )


def test_fewer_brackets_are_the_most_eager_ones() -> None:
    assert Hyperband(brackets=2).plan(81) == (
        Bracket(s=4, rungs=(1, 3, 9, 27), trials=81, share=81 / 115),
        Bracket(s=3, rungs=(3, 9, 27), trials=34, share=34 / 115),
    )
    assert Hyperband(brackets=5).plan(81) == Hyperband().plan(81)


@pytest.mark.parametrize("reduction_factor", [2, 3, 3.0, 5, 10])
def test_a_power_of_the_reduction_factor_has_its_bracket(reduction_factor: float) -> None:
    for power in range(1, 12):
        assert len(Hyperband(1, reduction_factor).plan(int(reduction_factor**power))) == power + 1
        assert len(Hyperband(1, reduction_factor).plan(int(reduction_factor**power) - 1)) == power


def test_a_max_step_between_two_powers() -> None:
    # 2 * 3**3 = 54 <= 100 < 162: three halvings, the last of them at 18
    assert [bracket.rungs for bracket in Hyperband(grace_steps=2).plan(100)] == [(2, 6, 18), (6, 18), (18,), ()]


@pytest.mark.parametrize("max_step", [1, 4])
def test_a_max_step_too_small_to_judge_leaves_the_bracket_that_is_not_judged(max_step: int) -> None:
    assert Hyperband(grace_steps=2).plan(max_step) == (Bracket(s=0, rungs=(), trials=1, share=1.0),)


def test_max_step_is_required() -> None:
    with pytest.raises(UsageError, match=r"Hyperband needs a max_step .* max_step=None"):
        Hyperband().begin(max_step=None)


def test_too_many_brackets_are_refused() -> None:
    with pytest.raises(UsageError) as caught:
        Hyperband(brackets=6).begin(max_step=81)
    assert str(caught.value) == (
        "Hyperband(brackets=6): max_step=81, grace_steps=1 and reduction_factor=3 give at most 5"
    )


@given(st.integers(1, 20), st.one_of(st.integers(2, 5), st.floats(1.05, 5)), st.integers(1, 300))
def test_plans_keep_their_form(grace_steps: int, factor: float, max_step: int) -> None:
    plan = Hyperband(grace_steps, factor).plan(max_step)
    s_max = len(plan) - 1
    assert [bracket.s for bracket in plan] == list(range(s_max, -1, -1))
    assert math.isclose(sum(bracket.share for bracket in plan), 1)
    for bracket in plan:
        assert bracket.rungs == plan[0].rungs[s_max - bracket.s :]
        assert len(bracket.rungs) == bracket.s
        assert all(grace_steps <= rung < max_step for rung in bracket.rungs)
        exact = Fraction(s_max + 1, bracket.s + 1) * Fraction(factor) ** bracket.s
        assert math.isclose(bracket.trials, math.ceil(exact), rel_tol=1e-9)
        if isinstance(factor, int):
            assert bracket.trials == math.ceil(exact)
    if isinstance(factor, int) and max_step >= grace_steps:
        assert grace_steps * factor**s_max <= max_step < grace_steps * factor ** (s_max + 1)


@pytest.mark.parametrize("scheduler", [Hyperband(), Hyperband(reduction_factor=2), Hyperband(brackets=2)])
def test_every_run_of_trials_is_shared_out_evenly(scheduler: Hyperband) -> None:
    judge = started(scheduler, 81)
    numbers = [judge.bracket_of(trial).s for trial in range(3000)]
    rng = random.Random(0)
    starts = [0, *(rng.randrange(2000) for _ in range(30))]
    for bracket in judge.brackets:
        for start in starts:
            count = 0
            for length, s in enumerate(numbers[start : start + 1000], start=1):
                count += s == bracket.s
                assert abs(count - length * bracket.share) < 3  # at random it would stray by 30


def test_a_grids_period_does_not_gather_its_trials_in_one_bracket() -> None:
    judge = started(Hyperband(), 81)
    for period in (2, 3, 8, 11, 13, 143):
        for offset in range(min(period, 5)):
            trials = range(offset, offset + 400 * period, period)
            eager = sum(judge.bracket_of(trial).s == 4 for trial in trials) / len(trials)
            assert abs(eager - 81 / 143) < 0.05


def test_a_trials_bracket_is_where_its_rungs_are() -> None:
    judge = started(Hyperband(), 81)
    for trial in [*range(200), 10**12, 10**18 + 7]:
        rungs = []
        rung = judge.first_rung(trial)
        while rung is not None:
            rungs.append(rung)
            rung = judge.rung_after(trial, rung)
        assert tuple(rungs) == judge.bracket_of(trial).rungs


def test_the_first_trials_by_hand() -> None:
    """Trial i lies at the fraction of 0.618034 i on a circle cut at 0.566, 0.804, 0.909 and 0.965.

    0, 0.618, 0.236, 0.854, 0.472, 0.090, 0.708, 0.326, 0.944, 0.562, 0.180, 0.798, 0.416, 0.034, 0.652, 0.271,
    0.889, 0.507, 0.125, 0.743, 0.361, 0.979. A resumed sweep relies on it: it must stay as it is.
    """
    judge = started(Hyperband(), 81)
    numbers = [judge.bracket_of(trial).s for trial in range(22)]
    assert numbers == [4, 3, 4, 2, 4, 4, 3, 4, 1, 4, 4, 3, 4, 4, 3, 4, 2, 4, 4, 3, 4, 0]


def test_each_bracket_is_an_asha_of_its_own() -> None:
    rng = random.Random(1)
    judge = started(Hyperband(), 81)
    alone = {bracket.s: Asha(bracket.rungs[0]).begin(max_step=81) for bracket in judge.brackets if bracket.rungs}
    stopped = 0
    for trial in range(2000):
        bracket = judge.bracket_of(trial)
        for rung in bracket.rungs:
            loss = rng.randrange(100) / 100
            verdict = judge.decide(trial, rung, loss)
            assert verdict is alone[bracket.s].decide(trial, rung, loss)
            judge.observe(trial, rung, loss)
            alone[bracket.s].observe(trial, rung, loss)
            if verdict is Verdict.STOP:
                stopped += 1
                break
    assert stopped > 1000

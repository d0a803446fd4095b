from __future__ import annotations

import math
import random
import tracemalloc
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from caviar.schedulers import Asha, Judge, Verdict

GO, STOP = Verdict.CONTINUE, Verdict.STOP


def judge_all(judge: Judge, rung: int, losses: list[float]) -> list[Verdict]:
    verdicts = []
    for trial, loss in enumerate(losses):
        verdicts.append(judge.decide(trial, rung, loss))
        judge.observe(trial, rung, loss)
    return verdicts


def by_the_definition(losses: list[float], reduction_factor: float) -> list[Verdict]:
    """Sort everything seen, every time."""
    verdicts = []
    for n in range(1, len(losses) + 1):
        good = sorted(losses[:n])[: max(1, math.floor(n / reduction_factor))]
        verdicts.append(GO if losses[n - 1] <= good[-1] else STOP)
    return verdicts


def test_by_hand() -> None:
    """reduction_factor 3 at one rung: with n losses seen, max(1, floor(n / 3)) may go on.

    n  loss  seen, sorted, this one included           may go on  the last good one
    1  0.50  0.50                                          1       0.50              go on
    2  0.60  0.50 0.60                                     1       0.50              stop
    3  0.50  0.50 0.50 0.60                                1       0.50              go on, a tie
    4  0.40  0.40 0.50 0.50 0.60                           1       0.40              go on
    5  0.45  0.40 0.45 0.50 0.50 0.60                      1       0.40              stop
    6  0.45  0.40 0.45 0.45 0.50 0.50 0.60                 2       0.45              go on
    7  inf   0.40 0.45 0.45 0.50 0.50 0.60 inf             2       0.45              stop
    8  0.46  0.40 0.45 0.45 0.46 0.50 0.50 0.60 inf        2       0.45              stop
    9  0.45  0.40 0.45 0.45 0.45 0.46 0.50 0.50 0.60 inf   3       0.45              go on
    """
    judge = Asha(grace_steps=1, reduction_factor=3).begin(max_step=10)
    losses = [0.50, 0.60, 0.50, 0.40, 0.45, 0.45, math.inf, 0.46, 0.45]
    assert judge_all(judge, 1, losses) == [GO, STOP, GO, GO, STOP, GO, STOP, STOP, GO]
    # the next rung has seen nobody yet
    assert judge_all(judge, 3, [9.0, 9.5]) == [GO, STOP]


def test_where_fewer_finite_losses_were_seen_than_may_go_on_inf_goes_on() -> None:
    judge = Asha(reduction_factor=2).begin(max_step=10)
    #                    k: 1         1         1    2    2         3         3
    losses = [math.inf, math.inf, 1.0, 5.0, math.inf, math.inf, math.inf]
    assert judge_all(judge, 1, losses) == [GO, GO, GO, GO, STOP, GO, GO]
    assert by_the_definition(losses, 2) == [GO, GO, GO, GO, STOP, GO, GO]


@pytest.mark.parametrize("reduction_factor", [2, 3, 4, 1.5, 2.7, 1.01, 6])
@pytest.mark.parametrize("levels", [2, 10, 1_000_000])
def test_decisions_are_those_of_the_definition_on_curves_in_random_order(
    reduction_factor: float, levels: int
) -> None:
    """Whole sweeps: curves with ties and infs, trials that stop report no more, rungs fill in any order."""
    rng = random.Random(f"{reduction_factor} {levels}")
    for _ in range(10):
        judge = Asha(1, reduction_factor).begin(max_step=40)
        seen: dict[int, list[float]] = {}
        running = {trial: judge.first_rung(trial) for trial in range(60)}
        while running:
            trial = rng.choice(list(running))
            rung = running[trial]
            if rung is None:
                del running[trial]
                continue
            loss = math.inf if rng.random() < 0.05 else rng.randrange(levels) / levels - 0.5
            seen.setdefault(rung, []).append(loss)
            verdict = judge.decide(trial, rung, loss)
            assert verdict is by_the_definition(seen[rung], reduction_factor)[-1]
            judge.observe(trial, rung, loss)
            if verdict is STOP:
                del running[trial]
            else:
                running[trial] = judge.rung_after(trial, rung)
        assert len(seen) > 2


@given(
    st.lists(st.one_of(st.floats(allow_nan=False), st.integers(0, 3).map(float))),
    st.one_of(st.integers(2, 6), st.floats(1.01, 6)),
)
def test_decisions_are_those_of_the_definition_on_any_losses(losses: list[float], factor: float) -> None:
    judge = Asha(1, factor).begin(max_step=10)
    assert judge_all(judge, 1, losses) == by_the_definition(losses, factor)


def test_maximising_is_minimising_turned_around() -> None:
    """The largest of the values seen go on, if their negatives are given as losses."""
    rng = random.Random(0)
    accuracies = [rng.randrange(50) / 50 for _ in range(300)]
    verdicts = judge_all(Asha().begin(max_step=10), 1, [-accuracy for accuracy in accuracies])
    for n, (accuracy, verdict) in enumerate(zip(accuracies, verdicts, strict=True), start=1):
        good = sorted(accuracies[:n], reverse=True)[: max(1, n // 3)]
        assert verdict is (GO if accuracy >= good[-1] else STOP)


def test_about_one_in_reduction_factor_goes_on() -> None:
    rng = random.Random(1)
    verdicts = judge_all(Asha().begin(max_step=10), 1, [rng.random() for _ in range(3000)])
    assert 0.30 < verdicts.count(GO) / 3000 < 0.37


def test_a_report_past_several_rungs_is_judged_at_each() -> None:
    judge = Asha(grace_steps=3).begin(max_step=100)
    assert [judge.first_rung(0), judge.rung_after(0, 3), judge.rung_after(0, 9), judge.rung_after(0, 27)] == [
        3,
        9,
        27,
        81,
    ]
    judge.observe(0, 9, 0.1)
    judge.observe(0, 27, 0.5)
    # trial 1 reports 0.3 at step 30 first: at 9 it loses to trial 0, and is not asked again
    assert judge.decide(1, 3, 0.3) is GO
    judge.observe(1, 3, 0.3)
    assert judge.decide(1, 9, 0.3) is STOP


class CountedLoss(float):
    """Counts how often losses were compared."""

    comparisons = 0

    def __lt__(self, other: float) -> bool:
        CountedLoss.comparisons += 1
        return float.__lt__(self, other)

    def __le__(self, other: float) -> bool:
        CountedLoss.comparisons += 1
        return float.__le__(self, other)

    def __neg__(self) -> CountedLoss:
        return CountedLoss(float.__neg__(self))


@pytest.mark.parametrize("order", ["random", "better and better", "worse and worse"])
def test_a_decision_costs_the_logarithm_of_what_was_seen(order: str) -> None:
    rng = random.Random(2)
    n = 20_000
    losses: list[Any] = [rng.random() for _ in range(n)]
    if order != "random":
        losses.sort(reverse=order == "better and better")
    judge = Asha().begin(max_step=10)
    costs = []
    for trial, loss in enumerate(losses):
        CountedLoss.comparisons = 0
        judge.decide(trial, 1, CountedLoss(loss))
        judge.observe(trial, 1, CountedLoss(loss))
        costs.append(CountedLoss.comparisons)
    # two heaps, each sifted once down (at most two comparisons a level) and once up, and the decision itself
    assert all(cost <= 6 * math.log2(seen + 2) + 4 for seen, cost in enumerate(costs))
    assert max(costs) > 1  # it does count


def test_a_loss_takes_less_than_50_bytes() -> None:
    n = 20_000
    rng = random.Random(3)
    judge = Asha().begin(max_step=10)
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        for trial in range(n):
            judge.observe(trial, 1, rng.random())
            judge.forget(trial)
        size_bytes = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    assert size_bytes / n < 50

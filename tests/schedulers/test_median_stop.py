from __future__ import annotations

import math
import random
import statistics

import pytest

from caviar.schedulers import Judge, MedianStop, Verdict

GO, STOP = Verdict.CONTINUE, Verdict.STOP


def run(judge: Judge, trial: int, losses: list[float]) -> list[Verdict]:
    """Judge one trial at rungs 1, 2, … whatever is decided."""
    verdicts = []
    for rung, loss in enumerate(losses, start=1):
        verdicts.append(judge.decide(trial, rung, loss))
        judge.observe(trial, rung, loss)
    return verdicts


def test_by_hand() -> None:
    judge = MedianStop(min_trials=3).begin(max_step=10)
    #                              averages at rungs 1, 2, 3
    run(judge, 0, [1.0, 2.0, 3.0])  # 1.0  1.5  2.0
    run(judge, 1, [4.0, 2.0, 0.0])  # 4.0  3.0  2.0
    assert run(judge, 2, [9.0, 9.0, 9.0]) == [GO, GO, GO]  # only two others: too few
    # medians of three others: 4.0, 3.0 and 2.0; best so far 4.0 (a tie), 4.0, 1.9
    assert run(judge, 3, [4.0, 5.0, 1.9]) == [GO, STOP, GO]
    # averages at rung 1 are now 1, 4, 4, 9: the mean of the middle two is 4
    assert judge.decide(4, 1, 4.0) is GO
    assert judge.decide(4, 1, 4.1) is STOP


def test_with_inf() -> None:
    judge = MedianStop(min_trials=1).begin(max_step=10)
    assert run(judge, 0, [math.inf, 1.0]) == [GO, GO]
    # the average of trial 0 stays inf at rung 2, so that nobody can be worse
    assert judge.decide(1, 1, math.inf) is GO
    assert judge.decide(1, 2, math.inf) is GO
    run(judge, 2, [1.0, 1.0])
    run(judge, 3, [2.0, 2.0])
    # averages at rung 1: 1, 2, inf
    assert judge.decide(4, 1, 2.0) is GO
    assert judge.decide(4, 1, math.inf) is STOP
    # the best so far survives an inf
    judge.observe(5, 1, 0.5)
    assert judge.decide(5, 2, math.inf) is GO


def test_a_sum_that_overflows_never_becomes_nan() -> None:
    judge = MedianStop(min_trials=1).begin(max_step=10)
    run(judge, 0, [-1.7e308, -1.7e308, math.inf])
    assert judge.decide(1, 2, -1e308) is STOP  # the average overflowed to -inf
    assert judge.decide(1, 3, math.inf) is GO  # and is inf at rung 3
    run(judge, 1, [1.0, 1.0, 1.0])
    run(judge, 2, [2.0, 2.0, 2.0])
    assert judge.decide(3, 3, 2.0) is GO  # averages at rung 3: 1, 2, inf
    assert judge.decide(3, 3, 2.1) is STOP


def test_a_trial_is_not_compared_with_itself() -> None:
    judge = MedianStop(min_trials=1).begin(max_step=10)
    run(judge, 0, [1.0])
    assert judge.decide(0, 2, 5.0) is GO  # nobody else came to rung 2


@pytest.mark.parametrize("levels", [3, 50, 1_000_000])
@pytest.mark.parametrize("min_trials", [1, 5])
def test_decisions_are_those_of_the_definition(levels: int, min_trials: int) -> None:
    rng = random.Random(f"{levels} {min_trials}")
    stopped = 0
    for _ in range(15):
        judge = MedianStop(2, 3, min_trials=min_trials).begin(max_step=20)
        curves: dict[int, dict[int, float]] = {}
        running = {trial: judge.first_rung(trial) for trial in range(30)}
        while running:
            trial = rng.choice(list(running))
            rung = running[trial]
            if rung is None:
                del running[trial]
                judge.forget(trial)
                continue
            # dyadic, so that sums are exact and ties are ties
            loss = math.inf if rng.random() < 0.05 else rng.randrange(levels) / 64 - 10
            verdict = judge.decide(trial, rung, loss)

            averages = [
                statistics.fmean(value for step, value in curve.items() if step <= rung)
                for other, curve in curves.items()
                if other != trial and rung in curve
            ]
            curves.setdefault(trial, {})[rung] = loss
            best = min(curves[trial].values())
            expected = GO
            if len(averages) >= min_trials and best > statistics.median(averages):
                expected = STOP
            assert verdict is expected

            judge.observe(trial, rung, loss)
            if verdict is STOP:
                stopped += 1
                del running[trial]
                judge.forget(trial)
            else:
                running[trial] = judge.rung_after(trial, rung)
    assert stopped > 50


def test_the_median_costs_the_logarithm_of_what_was_seen() -> None:
    """Both halves of a rung stay heaps of equal size, so that nothing is ever sorted or scanned."""
    judge = MedianStop().begin(max_step=10)
    rng = random.Random(4)
    for trial in range(1000):
        judge.observe(trial, 1, rng.random())
        rung = judge._averages[1]  # type: ignore[attr-defined]
        assert len(rung._lowest) == (trial + 2) // 2
        assert len(rung._lowest) + len(rung._rest) == trial + 1


def test_a_trial_that_was_touched_by_hand_is_judged_by_its_best_and_no_median_has_it() -> None:
    judge = MedianStop(min_trials=2).begin(max_step=10)
    run(judge, 0, [2.0, 2.0, 2.0])
    run(judge, 1, [2.0, 2.0, 2.0])
    judge.observe_alone(2, 1, 1.0)
    judge.observe_alone(2, 2, 9.0)
    assert judge.decide(2, 3, 9.0) is GO, "its best is 1"
    assert judge.decide(3, 1, 2.1) is STOP, "the median is 2"

from __future__ import annotations

import math
import random

import pytest

from caviar.schedulers import Patience, Verdict

GO, STOP = Verdict.CONTINUE, Verdict.STOP


def run(scheduler: Patience, losses: list[float]) -> list[Verdict]:
    """One trial's verdicts, until it is stopped; losses are those of its judged steps."""
    judge = scheduler.begin(max_step=None)
    verdicts: list[Verdict] = []
    for rung, loss in enumerate(losses, start=1):
        verdicts.append(judge.decide(0, rung, loss))
        judge.observe(0, rung, loss)
        if verdicts[-1] is STOP:
            break
    return verdicts


@pytest.mark.parametrize(
    ("scheduler", "losses", "stops_at"),
    [
        # best 1.0 at the first, 0.9 at the third; the fourth and the fifth do not improve on it
        (Patience(2), [1.0, 1.1, 0.9, 0.95, 0.91, 0.1], 5),
        (Patience(3), [1.0, 1.1, 0.9, 0.95, 0.91, 0.1], None),
        # a tie is no improvement
        (Patience(2), [1.0, 1.0, 1.0, 0.5], 3),
        (Patience(1), [1.0, 0.9, 0.8, 0.8], 4),
        # lower by exactly min_delta is not more than min_delta
        (Patience(2, 0.5), [2.0, 1.5, 1.5, 0.0], 3),
        # small improvements add up: 1.25 improves on 2.0 by more than 0.5, though on 1.75 it does not
        (Patience(2, 0.5), [2.0, 1.75, 1.25, 1.0, 0.5, 0.25], None),
        # inf does not improve, not even on inf; anything finite improves on it
        (Patience(2), [math.inf, math.inf, math.inf], 3),
        (Patience(2), [math.inf, math.inf, 1e300, math.inf, 1.0], None),
        (Patience(2), [1.0, math.inf, math.inf], 3),
    ],
)
def test_by_hand(scheduler: Patience, losses: list[float], stops_at: int | None) -> None:
    expected = [GO] * len(losses) if stops_at is None else [GO] * (stops_at - 1) + [STOP]
    assert run(scheduler, losses) == expected


def test_decisions_are_those_of_the_definition_without_min_delta() -> None:
    """Stopped where the best of the last ``patience`` judged steps is no better than the best before them."""
    rng = random.Random(5)
    for _ in range(300):
        patience = rng.randrange(1, 6)
        losses = [math.inf if rng.random() < 0.1 else rng.randrange(30) / 10 for _ in range(40)]
        stops_at = next(
            (n for n in range(patience + 1, 41) if min(losses[n - patience : n]) >= min(losses[: n - patience])),
            None,
        )
        expected = [GO] * 40 if stops_at is None else [GO] * (stops_at - 1) + [STOP]
        assert run(Patience(patience), losses) == expected


def test_trials_are_not_compared() -> None:
    judge = Patience(1).begin(max_step=None)
    judge.observe(0, 1, 0.1)
    assert judge.decide(1, 1, 5.0) is GO
    judge.observe(1, 1, 5.0)
    assert judge.decide(1, 2, 4.0) is GO
    assert judge.decide(0, 2, 0.2) is STOP


def test_rungs() -> None:
    judge = Patience(3, grace_steps=10, every=5).begin(max_step=21)
    assert [judge.first_rung(0), judge.rung_after(0, 10), judge.rung_after(0, 15), judge.rung_after(0, 20)] == [
        10,
        15,
        20,
        None,
    ]


def test_what_a_forgotten_trial_did_is_gone() -> None:
    judge = Patience(1).begin(max_step=None)
    judge.observe(0, 1, 0.1)
    judge.forget(0)
    assert judge.decide(0, 1, 9.0) is GO


def test_a_trial_that_was_touched_by_hand_is_judged_as_any_other() -> None:
    judge = Patience(2).begin(max_step=None)
    judge.observe(0, 1, 0.5)
    judge.observe_alone(0, 2, 0.4)
    judge.observe_alone(0, 3, 0.6)
    assert judge.decide(0, 4, 0.3) is GO
    assert judge.decide(0, 4, 0.4) is STOP

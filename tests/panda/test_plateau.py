from __future__ import annotations

import math
import random
from dataclasses import replace

import numpy as np
import pytest

from caviar.panda.change import Change
from caviar.panda.live import Firing, Live
from caviar.panda.rules import OnPlateau
from caviar.schedulers import Patience, Verdict


def fires(rule: OnPlateau, losses: list[float], *, minimize: bool = True) -> list[int]:
    """The reports at which it fires, with the firings before in its sight."""
    firings: list[Firing] = []
    for n in range(1, len(losses) + 1):
        values = losses[:n] if minimize else [-loss for loss in losses[:n]]
        change = rule.judge(Live.of(values, params={"lr": 1.0}, minimize=minimize, firings=firings))
        if change is not None:
            firings.append(Firing(rule.name, n, n, change))
    return [firing.step for firing in firings]


@pytest.mark.parametrize(
    ("rule", "losses", "expected"),
    [
        (OnPlateau(2), [1.0, 1.1, 0.9, 0.95, 0.91, 0.92, 0.93], [5, 7]),
        (OnPlateau(3), [1.0, 1.1, 0.9, 0.95, 0.91, 0.92, 0.93], [6]),
        # a tie does not improve
        (OnPlateau(2), [1.0, 1.0, 1.0, 1.0, 0.5, 0.6, 0.4], [3]),
        # by exactly min_delta is not by more
        (OnPlateau(2, 0.5), [2.0, 1.5, 1.5], [3]),
        # small improvements add up over the patience
        (OnPlateau(2, 0.5), [2.0, 1.7, 1.4, 1.1, 0.8, 0.5], []),
        # what is not finite does not improve
        (OnPlateau(2), [1.0, math.nan, math.inf, 0.5], [3]),
        (OnPlateau(2), [math.nan, math.nan, math.nan, 5.0, 4.0], [3]),
        (OnPlateau(2), [math.nan, math.nan, 5.0, 4.0, 3.0], []),
        (OnPlateau(2, cooldown=4), [1.0] * 12, [3, 8]),
        (OnPlateau(2, at_most=1), [1.0] * 12, [3]),
    ],
)
@pytest.mark.parametrize("minimize", [True, False])
def test_by_hand(rule: OnPlateau, losses: list[float], expected: list[int], minimize: bool) -> None:
    assert fires(rule, losses, minimize=minimize) == expected


def test_the_first_time_is_that_of_the_patience_scheduler() -> None:
    rng = random.Random(3)
    for _ in range(100):
        patience = rng.randrange(1, 6)
        losses = [rng.randrange(30) / 10 for _ in range(30)]
        judge = Patience(patience).begin(max_step=None)
        stops = []
        for rung, loss in enumerate(losses, start=1):
            if judge.decide(0, rung, loss) is Verdict.STOP:
                stops.append(rung)
                break
            judge.observe(0, rung, loss)
        assert fires(OnPlateau(patience), losses)[:1] == stops


def test_it_says_what_it_waited_for() -> None:
    flat = [3.0, 1.0, 2.0, 2.0]
    change = OnPlateau(2).judge(Live.of(flat, [10, 20, 30, 40], params={"lr": 0.1}))
    assert change == Change({"lr": 0.05}, reason="loss has not improved on 1, its best at step 20, for 2 reports")
    change = OnPlateau(2, 0.25).judge(Live.of(flat, params={"lr": 0.1}))
    assert change is not None
    assert change.reason == "loss has not improved by more than 0.25 on 1, its best at step 2, for 2 reports"
    change = OnPlateau(2).judge(Live.of([math.nan] * 4, params={"lr": 0.1}))
    assert change is not None
    assert change.reason == "loss has not been finite yet, for 4 reports"


def test_what_was_before_a_firing_is_no_part_of_the_patience() -> None:
    """After a roll-back too: the reports that stayed have lower numbers than the firing."""
    fired = [Firing("OnPlateau", 20, 20, Change({"lr": 0.5}))]
    line = Live.of([1.0] * 8, params={"lr": 1.0}, firings=fired)
    rolled_back = np.array([1, 2, 3, 4, 5, 6, 21, 22])
    assert OnPlateau(3).judge(replace(line, numbers=rolled_back, judged=22)) is None
    assert OnPlateau(2).judge(replace(line, numbers=rolled_back, judged=22)) is not None

"""What every scheduler promises. A new one adds a line to SCHEDULERS, and no test."""

from __future__ import annotations

import json
import math
import pickle
import pickletools
import random
from collections.abc import Iterator
from dataclasses import FrozenInstanceError, fields
from itertools import pairwise

import pytest

from caviar import schedulers
from caviar.errors import UsageError
from caviar.schedulers import Asha, Hyperband, Judge, MedianStop, Patience, RunAll, Scheduler, Verdict

SCHEDULERS = [
    RunAll(),
    Asha(),
    Asha(2, 1.5, spare=0.25),
    Hyperband(),
    Hyperband(2, 2.5, brackets=1, spare=0.5),
    MedianStop(min_trials=3),
    MedianStop(3, 4, spare=0.1),
    Patience(3),
    Patience(2, 0.2, grace_steps=4, every=3, spare=0.9),
]
MAX_STEP = 81

Judged = tuple[int, int, float, Verdict]
"""Trial, rung, loss, and what was decided."""


@pytest.fixture(params=SCHEDULERS, ids=repr)
def scheduler(request: pytest.FixtureRequest) -> Scheduler:
    assert isinstance(request.param, Scheduler)
    return request.param


@pytest.fixture
def judge(scheduler: Scheduler) -> Judge:
    return scheduler.begin(max_step=MAX_STEP)


def sweep(judge: Judge, *, trials: int, seed: int, first_trial: int = 0, forget: bool = True) -> Iterator[Judged]:
    """Drive a judge as the controller does: several trials at once, in random order, ties and infs among them."""
    rng = random.Random(seed)
    waiting = list(range(first_trial, first_trial + trials))
    running: dict[int, int | None] = {}
    while waiting or running:
        while waiting and len(running) < 5:
            trial = waiting.pop(0)
            running[trial] = judge.first_rung(trial)
        trial = rng.choice(list(running))
        rung = running[trial]
        verdict = Verdict.CONTINUE
        if rung is not None:
            loss = math.inf if rng.random() < 0.1 else rng.randrange(20) / 10
            verdict = judge.decide(trial, rung, loss)
            judge.observe(trial, rung, loss)
            yield trial, rung, loss, verdict
            running[trial] = judge.rung_after(trial, rung)
        if rung is None or verdict is Verdict.STOP:
            del running[trial]
            if forget:
                judge.forget(trial)


def rungs_of(judge: Judge, trial: int, *, limit: int = 1000) -> list[int]:
    rungs: list[int] = []
    rung = judge.first_rung(trial)
    while rung is not None and len(rungs) < limit:
        rungs.append(rung)
        rung = judge.rung_after(trial, rung)
    return rungs


@pytest.mark.parametrize("max_step", [1, 2, 3, 9, 80, 81, 82, 1000])
def test_rungs_rise_from_a_first_step_and_stay_below_max_step(scheduler: Scheduler, max_step: int) -> None:
    judge = scheduler.begin(max_step=max_step)
    for trial in range(50):
        rungs = rungs_of(judge, trial)
        assert len(rungs) < 1000
        assert all(isinstance(rung, int) and 1 <= rung < max_step for rung in rungs)
        assert all(low < high for low, high in pairwise(rungs))


def test_rungs_do_not_depend_on_what_happened_or_on_the_order_of_asking(scheduler: Scheduler) -> None:
    used, fresh = scheduler.begin(max_step=MAX_STEP), scheduler.begin(max_step=MAX_STEP)
    for _ in sweep(used, trials=40, seed=1):
        pass
    for trial in reversed(range(60)):
        rungs = rungs_of(used, trial)
        asked_from_the_top = [fresh.rung_after(trial, rung) for rung in reversed(rungs)]
        assert [fresh.first_rung(trial), *reversed(asked_from_the_top)] == [*rungs, None]


def test_without_max_step_rungs_go_on(scheduler: Scheduler) -> None:
    if isinstance(scheduler, Hyperband):
        with pytest.raises(UsageError, match="max_step"):
            scheduler.begin(max_step=None)
        return
    rungs = rungs_of(scheduler.begin(max_step=None), 7, limit=100)
    assert len(rungs) == (0 if isinstance(scheduler, RunAll) else 100)
    assert all(low < high for low, high in pairwise(rungs))


def test_decide_changes_nothing(judge: Judge) -> None:
    for trial in range(20):  # so that rungs found on the way are not taken for a change
        rungs_of(judge, trial)
    for trial, rung, loss, _ in sweep(judge, trials=40, seed=2):
        before = pickle.dumps(judge)
        again = {judge.decide(trial + 1000, rung, loss) for _ in range(3)}
        judge.decide(trial, rung, -loss)
        assert pickle.dumps(judge) == before
        assert len(again) == 1


def test_replaying_what_was_observed_gives_the_same_judge(scheduler: Scheduler) -> None:
    lived = scheduler.begin(max_step=MAX_STEP)
    past = list(sweep(lived, trials=60, seed=3, forget=False))
    replayed = scheduler.begin(max_step=MAX_STEP)
    for trial, rung, loss, _ in past:
        replayed.observe(trial, rung, loss)
    future = [list(sweep(judge, trials=60, seed=4, first_trial=60)) for judge in (lived, replayed)]
    assert future[0] == future[1]


def test_the_same_observations_give_the_same_decisions_in_a_copy(judge: Judge) -> None:
    for _ in sweep(judge, trials=30, seed=5, forget=False):
        pass
    copy = pickle.loads(pickle.dumps(judge))
    assert list(sweep(judge, trials=30, seed=6, first_trial=30)) == list(
        sweep(copy, trials=30, seed=6, first_trial=30)
    )


def test_forgetting_ended_trials_changes_no_decision_about_others(scheduler: Scheduler) -> None:
    remembering, forgetting = scheduler.begin(max_step=MAX_STEP), scheduler.begin(max_step=MAX_STEP)
    assert list(sweep(remembering, trials=80, seed=7, forget=False)) == list(sweep(forgetting, trials=80, seed=7))


def test_nothing_that_names_a_trial_is_left_once_all_are_forgotten(judge: Judge) -> None:
    first = 10**12  # a number that means nothing else
    for _ in sweep(judge, trials=40, seed=8, first_trial=first):
        pass
    left = {value for _, value, _ in pickletools.genops(pickle.dumps(judge)) if isinstance(value, int)}
    assert not left & set(range(first, first + 40))


def test_forgetting_an_unknown_trial_or_twice_is_harmless(judge: Judge) -> None:
    judge.forget(5)
    rung = judge.first_rung(0)
    if rung is not None:
        judge.observe(0, rung, 1.0)
    judge.forget(0)
    judge.forget(0)


def test_the_first_trial_at_a_rung_goes_on_even_with_inf(judge: Judge) -> None:
    rung = judge.first_rung(0)
    if rung is not None:
        assert judge.decide(0, rung, math.inf) is Verdict.CONTINUE


def test_inf_is_never_judged_better_than_a_finite_loss(scheduler: Scheduler) -> None:
    judge = scheduler.begin(max_step=MAX_STEP)
    for trial, rung, _, _ in sweep(judge, trials=80, seed=9):
        if judge.decide(trial + 1000, rung, 1e300) is Verdict.STOP:
            assert judge.decide(trial + 1000, rung, math.inf) is Verdict.STOP


def test_a_lower_loss_is_never_judged_worse(scheduler: Scheduler) -> None:
    judge = scheduler.begin(max_step=MAX_STEP)
    for trial, rung, _, _ in sweep(judge, trials=80, seed=10, forget=False):
        verdicts = [judge.decide(trial, rung, loss) for loss in (-1.0, 0.0, 0.35, 0.7, 1.2, 1.9, math.inf)]
        assert sorted(verdicts) == verdicts  # "continue" comes before "stop"


def test_json_round_trip(scheduler: Scheduler) -> None:
    data = json.loads(json.dumps(scheduler.to_dict()))
    again = schedulers.from_dict(data)
    assert again == scheduler
    assert json.dumps(again.to_dict()) == json.dumps(scheduler.to_dict())
    assert data.pop("name") == scheduler.name
    declared = {field.name for field in fields(scheduler)}  # type: ignore[arg-type]
    assert set(data) == (declared if scheduler.spare else declared - {"spare"}), (
        "without one, as before there was one"
    )


def test_it_is_a_frozen_declaration(scheduler: Scheduler) -> None:
    assert hash(scheduler) == hash(schedulers.from_dict(scheduler.to_dict()))
    for field in fields(scheduler):  # type: ignore[arg-type]
        with pytest.raises(FrozenInstanceError):
            setattr(scheduler, field.name, 5)


def test_an_unknown_argument_is_refused(scheduler: Scheduler) -> None:
    with pytest.raises(UsageError, match=f"{scheduler.name}.*eta=3"):
        schedulers.from_dict({**scheduler.to_dict(), "eta": 3})


def test_every_scheduler_runs_through_this_suite() -> None:
    assert {type(scheduler) for scheduler in SCHEDULERS} == set(schedulers.SCHEDULERS.values())


def test_a_trial_that_is_observed_alone_changes_nothing_for_others(scheduler: Scheduler) -> None:
    rng = random.Random(11)
    with_it, without = scheduler.begin(max_step=MAX_STEP), scheduler.begin(max_step=MAX_STEP)
    alone = 999
    rungs = iter(rungs_of(with_it, alone, limit=40))
    for judged in sweep(without, trials=40, seed=3):
        trial, rung, loss, verdict = judged
        if (own := next(rungs, None)) is not None:
            with_it.decide(alone, own, 0.0)
            with_it.observe_alone(alone, own, rng.choice([-9.0, 9.0, math.inf]))
        assert with_it.decide(trial, rung, loss) is verdict
        with_it.observe(trial, rung, loss)
    with_it.forget(alone)

"""Trials that are spared: which they are, how they go on, and that nobody else is judged otherwise for it."""

from __future__ import annotations

import copy
import math
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import caviar
from caviar.controller import Controller, Output, Resumption
from caviar.errors import UsageError
from caviar.history import replay, revivable
from caviar.messages import (
    Answer,
    AttemptEnded,
    Checkpointed,
    CommandReceived,
    Decided,
    DeclarationChanged,
    DriverStarted,
    Extension,
    ExtensionRequested,
    Launch,
    Recorded,
    RoomOffered,
    RungReached,
    TrialReopened,
    TrialStarted,
)
from caviar.samplers import RandomSampler
from caviar.samplers.base import trial_seed, trial_seeds
from caviar.schedulers import Asha, Hyperband, MedianStop, Patience, RunAll, Scheduler, from_dict
from caviar.schedulers.sparing import drawn
from caviar.space import Float, Space
from caviar.state import Plan
from caviar.store.reader import Reader
from caviar.store.rows import to_row
from caviar.store.tables import events_of, events_table

SPACE = Space(lr=Float(1e-4, 1.0))
BEGIN = DriverStarted(0, "here", 1, "0", None)


class Driven:
    """A controller, and an executor that does as it is told to."""

    def __init__(self, scheduler: Scheduler, *, trials: int = 4, seed: int = 0, max_step: int = 9) -> None:
        sampler = RandomSampler()
        self.plan = Plan(
            space=SPACE, sampler=sampler, scheduler=scheduler, trials=trials, seed=seed, max_step=max_step
        )
        self.controller = Controller(self.plan)
        self.recorded: list[Recorded] = []
        self.launched: dict[int, Launch] = {}
        self.take(self.controller.begin(BEGIN))

    def take(self, output: Output) -> Output:
        self.recorded += [item for item in output if isinstance(item, Recorded)]
        for item in output:
            if isinstance(item, Launch):
                self.launched[item.trial] = item
        return output

    def handle(self, event: Any, now_us: int = 1) -> Output:
        return self.take(self.controller.handle(event, now_us))

    def launch(self, trials: int = 1, now_us: int = 1) -> None:
        before = dict(self.launched)
        self.handle(RoomOffered(trials), now_us)
        for trial, launch in self.launched.items():
            if before.get(trial) is not launch:
                self.handle(TrialStarted(1, trial, launch.attempt, "worker-0"))

    def report(self, trial: int, step: int, value: float) -> Answer:
        attempt = self.launched[trial].attempt
        [answer] = [
            one for one in self.handle(RungReached(trial, attempt, step, value)) if isinstance(one, Answer)
        ]
        return answer

    def end(self, trial: int, step: int, outcome: str = "returned", **fields: Any) -> Output:
        return self.handle(AttemptEnded(2, trial, self.launched[trial].attempt, step, outcome, **fields))

    def next_rung(self, trial: int) -> int | None:
        return self.controller.state.active[trial].next_rung

    @property
    def decided(self) -> list[Decided]:
        return [one for one in self.recorded if isinstance(one, Decided)]


@pytest.fixture
def spared() -> Driven:
    """Trials 0 and 1 under way; 1 was spared at rung 1."""
    seed = next(seed for seed in range(100) if drawn(seed, 1) < 0.5)
    driven = Driven(Asha(reduction_factor=2, spare=0.5), seed=seed)
    driven.launch(2)
    driven.report(0, 1, 0.1)
    assert driven.report(1, 1, 0.9) == Answer(1, 0, stop=False, next_rung=None, reason=None)
    return driven


# --- who ------------------------------------------------------------------------------------------


def test_the_draw_is_of_seed_and_number_alone_and_uniform() -> None:
    draws = np.array([drawn(3, trial) for trial in range(4000)])
    assert draws.tolist() == [drawn(3, trial) for trial in range(4000)]
    assert draws.min() >= 0
    assert draws.max() < 1
    counts, _ = np.histogram(draws, 20, (0, 1))
    assert ((counts - 200) ** 2 / 200).sum() < 43.8  # chi-squared of 19 degrees: one in a thousand is above it
    assert drawn(4, 0) != drawn(3, 0)


def test_the_draw_tells_nothing_of_params_and_seed() -> None:
    draws, params, seeds = [], [], []
    proposer = RandomSampler().begin(SPACE, seed=3, trials=4000)
    for trial in range(4000):
        own = trial_seeds(3, trial)
        draws.append(drawn(3, trial))
        params.append(proposer.suggest(trial, own)["lr"])
        seeds.append(trial_seed(own))
    for other in (params, seeds):
        assert abs(np.corrcoef(draws, other)[0, 1]) < 3.3 / math.sqrt(4000)
        assert abs(np.corrcoef(draws[:-1], other[1:])[0, 1]) < 3.3 / math.sqrt(4000)


@pytest.mark.parametrize("spare", [0.0, 0.3])
def test_one_in_so_many_is_spared(spare: float) -> None:
    driven = Driven(Asha(reduction_factor=2, spare=spare), trials=3001)
    driven.launch(3001)
    for trial in range(3001):
        driven.report(trial, 1, float(trial))  # each one worse than all before
    words = [one.decision for one in driven.decided]
    assert words[0] == "continue"
    assert abs(words.count("spare") - spare * 3000) <= 3.3 * math.sqrt(3000 * spare * (1 - spare))
    assert words.count("stop") + words.count("spare") == 3000


@pytest.mark.parametrize("value", [-0.1, 1, 1.0, 2, math.nan, math.inf, "0.1", True, None])
@pytest.mark.parametrize("kind", [Asha, Hyperband, MedianStop, lambda spare: Patience(3, spare=spare)])
def test_shares_that_make_no_sense(kind: Any, value: object) -> None:
    with pytest.raises(UsageError, match=r"\(spare=.*\): needs a number from 0 on, and below 1"):
        kind(spare=value)


# --- how they go on -------------------------------------------------------------------------------


def test_it_is_judged_no_more(spared: Driven) -> None:
    last = spared.decided[-1]
    assert (last.trial, last.rung, last.value, last.decision) == (1, 1, 0.9, "spare")
    assert spared.report(1, 8, 5.0) == Answer(1, 0, stop=False, next_rung=None, reason=None)
    assert spared.decided[-1] is last
    spared.end(1, 9)
    assert spared.controller.state.state_of(1) == "completed"


def test_a_report_that_passes_several_rungs_is_judged_up_to_the_one_where_it_is_spared() -> None:
    seed = next(seed for seed in range(100) if drawn(seed, 1) < 0.5)
    driven = Driven(Asha(reduction_factor=2, spare=0.5), seed=seed)
    driven.launch(2)
    driven.report(0, 4, 0.1)
    driven.report(1, 8, 0.9)
    assert [(one.rung, one.decision) for one in driven.decided if one.trial == 1] == [(1, "spare")]


def test_another_attempt_of_it_has_no_rung_either(spared: Driven) -> None:
    spared.end(1, 5, "failed", reason="ValueError: x")
    spared.launch(1, now_us=10**10)
    assert (spared.launched[1].attempt, spared.launched[1].next_rung) == (1, None)
    assert spared.launched[0].next_rung == 1


def test_another_driver_has_no_rung_for_it(spared: Driven) -> None:
    history = replay(spared.plan, events_table([to_row(one) for one in spared.recorded], 0))
    assert history.state.active == spared.controller.state.active
    again = Controller(spared.plan, history.state)
    resumption = Resumption(driven_s=1.0, standings={}, changes={}, extension=Extension(), new_stage=False)
    again.resume(DriverStarted(9, "here", 2, "0", 1.0), resumption)
    launched = [one for one in again.handle(RoomOffered(4), 10) if isinstance(one, Launch)]
    assert {one.trial: one.next_rung for one in launched} == {0: 2, 1: None, 2: 1, 3: 1}


def test_a_further_step_gives_it_no_rung_while_it_runs(spared: Driven) -> None:
    spared.handle(ExtensionRequested(CommandReceived(3, "id", "extend", None, {"max_step": 40})))
    assert (spared.next_rung(0), spared.next_rung(1)) == (2, None)


def test_a_further_step_gives_it_no_rung_once_it_has_ended(spared: Driven) -> None:
    spared.report(0, 8, 0.1)
    for trial in (0, 1):
        spared.handle(Checkpointed(2, trial, 0, 8))
        spared.end(trial, 9)
    reopened = list(revivable(events_table([to_row(one) for one in spared.recorded], 0), 9))
    assert [(one.trial, one.spared) for one in reopened] == [(0, False), (1, True)]
    command = CommandReceived(3, "id", "extend", None, {"max_step": 40})
    spared.handle(ExtensionRequested(command, reopened))
    assert [one.spared for one in spared.recorded if isinstance(one, TrialReopened)] == [False, True]
    assert (spared.next_rung(0), spared.next_rung(1)) == (16, None)
    events = events_table([to_row(one) for one in spared.recorded], 0)
    assert list(events_of(events)) == spared.recorded
    assert replay(spared.plan, events).state.active == spared.controller.state.active


def test_another_scheduler_gives_it_no_rung(spared: Driven) -> None:
    changes = {"scheduler": MedianStop(2).to_dict()}
    spared.controller.state.apply(DeclarationChanged(3, changes))
    assert (spared.next_rung(0), spared.next_rung(1)) == (2, None)


def test_one_that_is_to_stop_anyway_is_not_spared(spared: Driven) -> None:
    spared.launch(2)
    spared.handle(CommandReceived(3, "id", "stop", 2, {}))
    answer = spared.report(2, 1, 5.0)
    assert answer.stop
    assert [one for one in spared.decided if one.trial == 2] == []


# --- the others -----------------------------------------------------------------------------------

KINDS = [
    lambda spare: Asha(1, 2, spare=spare),
    lambda spare: Hyperband(1, 2, spare=spare),
    lambda spare: MedianStop(1, 2, min_trials=2, spare=spare),
    lambda spare: Patience(2, every=2, spare=spare),
]


@pytest.mark.parametrize("kind", KINDS, ids=["asha", "hyperband", "median_stop", "patience"])
@settings(max_examples=25, deadline=None)
@given(order=st.integers(0, 10**6), seed=st.integers(0, 10**6), spare=st.sampled_from([0.1, 0.5, 0.95]))
def test_the_decisions_about_all_others_are_those_without_it(
    kind: Any, order: int, seed: int, spare: float
) -> None:
    """The same reports arrive in the same order; a spared trial reports on, far better than all others."""
    rng = random.Random(order)
    without, with_it = Driven(kind(0.0), trials=30, seed=seed), Driven(kind(spare), trials=30, seed=seed)
    alive, letting_go = list(range(30)), dict[int, int]()
    for driven in (without, with_it):
        driven.launch(30)
    while alive:
        trial = rng.choice(alive)
        rung = without.next_rung(trial)
        if rung is None:
            alive.remove(trial)
            for driven in (without, with_it):
                driven.end(trial, 9)
            continue
        value = rng.choice([rng.random(), rng.random(), math.inf, 0.5])
        step = rng.choice([rung, rung, min(8, rung + 2)])
        one, other = without.report(trial, step, value), with_it.report(trial, step, value)
        if one.stop:
            alive.remove(trial)
            without.end(trial, step, "stopped")
            if other.stop:
                with_it.end(trial, step, "stopped")
            else:
                assert other.next_rung is None
                letting_go[trial] = step
        else:
            assert (one.next_rung, one.reason) == (other.next_rung, other.reason)
        for free in [free for free in letting_go if rng.random() < 0.3]:
            letting_go[free] += 1
            if letting_go[free] < 9:
                with_it.report(free, letting_go[free], -1000.0)
            else:
                with_it.end(free, letting_go.pop(free))
    for free in letting_go:
        with_it.end(free, 9)
    told = [(one.trial, one.rung, one.value, one.decision.replace("spare", "stop")) for one in with_it.decided]
    assert told == [(one.trial, one.rung, one.value, one.decision) for one in without.decided]
    assert without.controller.ended
    assert with_it.controller.ended
    spared = {one.trial for one in with_it.decided if one.decision == "spare"}
    stopped = {one.trial for one in with_it.decided if one.decision == "stop"}
    assert all((drawn(seed, trial) < spare) == (trial in spared) for trial in spared | stopped)


# --- declarations ---------------------------------------------------------------------------------


def test_without_one_sweep_json_is_as_it_was() -> None:
    assert Asha().to_dict() == {"name": "asha", "grace_steps": 1, "reduction_factor": 3}
    assert Asha(spare=0.05).to_dict() == {"name": "asha", "grace_steps": 1, "reduction_factor": 3, "spare": 0.05}
    assert from_dict({"name": "asha", "grace_steps": 2, "reduction_factor": 3}) == Asha(2)
    assert RunAll().spare == 0


def learns(trial: caviar.Trial) -> None:
    for step in trial.steps():
        trial.report(loss=trial.params["lr"] / step)
        if trial.checkpoint_due:
            with trial.checkpoint():
                pass


def sweep(scheduler: Scheduler, **changes: Any) -> caviar.Sweep:
    arguments: dict[str, Any] = {"trials": 20, "max_step": 9, "checkpoint_every": 1, **changes}
    return caviar.Sweep(learns, SPACE, metric="loss", scheduler=scheduler, **arguments)


def test_spared_trials_in_a_whole_sweep_that_is_extended(tmp_path: Path) -> None:
    declared = sweep(Asha(1, 2, spare=0.4))
    result = declared.run(tmp_path / "sweep", caviar.Inline())
    trials = result.trials()
    assert 2 < trials.spared.sum() < 18
    assert set(trials[trials.spared].status) == {"completed"}
    assert set(trials[trials.spared].steps) == {9}
    before = {(one.trial, one.rung) for one in decided(result)}
    extended = declared.extend(tmp_path / "sweep", caviar.Inline(), max_step=40)
    spared = set(trials.index[trials.spared])
    assert {
        trial for trial, rung in {(one.trial, one.rung) for one in decided(extended)} - before
    } & spared == set()
    assert set(extended.trials()[trials.spared].steps) == {40}
    assert extended.trials().spared.equals(trials.spared)


def decided(result: caviar.Result) -> list[Decided]:
    return [one for one in events_of(Reader(result.path).read()[1]) if isinstance(one, Decided)]


def test_sparing_from_now_on_keeps_what_was_seen_at_the_rungs(tmp_path: Path) -> None:
    path = tmp_path / "sweep"
    whole = sweep(Asha(1, 2), trials=30).run(tmp_path / "whole", caviar.Inline())
    sweep(Asha(1, 2)).run(path, caviar.Inline())
    more = sweep(Asha(1, 2, spare=0.5), trials=30)
    with pytest.raises(UsageError, match=r"scheduler: asha.*spare=0\.5"):
        more.run(path, caviar.Inline(), resume=True)
    result = more.run(path, caviar.Inline(), resume=True, allow_change=True)
    told = [(one.trial, one.rung, one.decision.replace("spare", "stop")) for one in decided(result)]
    assert told == [(one.trial, one.rung, one.decision) for one in decided(whole)]
    assert result.trials().spared[:20].sum() == 0
    assert result.trials().spared[20:].any()


def test_a_sweep_of_before_is_gone_on_with(tmp_path: Path) -> None:
    declared = sweep(Asha(1, 2), trials=3)
    declared.run(tmp_path / "sweep", caviar.Inline())
    assert "spare" not in (tmp_path / "sweep" / "sweep.json").read_text()
    assert len(declared.extend(tmp_path / "sweep", caviar.Inline(), trials=2).trials()) == 5


def test_the_picture_of_a_state_tells_who_was_spared(spared: Driven) -> None:
    before = copy.deepcopy(spared.controller.state.picture())
    spared.controller.state.active[1].spared = False
    assert spared.controller.state.picture() != before

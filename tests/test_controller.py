"""The controller: the transition table, a state machine that nothing legal can break, and replay."""

from __future__ import annotations

import copy
import math
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from caviar.controller import LOSSES_LIMIT, Controller, Resumption
from caviar.errors import IllegalMoveError
from caviar.history import replay, revivable
from caviar.messages import (
    Answer,
    AttemptEnded,
    AttemptFailed,
    Checkpointed,
    Command,
    CommandAnswered,
    CommandReceived,
    Decided,
    DriverStarted,
    Event,
    Extension,
    ExtensionRequested,
    Launch,
    ProcessReplaced,
    Recorded,
    RoomOffered,
    RungReached,
    Stop,
    StopRequested,
    SweepEnded,
    TrialEnded,
    TrialReopened,
    TrialSampled,
    TrialStarted,
    WorkerLost,
)
from caviar.samplers import GridSampler, RandomSampler
from caviar.schedulers import Asha, Hyperband, MedianStop, RunAll
from caviar.schedulers.base import Scheduler
from caviar.space import Float, Int, Space
from caviar.state import Plan, SweepState
from caviar.store.rows import to_row
from caviar.store.tables import events_table
from caviar.trial import MOVES, TrialRecord, TrialState

SPACE = Space(lr=Float(1e-4, 1.0, scale="log"), hidden=Int(1, 9))


LATER_US = 3_600_000_000
"""Past any time that a trial waits before it is tried again."""


def started_driver(now_us: int = 0, driven_s: float | None = None) -> DriverStarted:
    return DriverStarted(now_us, "here", 1, "0", driven_s)


def make(**changes: Any) -> Controller:
    arguments: dict[str, Any] = {
        "space": SPACE,
        "sampler": RandomSampler(),
        "scheduler": Asha(grace_steps=1, reduction_factor=2),
        "trials": 4,
        "max_step": 8,
        **changes,
    }
    return Controller(Plan(**arguments))


def launch(controller: Controller, trials: int = 1, now_us: int = 0) -> list[Launch]:
    return [item for item in controller.handle(RoomOffered(trials), now_us) if isinstance(item, Launch)]


def start(controller: Controller, launched: Launch) -> None:
    controller.handle(TrialStarted(0, launched.trial, launched.attempt, "worker-0"), 0)


def ended(launched: Launch, outcome: str, **fields: Any) -> AttemptEnded:
    step = fields.pop("step", 3)
    return AttemptEnded(5, launched.trial, launched.attempt, step, outcome, **fields)


def only(output: list[Any], kind: type[Any]) -> Any:
    found = [item for item in output if isinstance(item, kind)]
    assert len(found) == 1, output
    return found[0]


# --- the table ------------------------------------------------------------------------------------


@pytest.mark.parametrize("before", list(TrialState))
@pytest.mark.parametrize("after", list(TrialState))
def test_only_the_moves_of_the_table_are_legal(before: TrialState, after: TrialState) -> None:
    record = TrialRecord(7, 0, {}, 1, state=before, attempt=2)
    if after in MOVES[before]:
        record.move(after)
        assert record.state is after
    else:
        with pytest.raises(IllegalMoveError, match=f"trial 7, attempt 2: no move from {before} to {after}"):
            record.move(after)


def test_an_illegal_move_carries_the_story() -> None:
    record = TrialRecord(0, 0, {}, 1)
    record.move(TrialState.RUNNING)
    record.move(TrialState.COMPLETED)
    with pytest.raises(IllegalMoveError, match="pending -> running -> completed"):
        record.move(TrialState.RUNNING)


def test_final_states_are_the_ends() -> None:
    assert {state for state in TrialState if state.final} == {
        TrialState.COMPLETED,
        TrialState.STOPPED,
        TrialState.FAILED,
    }


# --- by hand --------------------------------------------------------------------------------------


def test_offers_more_room_than_trials() -> None:
    controller = make(trials=3)
    assert [one.trial for one in launch(controller, 10)] == [0, 1, 2]
    assert launch(controller, 10) == []


def test_a_trial_that_returned_is_completed_and_the_sweep_ends_with_the_last_one() -> None:
    controller = make(trials=1)
    (one,) = launch(controller)
    start(controller, one)
    output = controller.handle(ended(one, "returned", value=0.5, best=0.25, best_step=2), 9)
    end = only(output, TrialEnded)
    assert (end.status, end.step, end.value, end.best, end.best_step) == ("completed", 3, 0.5, 0.25, 2)
    assert only(output, SweepEnded).reason == "done"
    assert controller.ended


def test_a_failed_trial_is_tried_again_and_then_fails() -> None:
    controller = make(trials=1, retries=1)
    (one,) = launch(controller)
    start(controller, one)
    output = controller.handle(ended(one, "failed", reason="ValueError: x", error="trace"), 9)
    assert only(output, AttemptFailed).error == "trace"
    assert launch(controller) == []
    (again,) = launch(controller, now_us=LATER_US)
    assert (again.trial, again.attempt, again.params, again.seed) == (0, 1, one.params, one.seed)
    start(controller, again)
    end = only(controller.handle(ended(again, "failed", reason="ValueError: x"), 9), TrialEnded)
    assert (end.status, end.reason, end.attempt) == ("failed", "ValueError: x", 1)


def test_a_trial_may_fail_before_it_began() -> None:
    controller = make(trials=1, retries=0)
    (one,) = launch(controller)
    assert only(controller.handle(ended(one, "failed", step=0), 9), TrialEnded).status == "failed"


def test_lost_workers_are_free_up_to_a_limit() -> None:
    controller = make(trials=1, retries=0)
    for attempt in range(LOSSES_LIMIT + 1):
        (one,) = launch(controller)
        assert one.attempt == attempt
        start(controller, one)
        output = controller.handle(ended(one, "lost", reason="worker-0: gone"), 9)
    assert only(output, TrialEnded).status == "failed"


def test_late_words_of_a_superseded_attempt_lead_to_nothing() -> None:
    controller = make(trials=1)
    (one,) = launch(controller)
    start(controller, one)
    controller.handle(ended(one, "lost"), 9)
    before = copy.deepcopy(controller.state.picture())
    assert controller.handle(RungReached(0, 0, 1, 0.5), 9) == []
    assert controller.handle(ended(one, "returned"), 9) == []
    assert controller.handle(TrialStarted(0, 0, 0, "worker-0"), 9) == []
    assert {**controller.state.picture(), "judge": None} == {**before, "judge": None}


def test_a_rung_is_answered_with_the_next_one() -> None:
    controller = make(trials=2, scheduler=Asha(grace_steps=2, reduction_factor=2), max_step=8)
    first, second = launch(controller, 2)
    assert (first.next_rung, second.next_rung) == (2, 2)
    for one in (first, second):
        start(controller, one)
    output = controller.handle(RungReached(0, 0, 2, 0.5), 1)
    assert only(output, Answer) == Answer(0, 0, stop=False, next_rung=4)
    decided = only(output, Decided)
    assert (decided.rung, decided.value, decided.decision) == (2, 0.5, "continue")
    output = controller.handle(RungReached(1, 0, 2, 0.7), 2)
    assert only(output, Answer) == Answer(1, 0, stop=True, next_rung=4, reason="asha: rung 2")
    # whatever its process does now, it was stopped
    end = only(controller.handle(ended(second, "failed", reason="its training process was killed"), 3), TrialEnded)
    assert (end.status, end.reason) == ("stopped", "asha: rung 2")


def test_a_report_that_passes_several_rungs_is_judged_at_each() -> None:
    controller = make(trials=1, scheduler=Asha(grace_steps=1, reduction_factor=2), max_step=100)
    (one,) = launch(controller)
    start(controller, one)
    output = controller.handle(RungReached(0, 0, 5, 0.5), 1)
    assert [item.rung for item in output if isinstance(item, Decided)] == [1, 2, 4]
    assert only(output, Answer).next_rung == 8


def test_a_retry_is_not_judged_again_where_it_was_judged() -> None:
    controller = make(trials=1, scheduler=Asha(grace_steps=1, reduction_factor=2), max_step=8)
    (one,) = launch(controller)
    start(controller, one)
    controller.handle(RungReached(0, 0, 1, 0.5), 1)
    controller.handle(ended(one, "failed", step=1), 2)
    (again,) = launch(controller, now_us=LATER_US)
    assert again.next_rung == 2


@pytest.mark.parametrize("mode", ["min", "max"])
def test_both_modes_stop_the_worse_one(mode: str) -> None:
    controller = make(trials=2, minimize=mode == "min")
    for one in launch(controller, 2):
        start(controller, one)
    sign = 1 if mode == "min" else -1
    assert not only(controller.handle(RungReached(0, 0, 1, sign * 0.5), 1), Answer).stop
    assert only(controller.handle(RungReached(1, 0, 1, sign * 0.6), 1), Answer).stop


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("minimize", [True, False])
def test_what_is_not_finite_ranks_worst(value: float, minimize: bool) -> None:
    controller = make(trials=2, minimize=minimize)
    for one in launch(controller, 2):
        start(controller, one)
    controller.handle(RungReached(0, 0, 1, 123.0), 1)
    assert only(controller.handle(RungReached(1, 0, 1, value), 1), Answer).stop


def test_known_settings_come_first() -> None:
    controller = make(trials=3, first=[{"lr": 0.5, "hidden": 3}, {"hidden": 4}])
    first, second, third = launch(controller, 3)
    assert first.params == {"lr": 0.5, "hidden": 3}
    assert second.params["hidden"] == 4
    assert 1e-4 <= second.params["lr"] <= 1.0
    assert third.params != second.params


def test_a_grid_begins_after_the_known_settings() -> None:
    sampler = GridSampler(points={"lr": 2, "hidden": 2})
    plain = [one.params for one in launch(make(trials=4, sampler=sampler), 4)]
    after = [one.params for one in launch(make(trials=5, sampler=sampler, first=[{"lr": 0.5}]), 5)]
    assert after[1:] == plain


def test_stop_by_hand_of_a_running_trial_is_answered_when_it_has_ended() -> None:
    controller = make(trials=2)
    one, _ = launch(controller, 2)
    start(controller, one)
    output = controller.handle(CommandReceived(1, "id-1", "stop", 0, {}), 1)
    assert only(output, Stop) == Stop(0, 0, "by hand")
    assert not [item for item in output if isinstance(item, CommandAnswered)]
    output = controller.handle(ended(one, "stopped", reason="by hand", step=5), 2)
    assert only(output, TrialEnded).reason == "by hand"
    answer = only(output, CommandAnswered)
    assert (answer.id, answer.applied, answer.text) == ("id-1", True, "trial 0 stopped at step 5")


def test_stop_by_hand_of_a_trial_that_waits_for_another_attempt() -> None:
    controller = make(trials=1)
    (one,) = launch(controller)
    start(controller, one)
    controller.handle(ended(one, "failed"), 1)
    output = controller.handle(CommandReceived(1, "id-1", "stop", 0, {}), 1)
    assert only(output, TrialEnded).status == "stopped"
    assert only(output, CommandAnswered).applied
    assert controller.ended


@pytest.mark.parametrize(
    ("command", "trial", "text"),
    [
        ("stop", 99, "no trial 99"),
        ("stop", 0, "already ended: completed"),
        ("dance", None, "unknown command 'dance'"),
    ],
)
def test_a_command_that_makes_no_sense_is_refused(command: str, trial: int | None, text: str) -> None:
    controller = make(trials=2)
    one, _ = launch(controller, 2)
    start(controller, one)
    controller.handle(ended(one, "returned"), 1)
    answer = only(controller.handle(CommandReceived(1, "id", command, trial, {}), 1), CommandAnswered)
    assert not answer.applied
    assert text in answer.text


def test_stopping_the_sweep_by_hand() -> None:
    controller = make(trials=9)
    one, two = launch(controller, 2)
    start(controller, one)
    output = controller.handle(CommandReceived(1, "id", "stop", None, {}), 1)
    assert [item for item in output if isinstance(item, Stop)] == [Stop(0, 0, "by hand"), Stop(1, 0, "by hand")]
    assert launch(controller, 5) == []
    controller.handle(ended(one, "stopped", reason="by hand"), 2)
    output = controller.handle(ended(two, "stopped", reason="by hand", step=0), 3)
    assert only(output, SweepEnded).reason == "by hand"
    assert only(output, CommandAnswered).text == "stopped the sweep: 2 stopped, 7 never started"


def test_the_time_budget_stops_everything_once() -> None:
    controller = make(trials=9)
    launch(controller, 2)
    assert len([x for x in controller.handle(StopRequested("time_budget"), 1) if isinstance(x, Stop)]) == 2
    assert controller.handle(StopRequested("time_budget"), 2) == []
    assert controller.state.stopping == "time_budget"


def test_a_stop_that_overtook_the_start_is_sent_again() -> None:
    controller = make(trials=1)
    (one,) = launch(controller)
    controller.handle(CommandReceived(1, "id", "stop", 0, {}), 1)
    output = controller.handle(TrialStarted(2, one.trial, one.attempt, "worker-0"), 2)
    assert only(output, Stop) == Stop(0, 0, "by hand")


def test_params_depend_on_seed_and_number_alone() -> None:
    together = launch(make(trials=6, seed=3), 6)
    controller = make(trials=6, seed=3)
    one_by_one = [launch(controller)[0] for _ in range(6)]
    assert [(one.params, one.seed) for one in together] == [(one.params, one.seed) for one in one_by_one]
    other = launch(make(trials=6, seed=4), 6)
    assert all(one.params != two.params for one, two in zip(together, other, strict=True))


def test_what_was_stopped_with_its_sweep_before_it_began_is_tried_after_all() -> None:
    controller = make(trials=4)
    begun, in_hand = launch(controller, 2)
    start(controller, begun)
    recorded = [started_driver(), *controller.handle(StopRequested("time_budget"), 1)]
    assert [item for item in recorded if isinstance(item, Stop)] == [
        Stop(0, 0, "time_budget"),
        Stop(1, 0, "time_budget"),
    ]
    controller.handle(ended(begun, "stopped", reason="time_budget"), 2)
    output = controller.handle(ended(in_hand, "stopped", reason="time_budget", step=0), 3)
    assert only(output, SweepEnded).reason == "time_budget"
    assert controller.ended
    again = Controller(controller.state.plan, controller.state)
    resumption = Resumption(driven_s=1.0, standings={}, changes={}, extension=Extension(), new_stage=False)
    reopened = only(again.resume(started_driver(4, 1.0), resumption), TrialReopened)
    assert (reopened.trial, reopened.attempt, reopened.params) == (1, 1, in_hand.params)
    assert [one.trial for one in launch(again, 10, now_us=5)] == [1, 2, 3]
    assert again.state.state_of(0) is TrialState.STOPPED, "it had begun"


def test_what_had_not_begun_when_the_driver_went_during_a_stop_is_tried_after_all() -> None:
    controller = make(trials=3)
    begun, _ = launch(controller, 2)
    start(controller, begun)
    controller.handle(StopRequested("time_budget"), 1)
    again = Controller(controller.state.plan, controller.state)  # before the workers said that they stopped
    resumption = Resumption(driven_s=1.0, standings={}, changes={}, extension=Extension(), new_stage=False)
    output = again.resume(started_driver(4, 1.0), resumption)
    assert only(output, TrialEnded).trial == 0
    assert [one.trial for one in launch(again, 10, now_us=5)] == [1, 2]


def test_a_stop_by_hand_counts_also_where_the_limit_has_been_raised() -> None:
    controller = make(trials=1, max_step=8)
    (one,) = launch(controller)
    start(controller, one)
    controller.handle(Checkpointed(1, 0, 0, 8), 1)
    raised = CommandReceived(2, "raise", "extend", None, {"max_step": 20})
    controller.handle(ExtensionRequested(raised), 2)
    controller.handle(CommandReceived(3, "stop", "stop", 0, {}), 3)
    controller.handle(ended(one, "returned", step=8), 4)
    assert controller.ended


# --- anything that may happen ---------------------------------------------------------------------

SCHEDULERS: list[Scheduler] = [
    RunAll(),
    Asha(grace_steps=1, reduction_factor=2),
    Hyperband(grace_steps=1, reduction_factor=2),
    MedianStop(grace_steps=1, every=2, min_trials=1),
    Asha(grace_steps=1, reduction_factor=2, spare=0.5),
    MedianStop(grace_steps=1, every=2, min_trials=1, spare=0.9),
]


class AnySweep(RuleBasedStateMachine):
    """An executor that does everything that executors may do, in any order."""

    @initialize(
        scheduler=st.sampled_from(SCHEDULERS),
        trials=st.integers(1, 12),
        retries=st.integers(0, 2),
        seed=st.integers(0, 9),
    )
    def begin(self, scheduler: Scheduler, trials: int, retries: int, seed: int) -> None:
        self.plan = Plan(
            space=SPACE,
            sampler=RandomSampler(),
            scheduler=scheduler,
            trials=trials,
            seed=seed,
            max_step=9,
            retries=retries,
        )
        self.controller = Controller(self.plan)
        self.twin = Controller(self.plan)
        self.heard: list[Event] = []
        self.now_us = 0
        self.recorded: list[Recorded] = []
        self.in_hand: dict[int, Launch] = {}
        self.running: dict[int, tuple[Launch, int]] = {}
        self.attempts: dict[int, int] = {}
        self.judged: set[tuple[int, int]] = set()
        self.stopped: set[int] = set()
        self.spared: set[int] = set()
        self.final: dict[int, str] = {}
        self.take(self.controller.begin(started_driver()), self.twin.begin(started_driver()))

    def take(self, output: list[Recorded | Command], twin: list[Recorded | Command]) -> None:
        assert output == twin, "the same events must lead to the same output"
        for item in output:
            if isinstance(item, Launch):
                assert item.trial not in self.final
                assert item.trial not in self.in_hand
                assert item.trial not in self.running
                assert item.attempt > self.attempts.get(item.trial, -1), "an attempt's number is used once"
                assert item.next_rung is None or item.trial not in self.spared, (
                    "a spared trial has no further rung"
                )
                assert item.max_step == self.controller.state.plan.max_step
                self.attempts[item.trial] = item.attempt
                self.in_hand[item.trial] = item
            elif isinstance(item, Recorded):
                self.recorded.append(item)
                if isinstance(item, TrialEnded):
                    assert item.trial not in self.final, "finished is final"
                    self.final[item.trial] = item.status
                if isinstance(item, TrialReopened):
                    assert self.final.pop(item.trial) == ("stopped" if item.checkpoint is None else "completed")
                    self.stopped.discard(item.trial)
                if isinstance(item, Decided):
                    assert item.trial not in self.stopped, "nothing is decided about a stopped trial"
                    assert item.trial not in self.spared, "nothing more is decided about a spared trial"
                    assert (item.trial, item.rung) not in self.judged, "a trial is judged once at a rung"
                    self.judged.add((item.trial, item.rung))
                    if item.decision == "stop":
                        self.stopped.add(item.trial)
                    if item.decision == "spare":
                        self.spared.add(item.trial)

    def handle(self, event: Event) -> None:
        self.now_us += 1
        self.take(self.controller.handle(event, self.now_us), self.twin.handle(event, self.now_us))

    @rule(room=st.integers(1, 4))
    def offer(self, room: int) -> None:
        self.handle(RoomOffered(room))

    @precondition(lambda self: self.in_hand)
    @rule(data=st.data())
    def start(self, data: st.DataObject) -> None:
        trial = data.draw(st.sampled_from(sorted(self.in_hand)))
        launched = self.in_hand.pop(trial)
        self.running[trial] = (launched, 0)
        self.handle(TrialStarted(self.now_us, trial, launched.attempt, "worker-0"))

    @rule()
    def start_all(self) -> None:
        for trial, launched in list(self.in_hand.items()):
            del self.in_hand[trial]
            self.running[trial] = (launched, 0)
            self.handle(TrialStarted(self.now_us, trial, launched.attempt, "worker-0"))

    @precondition(lambda self: self.running)
    @rule(data=st.data(), saves=st.booleans())
    def train_to_the_end(self, data: st.DataObject, saves: bool) -> None:
        trial = data.draw(st.sampled_from(sorted(self.running)))
        launched, step = self.running.pop(trial)
        limit = launched.max_step or 0
        if saves and step < limit:
            self.handle(Checkpointed(self.now_us, trial, launched.attempt, limit - 1))
        self.handle(AttemptEnded(self.now_us, trial, launched.attempt, limit, "returned", value=0.5))

    @precondition(lambda self: any(self.controller.state.active[trial].next_rung for trial in self.running))
    @rule(data=st.data(), value=st.floats(allow_nan=True, allow_infinity=True))
    def rung(self, data: st.DataObject, value: float) -> None:
        judged = [trial for trial in sorted(self.running) if self.controller.state.active[trial].next_rung]
        trial = data.draw(st.sampled_from(judged))
        launched, step = self.running[trial]
        step = max(step + 1, data.draw(st.integers(0, 8)), self.controller.state.active[trial].next_rung or 0)
        self.running[trial] = (launched, step)
        self.handle(RungReached(trial, launched.attempt, step, value))

    @precondition(lambda self: self.running or self.in_hand)
    @rule(data=st.data(), outcome=st.sampled_from(["returned", "stopped", "failed", "lost"]))
    def end(self, data: st.DataObject, outcome: str) -> None:
        trial = data.draw(st.sampled_from(sorted([*self.running, *self.in_hand])))
        began = trial in self.running
        launched, step = self.running.pop(trial, None) or (self.in_hand.pop(trial), 0)
        limit = launched.max_step or 0
        if outcome == "returned" and began and limit > step and data.draw(st.booleans()):
            step = limit
        if not step and outcome == "returned":
            outcome = "failed"
        self.handle(AttemptEnded(self.now_us, trial, launched.attempt, step, outcome, "a reason", value=0.5))

    @precondition(lambda self: self.running)
    @rule(data=st.data())
    def save(self, data: st.DataObject) -> None:
        trial = data.draw(st.sampled_from(sorted(self.running)))
        launched, step = self.running[trial]
        if step:
            self.handle(Checkpointed(self.now_us, trial, launched.attempt, step))

    @rule(more=st.integers(0, 3), further=st.integers(0, 4))
    def extend(self, more: int, further: int) -> None:
        """As the runner does it, which reads from the record what may train on."""
        args: dict[str, Any] = {"trials": more}
        reopened: list[TrialReopened] = []
        if further:
            limit = self.controller.state.plan.max_step or 0
            args["max_step"] = limit + further
            reopened = list(revivable(self.events_table(), limit))
        command = CommandReceived(self.now_us, f"id-{self.now_us}", "extend", None, args)
        self.handle(ExtensionRequested(command, reopened))

    @rule(data=st.data())
    def crash_and_resume(self, data: st.DataObject) -> None:
        """The driver dies; another one replays the record, and nothing else."""
        if data.draw(st.integers(0, 3)):  # not so often that nothing else happens
            return
        self.replays_to_the_same_state()
        self.now_us += 1
        self.in_hand.clear()
        self.running.clear()
        resumption = Resumption(driven_s=1.0, standings={}, changes={}, extension=Extension(), new_stage=False)
        outputs = []
        for name in ("controller", "twin"):
            setattr(self, name, Controller(self.plan, self.replayed()))
            outputs.append(getattr(self, name).resume(started_driver(self.now_us, 1.0), resumption))
        assert all(record.state is TrialState.PENDING for record in self.controller.state.active.values())
        self.take(*outputs)

    @rule(trial=st.integers(0, 12))
    def late_words(self, trial: int) -> None:
        attempt = self.attempts.get(trial, 0) + 100
        recorded = len(self.recorded)
        self.handle(AttemptEnded(self.now_us, trial, attempt, 1, "returned"))
        self.handle(RungReached(trial, attempt, 1, 0.5))
        assert len(self.recorded) == recorded

    @rule()
    def lose_a_worker(self) -> None:
        self.handle(WorkerLost(self.now_us, "worker-0", "gone"))
        assert isinstance(self.recorded[-1], WorkerLost | SweepEnded | CommandAnswered)

    @rule()
    def replace_a_process(self) -> None:
        self.handle(ProcessReplaced(self.now_us, "worker-0", "memory"))
        assert isinstance(self.recorded[-1], ProcessReplaced | SweepEnded | CommandAnswered)

    @rule(trial=st.sampled_from([*range(20), None]))
    def stop_by_hand(self, trial: int | None) -> None:
        self.handle(CommandReceived(self.now_us, f"id-{self.now_us}", "stop", trial, {}))

    @invariant()
    def no_trial_is_lost(self) -> None:
        if not hasattr(self, "controller"):
            return
        assert sum(self.controller.state.counts.values()) == self.controller.state.sampled
        assert set(self.final) | set(self.controller.state.active) == set(range(self.controller.state.sampled))
        assert not set(self.final) & set(self.controller.state.active)
        sampled = [event.trial for event in self.recorded if isinstance(event, TrialSampled)]
        assert sampled == list(range(self.controller.state.sampled))

    def teardown(self) -> None:
        if not hasattr(self, "controller"):
            return
        self.replays_to_the_same_state()
        for _ in range(1000):  # whatever happened, the sweep comes to its end
            if self.controller.ended:
                break
            self.now_us += LATER_US
            self.handle(RoomOffered(4))
            for trial, launched in list(self.in_hand.items()):
                del self.in_hand[trial]
                self.running[trial] = (launched, 0)
                self.handle(TrialStarted(self.now_us, trial, launched.attempt, "worker-0"))
            for trial, (launched, step) in list(self.running.items()):
                del self.running[trial]
                self.handle(AttemptEnded(self.now_us, trial, launched.attempt, step, "returned", value=1.0))
        assert self.controller.ended
        assert not self.controller.state.active
        starts = [at for at, event in enumerate(self.recorded) if isinstance(event, DriverStarted)]
        assert sum(isinstance(event, SweepEnded) for event in self.recorded[starts[-1] :]) == 1
        self.replays_to_the_same_state()

    def replays_to_the_same_state(self) -> None:
        ours, theirs = dict(self.controller.state.picture()), dict(self.replayed().picture())
        for state in (ours, theirs):
            state["judge"] = picture(state["judge"])
        assert ours == theirs

    def replayed(self) -> SweepState:
        """The record alone, on its way through rows as the store keeps them, rebuilds the state."""
        return replay(self.plan, self.events_table()).state

    def events_table(self) -> Any:
        return events_table([to_row(event) for event in self.recorded], 0)


def picture(thing: object) -> object:
    """An object's whole state as plain data, so that two of them compare."""
    if isinstance(thing, dict):
        return {key: picture(value) for key, value in thing.items()}
    if isinstance(thing, list | tuple | set):
        return [picture(value) for value in thing]
    slots = [name for cls in type(thing).__mro__ for name in getattr(cls, "__slots__", ())]
    names = [*getattr(thing, "__dict__", {}), *slots]
    if isinstance(thing, str | int | float | None):
        return repr(thing)  # so that NaN equals NaN
    return {"type": type(thing).__name__} | {name: picture(getattr(thing, name, None)) for name in names}


AnySweep.TestCase.settings = settings(max_examples=120, stateful_step_count=50, deadline=None)
TestAnySweep = AnySweep.TestCase

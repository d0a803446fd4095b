"""Commands to a trial under way: when each is sent, what is recorded of it, and what it is answered."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from caviar.controller import Controller, Resumption
from caviar.messages import (
    Adjust,
    Adjusted,
    Answer,
    Applied,
    AttemptEnded,
    AttemptFailed,
    Checkpointed,
    CommandAnswered,
    CommandReceived,
    Decided,
    DriverStarted,
    Extension,
    Launch,
    Pause,
    Paused,
    Recorded,
    RolledBack,
    RoomOffered,
    Ruled,
    RungReached,
    Stop,
    StopRequested,
    TrialEnded,
    TrialStarted,
    Unpaused,
)
from caviar.samplers import RandomSampler
from caviar.schedulers import Asha, RunAll
from caviar.schedulers.by_hand import ByHand
from caviar.space import Choice, Float, Int, Space
from caviar.state import Plan, SweepState
from caviar.trial import TrialState

SPACE = Space(lr=Float(1e-4, 1.0, scale="log"), hidden=Int(1, 64), kind=Choice(["a", "b"]))
START = {"lr": 0.1, "hidden": 9, "kind": "a"}
LATER_US = 3_600_000_000


class Run:
    """A live run: a controller, and the executor's side of its only trial, by hand."""

    def __init__(self, *, begun: bool = True, **changes: Any) -> None:
        arguments: dict[str, Any] = {
            "space": SPACE,
            "sampler": RandomSampler(),
            "scheduler": RunAll(),
            "trials": 1,
            "max_step": 100,
            "first": [START],
            "keep_checkpoints": "all",
            **changes,
        }
        self.plan = Plan(**arguments)
        self.controller = Controller(self.plan)
        self.now_us = 0
        self.recorded: list[Recorded] = []
        self.sent: list[Any] = []
        self.attempt = 0
        self.take(self.controller.begin(DriverStarted(0, "here", 1, "0")))
        if begun:
            self.launch()
            self.start()

    def take(self, output: list[Any]) -> list[Any]:
        self.recorded += [item for item in output if isinstance(item, Recorded)]
        self.sent += [item for item in output if not isinstance(item, Recorded)]
        return output

    def handle(self, event: Any) -> list[Any]:
        self.now_us += 1
        return self.take(self.controller.handle(event, self.now_us))

    def launch(self, trials: int = 1) -> Launch:
        self.now_us += LATER_US
        launches = [item for item in self.handle(RoomOffered(trials)) if isinstance(item, Launch)]
        self.attempt = launches[0].attempt
        return launches[0]

    def start(self, restored: int | None = None) -> list[Any]:
        return self.handle(TrialStarted(self.now_us, 0, self.attempt, "worker-0", restored))

    def post(self, command: str, /, name: str = "", *, trial: int | None = None, **args: Any) -> list[Any]:
        return self.handle(CommandReceived(self.now_us, name or f"id-{self.now_us}", command, trial, args))

    def set(self, name: str = "", /, **changes: Any) -> list[Any]:
        return self.post("set", name, changes=changes)

    def applied(self, step: int, name: str) -> list[Any]:
        return self.handle(Applied(self.now_us, 0, self.attempt, step, name))

    def paused(self, step: int) -> list[Any]:
        return self.handle(Paused(self.now_us, 0, self.attempt, step))

    def unpaused(self, step: int) -> list[Any]:
        return self.handle(Unpaused(self.now_us, 0, self.attempt, step))

    def saved(self, *steps: int) -> None:
        for step in steps:
            self.handle(Checkpointed(self.now_us, 0, self.attempt, step))

    def end(self, outcome: str = "stopped", step: int = 50, reason: str | None = "a reason") -> list[Any]:
        return self.handle(AttemptEnded(self.now_us, 0, self.attempt, step, outcome, reason, value=0.5))

    def again(self) -> Launch:
        """The next attempt, launched and begun."""
        launched = self.launch()
        self.start(launched.checkpoint[1] if launched.checkpoint else None)
        return launched

    def answers(self) -> dict[str, tuple[bool, str]]:
        found = [event for event in self.recorded if isinstance(event, CommandAnswered)]
        assert len({event.id for event in found}) == len(found), "a command is answered once"
        return {event.id: (event.applied, event.text) for event in found}

    def answer(self, name: str) -> str:
        return self.answers()[name][1]

    def of(self, kind: type[Any]) -> list[Any]:
        return [event for event in self.recorded if isinstance(event, kind)]

    @property
    def trial(self) -> Any:
        return self.controller.state.active[0]

    def replays(self) -> None:
        state = SweepState(self.plan)
        state.replay(self.recorded)
        ours, theirs = (dict(one.picture()) for one in (self.controller.state, state))
        for picture in (ours, theirs):
            del picture["judge"]
        assert ours == theirs

    def crash(self) -> None:
        """Its driver dies, and another one goes on with what was recorded."""
        state = SweepState(self.plan)
        state.replay(self.recorded)
        self.controller = Controller(self.plan, state)
        resumption = Resumption(driven_s=1.0, standings={}, changes={}, extension=Extension(), new_stage=False)
        self.take(self.controller.resume(DriverStarted(self.now_us, "here", 2, "0", 1.0), resumption))


def refused(run: Run, output: list[Any]) -> str:
    """Why the last command was refused: nothing but that came of it."""
    received, answered = output
    assert isinstance(received, CommandReceived)
    assert isinstance(answered, CommandAnswered)
    assert not answered.applied
    assert answered.text.isprintable()
    assert len(answered.text) < 400
    return answered.text


# --- set ---------------------------------------------------------------------------------------------------


def test_a_change_is_sent_and_recorded_and_answered_once_it_holds() -> None:
    run = Run()
    output = run.set("id", lr=0.2, hidden="*=2")
    assert output[1:] == [Adjust(0, 0, "id", {"lr": 0.2, "hidden": 18})]
    assert run.answers() == {}
    [adjusted, answered] = run.applied(41, "id")
    assert (adjusted.step, adjusted.old, adjusted.new) == (41, {"lr": 0.1, "hidden": 9}, {"lr": 0.2, "hidden": 18})
    assert (adjusted.command, adjusted.by, adjusted.note) == ("id", "by hand", None)
    assert answered.text == "applied at step 41: lr 0.1 -> 0.2, hidden 9 -> 18"
    assert answered.applied
    assert run.trial.by_hand
    run.replays()


def rules(run: Run, name: str, step: int, **changes: Any) -> list[Any]:
    """A rule's change, after the report of this step, at which the trial waits."""
    args = {"changes": changes, "by": "OnSpike", "note": "why"}
    return run.handle(Ruled(CommandReceived(run.now_us, name, "set", 0, args), step))


def test_what_a_rule_sets_is_recorded_at_once_and_holds_whatever_comes() -> None:
    run = Run(scheduler=ByHand())
    [received, adjusted, answered, adjust] = rules(run, "rule-40-0-set", 40, lr=0.05)
    assert isinstance(received, CommandReceived)
    assert (adjusted.step, adjusted.old, adjusted.new, adjusted.by) == (41, {"lr": 0.1}, {"lr": 0.05}, "OnSpike")
    assert (answered.applied, answered.text) == (True, "applied at step 41: lr 0.1 -> 0.05")
    assert adjust == Adjust(0, 0, "rule-40-0-set", {"lr": 0.05}, certain=True)
    assert rules(run, "rule-40-0-set", 40, lr=0.05) == [], "made again, it is not done again"

    run.saved(38)
    run.handle(AttemptEnded(run.now_us, 0, 0, 40, "lost", "its worker went"))
    again = run.again()
    assert (again.params["lr"], again.timeline) == (0.1, [(41, {"lr": 0.05})])
    run.saved(40)
    run.crash()
    assert run.again().params["lr"] == 0.05
    run.replays()


def test_two_rules_at_one_report() -> None:
    run = Run(scheduler=ByHand())
    rules(run, "a", 40, lr=0.05)
    rules(run, "b", 40, hidden=8)
    assert [(event.step, event.new) for event in run.of(Adjusted)] == [(41, {"lr": 0.05}), (41, {"hidden": 8})]


def test_a_rule_waits_for_what_a_person_set_before_it() -> None:
    """Recorded at once, it would seem to be the older of both."""
    run = Run(scheduler=ByHand())
    run.set("hand", lr=0.2)
    [_, adjust] = rules(run, "rule", 40, lr=0.05)
    assert adjust == Adjust(0, 0, "rule", {"lr": 0.05})
    run.applied(41, "hand")
    run.applied(41, "rule")
    assert run.controller.state.params_at(run.trial, 41)[0]["lr"] == 0.05
    run.replays()


def test_who_asks_and_why_is_recorded() -> None:
    run = Run()
    run.post("set", "id", changes={"lr": 0.2}, by="on_spike", note="loss\njumped")
    run.applied(3, "id")
    [adjusted] = run.of(Adjusted)
    assert (adjusted.by, adjusted.note) == ("on_spike", "loss\njumped")


def test_two_at_once_and_what_is_relative_builds_on_what_was_asked_before() -> None:
    run = Run()
    run.set("a", lr=0.2)
    assert run.set("b", lr="*=0.5", hidden="+=1")[1] == Adjust(0, 0, "b", {"lr": 0.1, "hidden": 10})
    assert run.set("c", lr="*=0.5")[1] == Adjust(0, 0, "c", {"lr": 0.05})
    for name in "abc":
        run.applied(7, name)
    assert run.answer("c") == "applied at step 7: lr 0.1 -> 0.05"
    assert run.controller.state.params_at(run.trial, 7)[0]["lr"] == 0.05
    run.replays()


def test_each_counts_from_what_holds_then() -> None:
    run = Run()
    run.set("a", lr=0.2)
    run.applied(7, "a")
    run.set("b", lr="*=0.5")
    run.applied(9, "b")
    assert run.answer("b") == "applied at step 9: lr 0.2 -> 0.1"


def test_a_dry_run_says_what_it_would_set_and_sets_nothing() -> None:
    run = Run()
    before = copy.deepcopy(run.controller.state.picture())
    [_, answered] = run.post("set", "id", changes={"lr": 5.0, "hidden": "*=2"}, force=True, dry_run=True)
    assert (answered.applied, answered.text) == (True, "would set lr 0.1 -> 5, hidden 9 -> 18")
    assert {**run.controller.state.picture(), "answered": None, "judge": None} == {
        **before,
        "answered": None,
        "judge": None,
    }
    assert run.applied(3, "id") == []


def test_bounds_hold_but_by_force() -> None:
    run = Run()
    assert refused(run, run.set(lr=5.0)).startswith("lr=5 lies outside its bounds, 0.0001 to 1")
    run.post("set", "id", changes={"lr": 5.0}, force=True)
    run.applied(3, "id")
    assert run.answer("id") == "applied at step 3: lr 0.1 -> 5"


def test_with_a_schedule_what_is_relative_counts_from_where_the_trial_is() -> None:
    run = Run(schedule=((30, {"lr": 0.01}), (60, {"hidden": 20})))
    run.controller.steering.reached(0, 0, 29)
    assert run.set("a", lr="*=0.5")[1].changes == {"lr": 0.005}
    run.applied(31, "a")
    assert run.answer("a") == "applied at step 31: lr 0.01 -> 0.005"
    assert run.set("b", hidden="*=2")[1].changes == {"hidden": 18}
    run.controller.steering.reached(0, 7, 99)  # late words of another attempt
    assert run.set("c", hidden="*=2")[1].changes == {"hidden": 36}


def test_an_adjusted_param_leaves_the_schedule() -> None:
    run = Run(schedule=((30, {"lr": 0.01, "hidden": 20}),))
    run.set("a", lr=0.5)
    run.applied(10, "a")
    run.end("lost", step=12)
    assert run.launch().timeline == [(10, {"lr": 0.5}), (30, {"hidden": 20})]


def test_steps_that_the_attempt_before_had_reached_are_forgotten() -> None:
    run = Run(schedule=((30, {"lr": 0.01}),))
    run.controller.steering.reached(0, 0, 40)
    run.end("lost", step=40)
    run.again()
    assert run.set(lr="*=0.5")[1].changes == {"lr": 0.05}


# --- what is refused ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("command", "args", "text"),
    [
        ("set", {}, "nothing to set"),
        ("set", {"changes": {}}, "nothing to set"),
        ("set", {"changes": None}, "nothing to set"),
        ("set", {"changes": {"lrr": 1}}, "lrr is unknown; this space has lr, hidden, kind"),
        ("set", {"changes": {"kind": "b"}}, "kind is no knob"),
        ("set", {"changes": {"lr": "abc"}}, "lr='abc': needs a finite number"),
        ("set", {"changes": {"lr": 10**400}}, "lr=1000"),
        ("set", {"changes": {"lr": [[[]]]}}, "lr=[[[]]]: needs a number or a word"),
        ("set", {"changes": [["lr", 1]]}, "set: changes=[['lr', 1]] is no object from param to value"),
        ("set", {"changes": "lr=1"}, "set: changes='lr=1' is no object"),
        (
            "set",
            {"changes": {"lr": 0.2}, "surprise": 1},
            "set: 'surprise' is unknown; it takes changes, note, force",
        ),
        ("set", {"changes": {"lr": 0.2}, "\x1b": 1}, r"set: '\x1b' is unknown"),
        ("set", {"changes": {"lr": 0.2}, "x" * 9999: 1}, "set: 'xxxx"),
        ("set", {"changes": {"lr": 0.2}, "force": 1}, "set: force=1 is no true or false"),
        ("set", {"changes": {"lr": 0.2}, "dry_run": "yes"}, "set: dry_run='yes' is no true or false"),
        ("set", {"changes": {"lr": 0.2}, "by": 5}, "set: by=5 is no text"),
        ("set", {"changes": {"lr": 0.2}, "by": "a\nb"}, r"set: by='a\nb' is no name"),
        ("set", {"changes": {"lr": 0.2}, "by": "x" * 9999}, "set: by='xxx"),
        ("set", {"changes": {"lr": 0.2}, "note": ["x"]}, "set: note=['x'] is no text of up to 1,000 characters"),
        ("set", {"changes": {"lr": 0.2}, "note": "x" * 9999}, "set: note='xxx"),
        ("pause", {"changes": {"lr": 0.2}}, "pause: 'changes' is unknown; it takes note, by"),
        ("unpause", {}, "trial 0 is not paused"),
        ("unpause", {"note": 5}, "unpause: note=5 is no text"),
        ("rollback", {}, "rollback: to_step=None is no step from 0 on"),
        ("rollback", {"to_step": -1}, "rollback: to_step=-1 is no step"),
        ("rollback", {"to_step": True}, "rollback: to_step=True is no step"),
        ("rollback", {"to_step": 1.5}, "rollback: to_step=1.5 is no step"),
        ("rollback", {"to_step": 10**30}, "rollback: to_step=1000"),
        ("rollback", {"to_step": 3, "changes": {"lr": 5}}, "lr=5 lies outside its bounds"),
        ("rollback", {"to_step": 3, "dry_run": True}, "rollback: 'dry_run' is unknown"),
        ("dance", {}, "unknown command 'dance': this driver knows stop, extend, set, pause, unpause, rollback"),
        ("x" * 9999, {}, "unknown command 'xxx"),
    ],
)
def test_what_makes_no_sense_is_refused_in_a_line_and_harms_nothing(
    command: str, args: dict[str, Any], text: str
) -> None:
    run = Run()
    before = copy.deepcopy(run.trial)
    assert refused(run, run.post(command, **args)).startswith(text)
    assert run.trial == before
    run.end("returned", step=100)
    assert run.controller.ended


def test_which_trial() -> None:
    run = Run(trials=3, first=[START])
    assert refused(run, run.post("pause")) == "pause: name the trial, one of 3 (--trial N)"
    assert refused(run, run.post("pause", trial=99)) == "there is no trial 99: trials 0 to 0 exist so far"
    assert refused(run, run.post("pause", trial=-1)).startswith("there is no trial -1")
    assert run.post("pause", trial=0)[1] == Pause(0, 0)
    run.end("returned")
    assert refused(run, run.post("set", trial=0, changes={"lr": 1})) == "trial 0 has already ended: completed"


def test_a_trial_that_has_not_begun() -> None:
    run = Run(begun=False)
    assert refused(run, run.set(lr=0.2)) == "there is no trial 0: none exists yet"
    run.launch()
    assert refused(run, run.set(lr=0.2)) == "trial 0 is pending: it can be stopped, but not set"
    assert refused(run, run.post("rollback", to_step=0)).endswith("but not rolled back")
    run.start()
    assert len(run.set(lr=0.2)) == 2


def test_a_trial_that_is_stopping_and_a_sweep_that_has_ended() -> None:
    run = Run()
    run.post("stop", trial=0)
    assert refused(run, run.set(lr=0.2)) == "trial 0 is stopping: by hand"
    run.end()
    assert refused(run, run.set(lr=0.2)) == "the sweep has ended"


def test_a_command_that_comes_twice_is_dropped_by_its_id() -> None:
    run = Run()
    run.set("a", lr=0.2)
    run.set("b", lr=0.3)
    assert run.set("a", lr=0.2) == []
    run.applied(5, "a")
    assert run.set("a", lr=0.2) == []
    run.applied(5, "b")
    run.post("pause", "p")
    assert run.post("pause", "p") == []
    run.post("rollback", "r", to_step=0)
    assert run.post("rollback", "r", to_step=0) == []
    run.set("later", lr=0.4)
    assert run.set("later", lr=0.4) == []
    run.end()
    run.again()
    run.post("stop", "s")
    assert run.post("stop", "s") == []
    run.end()
    assert {name: applied for name, (applied, _) in run.answers().items()} == {
        **dict.fromkeys("abrs", True),
        **dict.fromkeys(["p", "later"], False),
    }


def test_a_doubled_word_of_the_trial_is_recorded_once() -> None:
    run = Run()
    run.set("a", lr=0.2)
    run.applied(5, "a")
    assert run.applied(5, "a") == []
    assert run.applied(6, "of somebody else") == []
    assert len(run.of(Adjusted)) == 1


# --- pause and unpause -------------------------------------------------------------------------------------


def test_a_pause_and_its_end() -> None:
    run = Run()
    assert run.post("pause", "p", note="lunch")[1:] == [Pause(0, 0)]
    [paused, answered] = run.paused(7)
    assert (paused.step, paused.by, paused.note) == (7, "by hand", "lunch")
    assert (answered.applied, answered.text) == (True, "paused at step 7")
    assert run.trial.state is TrialState.PAUSED
    assert run.post("unpause", "u", by="a rule")[1:] == [Pause(0, 0, over=True)]
    [unpaused, answered] = run.unpaused(7)
    assert (unpaused.step, unpaused.by) == (7, "a rule")
    assert answered.text == "unpaused at step 7"
    assert run.trial.state is TrialState.RUNNING
    assert run.trial.by_hand
    run.replays()


def test_pausing_one_that_is_paused() -> None:
    run = Run()
    run.post("pause", "a")
    assert run.post("pause", "b")[1:] == [], "it is on its way to that"
    run.paused(7)
    assert run.answer("b") == "paused at step 7"
    run.post("pause", "c")
    assert run.answer("c") == "trial 0 is paused already, at step 7"


def test_a_pause_that_is_over_before_it_began() -> None:
    run = Run()
    run.post("pause", "p")
    assert run.post("unpause", "u")[1:] == [Pause(0, 0, over=True)]
    output = run.unpaused(7)
    assert not [item for item in output if isinstance(item, Unpaused)], "it never waited"
    assert run.answers() == {
        "p": (True, "over before it began, at step 7"),
        "u": (True, "unpaused at step 7"),
    }
    assert refused(run, run.post("unpause")) == "trial 0 is not paused"


def test_pausing_again_what_is_about_to_go_on() -> None:
    run = Run()
    run.post("pause", "p")
    run.paused(7)
    run.post("unpause", "u")
    assert run.post("pause", "again")[1:] == [Pause(0, 0)]
    run.unpaused(7)
    assert set(run.answers()) == {"p", "u"}
    run.paused(7)
    assert run.answer("again") == "paused at step 7"
    assert run.trial.state is TrialState.PAUSED
    run.replays()


@pytest.mark.parametrize(
    ("script", "answers", "ends"),
    [
        # P, U: a command; p, u: the trial paused, went on
        ("P U P u p", "u u p", "paused"),
        ("P U P U u u", "u u u u", "running"),
        ("P p U P U u u", "p u u u", "running"),
        ("P p U U u", "p u u", "running"),
        ("P P p U P P u p", "p p u p p", "paused"),
        ("P p U u P p", "p u p", "paused"),
        ("P U u P p U P u p", "u u p u p", "paused"),
    ],
)
def test_in_every_order_the_last_word_counts_and_each_is_answered(script: str, answers: str, ends: str) -> None:
    run = Run()
    count = 0
    for word in script.split():
        if word in "PU":
            run.post("pause" if word == "P" else "unpause", str(count))
            count += 1
        elif word == "p":
            run.paused(7)
        else:
            run.unpaused(7)
    texts = [run.answer(str(number)) for number in range(count)]
    short = ["p" if text.startswith("paused") else "u" for text in texts]
    assert " ".join(short) == answers
    assert run.trial.state == ends
    run.replays()


def test_a_paused_trial_can_be_set() -> None:
    run = Run()
    run.post("pause")
    run.paused(7)
    assert run.set("id", lr=0.2)[1] == Adjust(0, 0, "id", {"lr": 0.2})
    run.applied(8, "id")
    assert run.answer("id") == "applied at step 8: lr 0.1 -> 0.2"


def test_a_paused_trial_can_be_stopped() -> None:
    run = Run()
    run.post("pause")
    run.paused(7)
    run.post("unpause", "u")
    run.post("stop", "s", trial=0)
    run.end(step=7)
    assert run.answers()["u"] == (False, "not applied: trial 0 stopped at step 7")
    assert run.answer("s") == "trial 0 stopped at step 7"


def test_a_function_that_returns_while_a_thread_of_its_own_is_paused() -> None:
    run = Run()
    run.post("pause")
    run.paused(7)
    run.end("returned")
    assert run.controller.ended


# --- faults in between -------------------------------------------------------------------------------------


@pytest.mark.parametrize("outcome", ["failed", "lost"])
def test_what_was_not_done_when_the_attempt_ended_is_sent_to_the_next(outcome: str) -> None:
    run = Run()
    run.set("a", lr=0.2)
    run.set("b", hidden=3)
    run.applied(5, "a")
    run.post("pause", "p")
    run.post("unpause", "u")
    run.post("pause", "q")
    run.end(outcome)
    assert set(run.answers()) == {"a"}
    run.launch()
    assert run.start()[1:] == [
        Adjust(0, 1, "b", {"hidden": 3}),
        Pause(0, 1),
        Pause(0, 1, over=True),
        Pause(0, 1),
    ]
    run.applied(3, "b")
    run.unpaused(2)
    run.paused(2)
    assert set(run.answers()) == {"a", "b", "p", "u", "q"}


def test_a_paused_trial_whose_process_dies_is_still_paused_in_its_next_attempt() -> None:
    run = Run()
    run.saved(5)
    run.post("pause")
    run.paused(7)
    run.end("failed", step=7)
    assert run.of(AttemptFailed)
    assert run.trial.paused
    launched = run.again()
    assert launched.paused
    run.paused(5)
    assert run.trial.state is TrialState.PAUSED
    run.post("unpause", "u")
    run.unpaused(5)
    assert run.answer("u") == "unpaused at step 5"
    assert not run.trial.paused
    run.replays()


def test_while_it_waits_for_its_next_attempt_it_is_paused_unpaused_and_set() -> None:
    run = Run()
    run.post("pause")
    run.paused(7)
    run.end("failed", step=7)
    assert run.post("unpause", "u")[1:] == []
    assert run.set("s", lr=0.2)[1:] == []
    run.launch()
    assert run.start()[1:] == [Adjust(0, 1, "s", {"lr": 0.2}), Pause(0, 1, over=True)]
    run.unpaused(0)
    assert not run.trial.paused
    assert run.answer("u") == "unpaused at step 0"


def test_a_trial_that_ends_first_answers_what_it_was_still_to_do() -> None:
    run = Run()
    run.set("a", lr=0.2)
    run.post("pause", "p")
    run.end("returned", step=100)
    assert run.answers() == dict.fromkeys(["a", "p"], (False, "not applied: trial 0 completed at step 100"))


def test_the_driver_dies_and_what_was_asked_is_asked_again() -> None:
    run = Run()
    run.saved(40)
    run.set("a", lr=0.2)
    run.applied(45, "a")
    run.set("b", lr="*=0.5")
    run.post("pause", "p")
    run.paused(46)
    run.crash()
    launched = run.again()
    assert (launched.attempt, launched.checkpoint, launched.paused) == (1, (0, 40), True)
    assert (launched.params["lr"], launched.timeline) == (0.1, [(45, {"lr": 0.2})])
    assert run.set("a", lr=0.2) == [], "it was answered"
    assert run.set("b", lr="*=0.5")[1] == Adjust(0, 1, "b", {"lr": 0.1}), "of what was set before it"
    run.applied(41, "b")
    assert run.controller.state.params_at(run.trial, 99)[0]["lr"] == 0.1
    run.replays()


# --- roll back ---------------------------------------------------------------------------------------------


def rolled_back(run: Run, *, step: int = 57, **args: Any) -> tuple[RolledBack, Launch]:
    """Roll the run back, which had come to ``step``."""
    assert isinstance(run.post("rollback", "back", **args)[1], Stop)
    assert "back" not in run.answers()
    run.end(step=step)
    [event] = run.of(RolledBack)[-1:]
    return event, run.again()


def test_a_roll_back_ends_the_attempt_and_begins_another_from_a_checkpoint() -> None:
    run = Run()
    run.saved(20, 40, 50)
    event, launched = rolled_back(run, to_step=45, note="jumped", by="me")
    assert (event.attempt, event.step, event.from_step, event.checkpoint) == (1, 40, 57, 0)
    assert event.superseded == [(0, 50)]
    assert (event.command, event.by, event.note) == ("back", "me", "jumped")
    assert (launched.attempt, launched.checkpoint) == (1, (0, 40))
    assert run.answer("back") == "rolled back from step 57 to step 40"
    assert not run.of(AttemptFailed)
    assert run.trial.faults == run.trial.losses == 0
    assert run.trial.by_hand
    run.replays()


def test_without_a_checkpoint_it_goes_back_to_the_beginning() -> None:
    run = Run()
    run.saved(40)
    event, launched = rolled_back(run, to_step=39)
    assert (event.step, event.checkpoint, event.superseded) == (0, None, [(0, 40)])
    assert launched.checkpoint is None
    assert run.answer("back").endswith(" (it has no checkpoint at or before step 39: from the beginning)")
    run.end("lost")
    assert run.again().checkpoint is None, "what was superseded is not gone back to"


def test_to_the_beginning_on_purpose() -> None:
    run = Run()
    run.saved(40)
    rolled_back(run, to_step=0)
    assert run.answer("back") == "rolled back from step 57 to step 0"


def test_to_a_step_that_it_has_not_come_to() -> None:
    run = Run()
    run.saved(40)
    rolled_back(run, to_step=999)
    assert run.answer("back") == "rolled back from step 57 to step 40"


def test_what_it_sets_holds_from_the_step_after() -> None:
    run = Run()
    run.set("a", lr=0.5)
    run.applied(30, "a")
    run.saved(40)
    _, launched = rolled_back(run, to_step=40, changes={"lr": "*=0.1", "hidden": 3})
    assert launched.params == {**START, "lr": 0.05, "hidden": 3}
    adjusted = run.of(Adjusted)[-1]
    assert (adjusted.attempt, adjusted.step, adjusted.old) == (1, 41, {"lr": 0.5, "hidden": 9})
    assert run.answer("back") == "rolled back from step 57 to step 40: lr 0.5 -> 0.05, hidden 9 -> 3"
    run.replays()


def test_adjustments_after_the_step_are_dropped_and_the_schedule_holds_again() -> None:
    run = Run(schedule=((45, {"lr": 0.01}),))
    run.set("a", hidden=5)
    run.applied(30, "a")
    run.saved(40)
    run.set("b", lr=0.5, hidden=7)
    run.applied(42, "b")
    _, launched = rolled_back(run, to_step=40)
    assert (launched.params["lr"], launched.params["hidden"]) == (0.1, 5)
    assert launched.timeline == [(45, {"lr": 0.01})]
    run.replays()


def test_after_a_crash_adjustments_after_the_restored_step_are_made_again() -> None:
    run = Run()
    run.saved(40)
    run.set("b", lr=0.5)
    run.applied(42, "b")
    run.end("lost")
    launched = run.again()
    assert (launched.params["lr"], launched.timeline) == (0.1, [(42, {"lr": 0.5})])


def test_what_was_set_before_and_not_done_is_left_behind_and_what_is_set_after_is_for_the_next() -> None:
    run = Run()
    run.saved(40)
    run.set("before", lr=0.9)
    run.set("done", hidden=7)
    run.post("rollback", "back", to_step=40, changes={"lr": 0.02})
    run.applied(58, "done")
    assert run.set("after", lr="*=0.5", hidden="+=1")[1:] == [], "the attempt that is left must not get it"
    run.end(step=58)
    assert run.answers()["before"] == (False, "not applied: trial 0 was rolled back to step 40")
    assert run.answers()["done"] == (True, "applied at step 58: hidden 9 -> 7")
    launched = run.launch()
    assert (launched.params["lr"], launched.params["hidden"]) == (0.02, 9)
    assert run.start(40)[1:] == [Adjust(0, 1, "after", {"lr": 0.01, "hidden": 10})]
    run.applied(41, "after")
    assert run.answer("after") == "applied at step 41: lr 0.02 -> 0.01, hidden 9 -> 10"
    assert not run.controller.steering.has("before")
    run.replays()


def test_a_dry_run_while_it_is_rolled_back_counts_from_there() -> None:
    run = Run()
    run.set("a", lr=0.5)
    run.applied(30, "a")
    run.post("rollback", "back", to_step=0, changes={"hidden": 3})
    run.post("set", "dry", changes={"lr": "*=2", "hidden": "*=2"}, dry_run=True)
    assert run.answer("dry") == "would set lr 0.1 -> 0.2, hidden 3 -> 6"


def test_a_paused_trial_that_is_rolled_back_waits_there() -> None:
    run = Run()
    run.saved(40)
    run.post("pause")
    run.paused(57)
    _, launched = rolled_back(run, to_step=40)
    assert launched.paused
    run.paused(40)
    assert run.trial.state is TrialState.PAUSED
    run.post("unpause", "u")
    run.unpaused(40)
    assert run.answer("u") == "unpaused at step 40"


def test_a_pause_on_its_way_reaches_the_next_attempt() -> None:
    run = Run()
    run.saved(40)
    run.post("pause", "p")
    run.post("rollback", "back", to_step=40)
    run.end(step=57)
    run.launch()
    assert run.start(40)[1:] == [Pause(0, 1)]
    run.paused(40)
    assert run.answer("p") == "paused at step 40"


def test_one_that_waits_for_its_next_attempt_is_rolled_back_at_once() -> None:
    run = Run()
    run.saved(20, 40)
    run.end("failed", step=57)
    run.post("rollback", "back", to_step=30, changes={"lr": 0.02})
    assert run.answer("back") == "rolled back from step 40 to step 20: lr 0.1 -> 0.02"
    launched = run.again()
    assert (launched.attempt, launched.checkpoint, launched.params["lr"]) == (2, (0, 20), 0.02)
    assert not launched.timeline
    run.replays()


def test_one_that_is_with_the_executor_and_has_not_begun_its_attempt() -> None:
    run = Run()
    run.saved(20, 40)
    run.end("lost", step=57)
    run.launch()
    assert run.post("rollback", "back", to_step=30)[1] == Stop(0, 1, "rolled back to step 30", again=True)
    assert run.start(40)[1:] == [Stop(0, 1, "rolled back to step 30", again=True)], "which may have been overtaken"
    run.end(step=0)
    assert run.answer("back") == "rolled back from step 40 to step 20"
    assert run.again().checkpoint == (0, 20)


def test_while_an_earlier_one_is_under_way_another_is_refused() -> None:
    run = Run()
    run.saved(20, 40)
    run.post("rollback", "back", to_step=40)
    text = refused(run, run.post("rollback", to_step=20))
    assert text == "trial 0 is being rolled back already, to step 40"
    run.end()
    run.again()
    run.post("rollback", "next", to_step=20)
    run.end(step=44)
    assert run.answer("next") == "rolled back from step 44 to step 20"
    assert run.again().checkpoint == (0, 20)
    run.replays()


@pytest.mark.parametrize("outcome", ["returned", "failed", "lost"])
def test_however_the_attempt_ends_it_goes_back(outcome: str) -> None:
    run = Run(retries=0)
    run.saved(40)
    run.post("rollback", "back", to_step=40)
    run.end(outcome, step=57)
    assert run.answer("back") == "rolled back from step 57 to step 40"
    assert not run.of(TrialEnded)
    assert run.again().checkpoint == (0, 40)


@pytest.mark.parametrize("stop", ["trial", "sweep", "budget"])
def test_a_stop_while_it_is_rolled_back_wins(stop: str) -> None:
    run = Run()
    run.saved(40)
    run.post("rollback", "back", to_step=40)
    run.set("after", lr=0.2)
    if stop == "budget":
        run.handle(StopRequested("time_budget"))
    else:
        run.post("stop", "s", trial=0 if stop == "trial" else None)
    run.end(step=57)
    for name in ("back", "after"):
        assert run.answers()[name] == (False, "not applied: trial 0 stopped at step 57")
    assert run.controller.ended


def test_a_stop_once_it_was_rolled_back() -> None:
    run = Run()
    run.saved(40)
    run.post("rollback", "back", to_step=40)
    run.end(step=57)
    run.post("stop", "s")
    assert run.answer("s") == "stopped the sweep: 1 stopped"
    assert run.controller.ended


def test_the_driver_dies_in_a_roll_back_and_the_next_one_makes_it() -> None:
    run = Run()
    run.saved(20, 40)
    run.post("rollback", "back", to_step=20)
    run.crash()
    run.post("rollback", "back", to_step=20)
    assert run.answer("back") == "rolled back from step 40 to step 20"
    assert run.again().checkpoint == (0, 20)
    run.replays()


def test_what_is_relative_to_a_checkpoint_that_came_meanwhile_may_not_be_set() -> None:
    run = Run()
    run.set("a", lr=0.9)
    run.applied(30, "a")
    run.post("rollback", "back", to_step=40, changes={"lr": "*=5"})  # from the beginning: 0.1 * 5
    run.saved(35)
    run.end(step=57)
    assert run.answer("back").startswith(
        "rolled back from step 57 to step 35; nothing was set: lr=4.5 lies outside"
    )
    assert run.answers()["back"][0]
    assert run.again().params["lr"] == 0.9


def test_the_attempt_that_was_left_has_nothing_more_to_say() -> None:
    run = Run()
    run.saved(40)
    run.post("rollback", "back", to_step=40)
    run.end(step=57)
    before = len(run.recorded)
    for event in (
        Applied(0, 0, 0, 58, "back"),
        Paused(0, 0, 0, 58),
        Unpaused(0, 0, 0, 58),
        Checkpointed(0, 0, 0, 58),
        AttemptEnded(0, 0, 0, 58, "failed"),
    ):
        assert run.handle(event) == []
    assert len(run.recorded) == before


# --- with schedulers -----------------------------------------------------------------------------------------


def test_a_rule_that_waits_at_a_rung_sees_its_command_carried_out_before_the_answer() -> None:
    run = Run(scheduler=ByHand(every=1))
    assert run.set("id", lr=0.2)[1] == Adjust(0, 0, "id", {"lr": 0.2})
    assert run.handle(RungReached(0, 0, 3, 0.5)) == [Answer(0, 0, False, 4, None)]
    run.post("rollback", "back", to_step=0)
    assert run.handle(RungReached(0, 0, 4, 0.5)) == [Answer(0, 0, False, 5, None)]
    run.post("stop", "s")
    [answer] = run.handle(RungReached(0, 0, 5, 0.5))
    assert (answer.stop, answer.reason) == (True, "by hand")


@pytest.mark.parametrize(("saved", "next_rung"), [(None, 5), (7, 10), (10, 15)])
def test_a_restored_attempt_waits_for_rules_at_the_same_steps(saved: int | None, next_rung: int) -> None:
    run = Run(scheduler=ByHand(every=5))
    if saved is not None:
        run.saved(saved)
    run.end("lost")
    assert run.launch().next_rung == next_rung


def judged(run: Run, trial: int, rung: int, value: float) -> bool:
    """Whether a trial goes on."""
    [answer] = [item for item in run.handle(RungReached(trial, 0, rung, value)) if isinstance(item, Answer)]
    return not answer.stop


@pytest.mark.parametrize("touch", ["set", "pause", "rollback"])
def test_a_trial_touched_by_hand_is_left_out_of_what_others_are_compared_with(touch: str) -> None:
    run = Run(trials=4, scheduler=Asha(grace_steps=1, reduction_factor=2), max_step=8, first=[START] * 4)
    run.launch(4)
    for trial in (1, 2, 3):
        run.handle(TrialStarted(0, trial, 0, "worker-0", None))
    assert judged(run, 0, 1, 0.1)
    if touch == "set":
        run.post("set", "id", trial=0, changes={"lr": 0.2})
        run.applied(2, "id")
    elif touch == "pause":
        run.post("pause", trial=0)
        run.paused(1)
        run.post("unpause", trial=0)
        run.unpaused(1)
    else:
        run.post("rollback", trial=0, to_step=0)
        run.end(step=1)
        run.again()
    assert not judged(run, 1, 1, 0.5), "what it did at a rung before goes on to count"
    run.handle(RungReached(0, run.attempt, 2, -99.0))
    assert judged(run, 2, 1, 0.05)
    assert judged(run, 2, 2, 0.5), "nobody else came to this rung that compares with it"
    assert [(event.trial, event.rung) for event in run.of(Decided)] == [(0, 1), (1, 1), (0, 2), (2, 1), (2, 2)]
    run.replays()

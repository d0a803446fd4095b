"""Adopting, in the core: what is recorded, and what may happen while that which is adopted is brought."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

from caviar.adoption import Adoption, Bring, Brought, way
from caviar.controller import Controller
from caviar.messages import (
    Adjust,
    Adjusted,
    Adopted,
    AttemptEnded,
    Checkpointed,
    CommandAnswered,
    CommandReceived,
    DriverStarted,
    Launch,
    Recorded,
    Reports,
    RolledBack,
    RoomOffered,
    Stop,
    TrialEnded,
    TrialStarted,
)
from caviar.origin import Origin
from caviar.samplers import RandomSampler
from caviar.schedulers import RunAll
from caviar.space import Float, Space
from caviar.state import Plan, SweepState

SPACE = Space(lr=Float(1e-4, 1.0, scale="log"), momentum=Float(0.0, 0.9))
BEGINS = {"lr": 0.1, "momentum": 0.5}


class Run:
    """A live run at step 57, with checkpoints of steps 40 and 50; and all that was recorded of it."""

    def __init__(self, **changes: Any) -> None:
        arguments: dict[str, Any] = {
            "sampler": RandomSampler(),
            "scheduler": RunAll(),
            "trials": 1,
            "max_step": 100,
            "first": [BEGINS],
            "keep_checkpoints": "all",
            **changes,
        }
        self.plan = Plan(space=SPACE, **arguments)
        self.controller = Controller(self.plan)
        self.recorded: list[Recorded] = []
        self.take(self.controller.begin(DriverStarted(0, "here", 1, "0")))
        self.start(self.launch())
        for step in (40, 50):
            self.handle(Checkpointed(0, 0, 0, step, 1.0 / step))
        self.record = self.controller.state.active[0]

    def handle(self, event: Any) -> list[Any]:
        return self.take(self.controller.handle(event, 7))

    def take(self, output: list[Any]) -> list[Any]:
        self.recorded += [item for item in output if isinstance(item, Recorded)]
        return output

    def launch(self) -> Launch:
        [launch] = [item for item in self.handle(RoomOffered(1)) if isinstance(item, Launch)]
        return launch

    def start(self, launch: Launch) -> None:
        restored = launch.checkpoint[1] if launch.checkpoint else None
        self.handle(TrialStarted(0, 0, launch.attempt, "worker-0", restored))

    def ends(self, outcome: str, **fields: Any) -> list[Any]:
        return self.handle(AttemptEnded(5, 0, self.record.attempt, 57, outcome, **fields))

    def asks(self, command_id: str = "a") -> Bring:
        args = {"path": "/runs/fork", "trial": 3, "attempt": 0, "step": 52, "note": "clear"}
        output = self.handle(CommandReceived(0, command_id, "adopt", 0, args))
        [order] = [item for item in output if isinstance(item, Bring)]
        return order

    def adoption(self, **changes: Any) -> Adoption:
        origin = Origin(
            path="/runs/live",
            created_us=5,
            trial=0,
            attempt=0,
            step=40,
            params=BEGINS,
            seed=1,
            way=way(self.controller.state, self.record, 40),
            vary=("lr",),
        )
        arguments: dict[str, Any] = {
            "path": "/runs/fork",
            "trial": 3,
            "attempt": 0,
            "step": 52,
            "value": 0.01,
            "origin": origin,
            "params": [(41, {"lr": 0.03, "momentum": 0.5}), (45, {"lr": 0.02})],
            "reports": [reports()],
            **changes,
        }
        return Adoption(**arguments)

    def replayed(self) -> SweepState:
        state = SweepState(self.plan)
        state.replay(self.recorded)
        return state


def reports() -> Reports:
    steps = np.arange(41, 53)
    zeros = np.zeros(12, np.int64)
    return Reports(("loss",), zeros, zeros, np.arange(12), steps, steps, values=1.0 / steps.reshape(-1, 1))


def answers(output: list[Any]) -> list[tuple[bool, str]]:
    return [(one.applied, one.text) for one in output if isinstance(one, CommandAnswered)]


ADOPTED = "adopted trial 3 of fork: lr 0.1 -> 0.03, on from step 52"


def test_the_run_trains_on_until_all_is_here_and_then_goes_on_from_there() -> None:
    run = Run()
    order = run.asks()
    assert order.attempt == 1, "an attempt that is never launched: its place is free for the copy"
    assert [type(item) for item in run.handle(Brought(order, run.adoption()))] == [Stop]
    output = run.ends("stopped", reason="adopts")
    assert [type(item) for item in output] == [RolledBack, Reports, Adjusted, Adjusted, Adopted, CommandAnswered]
    back, rows, first, then, adopted, _ = output
    assert (back.attempt, back.step, back.from_step, back.checkpoint) == (1, 40, 57, 0)
    assert back.superseded == [(0, 50)]
    assert {*rows.attempt.tolist()} == {1}
    assert (first.step, first.old, first.new) == (41, {"lr": 0.1}, {"lr": 0.03})
    assert (then.step, then.old, then.new) == (45, {"lr": 0.03}, {"lr": 0.02})
    assert (adopted.attempt, adopted.step, adopted.checkpoint, adopted.note) == (2, 52, 1, "clear")
    assert answers(output) == [(True, ADOPTED)]
    launch = run.launch()
    assert (launch.attempt, launch.checkpoint) == (2, (1, 52))
    assert launch.params == {"lr": 0.02, "momentum": 0.5}
    before, after = run.replayed().picture(), run.controller.state.picture()
    assert {**before, "judge": None} == {**after, "judge": None}


@pytest.mark.parametrize("outcome", ["lost", "failed"])
def test_no_attempt_begins_while_its_place_is_taken(outcome: str) -> None:
    run = Run()
    order = run.asks()
    run.ends(outcome, reason="a fault")
    run.controller._delayed = [(0, trial) for _, trial in run.controller._delayed]
    assert run.handle(RoomOffered(1)) == []
    output = run.handle(Brought(order, run.adoption()))
    assert answers(output) == [(True, ADOPTED)]
    [rows] = [item for item in output if isinstance(item, Reports)]
    assert {*rows.attempt.tolist()} == {2}, "a number above all that reported"
    launch = run.launch()
    assert (launch.attempt, launch.checkpoint) == (3, (1, 52))


def test_where_it_cannot_be_had_the_run_is_not_disturbed() -> None:
    run = Run()
    output = run.handle(Brought(run.asks(), refusal="nothing was adopted: no room"))
    assert answers(output) == [(False, "nothing was adopted: no room")]
    assert not [item for item in output if isinstance(item, Stop)]
    order = run.asks("b")
    assert order.command.id == "b", "and can be tried again"


def test_a_trial_that_ends_meanwhile_has_ended() -> None:
    run = Run()
    order = run.asks()
    assert answers(run.ends("returned")) == [(False, "not applied: trial 0 completed at step 57")]
    assert run.handle(Brought(order, run.adoption())) == []
    assert run.controller.ended


def test_one_that_is_to_stop_stops() -> None:
    run = Run()
    order = run.asks()
    run.handle(CommandReceived(0, "s", "stop", 0, {}))
    assert answers(run.handle(Brought(order, run.adoption()))) == [(False, "trial 0 is stopping: by hand")]
    assert any(isinstance(item, TrialEnded) for item in run.ends("stopped", reason="by hand"))


def test_one_goes_back_for_one_reason_at_a_time() -> None:
    run = Run()
    run.asks()
    told = answers(run.handle(CommandReceived(0, "r", "rollback", 0, {"to_step": 40})))
    assert told == [(False, "trial 0 is about to adopt what a fork of it came to")]
    args = {"path": "/runs/fork", "trial": 3, "attempt": 0, "step": 52}
    told = answers(run.handle(CommandReceived(0, "b", "adopt", 0, args)))
    assert told == [(False, "trial 0 is about to adopt what a fork of it came to")]


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"step": 101}, "the fork's checkpoint is of step 101, beyond max_step=100"),
        ({"params": [(41, {"lr": 0.03})]}, "the fork has other params: momentum"),
        ({"way": ((1, BEGINS), (30, {"lr": 0.2}))}, "trial 0 is no longer what was forked"),
        ({"at": 51}, "trial 0 has come to step 50, and the fork begins at step 51"),
    ],
)
def test_what_does_not_fit_is_refused(changes: dict[str, Any], told: str) -> None:
    run = Run()
    adoption = run.adoption(**{name: value for name, value in changes.items() if name in ("step", "params")})
    if "way" in changes:
        adoption = dataclasses.replace(adoption, origin=dataclasses.replace(adoption.origin, way=changes["way"]))
    if "at" in changes:
        adoption = dataclasses.replace(adoption, origin=dataclasses.replace(adoption.origin, step=changes["at"]))
    output = run.handle(Brought(run.asks(), adoption))
    [(applied, text)] = answers(output)
    assert not applied
    assert told in text


def test_what_was_set_since_belongs_to_what_is_left() -> None:
    run = Run(schedule=[(43, {"momentum": 0.6}), (60, {"lr": 0.01})])
    run.record.adjustments = [(50, {"lr": 0.5})]
    order = run.asks()
    run.handle(Brought(order, run.adoption()))
    output = run.ends("stopped", reason="adopts")
    changes = [(one.step, one.new) for one in output if isinstance(one, Adjusted)]
    assert changes == [(41, {"lr": 0.03}), (43, {"momentum": 0.5}), (45, {"lr": 0.02})]
    launch = run.launch()
    assert launch.params == {"lr": 0.02, "momentum": 0.5}
    assert list(launch.timeline) == [], "what was adopted has left the schedule"


# --- what a fork begins with ----------------------------------------------------------------------------


def test_a_checkpoint_that_is_about_to_be_copied_is_kept() -> None:
    run = Run(keep_checkpoints="last")
    told = answers(run.handle(CommandReceived(0, "k", "keep", 0, {"attempt": 0, "step": 50})))
    assert told == [(True, "keeps the checkpoint of step 50")]
    for step, superseded in ((60, []), (70, [(0, 60)])):
        [saved] = [item for item in run.handle(Checkpointed(0, 0, 0, step)) if isinstance(item, Checkpointed)]
        assert saved.superseded == superseded
    assert [one.step for one in run.record.checkpoints] == [50, 70]
    assert [one.step for one in run.replayed().active[0].checkpoints] == [50, 70]


@pytest.mark.parametrize(
    ("args", "told"),
    [
        ({"attempt": 0, "step": 40}, "trial 0 has no checkpoint of step 40 any more"),
        ({"attempt": -1, "step": 50}, "keep: attempt=-1 is no whole number"),
        ({"attempt": 0}, "keep: step=None is no whole number"),
        ({"at_step": 50}, "keep: 'at_step' is unknown"),
    ],
)
def test_one_that_has_gone_cannot_be_kept(args: dict[str, Any], told: str) -> None:
    run = Run(keep_checkpoints="last")
    [(applied, text)] = answers(run.handle(CommandReceived(0, "k", "keep", 0, args)))
    assert not applied
    assert told in text


def test_what_is_set_while_the_run_is_left_is_for_what_comes() -> None:
    run = Run()
    run.handle(CommandReceived(0, "s", "set", 0, {"changes": {"momentum": 0.7}}))
    order = run.asks()
    run.handle(Brought(order, run.adoption()))
    told = answers(run.handle(CommandReceived(0, "d", "set", 0, {"changes": {"lr": "*=2"}, "dry_run": True})))
    assert told == [(True, "would set lr 0.02 -> 0.04")]
    assert answers(run.handle(CommandReceived(0, "t", "set", 0, {"changes": {"lr": "*=2"}}))) == []
    told = answers(run.ends("stopped", reason="adopts"))
    assert told == [(True, ADOPTED), (False, f"not applied: trial 0 {ADOPTED}")], "and what was set before is not"
    started = run.handle(TrialStarted(0, 0, run.launch().attempt, "worker-0", 52))
    assert [(item.command, item.changes) for item in started if isinstance(item, Adjust)] == [("t", {"lr": 0.04})]


def test_a_start_that_overtook_is_told_to_leave_again() -> None:
    run = Run()
    run.ends("lost", reason="a worker")
    launch = run.launch()
    order = run.asks()
    [stop] = run.handle(Brought(order, run.adoption()))
    assert isinstance(stop, Stop)
    again = run.handle(TrialStarted(0, 0, launch.attempt, "worker-0", 50))
    assert [type(item) for item in again] == [TrialStarted, Stop]

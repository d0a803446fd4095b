"""A roll-back between its command and the end of the attempt that it leaves; a stop across drivers."""

from __future__ import annotations

from typing import Any

import caviar
from caviar.controller import Controller
from caviar.messages import (
    AttemptEnded,
    AttemptFailed,
    Checkpointed,
    CommandAnswered,
    CommandReceived,
    DriverStarted,
    RolledBack,
    RoomOffered,
    TrialEnded,
    TrialStarted,
)
from caviar.state import Plan


def controller(**changes: Any) -> Controller:
    """Of one trial, which has begun."""
    arguments: dict[str, Any] = {
        "space": caviar.Space(lr=caviar.Float(1e-4, 1.0, scale="log")),
        "sampler": caviar.RandomSampler(),
        "scheduler": caviar.RunAll(),
        "trials": 1,
        "max_step": 100,
        "first": [{"lr": 0.1}],
    }
    made = Controller(Plan(**{**arguments, **changes}))
    made.begin(DriverStarted(0, "host", 1, "0"))
    made.handle(RoomOffered(1), 0)
    made.handle(TrialStarted(0, 0, 0, "worker"), 0)
    return made


def asked(made: Controller, command: str, **args: Any) -> list[Any]:
    return made.handle(CommandReceived(0, f"{command}-{len(made.state.answered)}", command, 0, args), 0)


def test_what_is_gone_back_to_is_not_superseded_meanwhile() -> None:
    made = controller()
    made.handle(Checkpointed(0, 0, 0, 40, 1.0), 0)
    asked(made, "rollback", to_step=40)
    [saved] = made.handle(Checkpointed(0, 0, 0, 45, 1.0), 0)
    assert isinstance(saved, Checkpointed)
    assert not saved.superseded
    output = made.handle(AttemptEnded(0, 0, 0, 46, "stopped", "rolled back"), 0)
    [back] = [one for one in output if isinstance(one, RolledBack)]
    assert (back.step, back.checkpoint, back.superseded) == (40, 0, [(0, 45)])


def relative(made: Controller) -> str:
    output = asked(made, "set", changes={"lr": "*=0.5"}, dry_run=True)
    [answer] = [one for one in output if isinstance(one, CommandAnswered)]
    return answer.text


def test_a_relative_change_after_a_roll_back_is_of_where_it_went_back_to() -> None:
    made = controller(schedule=((40, {"lr": 0.01}),))
    made.handle(Checkpointed(0, 0, 0, 30, 1.0), 0)
    made.steering.reached(0, 0, 57)
    assert relative(made) == "would set lr 0.01 -> 0.005"
    asked(made, "rollback", to_step=30)
    made.handle(AttemptEnded(0, 0, 0, 57, "stopped", "rolled back"), 0)
    assert relative(made) == "would set lr 0.1 -> 0.05"


def test_a_relative_change_after_a_fault_is_of_where_it_goes_on_from() -> None:
    made = controller(schedule=((40, {"lr": 0.01}),))
    made.handle(Checkpointed(0, 0, 0, 30, 1.0), 0)
    made.steering.reached(0, 0, 57)
    output = made.handle(AttemptEnded(0, 0, 0, 57, "failed", "it broke"), 0)
    assert isinstance(output[0], AttemptFailed)
    assert relative(made) == "would set lr 0.1 -> 0.05"


def test_a_stop_that_an_earlier_driver_carried_out_is_no_refusal() -> None:
    made = controller(trials=2)
    asked(made, "stop")
    output = made.handle(AttemptEnded(0, 0, 0, 5, "stopped", "by hand", None, 1.0, 1.0, 5), 0)
    assert isinstance(output[0], TrialEnded)
    again = made.handle(CommandReceived(0, "again", "stop", 0, {}), 0)
    [answer] = [one for one in again if isinstance(one, CommandAnswered)]
    assert (answer.applied, answer.text) == (True, "trial 0 is stopped")

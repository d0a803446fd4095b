"""The part of the core that carries out what people and rules want of a trial under way: set, pause, unpause, roll
back. As all of it: events in; events to be recorded and commands out.

What is remembered here is what was asked for and is not done yet. None of it is recorded: a command that has no
answer is still in the inbox, and is carried out by the next driver.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from caviar.adjusting import resolve, told
from caviar.errors import UsageError
from caviar.messages import (
    BY_HAND,
    Adjust,
    Adjusted,
    Applied,
    AttemptEnded,
    Command,
    CommandAnswered,
    CommandReceived,
    Pause,
    Paused,
    Recorded,
    RolledBack,
    Stop,
    Unpaused,
)
from caviar.state import SweepState
from caviar.trial import Params, TrialRecord, TrialState

COMMANDS = ("set", "pause", "unpause", "rollback")

_ARGUMENTS: Mapping[str, tuple[str, ...]] = {
    "set": ("changes", "note", "force", "dry_run", "by"),
    "pause": ("note", "by"),
    "unpause": ("note", "by"),
    "rollback": ("to_step", "changes", "note", "force", "by"),
}

Output = list[Recorded | Command]


@dataclass(frozen=True, slots=True)
class _Wanted:
    """An adjustment on its way to the trial."""

    command: str
    new: Params
    by: str
    note: str | None


@dataclass(frozen=True, slots=True)
class _WayBack:
    """A roll-back that waits for the end of the attempt that it leaves."""

    command: str
    to_step: int
    changes: Mapping[str, Any]
    force: bool
    by: str
    note: str | None


@dataclass(slots=True)
class _Open:
    """What one trial is asked to do, and has not done."""

    adjustments: dict[str, _Wanted] = field(default_factory=dict)
    """By the command's id, in order."""
    pauses: list[str] = field(default_factory=list)
    unpauses: list[str] = field(default_factory=list)
    way_back: _WayBack | None = None


class Steering:
    """Carries out commands to trials under way."""

    def __init__(
        self,
        state: SweepState,
        record: Callable[[Recorded], Recorded],
        *,
        waits: Callable[[int], bool] = lambda trial: False,
    ) -> None:
        """``record``: folds an event into the state, and returns it. ``waits``: whether a pending trial is yet to
        be sent to the executor."""
        self._state = state
        self._waits = waits
        self._record = record
        self._open: dict[int, _Open] = {}
        self._reached: dict[int, int] = {}
        """The last step that a trial is known to have reported, where its params have a schedule."""

    def reached(self, trial: int, step: int) -> None:
        """A trial has reported this step."""
        self._reached[trial] = step

    def obey(self, event: CommandReceived, trial: TrialRecord, now_us: int) -> Output:
        """Carry out one of `COMMANDS`. Raises `UsageError` where it cannot be."""
        args = _checked(event.command, event.args)
        if not trial.began:
            raise UsageError(f"trial {trial.trial} is pending: it can be stopped, but not {_PAST[event.command]}")
        if trial.stop_reason is not None:
            raise UsageError(f"trial {trial.trial} is stopping: {trial.stop_reason}")
        asked = self._open.setdefault(trial.trial, _Open())
        if event.command == "set":
            return self._set(event.id, trial, asked, args=args, now_us=now_us)
        if event.command == "rollback":
            return self._roll_back(event.id, trial, asked, args=args, now_us=now_us)
        return self._hold(event, trial, asked, now_us=now_us)

    # --- adjustments --------------------------------------------------------------------------------

    def _set(
        self, command: str, trial: TrialRecord, asked: _Open, *, args: Mapping[str, Any], now_us: int
    ) -> Output:
        current = self._current(trial, asked)
        plan = self._state.plan
        new = resolve(plan.space, plan.adjustable, current, wanted=args["changes"], force=args["force"])
        if args["dry_run"]:
            return [self._answer(command, f"would set {told(current, new)}", now_us)]
        wanted = _Wanted(command, new, args["by"], args["note"])
        asked.adjustments[command] = wanted
        under_way = trial.state in (TrialState.RUNNING, TrialState.PAUSED)
        return [Adjust(trial.trial, trial.attempt, command, new)] if under_way else []

    def _current(self, trial: TrialRecord, asked: _Open) -> dict[str, Any]:
        """The params that a change is relative to: with those changes that come before it."""
        step = max(trial.step, self._reached.get(trial.trial, 0)) + 1
        last = trial.adjustments[-1][0] if trial.adjustments else 0
        current = dict(self._state.params_at(trial, max(step, last))[0])
        for wanted in asked.adjustments.values():
            current.update(wanted.new)
        return current

    def applied(self, event: Applied, trial: TrialRecord, now_us: int) -> Output:
        """The trial trains with what was set."""
        asked = self._open.get(trial.trial)
        wanted = asked.adjustments.pop(event.command, None) if asked else None
        if wanted is None:
            return []
        self.reached(trial.trial, event.step - 1)
        before = self._state.params_at(trial, event.step)[0]
        old = {name: before[name] for name in wanted.new}
        ids = (event.trial, event.attempt, event.step)
        adjusted = Adjusted(event.time_us, *ids, old, wanted.new, wanted.command, wanted.by, wanted.note)
        text = f"applied at step {event.step}: {told(old, wanted.new)}"
        return [self._record(adjusted), self._answer(wanted.command, text, now_us)]

    # --- pauses --------------------------------------------------------------------------------------

    def _hold(self, event: CommandReceived, trial: TrialRecord, asked: _Open, *, now_us: int) -> Output:
        number, over = trial.trial, event.command == "unpause"
        held = trial.paused or bool(asked.pauses)
        if not over:
            if trial.paused:
                return [self._answer(event.id, f"trial {number} is paused already, at step {trial.step}", now_us)]
            asked.pauses.append(event.id)
        elif not held:
            raise UsageError(f"trial {number} is not paused")
        else:
            asked.unpauses.append(event.id)
        return [Pause(number, trial.attempt, over)] if trial.state is not TrialState.PENDING else []

    def paused(self, event: Paused, trial: TrialRecord, now_us: int) -> Output:
        """The trial waits."""
        return [self._record(event), *self._told(event, ("pauses",), f"paused at step {event.step}", now_us)]

    def unpaused(self, event: Unpaused, trial: TrialRecord, now_us: int) -> Output:
        """The trial trains on."""
        both = ("pauses", "unpauses")
        return [self._record(event), *self._told(event, both, f"unpaused at step {event.step}", now_us)]

    def _told(self, event: Paused | Unpaused, what: tuple[str, ...], text: str, now_us: int) -> Output:
        asked = self._open.get(event.trial)
        if asked is None:
            return []
        output: Output = []
        for name in what:
            commands: list[str] = getattr(asked, name)
            output += [self._answer(command, text, now_us) for command in commands]
            commands.clear()
        return output

    # --- roll-backs ----------------------------------------------------------------------------------

    def _roll_back(
        self, command: str, trial: TrialRecord, asked: _Open, *, args: Mapping[str, Any], now_us: int
    ) -> Output:
        if asked.way_back is not None:
            raise UsageError(f"trial {trial.trial} is being rolled back already, to step {asked.way_back.to_step}")
        way_back = _WayBack(command, args["to_step"], args["changes"], args["force"], args["by"], args["note"])
        self._changes_at(
            trial, self._target(trial, way_back.to_step), way_back
        )  # a mistake is told before anything
        asked.way_back = way_back
        if self._waits(trial.trial):
            return self._go_back(trial, from_step=trial.step, now_us=now_us)
        return [Stop(trial.trial, trial.attempt, f"rolled back to step {way_back.to_step}", again=True)]

    def rolls_back(self, trial: int) -> bool:
        """Whether the end of this trial's attempt is the beginning of another."""
        asked = self._open.get(trial)
        return asked is not None and asked.way_back is not None

    def ended(self, event: AttemptEnded, trial: TrialRecord, now_us: int) -> Output:
        """The attempt that a roll-back leaves has ended, however it did."""
        return self._go_back(trial, from_step=event.step, now_us=now_us)

    def _go_back(self, trial: TrialRecord, *, from_step: int, now_us: int) -> Output:
        asked = self._open[trial.trial]
        way_back = asked.way_back
        assert way_back is not None
        asked.way_back = None
        self._reached.pop(trial.trial, None)
        checkpoint, step = self._target(trial, way_back.to_step)
        try:
            new = self._changes_at(trial, (checkpoint, step), way_back)
            mistake = ""
        except UsageError as error:  # relative to what there is now, it comes to something else
            new, mistake = {}, f"; nothing was set: {error}"
        gone = [(one.attempt, one.step) for one in trial.checkpoints if one.step > step]
        why = (way_back.command, way_back.by, way_back.note)
        back = RolledBack(now_us, trial.trial, trial.attempt + 1, step, from_step, checkpoint, gone, *why)
        output: Output = [self._record(back)]
        text = f"rolled back from step {from_step} to step {step}"
        if checkpoint is None and way_back.to_step > 0:
            text += f" (it has no checkpoint at or before step {way_back.to_step}: from the beginning)"
        if new:
            before = self._state.params_at(trial, step + 1)[0]
            old = {name: before[name] for name in new}
            adjusted = Adjusted(now_us, trial.trial, trial.attempt, step + 1, old, new, *why)
            output.append(self._record(adjusted))
            text += f": {told(old, new)}"
        text += mistake
        return [*output, self._answer(way_back.command, text, now_us)]

    def _target(self, trial: TrialRecord, to_step: int) -> tuple[int | None, int]:
        """(attempt, step) of the nearest checkpoint at or before a step; (None, 0): the beginning."""
        found = [one for one in trial.checkpoints if one.step <= to_step]
        return (found[-1].attempt, found[-1].step) if found else (None, 0)

    def _changes_at(
        self, trial: TrialRecord, target: tuple[int | None, int], way_back: _WayBack
    ) -> dict[str, Any]:
        if not way_back.changes:
            return {}
        plan, step = self._state.plan, target[1]
        kept = [(at, changes) for at, changes in trial.adjustments if at <= step]
        there = self._state.params_with(trial, kept, step + 1)
        return resolve(plan.space, plan.adjustable, there, wanted=way_back.changes, force=way_back.force)

    # --- a trial's life ------------------------------------------------------------------------------

    def begins(self, trial: TrialRecord) -> Output:
        """Another attempt has begun: what the one before was still to do."""
        asked = self._open.get(trial.trial)
        if asked is None:
            return []
        output: Output = [
            Adjust(trial.trial, trial.attempt, wanted.command, wanted.new) for wanted in asked.adjustments.values()
        ]
        if asked.unpauses or asked.pauses:
            output.append(Pause(trial.trial, trial.attempt, over=bool(asked.unpauses)))
        return output

    def over(self, trial: int, text: str, now_us: int) -> Output:
        """The trial has ended: what it was still to do is not done."""
        self._reached.pop(trial, None)
        asked = self._open.pop(trial, None)
        if asked is None:
            return []
        ids = [*asked.adjustments, *asked.pauses, *asked.unpauses]
        if asked.way_back is not None:
            ids.append(asked.way_back.command)
        return [self._answer(command, f"not applied: {text}", now_us, applied=False) for command in ids]

    def _answer(self, command: str, text: str, now_us: int, *, applied: bool = True) -> Recorded:
        return self._record(CommandAnswered(now_us, command, applied, text))


_PAST = {"set": "set", "pause": "paused", "unpause": "unpaused", "rollback": "rolled back"}


def _checked(command: str, args: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of a command, each there and of its type. Raises `UsageError`."""
    known = _ARGUMENTS[command]
    for name in args:
        if name not in known:
            raise UsageError(f"{command}: {name!r:.60} is unknown; it takes {', '.join(known)}")
    checked: dict[str, Any] = {"by": BY_HAND, "note": None, "changes": {}, "force": False, "dry_run": False}
    checked.update({name: value for name, value in args.items() if value is not None})
    for name, kind in (("by", str), ("changes", Mapping), ("force", bool), ("dry_run", bool)):
        if not isinstance(checked[name], kind):
            raise UsageError(f"{command}: {name}={checked[name]!r:.60} is no {_KINDS[kind]}")
    if checked["note"] is not None and not isinstance(checked["note"], str):
        raise UsageError(f"{command}: note={checked['note']!r:.60} is no text")
    if command == "rollback":
        to_step = checked.get("to_step")
        if isinstance(to_step, bool) or not isinstance(to_step, int) or to_step < 0:
            raise UsageError(f"rollback: to_step={to_step!r:.60} is no whole number of at least 0")
    return checked


_KINDS: Mapping[type, str] = {str: "text", Mapping: "object from param to value", bool: "true or false"}

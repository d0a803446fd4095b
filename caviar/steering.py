"""The part of the core that carries out what people and rules want of a trial under way: set, pause, unpause, roll
back, adopt what a fork came to. As all of it: events in; events to be recorded and commands out.

What is remembered here is what was asked for and is not done yet. None of it is recorded: a command that has no
answer is still in the inbox, and is carried out by the next driver.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import takewhile
from typing import Any, TypeVar

from caviar.adjusting import adjustable, resolve, shown, told
from caviar.adoption import Adoption, Bring, Brought, adopted, check_adoption, check_args, check_numbers
from caviar.errors import UsageError
from caviar.messages import (
    BY_HAND,
    LAST_STEP,
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
    Reports,
    RolledBack,
    Stop,
    Unpaused,
)
from caviar.state import SweepState
from caviar.trial import ORIGIN, Params, Saved, TrialRecord, TrialState

COMMANDS = ("set", "pause", "unpause", "rollback", "adopt", "keep")

NOT_APPLIED = "not applied: "
"""How the answer to a command begins that nobody refused, and that was overtaken."""

LONGEST_NOTE = 1000
LONGEST_NAME = 200
"""Characters of a note, and of the name of who asks."""

_ARGUMENTS: Mapping[str, tuple[str, ...]] = {
    "set": ("changes", "note", "force", "dry_run", "by"),
    "pause": ("note", "by"),
    "unpause": ("note", "by"),
    "rollback": ("to_step", "changes", "note", "force", "by"),
    "adopt": ("path", "trial", "attempt", "step", "note", "by"),
    "keep": ("attempt", "step", "note", "by"),
}

Output = list[Recorded | Reports | Command]

_Held = TypeVar("_Held", Paused, Unpaused)


@dataclass(frozen=True, slots=True)
class _Wanted:
    """An adjustment on its way to the trial."""

    command: str
    new: Params
    by: str
    note: str | None


@dataclass(frozen=True, slots=True)
class _Hold:
    """A pause, or (``over``) the end of one, on its way to the trial."""

    command: str
    over: bool
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
    adjustments: dict[str, _Wanted] = field(default_factory=dict)
    """What was set since it was asked for: for the attempt that comes, by the command's id, in order."""


@dataclass(slots=True)
class _TakeOver:
    """What is to be adopted: first it is brought, then it waits for the end of the attempt that is left."""

    order: Bring
    adoption: Adoption | None = None
    """Once it is here."""
    adjustments: dict[str, _Wanted] = field(default_factory=dict)
    """What was set since it is here."""


@dataclass(slots=True)
class _Open:
    """What one trial is asked to do, and has not done."""

    adjustments: dict[str, _Wanted] = field(default_factory=dict)
    """By the command's id, in order."""
    holds: list[_Hold] = field(default_factory=list)
    """In order."""
    way_back: _WayBack | None = None
    take_over: _TakeOver | None = None

    def ids(self) -> Iterator[str]:
        """The commands that have no answer yet."""
        yield from self.adjustments
        yield from (hold.command for hold in self.holds)
        if self.way_back is not None:
            yield self.way_back.command
            yield from self.way_back.adjustments
        if self.take_over is not None:
            yield self.take_over.order.command.id
            yield from self.take_over.adjustments

    @property
    def comes(self) -> Adoption | None:
        """What the trial is to go on from, once its attempt has ended."""
        return None if self.take_over is None else self.take_over.adoption

    def check_alone(self, trial: int) -> None:
        """Raise `UsageError` where the trial is about to go back already."""
        if self.way_back is not None:
            raise UsageError(f"trial {trial} is being rolled back already, to step {self.way_back.to_step}")
        if self.take_over is not None:
            raise UsageError(f"trial {trial} is about to adopt what a fork of it came to")


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
        self._kept: dict[int, set[tuple[int, int]]] = {}
        """(attempt, step) of checkpoints that are to stay although others would supersede them, while this driver
        has the sweep: somebody is about to copy them."""

    def reached(self, trial: int, attempt: int, step: int) -> None:
        """A trial has reported this step."""
        if self._state.current(trial, attempt) is not None:
            self._reached[trial] = step

    def params_for(self, trial: TrialRecord, step: int) -> dict[str, Any]:
        """The params that rules go by at a report of this step: those that it was trained with, and what has been
        asked for and comes before anything that a rule asks for now."""
        params = dict(self._state.params_at(trial, step)[0])
        asked = self._open.get(trial.trial)
        for wanted in () if asked is None else asked.adjustments.values():
            params.update(wanted.new)
        return params

    def attempt_over(self, trial: int) -> None:
        """An attempt has ended: how far it came says nothing of the next one."""
        self._reached.pop(trial, None)

    def has(self, command: str) -> bool:
        """Whether this command is under way."""
        return any(command in asked.ids() for asked in self._open.values())

    def obey(self, event: CommandReceived, trial: TrialRecord, now_us: int, *, at: int | None = None) -> Output:
        """Carry out one of `COMMANDS`. ``at``: the trial waits after its report of this step, so that what is set
        now is recorded at once: it holds from the next step on, whatever becomes of this attempt or its driver.
        Raises `UsageError` where it cannot be."""
        args = _checked(event.command, event.args)
        if not trial.began and event.command not in ("adopt", "keep"):
            raise UsageError(f"trial {trial.trial} is pending: it can be stopped, but not {_PAST[event.command]}")
        if trial.stop_reason is not None:
            raise UsageError(f"trial {trial.trial} is stopping: {shown(trial.stop_reason)}")
        asked = self._open.setdefault(trial.trial, _Open())
        if event.command == "set":
            return self._set(event.id, trial, asked, args=args, now_us=now_us, at=at)
        if event.command == "rollback":
            return self._roll_back(event.id, trial, asked, args=args, now_us=now_us)
        if event.command == "adopt":
            asked.check_alone(trial.trial)
            asked.take_over = _TakeOver(Bring(trial.trial, trial.attempt + 1, event))
            return [asked.take_over.order]
        if event.command == "keep":
            return self._keep(event.id, trial, args["attempt"], args["step"], now_us=now_us)
        hold = _Hold(event.id, event.command == "unpause", args["by"], args["note"])
        return self._hold(hold, trial, asked, now_us=now_us)

    # --- adjustments --------------------------------------------------------------------------------

    def _set(
        self,
        command: str,
        trial: TrialRecord,
        asked: _Open,
        *,
        args: Mapping[str, Any],
        now_us: int,
        at: int | None,
    ) -> Output:
        current = self._current(trial, asked)
        knobs = adjustable(self._state.declared, self._state.plan.knobs)
        new = resolve(self._state.declared, knobs, current, wanted=args["changes"], force=args["force"])
        if args["dry_run"]:
            return [self._answer(command, f"would set {told(current, new)}", now_us)]
        wanted = _Wanted(command, new, args["by"], args["note"])
        if asked.way_back is not None:  # it would be lost with the branch that is left
            asked.way_back.adjustments[command] = wanted
            return []
        if asked.take_over is not None and asked.comes is not None:
            asked.take_over.adjustments[command] = wanted
            return []
        if at is not None and not asked.adjustments:  # what came before it would be recorded after it
            ids = (trial.trial, trial.attempt)
            return [*self._adjusted(wanted, *ids, at + 1, now_us), Adjust(*ids, command, new, certain=True)]
        asked.adjustments[command] = wanted
        return [Adjust(trial.trial, trial.attempt, command, new)] if _under_way(trial) else []

    def _current(self, trial: TrialRecord, asked: _Open) -> dict[str, Any]:
        """The params that a change is relative to: those of the step that it trains, with all that was asked for
        before, be it that it comes to that only later."""
        way_back, state = asked.way_back, self._state
        if way_back is not None:
            _, step = self._target(trial, way_back.to_step)
            current = dict(state.params_with(trial, _until(trial, step), step + 1))
            current.update(self._changes_at(trial, step, way_back))
            ahead = way_back.adjustments
        elif asked.take_over is not None and asked.comes is not None:
            current = {name: value for _, changes in asked.comes.params for name, value in changes.items()}
            ahead = asked.take_over.adjustments
        else:
            step = max(trial.step, self._reached.get(trial.trial, 0)) + 1
            current = dict(state.params_at(trial, step)[0])
            for at, changes in trial.adjustments:  # as an attempt before it had come farther
                current.update(changes if at > step else {})
            ahead = asked.adjustments
        for wanted in ahead.values():
            current.update(wanted.new)
        return current

    def applied(self, event: Applied, trial: TrialRecord, now_us: int) -> Output:
        """The trial trains with what was set."""
        asked = self._open.get(trial.trial)
        wanted = asked.adjustments.pop(event.command, None) if asked else None
        if wanted is None:
            return []
        self._reached[trial.trial] = event.step - 1
        return self._adjusted(wanted, event.trial, event.attempt, event.step, now_us, time_us=event.time_us)

    def _adjusted(
        self, wanted: _Wanted, trial: int, attempt: int, step: int, now_us: int, *, time_us: int | None = None
    ) -> Output:
        """The record of what is set from a step on, and the answer."""
        before = self._state.params_at(self._state.active[trial], step)[0]
        old = {name: before[name] for name in wanted.new}
        what = (old, wanted.new, wanted.command, wanted.by, wanted.note)
        adjusted = Adjusted(now_us if time_us is None else time_us, trial, attempt, step, *what)
        text = f"applied at step {step}: {told(old, wanted.new)}"
        return [self._record(adjusted), self._answer(wanted.command, text, now_us)]

    # --- pauses --------------------------------------------------------------------------------------

    def _hold(self, hold: _Hold, trial: TrialRecord, asked: _Open, *, now_us: int) -> Output:
        number, holds = trial.trial, asked.holds
        is_to_wait = not holds[-1].over if holds else trial.paused
        if hold.over != is_to_wait:
            if holds:  # on its way to that already: both are answered then
                holds.append(hold)
                return []
            if hold.over:
                raise UsageError(f"trial {number} is not paused")
            return [self._answer(hold.command, f"trial {number} is paused already, at step {trial.step}", now_us)]
        holds.append(hold)
        return [Pause(number, trial.attempt, hold.over)] if _under_way(trial) else []

    def paused(self, event: Paused, trial: TrialRecord, now_us: int) -> Output:
        """The trial waits: that is what the pauses wanted that came before any end of one."""
        asked = self._open.get(trial.trial, _Open())
        done = list(takewhile(lambda hold: not hold.over, asked.holds))
        del asked.holds[: len(done)]
        output: Output = [self._record(_by(event, done))]
        return output + [self._answer(hold.command, f"paused at step {event.step}", now_us) for hold in done]

    def unpaused(self, event: Unpaused, trial: TrialRecord, now_us: int) -> Output:
        """The trial trains on, as the last end of a pause wanted it; pauses before that are over, be it before
        they began."""
        asked = self._open.get(trial.trial, _Open())
        last = max((n for n, hold in enumerate(asked.holds) if hold.over), default=-1)
        done = asked.holds[: last + 1]
        del asked.holds[: last + 1]
        output: Output = [self._record(_by(event, done[-1:]))] if trial.paused else []
        for hold in done:
            text = f"unpaused at step {event.step}" if hold.over else f"over before it began, at step {event.step}"
            output.append(self._answer(hold.command, text, now_us))
        return output

    # --- roll-backs ----------------------------------------------------------------------------------

    def _roll_back(
        self, command: str, trial: TrialRecord, asked: _Open, *, args: Mapping[str, Any], now_us: int
    ) -> Output:
        asked.check_alone(trial.trial)
        way_back = _WayBack(command, args["to_step"], args["changes"], args["force"], args["by"], args["note"])
        _, step = self._target(trial, way_back.to_step)
        self._changes_at(trial, step, way_back)  # a mistake is told before anything
        asked.way_back = way_back
        if self._waits(trial.trial):
            return self._go_back(trial, way_back, from_step=trial.step, now_us=now_us)
        return [Stop(trial.trial, trial.attempt, f"rolled back to step {way_back.to_step}", again=True)]

    def rolls_back(self, trial: int) -> bool:
        """Whether the end of this trial's attempt is the beginning of another."""
        asked = self._open.get(trial)
        return asked is not None and (asked.way_back is not None or asked.comes is not None)

    def ended(self, event: AttemptEnded, trial: TrialRecord, now_us: int) -> Output:
        """The attempt that a roll-back leaves has ended, however it did."""
        asked, from_step = self._open[trial.trial], max(event.step, trial.step)
        if asked.way_back is not None:
            return self._go_back(trial, asked.way_back, from_step=from_step, now_us=now_us)
        return self._take_over(trial, from_step=from_step, now_us=now_us)

    def _go_back(self, trial: TrialRecord, way_back: _WayBack, *, from_step: int, now_us: int) -> Output:
        asked = self._open[trial.trial]
        left, asked.adjustments, asked.way_back = asked.adjustments, way_back.adjustments, None
        self._reached.pop(trial.trial, None)
        checkpoint, step = self._target(trial, way_back.to_step)
        try:
            new = self._changes_at(trial, step, way_back)
            mistake = ""
        except UsageError as error:  # relative to what there is now, it comes to something else
            new, mistake = {}, f"; nothing was set: {error}"
        gone = [(one.attempt, one.step) for one in trial.checkpoints if one.step > step]
        why = (way_back.command, way_back.by, way_back.note)
        back = RolledBack(now_us, trial.trial, trial.attempt + 1, step, from_step, checkpoint, gone, *why)
        output: Output = [self._record(back)]
        text = f"rolled back from step {from_step} to step {step}"
        if checkpoint is None and way_back.to_step != step:
            text += f" (it has no checkpoint at or before step {way_back.to_step}: from the beginning)"
        if new:
            before = self._state.params_at(trial, step + 1)[0]
            old = {name: before[name] for name in new}
            adjusted = Adjusted(now_us, trial.trial, trial.attempt, step + 1, old, new, *why)
            output.append(self._record(adjusted))
            text += f": {told(old, new)}"
        output.append(self._answer(way_back.command, text + mistake, now_us))
        return output + self._undone(left, f"trial {trial.trial} was rolled back to step {step}", now_us)

    def _target(self, trial: TrialRecord, to_step: int) -> tuple[int | None, int]:
        """(attempt, step) of the nearest checkpoint at or before a step; (None, ...): the beginning, which is step
        0, or the sweep's origin."""
        saved = trial.checkpoints
        found = [one for one in saved if one.step <= to_step] or [one for one in saved if one.attempt == ORIGIN]
        if not found:
            return None, 0
        return (None if found[-1].attempt == ORIGIN else found[-1].attempt), found[-1].step

    def _changes_at(self, trial: TrialRecord, step: int, way_back: _WayBack) -> dict[str, Any]:
        """What it sets, after it has gone back to this step."""
        if not way_back.changes:
            return {}
        knobs = adjustable(self._state.declared, self._state.plan.knobs)
        there = self._state.params_with(trial, _until(trial, step), step + 1)
        return resolve(self._state.declared, knobs, there, wanted=way_back.changes, force=way_back.force)

    # --- forks --------------------------------------------------------------------------------------

    def _keep(self, command: str, trial: TrialRecord, attempt: int, step: int, *, now_us: int) -> Output:
        if not any(one[:2] == (attempt, step) for one in trial.checkpoints):
            raise UsageError(f"trial {trial.trial} has no checkpoint of step {step} any more")
        self._kept.setdefault(trial.trial, set()).add((attempt, step))
        return [self._answer(command, f"keeps the checkpoint of step {step}", now_us)]

    def keeps(self, trial: int, saved: Saved) -> bool:
        """Whether nothing supersedes this checkpoint."""
        if saved.attempt == ORIGIN or saved[:2] in self._kept.get(trial, ()):
            return True
        asked, record = self._open.get(trial), self._state.active.get(trial)
        if asked is None or asked.way_back is None or record is None:
            return False
        return self._target(record, asked.way_back.to_step) == saved[:2]

    # --- adoptions -----------------------------------------------------------------------------------

    def holds(self, trial: int) -> bool:
        """Whether no attempt of this trial may begin: what it is to adopt is brought in the place of the next."""
        asked = self._open.get(trial)
        return asked is not None and asked.take_over is not None

    def brought(self, event: Brought, now_us: int) -> Output:
        """What is to be adopted is here, or cannot be had."""
        command, number = event.order.command.id, event.order.trial
        asked = self._open.get(number)
        if asked is None or asked.take_over is None or asked.take_over.order.command.id != command:
            return []
        trial, refusal = self._state.active[number], event.refusal or ""
        if event.adoption is not None and trial.stop_reason is None:
            try:
                check_adoption(event.adoption, trial, self._state)
            except UsageError as error:
                refusal = str(error)
        elif trial.stop_reason is not None:
            refusal = f"trial {number} is stopping: {shown(trial.stop_reason)}"
        if refusal:
            asked.take_over = None
            return [self._answer(command, refusal, now_us, applied=False)]
        asked.take_over = _TakeOver(event.order, event.adoption)
        if self._waits(number):
            step = trial.step if event.from_step is None else event.from_step
            return self._take_over(trial, from_step=step, now_us=now_us)
        return [self._leaves(trial)]

    def _leaves(self, trial: TrialRecord) -> Stop:
        return Stop(trial.trial, trial.attempt, "adopts what a fork of it came to", again=True)

    def _take_over(self, trial: TrialRecord, *, from_step: int, now_us: int) -> Output:
        asked = self._open[trial.trial]
        comes, adoption = asked.take_over, asked.comes
        assert comes is not None
        assert adoption is not None
        left, asked.adjustments, asked.take_over = asked.adjustments, comes.adjustments, None
        output, text = adopted(
            adoption, comes.order, trial, self._state, from_step=from_step, now_us=now_us, record=self._record
        )
        answer = self._answer(comes.order.command.id, text, now_us)
        return [*output, answer, *self._undone(left, f"trial {trial.trial} {text}", now_us)]

    # --- a trial's life ------------------------------------------------------------------------------

    def begins(self, trial: TrialRecord) -> Output:
        """Another attempt has begun: what the one before was still to do."""
        number, attempt = trial.trial, trial.attempt
        self._reached.pop(number, None)
        asked = self._open.get(number)
        if asked is None:
            return []
        output: Output = [
            Adjust(number, attempt, wanted.command, wanted.new) for wanted in asked.adjustments.values()
        ]
        output += [Pause(number, attempt, hold.over) for hold in asked.holds]
        if asked.way_back is not None:
            output.append(Stop(number, attempt, f"rolled back to step {asked.way_back.to_step}", again=True))
        elif asked.comes is not None:
            output.append(self._leaves(trial))
        return output

    def over(self, trial: int, text: str, now_us: int) -> Output:
        """The trial has ended: what it was still to do is not done."""
        self._reached.pop(trial, None)
        self._kept.pop(trial, None)
        asked = self._open.pop(trial, None)
        return [] if asked is None else self._undone(asked.ids(), text, now_us)

    def _undone(self, commands: Iterable[str], text: str, now_us: int) -> Output:
        return [self._answer(command, f"{NOT_APPLIED}{text}", now_us, applied=False) for command in commands]

    def _answer(self, command: str, text: str, now_us: int, *, applied: bool = True) -> Recorded:
        return self._record(CommandAnswered(now_us, command, applied, text))


def _under_way(trial: TrialRecord) -> bool:
    """Whether a process has it that can take orders."""
    return trial.state in (TrialState.RUNNING, TrialState.PAUSED)


def _until(trial: TrialRecord, step: int) -> list[tuple[int, Params]]:
    """Its adjustments that hold after it has gone back to a step."""
    return [(at, changes) for at, changes in trial.adjustments if at <= step]


def _by(event: _Held, holds: Sequence[_Hold]) -> _Held:
    """A pause or its end, with who wanted it, where that is known."""
    return replace(event, by=holds[0].by, note=holds[0].note) if holds else event


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
    if not (checked["by"].isprintable() and len(checked["by"]) <= LONGEST_NAME):
        raise UsageError(f"{command}: by={checked['by']!r:.60} is no name of up to {LONGEST_NAME} characters")
    note = checked["note"]
    if note is not None and not (isinstance(note, str) and len(note) <= LONGEST_NOTE):
        raise UsageError(f"{command}: note={note!r:.60} is no text of up to {LONGEST_NOTE:,} characters")
    if command == "rollback":
        to_step = checked.get("to_step")
        if isinstance(to_step, bool) or not isinstance(to_step, int) or not 0 <= to_step <= LAST_STEP:
            raise UsageError(f"rollback: to_step={to_step!r:.60} is no step from 0 on")
    if command == "adopt":
        check_args(checked)
    if command == "keep":
        check_numbers(command, checked, "attempt", "step")
    return checked


_KINDS: Mapping[type, str] = {str: "text", Mapping: "object from param to value", bool: "true or false"}

"""Rules in the place of a person: what they want becomes commands, which take the way that a person's take."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from caviar.errors import UsageError
from caviar.messages import (
    CommandAnswered,
    CommandReceived,
    Extended,
    Recorded,
    Reports,
    RolledBack,
    RungReached,
    TrialStarted,
)
from caviar.panda.hand import Decision, Hand
from caviar.panda.recorded import Begun, Fired
from caviar.panda.rules import Change, OnNonFinite, Rule, Schedule, as_rule, from_dict, timetable
from caviar.space import Float, Int, Space
from caviar.steering import NOT_APPLIED
from caviar.store.tables import events_of
from caviar.trial import Params

_ID = re.compile(r"rule-[0-9]{1,15}-[0-9]{1,6}-[a-z]{1,20}")
"""Of a rule's command."""

Told = Rule | Schedule | Any
"""A rule, a schedule, or a function."""


class RuleHand:
    """Lets rules look at a live run, and speaks for them."""

    def __init__(self, hand: Hand, rules: Sequence[Rule]) -> None:
        self._hand = hand
        self._rules = rules
        self._decisions: dict[str, Decision] = {}
        """Those without an answer, by the id of their command."""

    @property
    def every(self) -> int:
        """The trial waits for the rules once in so many steps."""
        return self._hand.every

    def declared(self) -> list[Mapping[str, Any]]:
        """The rules as sweep.json has them."""
        return [rule.to_dict() for rule in self._rules]

    def see(self, item: Recorded | Reports) -> None:
        """Take what was reported, or recorded."""
        match item:
            case Reports():
                self._hand.see(item)
            case RolledBack():
                self._hand.rolled_back(item.step, attempt=item.attempt)
            case TrialStarted():
                self._hand.restarted(item.restored or 0, attempt=item.attempt)
            case Extended():
                self._hand.max_step = item.max_step
            case CommandAnswered():
                decision = self._decisions.pop(item.id, None)
                if decision is None or item.applied:
                    return
                if item.text.startswith(NOT_APPLIED):
                    self._hand.undone(decision)
                else:
                    self._hand.refused(decision, item.text)

    def judge(self, event: RungReached, params: Params) -> Sequence[CommandReceived]:
        """What the rules want of the trial that waits for them, as commands."""
        return [command for one in self._hand.judge(event.step, params) for command in self._commands(one, event)]

    def _commands(self, decision: Decision, event: RungReached) -> Iterator[CommandReceived]:
        change = decision.change
        told: dict[str, Any] = {"by": decision.rule, "note": change.reason}
        wanted: dict[str, dict[str, Any]] = {}
        if change.rollback_to is not None:
            wanted["rollback"] = {**told, "to_step": change.rollback_to, "changes": dict(change.set)}
        elif change.set:
            wanted["set"] = {**told, "changes": dict(change.set)}
        if change.pause:
            wanted["pause"] = told
        if change.stop:
            wanted["stop"] = told
        for name, args in wanted.items():
            # the same decision, made again after a crash, has the same id: it is obeyed once
            command_id = f"rule-{decision.judged}-{self._hand.rules.index(decision.rule)}-{name}"
            self._decisions[command_id] = decision
            yield CommandReceived(0, command_id, name, event.trial, args)

    def recall(self, metrics: pa.Table, events: pa.Table) -> None:
        """Take in what was reported and recorded before this driver."""
        kinds = (TrialStarted, RolledBack, Extended, CommandReceived, CommandAnswered)
        rows = events.filter(pc.is_in(events.column("kind"), value_set=pa.array([kind.kind for kind in kinds])))
        told = [one for one in events_of(rows) if (getattr(one, "trial", None) or 0) == 0]
        for one in told:
            if isinstance(one, Extended):
                self._hand.max_step = one.max_step
        fired, left_out = _fired(told)
        self._hand.recall(_blocks(metrics), begun=_begun(told), fired=fired, left_out=left_out)


@dataclass(frozen=True, slots=True, kw_only=True)
class Watch:
    """Rules as a run takes them."""

    hand: RuleHand | None = None
    """Those that look at the run; None where there is none."""
    table: Mapping[int, Mapping[str, Any]] = field(default_factory=dict)
    """What is known ahead: changes by step."""
    handles_non_finite: bool = False
    """Whether a metric that is not finite is for them to handle, and not the trial's end."""


def watching(
    rules: Iterable[Told],
    *,
    params: Params,
    space: Space,
    knobs: Sequence[str],
    metric: str,
    minimize: bool,
    max_step: int | None,
) -> Watch:
    """Rules for a run that begins with these params. What is no rule, or does not fit the run, raises
    `UsageError`."""
    given = list(rules)
    schedules = [rule for rule in given if isinstance(rule, Schedule)]
    judging = [as_rule(rule) for rule in given if not isinstance(rule, Schedule)]
    for rule in judging:
        rule.check(params)
        for name in rule.knobs:
            if name not in knobs:
                raise UsageError(f"{rule.name}: {name} is no knob; knobs: {', '.join(knobs) or 'none'}")
    table = timetable(schedules, params, max_step)
    if not judging:
        return Watch(table=table)
    bounds = {name: (each.low, each.high) for name, each in space.items() if isinstance(each, Float | Int)}
    hand = Hand(judging, metric=metric, minimize=minimize, max_step=max_step, bounds=bounds)
    non_finite = any(isinstance(rule, OnNonFinite) for rule in judging)
    return Watch(hand=RuleHand(hand, judging), table=table, handles_non_finite=non_finite)


def recorded(told: Any, *, functions: Mapping[str, Any], where: str) -> list[Rule | Schedule]:
    """The rules of a live run, as sweep.json has them; what it cannot have raises `UsageError`. ``functions``:
    those that may be rules, by name."""
    rules = told.get("rules") if isinstance(told, Mapping) else None
    if not isinstance(rules, Sequence) or not all(isinstance(rule, Mapping) for rule in rules):
        raise UsageError(f"{where}/sweep.json: damaged: panda is {told!r:.80}, without a list of rules")
    return [from_dict(rule, functions) for rule in rules]


def _blocks(metrics: pa.Table) -> Iterator[Reports]:
    """The rows of trial 0, a block for each metric."""
    rows = metrics.filter(pc.equal(metrics.column("trial"), 0)).sort_by(
        [("attempt", "ascending"), ("seq", "ascending")]
    )
    for name in pc.unique(rows.column("metric").cast(pa.string())).to_pylist():
        own = rows.filter(pc.equal(rows.column("metric").cast(pa.string()), name))
        trial, attempt, seq, step, time_us = (
            own.column(column).cast(pa.int64()).to_numpy()
            for column in ("trial", "attempt", "seq", "step", "time")
        )
        values = own.column("value").to_numpy().reshape(-1, 1)
        yield Reports((name,), trial=trial, attempt=attempt, seq=seq, step=step, time_us=time_us, values=values)


def _begun(told: Sequence[Recorded]) -> Iterator[Begun]:
    for one in told:
        if isinstance(one, RolledBack):
            yield Begun(attempt=one.attempt, step=one.step, back=True)
        elif isinstance(one, TrialStarted):
            yield Begun(attempt=one.attempt, step=one.restored or 0)


def _fired(told: Sequence[Recorded]) -> tuple[list[Fired], dict[str, str]]:
    """What rules did, as their commands tell it, and those of which one was refused. A command without an answer
    will be given again."""
    asked: dict[str, CommandReceived] = {}
    back_to: dict[str | None, int] = {}
    fired: list[Fired] = []
    refused: dict[str, str] = {}
    for one in told:
        match one:
            case CommandReceived() if _ID.fullmatch(one.id):
                asked[one.id] = one
            case RolledBack():
                back_to[one.command] = one.step
            case CommandAnswered() if one.id in asked:
                command = asked[one.id]
                if one.applied:
                    fired.append(_firing(command, back_to.get(one.id)))
                elif not one.text.startswith(NOT_APPLIED):
                    refused[str(command.args["by"])] = one.text
    return fired, refused


def _firing(command: CommandReceived, back_to: int | None) -> Fired:
    name, args = command.command, command.args
    change = Change(
        args.get("changes") or {},
        back_to,
        pause=name == "pause",
        stop=name == "stop",
        reason=args.get("note") or "",
    )
    return Fired(rule=str(args["by"]), judged=int(command.id.split("-")[1]), change=change)

"""The state of a sweep: a fold over its recorded events, and nothing else.

Nothing is decided here. So folding the record again, in order, gives exactly the state that wrote it.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from numpy.random import SeedSequence

from caviar import main_line, samplers, schedulers
from caviar.adjusting import Timeline, adjustable, effective
from caviar.errors import IllegalMoveError
from caviar.messages import (
    Adjusted,
    Adopted,
    AttemptFailed,
    AttemptLost,
    Checkpointed,
    CheckpointLost,
    CommandAnswered,
    Decided,
    DeclarationChanged,
    DriverStarted,
    EventsLost,
    Extended,
    Paused,
    Recorded,
    Repaired,
    RolledBack,
    StageOpened,
    StopOrdered,
    SweepEnded,
    SweepStarted,
    TrialEnded,
    TrialReopened,
    TrialSampled,
    TrialStarted,
    Unpaused,
)
from caviar.origin import Origin
from caviar.samplers.base import Proposer, Sampler
from caviar.schedulers.base import Scheduler, Verdict
from caviar.schedulers.sparing import drawn
from caviar.space import Space
from caviar.trial import ORIGIN, Params, Saved, TrialRecord, TrialState

_STATES = list(TrialState)
_NUMBER = {state: number for number, state in enumerate(_STATES)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What a sweep's state begins from, and as recorded changes make it, what it goes on with."""

    space: Space
    sampler: Sampler
    scheduler: Scheduler
    trials: int
    seed: int = 0
    minimize: bool = True
    max_step: int | None = None
    retries: int = 1
    first: Sequence[Mapping[str, Any]] = ()
    knobs: Sequence[str] | None = None
    """The params that may change while a trial trains; None: those that `default_knobs` of the space has."""
    schedule: Timeline = ()
    """How params change in every trial."""
    keep_checkpoints: str = "last"
    origin: Origin | None = None
    """What its trials begin from; None: from nothing."""
    stages: int = 1
    """Into so many stages its trials are shared out evenly; each but the first has a space that follows from how
    trials did before it."""

    @property
    def adjustable(self) -> tuple[str, ...]:
        """The params that may change while a trial trains."""
        return adjustable(self.space, self.knobs)

    def stage_end(self, stage: int) -> int:
        """How many trials there are when a stage has all of its own."""
        return max(len(self.first), self.trials * (stage + 1) // self.stages)

    @classmethod
    def of(
        cls, declaration: Mapping[str, Any], *, sampler: Sampler | None = None, scheduler: Scheduler | None = None
    ) -> Plan:
        """The plan in the content of sweep.json; with a sampler and a scheduler that take the place of those
        there."""
        return cls(
            space=Space.from_dict(declaration["space"]),
            sampler=sampler or samplers.from_dict(declaration["sampler"]),
            scheduler=scheduler or schedulers.from_dict(declaration["scheduler"]),
            trials=declaration["trials"],
            seed=declaration["seed"],
            minimize=declaration["mode"] == "min",
            max_step=declaration["max_step"],
            retries=declaration["retries"],
            first=declaration["first"],
            **_since(declaration),
        )


def _since(declaration: Mapping[str, Any]) -> dict[str, Any]:
    """What the first version of sweep.json did not have, or the plan did not need."""
    knobs = declaration.get("knobs")
    return {
        "knobs": None if knobs is None else tuple(knobs),
        "schedule": tuple((step, changes) for step, changes in declaration.get("schedule") or ()),
        "keep_checkpoints": declaration.get("keep_checkpoints", "last"),
        "stages": declaration.get("stages", 1),
        "origin": None if (origin := declaration.get("origin")) is None else Origin.from_dict(origin),
    }


class SweepState:
    """Where a sweep stands. `apply` alone changes it."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.sampled = 0
        """How many trials exist: they have the numbers below this."""
        self.begun = False
        self.stage = 0
        self.declared = plan.space
        """The space as a person declared it: bounds for what is set by hand, whatever stage it is."""
        self.stopping: str | None = None
        """Why no more trials are started."""
        self.ended = False
        self.active: dict[int, TrialRecord] = {}
        """Trials that have not ended."""
        self.unbegun: dict[int, TrialRecord] = {}
        """Trials that were stopped with the whole sweep, before they began."""
        self.counts = Counter[TrialState]()
        """How many trials there are in each state."""
        self.answered: set[str] = set()
        """The ids of commands that were answered: a driver that went before it removed one must not obey it
        twice."""
        self.judge = plan.scheduler.begin(max_step=plan.max_step)
        self.stage_first = len(plan.first)
        """The trial with which this stage's proposer began."""
        self._proposer: Proposer | None = proposer(plan, self.stage_first, stage=0)
        self._states = bytearray()
        """Every trial's state as a byte: all that is kept of one that has ended."""
        self._gap = False
        """Whether events were lost before the one that comes next."""
        self._folds: dict[type[Recorded], Callable[[Any], None]] = {
            DriverStarted: self._driver_started,
            SweepStarted: self._sweep_started,
            Extended: self._extended,
            DeclarationChanged: self._declaration_changed,
            StageOpened: self._stage_opened,
            TrialSampled: self._trial_sampled,
            TrialStarted: self._trial_started,
            TrialReopened: self._trial_reopened,
            Decided: self._decided,
            Adjusted: self._on_main_line,
            Paused: self._paused,
            Unpaused: self._unpaused,
            RolledBack: self._rolled_back,
            Adopted: self._adopted,
            Checkpointed: self._on_main_line,
            CheckpointLost: self._checkpoint_lost,
            AttemptFailed: self._attempt_failed,
            AttemptLost: self._attempt_lost,
            StopOrdered: self._stop_ordered,
            TrialEnded: self._trial_ended,
            CommandAnswered: self._command_answered,
            SweepEnded: self._sweep_ended,
            EventsLost: self._events_lost,
            Repaired: self._repaired,
        }

    def apply(self, event: Recorded) -> None:
        """Fold one recorded event. Kinds that change nothing here are passed over."""
        fold = self._folds.get(type(event))
        if fold is not None and (not self._gap or self._bridge(event)):
            fold(event)

    def replay(self, events: Iterable[Recorded]) -> None:
        """Fold recorded events, in their order."""
        for event in events:
            self.apply(event)

    # --- what others read --------------------------------------------------------------------------

    @property
    def unsampled(self) -> int:
        """How many trials are yet to be sampled."""
        return 0 if self.stopping is not None else max(0, self.plan.trials - self.sampled)

    @property
    def stage_due(self) -> int | None:
        """The stage that the trial which is sampled next belongs to, if that is not open yet. Those in between,
        which had no trials, are passed over: the same trials are never gone by twice."""
        later = range(self.stage + 1, self.plan.stages)
        return max((stage for stage in later if self.sampled >= self.plan.stage_end(stage - 1)), default=None)

    @property
    def stage_told(self) -> bool:
        """Whether half of this stage's trials have come to their end, or will not by themselves: enough to go by,
        as the others count with what they have reported. To wait for all would leave workers idle."""
        own = self.sampled - (self.stage_first if self.stage else 0)
        return 2 * sum(one.stage == self.stage and not one.paused for one in self.active.values()) <= own

    def suggest(self, trial: int, seeds: Any) -> Mapping[str, Any]:
        """Params for a trial that is yet to be sampled."""
        plan = self.plan
        if plan.origin is not None and not plan.origin.vary and self.stage == 0:
            return plan.origin.params
        if trial < len(plan.first) and self.stage == 0:
            return plan.space.complete(plan.first[trial], seeds)
        return self._propose().suggest(trial - self.stage_first, seeds)

    def _propose(self) -> Proposer:
        """Made when it is asked: what extends a sweep may be several events."""
        if self._proposer is None:
            self._proposer = proposer(self.plan, self.stage_first, stage=self.stage)
        return self._proposer

    def current(self, trial: int, attempt: int) -> TrialRecord | None:
        """The trial, if it has not ended and this is its attempt."""
        record = self.active.get(trial)
        return record if record is not None and record.attempt == attempt else None

    def spares(self, trial: int) -> bool:
        """Whether a trial that the scheduler would stop is to run to its end all the same."""
        spare = self.plan.scheduler.spare
        return spare > 0 and drawn(self.plan.seed, trial) < spare

    def params_at(self, record: TrialRecord, step: int) -> tuple[Params, Timeline]:
        """The params with which a trial trains this step, and what is known to change after it."""
        return effective(record.params, self.plan.schedule, record.adjustments, step=step)

    def params_with(self, record: TrialRecord, adjustments: Timeline, step: int) -> Params:
        """The same, had a trial had these adjustments."""
        return effective(record.params, self.plan.schedule, adjustments, step=step)[0]

    def way(self, record: TrialRecord, adjustments: Timeline) -> tuple[Params, Timeline]:
        """The params with which a trial with these adjustments begins, and all that changes after that."""
        return effective(record.params, self.plan.schedule, adjustments, step=1)

    def state_of(self, trial: int) -> TrialState:
        """The state of any trial that exists."""
        return _STATES[self._states[trial]]

    def loss(self, value: float) -> float:
        """The metric turned so that less is better; what is not finite is worst."""
        if not math.isfinite(value):
            return math.inf
        return value if self.plan.minimize else -value

    def picture(self) -> Mapping[str, Any]:
        """All of it, for comparing two states."""
        return {
            "plan": self.plan,
            "sampled": self.sampled,
            "stage": self.stage,
            "declared": self.declared,
            "stopping": self.stopping,
            "answered": self.answered,
            "ended": self.ended,
            "active": self.active,
            "unbegun": self.unbegun,
            "states": bytes(self._states),
            "counts": +self.counts,
            "judge": self.judge,
        }

    # --- folds -------------------------------------------------------------------------------------

    def _driver_started(self, event: DriverStarted) -> None:
        """What an earlier driver had under way was cut off. An attempt may have begun without a record of it, so
        every trial on its way gets a new one: then nothing that is left of the old one can be taken for it."""
        self.stopping = None
        self.ended = False
        for record in self.active.values():
            if record.with_sweep and not record.began:  # its sweep goes on after all, and so does it
                record.stop_reason, record.with_sweep = None, False
            self._retry(record)

    def _sweep_started(self, event: SweepStarted) -> None:
        self.begun = True
        self.plan = replace(self.plan, trials=event.trials)

    def _extended(self, event: Extended) -> None:
        further = event.max_step != self.plan.max_step
        self.plan = replace(self.plan, trials=event.trials, max_step=event.max_step)
        if further:
            self.judge.extend(event.max_step)
            for record in self.active.values():
                self._find_rung(record)
        if not self.plan.sampler.learns:  # one that learns goes on with what it knows
            self._proposer = None

    def _declaration_changed(self, event: DeclarationChanged) -> None:
        before = self.plan.scheduler
        self.plan = changed(self.plan, event.changes)
        others = "scheduler" in event.changes and not self.plan.scheduler.judges_as(before)
        if others or not event.changes.keys().isdisjoint(("metric", "mode")):  # what was seen does not compare
            self.judge = self.plan.scheduler.begin(max_step=self.plan.max_step)
            for record in self.active.values():
                record.rung = None
                self._find_rung(record)

    def _stage_opened(self, event: StageOpened) -> None:
        if event.stage == self.stage:  # the first one, which is the plan's
            return
        self.stage = event.stage
        self.stage_first = self.sampled
        self.plan = replace(self.plan, space=Space.from_dict(event.space))
        self._proposer = None
        if event.zoom is None:
            self.declared = self.plan.space

    def _trial_sampled(self, event: TrialSampled) -> None:
        trial = event.trial
        self.active[trial] = record = self._record_of(event)
        record.step = record.checkpoint[1] if record.checkpoint else 0
        self._find_rung(record)
        self.sampled = trial + 1
        self._states.append(_NUMBER[TrialState.PENDING])
        self.counts[TrialState.PENDING] += 1

    def _trial_started(self, event: TrialStarted) -> None:
        record = self.active[event.trial]
        record.step = event.restored or 0
        self._move(record, TrialState.RUNNING)

    def _trial_reopened(self, event: TrialReopened) -> None:
        trial = event.trial
        self.active[trial] = record = self._record_of(event)
        record.state = self.state_of(trial)
        self.unbegun.pop(trial, None)
        self._move(record, TrialState.PENDING)
        self._find_rung(record)

    def _decided(self, event: Decided) -> None:
        trial, rung = event.trial, event.rung
        record = self.active[trial]
        observe = self.judge.observe_alone if record.by_hand else self.judge.observe
        observe(trial, rung, self.loss(event.value))
        main_line.fold(record, event)
        record.step = event.step
        record.next_rung = None if record.spared else self.judge.rung_after(trial, rung)
        if event.decision == Verdict.STOP.value:
            record.stop_reason = f"{self.plan.scheduler.name}: rung {rung}"

    def _on_main_line(self, event: Adjusted | Checkpointed) -> None:
        main_line.fold(self.active[event.trial], event)

    def _paused(self, event: Paused) -> None:
        record = self.active[event.trial]
        main_line.fold(record, event)
        record.paused = True
        record.step = event.step
        if record.state is not TrialState.PAUSED:
            self._move(record, TrialState.PAUSED)

    def _unpaused(self, event: Unpaused) -> None:
        record = self.active[event.trial]
        record.paused = False
        if record.state is TrialState.PAUSED:
            self._move(record, TrialState.RUNNING)

    def _rolled_back(self, event: RolledBack) -> None:
        record = self.active[event.trial]
        main_line.fold(record, event)
        self._retry(record, attempt=event.attempt)

    def _adopted(self, event: Adopted) -> None:
        record = self.active[event.trial]
        main_line.fold(record, event)
        self._retry(record, attempt=event.attempt)

    def _checkpoint_lost(self, event: CheckpointLost) -> None:
        record = self.active[event.trial]
        main_line.fold(record, event)
        if record.state is TrialState.PENDING:  # else it trains, and went on from another
            record.step = record.checkpoint[1] if record.checkpoint else 0

    def _attempt_failed(self, event: AttemptFailed) -> None:
        record = self.active[event.trial]
        record.faults += 1
        self._retry(record)

    def _attempt_lost(self, event: AttemptLost) -> None:
        record = self.active[event.trial]
        record.losses += 1
        self._retry(record)

    def _retry(self, record: TrialRecord, *, attempt: int | None = None) -> None:
        record.attempt = record.attempt + 1 if attempt is None else attempt
        record.step = record.checkpoint[1] if record.checkpoint else 0
        if record.state is not TrialState.PENDING:  # an attempt may fail before it began
            self._move(record, TrialState.PENDING)

    def _record_of(self, event: TrialSampled | TrialReopened) -> TrialRecord:
        """What trials begin from is their first checkpoint."""
        record, origin = main_line.record_of(event), self.plan.origin
        if origin is not None:
            record.checkpoints.insert(0, Saved(ORIGIN, origin.step))
        return record

    def _find_rung(self, record: TrialRecord) -> None:
        if record.spared:
            record.next_rung = None
            return
        trial, rung, origin = record.trial, record.rung, self.plan.origin
        if rung is None and origin is not None:  # what lies before its beginning is passed
            rung = origin.step
        record.next_rung = self.judge.first_rung(trial) if rung is None else self.judge.rung_after(trial, rung)

    def _stop_ordered(self, event: StopOrdered) -> None:
        if event.trial is not None:
            self.active[event.trial].stop_reason = event.reason
            return
        self.stopping = event.reason
        for record in self.active.values():
            if record.stop_reason is None:
                record.stop_reason, record.with_sweep = event.reason, True

    def _trial_ended(self, event: TrialEnded) -> None:
        record = self.active.pop(event.trial)
        if record.with_sweep and not record.began:
            self.unbegun[event.trial] = record
        self._move(record, TrialState(event.status))
        self.judge.forget(event.trial)
        loss = math.inf if event.value is None else self.loss(event.value)
        self._propose().tell(event.trial - self.stage_first, record.params, loss)

    def _command_answered(self, event: CommandAnswered) -> None:
        self.answered.add(event.id)

    def _sweep_ended(self, event: SweepEnded) -> None:
        self.ended = True

    # --- lost events -------------------------------------------------------------------------------

    def _events_lost(self, event: EventsLost) -> None:
        self._gap = True

    def _repaired(self, event: Repaired) -> None:
        """All that is left of the time before has been folded. What is begun from here on must not be taken for
        something of which the record is lost: neither its trial nor its attempt."""
        self._gap = False
        self._pass_over(event.trials_before)
        for record in self.active.values():
            record.attempt = max(record.attempt, event.attempts)

    def _bridge(self, event: Recorded) -> bool:
        """After lost events: make up for what this one shows to have happened meanwhile. False: too little is
        known of its trial to go on with it, be it that its params are lost."""
        trial: int | None = getattr(event, "trial", None)
        if trial is None:
            return True
        if isinstance(event, TrialSampled):
            self._pass_over(trial)
            return True
        if isinstance(event, TrialReopened):  # so it was completed, and says all that there is to know
            self._pass_over(trial + 1)
            self.active.pop(trial, None)
            self._set(trial, TrialState.COMPLETED)
            return True
        record = self.active.get(trial)
        if record is None:
            self._pass_over(trial + 1)
            return False
        record.attempt = max(record.attempt, getattr(event, "attempt", 0))
        if isinstance(event, TrialStarted) and record.state is not TrialState.PENDING:
            self._move(record, TrialState.PENDING)
        elif isinstance(event, TrialEnded | Paused | Unpaused) and record.state is TrialState.PENDING:
            self._move(record, TrialState.RUNNING)
        return True

    def _pass_over(self, trials: int) -> None:
        """Trials below this number exist; those without a record have failed."""
        for _ in range(self.sampled, trials):
            self._states.append(_NUMBER[TrialState.FAILED])
            self.counts[TrialState.FAILED] += 1
        self.sampled = max(self.sampled, trials)

    def _set(self, trial: int, state: TrialState) -> None:
        self.counts[self.state_of(trial)] -= 1
        self.counts[state] += 1
        self._states[trial] = _NUMBER[state]

    def _move(self, record: TrialRecord, to: TrialState) -> None:
        record.move(to)
        self._set(record.trial, to)


def misfit(event: Recorded, error: Exception) -> str:
    """Why an event could not be folded, in words."""
    trial = getattr(event, "trial", None)
    of = "" if trial is None else f" of trial {trial}"
    why = f"no such trial is on its way ({error})" if isinstance(error, LookupError) else str(error)
    return f"{event.kind}{of} does not follow from what is recorded before it: {why}"


MISFITS = (LookupError, ValueError, TypeError, IllegalMoveError)
"""What `SweepState.apply` raises for an event that cannot have happened."""


def proposer(plan: Plan, first: int, *, stage: int) -> Proposer:
    """What proposes the params of the trials from ``first`` on, in this stage; a sampler that cannot serve so many
    raises `UsageError`. A sampler whose points depend on the sweep's seed alone has others in each stage."""
    seed = plan.seed if stage == 0 else int(SeedSequence(plan.seed, spawn_key=(0, 0, stage)).generate_state(1)[0])
    return plan.sampler.begin(plan.space, seed=seed, trials=max(1, plan.trials - first))


def changed(plan: Plan, changes: Mapping[str, Any]) -> Plan:
    """The plan with new values of sweep.json, as far as they concern it."""
    if "mode" in changes:
        plan = replace(plan, minimize=changes["mode"] == "min")
    if "scheduler" in changes and changes["scheduler"] != plan.scheduler.to_dict():
        plan = replace(plan, scheduler=schedulers.from_dict(changes["scheduler"]))
    if "sampler" in changes and changes["sampler"] != plan.sampler.to_dict():
        plan = replace(plan, sampler=samplers.from_dict(changes["sampler"]))
    if "knobs" in changes:
        plan = replace(plan, knobs=None if changes["knobs"] is None else tuple(changes["knobs"]))
    if "schedule" in changes:
        plan = replace(plan, schedule=tuple((step, new) for step, new in changes["schedule"] or ()))
    names = ("seed", "retries", "keep_checkpoints", "stages")
    return replace(plan, **{name: changes[name] for name in names if name in changes})

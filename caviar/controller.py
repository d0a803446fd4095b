"""The pure core: events in; events to be recorded and commands to be carried out, in order, out.

No I/O, no clock, no randomness but the sweep's seed. The state is a fold over recorded events alone: `handle`
decides and `apply` folds, so that applying a record in order gives exactly the controller that wrote it.
"""

from __future__ import annotations

import math
from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from caviar.messages import (
    Answer,
    AttemptEnded,
    AttemptFailed,
    AttemptLost,
    Checkpointed,
    Command,
    CommandAnswered,
    CommandReceived,
    Decided,
    Event,
    Launch,
    Recorded,
    RoomOffered,
    RungReached,
    StageOpened,
    Stop,
    StopOrdered,
    StopRequested,
    SweepEnded,
    SweepStarted,
    TrialEnded,
    TrialSampled,
    TrialStarted,
    WorkerLost,
)
from caviar.samplers.base import Proposer, Sampler, trial_seed, trial_seeds
from caviar.schedulers.base import Scheduler, Verdict
from caviar.space import Space
from caviar.trial import Params, TrialRecord, TrialState

LOSSES_LIMIT = 10
"""A trial that lost its worker or node more often than this has failed."""

BY_HAND = "by hand"
"""The reason of what a person stopped."""

Output = list[Recorded | Command]

_NUMBER = {state: number for number, state in enumerate(TrialState)}
_STATE = list(TrialState)


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What the controller needs to know of a sweep."""

    space: Space
    sampler: Sampler
    scheduler: Scheduler
    trials: int
    seed: int = 0
    minimize: bool = True
    max_step: int | None = None
    retries: int = 1
    first: Sequence[Mapping[str, Any]] = ()


class Controller:
    """The state of one sweep."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.trials = plan.trials
        """How many trials are wanted."""
        self.sampled = 0
        """How many exist: they have the numbers below this."""
        self.stage = 0
        self.stopping: str | None = None
        """Why no more trials are started."""
        self.ended = False
        self.active: dict[int, TrialRecord] = {}
        """Trials that have not ended."""
        self._final = bytearray()
        """Every trial's state as a byte: all that is kept of one that has ended."""
        self._counts = Counter[TrialState]()
        self._judge = plan.scheduler.begin(max_step=plan.max_step)
        self._proposer: Proposer = plan.sampler.begin(
            plan.space, seed=plan.seed, trials=max(1, plan.trials - len(plan.first))
        )
        self._waiting: deque[int] = deque()
        """Pending trials that the executor does not have; not part of the record."""
        self._unanswered: dict[int | None, list[str]] = {}
        """Commands to be answered when this trial (None: the sweep) ends."""
        self._handlers: dict[type[Event], Callable[[Any, int], Output]] = {
            RoomOffered: self._room_offered,
            TrialStarted: self._trial_started,
            RungReached: self._rung_reached,
            Checkpointed: self._checkpointed,
            AttemptEnded: self._attempt_ended,
            WorkerLost: self._worker_lost,
            StopRequested: self._stop_requested,
            CommandReceived: self._command_received,
        }
        self._folds: dict[type[Recorded], Callable[[Any], None]] = {
            SweepStarted: self._apply_sweep_started,
            StageOpened: self._apply_stage_opened,
            TrialSampled: self._apply_sampled,
            TrialStarted: self._apply_started,
            Decided: self._apply_decided,
            Checkpointed: self._apply_checkpointed,
            AttemptFailed: self._apply_failed,
            AttemptLost: self._apply_lost,
            StopOrdered: self._apply_stop_ordered,
            TrialEnded: self._apply_ended,
            SweepEnded: self._apply_sweep_ended,
        }

    # --- what others read --------------------------------------------------------------------------

    @property
    def counts(self) -> Mapping[TrialState, int]:
        """How many trials there are in each state."""
        return self._counts

    @property
    def unsampled(self) -> int:
        """How many trials are yet to be sampled."""
        return 0 if self.stopping is not None else max(0, self.trials - self.sampled)

    def state_of(self, trial: int) -> TrialState:
        """The state of any trial that exists."""
        return _STATE[self._final[trial]]

    def folded(self) -> Mapping[str, Any]:
        """The whole state that recorded events alone determine, for comparing two controllers."""
        return {
            "trials": self.trials,
            "sampled": self.sampled,
            "stage": self.stage,
            "stopping": self.stopping,
            "ended": self.ended,
            "active": self.active,
            "final": bytes(self._final),
            "counts": +self._counts,
            "judge": self._judge,
        }

    # --- events ------------------------------------------------------------------------------------

    def begin(self, now_us: int) -> Output:
        """The first events of a new sweep."""
        return [
            self._record(SweepStarted(now_us, self.plan.trials)),
            self._record(StageOpened(now_us, 0, self.plan.space.to_dict())),
        ]

    def handle(self, event: Event, now_us: int) -> Output:
        """What follows from an event: events to be recorded, and commands, in order.

        Late words of an attempt that has been superseded or has ended lead to nothing.
        """
        output = self._handlers[type(event)](event, now_us)
        if not self.active and not self.unsampled and not self.ended:
            output.append(self._record(SweepEnded(now_us, self.stopping or "done")))
            output.extend(self._answers(None, f"stopped the sweep: {self._tally()}", now_us))
        return output

    def replay(self, events: Iterable[Recorded]) -> None:
        """Fold recorded events, in their order."""
        for event in events:
            self.apply(event)

    def apply(self, event: Recorded) -> None:
        """Fold one recorded event into the state. Kinds that mean nothing to it are passed over."""
        fold = self._folds.get(type(event))
        if fold is not None:
            fold(event)

    def _record(self, event: Recorded) -> Recorded:
        self._folds[type(event)](event)
        return event

    # --- decide ------------------------------------------------------------------------------------

    def _room_offered(self, event: RoomOffered, now_us: int) -> Output:
        output: Output = []
        for _ in range(event.trials):
            if self._waiting:
                record = self.active[self._waiting.popleft()]
            elif self.unsampled:
                sampled = self._sample(now_us)
                output.append(self._record(sampled))
                record = self.active[sampled.trial]
            else:
                break
            output.append(_launch(record))
        return output

    def _sample(self, now_us: int) -> TrialSampled:
        trial, plan = self.sampled, self.plan
        seeds = trial_seeds(plan.seed, trial)
        known = len(plan.first)
        params: Params
        if trial < known:
            params = plan.space.complete(plan.first[trial], seeds)
        else:
            params = self._proposer.suggest(trial - known, seeds)
        return TrialSampled(now_us, trial, self.stage, params, trial_seed(seeds))

    def _trial_started(self, event: TrialStarted, now_us: int) -> Output:
        record = self._current(event.trial, event.attempt)
        if record is None:
            return []
        output: Output = [self._record(event)]
        if record.stop_reason is not None:  # ordered while it was on its way
            output.append(Stop(record.trial, record.attempt, record.stop_reason))
        return output

    def _rung_reached(self, event: RungReached, now_us: int) -> Output:
        record = self._current(event.trial, event.attempt)
        if record is None:
            return []
        output: Output = []
        trial, attempt, step, value = event.trial, event.attempt, event.step, event.value
        loss = self._loss(value)
        rung = record.next_rung
        while rung is not None and step >= rung and record.stop_reason is None:
            verdict = self._judge.decide(trial, rung, loss)
            output.append(self._record(Decided(now_us, trial, attempt, step, rung, value, verdict.value)))
            rung = record.next_rung
        stop = record.stop_reason is not None
        output.append(Answer(trial, attempt, stop, record.next_rung, record.stop_reason))
        return output

    def _checkpointed(self, event: Checkpointed, now_us: int) -> Output:
        if self._current(event.trial, event.attempt) is None:
            return []
        return [self._record(event)]

    def _attempt_ended(self, event: AttemptEnded, now_us: int) -> Output:
        record = self._current(event.trial, event.attempt)
        if record is None:
            return []
        reason = event.reason
        if event.outcome == "returned":
            status = TrialState.COMPLETED
        elif (
            event.outcome == "stopped" or record.stop_reason is not None
        ):  # the decision counts, not what came of it
            status, reason = TrialState.STOPPED, record.stop_reason or reason
        elif event.outcome == "lost" and record.losses < LOSSES_LIMIT:
            return self._again(AttemptLost(event.time_us, *_ids(event), reason or "lost"))
        elif event.outcome == "failed" and record.faults < self.plan.retries:
            return self._again(AttemptFailed(event.time_us, *_ids(event), reason or "failed", event.error))
        else:
            status = TrialState.FAILED
        ended = TrialEnded(
            event.time_us,
            *_ids(event),
            status.value,
            reason,
            event.error,
            event.value,
            event.best,
            event.best_step,
        )
        return self._end(ended, now_us)

    def _again(self, event: AttemptFailed | AttemptLost) -> Output:
        self._waiting.append(event.trial)
        return [self._record(event)]

    def _end(self, event: TrialEnded, now_us: int) -> Output:
        output: Output = [self._record(event)]
        if self._unanswered:
            output += self._answers(
                event.trial, f"trial {event.trial} {event.status} at step {event.step}", now_us
            )
        return output

    def _worker_lost(self, event: WorkerLost, now_us: int) -> Output:
        return [event]

    def _stop_requested(self, event: StopRequested, now_us: int) -> Output:
        return self._stop_all(event.reason, now_us)

    def _command_received(self, event: CommandReceived, now_us: int) -> Output:
        output: Output = [event]
        trial = event.trial
        refusal: str | None = None
        if event.command != "stop":
            refusal = f"unknown command {event.command!r}: this driver knows stop"
        elif self.ended:
            refusal = "the sweep has ended"
        elif trial is not None and not 0 <= trial < self.sampled:
            refusal = f"there is no trial {trial}: trials 0 to {self.sampled - 1} exist so far"
        elif trial is not None and self.state_of(trial).final:
            refusal = f"trial {trial} has already ended: {self.state_of(trial)}"
        if refusal is not None:
            return [event, CommandAnswered(now_us, event.id, applied=False, text=refusal)]
        self._unanswered.setdefault(trial, []).append(event.id)
        if trial is None:
            return output + self._stop_all(BY_HAND, now_us)
        output.append(self._record(StopOrdered(now_us, trial, BY_HAND)))
        return output + self._stop_one(self.active[trial], now_us)

    def _stop_all(self, reason: str, now_us: int) -> Output:
        output: Output = []
        if self.stopping is None:
            output.append(self._record(StopOrdered(now_us, None, reason)))
            for record in list(self.active.values()):
                output += self._stop_one(record, now_us)
        return output

    def _stop_one(self, record: TrialRecord, now_us: int) -> Output:
        trial, attempt, reason = record.trial, record.attempt, record.stop_reason
        if trial not in self._waiting:
            return [Stop(trial, attempt, reason or BY_HAND)]
        self._waiting.remove(trial)
        return self._end(TrialEnded(now_us, trial, attempt, record.step, TrialState.STOPPED.value, reason), now_us)

    def _answers(self, trial: int | None, text: str, now_us: int) -> Output:
        ids = self._unanswered.pop(trial, [])
        return [CommandAnswered(now_us, command, applied=True, text=text) for command in ids]

    def _tally(self) -> str:
        words = [f"{count} {state}" for state, count in self._counts.items() if count]
        never = self.trials - self.sampled
        return ", ".join([*words, f"{never} never started"] if never else words)

    # --- fold --------------------------------------------------------------------------------------

    def _apply_sweep_started(self, event: SweepStarted) -> None:
        self.trials = event.trials

    def _apply_stage_opened(self, event: StageOpened) -> None:
        self.stage = event.stage

    def _apply_sampled(self, event: TrialSampled) -> None:
        trial = event.trial
        self.active[trial] = TrialRecord(
            trial, event.stage, event.params, event.seed, next_rung=self._judge.first_rung(trial)
        )
        self.sampled = trial + 1
        self._final.append(_NUMBER[TrialState.PENDING])
        self._counts[TrialState.PENDING] += 1

    def _apply_started(self, event: TrialStarted) -> None:
        record = self.active[event.trial]
        record.step = event.restored or 0
        self._move(record, TrialState.RUNNING)

    def _apply_decided(self, event: Decided) -> None:
        trial, rung = event.trial, event.rung
        record = self.active[trial]
        self._judge.observe(trial, rung, self._loss(event.value))
        record.step = event.step
        record.next_rung = self._judge.rung_after(trial, rung)
        if event.decision == Verdict.STOP.value:
            record.stop_reason = f"{self.plan.scheduler.name}: rung {rung}"

    def _apply_checkpointed(self, event: Checkpointed) -> None:
        self.active[event.trial].checkpoint = (event.attempt, event.step)

    def _apply_failed(self, event: AttemptFailed) -> None:
        record = self.active[event.trial]
        record.faults += 1
        self._retry(record)

    def _apply_lost(self, event: AttemptLost) -> None:
        record = self.active[event.trial]
        record.losses += 1
        self._retry(record)

    def _retry(self, record: TrialRecord) -> None:
        record.attempt += 1
        record.step = record.checkpoint[1] if record.checkpoint else 0
        if record.state is not TrialState.PENDING:  # an attempt may fail before it began
            self._move(record, TrialState.PENDING)

    def _apply_stop_ordered(self, event: StopOrdered) -> None:
        if event.trial is not None:
            self.active[event.trial].stop_reason = event.reason
            return
        self.stopping = event.reason
        for record in self.active.values():
            record.stop_reason = record.stop_reason or event.reason

    def _apply_ended(self, event: TrialEnded) -> None:
        record = self.active.pop(event.trial)
        self._move(record, TrialState(event.status))
        self._judge.forget(event.trial)
        loss = math.inf if event.value is None else self._loss(event.value)
        self._proposer.tell(event.trial - len(self.plan.first), record.params, loss)

    def _apply_sweep_ended(self, event: SweepEnded) -> None:
        self.ended = True

    # --- inside ------------------------------------------------------------------------------------

    def _current(self, trial: int, attempt: int) -> TrialRecord | None:
        record = self.active.get(trial)
        return record if record is not None and record.attempt == attempt else None

    def _move(self, record: TrialRecord, to: TrialState) -> None:
        before = record.state
        record.move(to)
        self._final[record.trial] = _NUMBER[to]
        self._counts[before] -= 1
        self._counts[to] += 1

    def _loss(self, value: float) -> float:
        """The metric turned so that less is better; what is not finite is worst."""
        if not math.isfinite(value):
            return math.inf
        return value if self.plan.minimize else -value


def _ids(event: AttemptEnded) -> tuple[int, int, int]:
    return event.trial, event.attempt, event.step


def _launch(record: TrialRecord) -> Launch:
    return Launch(record.trial, record.attempt, record.params, record.seed, record.next_rung, record.checkpoint)

"""The pure core: events in; events to be recorded and commands to be carried out, in order, out.

No I/O, no clock, no randomness but the sweep's seed. What it knows of the sweep is a `SweepState`, which changes
by the events that are recorded, and by nothing else.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
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
    ProcessReplaced,
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
from caviar.samplers.base import trial_seed, trial_seeds
from caviar.state import Plan, SweepState
from caviar.trial import Params, TrialRecord, TrialState

LOSSES_LIMIT = 10
"""A trial that lost its worker or node more often than this has failed."""

BY_HAND = "by hand"
"""The reason of what a person stopped."""

Output = list[Recorded | Command]


class Controller:
    """Decides what happens in one sweep."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.state = SweepState(plan)
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
            WorkerLost: self._passed_on,
            ProcessReplaced: self._passed_on,
            StopRequested: self._stop_requested,
            CommandReceived: self._command_received,
        }

    @property
    def ended(self) -> bool:
        """Whether every trial has come to its end."""
        return self.state.ended

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
        state = self.state
        if not state.active and not state.ended and not state.unsampled:
            output.append(self._record(SweepEnded(now_us, state.stopping or "done")))
            output.extend(self._answers(None, f"stopped the sweep: {self._tally()}", now_us))
        return output

    def _record(self, event: Recorded) -> Recorded:
        self.state.apply(event)
        return event

    # --- events -------------------------------------------------------------------------------------

    def _room_offered(self, event: RoomOffered, now_us: int) -> Output:
        output: Output = []
        for _ in range(event.trials):
            if self._waiting:
                record = self.state.active[self._waiting.popleft()]
            elif self.state.unsampled:
                sampled = self._sample(now_us)
                output.append(self._record(sampled))
                record = self.state.active[sampled.trial]
            else:
                break
            output.append(_launch(record))
        return output

    def _sample(self, now_us: int) -> TrialSampled:
        trial, plan = self.state.sampled, self.plan
        seeds = trial_seeds(plan.seed, trial)
        known = len(plan.first)
        params: Params
        if trial < known:
            params = plan.space.complete(plan.first[trial], seeds)
        else:
            params = self.state.proposer.suggest(trial - known, seeds)
        return TrialSampled(now_us, trial, self.state.stage, params, trial_seed(seeds))

    def _trial_started(self, event: TrialStarted, now_us: int) -> Output:
        record = self.state.current(event.trial, event.attempt)
        if record is None:
            return []
        output: Output = [self._record(event)]
        if record.stop_reason is not None:  # ordered while it was on its way
            output.append(Stop(record.trial, record.attempt, record.stop_reason))
        return output

    def _rung_reached(self, event: RungReached, now_us: int) -> Output:
        record = self.state.current(event.trial, event.attempt)
        if record is None:
            return []
        output: Output = []
        trial, attempt, step, value = event.trial, event.attempt, event.step, event.value
        loss = self.state.loss(value)
        rung = record.next_rung
        while rung is not None and step >= rung and record.stop_reason is None:
            verdict = self.state.judge.decide(trial, rung, loss)
            output.append(self._record(Decided(now_us, trial, attempt, step, rung, value, verdict.value)))
            rung = record.next_rung
        stop = record.stop_reason is not None
        output.append(Answer(trial, attempt, stop, record.next_rung, record.stop_reason))
        return output

    def _checkpointed(self, event: Checkpointed, now_us: int) -> Output:
        if self.state.current(event.trial, event.attempt) is None:
            return []
        return [self._record(event)]

    def _attempt_ended(self, event: AttemptEnded, now_us: int) -> Output:
        record = self.state.current(event.trial, event.attempt)
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

    def _passed_on(self, event: WorkerLost | ProcessReplaced, now_us: int) -> Output:
        return [event]

    def _stop_requested(self, event: StopRequested, now_us: int) -> Output:
        return self._stop_all(event.reason, now_us)

    def _command_received(self, event: CommandReceived, now_us: int) -> Output:
        trial = event.trial
        refusal: str | None = None
        if event.command != "stop":
            refusal = f"unknown command {event.command!r}: this driver knows stop"
        elif self.state.ended:
            refusal = "the sweep has ended"
        elif trial is not None and not 0 <= trial < self.state.sampled:
            refusal = f"there is no trial {trial}: trials 0 to {self.state.sampled - 1} exist so far"
        elif trial is not None and self.state.state_of(trial).final:
            refusal = f"trial {trial} has already ended: {self.state.state_of(trial)}"
        if refusal is not None:
            return [event, CommandAnswered(now_us, event.id, applied=False, text=refusal)]
        self._unanswered.setdefault(trial, []).append(event.id)
        if trial is None:
            return [event, *self._stop_all(BY_HAND, now_us)]
        ordered = self._record(StopOrdered(now_us, trial, BY_HAND))
        return [event, ordered, *self._stop_one(self.state.active[trial], now_us)]

    def _stop_all(self, reason: str, now_us: int) -> Output:
        output: Output = []
        if self.state.stopping is None:
            output.append(self._record(StopOrdered(now_us, None, reason)))
            for record in list(self.state.active.values()):
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
        words = [f"{count} {state}" for state, count in self.state.counts.items() if count]
        never = self.state.trials - self.state.sampled
        return ", ".join([*words, f"{never} never started"] if never else words)


def _ids(event: AttemptEnded) -> tuple[int, int, int]:
    return event.trial, event.attempt, event.step


def _launch(record: TrialRecord) -> Launch:
    return Launch(record.trial, record.attempt, record.params, record.seed, record.next_rung, record.checkpoint)

"""The pure core: events in; events to be recorded and commands to be carried out, in order, out.

No I/O, no clock, no randomness but the sweep's seed. What it knows of the sweep is a `SweepState`, which changes
by the events that are recorded, and by nothing else.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

from caviar.adjusting import Timeline
from caviar.adoption import Bring, Brought
from caviar.errors import UsageError
from caviar.extension import check, requested, told
from caviar.faults import FaultStreak
from caviar.keeping import superseded
from caviar.main_line import reopened
from caviar.messages import (
    BY_HAND,
    Answer,
    Applied,
    AttemptEnded,
    AttemptFailed,
    AttemptLost,
    Checkpointed,
    CheckpointLost,
    Command,
    CommandAnswered,
    CommandReceived,
    Decided,
    DeclarationChanged,
    DriverStarted,
    Event,
    Extended,
    Extension,
    ExtensionRequested,
    Launch,
    Narrow,
    Narrowed,
    Paused,
    ProcessReplaced,
    Recorded,
    Reports,
    RoomOffered,
    Ruled,
    RungReached,
    StageOpened,
    Stop,
    StopOrdered,
    StopRequested,
    SweepEnded,
    SweepStarted,
    TrialEnded,
    TrialReopened,
    TrialSampled,
    TrialStarted,
    Unpaused,
    WorkerLost,
)
from caviar.samplers.base import trial_seed, trial_seeds
from caviar.schedulers.base import Verdict
from caviar.state import Plan, SweepState
from caviar.steering import COMMANDS, LONGEST_NAME, LONGEST_NOTE, Steering
from caviar.trial import Params, Saved, TrialRecord, TrialState

LOSSES_LIMIT = 10
"""A trial that lost its worker or node more often than this has failed."""

RETRY_S, RETRY_LIMIT_S = 1.0, 60.0
"""A trial that failed by its own fault waits for so long before its next attempt, twice as long each time."""

DONE = "done"
"""The reason of a sweep's end where every trial came to its own."""

Output = list[Recorded | Reports | Command]


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """How far an attempt that was cut off had come, as its stored reports say. As in `AttemptEnded`."""

    step: int = 0
    value: float | None = None
    best: float | None = None
    best_step: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Resumption:
    """What a driver that goes on with a sweep brings along, besides the record."""

    driven_s: float
    """For how long earlier drivers had the sweep in hand."""
    standings: Mapping[int, Standing]
    """Of trials that were cut off."""
    lost: Sequence[CheckpointLost] = ()
    """Recorded checkpoints that cannot be read any more."""
    changes: Mapping[str, Any]
    """New values of sweep.json, by name."""
    extension: Extension
    new_stage: bool
    """Whether trials are sampled anew from here on, as their space, sampler or seed changed."""
    brought: Brought | None = None
    """What a trial is to adopt before it goes on."""


class Controller:
    """Decides what happens in one sweep."""

    def __init__(self, plan: Plan, state: SweepState | None = None) -> None:
        """``state``: that of a sweep which is gone on with; None: a new sweep's."""
        self.state = state or SweepState(plan)
        self.steering = Steering(self.state, self._record, waits=self._waits)
        self._waiting: deque[int] = deque()
        """Pending trials that the executor does not have; not part of the record."""
        self._delayed: list[tuple[int, int]] = []
        """A heap of (when, trial): pending trials that wait before they are tried again."""
        self._limits: dict[int, int | None] = {}
        """The max_step with which trials under way were launched."""
        self._streak = FaultStreak()
        self._unanswered: dict[int | None, list[str]] = {}
        """Commands to be answered when this trial (None: the sweep) ends."""
        self._handlers: dict[type[Event], Callable[[Any, int], Output]] = {
            RoomOffered: self._room_offered,
            TrialStarted: self._trial_started,
            RungReached: self._rung_reached,
            Applied: self._steered(self.steering.applied),
            Paused: self._steered(self.steering.paused),
            Unpaused: self._steered(self.steering.unpaused),
            Brought: self.steering.brought,
            Checkpointed: self._checkpointed,
            CheckpointLost: self._checkpoint_lost,
            AttemptEnded: self._attempt_ended,
            WorkerLost: self._passed_on,
            ProcessReplaced: self._passed_on,
            StopRequested: self._stop_requested,
            CommandReceived: self._command_received,
            Ruled: self._ruled,
            ExtensionRequested: self._extension_requested,
            Narrowed: self._narrowed,
        }

    @property
    def ended(self) -> bool:
        """Whether every trial has come to its end."""
        return self.state.ended

    @property
    def to_come(self) -> int:
        """How many trials are to be launched yet, as far as is known."""
        return self.state.unsampled + len(self._waiting) + len(self._delayed)

    def begin(self, started: DriverStarted) -> Output:
        """The first events of a new sweep."""
        now_us, plan = started.time_us, self.state.plan
        return [
            self._record(started),
            self._record(SweepStarted(now_us, plan.trials)),
            self._record(StageOpened(now_us, 0, plan.space.to_dict())),
        ]

    def resume(self, started: DriverStarted, resumption: Resumption) -> Output:
        """Go on with a sweep whose driver is gone: trials that were to stop have come to their end, those that
        were cut off are tried again."""
        now_us, state = started.time_us, self.state
        output: Output = [self._record(started)]
        if not state.begun:  # its first driver did not get that far
            output.append(self._record(SweepStarted(now_us, state.plan.trials)))
            output.append(self._record(StageOpened(now_us, 0, state.plan.space.to_dict())))
        output += [self._record(replace(lost, time_us=now_us)) for lost in resumption.lost]
        output += [self._reopen(reopened(record, now_us)) for record in list(state.unbegun.values())]
        waiting = set(self._waiting)
        for record in [one for one in state.active.values() if one.trial not in waiting]:
            if record.stop_reason is None:
                self._waiting.append(record.trial)
            else:
                output += self._end_cut_off(record, resumption.standings.get(record.trial, Standing()), now_us)
        extension = resumption.extension
        if resumption.new_stage and extension.space is None:
            zoomed = state.plan.space != state.declared
            extension = replace(extension, space=state.plan.space.to_dict(), zoom=() if zoomed else None)
        output += self._extend(extension, now_us, changes=resumption.changes)
        if resumption.brought is not None:
            output += self._adopt_first(resumption.brought, now_us)
        return self._concluded(output, now_us)

    def _adopt_first(self, brought: Brought, now_us: int) -> Output:
        """Carry out a command of which what it wants is here already."""
        command = replace(brought.order.command, time_us=now_us)
        if brought.refusal is not None:
            return [self._record(command), self._answer(command.id, brought.refusal, now_us, applied=False)]
        received = self._command_received(command, now_us)
        return [item for item in received if not isinstance(item, Bring)] + self.steering.brought(brought, now_us)

    def handle(self, event: Event, now_us: int) -> Output:
        """What follows from an event: events to be recorded, and commands, in order.

        Late words of an attempt that has been superseded or has ended lead to nothing.
        """
        return self._concluded(self._handlers[type(event)](event, now_us), now_us)

    def _concluded(self, output: Output, now_us: int) -> Output:
        state = self.state
        if not state.active and not state.ended and not state.unsampled:
            output.append(self._record(SweepEnded(now_us, state.stopping or DONE)))
            output.extend(self._answers(None, f"stopped the sweep: {self._tally()}", now_us))
        return output

    def _record(self, event: Recorded) -> Recorded:
        self.state.apply(event)
        return event

    # --- events -------------------------------------------------------------------------------------

    def _room_offered(self, event: RoomOffered, now_us: int) -> Output:
        output: Output = []
        while self._delayed and self._delayed[0][0] <= now_us:
            self._waiting.append(heapq.heappop(self._delayed)[1])
        for _ in range(event.trials):
            trial = next((trial for trial in self._waiting if not self.steering.holds(trial)), None)
            if trial is not None:
                self._waiting.remove(trial)
                record = self.state.active[trial]
            elif self.state.unsampled and (stage := self.state.stage_due) is not None:
                output += [Narrow(stage)] if self.state.stage_told else []
                break
            elif self.state.unsampled:
                sampled = self._sample(now_us)
                output.append(self._record(sampled))
                record = self.state.active[sampled.trial]
            else:
                break
            output.append(self._launch(record))
        return output

    def _sample(self, now_us: int) -> TrialSampled:
        trial = self.state.sampled
        origin = self.state.plan.origin
        seeds = trial_seeds(self.state.plan.seed, trial)
        params = self.state.suggest(trial, seeds)
        seed = trial_seed(seeds) if origin is None else origin.seed  # forks are to differ by their params alone
        return TrialSampled(now_us, trial, self.state.stage, params, seed)

    def _launch(self, record: TrialRecord) -> Launch:
        self._limits[record.trial] = self.state.plan.max_step
        judge = self.state.judge
        next_rung = record.next_rung if judge.recorded else judge.rung_after(record.trial, record.step)
        params: Params = record.params
        timeline: Timeline = ()
        if record.adjustments or self.state.plan.schedule:
            params, timeline = self.state.params_at(record, record.step + 1)
        return Launch(
            record.trial,
            record.attempt,
            params,
            record.seed,
            next_rung,
            record.checkpoint,
            self.state.plan.max_step,
            timeline,
            record.paused,
        )

    def _trial_started(self, event: TrialStarted, now_us: int) -> Output:
        record = self.state.current(event.trial, event.attempt)
        if record is None:
            return []
        output: Output = [self._record(event), *self.steering.begins(record)]
        if record.stop_reason is not None:  # ordered while it was on its way
            output.append(Stop(record.trial, record.attempt, record.stop_reason))
        return output

    def _steered(self, handler: Callable[[Any, TrialRecord, int], Output]) -> Callable[[Any, int], Output]:
        """A handler of what a trial did as it was told to."""

        def handle(event: Applied | Paused | Unpaused, now_us: int) -> Output:
            record = self.state.current(event.trial, event.attempt)
            return [] if record is None else handler(event, record, now_us)

        return handle

    def _rung_reached(self, event: RungReached, now_us: int) -> Output:
        record = self.state.current(event.trial, event.attempt)
        if record is None:
            return []
        output: Output = []
        trial, attempt, step, value = event.trial, event.attempt, event.step, event.value
        loss = self.state.loss(value)
        judge, next_rung = self.state.judge, record.next_rung
        if not judge.recorded:
            stopping = record.stop_reason is not None
            return [Answer(trial, attempt, stopping, judge.rung_after(trial, step), record.stop_reason)]
        rung = next_rung
        while rung is not None and step >= rung and record.stop_reason is None:
            verdict = judge.decide(trial, rung, loss)
            if verdict is Verdict.STOP and self.state.spares(trial):
                verdict = Verdict.SPARE
            output.append(self._record(Decided(now_us, trial, attempt, step, rung, value, verdict.value)))
            rung = record.next_rung
        stop = record.stop_reason is not None
        output.append(Answer(trial, attempt, stop, record.next_rung, record.stop_reason))
        return output

    def _checkpointed(self, event: Checkpointed, now_us: int) -> Output:
        record = self.state.current(event.trial, event.attempt)
        if record is None:
            return []
        plan = self.state.plan
        here = Saved(event.attempt, event.step, event.value)
        saved = [
            one for one in record.checkpoints if one[:2] != here[:2] and not self.steering.keeps(event.trial, one)
        ]
        adjusted = {step for step, _ in record.adjustments}
        gone = superseded([*saved, here], plan.keep_checkpoints, adjusted=adjusted, minimize=plan.minimize)
        return [self._record(replace(event, superseded=gone))]

    def _checkpoint_lost(self, event: CheckpointLost, now_us: int) -> Output:
        return [self._record(event)] if event.trial in self.state.active else []

    def _attempt_ended(self, event: AttemptEnded, now_us: int) -> Output:
        record = self.state.current(event.trial, event.attempt)
        if record is None:
            return []
        self.steering.attempt_over(event.trial)
        reason = event.reason
        if self.steering.rolls_back(event.trial) and record.stop_reason is None:
            self._waiting.appendleft(event.trial)
            return self.steering.ended(event, record, now_us)
        if event.outcome == "returned":
            status = TrialState.COMPLETED
        elif (
            event.outcome == "stopped" or record.stop_reason is not None
        ):  # the decision counts, not what came of it
            status, reason = TrialState.STOPPED, record.stop_reason or reason
        elif event.outcome == "lost" and record.losses < LOSSES_LIMIT:
            self._waiting.append(event.trial)
            return [self._record(AttemptLost(event.time_us, *_ids(event), reason or "lost"))]
        elif event.outcome == "failed" and record.faults < self.state.plan.retries:
            return self._try_again(event, record, now_us)
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
        output = self._end(ended, now_us)
        if status is TrialState.FAILED:
            output += self._count_fault(event, now_us, again=record.faults > 0)
        else:
            self._streak.over()
        if status is TrialState.COMPLETED and self._may_train_on(record, event.step):
            output.append(self._reopen(reopened(record, now_us)))
        self._limits.pop(event.trial, None)
        return output

    def _try_again(self, event: AttemptEnded, record: TrialRecord, now_us: int) -> Output:
        delay_s = min(RETRY_LIMIT_S, RETRY_S * 2**record.faults)
        failed = AttemptFailed(event.time_us, *_ids(event), event.reason or "failed", event.error, delay_s)
        heapq.heappush(self._delayed, (now_us + int(delay_s * 1e6), event.trial))
        again = record.faults > 0
        return [self._record(failed), *self._count_fault(event, now_us, again=again)]

    def _count_fault(self, event: AttemptEnded, now_us: int, *, again: bool) -> Output:
        """A bug fails one trial after another, and all those to come: then the sweep stops early."""
        bug = self._streak.count(event.trial, event.reason or "failed", again=again)
        return [] if bug is None else self._stop_all(bug, now_us)

    def _end(self, event: TrialEnded, now_us: int) -> Output:
        output: Output = [self._record(event)]
        text = f"trial {event.trial} {event.status} at step {event.step}"
        if self._unanswered:
            output += self._answers(event.trial, text, now_us)
        return output + self.steering.over(event.trial, text, now_us)

    def _passed_on(self, event: WorkerLost | ProcessReplaced, now_us: int) -> Output:
        return [event]

    def _stop_requested(self, event: StopRequested, now_us: int) -> Output:
        return self._stop_all(event.reason, now_us)

    def _ruled(self, event: Ruled, now_us: int) -> Output:
        return self._command_received(event.command, now_us, at=event.step)

    def _command_received(self, event: CommandReceived, now_us: int, *, at: int | None = None) -> Output:
        trial = event.trial
        if self._knows(event.id):
            return []
        steers = event.command in COMMANDS
        if steers and trial is None and self.state.plan.trials == 1:
            trial = 0
        refusal: str | None = None
        if event.command != "stop" and not steers:
            known = ", ".join(("stop", "extend", *COMMANDS))
            refusal = f"unknown command {event.command!r:.60}: this driver knows {known}"
        elif event.command == "stop" and self._stopped(trial):  # a driver that went had carried it out
            return [event, self._answer(event.id, f"trial {trial} is stopped", now_us)]
        elif self.state.ended:
            refusal = "the sweep has ended"
        elif steers and trial is None:
            refusal = f"{event.command}: name the trial, one of {self.state.plan.trials} (--trial N)"
        elif trial is not None and not 0 <= trial < self.state.sampled:
            last = self.state.sampled - 1
            so_far = f"trials 0 to {last} exist so far" if last >= 0 else "none exists yet"
            refusal = f"there is no trial {trial}: {so_far}"
        elif trial is not None and self.state.state_of(trial).final:
            refusal = f"trial {trial} has already ended: {self.state.state_of(trial)}"
        if refusal is None and steers:
            try:
                return [event, *self.steering.obey(event, self.state.active[cast(int, trial)], now_us, at=at)]
            except UsageError as error:
                refusal = str(error)
        if refusal is not None:
            return [event, self._answer(event.id, refusal, now_us, applied=False)]
        self._unanswered.setdefault(trial, []).append(event.id)
        reason = _reason(event.args)
        if trial is None:
            return [event, *self._stop_all(reason, now_us)]
        ordered = self._record(StopOrdered(now_us, trial, reason))
        return [event, ordered, *self._stop_one(self.state.active[trial], now_us)]

    def _stopped(self, trial: int | None) -> bool:
        known = trial is not None and 0 <= trial < self.state.sampled
        return known and self.state.state_of(cast(int, trial)) is TrialState.STOPPED

    def _knows(self, command: str) -> bool:
        """Whether it was answered or is under way: doubled, it is dropped."""
        under_way = any(command in ids for ids in self._unanswered.values())
        return under_way or command in self.state.answered or self.steering.has(command)

    def _extension_requested(self, event: ExtensionRequested, now_us: int) -> Output:
        command, state = event.command, self.state
        if self._knows(command.id):
            return []
        try:
            if state.ended or state.stopping is not None:
                raise UsageError(f"the sweep is stopping: {state.stopping or 'it has ended'}")
            if event.unreadable is not None:
                raise UsageError(event.unreadable)
            extension = requested(command.args, reopened=event.reopened)
            check(state, extension)
        except UsageError as error:
            return [command, self._answer(command.id, str(error), now_us, applied=False)]
        output: Output = [command, *self._extend(extension, now_us)]
        return [*output, self._answer(command.id, told(state, extension), now_us)]

    def _extend(self, extension: Extension, now_us: int, *, changes: Mapping[str, Any] | None = None) -> Output:
        output: Output = []
        state = self.state
        if extension.more_trials or extension.max_step is not None:
            trials = state.plan.trials + extension.more_trials
            max_step = state.plan.max_step if extension.max_step is None else extension.max_step
            output.append(self._record(Extended(now_us, trials, max_step)))
        if changes:  # a new scheduler begins with the new max_step, a new stage with the new sampler
            output.append(self._record(DeclarationChanged(now_us, changes)))
        if extension.space is not None:
            output.append(self._record(StageOpened(now_us, state.stage + 1, extension.space, extension.zoom)))
        return output + [self._reopen(replace(trial, time_us=now_us)) for trial in extension.reopened]

    def _narrowed(self, event: Narrowed, now_us: int) -> Output:
        if event.stage != self.state.stage_due:
            return []
        return [self._record(StageOpened(now_us, event.stage, event.space, event.zoom))]

    def _reopen(self, event: TrialReopened) -> Recorded:
        self._waiting.append(event.trial)
        return self._record(event)

    def _may_train_on(self, record: TrialRecord, step: int) -> bool:
        """Whether it came to a limit that has been raised while it trained, and has something to go on from."""
        limit, now = self._limits.get(record.trial), self.state.plan.max_step
        raised = limit is not None and step == limit and (now is None or limit < now)
        return raised and record.checkpoint is not None and record.stop_reason is None

    def _stop_all(self, reason: str, now_us: int) -> Output:
        output: Output = []
        if self.state.stopping is None:
            output.append(self._record(StopOrdered(now_us, None, reason)))
            for record in list(self.state.active.values()):
                output += self._stop_one(record, now_us)
        return output

    def _stop_one(self, record: TrialRecord, now_us: int) -> Output:
        trial, attempt, reason = record.trial, record.attempt, record.stop_reason
        if not self._take_back(trial):
            return [Stop(trial, attempt, reason or BY_HAND)]
        return self._end(TrialEnded(now_us, trial, attempt, record.step, TrialState.STOPPED.value, reason), now_us)

    def _waits(self, trial: int) -> bool:
        """Whether the executor does not have this pending trial."""
        return trial in self._waiting or any(entry[1] == trial for entry in self._delayed)

    def _take_back(self, trial: int) -> bool:
        """Whether the trial waited here, as it does no more."""
        if trial in self._waiting:
            self._waiting.remove(trial)
            return True
        delayed = [entry for entry in self._delayed if entry[1] != trial]
        if len(delayed) == len(self._delayed):
            return False
        heapq.heapify(delayed)
        self._delayed = delayed
        return True

    def _end_cut_off(self, record: TrialRecord, standing: Standing, now_us: int) -> Output:
        """The end of a trial that had been told to stop when its driver went."""
        ids = (record.trial, record.attempt, standing.step)
        reached = (standing.value, standing.best, standing.best_step)
        ended = TrialEnded(now_us, *ids, TrialState.STOPPED.value, record.stop_reason, None, *reached)
        return self._end(ended, now_us)

    def _answers(self, trial: int | None, text: str, now_us: int) -> Output:
        ids = self._unanswered.pop(trial, [])
        return [self._answer(command, text, now_us) for command in ids]

    def _answer(self, command: str, text: str, now_us: int, *, applied: bool = True) -> Recorded:
        return self._record(CommandAnswered(now_us, command, applied, text))

    def _tally(self) -> str:
        words = [f"{count} {state}" for state, count in self.state.counts.items() if count]
        never = self.state.plan.trials - self.state.sampled
        return ", ".join([*words, f"{never} never started"] if never else words)


def _reason(args: Mapping[str, Any]) -> str:
    """Why a command stops something: a rule says so itself."""
    by, note = args.get("by"), args.get("note")
    if not (isinstance(by, str) and isinstance(note, str)) or by == BY_HAND:
        return BY_HAND
    return f"{by[:LONGEST_NAME]}: {note[:LONGEST_NOTE]}"


def _ids(event: AttemptEnded) -> tuple[int, int, int]:
    return event.trial, event.attempt, event.step

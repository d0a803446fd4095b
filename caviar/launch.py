"""Putting the rooms together to run a sweep: a new one, or one that is gone on with."""

from __future__ import annotations

import dataclasses
import logging
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import pyarrow as pa
import pyarrow.compute as pc

from caviar.adopting import asked, bring, done_first
from caviar.controller import DONE, Controller, Resumption
from caviar.difference import EXTENT, Difference, difference
from caviar.errors import CaviarError, FolderError, UsageError
from caviar.execution.contract import Executor, Job
from caviar.extension import check
from caviar.history import replay, revivable, standings
from caviar.keeping import unsound
from caviar.main_line import record_of, reopened
from caviar.messages import CheckpointLost, Extension, Narrow, Narrowed, SweepEnded, TrialReopened
from caviar.runner import Hand, Observer, Runner
from caviar.space import NarrowedSpace
from caviar.state import Plan, SweepState, changed
from caviar.store.beginnings import check_new
from caviar.store.checkpoints import CheckpointFiles
from caviar.store.declaration import check_complete
from caviar.store.dowry import bring_again, brought
from caviar.store.inbox import Inbox
from caviar.store.layout import SweepFolder
from caviar.store.lease import Lease, wall_clock_us
from caviar.store.reader import Reader
from caviar.store.recorder import Recorder
from caviar.store.tables import events_of, join
from caviar.trial import Saved

_log = logging.getLogger(__name__)


class RememberingHand(Hand, Protocol):
    """A hand that finds its way in a run that is gone on with."""

    def recall(self, metrics: pa.Table, events: pa.Table) -> None:
        """Take in what was reported and recorded before this driver."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Commission:
    """A sweep that is to be run, and who is to run it where."""

    folder: SweepFolder
    files: CheckpointFiles
    declaration: Mapping[str, Any]
    plan: Plan
    job: Job
    executor: Executor
    on_event: Observer | None = None
    hand: RememberingHand | None = None
    interrupt: threading.Event | None = None
    """Set by whoever wants the sweep interrupted, where it is run in a thread that gets no signals."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Continuation:
    """How a sweep is to be gone on with."""

    more_trials: int = 0
    max_step: int | None = None
    allow_change: bool = False
    take_over: bool | Lease = False
    """From a driver that seems to be alive: from any, or from the one that has this lease."""
    source: Mapping[str, Any] | None = None
    """Where it is declared now; None: where it was."""
    space: NarrowedSpace | None = None
    """What the further trials are sampled from, as a stage of their own; None: as before."""

    @property
    def extends(self) -> bool:
        """Whether more is asked for than the sweep has."""
        return bool(self.more_trials) or self.max_step is not None


def start(commission: Commission) -> None:
    """Run a new sweep to its end."""
    folder, executor = commission.folder, commission.executor
    check_new(folder, wall_clock_us())
    controller = Controller(commission.plan)
    starting = _Relay()
    try:
        executor.start(commission.job, starting)
        recorder = Recorder.create(
            folder,
            commission.declaration,
            now_us=wall_clock_us,
            dowry=lambda: brought(commission.files, commission.plan.origin),
        )
        runner = _runner(commission, controller, recorder=recorder)
        starting.deliver = runner.deliver
        runner.run()
    finally:
        executor.close()


def go_on(commission: Commission, how: Continuation) -> None:
    """Run an existing sweep to its end, from all that was ever acknowledged. One that has come to its end, and
    is not extended, is left as it is.

    Raises `UsageError`, before anything is written, where it would be another sweep and ``how.allow_change`` is
    false; `LeaseError` where another driver has it.
    """
    folder = commission.folder
    first = folder.declaration()
    reader = Reader(folder.path, metrics=False)
    seen = reader.refresh().events
    check_complete(first, folder, to_go_on=True)
    change = difference(reader.declaration, commission.declaration, first=first)
    if not how.allow_change:
        _refuse(folder, change)
    finished = reader.state() == "finished" and not how.extends and not change.told and asked(folder) is None
    if finished and _all_done(seen, where=str(folder)):
        _close_after(folder)
        return
    try:
        plan = _plan_of(first, commission.plan)
    except UsageError as error:
        raise FolderError(f"{folder.where(folder.sweep_json)}: damaged: {error}") from None
    recorder = Recorder.open(folder, now_us=wall_clock_us, take_over=how.take_over)
    starting = _Relay()
    try:
        bring_again(commission.files, plan.origin)
        controller, resumption = _recall(commission, plan, how, change, reader=reader, seen=seen)
        del seen  # it grows with the sweep, and this lasts as long as that
        commission.executor.start(_job(commission.job, controller.state, resumption), starting)
        runner = _runner(commission, controller, recorder=recorder)
        starting.deliver = runner.deliver
    except BaseException:
        try:
            recorder.close(final=False)
        except OSError as error:  # the folder is left as it is after a crash
            _log.warning("%s", error)
        finally:
            commission.executor.close()
        raise
    try:
        runner.run(resumption)
    finally:
        commission.executor.close()


def check_same(folder: SweepFolder, declaration: Mapping[str, Any]) -> None:
    """See that a sweep can be gone on with as this declaration has it, without a change that needs to be allowed:
    `UsageError` as of `go_on`, for who would show something before that."""
    first = folder.declaration()
    reader = Reader(folder.path, metrics=False)
    reader.refresh()
    check_complete(first, folder, to_go_on=True)
    _refuse(folder, difference(reader.declaration, declaration, first=first))


def _refuse(folder: SweepFolder, change: Difference) -> None:
    if change.told:
        raise UsageError(
            f"{folder}: this Sweep is not the one that was recorded: {'; '.join(change.told)} "
            "(--allow-change, in Python allow_change=True, goes on with it all the same)"
        )


def _close_after(folder: SweepFolder) -> None:
    """Roll what lies unrolled in a sweep that has ended: its driver let go of the lease last, so one that is left
    there was cut off before that."""
    lease = Lease.read(folder)
    if lease is not None and not lease.held(wall_clock_us()):
        Recorder.open(folder, now_us=wall_clock_us).close()


def _all_done(events: pa.Table, *, where: str) -> bool:
    """Whether a sweep that has ended was not stopped before its time."""
    ends = events.filter(pc.equal(events.column("kind"), SweepEnded.kind))
    [end] = events_of(ends.slice(len(ends) - 1), where=where)
    return isinstance(end, SweepEnded) and end.reason == DONE


def _recall(
    commission: Commission, plan: Plan, how: Continuation, change: Difference, *, reader: Reader, seen: pa.Table
) -> tuple[Controller, Resumption]:
    """The controller as the record has it, and what it is to begin with. ``seen``: the events that ``reader`` has
    read before the folder was ours."""
    events = join([seen, reader.refresh().events], "events")
    command = asked(commission.folder)
    follow = None if command is None else command.trial or 0
    history = replay(plan, events, where=str(commission.folder), follow=follow)
    state = history.state
    metrics = reader.reports_of(state.active)
    if commission.hand is not None:
        # it may have ended, and train on
        commission.hand.recall(metrics if 0 in state.active else reader.reports_of({0}), events)
    extension = _extension(commission, how, change, state=state)
    check(state, extension, plan=changed(state.plan, change.changes), anew=change.new_stage)
    brought = None
    if command is not None and command.id not in state.answered:
        brought, reopens = done_first(command, history, folder=commission.folder, files=commission.files)
        if reopens is not None and all(one.trial != reopens.trial for one in extension.reopened):
            extension = dataclasses.replace(extension, reopened=[*extension.reopened, reopens])
    resumption = Resumption(
        driven_s=history.driven_s(metrics),
        standings=standings(metrics, state, reader.declaration["metric"]),
        lost=_lost(commission.files, state),
        changes=_changes(change, how, declaration=reader.declaration),
        extension=extension,
        new_stage=change.new_stage,
        brought=brought,
    )
    return Controller(plan, state), resumption


def _changes(change: Difference, how: Continuation, *, declaration: Mapping[str, Any]) -> dict[str, Any]:
    """New values of sweep.json that no other event carries."""
    changes = {name: value for name, value in change.changes.items() if name not in ("space", *EXTENT)}
    if how.source is not None and how.source != declaration.get("source"):
        changes["source"] = how.source
    return changes


def _extension(commission: Commission, how: Continuation, change: Difference, *, state: SweepState) -> Extension:
    """Beyond what the sweep has: what is asked for, and what its declaration has been changed to."""
    plan = state.plan
    if how.space is not None and "space" in change.changes:
        raise UsageError(
            "a zoomed space was given, and the Sweep's own has changed too: go on with that one first"
        )
    trials = change.changes.get("trials", plan.trials) + how.more_trials
    max_step = how.max_step or change.changes.get("max_step", plan.max_step)
    further = max_step != plan.max_step
    if further and max_step is None:
        raise UsageError("max_step=None: a sweep that has a max_step keeps one; it can be raised")
    return Extension(
        more_trials=max(trials, state.sampled) - plan.trials,
        max_step=max_step if further or how.max_step is not None else None,
        space=change.changes.get("space") if how.space is None else how.space.to_dict(),
        zoom=None if how.space is None else [one.to_dict() for one in how.space.changes],
        reopened=_revivable(commission, plan.max_step) if further else (),
    )


def _revivable(commission: Commission, max_step: int | None) -> list[TrialReopened]:
    """Completed trials that came to ``max_step`` and have something to go on from."""
    _, events = Reader(commission.folder.path, metrics=False).read()
    found = revivable(events, max_step, where=str(commission.folder))
    return [whole for one in found if (whole := _whole(one, commission.files)) is not None]


def _whole(trial: TrialReopened, files: CheckpointFiles) -> TrialReopened | None:
    """The same, from the newest of its checkpoints that can be restored; None: there is none."""
    record = record_of(trial)
    for one, _ in unsound(record.checkpoints, _damage_of(trial.trial, files)):
        record.checkpoints.remove(one)
    if record.checkpoint is None:
        return None
    return dataclasses.replace(reopened(record, trial.time_us), attempt=trial.attempt)


def _lost(files: CheckpointFiles, state: SweepState) -> list[CheckpointLost]:
    """Of each trial on its way, the newest checkpoints up to one that can be restored."""
    lost = []
    for trial, record in state.active.items():
        gone = unsound(record.checkpoints, _damage_of(trial, files))
        lost += [CheckpointLost(0, trial, one.attempt, one.step, why) for one, why in gone]
        if gone:
            left = record.checkpoints[: -len(gone)]
            where = f"goes on from step {left[-1].step}" if left else "starts from its beginning"
            _log.warning("trial %d %s: %s", trial, where, "; ".join(why for _, why in gone))
    return lost


def _damage_of(trial: int, files: CheckpointFiles) -> Callable[[Saved], str | None]:
    return lambda saved: files.damage(trial, (saved.attempt, saved.step))


def _job(job: Job, state: SweepState, resumption: Resumption) -> Job:
    """The job of those trials that are left."""
    extension, plan = resumption.extension, state.plan
    left = plan.trials + extension.more_trials - state.sampled + len(state.active) + len(extension.reopened)
    return dataclasses.replace(job, max_step=extension.max_step or plan.max_step, trials=max(1, left))


def _plan_of(declaration: Mapping[str, Any], given: Plan) -> Plan:
    """The plan as sweep.json has it; with the sampler and scheduler that are given, where they are the same."""
    sampler, scheduler = declaration["sampler"], declaration["scheduler"]
    return Plan.of(
        declaration,
        sampler=given.sampler if given.sampler.to_dict() == sampler else None,
        scheduler=given.scheduler if given.scheduler.to_dict() == scheduler else None,
    )


def _runner(commission: Commission, controller: Controller, *, recorder: Recorder) -> Runner:
    declaration = commission.declaration
    return Runner(
        controller,
        commission.executor,
        recorder=recorder,
        inbox=Inbox(commission.folder),
        checkpoints=commission.files,
        revivable=lambda: _revivable(commission, controller.state.plan.max_step),
        narrow=lambda order: _narrowed(commission.folder, controller.state, order),
        bring=lambda order: bring(order, folder=commission.folder, files=commission.files),
        time_budget_s=declaration["time_budget_s"],
        on_event=commission.on_event,
        hand=commission.hand,
        one_trial=declaration.get("panda") is not None,
        interrupt=commission.interrupt,
        sweep=commission.job.name,
    )


def _narrowed(folder: SweepFolder, state: SweepState, order: Narrow) -> Narrowed:
    """The space of the next stage. Where nothing can be told from how trials did, it is the one before."""
    from caviar.analysis.result import load
    from caviar.analysis.zoom import next_stage  # loads scipy, which a sweep of one stage does not need

    try:
        space = next_stage(load(folder.path))
    except CaviarError as error:
        _log.warning("stage %d is sampled as the one before it: %s", order.stage, error)
        return Narrowed(order.stage, state.plan.space.to_dict(), ())
    return Narrowed(order.stage, space.to_dict(), [change.to_dict() for change in space.changes])


class _Relay:
    """Stands in for the runner while the executor starts: nothing may arrive before the folder is ours."""

    deliver: Callable[[Any], int] | None = None

    def __call__(self, arrivals: Any) -> int:
        assert self.deliver is not None, "an executor delivered while it was started"
        return self.deliver(arrivals)

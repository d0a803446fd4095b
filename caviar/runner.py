"""The only loop: what happens in the executor and arrives in the inbox goes to the controller; what that says goes
to the executor and, with the reports, to the recorder.
"""

from __future__ import annotations

import logging
import os
import queue
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from types import FrameType
from typing import Protocol

import caviar
from caviar.adoption import Bring, Brought
from caviar.commits import Commits, Recorder
from caviar.controller import Controller, Output, Resumption
from caviar.errors import CaviarError, FencedError
from caviar.execution.contract import Arrivals, Executor
from caviar.journal import Journal
from caviar.keeping import unsound
from caviar.messages import (
    Checkpointed,
    CheckpointLost,
    Command,
    CommandAnswered,
    CommandReceived,
    DriverStarted,
    DriverStopped,
    Event,
    ExtensionRequested,
    Narrow,
    Narrowed,
    Recorded,
    Reports,
    RolledBack,
    RoomOffered,
    Ruled,
    RungReached,
    StopRequested,
    SweepEnded,
    TrialReopened,
)
from caviar.pulse import Pulse
from caviar.trial import Params, Saved

_log = logging.getLogger(__name__)

POLL_S = 0.1
INBOX_S = 0.1
NARROW_AGAIN_S = 5.0

Observer = Callable[[Recorded | Reports], None]
"""Sees every recorded event, and every block of reports."""


class Inbox(Protocol):
    """What the runner needs of the store's inbox."""

    def take(self) -> Sequence[CommandReceived]: ...
    def take_warnings(self) -> Sequence[str]: ...
    def done(self, command_id: str) -> None: ...


class Checkpoints(Protocol):
    """What the runner needs of the store's checkpoints."""

    def discard(self, trial: int, checkpoint: tuple[int, int]) -> None: ...
    def damage(self, trial: int, checkpoint: tuple[int, int]) -> str | None: ...


class Hand(Protocol):
    """Watches over a live run in place of a person: it sees what the driver sees, and speaks as a person does."""

    def see(self, item: Recorded | Reports) -> None:
        """Take what was reported, or recorded."""

    def judge(self, event: RungReached, params: Params) -> Sequence[CommandReceived]:
        """What it wants of a trial that waits for it, and was trained with these params."""


def _not_narrowed(order: Narrow) -> Narrowed:
    raise NotImplementedError("this runner has nobody to narrow a space")


def _nothing_brought(order: Bring) -> Brought:
    return Brought(order, refusal="this driver cannot reach another sweep")


class Runner:
    """Drives one sweep to its end."""

    def __init__(
        self,
        controller: Controller,
        executor: Executor,
        *,
        recorder: Recorder,
        inbox: Inbox,
        checkpoints: Checkpoints | None = None,
        revivable: Callable[[], Sequence[TrialReopened]] = tuple,
        narrow: Callable[[Narrow], Narrowed] = _not_narrowed,
        bring: Callable[[Bring], Brought] = _nothing_brought,
        time_budget_s: float | None = None,
        on_event: Observer | None = None,
        hand: Hand | None = None,
        interrupt: threading.Event | None = None,
        one_trial: bool = False,
        sweep: str = "",
    ) -> None:
        """``checkpoints``: where to discard checkpoints that are not to be kept; None keeps all. ``revivable``:
        what the record says of completed trials that could train on. ``narrow``: finds the space of the next stage
        in the record. ``bring``: brings what is to be adopted, on any thread, and raises nothing.
        ``time_budget_s``: over all drivers. ``interrupt``: set by whoever wants what the first Ctrl-C does, in a
        thread that gets no signals. ``one_trial``: it is a live run, which has no more. ``sweep``: its name, for
        the log."""
        self._controller = controller
        self._executor = executor
        self._commits = Commits(recorder, acknowledge=executor.acknowledge, tidy=self._tidy)
        self._pulse = Pulse(executor.show, state=controller.state, take_commits=self._commits.take, turn_s=POLL_S)
        self._journal = Journal(sweep, controller.state)
        self._inbox = inbox
        self._checkpoints = checkpoints
        self._revivable = revivable
        self._narrow = narrow
        self._narrow_from = 0.0
        self._bring = bring
        self._brought: queue.SimpleQueue[Brought] = queue.SimpleQueue()
        self._time_budget_s = time_budget_s
        self._observer = on_event
        self._deliveries = 0
        self._depth = 0
        """How many deliveries are being taken, each from within the one before."""
        self._inbox_at = 0.0
        self._hand = hand
        self._one_trial = one_trial
        self._interrupt = interrupt or threading.Event()
        self._draining = False

    def deliver(self, arrivals: Arrivals) -> int:
        """Take what arrived from the executor; returns the delivery's number."""
        self._deliveries += 1
        number = self._deliveries
        self._depth += 1
        if arrivals.reports:
            self._commits.add_reports(arrivals.reports)
            self._pulse.reported(arrivals.reports)
            for block in arrivals.reports:
                self._show(block)
            self._notice(arrivals.reports)
        now_us = self._executor.now_us()
        for event in arrivals.events:
            if self._hand is not None and isinstance(event, RungReached):
                self._ask(self._hand, event)
            self._handle(event, now_us)
        self._depth -= 1
        if self._depth == 0:  # a delivery may come from within another: both are whole now
            self._commits.delivered(self._deliveries)
            if not self._draining:
                self._turn()
        return number

    def run(self, resumption: Resumption | None = None) -> None:
        """Run the sweep to its end, and leave everything committed and rolled. ``resumption``: it is gone on with.

        Raises KeyboardInterrupt after the first Ctrl-C (or SIGTERM), once everything that arrived is committed;
        a second one interrupts that as well. `FencedError` where another driver took over.
        """
        with self._signals(), self._commits.lease():
            try:
                self._begin(resumption)
                self._loop()
            except FencedError:
                self._commits.abandon()
                raise
            except KeyboardInterrupt:
                try:
                    self._stop("interrupted")
                except OSError as error:
                    _log.warning("%s", error)
                raise
            except BaseException as error:
                self._stop(f"{type(error).__name__}: {error}")
                raise
            self._finish(final=True)

    # --- the loop ----------------------------------------------------------------------------------

    def _begin(self, resumption: Resumption | None) -> None:
        self._pulse.begin()
        now_us, controller = self._executor.now_us(), self._controller
        driven_s = None if resumption is None else resumption.driven_s
        started = DriverStarted(now_us, socket.gethostname(), os.getpid(), caviar.__version__, driven_s)
        if resumption is None:
            self._dispatch(controller.begin(started))
        else:
            self._dispatch(controller.resume(started, resumption))
        left_s = None if self._time_budget_s is None else self._time_budget_s - (driven_s or 0.0)
        self._deadline = None if left_s is None else now_us + int(left_s * 1e6)
        self._keep_time()  # before anything is started in a sweep whose budget is spent

    def _loop(self) -> None:
        while not self._controller.ended:
            self._executor.expect(self._controller.to_come)
            if self._commits.stuck is None:
                self._offer_room()
            self._executor.poll(POLL_S)
            self._turn()
        for command in self._inbox.take():  # nobody will come to them after this
            if command.command != "adopt":  # which waits for whoever goes on with the run
                self._obey(command)

    def _offer_room(self) -> None:
        room = self._executor.room()
        if room > 0:
            self._handle(RoomOffered(room), self._executor.now_us())

    def _turn(self) -> None:
        """What is due between two events: an interrupt, commands, the time budget, a commit."""
        if self._interrupt.is_set():
            raise KeyboardInterrupt
        now = time.monotonic()
        if now - self._inbox_at > INBOX_S:
            self._inbox_at = now
            for command in self._inbox.take():
                self._obey(command)
            for warning in self._inbox.take_warnings():
                _log.warning("%s", warning)
        while not self._brought.empty():
            self._handle(self._brought.get(), self._executor.now_us())
        self._keep_time()
        self._commits.turn(now)
        self._pulse.turn(now)

    def _keep_time(self) -> None:
        if self._deadline is not None and self._executor.now_us() > self._deadline:
            self._deadline = None
            self._handle(StopRequested("time_budget"), self._executor.now_us())

    def _obey(self, command: CommandReceived) -> None:
        """Pass a person's command on; one that an earlier driver had answered is only removed."""
        event: Event = command
        if command.id in self._controller.state.answered:
            self._inbox.done(command.id)
            return
        if command.command == "extend":
            event = self._read_for(command)
        self._check_way_back(command)
        self._handle(event, self._executor.now_us())

    def _check_way_back(self, command: CommandReceived) -> None:
        """Before a trial is rolled back: a checkpoint that cannot be gone on from is lost, and there may be one
        before it."""
        to_step, trial = command.args.get("to_step"), command.trial or 0
        record = self._controller.state.active.get(trial)
        if command.command != "rollback" or record is None or type(to_step) is not int:
            return
        there = [one for one in record.checkpoints if one.step <= to_step]
        for saved, damage in unsound(there, lambda one: self._damage(trial, one)):
            _log.warning("trial %d cannot be rolled back to step %d: %s", trial, saved.step, damage)
            now_us = self._executor.now_us()
            self._handle(CheckpointLost(now_us, trial, saved.attempt, saved.step, damage), now_us)

    def _damage(self, trial: int, saved: Saved) -> str | None:
        if self._checkpoints is None:
            return None
        try:
            return self._checkpoints.damage(trial, (saved.attempt, saved.step))
        except OSError:  # which cannot be told now: the attempt will see
            return None

    def _read_for(self, command: CommandReceived) -> ExtensionRequested:
        if self._one_trial and command.args.get("trials"):
            told = "is a live run, of one trial: it can be extended by steps alone"
            return ExtensionRequested(command, unreadable=told)
        if command.args.get("max_step") is None:
            return ExtensionRequested(command)
        try:
            self._commits.flush()  # the record is read from the disk
            return ExtensionRequested(command, self._revivable())
        except FencedError:
            raise
        except (CaviarError, OSError) as error:
            return ExtensionRequested(command, unreadable=str(error))

    def _notice(self, reports: Sequence[Reports]) -> None:
        """What more than storing reports is good for, in a sweep where it is."""
        if self._hand is not None:
            for block in reports:
                self._hand.see(block)
        if self._controller.state.plan.schedule:  # a relative change depends on where the trial is
            for block in reports:
                ids = zip(block.trial.tolist(), block.attempt.tolist(), strict=True)
                for attempt, step in dict(zip(ids, block.step.tolist(), strict=True)).items():
                    self._controller.steering.reached(*attempt, step)

    def _ask(self, hand: Hand, event: RungReached) -> None:
        """Let rules look at a trial that waits for it, and do what they want before it goes on."""
        record = self._controller.state.current(event.trial, event.attempt)
        if event.trial != 0 or record is None or record.stop_reason is not None:
            return
        if self._controller.steering.rolls_back(event.trial):
            return  # what it reports here leads nowhere
        params = self._controller.steering.params_for(record, event.step)
        for command in hand.judge(event, params):
            now_us = self._executor.now_us()
            self._check_way_back(command)
            self._handle(Ruled(replace(command, time_us=now_us), event.step), now_us)

    def _handle(self, event: Event, now_us: int) -> None:
        self._dispatch(self._controller.handle(event, now_us))

    def _dispatch(self, output: Output) -> None:
        """Record first, then act: what a command leads to at once is recorded after its cause."""
        commands: list[Command] = []
        narrow: Narrow | None = None
        for item in output:
            if isinstance(item, Bring):
                self._begin_to_bring(item)
                continue
            if isinstance(item, Narrow):
                narrow = item
                continue
            if isinstance(item, Command):
                commands.append(item)
                continue
            if self._hand is not None:
                self._hand.see(item)
            if isinstance(item, Reports):
                self._commits.add_reports([item])
                self._show(item)
                continue
            self._pulse.recorded(item)
            self._journal.note(item)
            self._commits.add_event(item, soon=isinstance(item, CommandReceived | CommandAnswered | SweepEnded))
            self._show(item)
        if commands:
            self._executor.send(commands)
        if narrow is not None:
            self._open_stage(narrow)

    def _open_stage(self, order: Narrow) -> None:
        """Narrow the space while the loop waits, so that what trials did until then decides, and not how long this
        takes. Where the disk fails, it is asked for again, and tried after a while."""
        if time.monotonic() < self._narrow_from:
            return
        try:
            self._commits.flush()  # the record is read from the disk
            narrowed = self._narrow(order)
        except OSError as error:
            _log.warning("stage %d cannot be opened yet: %s", order.stage, error)
            self._narrow_from = time.monotonic() + NARROW_AGAIN_S
            return
        self._handle(narrowed, self._executor.now_us())
        self._offer_room()  # those that waited for it begin before time goes on

    def _begin_to_bring(self, order: Bring) -> None:
        """Have what is to be adopted brought on a thread beside: it may be large, and training goes on meanwhile.
        One that is still at it when the sweep ends is left."""

        def bring() -> None:
            self._brought.put(self._bring(order))

        threading.Thread(target=bring, name="caviar-bring", daemon=True).start()

    def _show(self, item: Recorded | Reports) -> None:
        if self._observer is None:
            return
        try:
            self._observer(item)
        except Exception:  # noqa: BLE001 - whatever an observer raises, the sweep goes on
            _log.exception("on_event raised, and is called no more")
            self._observer = None

    def _tidy(self, event: Recorded) -> None:
        """Remove what a durable event makes superfluous; on the writing thread."""
        if isinstance(event, CommandAnswered):
            self._inbox.done(event.id)
        elif isinstance(event, Checkpointed | RolledBack) and self._checkpoints is not None:
            for attempt, step in event.superseded or ():
                self._checkpoints.discard(event.trial, (attempt, step))

    # --- the end -----------------------------------------------------------------------------------

    def _stop(self, reason: str) -> None:
        """Let go of a sweep that has not ended: fetch what workers have, record it, leave it resumable."""
        self._draining = True
        self._depth = 0
        try:
            if reason == "interrupted":
                self._executor.fetch()
        finally:
            if not self._controller.ended:
                self._dispatch([DriverStopped(self._executor.now_us(), reason)])
            self._finish(final=self._controller.ended)

    def _finish(self, *, final: bool) -> None:
        self._commits.finish(final=final, gives_up=self._interrupt.is_set)
        self._pulse.look(time.monotonic())

    @contextmanager
    def _signals(self) -> Iterator[None]:
        """The first Ctrl-C or SIGTERM ends the loop at its next turn; the second one interrupts at once."""

        def on_signal(number: int, frame: FrameType | None) -> None:
            if self._interrupt.is_set():
                raise KeyboardInterrupt
            self._interrupt.set()

        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {number: signal.signal(number, on_signal) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

"""The only loop: what happens in the executor and arrives in the inbox goes to the controller; what that says goes
to the executor and, with the reports, to the recorder.

Writing happens on a second thread, one commit at a time, so that a slow disk delays no decision.
"""

from __future__ import annotations

import logging
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from types import FrameType
from typing import Protocol

import caviar
from caviar.controller import Controller, Output
from caviar.errors import FencedError
from caviar.execution.contract import Arrivals, Executor
from caviar.messages import (
    Checkpointed,
    Command,
    CommandAnswered,
    CommandReceived,
    DriverStarted,
    DriverStopped,
    Event,
    Recorded,
    Reports,
    RoomOffered,
    StopRequested,
    SweepEnded,
    TrialEnded,
)
from caviar.store.rows import EventRow, to_row

_log = logging.getLogger(__name__)

COMMIT_S = 0.2
"""Rows wait no longer than this before they are committed together."""

PATIENT_COMMIT_S = 1.0
"""After a failed commit, the time until the next try."""

LEASE_S = 5.0
POLL_S = 0.1
INBOX_S = 0.1

Observer = Callable[[Recorded | Reports], None]
"""Sees every recorded event, and every block of reports."""


class Recorder(Protocol):
    """What the runner needs of the store's recorder."""

    def commit(self, reports: Sequence[Reports], events: Sequence[EventRow]) -> None: ...
    def keep_lease(self) -> None: ...
    def close(self, *, final: bool) -> None: ...


class Inbox(Protocol):
    """What the runner needs of the store's inbox."""

    def take(self) -> Sequence[CommandReceived]: ...
    def take_warnings(self) -> Sequence[str]: ...
    def done(self, command_id: str) -> None: ...


class Checkpoints(Protocol):
    """What the runner needs of the store's checkpoints."""

    def discard(self, trial: int, checkpoint: tuple[int, int]) -> None: ...


@dataclass(slots=True)
class _Batch:
    """Rows that are committed together."""

    reports: list[Reports] = field(default_factory=list)
    events: list[Recorded] = field(default_factory=list)
    delivery: int = 0
    """The last delivery whose rows are in it."""

    def __bool__(self) -> bool:
        return bool(self.reports or self.events)


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
        time_budget_s: float | None = None,
        on_event: Observer | None = None,
    ) -> None:
        """``checkpoints``: where to discard a trial's older checkpoints; None keeps all."""
        self._controller = controller
        self._executor = executor
        self._recorder = recorder
        self._inbox = inbox
        self._checkpoints = checkpoints
        self._newest: dict[int, tuple[int, int]] = {}
        """The last committed checkpoint of trials that have not ended."""
        self._time_budget_s = time_budget_s
        self._observer = on_event
        self._deliveries = 0
        self._depth = 0
        """How many deliveries are being taken, each from within the one before."""
        self._batch = _Batch()
        self._written: _Batch | None = None
        """What the writing thread is at."""
        self._writing: Future[None] | None = None
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="caviar-recorder")
        self._commit_at = 0.0
        self._commit_now = False
        self._inbox_at = 0.0
        self._stuck: str | None = None
        """Why the last commit failed; launching waits until one succeeds."""
        self._interrupted = False
        self._draining = False

    def deliver(self, arrivals: Arrivals) -> int:
        """Take what arrived from the executor; returns the delivery's number."""
        self._deliveries += 1
        number = self._deliveries
        self._depth += 1
        if arrivals.reports:
            self._batch.reports.extend(arrivals.reports)
            for block in arrivals.reports:
                self._show(block)
        now_us = self._executor.now_us()
        for event in arrivals.events:
            self._handle(event, now_us)
        self._depth -= 1
        if self._depth == 0:  # a delivery may come from within another: both are whole now
            self._batch.delivery = self._deliveries
            if not self._draining:
                self._turn()
        return number

    def run(self) -> None:
        """Run the sweep to its end, and leave everything committed and rolled.

        Raises KeyboardInterrupt after the first Ctrl-C (or SIGTERM), once everything that arrived is committed;
        a second one interrupts that as well. `FencedError` where another driver took over.
        """
        with self._signals(), self._lease():
            try:
                self._begin()
                self._loop()
            except FencedError:
                self._abandon()
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

    def _begin(self) -> None:
        now_us = self._executor.now_us()
        started = DriverStarted(now_us, socket.gethostname(), os.getpid(), caviar.__version__)
        self._dispatch([started, *self._controller.begin(now_us)])
        self._deadline = None if self._time_budget_s is None else now_us + int(self._time_budget_s * 1e6)

    def _loop(self) -> None:
        while not self._controller.ended:
            if self._stuck is None:
                room = self._executor.room()
                if room > 0:
                    self._handle(RoomOffered(room), self._executor.now_us())
            self._executor.poll(POLL_S)
            self._turn()

    def _turn(self) -> None:
        """What is due between two events: an interrupt, commands, the time budget, a commit."""
        if self._interrupted:
            raise KeyboardInterrupt
        now = time.monotonic()
        if now - self._inbox_at > INBOX_S:
            self._inbox_at = now
            for command in self._inbox.take():
                self._commit_now = True
                self._handle(command, self._executor.now_us())
            for warning in self._inbox.take_warnings():
                _log.warning("%s", warning)
        if self._deadline is not None and self._executor.now_us() > self._deadline:
            self._deadline = None
            self._handle(StopRequested("time_budget"), self._executor.now_us())
        self._commit_if_due(now)

    def _handle(self, event: Event, now_us: int) -> None:
        self._dispatch(self._controller.handle(event, now_us))

    def _dispatch(self, output: Output) -> None:
        """Record first, then act: what a command leads to at once is recorded after its cause."""
        commands: list[Command] = []
        for item in output:
            if isinstance(item, Command):
                commands.append(item)
                continue
            self._batch.events.append(item)
            self._show(item)
            if isinstance(item, CommandAnswered | SweepEnded):
                self._commit_now = True
        if commands:
            self._executor.send(commands)

    def _show(self, item: Recorded | Reports) -> None:
        if self._observer is None:
            return
        try:
            self._observer(item)
        except Exception:  # noqa: BLE001 - whatever an observer raises, the sweep goes on
            _log.exception("on_event raised, and is called no more")
            self._observer = None

    # --- commits -----------------------------------------------------------------------------------

    def _commit_if_due(self, now: float) -> None:
        if self._writing is not None:
            if not self._writing.done():
                return
            self._settle()
        if now >= self._commit_at or (self._commit_now and self._stuck is None):
            self._commit_at = now + (PATIENT_COMMIT_S if self._stuck else COMMIT_S)
            self._commit_now = False
            self._write()

    def _write(self) -> None:
        """Give the writing thread what there is to write; what it failed to write comes first, by itself."""
        if self._written is None:
            self._written, self._batch = self._batch, _Batch(delivery=self._batch.delivery)
        reports, events = self._written.reports, self._written.events
        self._writing = self._writer.submit(self._commit, reports, events)

    def _commit(self, reports: Sequence[Reports], events: Sequence[Recorded]) -> None:
        self._recorder.keep_lease()
        if reports or events:
            self._recorder.commit(reports, [to_row(event) for event in events])

    def _settle(self) -> None:
        """See how the last commit went; what it made durable is acknowledged."""
        assert self._writing is not None
        assert self._written is not None
        writing, self._writing = self._writing, None
        try:
            writing.result()
        except FencedError:
            raise
        except OSError as error:
            if self._stuck is None:
                _log.warning("cannot write to the sweep folder: %s; waiting, no trial is started meanwhile", error)
            self._stuck = str(error)
            return
        if self._stuck is not None:
            _log.warning("the sweep folder can be written again; going on")
            self._stuck = None
        written, self._written = self._written, None
        self._executor.acknowledge(written.delivery)
        self._writer.submit(self._tidy_after, written.events)

    def _tidy_after(self, events: Sequence[Recorded]) -> None:
        """Remove what committed events make superfluous; on the writing thread, as all that touches the disk."""
        for event in events:
            try:
                self._tidy(event)
            except OSError as error:
                _log.warning("cannot remove what is no longer needed, and leave it: %s", error)

    def _tidy(self, event: Recorded) -> None:
        if isinstance(event, CommandAnswered):
            self._inbox.done(event.id)
        elif isinstance(event, Checkpointed):
            self._keep_newest(event)
        elif isinstance(event, TrialEnded):
            self._newest.pop(event.trial, None)

    def _keep_newest(self, event: Checkpointed) -> None:
        older = self._newest.get(event.trial)
        newest = (event.attempt, event.step)
        self._newest[event.trial] = newest
        if older is not None and older != newest and self._checkpoints is not None:
            self._checkpoints.discard(event.trial, older)

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
        """Commit everything, roll everything, release the folder."""
        try:
            if self._writing is not None:
                self._writing.exception()
                self._settle()
            while self._written is not None or self._batch:
                self._write()
                assert self._writing is not None
                self._writing.exception()
                self._settle()
                if self._stuck is not None:
                    if self._interrupted or not final:
                        raise OSError(f"cannot write the last reports: {self._stuck}")
                    time.sleep(PATIENT_COMMIT_S)
            self._close(final=final)
        finally:
            self._writer.shutdown(wait=False, cancel_futures=True)

    def _close(self, *, final: bool) -> None:
        """Roll everything, however long the disk takes to have room for it."""
        told = False
        while True:
            try:
                return self._writer.submit(self._recorder.close, final=final).result()
            except OSError as error:
                if self._interrupted or not final:
                    raise
                if not told:
                    _log.warning("cannot write to the sweep folder: %s; waiting", error)
                told = True
            time.sleep(PATIENT_COMMIT_S)

    def _abandon(self) -> None:
        """Another driver has the folder: nothing more is written."""
        self._writer.shutdown(wait=True, cancel_futures=True)

    @contextmanager
    def _lease(self) -> Iterator[None]:
        """Keep the lease whatever this thread does: inline it may be in a training function, or its debugger."""
        over = threading.Event()

        def keep() -> None:
            while not over.wait(LEASE_S):
                with suppress(RuntimeError):  # the writing thread has ended
                    self._writer.submit(self._recorder.keep_lease)

        threading.Thread(target=keep, name="caviar-lease", daemon=True).start()
        try:
            yield
        finally:
            over.set()

    @contextmanager
    def _signals(self) -> Iterator[None]:
        """The first Ctrl-C or SIGTERM ends the loop at its next turn; the second one interrupts at once."""

        def on_signal(number: int, frame: FrameType | None) -> None:
            if self._interrupted:
                raise KeyboardInterrupt
            self._interrupted = True

        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {number: signal.signal(number, on_signal) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

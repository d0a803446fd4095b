"""A supervisor of one training process: feeds it trials, gathers what it sends, replaces it when it dies.

It lives in a process of its own beside the training process, so that it answers whatever that one does. Ray's
worker actor is a supervisor with a name; nothing here knows Ray.
"""

from __future__ import annotations

import secrets
import shutil
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from caviar.execution import memory, preload, process
from caviar.execution.birth import TrainingProcess, prepare_fork_server
from caviar.execution.contract import TrialFiles
from caviar.execution.logs import LogPump
from caviar.execution.process import ANSWER, LAUNCH, RECALL, STOP
from caviar.execution.resources import Resources
from caviar.execution.tracebacks import format_stack
from caviar.execution.training import not_trained
from caviar.execution.watchdog import Verdict, Watchdog
from caviar.execution.wire import (
    APPLIED,
    BACK,
    ENDED,
    PAUSED,
    REPLACED,
    REPORTS,
    RUNG,
    SET_UP,
    STARTED,
    TOLD,
    UNPAUSED,
    Batch,
    Entry,
    batch,
    pack_launch,
    row_count,
)
from caviar.messages import Launch

UNACKNOWLEDGED_ROWS = 500_000
"""Past this many reports that the driver has not committed, the training process has to wait."""

BIRTHS_WITHOUT_A_TRIAL = 3
"""So many training processes in a row that die before they began a trial: the next trial is charged for it."""

Order = tuple[Any, ...]
"""What the driver wants done: (LAUNCH, [launch, ...]), or an ANSWER, STOP or RECALL as in `process`."""


class Supervisor:
    """One training process and the trials that are in its hand."""

    def __init__(
        self,
        pickled_job: bytes,
        *,
        resources: Resources,
        files: TrialFiles,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="caviar-", ignore_cleanup_errors=True)
        self._job_file = str(Path(self._folder.name, "job.pickle"))
        preload.write_job(pickled_job, Path(self._job_file), resources=resources)
        self._one_trial_each = resources.fresh_process
        self._changed = threading.Condition()
        """Guards everything below."""
        self._queue: deque[Launch] = deque()
        """Not yet handed to the training process."""
        self._handed: dict[int, Launch] = {}
        """Handed to it and not begun, in order."""
        self._running: Launch | None = None
        self._running_step = 0
        self._orders: deque[Order] = deque()
        """For the training process, sent by a thread of their own: its pipe may be full."""
        self._outbox: deque[tuple[int, list[Entry]]] = deque()
        """(batch number, entries), kept until acknowledged."""
        self._fresh: list[Entry] = []
        """Entries of no batch yet."""
        self._batch = 0
        self._rows_waiting = 0
        self._urgent = False
        self._nudged = False
        self._returned_at = 0.0
        self._request = 0
        self._idle_births = 0
        self._clock = clock
        """What a training process is given time by."""
        self._watchdog = Watchdog(resources)
        self._verdict: Verdict | None = None
        """Why we end the training process."""
        self._leaving = False
        """Whether the training process has said that it is to be replaced."""
        self._kernel = memory.KernelKills()
        self._closed = threading.Event()
        self._broken: Exception | None = None
        """Why there can be no further training process."""
        self._logs = LogPump(files.log, logged=files.logged)
        prepare_fork_server(self._job_file, threads=resources.threads)
        self._training = self._bear()
        for target in (self._send_orders, self._watch, self._guard):
            threading.Thread(target=target, name=f"caviar{target.__name__}", daemon=True).start()

    @property
    def folder(self) -> str:
        """What this machine keeps for as long as the supervisor and its training process live."""
        return self._folder.name

    # --- the driver's side -------------------------------------------------------------------------

    def exchange(
        self,
        number: int,
        orders: list[Order],
        *,
        received: int,
        acknowledged: int,
        interval_s: float,
        hold_s: float,
    ) -> list[Batch]:
        """Take orders and wait for something to tell: at once if it is urgent, at most every ``interval_s`` if it
        is not, and after ``hold_s`` in any case.

        A request with a ``number`` that was already seen brings no new orders: its reply was lost. Returns the
        batches after ``received``.
        """
        with self._changed:
            if self._broken is not None:
                raise self._broken
            if number > self._request:
                self._request = number
                self._obey(orders)
            while self._outbox and self._outbox[0][0] <= acknowledged:
                self._rows_waiting -= row_count(self._outbox.popleft()[1])
                self._changed.notify_all()
            resend = bool(self._outbox) and self._outbox[-1][0] > received
            self._wait(resend, interval_s, hold_s)
            self._returned_at = time.monotonic()
            self._urgent = self._nudged = False
            if self._fresh:
                self._batch += 1
                self._outbox.append((self._batch, self._fresh))
                self._fresh = []
            batches = [(sent, entries) for sent, entries in self._outbox if sent > received]
        return [batch(sent, entries) for sent, entries in batches]

    def nudge(self) -> None:
        """Let the exchange that waits return at once: the driver has orders."""
        with self._changed:
            self._nudged = True
            self._changed.notify_all()

    def close(self) -> None:
        """End the training process and everything that it started."""
        with self._changed:
            self._closed.set()
            self._changed.notify_all()
        self._training.end()
        self._logs.close()
        self._folder.cleanup()

    def _wait(self, resend: bool, interval_s: float, hold_s: float) -> None:
        deadline = time.monotonic() + hold_s
        while not (resend or self._urgent or self._nudged or self._closed.is_set()):
            now = time.monotonic()
            until = min(deadline, self._returned_at + interval_s) if self._fresh else deadline
            if until <= now:
                return
            self._changed.wait(until - now)

    def _obey(self, orders: list[Order]) -> None:
        for order in orders:
            match order:
                case (kind, launches) if kind == LAUNCH:
                    self._queue.extend(Launch(*launch) for launch in launches)
                case (kind, trial, attempt, reason) if kind == STOP:
                    queued = next(
                        (one for one in self._queue if (one.trial, one.attempt) == (trial, attempt)), None
                    )
                    if queued is None:
                        self._orders.append(order)
                    else:
                        self._queue.remove(queued)
                        self._fresh.append(not_trained(queued, outcome="stopped", reason=reason))
                        self._urgent = True
                case (kind, count) if kind == RECALL:
                    back = [self._queue.pop().trial for _ in range(min(count, len(self._queue)))]
                    if back:
                        self._fresh.append((BACK, back))
                        self._urgent = True
                    if len(back) < count:
                        self._orders.append((RECALL, count - len(back)))
                case _:
                    if order[0] == ANSWER:
                        self._watchdog.answered(self._clock())
                    self._orders.append(order)
        self._feed()

    # --- the training process's side ---------------------------------------------------------------

    def _feed(self) -> None:
        """Hand trials over: all of them, or one at a time where each gets a process of its own."""
        launches = list(self._queue)
        if self._one_trial_each:
            launches = launches[:1] if self._running is None and not self._handed else []
        if launches:
            for launch in launches:
                self._queue.popleft()
                self._handed[launch.trial] = launch
            self._orders.append((LAUNCH, [pack_launch(launch) for launch in launches]))
            self._watchdog.handed(self._clock())
        self._changed.notify_all()

    def _send_orders(self) -> None:
        while True:
            with self._changed:
                while not self._orders:
                    if self._closed.is_set():
                        return
                    self._changed.wait()
                order, training = self._orders.popleft(), self._training
            with suppress(OSError):  # it died: `_watch` sees to it, and to what it had in hand
                training.connection.send(order)

    def _watch(self) -> None:
        try:
            self._watch_training()
        except Exception as error:  # noqa: BLE001 - no process can be started any more, say: the driver must know
            with self._changed:
                self._broken = error
                self._urgent = True
                self._changed.notify_all()

    def _watch_training(self) -> None:
        """Take what the training process sends; when it is gone, see to its trial and start another."""
        while True:
            with self._changed:
                while self._rows_waiting > UNACKNOWLEDGED_ROWS and not self._closed.is_set():
                    self._changed.wait()
                if self._closed.is_set():
                    return
            try:
                entries = self._training.connection.recv()
            except (EOFError, OSError):
                self._replace()
            else:
                self._gather(entries)

    def _gather(self, entries: list[Entry]) -> None:
        with self._changed:
            now = self._clock()
            for entry in entries:
                kind = entry[0]
                if kind == REPORTS:
                    self._rows_waiting += len(entry[5])
                    self._running_step = int(entry[5][-1][0])
                elif kind == STARTED:
                    self._running = self._handed.pop(entry[2], None)
                    self._running_step = entry[4] or 0
                    self._idle_births = 0
                elif kind == ENDED:
                    if self._handed.pop(entry[2], None) is None:  # else it was stopped before it began
                        self._running = None
                elif kind in (RUNG, APPLIED, PAUSED, UNPAUSED):  # somebody waits for it
                    self._urgent = True
                elif kind == BACK:
                    for trial in entry[1]:
                        self._handed.pop(trial, None)
                    self._urgent = True
                elif kind == REPLACED:
                    self._leaving = True
                self._watchdog.heard(entry, now, in_hand=bool(self._handed))
            self._fresh.extend(entry for entry in entries if entry[0] not in (SET_UP, TOLD))
            if self._running is None and not self._handed:
                self._urgent = True  # it has nothing to do
            self._changed.notify_all()

    def _replace(self) -> None:
        cause = f"its training process {self._training.bury()}"
        if self._training.killed:
            cause += self._kernel.verdict()
        shutil.rmtree(process.scratch(self._job_file, self._training.pid), ignore_errors=True)
        with self._changed:
            if self._closed.is_set():
                return
            self._orders.clear()
            self._queue.extendleft(reversed(self._handed.values()))
            self._handed.clear()
            if self._running is not None:
                self._fresh.append(self._end_of(self._running, cause))
                self._urgent = True
            elif not self._accounted_for():
                self._idle_births += 1
                if self._idle_births >= BIRTHS_WITHOUT_A_TRIAL and self._queue:
                    reason = self._verdict.reason if self._verdict else cause
                    self._fresh.append(not_trained(self._queue.popleft(), outcome="failed", reason=reason))
                    self._urgent = True
            self._running, self._verdict, self._leaving = None, None, False
            training = self._bear()
            self._training.connection.close()
            self._training = training
            self._feed()

    def _accounted_for(self) -> bool:
        """Whether it is known why the training process ended without a trial, and that it will not go on so."""
        if self._verdict is not None:  # for a trial whose end had been sent
            return self._verdict.attempt is not None
        return self._leaving or (self._one_trial_each and self._training.returned)

    def _end_of(self, victim: Launch, cause: str) -> Entry:
        """How a trial ends with its training process."""
        attempt, now_us = (victim.trial, victim.attempt), time.time_ns() // 1000
        outcome, reason, error = "failed", cause, cause
        verdict = self._verdict
        if verdict is not None:
            reason, error = verdict.reason, format_stack(self._training.words) or verdict.reason
            if verdict.attempt != attempt:  # the end of the one before had been sent, and this one had begun
                outcome = "lost"
                reason = error = f"ended with its training process, which had been ended before: {verdict.reason}"
            else:
                self._logs.note(victim.trial, f"ended: {verdict.reason}")
        decided = self._watchdog.decided(attempt, now_us)
        if decided is not None and outcome == "failed":  # the decision counts, not what the function made of it
            return (*decided[:7], error, *decided[8:])
        return (ENDED, now_us, *attempt, self._running_step, outcome, reason, error, None, None, None)

    def _bear(self) -> TrainingProcess:
        self._watchdog.born()
        mark = b"\0caviar:%s:" % secrets.token_hex(8).encode()
        training = TrainingProcess(self._job_file, log_mark=mark)
        self._logs.attach(training.output, mark)
        return training

    # --- limits --------------------------------------------------------------------------------------

    def _guard(self) -> None:
        """Look again and again whether the training process is still within its limits."""
        while not self._closed.wait(self._watchdog.tick_s):
            self._kernel.look(time.monotonic())
            with suppress(OSError):  # no descriptors left, say: then the next look
                self._look()

    def _look(self) -> None:
        with self._changed:
            training = self._training
            verdict = self._watchdog.due(self._clock())
            if verdict is not None and training.connection.poll():  # there is word of it, only not taken yet
                return
        verdict = verdict or self._watchdog.too_large(
            lambda: memory.used_bytes(training.pid), lambda: memory.used_exactly_bytes(training.pid)
        )
        if verdict is None:
            return
        with self._changed:
            attempt = (self._running.trial, self._running.attempt) if self._running is not None else None
            if self._training is not training or attempt != verdict.attempt:
                return
            self._verdict = verdict
        training.end_with_words()

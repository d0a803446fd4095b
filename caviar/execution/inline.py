"""Trials in this process, on this thread, one at a time: breakpoints, `pdb` and profilers work."""

from __future__ import annotations

import bdb
import time
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path

from caviar.errors import TrialStopped
from caviar.execution.contract import Arrivals, Deliver, Executor, Job
from caviar.execution.training import Link, Trial, not_trained, run_attempt
from caviar.execution.wire import STARTED, Entry, Outbox, Row, Run, columns, event
from caviar.messages import Adjust, Answer, Command, Launch, Pause, Stop

FLUSH_S = 0.1
"""Reports are delivered no later than at the first report after this."""

WAIT_S = 0.02
"""How often a trial that is paused looks whether it may go on."""


class Inline(Executor, Link):
    """Runs trials in this process, one at a time. What they print goes to the screen.

    Nobody stands beside the training function here: limits of `Resources` on time and memory do not hold.
    """

    def __init__(self) -> None:
        self._queue: deque[Launch] = deque()
        self._trial: Trial | None = None
        self._log: tuple[int, Path] | None = None
        self._outbox = Outbox()
        self._delivered_at = 0.0
        self._shared: list[object] = []
        self._broken: BaseException | None = None

    # --- the contract ------------------------------------------------------------------------------

    def start(self, job: Job, deliver: Deliver) -> None:
        self._job = job
        self._deliver = deliver
        self._shared = []

    def room(self) -> int:
        return 0 if self._queue or self._trial is not None else 1

    def send(self, commands: Sequence[Command]) -> None:
        for command in commands:
            match command:
                case Launch():
                    self._queue.append(command)
                case Answer(trial, attempt, stop, next_rung, reason):
                    if self._trial is not None and (self._trial.id, self._trial.attempt) == (trial, attempt):
                        if stop:
                            self._trial.stop(reason or "stopped")
                        else:
                            self._trial.answered(next_rung)
                case Stop(trial, attempt, reason):
                    self._stop(trial, attempt, reason)
                case Adjust(trial, attempt, command_id, changes, certain):
                    if self._trial is not None and (self._trial.id, self._trial.attempt) == (trial, attempt):
                        self._trial.adjust(command_id, changes, certain=certain)
                case Pause(trial, attempt, over):
                    if self._trial is not None and (self._trial.id, self._trial.attempt) == (trial, attempt):
                        self._trial.pause(over=over)

    def poll(self, timeout_s: float) -> None:
        if not self._queue:
            time.sleep(timeout_s)  # the runner waits for something else: the disk
            return
        launch = self._queue.popleft()
        restored = launch.checkpoint[1] if launch.checkpoint else None
        self._outbox.add((STARTED, self.now_us(), launch.trial, launch.attempt, restored))
        try:
            end = run_attempt(launch, job=self._job, link=self, shared=self._shared)
        except bdb.BdbQuit:  # who leaves the debugger leaves the sweep, as with Ctrl-C
            raise KeyboardInterrupt from None
        if self._broken is not None:
            broken, self._broken = self._broken, None
            raise broken
        self._outbox.add(end)
        self._flush()

    def fetch(self) -> None:
        self._flush()

    def now_us(self) -> int:
        return time.time_ns() // 1000

    def close(self) -> None:
        self._queue.clear()

    def _stop(self, trial: int, attempt: int, reason: str) -> None:
        if self._trial is not None and self._trial.id == trial:
            self._trial.stop(reason)
            return
        for launch in self._queue:
            if launch.trial == trial:
                self._queue.remove(launch)
                self._outbox.add(not_trained(launch, outcome="stopped", reason=reason))
                self._flush()
                return

    # --- the trial's link --------------------------------------------------------------------------

    def attend(self, trial: Trial | None) -> None:
        self._trial = trial
        if trial is None and self._log is not None:
            self._job.files.logged(*self._log)
            self._log = None

    def open(self, run: Run) -> None:
        run.rows = _Rows(self._flush_if_due)
        self._outbox.open(run)

    def breathe(self) -> None:
        pass

    def tell(self, entry: Entry) -> None:
        self._outbox.add(entry)
        self._flush()

    def ask(self, trial: Trial, entry: Entry) -> None:
        self.tell(entry)  # the answer comes through `send` before this returns

    def wait(self, trial: Trial) -> None:
        while not trial.news:
            self._flush()  # the runner looks into the inbox
            time.sleep(WAIT_S)

    def log(self, trial: Trial, text: str) -> None:
        if self._log is None:
            self._log = trial.id, self._job.files.log(trial.id)
        with self._log[1].open("a") as file:
            file.write(text + "\n")

    def _flush_if_due(self) -> None:
        if time.monotonic() - self._delivered_at > FLUSH_S:
            self._flush()

    def _flush(self) -> None:
        entries = self._outbox.take()
        self._delivered_at = time.monotonic()
        happened = [event(entry, "inline") for entry in entries]
        try:
            self._deliver(Arrivals(columns(entries), [one for one in happened if one is not None]))
        except BaseException as error:
            if self._trial is None:
                raise
            self._broken = error  # the sweep's fault, not the trial's: get out of the training function first
            raise TrialStopped("the sweep ends") from error


class _Rows(list[Row]):
    """Rows that see to their delivery: nobody else has the time, on the only thread."""

    def __init__(self, appended: Callable[[], None]) -> None:
        super().__init__()
        self._appended = appended

    def append(self, row: Row) -> None:
        super().append(row)
        self._appended()

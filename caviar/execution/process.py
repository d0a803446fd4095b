"""The training process: it takes trials from its supervisor, trains them one after another on its main thread,
and sends back what they report.

A second thread reads what the supervisor sends, and sends reports that have waited for too long because the
training function is busy between two of them.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections import deque
from multiprocessing.connection import Connection
from typing import Any

from caviar.execution import preload
from caviar.execution.training import Link, Trial, not_trained, run_attempt
from caviar.execution.wire import BACK, REPORTS, STARTED, Entry
from caviar.messages import Launch

BATCH_S = 0.01
"""A report is sent at once, with those that wait, if nothing was sent for this long."""

BATCH_ROWS = 4096
"""It is sent at once if so many wait, too."""

IDLE_S = 0.05
"""Where no further report comes, those that wait are sent after this."""

# what a supervisor sends
LAUNCH, ANSWER, STOP, RECALL = range(4)


class PipeLink(Link):
    """A trial's link through the pipe to the supervisor."""

    def __init__(self, connection: Connection, log_mark: bytes) -> None:
        self._connection = connection
        self._log_mark = log_mark
        self._lock = threading.Lock()
        """Guards what is yet to be sent, and the sending."""
        self._entries: list[Entry] = []
        self._rows: list[tuple[float, ...]] = []
        """Rows of the last entry, which is open for more of the same trial with the same names."""
        self._open: tuple[Trial, tuple[str, ...]] | None = None
        self._row_count = 0
        self._sent_at = 0.0
        self._in_hand: deque[Launch] = deque()
        self._stopped_in_hand: dict[tuple[int, int], str] = {}
        self._arrived = threading.Condition()
        """Guards what the supervisor sent: trials in hand, answers, stops."""
        self._trial: Trial | None = None
        self._answered = False

    # --- the trial's side, on the main thread ------------------------------------------------------

    def report(self, trial: Trial, names: tuple[str, ...], row: tuple[float, ...]) -> None:
        with self._lock:
            if self._open is None or self._open[1] != names:
                self._rows = []
                self._entries.append((REPORTS, trial.id, trial.attempt, trial.reports, names, self._rows))
                self._open = (trial, names)
            self._rows.append(row)
            self._row_count += 1
            if self._row_count >= BATCH_ROWS or time.monotonic() - self._sent_at > BATCH_S:
                self._send()

    def tell(self, entry: Entry) -> None:
        with self._lock:
            self._entries.append(entry)
            self._open = None
            self._send()

    def ask(self, trial: Trial, entry: Entry) -> None:
        with self._arrived:
            self._answered = False
        self.tell(entry)
        with self._arrived:
            while not self._answered:
                self._arrived.wait()

    def log(self, trial: Trial, text: str) -> None:
        print(text, flush=True)

    def next_launch(self) -> Launch:
        """The next trial to train, as soon as there is one."""
        with self._arrived:
            if self._in_hand:
                return self._in_hand.popleft()
        self.flush()  # nobody knows how long it will be idle
        with self._arrived:
            while not self._in_hand:
                self._arrived.wait()
            return self._in_hand.popleft()

    def stopped_in_hand(self, launch: Launch) -> str | None:
        """Why a trial is to stop before it begins, or None."""
        with self._arrived:
            return self._stopped_in_hand.pop((launch.trial, launch.attempt), None)

    def begin(self, launch: Launch) -> None:
        """A trial begins: say so at once, together with the end of the one before it."""
        os.write(1, b"%s%d\n" % (self._log_mark, launch.trial))
        restored = launch.checkpoint[1] if launch.checkpoint else None
        self.tell((STARTED, time.time_ns() // 1000, launch.trial, launch.attempt, restored))

    def attend(self, trial: Trial | None) -> None:
        with self._arrived:
            self._trial = trial
            if trial is not None:
                reason = self._stopped_in_hand.pop((trial.id, trial.attempt), None)
                if reason is not None:  # it came between `stopped_in_hand` and now
                    trial.stop(reason)

    def end(self, entry: Entry) -> None:
        """A trial came to its end. Sent with the start of the next one, or as soon as there is none."""
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        with self._lock:
            self._entries.append(entry)
            self._open = None

    def flush(self) -> None:
        """Send what waits."""
        with self._lock:
            if self._entries:
                self._send()

    def _send(self) -> None:
        entries, self._entries = self._entries, []
        self._open = None
        self._row_count = 0
        self._sent_at = time.monotonic()
        self._connection.send(entries)

    # --- the supervisor's side, on the second thread -----------------------------------------------

    def listen(self) -> None:
        """Take what the supervisor sends; end this process when the supervisor is gone."""
        try:
            while True:
                if self._connection.poll(IDLE_S):
                    self._take(self._connection.recv())
                elif self._entries:
                    self.flush()
        except (EOFError, OSError):
            os._exit(1)

    def _take(self, message: tuple[Any, ...]) -> None:
        with self._arrived:
            match message:
                case (kind, launches) if kind == LAUNCH:
                    self._in_hand.extend(Launch(*launch) for launch in launches)
                case (kind, trial, attempt, next_rung, reason) if kind == ANSWER:
                    if self._trial is not None and (self._trial.id, self._trial.attempt) == (trial, attempt):
                        if reason is None:
                            self._trial.answered(next_rung)
                        else:
                            self._trial.stop(reason)
                        self._answered = True
                case (kind, trial, attempt, reason) if kind == STOP:
                    if self._trial is not None and (self._trial.id, self._trial.attempt) == (trial, attempt):
                        self._trial.stop(reason)
                    else:
                        self._stopped_in_hand[trial, attempt] = reason
                case (kind, count) if kind == RECALL:
                    back = [self._in_hand.pop().trial for _ in range(min(count, len(self._in_hand)))]
                    with self._lock:
                        self._entries.append((BACK, back))
                        self._open = None
                        self._send()
            self._arrived.notify_all()


def main(connection: Connection, output: Connection, log_mark: bytes, job_file: str) -> None:
    """Train until the supervisor hangs up, or for one trial where each has a process of its own."""
    os.setsid()  # so that whatever a trial leaves running can be ended with its process
    for fd in (1, 2):
        os.dup2(output.fileno(), fd)
    output.close()
    sys.stdin = os.fdopen(os.open(os.devnull, os.O_RDONLY))
    sys.stdout, sys.stderr = (os.fdopen(fd, "w", buffering=1, closefd=False) for fd in (1, 2))
    link = PipeLink(connection, log_mark)
    threading.Thread(target=link.listen, name="caviar-link", daemon=True).start()
    job = preload.job(job_file)
    _limit_threads(job.resources.threads)
    shared: list[object] = []
    while True:
        launch = link.next_launch()
        reason = link.stopped_in_hand(launch)
        if reason is not None:
            link.end(not_trained(launch, outcome="stopped", reason=reason))
            continue
        link.begin(launch)
        link.end(run_attempt(launch, job=job, link=link, shared=shared))
        if job.resources.fresh_process:
            link.flush()
            return


def _limit_threads(threads: int) -> None:
    """Libraries read the environment when they load; torch, already loaded with the job, is told."""
    torch = sys.modules.get("torch")
    if torch is not None:
        torch.set_num_threads(threads)

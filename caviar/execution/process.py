"""The training process: it takes trials from its supervisor, trains them one after another on its main thread,
and sends back what they report.

A second thread reads what the supervisor sends, and sends reports that have waited for too long because the
training function is busy between two of them.
"""

from __future__ import annotations

import ctypes
import faulthandler
import os
import select
import shutil
import signal
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NoReturn, TextIO

from caviar.execution import gpus, memory, preload
from caviar.execution.tracebacks import one_line
from caviar.execution.training import Link, Trial, not_trained, run_attempt
from caviar.execution.wire import BACK, REPLACED, STARTED, Entry, Outbox, Run
from caviar.messages import SCRATCH, Launch

SEND_S = 0.02
"""Reports are sent this often, by the second thread: what the training function pays is an append. Where it
reports faster than they are taken, it sends them itself (`PipeLink.breathe`), and so goes no faster than that."""

STACK_SIGNAL = signal.SIGRTMAX - 5
"""On this, a training process writes where its threads are, and ends: a call that hung may return for a signal,
and what would come of that is no trial's doing. It is one that no training function uses for itself."""

PR_SET_NAME = 15
"""Linux's number for naming a thread, and by its main thread a process: what `top` and `ps -o comm` show."""

KEEP_S = 10.0
"""So long the place of a trial is kept that is to be launched again."""

# what a supervisor sends
LAUNCH, ANSWER, STOP, RECALL, ADJUST, PAUSE, KEEP = range(7)


class PipeLink(Link):
    """A trial's link through the pipe to the supervisor."""

    def __init__(self, connection: Connection, output: Connection, *, log_mark: bytes, job_file: str) -> None:
        self._connection = connection
        self._output = output
        self._log_mark = log_mark
        self._job_file = Path(job_file)
        self._sending = threading.Lock()
        """Held by whoever sends, from taking what there is to having sent it, so that nothing is overtaken."""
        self._outbox = Outbox()
        self._in_hand: deque[Launch] = deque()
        self._stopped_in_hand: dict[tuple[int, int], str] = {}
        self._kept: int | None = None
        """The trial that is to be the next one, whatever is in hand."""
        self._arrived = threading.Condition()
        """Guards what the supervisor sent: trials in hand, answers, stops."""
        self._trial: Trial | None = None
        self._beginning: tuple[int, int] | None = None
        """(trial, attempt) of which it was said that it begins; `setup` may take its time until it does."""
        self._early: list[tuple[Any, ...]] = []
        """What came for it meanwhile."""
        self._answered = False
        self._streams: tuple[TextIO, ...] | None = None
        """Our own stdout and stderr."""
        libc = ctypes.CDLL(None)
        self._flush_c: Callable[[], object] = lambda: libc.fflush(None)
        self._take_name: Callable[[str], object] = lambda name: _name_process(libc, name)

    # --- the trial's side, on the main thread ------------------------------------------------------

    def open(self, run: Run) -> None:
        self._outbox.open(run)

    def breathe(self) -> None:
        self.flush()

    def tell(self, entry: Entry) -> None:
        self._outbox.add(entry)
        self.flush()

    def note(self, entry: Entry) -> None:
        self._outbox.add(entry)

    def ask(self, trial: Trial, entry: Entry) -> None:
        with self._arrived:
            self._answered = False
        self.tell(entry)
        with self._arrived:
            while not self._answered:
                self._arrived.wait()

    def wait(self, trial: Trial) -> None:
        self.flush()
        with self._arrived:
            while not trial.news:
                self._arrived.wait()

    def log(self, trial: Trial, text: str) -> None:
        print(text, flush=True)

    def next_launch(self) -> Launch:
        """The next trial to train, as soon as there is one."""
        until = time.monotonic() + KEEP_S
        with self._arrived:
            launch = self._first(until)
        if launch is None:
            self.flush()  # nobody knows how long it will be idle
            with self._arrived:
                while (launch := self._first(until)) is None:
                    self._arrived.wait(None if self._kept is None else max(0.0, until - time.monotonic()))
        return launch

    def _first(self, until: float) -> Launch | None:
        """Of those in hand, the one that is next; None: it is not there yet."""
        if self._kept is not None:
            launch = next((one for one in self._in_hand if one.trial == self._kept), None)
            if launch is not None:
                self._kept = None
                self._in_hand.remove(launch)
                return launch
            if time.monotonic() < until:
                return None
            self._kept = None
        return self._in_hand.popleft() if self._in_hand else None

    def stopped_in_hand(self, launch: Launch) -> str | None:
        """Why a trial is to stop before it begins, or None."""
        with self._arrived:
            return self._stopped_in_hand.pop((launch.trial, launch.attempt), None)

    def begin(self, launch: Launch) -> None:
        """A trial begins: say so at once, together with the end of the one before it."""
        with self._arrived:
            self._beginning, self._early = (launch.trial, launch.attempt), []
        self.take_output()
        self._take_name(f"caviar:{launch.trial}")
        with suppress(OSError):  # nobody keeps logs any more
            os.write(1, b"%s%d\n" % (self._log_mark, launch.trial))
        restored = launch.checkpoint[1] if launch.checkpoint else None
        self.tell((STARTED, time.time_ns() // 1000, launch.trial, launch.attempt, restored))

    def take_output(self) -> None:
        """Take what is printed, from Python, C and children; whatever the trial before did to these streams."""
        for fd in (1, 2):
            os.dup2(self._output.fileno(), fd)
        if self._streams is None or any(stream.closed for stream in self._streams):
            self._streams = tuple(os.fdopen(fd, "w", buffering=1, closefd=False) for fd in (1, 2))
        sys.stdout, sys.stderr = self._streams

    def attend(self, trial: Trial | None) -> None:
        with self._arrived:
            self._trial, self._beginning = trial, None
            if trial is not None:
                for message in self._early:
                    self._take_order(message)
                reason = self._stopped_in_hand.pop((trial.id, trial.attempt), None)
                if reason is not None:  # it came between `stopped_in_hand` and now
                    trial.stop(reason)

    def end(self, entry: Entry) -> None:
        """A trial came to its end. Sent with the start of the next one, or as soon as there is none."""
        for stream in (sys.stdout, sys.stderr):
            with suppress(Exception):  # the trial may have closed it, or put something else in its place
                stream.flush()
        with suppress(Exception):
            self._flush_c()
        self._outbox.add(entry)

    def leave(self, reason: str) -> NoReturn:
        """End this process so that another takes its place, and what it has in hand."""
        self._outbox.add((REPLACED, time.time_ns() // 1000, reason))
        self.flush()
        os._exit(0)  # without waiting for threads and processes that trials left running

    def flush(self) -> None:
        """Send what waits."""
        with self._sending:
            entries = self._outbox.take()
            if entries:
                self._connection.send(entries)

    # --- the supervisor's side, on the second thread -----------------------------------------------

    def listen(self) -> None:
        """Take what the supervisor sends, and send what waits; end this process when the supervisor is gone."""
        poller = select.poll()  # `Connection.poll` would make one each time
        poller.register(self._connection.fileno(), select.POLLIN)
        try:
            while True:
                if poller.poll(SEND_S * 1000):
                    self._take(self._connection.recv())
                if self._outbox:
                    self.flush()
        except (EOFError, OSError):
            with suppress(OSError):  # an orderly supervisor has removed it
                shutil.rmtree(self._job_file.parent)
            os.killpg(0, signal.SIGKILL)  # with all that trials started: nobody else is left to end it

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
                        self._stop_in_hand((trial, attempt), reason)
                case (kind, trial, attempt, *_) if kind in (ADJUST, PAUSE):
                    if self._beginning == (trial, attempt):
                        self._early.append(message)
                    else:
                        self._take_order(message)
                case (kind, trial, attempt) if kind == KEEP:
                    here = None if self._trial is None else (self._trial.id, self._trial.attempt)
                    if (trial, attempt) in (here, self._beginning):
                        self._kept = trial
                case (kind, count) if kind == RECALL:
                    back = [self._in_hand.pop().trial for _ in range(min(count, len(self._in_hand)))]
                    with self._sending:  # past the outbox, whose last run is not ours to close
                        self._connection.send([(BACK, back)])
            self._arrived.notify_all()

    def _stop_in_hand(self, attempt: tuple[int, int], reason: str) -> None:
        """End what is not begun, at once: the trial before it may take hours."""
        launch = next((one for one in self._in_hand if (one.trial, one.attempt) == attempt), None)
        if launch is None:  # it is about to begin
            self._stopped_in_hand[attempt] = reason
            return
        self._in_hand.remove(launch)
        with self._sending:
            self._connection.send([not_trained(launch, outcome="stopped", reason=reason)])

    def _take_order(self, message: tuple[Any, ...]) -> None:
        kind, trial, attempt, *what = message
        if self._trial is None or (self._trial.id, self._trial.attempt) != (trial, attempt):
            return
        if kind == ADJUST:
            command_id, changes, certain = what
            self._trial.adjust(command_id, changes, certain=certain)
        else:
            self._trial.pause(over=what[0])


def _name_process(libc: ctypes.CDLL, name: str) -> None:
    """Name this process, on its main thread; where the system has no such call, it keeps its name."""
    prctl = getattr(libc, "prctl", None)
    if prctl is not None:
        prctl(PR_SET_NAME, name.encode(), 0, 0, 0)


def scratch(job_file: str, pid: int) -> Path:
    """Where a training process keeps what is to go with it; whoever started it removes it."""
    return Path(job_file).parent / f"scratch-{pid}"


def stack_file(job_file: str) -> Path:
    """Where a training process writes where its threads are: beside its job."""
    return Path(job_file).with_name("stacks")


def main(connection: Connection, output: Connection, log_mark: bytes, job_file: str) -> None:
    """Train until the supervisor hangs up, or for one trial where each has a process of its own."""
    os.environ[SCRATCH] = str(scratch(job_file, os.getpid()))
    os.setsid()  # so that whatever a trial leaves running can be ended with its process
    sys.stdin = os.fdopen(os.open(os.devnull, os.O_RDONLY))
    memory.be_first_to_go()
    stacks = os.open(stack_file(job_file), os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    signal.signal(STACK_SIGNAL, signal.SIG_DFL)
    faulthandler.register(STACK_SIGNAL, file=stacks, chain=True)  # then the default: the end of the process
    link = PipeLink(connection, output, log_mark=log_mark, job_file=job_file)
    link.take_output()
    threading.Thread(target=link.listen, name="caviar-link", daemon=True).start()
    try:
        job = preload.job(job_file)
    except BaseException as error:  # noqa: BLE001 - a module that is missing here, say: each trial tells it
        _refuse_all(link, error)
    _limit_threads(job.resources.threads)
    shared: list[object] = []
    growth = memory.Growth(job.resources.growth_limit_bytes)
    while True:
        launch = link.next_launch()
        reason = link.stopped_in_hand(launch)
        if reason is not None:
            link.end(not_trained(launch, outcome="stopped", reason=reason))
            continue
        gpus.keep_to_share(job.resources)
        link.begin(launch)
        link.end(run_attempt(launch, job=job, link=link, shared=shared, let_through=()))
        if job.resources.fresh_process:
            link.flush()
            os._exit(0)  # without waiting for threads and processes that the trial left running
        grown = growth.after_trial()
        if grown is not None:
            link.leave(grown)


def _refuse_all(link: PipeLink, error: BaseException) -> NoReturn:
    while True:
        launch = link.next_launch()
        reason = f"its worker cannot load the training function: {one_line(error)}"
        link.end(not_trained(launch, outcome="failed", reason=reason, error=error))


def _limit_threads(threads: int) -> None:
    """Libraries read the environment when they load; torch, already loaded with the job, is told."""
    torch = sys.modules.get("torch")
    if torch is not None:
        torch.set_num_threads(threads)

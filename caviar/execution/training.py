"""The trial as a training function sees it, and what running one attempt means, wherever it runs."""

from __future__ import annotations

import bdb
import errno
import math
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from time import time_ns
from types import MappingProxyType
from typing import Any

from caviar.errors import MetricError, TrialStopped
from caviar.execution.contract import Job
from caviar.execution.tracebacks import format_error, one_line
from caviar.execution.wire import (
    APPLIED,
    ENDED,
    PAUSED,
    RUNG,
    SAVED,
    SET_UP,
    TOLD,
    UNPAUSED,
    Entry,
    Row,
    Run,
)
from caviar.messages import LAST_STEP, RESERVED_METRICS, Adjust, Launch, Pause

NO_ROOM = (errno.ENOSPC, errno.EDQUOT)
"""What the system says where a disk, or what one may use of it, is full."""


class Link(ABC):
    """What connects a trial with whoever runs it."""

    @abstractmethod
    def attend(self, trial: Trial | None) -> None:
        """Answers and stops are for this trial from now on; None: its training function has ended."""

    @abstractmethod
    def open(self, run: Run) -> None:
        """The trial's reports are appended to the rows of this run, until the trial opens another or tells."""

    @abstractmethod
    def breathe(self) -> None:
        """Called once in many reports: let what carries them keep up."""

    @abstractmethod
    def tell(self, entry: Entry) -> None:
        """Send an entry, after every report so far."""

    def note(self, entry: Entry) -> None:
        """Take an entry that matters only to those who watch over the training function, and is in no hurry."""

    @abstractmethod
    def ask(self, trial: Trial, entry: Entry) -> None:
        """Send a RUNG entry and wait for its answer, which `Trial.answered` or `Trial.stop` was given."""

    @abstractmethod
    def wait(self, trial: Trial) -> None:
        """Return once the trial has been told something (`Trial.news`), without using the processor meanwhile."""

    @abstractmethod
    def log(self, trial: Trial, text: str) -> None:
        """Write a line to the trial's log."""


class Trial:
    """One attempt of one trial, as its training function sees it."""

    # Slots, copies of what every report needs, and a short way for the usual report: after a step of training all
    # of this is out of the processor's caches, and what a report costs is how much memory it touches.
    __slots__ = (
        "_asked",
        "_asks",
        "_best",
        "_best_step",
        "_certain",
        "_deferred",
        "_due_step",
        "_ending",
        "_halted",
        "_job",
        "_judged_until",
        "_launch",
        "_link",
        "_loop_step",
        "_max_step",
        "_metric_at",
        "_minimize",
        "_names",
        "_names_here",
        "_names_known",
        "_next_rung",
        "_orders",
        "_params",
        "_paused",
        "_restored_step",
        "_rows",
        "_saved_step",
        "_seq",
        "_shared",
        "_step",
        "_stop_reason",
        "_timeline",
        "_value",
        "_values",
    )

    def __init__(self, launch: Launch, *, job: Job, link: Link, shared: object) -> None:
        self._launch = launch
        self._job = job
        self._link = link
        self._shared = shared
        limit = job.max_step if launch.max_step is None else launch.max_step
        self._max_step = LAST_STEP if limit is None else limit
        self._judged_until = self._max_step + 1 if job.judged_at_end else self._max_step
        """A scheduler has nothing left to decide at max_step; rules may go back."""
        self._minimize = job.minimize
        self._values = dict(launch.params)
        self._params: Mapping[str, Any] = MappingProxyType(self._values)
        self._timeline = deque(launch.timeline)
        """What is known to change, and from which step on."""
        self._due_step: float = launch.timeline[0][0] if launch.timeline else math.inf
        """The first step of the timeline."""
        self._orders: deque[Adjust | Pause] = deque()
        self._certain: deque[Mapping[str, Any]] = deque()
        """Changes that the next step boundary brings, whatever else it does."""
        """What it was told to do at a step boundary, in order."""
        self._paused = launch.paused
        self._asks = False
        """Whether the training function asks if a checkpoint is due."""
        self._asked = False
        """Whether it did since there are orders."""
        self._deferred = False
        """Whether the orders have waited for a step so that it could."""
        self._restored_step = launch.checkpoint[1] if launch.checkpoint else 0
        self._step = self._restored_step
        self._saved_step = self._restored_step
        self._loop_step: int | None = None
        self._next_rung: float = math.inf if launch.next_rung is None else launch.next_rung
        self._seq = 0
        self._names: tuple[str, ...] | None = None
        """The metrics of the open run; None where none is open."""
        self._metric_at = -1
        """Where in them the sweep's metric is, or -1."""
        self._rows: list[Row] = []
        """The rows of the open run."""
        self._names_known: set[tuple[str, ...]] = set()
        self._names_here: tuple[str, ...] = ()
        """Metrics reported at the current step, so that none is reported twice."""
        self._stop_reason: str | None = None
        """Set from outside, at any moment, by whoever runs the trial."""
        self._ending: tuple[str, str | None] | None = None
        """(outcome, reason) once the trial has been told to end: every further report raises."""
        self._halted = launch.paused
        """Whether any of these is set, or there are orders: the next step boundary looks closer."""
        self._value: float | None = None
        self._best: float | None = None
        self._best_step: int | None = None

    # --- what it is --------------------------------------------------------------------------------

    @property
    def id(self) -> int:
        """The trial's number within its sweep, from 0."""
        return self._launch.trial

    @property
    def attempt(self) -> int:
        """Which launch of the trial this is, from 0."""
        return self._launch.attempt

    @property
    def seed(self) -> int:
        """A seed below 2**32 that depends on the sweep's seed and the trial's number alone."""
        return self._launch.seed

    @property
    def params(self) -> Mapping[str, Any]:
        """The chosen values, read-only. They change where a person, a rule or a schedule changes them: at a step
        boundary, on the training function's thread, and in this same mapping; so read them as you go."""
        return self._params

    @property
    def launch_params(self) -> Mapping[str, Any]:
        """The values that this attempt began with, whatever ``params`` has become since; read-only."""
        return MappingProxyType(self._launch.params)

    @property
    def shared(self) -> Any:
        """What ``setup`` returned in this process; None without one."""
        return self._shared

    @property
    def step(self) -> int:
        """The last step reported, or restored from; 0 at the beginning."""
        return self._step

    @property
    def max_step(self) -> int | None:
        """The step at which the trial is complete; None: it ends when the function returns."""
        return None if self._max_step == LAST_STEP else self._max_step

    @property
    def restored(self) -> Path | None:
        """The folder of the checkpoint to go on from, or None at the beginning."""
        checkpoint = self._launch.checkpoint
        return None if checkpoint is None else self._job.files.restore(self.id, checkpoint)

    def __repr__(self) -> str:
        return f"<Trial {self.id}, attempt {self.attempt}, step {self._step}>"

    # --- what it does ------------------------------------------------------------------------------

    def steps(self) -> Iterator[int]:
        """The steps to train: from the restored step + 1 to ``max_step``, or without end if that is None."""
        step = self._restored_step
        try:
            while step < self._max_step:
                step += 1
                if self._halted or step >= self._due_step:
                    self._boundary(step)
                self._loop_step = step
                yield step
        finally:
            self._loop_step = None

    def report(self, step: int | None = None, **metrics: Any) -> None:
        """Store metrics of one step; a few microseconds, and a wait only where the scheduler decides.

        ``step``: where it is not the loop's step, or the last one + 1; it must not shrink. Metrics are numbers:
        Python's, numpy's, 0-d arrays and tensors; NaN and infinities are stored. Raises `MetricError` for
        anything else, a reserved name, or a metric reported twice at one step; raises `TrialStopped` when the
        trial is to end, and again at every later report.
        """
        if self._halted:
            self._check_end()
        if step is None:
            step = self._step + 1 if self._loop_step is None else self._loop_step
        elif type(step) is not int:
            step = _as_step(step)
        names, values = tuple(metrics), tuple(metrics.values())
        for value in values:
            if type(value) is not float:
                values = tuple(as_number(name, value) for name, value in metrics.items())
                break
        if names != self._names or not self._step < step <= self._max_step:
            self._look_closer(step, names)
        else:
            self._names_here = names
        self._rows.append((step, time_ns() // 1000, *values))
        self._seq += 1
        self._step = step
        if self._metric_at >= 0:
            value = values[self._metric_at]
            self._value = value
            if -math.inf < value < math.inf:
                if self._best is None or (value < self._best if self._minimize else value > self._best):
                    self._best, self._best_step = value, step
            elif self._job.stop_on_nan:
                self._end("stopped", "diverged")
            if step >= self._next_rung and step < self._judged_until:
                self._ask(step, value)
        if not self._seq & 4095:
            self._link.breathe()
        if self._loop_step is None and (self._halted or step >= self._due_step - 1) and step < self._max_step:
            self._boundary(step + 1)  # without a loop over `steps`, this is where one step ends

    @property
    def checkpoint_due(self) -> bool:
        """Whether to write a checkpoint now: true once every ``checkpoint_every`` steps, and before the trial is
        adjusted or paused."""
        self._asks = True
        if self._orders or self._certain:
            self._asked = True
            return self._saved_step != self._step
        every = self._job.checkpoint_every
        return every is not None and self._step // every > self._saved_step // every

    @contextmanager
    def checkpoint(self) -> Iterator[Path]:
        """A folder to save the training state of the last reported step in.

        It is kept as a whole when the block ends, and not at all if the block raises. Where the disk has no room
        for it, it is dropped, the trial's log says so, and the trial trains on.
        """
        step = self._step
        if not self._seq and not self._restored_step:
            raise MetricError("checkpoint(): report a step first; a checkpoint is of the last reported step")
        given = False
        try:
            with self._draft(step) as folder:
                given = True
                yield folder
        except OSError as error:
            if not given or error.errno not in NO_ROOM:
                raise
            self._saved_step = step  # not due again at once
            with suppress(OSError):  # the log may lie on the same disk
                self.log(
                    f"[caviar: no room for the checkpoint of step {step}, which is dropped: {error.strerror}]"
                )
        else:
            self._saved_step = step
            self._tell((SAVED, time_ns() // 1000, self.id, self.attempt, step, self._value))
        if self._orders and self._loop_step is None and step < self._max_step:
            self._boundary(step + 1)  # they waited for it

    def log(self, text: str) -> None:
        """Write a line to the trial's log, beside what it prints."""
        self._link.log(self, text)

    # --- what those who run it do ------------------------------------------------------------------

    def stop(self, reason: str) -> None:
        """End the trial at its next step boundary. Safe from another thread."""
        self._stop_reason = reason
        self._halted = True

    def adjust(self, command: str, changes: Mapping[str, Any], *, certain: bool = False) -> None:
        """Change these params at the next step boundary, and tell that ``command`` is done; not where that is
        ``certain``. Safe from another thread."""
        if certain:
            self._certain.append(changes)
        else:
            self._orders.append(Adjust(self.id, self.attempt, command, changes))
        self._halted = True

    def pause(self, *, over: bool = False) -> None:
        """Wait at the next step boundary; ``over``: go on. Safe from another thread."""
        self._orders.append(Pause(self.id, self.attempt, over))
        self._halted = True

    @property
    def news(self) -> bool:
        """Whether it has been told something since it last looked."""
        return self._halted

    def answered(self, next_rung: int | None) -> None:
        """The scheduler lets it go on to ``next_rung``."""
        self._next_rung = math.inf if next_rung is None else next_rung

    def ended(self, error: BaseException | None) -> Entry:
        """The ENDED entry, after the training function returned or raised ``error``."""
        reason: str | None = None
        trace: str | None = None
        if self._ending is not None and (self._ending[0] != "returned" or self._metric_seen):
            outcome, reason = self._ending  # the decision counts, not what the function made of it
        elif isinstance(error, TrialStopped) and self._ending is None:
            outcome, reason = "stopped", "the training function raised TrialStopped"
        elif error is not None and self._ending is None:
            outcome, reason, trace = "failed", one_line(error), format_error(error)
        elif not self._metric_seen:
            outcome, reason = "failed", self._no_metric()
        else:
            outcome = "returned"
        self._ending, self._halted = (outcome, reason), True  # a thread that it left running may go on to report
        return (ENDED, *self._end_so_far(outcome, reason, trace))

    # --- inside ------------------------------------------------------------------------------------

    def _boundary(self, step: int) -> None:
        """Between two steps, before ``step`` is trained: do what it has been told to."""
        self._halted = False  # first, as another thread may set it again
        self._check_end()
        self._keep_timeline(step)
        while self._certain:
            self._change(self._certain.popleft())
        saved = self._asked or self._saved_step == self._step
        if self._orders and self._asks and not (saved or self._deferred):
            self._deferred = self._halted = True  # there was no chance to save what it had before
            return
        waits = False
        while True:
            waits = self._obey(step) and waits  # paused anew after it went on: that is told again
            if not self._paused:
                break
            if not waits:
                waits = True
                self._tell((PAUSED, time_ns() // 1000, self.id, self.attempt, self._step))
            self._link.wait(self)
            self._halted = False
            self._check_end()
        self._asked = self._deferred = False

    def _keep_timeline(self, step: int) -> None:
        while self._timeline and self._timeline[0][0] <= step:
            self._values.update(self._timeline.popleft()[1])
        self._due_step = self._timeline[0][0] if self._timeline else math.inf

    def _obey(self, step: int) -> bool:
        """Carry out all orders, in order. Returns whether it was paused throughout."""
        throughout = self._paused
        while self._orders:
            order = self._orders.popleft()
            if isinstance(order, Adjust):
                self._adjust(order, step)
            elif not order.over:
                self._paused = True
            else:
                self._paused = throughout = False
                self._tell((UNPAUSED, time_ns() // 1000, self.id, self.attempt, self._step))
        return throughout

    def _change(self, changes: Mapping[str, Any]) -> None:
        self._values.update(changes)
        left = ((at, {k: v for k, v in each.items() if k not in changes}) for at, each in self._timeline)
        self._timeline = deque((at, each) for at, each in left if each)
        self._due_step = self._timeline[0][0] if self._timeline else math.inf

    def _adjust(self, order: Adjust, step: int) -> None:
        self._change(order.changes)
        self._tell((APPLIED, time_ns() // 1000, self.id, self.attempt, step, order.command))

    @contextmanager
    def _draft(self, step: int) -> Iterator[Path]:
        """A folder for a checkpoint; where not even that has room, one to be thrown away, so that the function
        goes on as ever, and what was said when it ends."""
        full: OSError | None = None
        with ExitStack() as stack:
            try:
                folder = stack.enter_context(self._job.files.checkpoint(self.id, self.attempt, step))
            except OSError as error:
                if error.errno not in NO_ROOM:
                    raise
                full = error
                folder = Path(stack.enter_context(TemporaryDirectory(prefix="caviar-")))
            yield folder
        if full is not None:
            raise full

    def _check_end(self) -> None:
        if self._ending is not None:
            self._halted = True
            raise TrialStopped(self._ending[1] or "the trial has reached max_step")
        if self._stop_reason is not None:
            self._end("stopped", self._stop_reason)

    def _end(self, outcome: str, reason: str | None) -> None:
        self._ending = (outcome, reason)
        self._halted = True
        told = (outcome, reason) if outcome != "returned" or self._metric_seen else ("failed", self._no_metric())
        self._link.note((TOLD, *self._end_so_far(*told, None)))
        raise TrialStopped(reason or "the trial has reached max_step")

    def _end_so_far(self, outcome: str, reason: str | None, trace: str | None) -> tuple[Any, ...]:
        """The fields of `AttemptEnded`."""
        ids = (time_ns() // 1000, self.id, self.attempt, self._step)
        return (*ids, outcome, reason, trace, self._value, self._best, self._best_step)

    @property
    def _metric_seen(self) -> bool:
        return self._value is not None or self._launch.checkpoint is not None

    def _look_closer(self, step: int, names: tuple[str, ...]) -> None:
        """Check a report that is not simply the next one, and open a run for it."""
        if not self._step <= step <= LAST_STEP:
            raise MetricError(
                f"report(step={step!r:.60}): the last report was of step {self._step}; steps must not shrink, and "
                f"end at {LAST_STEP}"
            )
        if step > self._max_step:
            self._end("returned", None)
        if names not in self._names_known:
            self._check_names(names)
        if step == self._step and self._seq:
            twice = [name for name in names if name in self._names_here]
            if twice:
                raise MetricError(f"report({twice[0]}=...): step {step} already has a value of {twice[0]!r}")
            self._names_here += names
        else:
            self._names_here = names
        if names != self._names:
            run = Run(self.id, self.attempt, seq=self._seq, names=names, rows=[])
            self._link.open(run)
            self._rows, self._names = run.rows, names
            self._metric_at = names.index(self._job.metric) if self._job.metric in names else -1

    def _tell(self, entry: Entry) -> None:
        self._names = None  # what is reported after this belongs behind it
        self._link.tell(entry)

    def _ask(self, step: int, value: float) -> None:
        self._names = None
        self._link.ask(self, (RUNG, self.id, self.attempt, step, value))
        if self._stop_reason is not None:
            self._end("stopped", self._stop_reason)

    def _check_names(self, names: tuple[str, ...]) -> None:
        if not names:
            raise MetricError("report(): needs at least one metric, as in report(loss=0.5)")
        for name in names:
            if name in RESERVED_METRICS:
                allowed = ", ".join(sorted(RESERVED_METRICS))
                raise MetricError(f"report({name}=...): the names {allowed} are caviar's own; choose another")
            try:
                name.encode()
            except UnicodeEncodeError as error:
                raise MetricError(f"report({name!a:.60}=...): the name cannot be stored: {error.reason}") from None
        self._names_known.add(names)

    def _no_metric(self) -> str:
        seen = sorted({name for names in self._names_known for name in names})
        told = f"; it reported {', '.join(seen)}" if seen else ""
        return f"no report of {self._job.metric}{told}"


INTERRUPTS = (KeyboardInterrupt, GeneratorExit, bdb.BdbQuit)


def run_attempt(
    launch: Launch,
    *,
    job: Job,
    link: Link,
    shared: list[object],
    let_through: tuple[type[BaseException], ...] = INTERRUPTS,
) -> Entry:
    """Run one attempt to its end, whatever that is, and say how it ended (an ENDED entry).

    ``shared`` holds what ``setup`` returned in this process, or is empty before the first attempt.
    ``let_through``: what concerns whoever shares the process with the training function, and is no trial's end.
    """
    if not shared:
        try:
            shared.append(job.setup() if job.setup else None)
        except let_through:
            raise
        except BaseException as error:  # noqa: BLE001 - sys.exit in setup fails the trial as well
            return not_trained(launch, outcome="failed", reason=f"setup: {one_line(error)}", error=error)
        if job.setup is not None:
            link.note((SET_UP, launch.trial, launch.attempt))
    trial = Trial(launch, job=job, link=link, shared=shared[0])
    link.attend(trial)
    try:
        job.train(trial)
    except let_through:
        raise
    except BaseException as error:  # noqa: BLE001 - sys.exit and TrialStopped are ends of a trial too
        return trial.ended(error)
    finally:
        link.attend(None)
        job.files.settle(launch.trial)
    return trial.ended(None)


def not_trained(launch: Launch, *, outcome: str, reason: str, error: BaseException | None = None) -> Entry:
    """The ENDED entry of an attempt whose training function was never called."""
    step = launch.checkpoint[1] if launch.checkpoint else 0
    trace = None if error is None else format_error(error)
    now_us = time_ns() // 1000
    return (ENDED, now_us, launch.trial, launch.attempt, step, outcome, reason, trace, None, None, None)


def as_number(name: str, value: Any) -> float:
    """A metric's value as a float; what is no number raises `MetricError` that names the metric."""
    if not isinstance(value, str | bytes | complex):
        try:
            if getattr(value, "ndim", 0) == 0:
                return float(value)
        except (TypeError, ValueError, RuntimeError, OverflowError):
            pass
    shape = getattr(value, "shape", None)
    what = f"{type(value).__name__} of shape {tuple(shape)}" if shape else f"{type(value).__name__} {value!r:.60}"
    raise MetricError(f"report({name}=...): needs a number (or a 0-d array), got {what}")


def _as_step(step: Any) -> int:
    try:
        return int(step.__index__())
    except AttributeError:
        raise MetricError(f"report(step={step!r:.60}): needs a whole number") from None

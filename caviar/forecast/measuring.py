"""The first trials, trained for a few steps: in a training process as workers have one, and in a folder that goes
away. So what a plan says of time, it has seen."""

from __future__ import annotations

import os
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory

from caviar.controller import Controller
from caviar.errors import CaviarError
from caviar.execution.birth import THREAD_VARIABLES
from caviar.execution.contract import Job
from caviar.execution.hiring import pickled
from caviar.execution.preload import JOB_FILE
from caviar.execution.process import LAUNCH, STOP
from caviar.execution.supervisor import Order, Supervisor
from caviar.execution.wire import ENDED, STARTED, Entry, columns, pack_launch
from caviar.forecast.timings import Sample, timed
from caviar.messages import DriverStarted, Launch, Reports, RoomOffered
from caviar.state import Plan
from caviar.store.checkpoints import CheckpointFiles
from caviar.store.dowry import brought
from caviar.store.layout import SweepFolder

MOST_TRIALS = 100
SAMPLED = 1_000
"""Of so many trials at most some are chosen."""

ENOUGH_STEPS = 4
"""A trial that has trained so many has been seen enough of, unless that went by too fast."""

ENOUGH_S = 0.25
SHARE = 8
"""One part in so many of the time is all that a single trial is given, if it has come to a second step by then."""

POLL_S = 0.1
_STOP = "measured"


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """What came of it."""

    samples: Sequence[Sample]
    begun: int
    """Trials that were begun."""
    seconds: float
    failed: Mapping[str, int]
    """Why trials failed, and how many for that reason."""
    diverged: int


@dataclass(slots=True)
class _Watched:
    """A trial under way."""

    launch: Launch
    begin: int
    started_us: int | None = None
    began_s: float = 0.0
    moments: list[tuple[int, float]] = field(default_factory=list)
    told: bool = False

    def sample(self, end: Entry | None) -> Sample | None:
        found = timed(self.moments, begin=self.begin)
        if found is None or self.started_us is None:
            return None
        steps, step_s, start_s = found
        returned = end is not None and end[5] == "returned"
        if end is not None and returned:
            start_s += max((end[1] - self.started_us) / 1e6 - self.moments[-1][1], 0.0)
        return Sample(trial=self.launch.trial, steps=steps, step_s=step_s, start_s=start_s, returned=returned)


def measure(plan: Plan, make_job: Callable[[CheckpointFiles], Job], *, seconds: float) -> Measured:
    """Train some trials of a sweep, one after another, each for a few steps, for about so many ``seconds``.

    They are trials that the sweep will have, with its `setup`, checkpoints and limits; nothing is left of them.
    """
    with TemporaryDirectory(prefix="caviar-plan-", ignore_cleanup_errors=True) as folder, _environment():
        place = SweepFolder(Path(folder))
        place.storage.make_folders(place.folders)
        files = CheckpointFiles(folder)
        job = make_job(files)
        with brought(files, plan.origin):
            pass
        supervisor = Supervisor(pickled(job), resources=job.resources, files=files)
        try:
            return _Session(supervisor, _launches(plan), plan, seconds).measured()
        finally:
            supervisor.close()


def _launches(plan: Plan) -> deque[Launch]:
    """Trials as the sweep would begin them, but judged by nobody: so ordered that the first few of them, too, are
    from all over a grid."""
    controller = Controller(plan)
    controller.begin(DriverStarted(0, "", os.getpid(), ""))
    room = RoomOffered(min(SAMPLED, plan.stage_end(0)))
    launches = [item for item in controller.handle(room, 0) if isinstance(item, Launch)]
    order = sorted(range(len(launches)), key=lambda place: _bits_reversed(place, len(launches).bit_length()))
    return deque(replace(launches[place], next_rung=None) for place in order[:MOST_TRIALS])


def _bits_reversed(number: int, width: int) -> int:
    return int(f"{number:0{width}b}"[::-1], 2)


class _Session:
    def __init__(self, supervisor: Supervisor, launches: deque[Launch], plan: Plan, seconds: float) -> None:
        self._supervisor = supervisor
        self._launches = launches
        self._begin = 0 if plan.origin is None else plan.origin.step
        self._ends_by_itself = plan.max_step is None
        self._seconds = seconds
        self._number = self._received = 0
        self._orders: list[Order] = []
        self._now: _Watched | None = None
        self._samples: list[Sample] = []
        self._begun = self._diverged = 0
        self._failed: Counter[str] = Counter()

    def measured(self) -> Measured:
        began_s = time.monotonic()
        deadline_s = began_s + self._seconds
        while (now_s := time.monotonic()) < deadline_s:
            if self._now is None:
                if not self._launches:
                    break
                self._launch(now_s)
            self._exchange(min(POLL_S, deadline_s - now_s))
            self._stop_if_seen()
        if self._now is not None and (sample := self._now.sample(None)) is not None:
            self._samples.append(sample)
        samples = _without_setup(self._samples)
        return Measured(
            samples=samples,
            begun=self._begun,
            seconds=time.monotonic() - began_s,
            failed=self._failed,
            diverged=self._diverged,
        )

    def _launch(self, now_s: float) -> None:
        launch = self._launches.popleft()
        self._now = _Watched(launch, self._begin, began_s=now_s)
        self._begun += 1
        self._orders.append((LAUNCH, [pack_launch(launch)]))

    def _exchange(self, hold_s: float) -> None:
        self._number += 1
        orders, self._orders = self._orders, []
        batches = self._supervisor.exchange(
            self._number,
            orders,
            received=self._received,
            acknowledged=self._received,
            interval_s=POLL_S / 2,
            hold_s=hold_s,
        )
        for number, blocks, entries in batches:
            self._received = number
            for entry in entries:
                if entry[0] == STARTED and self._now is not None:
                    self._now.started_us = entry[1]
            # many reports come in columns, a few among the entries
            for block in [Reports(*packed) for packed in blocks] + columns(entries):
                self._reported(block)
            for entry in entries:
                if entry[0] == ENDED:
                    self._ended(entry)

    def _reported(self, block: Reports) -> None:
        watched = self._now
        if watched is None or watched.started_us is None:
            return
        seconds = (block.time_us - watched.started_us) / 1e6
        watched.moments += zip(block.step.tolist(), seconds.tolist(), strict=True)
        watched.moments.sort(key=lambda moment: moment[1])

    def _ended(self, entry: Entry) -> None:
        watched, self._now = self._now, None
        if watched is None:
            return
        outcome, reason = entry[5], entry[6]
        if outcome == "failed":
            self._failed[str(reason)] += 1
        elif outcome == "stopped" and reason != _STOP:
            self._diverged += 1
        if (sample := watched.sample(entry)) is not None:
            self._samples.append(sample)

    def _stop_if_seen(self) -> None:
        watched = self._now
        if watched is None or watched.told or len({step for step, _ in watched.moments}) < 2:
            return
        elapsed_s = time.monotonic() - watched.began_s
        steps = watched.moments[-1][0] - self._begin
        lasted_s = watched.moments[-1][1] - watched.moments[0][1]
        enough = steps >= ENOUGH_STEPS and lasted_s >= ENOUGH_S and not self._ends_by_itself
        if enough or elapsed_s > self._seconds / SHARE:
            watched.told = True
            self._orders.append((STOP, watched.launch.trial, watched.launch.attempt, _STOP))
            self._supervisor.nudge()


def _without_setup(samples: Sequence[Sample]) -> list[Sample]:
    """The first trial waits for `setup`, and for whatever is loaded when it is first used: what it took longer to
    begin than the others is not its own."""
    if len(samples) < 2:
        return list(samples)
    usual = sorted(one.start_s for one in samples[1:])[(len(samples) - 1) // 2]
    first = samples[0]
    setup_s = max(first.start_s - usual, 0.0)
    return [replace(first, start_s=first.start_s - setup_s, setup_s=setup_s), *samples[1:]]


@contextmanager
def _environment() -> Iterator[None]:
    """What training processes inherit is not left behind in this one."""
    names = [*THREAD_VARIABLES, "PYTORCH_NVML_BASED_CUDA_CHECK", JOB_FILE]
    before = {name: os.environ.get(name) for name in names}
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def check(measured: Measured) -> None:
    """Raise `CaviarError` where every trial that was begun failed: the sweep would, too."""
    failures = sum(measured.failed.values())
    if measured.samples or not failures:
        return
    reason, count = Counter(measured.failed).most_common(1)[0]
    often = "each time" if count == failures else f"{count} times"
    tried = f"all {failures} trials that were tried failed, {often}" if failures > 1 else "the trial tried failed"
    raise CaviarError(f"{tried} with: {reason} (--measure-s 0 plans without training)")

"""Simulated workers for `bench_workers.py`: an actor that plays many of them, for a driver that is real.

Each has what a `Supervisor` and its training process have for the driver: it takes orders, holds an exchange for
as long as there is nothing to tell, and sends reports and entries as `caviar.execution.wire` has them. Between
them it only waits: a step takes a second, more or less, and its loss is made up.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import deque
from collections.abc import Sequence
from typing import Any

from caviar.execution.hiring import Hiring
from caviar.execution.process import ANSWER, LAUNCH, RECALL, STOP
from caviar.execution.wire import BACK, ENDED, REPORTS, RUNG, STARTED, Batch, Entry, batch
from caviar.execution.worker import Request, Worker
from caviar.messages import Launch

NAMES = ("loss", "accuracy")


class SimulatedWorker:
    """One worker, as the driver sees it."""

    def __init__(self, number: int, step_s: float, noted: Noted) -> None:
        self._loop = asyncio.get_running_loop()
        self._random = random.Random(number)
        self._step_s = step_s
        self._noted = noted
        self._queue: deque[Launch] = deque()
        self._running: Launch | None = None
        self._step = self._seq = 0
        self._loss = 0.0
        self._next_rung: int | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._asked_s: float | None = None
        self._idle_since_s: float | None = time.time()
        self._outbox: deque[tuple[int, list[Entry]]] = deque()
        self._fresh: list[Entry] = []
        self._batch = self._request = 0
        self._urgent = self._nudged = False
        self._returned_at = 0.0
        self._changed = asyncio.Event()

    async def exchange(self, request: Request) -> list[Batch]:
        """As `Supervisor.exchange`."""
        number, orders, received, acknowledged, interval_s, hold_s = request
        if number > self._request:
            self._request = number
            for order in orders:
                self._obey(order)
        while self._outbox and self._outbox[0][0] <= acknowledged:
            self._outbox.popleft()
        resend = bool(self._outbox) and self._outbox[-1][0] > received
        deadline = self._loop.time() + hold_s
        while not (resend or self._urgent or self._nudged):
            until = min(deadline, self._returned_at + interval_s) if self._fresh else deadline
            if until <= self._loop.time():
                break
            self._changed.clear()
            waking = self._loop.call_at(until, self._changed.set)
            await self._changed.wait()
            waking.cancel()
        self._returned_at = self._loop.time()
        self._urgent = self._nudged = False
        if self._fresh:
            self._batch += 1
            self._outbox.append((self._batch, self._fresh))
            self._fresh = []
        return [batch(sent, entries) for sent, entries in self._outbox if sent > received]

    def nudge(self) -> None:
        """As `Supervisor.nudge`."""
        self._nudged = True
        self._changed.set()

    # --- orders -------------------------------------------------------------------------------------

    def _obey(self, order: tuple[Any, ...]) -> None:
        match order:
            case (kind, launches) if kind == LAUNCH:
                for packed in launches:
                    self._queue.append(Launch(*packed))
                    self._noted.launches.append((packed[0], time.time()))
                if self._running is None:
                    self._begin()
            case (kind, trial, attempt, next_rung, reason) if kind == ANSWER:
                assert self._running is not None
                assert (trial, attempt) == (self._running.trial, self._running.attempt)
                assert self._asked_s is not None
                now_s = time.time()
                self._noted.answers.append((self._asked_s, now_s - self._asked_s))
                self._asked_s = None
                if reason is not None:
                    self._end("stopped", reason)
                else:
                    self._next_rung = next_rung
                    self._go_on()
            case (kind, trial, attempt, reason) if kind == STOP:
                self._stop(trial, attempt, reason)
            case (kind, count) if kind == RECALL:
                back = [self._queue.pop().trial for _ in range(min(count, len(self._queue)))]
                if back:
                    self._tell((BACK, back), urgent=True)
            case _:
                raise NotImplementedError(f"a simulated worker has no way to {order!r}")

    def _stop(self, trial: int, attempt: int, reason: str) -> None:
        running = self._running
        if running is not None and (running.trial, running.attempt) == (trial, attempt):
            self._end("stopped", reason)
            return
        for queued in self._queue:
            if (queued.trial, queued.attempt) == (trial, attempt):
                self._queue.remove(queued)
                ended = (ENDED, _now_us(), trial, attempt, 0, "stopped", reason, None, None, None, None)
                self._tell(ended, urgent=True)
                return

    # --- training -----------------------------------------------------------------------------------

    def _begin(self) -> None:
        if not self._queue:
            self._running = None
            self._idle_since_s = time.time()
            self._urgent = True
            self._changed.set()
            return
        if self._idle_since_s is not None:
            self._noted.idle.append((self._idle_since_s, time.time()))
            self._idle_since_s = None
        launch = self._running = self._queue.popleft()
        self._step = self._seq = 0
        self._next_rung = launch.next_rung
        self._loss = random.Random(launch.seed).random()
        self._tell((STARTED, _now_us(), launch.trial, launch.attempt, None))
        self._go_on()

    def _go_on(self) -> None:
        took_s = self._step_s * self._random.uniform(0.5, 1.5)
        self._timer = self._loop.call_later(took_s, self._report)

    def _report(self) -> None:
        launch = self._running
        assert launch is not None
        self._step += 1
        row = (self._step, _now_us(), self._loss + 1 / self._step, 1 - self._loss)
        self._tell((REPORTS, launch.trial, launch.attempt, self._seq, NAMES, [row]))
        self._seq += 1
        if launch.max_step is not None and self._step >= launch.max_step:
            self._end("returned", None)
        elif self._step == self._next_rung:
            self._asked_s = time.time()
            self._tell((RUNG, launch.trial, launch.attempt, self._step, row[2]), urgent=True)
        else:
            self._go_on()

    def _end(self, outcome: str, reason: str | None) -> None:
        launch = self._running
        assert launch is not None
        if self._timer is not None:
            self._timer.cancel()
        self._asked_s = None
        value = self._loss + 1 / self._step if self._step else None
        ids = (_now_us(), launch.trial, launch.attempt, self._step)
        self._tell((ENDED, *ids, outcome, reason, None, value, value, self._step or None))
        self._begin()

    def _tell(self, entry: Entry, *, urgent: bool = False) -> None:
        self._fresh.append(entry)
        self._urgent = self._urgent or urgent
        self._changed.set()

    def rest(self) -> None:
        """The benchmark is over: what it is idle for until now counts."""
        if self._idle_since_s is not None:
            self._noted.idle.append((self._idle_since_s, time.time()))
            self._idle_since_s = None


class Noted:
    """What workers note for the benchmark, in wall-clock seconds."""

    def __init__(self) -> None:
        self.answers: list[tuple[float, float]] = []
        """(when a trial asked at its rung, how long it waited for the answer)."""
        self.launches: list[tuple[int, float]] = []
        """(trial, when it arrived)."""
        self.idle: list[tuple[float, float]] = []
        """(from, to): when a worker had nothing to train."""


class Crowd:
    """The actor: each of its methods takes the number of the worker that is meant."""

    def __init__(self, step_s: float) -> None:
        self._step_s = step_s
        self._noted = Noted()
        self._workers: dict[int, SimulatedWorker] = {}

    async def exchange(self, worker: int, request: Request) -> list[Batch]:
        """See `SimulatedWorker.exchange`."""
        if worker not in self._workers:
            self._workers[worker] = SimulatedWorker(worker, self._step_s, self._noted)
        return await self._workers[worker].exchange(request)

    async def nudge(self, worker: int) -> None:
        """See `SimulatedWorker.nudge`."""
        self._workers[worker].nudge()

    async def close(self, worker: int) -> None:
        """It has nothing to end."""

    async def noted(self) -> dict[str, Any]:
        """What its workers noted, and the processor seconds of this process."""
        for worker in self._workers.values():
            worker.rest()
        return {**vars(self._noted), "cpu_s": time.process_time()}


class _Method:
    __slots__ = ("_method", "_worker")

    def __init__(self, method: Any, worker: int) -> None:
        self._method = method
        self._worker = worker

    def remote(self, *args: Any) -> Any:
        return self._method.remote(self._worker, *args)


class Handle:
    """What the driver takes for the handle of a worker's actor: each call of it is a real call of a crowd."""

    def __init__(self, crowd: Any, worker: int) -> None:
        self.exchange = _Method(crowd.exchange, worker)
        self.nudge = _Method(crowd.nudge, worker)
        self.close = _Method(crowd.close, worker)


def hiring_from(crowds: Sequence[Any]) -> type[Hiring]:
    """A `Hiring` whose workers are played by ``crowds``, in turn."""

    class HiringFromCrowds(Hiring):
        def hire(self, kind: int = 0, *, failed_starts: int = 0) -> Worker:
            number = self._births
            self._births += 1
            return Worker(f"worker-{number}", Handle(crowds[number % len(crowds)], number))

    return HiringFromCrowds


def _now_us() -> int:
    return time.time_ns() // 1000

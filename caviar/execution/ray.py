"""Trials on a Ray cluster, or on Ray on this machine: long-lived workers, one supervisor each.

The driver has one `exchange` under way with every worker. Its reply brings reports and events, and is answered
with the next exchange, which carries orders: launches, answers, stops. So the cost for the driver is one call a
worker and interval, whatever the number of trials.
"""

from __future__ import annotations

import logging
import math
import queue
import time
from collections import deque
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from contextlib import suppress
from typing import Any

import cloudpickle

from caviar.errors import ExecutionError, FolderError, UsageError
from caviar.execution import cluster
from caviar.execution.contract import Arrivals, Deliver, Executor, Job
from caviar.execution.process import ANSWER, LAUNCH, RECALL, STOP
from caviar.execution.supervisor import Order
from caviar.execution.tracebacks import one_line
from caviar.execution.wire import BACK, event, pack_launch
from caviar.execution.worker import Worker, WorkerActor
from caviar.messages import Answer, AttemptEnded, Command, Event, Launch, Reports, Stop, WorkerLost

_log = logging.getLogger(__name__)

INTERVAL_S = 0.05
"""What is not urgent is fetched from a worker no more often than this; with many workers, less often."""

INTERVAL_PER_WORKER_S = 0.001

HOLD_S = 1.0
"""A worker with nothing to tell replies after this, as a sign of life."""

LOOKAHEAD_S = 0.3
"""A worker has trials in hand for so long, and at least one, so that it never waits for the driver."""

IN_HAND_LIMIT = 1024

LOSSES_WITHOUT_A_REPLY = 5
"""So many workers in a row that were lost before their first reply: there will be none."""

UNREACHABLE_S = 30.0
"""A worker that cannot be reached for so long is lost."""

NOBODY_S = 30.0
"""Without any worker for so long, say why that may be."""

FETCH_S = 1.0


class Ray(Executor):
    """Runs trials on Ray.

    A Ray that is already initialised is used, and left running. Otherwise ``address``, or the cluster that
    ``RAY_ADDRESS`` names, is connected to; and where there is neither, Ray is started on this machine for as long
    as the sweep runs. ``workers``: trials trained at once; None: as many as the cluster holds.
    ``runtime_env``: Ray's, for the workers of this sweep alone.
    """

    def __init__(
        self,
        address: str | None = None,
        *,
        workers: int | None = None,
        runtime_env: Mapping[str, Any] | None = None,
    ) -> None:
        if workers is not None and (not isinstance(workers, int) or workers < 1):
            raise UsageError(
                f"Ray(workers={workers!r}): needs a whole number of at least 1, or None for all that fit"
            )
        self._address = address
        self._wanted = workers
        self._runtime_env = dict(runtime_env or {})
        self._workers: list[Worker] = []

    # --- the contract -------------------------------------------------------------------------------

    def start(self, job: Job, deliver: Deliver) -> None:
        self._job = job
        self._deliver = deliver
        self._pickled_job = _pickle(job)
        self._parts = cloudpickle.dumps((job.resources, job.files))
        self._workers = []
        self._by_trial: dict[int, Worker] = {}
        self._births = 0
        self._losses = 0
        self._queue: deque[Launch] = deque()
        self._replies: queue.SimpleQueue[tuple[Worker, Future[Any]]] = queue.SimpleQueue()
        self._seconds_per_trial: float | None = None
        self._closed = False
        cpus = max(cluster.cores(), math.ceil((self._wanted or 0) * job.resources.cpus))
        self._started_ray = cluster.join(self._address, cpus=cpus, runtime_env=self._runtime_env)
        fitting = cluster.fitting(job.resources)
        count = min(self._wanted or fitting, max(1, job.trials))
        self._interval_s = max(INTERVAL_S, INTERVAL_PER_WORKER_S * count)
        self._nobody_at: float | None = time.monotonic() + NOBODY_S
        for _ in range(count):
            self._hire()

    def room(self) -> int:
        depth = self._depth()
        free = sum(max(0, 1 + depth - len(worker.trials)) for worker in self._workers if worker.ready)
        return max(0, free - len(self._queue))

    def send(self, commands: Sequence[Command]) -> None:
        for command in commands:
            match command:
                case Launch():
                    self._queue.append(command)
                case Answer(trial, attempt, stop, next_rung, reason):
                    reason = (reason or "stopped") if stop else None
                    self._order(trial, (ANSWER, trial, attempt, next_rung, reason))
                case Stop(trial, attempt, reason):
                    self._stop(trial, attempt, reason)

    def poll(self, timeout_s: float) -> None:
        self._dispatch()
        try:
            worker, reply = self._replies.get(timeout=timeout_s)
        except queue.Empty:
            self._wonder()
            return
        while True:
            self._take(worker, reply)
            self._dispatch_to(worker)
            try:
                worker, reply = self._replies.get_nowait()
            except queue.Empty:
                break
        self._dispatch()

    def fetch(self) -> None:
        asked = {worker.name for worker in self._workers if worker.ready and worker.waiting}
        for worker in self._workers:
            if worker.name in asked:
                worker.actor.nudge.remote()
        deadline = time.monotonic() + FETCH_S
        while asked and (left_s := deadline - time.monotonic()) > 0:
            with suppress(queue.Empty):
                worker, reply = self._replies.get(timeout=left_s)
                asked.discard(worker.name)
                self._take(worker, reply)

    def acknowledge(self, delivery: int) -> None:
        for worker in self._workers:
            while worker.batches and worker.batches[0][0] <= delivery:
                worker.acknowledged = worker.batches.popleft()[1]

    def now_us(self) -> int:
        return time.time_ns() // 1000

    def close(self) -> None:
        import ray

        self._closed = True
        workers, self._workers = self._workers, []
        if workers and ray.is_initialized():
            closing = [worker.actor.close.remote() for worker in workers if worker.ready]
            with suppress(Exception):
                ray.wait(closing, num_returns=len(closing), timeout=5)
            for worker in workers:
                with suppress(Exception):
                    ray.kill(worker.actor)
        if getattr(self, "_started_ray", False):
            self._started_ray = False
            ray.shutdown()

    # --- workers ------------------------------------------------------------------------------------

    def _hire(self) -> None:
        import ray

        # where we started or joined Ray ourselves, the whole job has the runtime_env
        runtime_env = {} if self._started_ray else self._runtime_env
        options = cluster.actor_options(self._job.resources, runtime_env=runtime_env)
        name = f"worker-{self._births}"
        self._births += 1
        try:
            actor = (
                ray.remote(WorkerActor)
                .options(**options)
                .remote(f"caviar:{self._job.name}:{name}", self._pickled_job, self._parts)
            )
        except (ValueError, TypeError) as error:  # Ray checks a runtime_env and labels itself
            raise UsageError(f"Ray refuses these workers: {one_line(error)}") from error
        worker = Worker(name, actor)
        self._workers.append(worker)
        self._exchange(worker)

    def _exchange(self, worker: Worker) -> None:
        worker.request += 1
        worker.sent, worker.orders = worker.orders, []
        self._call(worker)

    def _call(self, worker: Worker) -> None:
        worker.waiting = True
        reply = worker.actor.exchange.remote(
            worker.request,
            worker.sent,
            received=worker.received,
            acknowledged=worker.acknowledged,
            interval_s=self._interval_s,
            hold_s=HOLD_S if worker.ready else 0.0,  # the first reply says that it is there
        )
        replies = self._replies
        reply.future().add_done_callback(lambda done: replies.put((worker, done)))

    def _take(self, worker: Worker, reply: Future[Any]) -> None:
        import ray

        worker.waiting = False
        try:
            batches = reply.result()
        except ray.exceptions.ActorUnavailableError as error:  # perhaps only this reply is lost: ask again
            now = time.monotonic()
            worker.unreachable_since = worker.unreachable_since or now
            if now - worker.unreachable_since < UNREACHABLE_S:
                self._call(worker)
            else:
                self._lose(worker, error)
            return
        except Exception as error:  # noqa: BLE001 - whatever Ray raises, the worker is of no more use
            cause = getattr(error, "cause", None)
            if isinstance(cause, FolderError):  # no other worker would do better
                raise cause from None
            self._lose(worker, error)
            return
        worker.ready, worker.recalling, worker.unreachable_since = True, False, None
        self._losses, self._nobody_at = 0, None
        for number, blocks, entries in batches:
            worker.received = number
            reports = [Reports(*block) for block in blocks]
            for block in reports:
                worker.step = int(block.step[-1])
            delivery = self._deliver(Arrivals(reports, self._events(worker, entries)))
            worker.batches.append((delivery, number))

    def _events(self, worker: Worker, entries: Sequence[Any]) -> list[Event]:
        events: list[Event] = []
        for entry in entries:
            if entry[0] == BACK:
                self._queue.extendleft(
                    self._release(worker, trial) for trial in entry[1] if trial in worker.trials
                )
                continue
            happened = event(entry, worker.name)
            if happened is None:
                continue
            seconds = worker.note(happened)
            if seconds is not None:
                before = self._seconds_per_trial
                self._seconds_per_trial = seconds if before is None else 0.9 * before + 0.1 * seconds
            if isinstance(happened, AttemptEnded):
                self._by_trial.pop(happened.trial, None)
            events.append(happened)
        return events

    def _lose(self, worker: Worker, error: Exception) -> None:
        import ray

        if self._closed:
            return
        reason = one_line(error)
        worker.lost = True
        self._workers.remove(worker)
        now_us = self.now_us()
        events: list[Event] = [WorkerLost(now_us, worker.name, reason)]
        for trial in worker.started:
            launch = self._release(worker, trial)
            ids = (now_us, trial, launch.attempt, worker.step)
            if isinstance(
                error, ray.exceptions.OutOfMemoryError
            ):  # by Ray's monitor: memory is the trial's affair
                text = str(error)
                events.append(AttemptEnded(*ids, "failed", f"out of memory: {text.partition(chr(10))[0]}", text))
            else:
                events.append(AttemptEnded(*ids, "lost", f"{worker.name}: {reason}"))
        for trial in reversed(list(worker.trials)):
            self._queue.appendleft(self._release(worker, trial))
        self._losses += 1
        self._deliver(Arrivals([], events))
        if self._losses >= LOSSES_WITHOUT_A_REPLY and not any(other.ready for other in self._workers):
            raise ExecutionError(f"{self._losses} workers in a row could not begin, the last one with: {reason}")
        self._hire()

    def _release(self, worker: Worker, trial: int) -> Launch:
        self._by_trial.pop(trial, None)
        return worker.trials.pop(trial)

    def _wonder(self) -> None:
        """Say once that no worker has come up, and what it may wait for."""
        if self._nobody_at is not None and time.monotonic() > self._nobody_at:
            self._nobody_at = None
            wanted = ", ".join(f"{amount:g} {name}" for name, amount in cluster.needs(self._job.resources).items())
            labels = self._job.resources.labels
            where = f" on a node labelled {dict(labels)}" if labels else ""
            _log.warning(
                "no worker has started yet: each waits for %s%s to be free in the Ray cluster", wanted, where
            )

    # --- trials to workers --------------------------------------------------------------------------

    def _depth(self) -> int:
        """How many trials a worker has in hand besides the one in training."""
        if self._seconds_per_trial is None or self._job.resources.fresh_process:
            return 1
        return min(IN_HAND_LIMIT, max(1, math.ceil(LOOKAHEAD_S / max(self._seconds_per_trial, 1e-6))))

    def _dispatch(self) -> None:
        """Give every worker what it has room for, those with the least first."""
        for worker in sorted(self._workers, key=lambda one: len(one.trials)):
            self._dispatch_to(worker)
        if not self._queue:
            self._level()

    def _dispatch_to(self, worker: Worker) -> None:
        if not worker.ready or worker.lost:
            return
        room = 1 + self._depth() - len(worker.trials)
        launches = [self._queue.popleft() for _ in range(min(room, len(self._queue)))]
        if launches:
            for launch in launches:
                worker.trials[launch.trial] = launch
                self._by_trial[launch.trial] = worker
            worker.orders.append((LAUNCH, [pack_launch(launch) for launch in launches]))
        if not worker.waiting:
            self._exchange(worker)
        elif launches and len(worker.trials) == len(launches):
            worker.actor.nudge.remote()  # it had nothing to do

    def _level(self) -> None:
        """Nothing is left to hand out: what one worker has in hand goes to another that has nothing to do."""
        idle = sum(1 for worker in self._workers if worker.ready and not worker.trials)
        if not idle:
            return
        for worker in sorted(self._workers, key=lambda one: -one.in_hand)[:idle]:
            if worker.in_hand and worker.started and not worker.recalling:
                worker.recalling = True
                worker.orders.append((RECALL, math.ceil(worker.in_hand / 2)))
                worker.actor.nudge.remote()

    def _order(self, trial: int, order: Order) -> Worker | None:
        worker = self._by_trial.get(trial)
        if worker is not None:
            worker.orders.append(order)
        return worker

    def _stop(self, trial: int, attempt: int, reason: str) -> None:
        launch = next((launch for launch in self._queue if launch.trial == trial), None)
        if launch is not None:
            self._queue.remove(launch)
            self._deliver(Arrivals([], [AttemptEnded(self.now_us(), trial, attempt, 0, "stopped", reason)]))
            return
        worker = self._order(trial, (STOP, trial, attempt, reason))
        if worker is not None and worker.waiting:
            worker.actor.nudge.remote()


def _pickle(job: Job) -> bytes:
    """The job for the workers; what cannot travel is named."""
    for what, thing in (("training function", job.train), ("setup", job.setup)):
        try:
            cloudpickle.dumps(thing)
        except Exception as error:
            name = getattr(thing, "__qualname__", repr(thing))
            raise UsageError(
                f"the {what} {name} cannot be sent to workers: {one_line(error)}; "
                "make what it refers to inside of it, or in setup"
            ) from error
    pickled: bytes = cloudpickle.dumps(job)
    return pickled

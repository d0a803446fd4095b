"""Trials on a Ray cluster, or on Ray on this machine: long-lived workers, one supervisor each.

The driver has one `exchange` under way with every worker. Its reply brings reports and events, and is answered
with the next exchange, which carries orders: launches, answers, stops. So the cost for the driver is one call a
worker and interval, whatever the number of trials.
"""

from __future__ import annotations

import logging
import math
import os
import queue
import socket
import time
import warnings
from collections import deque
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import cloudpickle

from caviar.errors import ExecutionError, FolderError, UsageError
from caviar.execution.contract import Arrivals, Deliver, Executor, Job, TrialFiles
from caviar.execution.process import ANSWER, LAUNCH, RECALL, STOP
from caviar.execution.supervisor import Order, Supervisor
from caviar.execution.training import one_line
from caviar.execution.wire import BACK, event, pack_launch
from caviar.messages import Answer, AttemptEnded, Command, Event, Launch, Reports, Stop, TrialStarted, WorkerLost

_log = logging.getLogger(__name__)

INTERVAL_S = 0.05
"""What is not urgent is fetched from a worker no more often than this; with many workers, less often."""

INTERVAL_PER_WORKER_S = 0.001

HOLD_S = 1.0
"""A worker with nothing to tell replies after this, as a sign of life."""

LOOKAHEAD_S = 0.3
"""A worker has trials in hand for so long, and at least one, so that it never waits for the driver."""

IN_HAND_LIMIT = 1024

FOLDER_S = 5.0
"""How long a new folder may take to be seen on every node."""

REACH_S = 10.0
"""How long a cluster may take to accept a connection."""

LOSSES_WITHOUT_A_REPLY = 5
"""So many workers in a row that were lost before their first reply: there will be none."""


class WorkerActor:
    """What runs in a worker's Ray actor: a supervisor, under a name that people recognise."""

    def __init__(self, name: str, pickled_job: bytes, parts: bytes) -> None:
        self._name = name
        resources, files = cloudpickle.loads(parts)
        self._files: TrialFiles | None = files
        self._supervisor = Supervisor(pickled_job, resources=resources, files=files)

    def __repr__(self) -> str:
        return self._name

    def exchange(self, number: int, orders: list[Order], **kwargs: Any) -> Any:
        """See `Supervisor.exchange`. `FolderError` where this node does not see the sweep folder."""
        if orders and self._files is not None:
            self._probe(self._files)
            self._files = None
        return self._supervisor.exchange(number, orders, **kwargs)

    @staticmethod
    def _probe(files: TrialFiles) -> None:
        deadline = time.monotonic() + FOLDER_S
        while not files.visible():
            if time.monotonic() > deadline:
                raise FolderError(
                    f"node {socket.gethostname()} does not see the sweep folder: "
                    "put it where every node that trains sees it, on NFS for instance"
                )
            time.sleep(0.1)

    def nudge(self) -> None:
        """See `Supervisor.nudge`."""
        self._supervisor.nudge()

    def close(self) -> None:
        """See `Supervisor.close`."""
        self._supervisor.close()


@dataclass(slots=True, eq=False)
class _Worker:
    """The driver's picture of one worker."""

    name: str
    actor: Any
    ready: bool = False
    waiting: bool = False
    """Whether an exchange is under way."""
    request: int = 0
    received: int = 0
    orders: list[Order] = field(default_factory=list)
    trials: dict[int, Launch] = field(default_factory=dict)
    """What it has: in hand and in training, in order."""
    started: dict[int, int] = field(default_factory=dict)
    """The start of those in training, in microseconds."""
    batches: deque[tuple[int, int]] = field(default_factory=deque)
    """(delivery, batch) of what is not committed."""
    acknowledged: int = 0
    recalling: bool = False
    """Whether it has been asked to give trials back."""

    @property
    def in_hand(self) -> int:
        return len(self.trials) - len(self.started)


class Ray(Executor):
    """Runs trials on Ray.

    A Ray that is already initialised is used, and left running. Otherwise ``address``, or the cluster that
    ``RAY_ADDRESS`` names, is connected to; and where there is neither, Ray is started on this machine for as long
    as the sweep runs. ``workers``: trials trained at once; None: as many as the cluster's free resources allow.
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
        self._started_ray = False
        self._workers: list[_Worker] = []
        self._births = 0
        self._losses = 0
        self._queue: deque[Launch] = deque()
        self._replies: queue.SimpleQueue[tuple[_Worker, Future[Any]]] = queue.SimpleQueue()
        self._closed = False
        self._seconds_per_trial: float | None = None
        self._starved = False

    # --- the contract ------------------------------------------------------------------------------

    def start(self, job: Job, deliver: Deliver) -> None:
        self._job = job
        self._deliver = deliver
        self._pickled_job = _pickle(job)
        self._parts = cloudpickle.dumps((job.resources, job.files))
        self._connect()
        count = min(self._wanted or self._fitting(), max(1, job.trials))
        self._interval_s = max(INTERVAL_S, INTERVAL_PER_WORKER_S * count)
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
            return
        while True:
            self._take(worker, reply)
            self._dispatch_to(worker)
            try:
                worker, reply = self._replies.get_nowait()
            except queue.Empty:
                break
        self._dispatch()

    def acknowledge(self, delivery: int) -> None:
        for worker in self._workers:
            while worker.batches and worker.batches[0][0] <= delivery:
                worker.acknowledged = worker.batches.popleft()[1]

    def now_us(self) -> int:
        return time.time_ns() // 1000

    def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        import ray

        if ray.is_initialized():
            closing = [worker.actor.close.remote() for worker in self._workers if worker.ready]
            with suppress(Exception):
                ray.wait(closing, num_returns=len(closing), timeout=5)
            for worker in self._workers:
                with suppress(Exception):
                    ray.kill(worker.actor)
        self._workers.clear()
        if self._started_ray:
            ray.shutdown()

    # --- workers -----------------------------------------------------------------------------------

    def _connect(self) -> None:
        import ray

        if ray.is_initialized():
            return
        os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # else it warns of its own future
        address = self._address or os.environ.get("RAY_ADDRESS")
        if address is not None:
            _check_reachable(address)
        options: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
        if self._runtime_env:  # a whole job's may name local folders, which Ray then uploads
            options["runtime_env"], self._runtime_env = self._runtime_env, {}
        if address in (None, "local"):  # "local" keeps Ray from joining whatever runs on this machine
            address = "local"
            options.update(include_dashboard=False, num_cpus=self._local_cpus())
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", FutureWarning)
                ray.init(address=address, **options)
        except Exception as error:
            where = "on this machine" if address == "local" else f"at {address}"
            raise ExecutionError(f"cannot start or join Ray {where}: {one_line(error)}") from error
        self._started_ray = True

    def _local_cpus(self) -> int:
        """Cores to give a Ray of our own: those there are, or as many as the workers asked for need."""
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        return max(cores, math.ceil((self._wanted or 0) * self._job.resources.cpus))

    def _fitting(self) -> int:
        """How many workers the cluster's resources hold now."""
        import ray

        total, free = ray.cluster_resources(), ray.available_resources()  # type: ignore[no-untyped-call]
        needs = self._needs()
        for name, amount in needs.items():
            if amount > total.get(name, 0.0):
                there = f"{total.get(name, 0.0):g}"
                raise UsageError(f"a trial needs {amount:g} {name}, and the whole Ray cluster has {there}")
        fitting = [free.get(name, 0.0) / amount for name, amount in needs.items() if amount > 0]
        return max(1, math.floor(float(min(fitting, default=total.get("CPU", 1.0))) + 1e-9))

    def _needs(self) -> dict[str, float]:
        resources = self._job.resources
        needs = {"CPU": resources.cpus, "GPU": resources.gpus, "memory": float(resources.memory_bytes or 0)}
        return {name: amount for name, amount in {**needs, **resources.custom}.items() if amount}

    def _hire(self) -> None:
        import ray

        resources = self._job.resources
        options: dict[str, Any] = {
            "num_cpus": resources.cpus,
            "num_gpus": resources.gpus,
            "resources": dict(resources.custom),
            "max_restarts": 0,
            "max_task_retries": 0,
            "max_concurrency": 2,  # so that a nudge gets past the exchange that waits
        }
        if resources.memory_bytes is not None:
            options["memory"] = resources.memory_bytes
        if resources.labels:
            options["label_selector"] = dict(resources.labels)
        if self._runtime_env:
            options["runtime_env"] = self._runtime_env
        name = f"caviar:{self._job.name}:worker-{self._births}"
        self._births += 1
        try:
            actor = ray.remote(WorkerActor).options(**options).remote(name, self._pickled_job, self._parts)
        except (ValueError, TypeError) as error:  # Ray checks a runtime_env and labels itself
            raise UsageError(f"Ray refuses these workers: {one_line(error)}") from error
        worker = _Worker(name.rpartition(":")[2], actor)
        self._workers.append(worker)
        self._exchange(worker)

    def _exchange(self, worker: _Worker) -> None:
        worker.request += 1
        orders, worker.orders = worker.orders, []
        worker.waiting = True
        reply = worker.actor.exchange.remote(
            worker.request,
            orders,
            received=worker.received,
            acknowledged=worker.acknowledged,
            interval_s=self._interval_s,
            hold_s=HOLD_S if worker.ready else 0.0,  # the first reply says that it is there
        )
        reply.future().add_done_callback(lambda done: self._replies.put((worker, done)))

    def _take(self, worker: _Worker, reply: Future[Any]) -> None:
        worker.waiting = False
        try:
            batches = reply.result()
        except Exception as error:  # noqa: BLE001 - whatever Ray raises, the worker is of no more use
            cause = getattr(error, "cause", None)
            if isinstance(cause, FolderError):  # no other worker would do better
                raise cause from None
            self._lose(worker, error)
            return
        worker.ready, worker.recalling = True, False
        self._losses = 0
        for number, blocks, entries in batches:
            worker.received = number
            events: list[Event] = []
            for entry in entries:
                if entry[0] == BACK:
                    self._queue.extendleft(
                        worker.trials.pop(trial) for trial in entry[1] if trial in worker.trials
                    )
                    continue
                happened = event(entry, worker.name)
                if happened is not None:
                    self._note(worker, happened)
                    events.append(happened)
            delivery = self._deliver(Arrivals([Reports(*block) for block in blocks], events))
            worker.batches.append((delivery, number))

    def _note(self, worker: _Worker, happened: Event) -> None:
        """Keep the picture of the worker up to date."""
        if isinstance(happened, TrialStarted):
            worker.started[happened.trial] = happened.time_us
        elif isinstance(happened, AttemptEnded):
            worker.trials.pop(happened.trial, None)
            started = worker.started.pop(happened.trial, None)
            if started is not None:
                seconds = (happened.time_us - started) / 1e6
                before = self._seconds_per_trial
                self._seconds_per_trial = seconds if before is None else 0.9 * before + 0.1 * seconds

    def _lose(self, worker: _Worker, error: Exception) -> None:
        if self._closed:
            return
        reason = one_line(error)
        self._workers.remove(worker)
        now_us = self.now_us()
        events: list[Event] = [WorkerLost(now_us, worker.name, reason)]
        for trial in worker.started:
            launch = worker.trials.pop(trial)
            events.append(AttemptEnded(now_us, trial, launch.attempt, 0, "lost", f"{worker.name}: {reason}"))
        self._queue.extendleft(reversed(worker.trials.values()))
        self._losses += 1
        self._deliver(Arrivals([], events))
        if self._losses >= LOSSES_WITHOUT_A_REPLY and not any(other.ready for other in self._workers):
            raise ExecutionError(f"{self._losses} workers in a row could not begin, the last one with: {reason}")
        self._hire()

    # --- trials to workers -------------------------------------------------------------------------

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

    def _dispatch_to(self, worker: _Worker) -> None:
        if not worker.ready or worker not in self._workers:
            return
        room = 1 + self._depth() - len(worker.trials)
        launches = [self._queue.popleft() for _ in range(min(room, len(self._queue)))]
        if launches:
            worker.trials.update((launch.trial, launch) for launch in launches)
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

    def _order(self, trial: int, order: Order) -> None:
        for worker in self._workers:
            if trial in worker.trials:
                worker.orders.append(order)
                return

    def _stop(self, trial: int, attempt: int, reason: str) -> None:
        for launch in self._queue:
            if launch.trial == trial:
                self._queue.remove(launch)
                ended = AttemptEnded(self.now_us(), trial, attempt, 0, "stopped", reason)
                self._deliver(Arrivals([], [ended]))
                return
        self._order(trial, (STOP, trial, attempt, reason))
        for worker in self._workers:
            if trial in worker.trials and worker.waiting:
                worker.actor.nudge.remote()


def _check_reachable(address: str) -> None:
    """Ray itself tries for minutes; whether anything listens is known at once."""
    host, _, port = address.rpartition("://")[2].rpartition(":")
    if not host or not port.isdigit():
        return  # "auto" or "local": a name that Ray resolves
    try:
        socket.create_connection((host, int(port)), timeout=REACH_S).close()
    except OSError as error:
        raise ExecutionError(f"cannot reach Ray at {address}: {error}") from error


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

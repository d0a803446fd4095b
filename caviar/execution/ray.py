"""Trials on a Ray cluster, or on Ray on this machine: long-lived workers, one supervisor each.

The driver has one `exchange` under way with every worker. Its reply brings reports and events, and is answered
with the next exchange, which carries orders: launches, answers, stops. So the cost for the driver is one call a
worker and interval, whatever the number of trials.
"""

from __future__ import annotations

import atexit
import logging
import math
import queue
import threading
import time
from collections import deque
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from caviar.errors import ExecutionError, FolderError, OutageError, UsageError
from caviar.execution import cluster
from caviar.execution.cluster_watch import HEAD_S, RAYLET_S, ClusterWatch
from caviar.execution.contract import Arrivals, Deliver, Executor, Job
from caviar.execution.heartbeat import CUT_OFF_S, HEARTBEAT_S, AwakeClock
from caviar.execution.hiring import NOBODY_S, Hiring, pickled
from caviar.execution.process import ADJUST, ANSWER, KEEP, LAUNCH, PAUSE, RECALL, STOP
from caviar.execution.staffing import Staffing
from caviar.execution.supervisor import Order
from caviar.execution.wire import BACK, event, pack_launch
from caviar.execution.worker import Worker, cause_of_death
from caviar.messages import (
    Adjust,
    Answer,
    AttemptEnded,
    Command,
    Event,
    Launch,
    Pause,
    Reports,
    Stop,
    WorkerLost,
)

_log = logging.getLogger(__name__)

INTERVAL_S = 0.05
"""What is not urgent is fetched from a worker no more often than this; with many workers, less often."""

INTERVAL_PER_WORKER_S = 0.001

HOLD_S = 1.0
"""A worker with nothing to tell replies after this, as a sign of life."""

LOOKAHEAD_S = 0.3
"""A worker has trials in hand for so long, and at least one, so that it never waits for the driver."""

IN_HAND_LIMIT = 1024

IDLE_S = 10.0
"""A worker for which no trial is left is let go after this."""

CHECK_S = 1.0
"""How often it is looked for who is silent for too long."""

FETCH_S = 1.0

CLOSE_S = 20.0
"""Letting go of Ray takes no longer than this, whatever has become of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeouts:
    """After how long a silence somebody is taken to be gone; tests have less time."""

    heartbeat_s: float = HEARTBEAT_S
    cut_off_s: float = CUT_OFF_S
    head_s: float = HEAD_S
    raylet_s: float = RAYLET_S
    nobody_s: float = NOBODY_S


class Ray(Executor):
    """Runs trials on Ray.

    A Ray that is already initialised is used, and left running. Otherwise ``address``, or the cluster that
    ``RAY_ADDRESS`` names, is connected to; and where there is neither, Ray is started on this machine for as long
    as the sweep runs. ``workers``: trials trained at once; None: as many as the cluster holds, also when nodes
    join it. ``autoscale``: the cluster has an autoscaler: it is asked, step by step, for nodes for the trials that
    are left, and ``workers`` is a limit.
    ``runtime_env``: Ray's, for the workers of this sweep alone.
    """

    _timeouts = Timeouts()

    def __init__(
        self,
        address: str | None = None,
        *,
        workers: int | None = None,
        autoscale: bool = False,
        runtime_env: Mapping[str, Any] | None = None,
    ) -> None:
        if workers is not None and (not isinstance(workers, int) or workers < 1):
            raise UsageError(
                f"Ray(workers={workers!r}): needs a whole number of at least 1, or None for all that fit"
            )
        self._address = address
        self._wanted = workers
        self._grows = autoscale
        self._runtime_env = dict(runtime_env or {})
        self._workers: list[Worker] = []
        self._watch: ClusterWatch | None = None
        self._staffing: Staffing | None = None
        self._started_ray = False

    # --- the contract -------------------------------------------------------------------------------

    def start(self, job: Job, deliver: Deliver) -> None:
        self._job = job
        self._deliver = deliver
        pickled_job = pickled(job)
        self._workers = []
        self._by_trial: dict[int, Worker] = {}
        self._kept: dict[int, Worker] = {}
        """Where trials are trained that are to be launched there again."""
        self._queue: deque[Launch] = deque()
        self._replies: queue.SimpleQueue[tuple[Worker, Future[Any]]] = queue.SimpleQueue()
        self._seconds_per_trial: float | None = None
        self._closed = False
        self._trained = False
        """Whether any worker has begun a trial."""
        self._to_come = job.trials
        self._one_trial_each = any(kind.fresh_process for kind in job.resources.kinds)
        cpus = max(cluster.cores(), math.ceil((self._wanted or 0) * job.resources.cpus))
        self._started_ray = cluster.join(self._address, cpus=cpus, runtime_env=self._runtime_env)
        self._staffing = Staffing(
            job.resources.kinds, workers=self._wanted, grows=self._grows, nodes=cluster.nodes
        )
        # where we started or joined Ray ourselves, the whole job has the runtime_env
        runtime_env = {} if self._started_ray else self._runtime_env
        limits = self._timeouts
        self._watch = ClusterWatch(head_s=limits.head_s, raylet_s=limits.raylet_s)
        self._hiring = Hiring(
            job, pickled_job, runtime_env=runtime_env, cut_off_s=limits.cut_off_s, nobody_s=limits.nobody_s
        )
        self._clock = AwakeClock()
        self._check_at_s = CHECK_S
        self._staff(0.0)

    def expect(self, trials: int) -> None:
        self._to_come = trials

    def room(self) -> int:
        depth = self._depth()
        free = sum(max(0, 1 + depth - len(worker.trials)) for worker in self._workers if worker.ready)
        return max(0, free - len(self._queue))

    def send(self, commands: Sequence[Command]) -> None:
        for command in commands:
            match command:
                case Launch():
                    self._launch(command)
                case Answer(trial, attempt, stop, next_rung, reason):
                    reason = (reason or "stopped") if stop else None
                    self._order(trial, (ANSWER, trial, attempt, next_rung, reason))
                case Stop(trial, attempt, reason, again):
                    self._stop(trial, attempt, reason, again=again)
                case Adjust(trial, attempt, command_id, changes, certain):
                    self._order_now(trial, (ADJUST, trial, attempt, command_id, dict(changes), certain))
                case Pause(trial, attempt, over):
                    self._order_now(trial, (PAUSE, trial, attempt, over))

    def poll(self, timeout_s: float) -> None:
        self._dispatch()
        try:
            worker, reply = self._replies.get(timeout=timeout_s)
        except queue.Empty:
            self._check()
            return
        while True:
            self._take(worker, reply)
            self._dispatch_to(worker)
            try:
                worker, reply = self._replies.get_nowait()
            except queue.Empty:
                break
        self._dispatch()
        self._check()  # last: what has replied is not overdue

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
        for watch in (self._watch, self._staffing):
            if watch is not None:
                watch.stop()
        if not workers and not self._started_ray:
            return
        # a head that is frozen would hold us for as long as it is
        closing = threading.Thread(target=self._let_go, args=(workers,), name="caviar-close", daemon=True)
        closing.start()
        closing.join(CLOSE_S)
        if closing.is_alive():
            atexit.unregister(ray.shutdown)
            _log.warning("Ray does not let go of this process within %g s; leaving it", CLOSE_S)

    def _let_go(self, workers: Sequence[Worker]) -> None:
        import ray

        if workers and ray.is_initialized():
            closing = [worker.actor.close.remote() for worker in workers if worker.ready]
            with suppress(Exception):
                ray.wait(closing, num_returns=len(closing), timeout=5)
            for worker in workers:
                with suppress(Exception):
                    ray.kill(worker.actor)
        if self._started_ray:
            self._started_ray = False
            ray.shutdown()

    # --- workers ------------------------------------------------------------------------------------

    def _begin(self, worker: Worker) -> None:
        self._workers.append(worker)
        self._exchange(worker)

    def _exchange(self, worker: Worker) -> None:
        worker.request += 1
        worker.sent, worker.orders = worker.orders, []
        worker.asked_s = self._clock.now_s
        self._call(worker)

    def _call(self, worker: Worker) -> None:
        worker.waiting, worker.to_repeat = True, False
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

        if worker.lost:  # whatever it has to say, its trials are elsewhere
            return
        try:
            batches = reply.result()
        except ray.exceptions.ActorUnavailableError:  # perhaps only this reply is lost
            if worker.unreachable_s is None:
                worker.unreachable_s = self._clock.now_s
            worker.to_repeat = True
            return
        except Exception as error:  # noqa: BLE001 - whatever Ray raises, the worker is of no more use
            cause = getattr(error, "cause", None)
            if isinstance(cause, FolderError | UsageError):  # no other worker would do better
                raise cause from None
            if isinstance(cause, OutageError) and not self._trained:  # the driver reaches it: this node never will
                raise FolderError(
                    f"a node that trains does not reach {cause.filename}: {cause.strerror}"
                ) from None
            ended_for_memory = isinstance(error, ray.exceptions.OutOfMemoryError)
            self._lose(worker, cause_of_death(error), out_of_memory=str(error) if ended_for_memory else None)
            return
        worker.waiting, worker.unreachable_s = False, None
        worker.ready = True
        for number, blocks, entries in batches:
            self._trained = True
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
                worker.recalling = False
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

    def _lose(self, worker: Worker, reason: str, *, out_of_memory: str | None = None) -> None:
        """Its trials go elsewhere, and another worker takes its place as soon as the cluster has room for it.
        ``out_of_memory``: in full, what Ray's memory monitor says that ended it: then its trial is charged."""
        if self._closed:
            return
        worker.lost = True
        self._workers.remove(worker)
        now_us = self.now_us()
        events: list[Event] = [WorkerLost(now_us, worker.name, reason)]
        for trial in worker.started:
            launch = self._release(worker, trial)
            ids = (now_us, trial, launch.attempt, worker.step)
            if out_of_memory is None:
                events.append(AttemptEnded(*ids, "lost", f"{worker.name}: {reason}"))
            else:
                told = f"out of memory: {out_of_memory.partition(chr(10))[0]}"
                events.append(AttemptEnded(*ids, "failed", told, out_of_memory))
        for trial in reversed(list(worker.trials)):
            self._queue.appendleft(self._release(worker, trial))
        self._deliver(Arrivals([], events))
        self._hiring.dismiss(worker, reason, anybody=self._anybody(), now_s=self._clock.now_s)

    def _anybody(self) -> bool:
        return any(worker.ready for worker in self._workers)

    def _release(self, worker: Worker, trial: int) -> Launch:
        self._by_trial.pop(trial, None)
        return worker.trials.pop(trial)

    # --- how many there are ---------------------------------------------------------------------------

    def _staff(self, now_s: float) -> None:
        """Have as many workers as the cluster holds and the sweep still needs: the cluster may have grown, and at
        the tail of a sweep what is idle is let go, so that an autoscaler can take its node away."""
        assert self._staffing is not None
        trials = self._to_come + len(self._queue) + len(self._by_trial)
        at_work = sum(1 for worker in self._workers if worker.ready)
        missing = self._staffing.targets(trials, at_work=at_work)
        for worker in self._workers:
            missing[worker.kind] -= 1
            if worker.trials or not worker.ready:
                worker.idle_since_s = None
            elif worker.idle_since_s is None:
                worker.idle_since_s = now_s
        for worker in sorted(self._workers, key=lambda one: one.ready):  # those that wait for their place first
            if missing[worker.kind] < 0 and self._spare(worker, now_s):
                missing[worker.kind] += 1
                worker.lost = True
                self._workers.remove(worker)
                self._hiring.let_go(worker)
        hired = self._hiring.fill(missing, now_s)
        self._interval_s = max(INTERVAL_S, INTERVAL_PER_WORKER_S * (len(self._workers) + len(hired)))
        for worker in hired:
            self._begin(worker)

    def _spare(self, worker: Worker, now_s: float) -> bool:
        """Whether a worker that is not needed can go."""
        if not worker.ready:
            return not worker.trials
        idle_since_s = worker.idle_since_s
        kept = worker in self._kept.values()
        return idle_since_s is not None and now_s - idle_since_s >= IDLE_S and not worker.batches and not kept

    # --- silence ------------------------------------------------------------------------------------

    def _check(self) -> None:
        """See who has been silent for too long; every `CHECK_S` of the time that this process is awake."""
        now_s = self._clock.look()
        if now_s < self._check_at_s:
            return
        self._check_at_s = now_s + CHECK_S
        if self._watch is not None and self._watch.gone is not None:
            raise ExecutionError(
                f"the Ray cluster is gone: {self._watch.gone}; what had arrived by then is recorded, "
                "and the sweep can be resumed once there is a cluster"
            )
        for worker in list(self._workers):
            silent_s = worker.silent_s(now_s)
            if silent_s > self._timeouts.heartbeat_s:
                why = "" if worker.unreachable_s is None else ", and Ray does not reach it"
                self._lose(worker, f"it has not replied for {silent_s:.0f} s{why}")
            elif worker.to_repeat:
                self._call(worker)
        self._staff(now_s)
        self._hiring.wonder(anybody=self._anybody(), now_s=now_s)

    # --- trials to workers --------------------------------------------------------------------------

    def _depth(self) -> int:
        """How many trials a worker has in hand besides the one in training."""
        if self._seconds_per_trial is None or self._one_trial_each:
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
        self._give(worker, launches)
        if not worker.waiting:
            self._exchange(worker)
        elif launches and len(worker.trials) == len(launches):
            worker.actor.nudge.remote()  # it had nothing to do

    def _launch(self, launch: Launch) -> None:
        worker = self._kept.pop(launch.trial, None)
        if worker is None or worker.lost or worker.started:
            self._queue.append(launch)
            return
        self._give(worker, [launch])  # whatever else is in hand, its place was kept
        if worker.waiting:
            worker.actor.nudge.remote()

    def _give(self, worker: Worker, launches: Sequence[Launch]) -> None:
        if launches:
            for launch in launches:
                worker.trials[launch.trial] = launch
                self._by_trial[launch.trial] = worker
            worker.orders.append((LAUNCH, [pack_launch(launch) for launch in launches]))

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

    def _stop(self, trial: int, attempt: int, reason: str, *, again: bool) -> None:
        launch = next((launch for launch in self._queue if launch.trial == trial), None)
        if launch is not None:
            self._queue.remove(launch)
            self._deliver(Arrivals([], [AttemptEnded(self.now_us(), trial, attempt, 0, "stopped", reason)]))
            return
        self._kept.pop(trial, None)
        worker = self._by_trial.get(trial)
        if again and worker is not None and trial in worker.started and not worker.resources.fresh_process:
            self._kept[trial] = worker
            self._order(trial, (KEEP, trial, attempt))
        self._order_now(trial, (STOP, trial, attempt, reason))

    def _order_now(self, trial: int, order: Order) -> None:
        """An order that nobody has asked for, so that the worker must be told that there is one."""
        worker = self._order(trial, order)
        if worker is not None and worker.waiting:
            worker.actor.nudge.remote()

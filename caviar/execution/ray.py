"""Trials on a Ray cluster, or on Ray on this machine: long-lived workers, one supervisor each.

The driver has one exchange under way with every worker (`exchange.py`), and knows what each of them has
(`roster.py`). No step of its loop looks at all workers, but the one that looks for silent ones, once a second.
"""

from __future__ import annotations

import atexit
import logging
import math
import threading
import time
from collections import deque
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

from caviar.errors import ExecutionError, FolderError, OutageError, UsageError
from caviar.execution import cluster
from caviar.execution.cluster_watch import HEAD_S, RAYLET_S, ClusterWatch
from caviar.execution.contract import Arrivals, Deliver, Executor, Job
from caviar.execution.exchange import Exchanges, Gathered, Reply, interval_s
from caviar.execution.heartbeat import CUT_OFF_S, HEARTBEAT_S, AwakeClock
from caviar.execution.hiring import NOBODY_S, Hiring, pickled
from caviar.execution.process import ADJUST, ANSWER, KEEP, KEEP_S, PAUSE, RECALL, STOP
from caviar.execution.ray_metrics import RayMetrics
from caviar.execution.roster import Roster
from caviar.execution.staffing import Crew, Staffing
from caviar.execution.supervisor import Order
from caviar.execution.vitals import Vitals
from caviar.execution.wire import BACK, Batch, event
from caviar.execution.worker import Worker, cause_of_death
from caviar.messages import (
    Adjust,
    Answer,
    AttemptEnded,
    Command,
    Event,
    Launch,
    Pause,
    Stop,
    WorkerLost,
)

_log = logging.getLogger(__name__)

LOOKAHEAD_S = 0.3
"""A worker has trials in hand for so long beyond the interval, and at least one, so that it never waits for the
driver."""

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
        self._workers = Roster()
        self._watch: ClusterWatch | None = None
        self._staffing: Staffing | None = None
        self._metrics: RayMetrics | None = None
        self._started_ray = False

    # --- the contract -------------------------------------------------------------------------------

    def start(self, job: Job, deliver: Deliver) -> None:
        self._job = job
        self._deliver = deliver
        pickled_job = pickled(job)
        self._workers = Roster()
        self._kept: dict[int, tuple[Worker, float]] = {}
        """Where trials are trained that are to be launched there again, and until when their places are kept."""
        self._queue: deque[Launch] = deque()
        self._heard: list[Worker] = []
        """Whose reply was taken, and who is to be asked on: with the launches that this reply makes room for."""
        self._unacknowledged: deque[tuple[int, Worker, int]] = deque()
        """(delivery, worker, batch) of what is not committed."""
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
        self._metrics = RayMetrics(job.name, job.folder)
        self._clock = AwakeClock()
        self._exchanges = Exchanges(self._clock)
        self._check_at_s = CHECK_S
        self._staff(0.0)
        many, where = len(self._workers), cluster.where()
        _log.info("%d workers to begin with, on the Ray cluster at %s", many, where, extra={"sweep": job.name})

    def expect(self, trials: int) -> None:
        self._to_come = trials

    def room(self) -> int:
        return max(0, self._workers.room(self._depth()) - len(self._queue))

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
        heard, self._heard = self._heard, []
        for worker in heard:
            if not worker.lost:
                self._exchanges.begin(worker, among=len(self._workers))
        self._take(self._exchanges.replies(timeout_s))
        self._check()  # last: what has replied is not overdue

    def fetch(self) -> None:
        asked = {worker for worker in self._workers if worker.ready and worker.waiting}
        for worker in asked:
            worker.actor.nudge.remote()
        deadline = time.monotonic() + FETCH_S
        while asked and (left_s := deadline - time.monotonic()) > 0:
            replies = self._exchanges.replies(left_s)
            asked.difference_update(worker for worker, _ in replies)
            self._take(replies)

    def acknowledge(self, delivery: int) -> None:
        while self._unacknowledged and self._unacknowledged[0][0] <= delivery:
            _, worker, batch = self._unacknowledged.popleft()
            worker.acknowledged = batch

    def show(self, vitals: Vitals) -> None:
        if self._metrics is not None:
            self._metrics.show(vitals, self._workers)

    def now_us(self) -> int:
        return time.time_ns() // 1000

    def close(self) -> None:
        import ray

        self._closed = True
        if self._metrics is not None:
            self._metrics.close()
        workers, self._workers = list(self._workers), Roster()
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
            self._hiring.close(workers)
        if self._started_ray:
            self._started_ray = False
            ray.shutdown()

    # --- workers ------------------------------------------------------------------------------------

    def _begin(self, worker: Worker) -> None:
        self._workers.add(worker)
        self._exchanges.begin(worker, among=len(self._workers))

    def _take(self, replies: Sequence[Reply]) -> None:
        """Deliver what all of these bring at once: then the driver's cost is that of what happened, however many
        workers it happened at."""
        gathered = Gathered()
        try:
            for worker, reply in replies:
                for batch in self._batches(worker, reply):
                    self._trained = True
                    gathered.add(worker, batch)
                    gathered.events += self._events(worker, batch[2])
        finally:
            if gathered.batches:
                delivery = self._deliver(Arrivals(gathered.reports(), gathered.events))
                self._unacknowledged.extend((delivery, *batch) for batch in gathered.batches)

    def _batches(self, worker: Worker, reply: Future[Any]) -> Sequence[Batch]:
        """What a reply brings; nothing where it brings an error, which is seen to."""
        import ray

        if worker.lost:  # whatever it has to say, its trials are elsewhere
            return ()
        try:
            batches: Sequence[Batch] = reply.result()
        except ray.exceptions.ActorUnavailableError:  # perhaps only this reply is lost
            if worker.unreachable_s is None:
                worker.unreachable_s = self._clock.now_s
            worker.to_repeat = True
            return ()
        except Exception as error:  # noqa: BLE001 - whatever Ray raises, the worker is of no more use
            cause = getattr(error, "cause", None)
            if isinstance(cause, OutageError):  # the driver reaches it: this node never will
                cause = FolderError(f"a node that trains does not reach {cause.filename}: {cause.strerror}")
            if isinstance(cause, FolderError | UsageError):
                if not self._trained:  # nor would any other worker do better
                    raise cause from None
                self._lose(worker, str(cause), fit=False)
                return ()
            ended_for_memory = isinstance(error, ray.exceptions.OutOfMemoryError)
            self._lose(worker, cause_of_death(error), out_of_memory=str(error) if ended_for_memory else None)
            return ()
        worker.waiting, worker.unreachable_s = False, None
        self._workers.replied(worker)
        self._heard.append(worker)
        return batches

    def _events(self, worker: Worker, entries: Sequence[Any]) -> list[Event]:
        events: list[Event] = []
        for entry in entries:
            if entry[0] == BACK:
                self._queue.extendleft(self._workers.given_back(worker, entry[1]))
                continue
            happened = event(entry, worker.name)
            if happened is None:
                continue
            seconds = self._workers.note(worker, happened)
            if seconds is not None:
                before = self._seconds_per_trial
                self._seconds_per_trial = seconds if before is None else 0.9 * before + 0.1 * seconds
            events.append(happened)
        return events

    def _lose(self, worker: Worker, reason: str, *, out_of_memory: str | None = None, fit: bool = True) -> None:
        """Its trials go elsewhere, and another worker takes its place as soon as the cluster has room for it.
        ``out_of_memory``: in full, what Ray's memory monitor says that ended it: then its trial is charged.
        ``fit``: whether its node could train, but for that."""
        if self._closed:
            return
        self._workers.remove(worker)
        now_us = self.now_us()
        events: list[Event] = [WorkerLost(now_us, worker.name, reason, worker.node)]
        for trial in worker.started:
            (launch,) = self._workers.release(worker, [trial])
            ids = (now_us, trial, launch.attempt, worker.step)
            if out_of_memory is None:
                events.append(AttemptEnded(*ids, "lost", f"{worker.name}: {reason}"))
            else:
                told = f"out of memory: {out_of_memory.partition(chr(10))[0]}"
                events.append(AttemptEnded(*ids, "failed", told, out_of_memory))
        self._queue.extendleft(reversed(self._workers.release(worker, list(worker.trials))))
        self._deliver(Arrivals([], events))
        anybody, now_s = self._workers.anybody, self._clock.now_s
        self._hiring.dismiss(worker, reason, anybody=anybody, now_s=now_s, fit=fit)

    # --- how many there are ---------------------------------------------------------------------------

    def _staff(self, now_s: float) -> None:
        """Have as many workers as the cluster holds and the sweep still needs: the cluster may have grown, and at
        the tail of a sweep what is idle is let go, so that an autoscaler can take its node away."""
        assert self._staffing is not None
        trials = self._to_come + len(self._queue) + self._workers.trials
        crew = Crew.of(self._workers, now_s=now_s, vacant=self._hiring.vacant(now_s))
        missing = self._staffing.targets(trials, crew)
        for worker in self._workers:
            missing[worker.kind] -= 1
            if worker.trials or not worker.ready:
                worker.idle_since_s = None
            elif worker.idle_since_s is None:
                worker.idle_since_s = now_s
        for worker in sorted(self._workers, key=lambda one: one.ready):  # those that wait for their place first
            if missing[worker.kind] < 0 and self._spare(worker, now_s):
                missing[worker.kind] += 1
                self._workers.remove(worker)
                self._hiring.let_go(worker)
        for worker in self._hiring.fill(missing, now_s):
            self._begin(worker)

    def _spare(self, worker: Worker, now_s: float) -> bool:
        """Whether a worker that is not needed can go."""
        if not worker.ready:
            return not worker.trials
        idle_since_s, committed = worker.idle_since_s, worker.acknowledged == worker.received
        kept = any(one is worker and now_s < until_s for one, until_s in self._kept.values())
        return idle_since_s is not None and now_s - idle_since_s >= IDLE_S and committed and not kept

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
        for worker in self._workers:
            silent_s = worker.silent_s(now_s)
            if silent_s > self._timeouts.heartbeat_s:
                why = "" if worker.unreachable_s is None else ", and Ray does not reach it"
                self._lose(worker, f"it has not replied for {silent_s:.0f} s{why}")
            elif worker.to_repeat:
                self._exchanges.repeat(worker, among=len(self._workers))
        self._staff(now_s)
        self._hiring.wonder(anybody=self._workers.anybody, now_s=now_s)

    # --- trials to workers --------------------------------------------------------------------------

    def _depth(self) -> int:
        """How many trials a worker has in hand besides the one in training."""
        if self._seconds_per_trial is None or self._one_trial_each:
            return 1
        ahead_s = LOOKAHEAD_S + interval_s(len(self._workers))
        return min(IN_HAND_LIMIT, max(1, math.ceil(ahead_s / max(self._seconds_per_trial, 1e-6))))

    def _dispatch(self) -> None:
        """Give workers what they have room for, those with the least first."""
        if not self._queue:
            self._level()
            return
        depth = self._depth()
        while self._queue and (worker := self._workers.roomiest(depth)) is not None:
            room, idle = 1 + depth - len(worker.trials), not worker.trials
            self._give(worker, [self._queue.popleft() for _ in range(min(room, len(self._queue)))], now=idle)

    def _launch(self, launch: Launch) -> None:
        worker, _ = self._kept.pop(launch.trial, (None, 0.0))
        if worker is None or worker.lost or worker.started:
            self._queue.append(launch)
        else:  # whatever else is in hand, its place was kept
            self._give(worker, [launch], now=True)

    def _give(self, worker: Worker, launches: Sequence[Launch], *, now: bool) -> None:
        self._workers.give(worker, launches)
        if now:
            self._tell(worker)

    def _level(self) -> None:
        """Nothing is left to hand out: what one worker has in hand goes to another that has nothing to do."""
        for worker in self._workers.lenders(self._workers.idle):
            worker.orders.append((RECALL, math.ceil(worker.in_hand / 2)))
            self._tell(worker)

    @staticmethod
    def _tell(worker: Worker) -> None:
        """There are orders that are not to wait until it has something to tell."""
        if worker.waiting:
            worker.actor.nudge.remote()

    def _order(self, trial: int, order: Order) -> Worker | None:
        worker = self._workers.holder(trial)
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
        worker = self._workers.holder(trial)
        if again and worker is not None and trial in worker.started and not worker.resources.fresh_process:
            self._kept[trial] = worker, self._clock.now_s + KEEP_S
            self._order(trial, (KEEP, trial, attempt))
        self._order_now(trial, (STOP, trial, attempt, reason))

    def _order_now(self, trial: int, order: Order) -> None:
        """An order that nobody has asked for, so that the worker must be told that there is one."""
        worker = self._order(trial, order)
        if worker is not None:
            self._tell(worker)

"""The workers of a sweep: how they come to be, and what takes the place of one that was lost."""

from __future__ import annotations

import heapq
import logging
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from contextlib import suppress
from typing import Any

import cloudpickle

from caviar.errors import ExecutionError, UsageError
from caviar.execution import cluster
from caviar.execution.contract import Job
from caviar.execution.nodes import needs
from caviar.execution.resources import KIND, Resources
from caviar.execution.tracebacks import one_line
from caviar.execution.undertaker import Undertaker
from caviar.execution.worker import Worker, WorkerActor

_log = logging.getLogger(__name__)

FAILED_STARTS = 5
"""So many workers in a row, each in the place of the one before, that were lost before their first reply: while
nobody works, there is no hope for another one."""

PAUSE_S = 60.0
"""While others work, a place where no worker can begin is tried again after pauses that grow to this."""

NOBODY_S = 30.0
"""Without any worker for so long, say why that may be."""


def pickled(job: Job) -> bytes:
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
    result: bytes = cloudpickle.dumps(job)
    return result


class Hiring:
    """Makes a sweep's workers. Nothing here waits for the cluster, once the first one was hired."""

    def __init__(
        self, job: Job, pickled_job: bytes, *, runtime_env: Mapping[str, Any], cut_off_s: float, nobody_s: float
    ) -> None:
        import ray

        self._name = job.name
        self._kinds = job.resources.kinds
        # what Ray sends to the head or the raylet, and waits for, is sent once: later they may be gone
        self._class = ray.remote(WorkerActor)
        self._options = [cluster.actor_options(kind, runtime_env=runtime_env) for kind in self._kinds]
        own_gpus = any(kind.gpus for kind in self._kinds)
        parts = [cloudpickle.dumps((kind, job.files, own_gpus)) for kind in self._kinds]
        job_there = ray.put(pickled_job)
        self._arguments = [(job_there, part, cut_off_s) for part in parts]
        self._nobody_s = nobody_s
        self._births = 0
        self._vacancies: list[list[tuple[float, int]]] = [[] for _ in self._kinds]
        """Of each kind a heap of (when to fill it, failed starts there): places where a worker was lost."""
        self._undertaker = Undertaker()
        self._nobody_since_s: float | None = 0.0
        self._anybody_yet = False

    def hire(self, kind: int = 0, *, failed_starts: int = 0) -> Worker:
        """A new worker, which begins when the cluster has room for it. `UsageError`: Ray refuses its options."""
        # the record has nothing else of what a worker holds, and so costs
        name = f"worker-{self._births}{KIND}{kind}" if kind else f"worker-{self._births}"
        self._births += 1
        try:
            actor_class = self._class.options(**self._options[kind])
            actor = actor_class.remote(f"caviar:{self._name}:{name}", *self._arguments[kind])
        except (ValueError, TypeError) as error:  # Ray checks a runtime_env and labels itself
            raise UsageError(f"Ray refuses these workers: {one_line(error)}") from error
        worker = Worker(name, actor, kind=kind, resources=self._kinds[kind], failed_starts=failed_starts)
        answer: Any = actor.node
        answer.remote().future().add_done_callback(lambda told: self._take_node(worker, told))
        return worker

    def _take_node(self, worker: Worker, told: Future[str]) -> None:
        """On a thread of Ray's."""
        with suppress(Exception):  # it was lost before it could say
            worker.node = told.result()
            along = {"sweep": self._name, "worker": worker.name, "node": worker.node}
            _log.info("%s is ready on %s", worker.name, worker.node, extra=along)

    def dismiss(self, worker: Worker, reason: str, *, anybody: bool, now_s: float, fit: bool = True) -> None:
        """End a lost worker, best effort, and leave its place vacant. ``anybody``: whether another one is there.
        ``fit``: whether it was lost at its work; else it could not begin.

        `ExecutionError` when there is no hope.
        """
        self._undertaker.end(worker, closes=False)
        failed = 0 if worker.ready and fit else worker.failed_starts + 1
        if failed >= FAILED_STARTS and not anybody:
            raise ExecutionError(f"{failed} workers in a row could not begin, the last one with: {reason}")
        pause_s = min(PAUSE_S, 2.0**failed) if failed and anybody else 0.0
        heapq.heappush(self._vacancies[worker.kind], (now_s + pause_s, failed))

    def let_go(self, worker: Worker) -> None:
        """End a worker that is not needed any more, after what it is about."""
        self._undertaker.end(worker, closes=worker.ready)

    def close(self, workers: Sequence[Worker]) -> None:
        """End these, and wait until all that were to be ended have."""
        for worker in workers:
            self._undertaker.end(worker, closes=worker.ready)
        self._undertaker.finish()

    def vacant(self, now_s: float) -> list[int]:
        """How many places of each kind are left vacant for now, because no worker could begin there."""
        return [sum(when_s > now_s for when_s, _ in vacancies) for vacancies in self._vacancies]

    def fill(self, missing: Sequence[int], now_s: float) -> list[Worker]:
        """New workers, as many of each kind as are missing; but none for a place where no worker could begin, as
        long as its pause lasts."""
        hired = []
        for kind, (count, vacancies) in enumerate(zip(missing, self._vacancies, strict=True)):
            due = []
            while vacancies and vacancies[0][0] <= now_s:
                due.append(heapq.heappop(vacancies)[1])
            new = max(0, count - len(vacancies))
            starts = [*due, *[0] * new][:new]
            hired += [self.hire(kind, failed_starts=failed) for failed in starts]
        return hired

    def wonder(self, *, anybody: bool, now_s: float) -> None:
        """Say once that there is no worker for long, and what it may wait for."""
        if anybody:
            self._nobody_since_s, self._anybody_yet = None, True
        elif self._nobody_since_s is None:
            self._nobody_since_s = now_s
        elif now_s - self._nobody_since_s > self._nobody_s:
            self._nobody_since_s = float("inf")
            what = "no worker is left, and none takes its place" if self._anybody_yet else "no worker has started"
            wanted = ", or for ".join(_in_words(kind) for kind in self._kinds)
            _log.warning("%s yet: each waits for %s to be free in the Ray cluster", what, wanted)


def _in_words(kind: Resources) -> str:
    amounts = ", ".join(f"{amount:g} {name}" for name, amount in needs(kind).items())
    return amounts + (f" on a node labelled {dict(kind.labels)}" if kind.labels else "")

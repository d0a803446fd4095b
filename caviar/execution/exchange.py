"""Exchanges between the driver and its workers: one is under way with each, and nobody is polled otherwise.

The reply to an exchange brings reports and events, and is answered with the next exchange, which carries orders:
launches, answers, stops. A worker replies at once where somebody waits for it, at a rung for instance; what can
wait comes once an interval, which grows with the number of workers. So what the driver pays is a bounded number of
calls a second, and one for each thing that cannot wait.
"""

from __future__ import annotations

from concurrent.futures import Future
from queue import Empty, SimpleQueue
from typing import Any

from caviar.execution.heartbeat import AwakeClock
from caviar.execution.wire import REPORTS, Batch, Entry, columns
from caviar.execution.worker import Worker
from caviar.messages import Event, Reports

INTERVAL_S = 0.05
"""What is not urgent is fetched from a worker no more often than this; with many workers, less often."""

CALLS_PER_S = 300
"""So many exchanges a second, of all workers, that only fetch what is not urgent. One costs the driver's process
about 0.9 ms of processor time, about half of it in Ray."""

HOLD_S = 1.0
"""A worker with nothing to tell replies after this, as a sign of life; with many workers, later."""

HOLD_LIMIT_S = 4.0
"""No later than this, well within the time after which it would be taken to be gone."""

REPLIES_AT_ONCE = 256

Reply = tuple[Worker, Future[Any]]


def interval_s(workers: int) -> float:
    """How long what is not urgent may wait, where there are so many workers."""
    return max(INTERVAL_S, workers / CALLS_PER_S)


class Exchanges:
    """The driver's exchanges, and the replies to them."""

    def __init__(self, clock: AwakeClock) -> None:
        self._clock = clock
        self._replies: SimpleQueue[Reply] = SimpleQueue()

    def begin(self, worker: Worker, *, among: int) -> None:
        """The next exchange with a worker, one ``among`` so many, with the orders that there are for it."""
        worker.request += 1
        worker.sent, worker.orders = worker.orders, []
        worker.asked_s = self._clock.now_s
        self.repeat(worker, among=among)

    def repeat(self, worker: Worker, *, among: int) -> None:
        """The same exchange again, as its reply was lost."""
        worker.waiting, worker.to_repeat = True, False
        pace_s = interval_s(among)
        # the first reply says that it is there
        hold_s = min(max(HOLD_S, pace_s), HOLD_LIMIT_S) if worker.ready else 0.0
        request = (worker.request, worker.sent, worker.received, worker.acknowledged, pace_s, hold_s)
        reply = worker.actor.exchange.remote(request)
        reply.future().add_done_callback(lambda done: self._replies.put((worker, done)))

    def replies(self, timeout_s: float) -> list[Reply]:
        """What has arrived, and if nothing has, what arrives first within ``timeout_s``."""
        found: list[Reply] = []
        try:
            found.append(self._replies.get(timeout=timeout_s))
            while len(found) < REPLIES_AT_ONCE:
                found.append(self._replies.get_nowait())
        except Empty:
            pass
        return found


class Gathered:
    """What replies brought, in order, until it is delivered."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.batches: list[tuple[Worker, int]] = []
        self._blocks: list[Reports] = []
        self._rows: list[Entry] = []
        """REPORTS entries that come after the blocks."""

    def add(self, worker: Worker, batch: Batch) -> None:
        """Take the reports of a worker's batch, many of them in blocks, or a few among the entries."""
        number, blocks, entries = batch
        worker.received = number
        self.batches.append((worker, number))
        if blocks:
            self._close()
            self._blocks += [Reports(*block) for block in blocks]
            worker.step = int(self._blocks[-1].step[-1])
        rows = [entry for entry in entries if entry[0] == REPORTS]
        if rows:
            self._rows += rows
            worker.step = int(rows[-1][5][-1][0])

    def reports(self) -> list[Reports]:
        """All of them in columns."""
        self._close()
        return self._blocks

    def _close(self) -> None:
        self._blocks += columns(self._rows)
        self._rows = []

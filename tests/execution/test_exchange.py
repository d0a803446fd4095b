"""Exchanges with workers: how often, with what, and what becomes of the replies."""

from __future__ import annotations

from concurrent.futures import Future
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from caviar.execution.exchange import CALLS_PER_S, HOLD_LIMIT_S, INTERVAL_S, Exchanges, Gathered, interval_s
from caviar.execution.heartbeat import HEARTBEAT_S, AwakeClock
from caviar.execution.wire import FEW_ROWS, REPORTS, STARTED, Entry, batch
from caviar.execution.worker import Request, Worker


class Actor:
    """A handle that notes what it is asked, and whose replies are set by hand."""

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self.reply: Future[Any] = Future()
        self.exchange = self

    def remote(self, request: Request) -> Any:
        self.requests.append(request)
        self.reply = Future()
        return SimpleNamespace(future=lambda: self.reply)


def test_the_driver_makes_a_bounded_number_of_calls_a_second_for_what_can_wait() -> None:
    for workers in (1, 10, 100, 1_000, 10_000):
        assert workers / interval_s(workers) <= max(CALLS_PER_S, workers / INTERVAL_S if workers < 15 else 0)
    assert interval_s(1) == INTERVAL_S
    assert interval_s(1_000) == pytest.approx(1_000 / CALLS_PER_S)


@pytest.mark.parametrize("workers", [1, 1_000, 100_000])
def test_a_worker_shows_signs_of_life_well_before_it_is_taken_to_be_gone(workers: int) -> None:
    actor = Actor()
    Exchanges(AwakeClock()).begin(Worker("worker-0", actor, ready=True), among=workers)
    ((*_, hold_s),) = actor.requests
    assert 1.0 <= hold_s <= HOLD_LIMIT_S <= HEARTBEAT_S / 2


def test_a_worker_that_has_not_replied_yet_says_at_once_that_it_is_there() -> None:
    actor = Actor()
    Exchanges(AwakeClock()).begin(Worker("worker-0", actor), among=1)
    assert actor.requests == [(1, [], 0, 0, INTERVAL_S, 0.0)]


def test_an_exchange_takes_the_orders_along_and_a_repeated_one_the_same() -> None:
    actor = Actor()
    exchanges, worker = Exchanges(AwakeClock()), Worker("worker-0", actor, ready=True, received=7, acknowledged=5)
    worker.orders.append(("an order",))
    exchanges.begin(worker, among=1)
    worker.orders.append(("the next one",))
    exchanges.repeat(worker, among=1)
    assert [request[:4] for request in actor.requests] == [(1, [("an order",)], 7, 5)] * 2
    exchanges.begin(worker, among=1)
    assert actor.requests[-1][:2] == (2, [("the next one",)])


def test_all_that_has_arrived_is_taken_at_once() -> None:
    exchanges = Exchanges(AwakeClock())
    workers = [Worker(f"worker-{number}", Actor(), ready=True) for number in range(5)]
    for worker in workers:
        exchanges.begin(worker, among=5)
    assert exchanges.replies(0.0) == []
    for worker in workers[1:4]:
        worker.actor.reply.set_result([])
    assert [worker for worker, _ in exchanges.replies(0.0)] == workers[1:4]


def reports(trial: int, seq: int, count: int) -> Entry:
    return (REPORTS, trial, 0, seq, ("loss",), [(float(seq + i + 1), 0.0, 0.5) for i in range(count)])


def test_a_few_reports_of_many_workers_become_one_block() -> None:
    gathered = Gathered()
    for number in range(10):
        entries = [(STARTED, 0, number, 0, None), reports(number, 0, 2)]
        gathered.add(Worker(f"worker-{number}", None), batch(1, entries))
    (block,) = gathered.reports()
    np.testing.assert_array_equal(block.trial, np.repeat(np.arange(10), 2))
    np.testing.assert_array_equal(block.seq, np.tile([0, 1], 10))


@pytest.mark.parametrize("counts", [(3, FEW_ROWS + 1, 4), (FEW_ROWS + 1, 2, FEW_ROWS + 5), (1, 1, 1)])
def test_reports_stay_in_order_however_many_travel_at_once(counts: tuple[int, ...]) -> None:
    gathered, worker, seq = Gathered(), Worker("worker-0", None), 0
    for number, count in enumerate(counts, 1):
        gathered.add(worker, batch(number, [reports(4, seq, count)]))
        seq += count
        assert worker.step == seq
    assert (worker.received, gathered.batches) == (3, [(worker, 1), (worker, 2), (worker, 3)])
    assert np.concatenate([block.seq for block in gathered.reports()]).tolist() == list(range(seq))

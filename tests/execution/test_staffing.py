"""How many workers a sweep is to have, as a cluster grows and shrinks."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from caviar.errors import UsageError
from caviar.execution.nodes import Node
from caviar.execution.resources import Resources
from caviar.execution.staffing import Staffing

FOUR = Node(resources={"CPU": 4.0})
GPU = Node(resources={"CPU": 4.0, "GPU": 2.0})
ONE_CPU = Resources()
EITHER = Resources(gpus=1, otherwise=Resources(cpus=2))


class World:
    """A cluster that changes by hand, and tells when it was looked at."""

    def __init__(self, *nodes: Node) -> None:
        self.nodes: Sequence[Node] | Exception = nodes
        self._looked = threading.Semaphore(0)

    def look(self) -> Sequence[Node]:
        self._looked.release()
        if isinstance(self.nodes, Exception):
            raise self.nodes
        return self.nodes

    def becomes(self, *nodes: Node, error: Exception | None = None) -> None:
        """From now on; returns once that was seen."""
        self.nodes = error or nodes
        while self._looked.acquire(blocking=False):
            pass
        for _ in range(3):  # the last of them began after what the second one saw was taken in
            assert self._looked.acquire(timeout=20)


@pytest.fixture
def staff() -> Iterator[Any]:
    made: list[Staffing] = []

    def make(
        world: World, resources: Resources = ONE_CPU, *, workers: int | None = None, grows: bool = False
    ) -> Staffing:
        made.append(Staffing(resources.kinds, workers=workers, grows=grows, nodes=world.look, every_s=0.001))
        return made[-1]

    yield make
    for one in made:
        one.stop()


def test_as_many_as_the_cluster_holds_and_no_more_than_trials_are_left(staff: Any) -> None:
    staffing = staff(World(FOUR, FOUR))
    assert [staffing.targets(trials, at_work=0) for trials in (100, 8, 3, 1, 0)] == [[8], [8], [3], [1], [1]]


def test_nodes_that_join_and_leave_are_followed(staff: Any) -> None:
    world = World(FOUR)
    staffing = staff(world)
    world.becomes(FOUR, FOUR, FOUR)
    assert staffing.targets(100, at_work=4) == [12]
    world.becomes(FOUR)
    assert staffing.targets(100, at_work=12) == [4]
    world.becomes(error=ConnectionError("the head is away"))
    assert staffing.targets(100, at_work=4) == [4]
    world.becomes()
    assert staffing.targets(100, at_work=0) == [1], "nodes may come back"


def test_a_number_that_is_wanted_is_asked_for_whatever_there_is(staff: Any) -> None:
    assert staff(World(FOUR), workers=2).targets(100, at_work=0) == [2]
    assert staff(World(FOUR), workers=20).targets(100, at_work=0) == [20]
    assert staff(World(FOUR), workers=20).targets(6, at_work=0) == [6]


def test_an_autoscaler_is_asked_for_as_much_again_as_is_at_work(staff: Any) -> None:
    staffing = staff(World(FOUR), grows=True)
    assert staffing.targets(100, at_work=0) == [4 + 1]
    assert staffing.targets(100, at_work=4) == [4 + 4]
    assert staffing.targets(5, at_work=4) == [5], "no more than the sweep still needs"
    assert staffing.targets(2, at_work=4) == [2], "and at the tail less than there is"
    assert staff(World(FOUR), grows=True, workers=6).targets(100, at_work=4) == [6]


def test_a_cluster_of_a_head_alone_grows_from_nothing(staff: Any) -> None:
    staffing = staff(World(Node(resources={"CPU": 0.0})), Resources(gpus=1), grows=True)
    assert staffing.targets(100, at_work=0) == [1]


def test_two_kinds_of_workers(staff: Any) -> None:
    assert staff(World(GPU, FOUR), EITHER).targets(100, at_work=0) == [2, 1 + 2]
    assert staff(World(GPU, FOUR), EITHER).targets(1, at_work=0) == [1, 0], "the first kind is preferred"
    assert staff(World(FOUR), EITHER).targets(100, at_work=0) == [0, 2]
    assert staff(World(FOUR), EITHER, workers=3).targets(100, at_work=0) == [0, 3], "what could come to fit"
    assert staff(World(FOUR), EITHER, grows=True).targets(100, at_work=2) == [2, 2]


def test_what_fits_nowhere_is_refused(staff: Any) -> None:
    with pytest.raises(UsageError, match=r"^a trial needs 9 CPU, and the whole Ray cluster has 4$"):
        staff(World(FOUR), Resources(cpus=9))
    with pytest.raises(UsageError, match=r"needs 1 GPU, .* has 0; otherwise, a trial needs 9 CPU"):
        staff(World(FOUR), Resources(gpus=1, otherwise=Resources(cpus=9)))
    staff(World(FOUR), Resources(gpus=1, otherwise=Resources(cpus=1)))

"""How many workers a sweep is to have, as a cluster grows and shrinks."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from caviar.errors import UsageError
from caviar.execution.nodes import Node
from caviar.execution.resources import Resources
from caviar.execution.staffing import Crew, Staffing
from caviar.execution.worker import Worker

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


def crew(*busy: int, **others: Sequence[float]) -> Crew:
    """So many busy workers of each kind, and others."""
    none = {name: [0] * len(busy) for name in ("idle", "overdue", "vacant", "longest_wait_s")}
    return Crew(busy=busy, **(none | others))  # type: ignore[arg-type]


def test_as_many_as_the_cluster_holds_and_no_more_than_trials_are_left(staff: Any) -> None:
    staffing = staff(World(FOUR, FOUR))
    assert [staffing.targets(trials, crew(0)) for trials in (100, 8, 3, 1, 0)] == [[8], [8], [3], [1], [1]]


def test_nodes_that_join_and_leave_are_followed(staff: Any) -> None:
    world = World(FOUR)
    staffing = staff(world)
    world.becomes(FOUR, FOUR, FOUR)
    assert staffing.targets(100, crew(4)) == [12]
    world.becomes(FOUR)
    assert staffing.targets(100, crew(4)) == [4]
    assert staffing.targets(100, crew(2, overdue=[2])) == [4]
    world.becomes(error=ConnectionError("the head is away"))
    assert staffing.targets(100, crew(4)) == [4]
    world.becomes()
    assert staffing.targets(100, crew(0)) == [1], "nodes may come back"


def test_workers_that_wait_for_their_places_are_as_many_as_before(staff: Any) -> None:
    assert staff(World(FOUR)).targets(100, crew(1, overdue=[3])) == [4]
    assert staff(World(FOUR, FOUR)).targets(100, crew(0, overdue=[4])) == [4], "those have what has joined"
    assert staff(World(FOUR, FOUR)).targets(100, crew(4)) == [8]
    assert staff(World(FOUR)).targets(2, crew(1, overdue=[3])) == [2], "at the tail they need not wait on"
    assert staff(World(FOUR), workers=20).targets(100, crew(4, overdue=[16])) == [20]
    assert staff(World(FOUR), grows=True).targets(100, crew(4, overdue=[4])) == [8]


def test_a_place_where_no_worker_can_begin_is_one_all_the_same(staff: Any) -> None:
    """Nobody is hired for it as long as its pause lasts: that is what hiring sees to."""
    assert staff(World(FOUR)).targets(100, crew(2, vacant=[1])) == [4]
    assert staff(World(FOUR), workers=20).targets(100, crew(19, vacant=[1])) == [20]
    assert staff(World(FOUR), grows=True).targets(100, crew(3, vacant=[1])) == [3 + 3 + 1]
    assert staff(World(GPU, FOUR), EITHER).targets(3, crew(0, 0, vacant=[2, 0])) == [2, 3], "it goes elsewhere"


def test_a_number_that_is_wanted_is_asked_for_whatever_there_is(staff: Any) -> None:
    assert staff(World(FOUR), workers=2).targets(100, crew(0)) == [2]
    assert staff(World(FOUR), workers=20).targets(100, crew(0)) == [20]
    assert staff(World(FOUR), workers=20).targets(6, crew(0)) == [6]


def test_an_autoscaler_is_asked_for_as_much_again_as_is_at_work(staff: Any) -> None:
    staffing = staff(World(FOUR), grows=True)
    assert staffing.targets(100, crew(0)) == [4 + 1]
    assert staffing.targets(100, crew(4)) == [4 + 4]
    assert staffing.targets(5, crew(4)) == [5], "no more than the sweep still needs"
    assert staffing.targets(2, crew(1, idle=[3])) == [2], "and at the tail less than there is"
    assert staff(World(FOUR), grows=True, workers=6).targets(100, crew(4)) == [6]


def test_a_cluster_of_a_head_alone_grows_from_nothing(staff: Any) -> None:
    staffing = staff(World(Node(resources={"CPU": 0.0})), Resources(gpus=1), grows=True)
    assert staffing.targets(100, crew(0)) == [1]


def test_two_kinds_of_workers(staff: Any) -> None:
    assert staff(World(GPU, FOUR), EITHER).targets(100, crew(0, 0)) == [2, 1 + 2]
    assert staff(World(GPU, FOUR), EITHER).targets(1, crew(0, 0)) == [1, 0], "the first kind is preferred"
    assert staff(World(FOUR), EITHER).targets(100, crew(0, 0)) == [0, 2]
    assert staff(World(FOUR), EITHER, workers=3).targets(100, crew(0, 0)) == [0, 3], "what could come to fit"
    assert staff(World(FOUR), EITHER, grows=True).targets(100, crew(0, 2)) == [2, 2]


def test_where_the_first_kind_is_not_to_be_had_there_is_the_other(staff: Any) -> None:
    staffing = staff(World(GPU, FOUR), EITHER)
    assert staffing.targets(1, crew(0, 0, overdue=[1, 0])) == [1, 1], "others have the GPUs"
    assert staffing.targets(100, crew(1, 0, overdue=[1, 0])) == [2, 3]
    assert staffing.targets(1, crew(0, 1, overdue=[1, 0])) == [0, 1], "nobody has to wait once it is trained"
    assert staffing.targets(1, crew(0, 1, idle=[2, 0])) == [0, 1], "an idle GPU is not held for a trial elsewhere"
    assert staffing.targets(2, crew(0, 1, idle=[2, 1])) == [1, 1]
    assert staff(World(GPU, FOUR), EITHER, workers=3).targets(9, crew(0, 0, overdue=[2, 0])) == [0, 3]


def test_an_autoscaler_that_does_not_add_the_first_kind_is_asked_for_the_other(staff: Any) -> None:
    staffing = staff(World(Node(resources={})), EITHER, grows=True)
    assert staffing.targets(9, crew(0, 0, overdue=[1, 0], longest_wait_s=[100.0, 0.0])) == [1, 0]
    assert staffing.targets(9, crew(0, 0, overdue=[1, 0], longest_wait_s=[400.0, 0.0])) == [1, 1]


def test_a_crew_is_counted_by_kind() -> None:
    def one(kind: int, **facts: Any) -> Worker:
        return Worker("worker", None, kind=kind, **facts)

    workers = [
        one(0, ready=True, trials={1: None}),
        one(0, ready=True),
        one(0, asked_s=90.0),
        one(1, asked_s=50.0),
        one(1, asked_s=80.0),
    ]
    assert Crew.of(workers, now_s=100.0, vacant=[1, 0]) == Crew(
        busy=[1, 0], idle=[1, 0], overdue=[0, 2], vacant=[1, 0], longest_wait_s=[10.0, 50.0]
    )


def test_what_fits_nowhere_is_refused(staff: Any) -> None:
    with pytest.raises(UsageError, match=r"^a trial needs 9 CPU, and the whole Ray cluster has 4$"):
        staff(World(FOUR), Resources(cpus=9))
    with pytest.raises(UsageError, match=r"needs 1 GPU, .* has 0; otherwise, a trial needs 9 CPU"):
        staff(World(FOUR), Resources(gpus=1, otherwise=Resources(cpus=9)))
    staff(World(FOUR), Resources(gpus=1, otherwise=Resources(cpus=1)))

"""The driver's picture of its workers: what it answers at once is what a look at all of them would find."""

from __future__ import annotations

import random

import pytest

from caviar.execution.process import LAUNCH
from caviar.execution.roster import Roster
from caviar.execution.worker import Worker
from caviar.messages import AttemptEnded, Launch, TrialStarted


def launch(trial: int) -> Launch:
    return Launch(trial, 0, {}, 0, None, None)


def ready(roster: Roster, name: str = "worker-0") -> Worker:
    worker = Worker(name, None)
    roster.add(worker)
    roster.replied(worker)
    return worker


def check(roster: Roster) -> None:
    """By looking at all of them."""
    there = [worker for worker in roster if worker.ready]
    for depth in (1, 3):
        rooms = {worker: 1 + depth - len(worker.trials) for worker in there}
        assert roster.room(depth) == sum(max(0, room) for room in rooms.values())
        roomiest = roster.roomiest(depth)
        if roomiest is None:
            assert all(room <= 0 for room in rooms.values())
        else:
            assert rooms[roomiest] == max(rooms.values()) > 0
    assert roster.anybody == bool(there)
    assert roster.idle == sum(not worker.trials for worker in there)
    held = {trial: worker for worker in roster for trial in worker.trials}
    assert roster.trials == len(held)
    assert all(roster.holder(trial) is worker for trial, worker in held.items())


@pytest.mark.parametrize("seed", range(5))
def test_whatever_happens_it_is_what_a_look_at_all_workers_would_find(seed: int) -> None:
    chance, roster, workers, trials = random.Random(seed), Roster(), list[Worker](), 0
    for number in range(400):
        worker = chance.choice(workers) if workers else None
        match chance.randrange(8):
            case 0 if len(workers) < 12:
                workers.append(Worker(f"worker-{number}", None))
                roster.add(workers[-1])
            case 1 if worker is not None and chance.random() < 0.2:
                roster.remove(worker)
                workers.remove(worker)
                had = list(worker.trials.values())
                assert roster.release(worker, list(worker.trials)) == had
            case 2 | 3 if worker is not None and worker.ready:
                count = chance.randrange(4)
                roster.give(worker, [launch(trials + i) for i in range(count)])
                trials += count
            case 4 | 5 if worker is not None and worker.trials:
                trial = next(iter(worker.trials))
                if worker.started:
                    roster.note(worker, AttemptEnded(0, trial, 0, 1, "returned"))
                else:
                    roster.note(worker, TrialStarted(0, trial, 0, worker.name))
            case 6 if worker is not None and worker.recalling:
                last = list(worker.trials)[-1]
                expected = [worker.trials[last]] if last not in worker.started else []
                assert roster.given_back(worker, [last] if expected else []) == expected
            case 7:
                could = [w for w in workers if w.ready and w.started and w.in_hand and not w.recalling]
                could_give = sorted(one.in_hand for one in could)
                asked = roster.lenders(2)
                assert [one.in_hand for one in asked] == could_give[::-1][:2]
                assert all(one.recalling for one in asked)
            case _ if worker is not None:
                roster.replied(worker)
        check(roster)
    assert trials > 100


def test_what_is_given_becomes_an_order() -> None:
    roster = Roster()
    worker = ready(roster)
    roster.give(worker, [launch(3), launch(4)])
    roster.give(worker, [])
    ((kind, launches),) = worker.orders
    assert (kind, [one[0] for one in launches]) == (LAUNCH, [3, 4])


def test_of_a_trial_that_has_moved_on_the_late_end_changes_nothing() -> None:
    roster = Roster()
    before, after = ready(roster, "worker-0"), ready(roster, "worker-1")
    roster.give(before, [launch(0)])
    roster.remove(before)
    roster.give(after, roster.release(before, [0]))
    roster.note(before, AttemptEnded(0, 0, 0, 1, "returned"))
    assert roster.holder(0) is after
    assert list(roster) == [after]


def test_nobody_has_room_before_its_first_reply() -> None:
    roster = Roster()
    roster.add(Worker("worker-0", None))
    assert (roster.room(1), roster.roomiest(1), roster.idle, roster.anybody) == (0, None, 0, False)

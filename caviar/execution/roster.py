"""All workers, by what they have: who has which trial, who has room for more, who could give some back.

The loop asks this all the time, and a sweep may have a thousand workers: so everything here costs what has
changed, and nothing looks at all of them, but for iterating over a roster.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from caviar.execution.process import LAUNCH
from caviar.execution.wire import pack_launch
from caviar.execution.worker import Worker
from caviar.messages import AttemptEnded, Event, Launch


class Roster:
    """The driver's workers. Whatever changes what one of them has goes through here."""

    def __init__(self) -> None:
        self._all: dict[Worker, None] = {}
        self._holders: dict[int, Worker] = {}
        self._loads = _Ranks()
        """Those that are ready, by the number of their trials."""
        self._lenders = _Ranks()
        """Those that train, and have trials in hand that they have not been asked for, by the number of these."""

    def __iter__(self) -> Iterator[Worker]:
        return iter(list(self._all))

    def __len__(self) -> int:
        return len(self._all)

    def add(self, worker: Worker) -> None:
        """It is one of ours from now on."""
        self._all[worker] = None
        self._rank(worker)

    def remove(self, worker: Worker) -> None:
        """It is none of ours any more; what it has is still to be released."""
        worker.lost = True
        del self._all[worker]
        self._rank(worker)

    @property
    def anybody(self) -> bool:
        """Whether there is a worker that has replied."""
        return bool(self._loads)

    @property
    def trials(self) -> int:
        """How many trials workers have, in hand and in training."""
        return len(self._holders)

    def holder(self, trial: int) -> Worker | None:
        """Who has this trial."""
        return self._holders.get(trial)

    # --- what changes -------------------------------------------------------------------------------

    def replied(self, worker: Worker) -> None:
        """It is there, and can have trials."""
        if not worker.ready:
            worker.ready = True
            self._rank(worker)

    def give(self, worker: Worker, launches: Sequence[Launch]) -> None:
        """Have it begin these, after what it has."""
        if launches:
            for launch in launches:
                worker.trials[launch.trial] = launch
                self._holders[launch.trial] = worker
            worker.orders.append((LAUNCH, [pack_launch(launch) for launch in launches]))
            self._rank(worker)

    def release(self, worker: Worker, trials: Iterable[int]) -> list[Launch]:
        """Those of these trials that it has, which are to go elsewhere."""
        released = [worker.trials.pop(trial) for trial in trials if trial in worker.trials]
        for launch in released:
            del self._holders[launch.trial]
        self._rank(worker)
        return released

    def given_back(self, worker: Worker, trials: Iterable[int]) -> list[Launch]:
        """What it was asked for, and may be asked for again."""
        worker.recalling = False
        return self.release(worker, trials)

    def note(self, worker: Worker, happened: Event) -> float | None:
        """See `Worker.note`."""
        seconds = worker.note(happened)
        if isinstance(happened, AttemptEnded) and self._holders.get(happened.trial) is worker:
            del self._holders[happened.trial]
        self._rank(worker)
        return seconds

    # --- what is asked ------------------------------------------------------------------------------

    def room(self, depth: int) -> int:
        """For how many more trials there is room, where each worker has ``depth`` of them in hand besides one."""
        return sum((1 + depth - load) * count for load, count in self._loads.counts() if load <= depth)

    def roomiest(self, depth: int) -> Worker | None:
        """Who has the fewest trials, and room for another one."""
        load = self._loads.lowest()
        return None if load is None or load > depth else self._loads.one_of(load)

    @property
    def idle(self) -> int:
        """How many have nothing to do."""
        return self._loads.count(0)

    def lenders(self, count: int) -> list[Worker]:
        """So many workers, or fewer, that could give trials back: those with the most in hand. Each is taken to
        be asked for them now."""
        found: list[Worker] = []
        while len(found) < count and (most := self._lenders.highest()) is not None:
            worker = self._lenders.one_of(most)
            worker.recalling = True
            self._rank(worker)
            found.append(worker)
        return found

    def _rank(self, worker: Worker) -> None:
        there = worker.ready and not worker.lost
        lends = there and worker.started and worker.in_hand and not worker.recalling
        self._loads.put(worker, len(worker.trials) if there else None)
        self._lenders.put(worker, worker.in_hand if lends else None)


class _Ranks:
    """Workers by a number of each: few different ones, whatever the number of workers."""

    def __init__(self) -> None:
        self._rank_of: dict[Worker, int] = {}
        self._ranks: dict[int, dict[Worker, None]] = {}
        """Those of each rank, in the order in which they came to it; no rank is empty."""

    def __bool__(self) -> bool:
        return bool(self._rank_of)

    def put(self, worker: Worker, rank: int | None) -> None:
        """None: it has no rank."""
        before = self._rank_of.get(worker)
        if rank == before:
            return
        if before is not None:
            same = self._ranks[before]
            del same[worker]
            if not same:
                del self._ranks[before]
            del self._rank_of[worker]
        if rank is not None:
            self._rank_of[worker] = rank
            self._ranks.setdefault(rank, {})[worker] = None

    def counts(self) -> Iterator[tuple[int, int]]:
        return ((rank, len(workers)) for rank, workers in self._ranks.items())

    def count(self, rank: int) -> int:
        return len(self._ranks.get(rank, ()))

    def lowest(self) -> int | None:
        return min(self._ranks, default=None)

    def highest(self) -> int | None:
        return max(self._ranks, default=None)

    def one_of(self, rank: int) -> Worker:
        return next(iter(self._ranks[rank]))

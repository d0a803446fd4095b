"""How many workers a sweep is to have: as many as the cluster holds now, and no more than there are trials."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass

from caviar.errors import UsageError
from caviar.execution.nodes import Node, lacking, places
from caviar.execution.resources import Resources
from caviar.execution.worker import Worker

ASK_S = 1.0
"""How often the cluster is asked what it has: a node that joins is at work a few seconds later."""


OVERDUE_S = 15.0
"""A worker that waits longer for its place waits for what others have: a trial may have something else instead."""

ADDED_S = 300.0
"""A node that was asked for and is not there after this may never be: another kind is asked for, too."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Crew:
    """The workers that there are, counted by kind."""

    busy: Sequence[int]
    idle: Sequence[int]
    """Those that are there, and have no trial."""
    overdue: Sequence[int]
    """Those that have waited for their place for long: somebody else has it."""
    vacant: Sequence[int]
    """Places where no worker can begin for now."""
    longest_wait_s: Sequence[float]
    """For how long one has waited for its place."""

    @classmethod
    def of(cls, workers: Iterable[Worker], *, now_s: float, vacant: Sequence[int]) -> Crew:
        """``vacant``: for each kind."""
        busy, idle, overdue = ([0] * len(vacant) for _ in range(3))
        waits_s = [0.0] * len(vacant)
        for worker in workers:
            kind = worker.kind
            if worker.ready:
                (busy if worker.trials else idle)[kind] += 1
            else:
                wait_s = now_s - worker.asked_s
                waits_s[kind] = max(waits_s[kind], wait_s)
                overdue[kind] += wait_s > OVERDUE_S
        return cls(busy=busy, idle=idle, overdue=overdue, vacant=vacant, longest_wait_s=waits_s)


class Staffing:
    """Follows what the cluster has, on a thread of its own, since the head may not answer for long."""

    def __init__(
        self,
        kinds: Sequence[Resources],
        *,
        workers: int | None,
        grows: bool,
        nodes: Callable[[], Sequence[Node]],
        every_s: float = ASK_S,
    ) -> None:
        """``workers``: how many are wanted, whatever the cluster holds now; None: what it holds. ``grows``:
        whether it has an autoscaler, which adds nodes for workers that wait.

        `UsageError` where a worker fits on no node, and there is no autoscaler.
        """
        self._kinds = tuple(kinds)
        self._wanted = workers
        self._grows = grows
        self._nodes = nodes
        self._over = threading.Event()
        now = nodes()
        lacks = lacking(now, self._kinds)
        if lacks is not None and not grows:
            raise UsageError(lacks)
        self._take(now)
        threading.Thread(target=self._watch, args=(every_s,), name="caviar-staffing", daemon=True).start()

    def stop(self) -> None:
        """Ask no more."""
        self._over.set()

    def targets(self, trials: int, crew: Crew) -> list[int]:
        """How many workers of each kind there are to be, where so many trials are left to be trained.

        Those that are there come first, busy ones before idle ones; then places of the first kind, and of the
        others. One worker at least, whatever there is to do. More than the cluster holds wait for their places
        where a number was wanted; and where the cluster grows, as many again as are at work, so that it grows
        quickly, and never far beyond what the sweep needs.
        """
        left = max(1, trials if self._wanted is None else min(self._wanted, trials))
        targets = list(crew.busy)
        left = max(0, left - sum(targets))
        for kind, idle in enumerate(crew.idle):
            targets[kind] += min(idle, left)
            left -= min(idle, left)
        there, needed = list(targets), left
        for kind, held in enumerate(self._places):
            if crew.overdue[kind]:  # whoever waits would have what is free
                continue
            free = held - crew.busy[kind] - crew.idle[kind] - crew.vacant[kind]
            taken = min(max(0, free), left)
            targets[kind] += taken
            left -= taken
        left = max(0, left - sum(crew.vacant))
        if self._grows:
            left = min(left, max(1, sum(crew.busy) + sum(crew.idle)))
        elif self._wanted is None:
            left = 0
        targets[self._asked_for(crew)] += left
        for kind, (overdue, vacant) in enumerate(zip(crew.overdue, crew.vacant, strict=True)):
            if self._wanted is None or self._grows:  # those that are overdue may get their places yet
                targets[kind] = max(targets[kind], there[kind] + min(overdue, needed))
            targets[kind] += min(vacant, needed)
        if not sum(targets):  # the nodes are gone, and may come back
            targets[self._asked_for(crew)] = 1
        return targets

    def _asked_for(self, crew: Crew) -> int:
        """The kind of the workers that there is no room for yet."""
        if self._grows:
            hopeful = [wait_s < ADDED_S for wait_s in crew.longest_wait_s]
        else:
            hopeful = [count > 0 for count in self._places]
        return hopeful.index(True) if any(hopeful) else 0

    def _take(self, nodes: Sequence[Node]) -> None:
        self._places = places(nodes, self._kinds)

    def _watch(self, every_s: float) -> None:
        while not self._over.wait(every_s):
            with suppress(Exception):  # the head is away: what was known last still holds
                self._take(self._nodes())

"""How many workers a sweep is to have: as many as the cluster holds now, and no more than there are trials."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from contextlib import suppress

from caviar.errors import UsageError
from caviar.execution.nodes import Cluster, lacking, places
from caviar.execution.resources import Resources

ASK_S = 1.0
"""How often the cluster is asked what it has: a node that joins is at work a few seconds later."""


class Staffing:
    """Follows what the cluster has, on a thread of its own, since the head may not answer for long."""

    def __init__(
        self,
        kinds: Sequence[Resources],
        *,
        workers: int | None,
        cluster: Callable[[], Cluster],
        every_s: float = ASK_S,
    ) -> None:
        """``workers``: how many are wanted, whatever the cluster holds now; None: what it holds.

        `UsageError` where a worker fits nowhere, and where no node could be added that it fits.
        """
        self._kinds = tuple(kinds)
        self._wanted = workers
        self._cluster = cluster
        self._over = threading.Event()
        now = cluster()
        reasons = [lacking([*now.nodes, *now.addable], kind) for kind in self._kinds]
        if None not in reasons:
            raise UsageError("; otherwise, ".join(reason for reason in reasons if reason is not None))
        self._take(now)
        threading.Thread(target=self._watch, args=(every_s,), name="caviar-staffing", daemon=True).start()

    def stop(self) -> None:
        """Ask no more."""
        self._over.set()

    def targets(self, trials: int, *, at_work: int) -> list[int]:
        """How many workers of each kind there are to be, where so many trials are left to be trained.

        One at least, whatever there is to do. More than the cluster holds are asked for where a number was wanted;
        and where there is an autoscaler, which reads from workers that wait what it is to add, as many again as
        are ``at_work``, so that a cluster grows quickly, and never far beyond what the sweep needs.
        """
        most = trials if self._wanted is None else min(self._wanted, trials)
        left = max(1, most)
        targets = []
        for held in self._places:
            targets.append(min(held, left))
            left -= targets[-1]
        if self._wanted is None:
            left = min(left, max(1, at_work)) if self._grows else 0
        targets[self._asked_for] += left
        if not sum(targets):  # the nodes are gone, and may come back
            targets[self._asked_for] = 1
        return targets

    def _take(self, cluster: Cluster) -> None:
        reachable = [lacking([*cluster.nodes, *cluster.addable], kind) is None for kind in self._kinds]
        self._asked_for = reachable.index(True) if any(reachable) else 0
        """The kind of the workers that there is no room for yet."""
        self._grows = any(lacking(cluster.addable, kind) is None for kind in self._kinds)
        self._places = places(cluster.nodes, self._kinds)

    def _watch(self, every_s: float) -> None:
        while not self._over.wait(every_s):
            with suppress(Exception):  # the head is away: what was known last still holds
                self._take(self._cluster())

"""How many workers a sweep is to have: as many as the cluster holds now, and no more than there are trials."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from contextlib import suppress

from caviar.errors import UsageError
from caviar.execution.nodes import Node, first_held, lacking, places, shared_out
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

    def targets(self, trials: int, *, at_work: int) -> list[int]:
        """How many workers of each kind there are to be, where so many trials are left to be trained.

        One at least, whatever there is to do. More than the cluster holds wait for their places where a number was
        wanted; and where the cluster grows, as many again as are ``at_work``, so that it grows quickly, and never
        far beyond what the sweep needs.
        """
        most = trials if self._wanted is None else min(self._wanted, trials)
        targets, left = shared_out(self._places, max(1, most))
        if self._grows:
            left = min(left, max(1, at_work))
        elif self._wanted is None:
            left = 0
        targets[self._asked_for] += left
        if not sum(targets):  # the nodes are gone, and may come back
            targets[self._asked_for] = 1
        return targets

    def _take(self, nodes: Sequence[Node]) -> None:
        self._places = places(nodes, self._kinds)
        self._asked_for = 0 if self._grows else first_held(self._places)
        """The kind of the workers that there is no room for yet."""

    def _watch(self, every_s: float) -> None:
        while not self._over.wait(every_s):
            with suppress(Exception):  # the head is away: what was known last still holds
                self._take(self._nodes())

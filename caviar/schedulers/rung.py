"""Rungs: where they lie, what was seen at one of them, and the arguments that place them."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Sequence
from heapq import heappush, heappushpop
from typing import Protocol, TypeGuard

from caviar.errors import UsageError


class Rung:
    """Values seen at one rung, the lowest k of them apart from the rest, so that their order costs O(log n).

    Two heaps: the lowest k, with the largest of them on top, and the rest, with the smallest on top. The split k
    is the caller's; it starts at 1 and grows by at most one a value, and no question is asked far from it.
    Memory: about 32 bytes a value (a float and its place in a list).
    """

    __slots__ = ("_lowest", "_rest")

    def __init__(self) -> None:
        # heapq knows smallest-first heaps only, so this one holds negated values
        self._lowest: list[float] = []
        self._rest: list[float] = []

    def __len__(self) -> int:
        return len(self._lowest) + len(self._rest)

    def kth_lowest(self, k: int) -> float:
        """The k-th lowest value, for k at the split or one past it; ``inf`` where fewer were seen. O(1)."""
        if k <= len(self._lowest):
            return -self._lowest[0]
        return self._rest[0] if self._rest else math.inf

    def add(self, value: float, k: int) -> None:
        """Count a value; from now on the split is ``k``: what it was, or one more. O(log n)."""
        if k > len(self._lowest):
            heappush(self._lowest, -heappushpop(self._rest, value))
        else:
            heappush(self._rest, -heappushpop(self._lowest, -value))


class Rungs(Protocol):
    """Steps at which a trial is judged, rising."""

    first: int | None
    """The first of them, or None: there is none."""

    def after(self, rung: int) -> int | None:
        """The first rung above this step, or None: there is none. The step is a rung, of these or of those that
        another scheduler had before."""

    def extend(self, max_step: int | None) -> None:
        """Trials train up to this step now: there may be further rungs."""


class ListedRungs:
    """Exactly these rungs."""

    __slots__ = ("_rungs", "first")

    def __init__(self, rungs: Sequence[int]) -> None:
        self._rungs = tuple(rungs)
        self.first: int | None = rungs[0] if rungs else None

    def after(self, rung: int) -> int | None:
        above = bisect_right(self._rungs, rung)
        return self._rungs[above] if above < len(self._rungs) else None

    def extend(self, max_step: int | None) -> None:
        pass


class GeometricRungs:
    """Rungs at ``grace_steps * reduction_factor**k`` for k = 0, 1, …, below ``max_step`` (None: without end).

    A fractional reduction_factor gives fractional rungs: each is rounded to the nearest step, and to the step
    after the previous rung where that is higher, so that rungs always rise.
    """

    __slots__ = ("_grace_steps", "_limit", "_reduction_factor", "_rungs", "first")

    def __init__(self, grace_steps: int, reduction_factor: float, *, max_step: int | None) -> None:
        self._grace_steps = grace_steps
        self._reduction_factor = reduction_factor
        self.extend(max_step)

    def extend(self, max_step: int | None) -> None:
        self._limit = math.inf if max_step is None else max_step
        self.first: int | None = self._grace_steps if self._grace_steps < self._limit else None
        # rungs are found as they are asked for: without a max_step there is no last one
        self._rungs: list[int] = [] if self.first is None else [self.first]

    def after(self, rung: int) -> int | None:
        while self._rungs and self._rungs[-1] <= rung:
            exact = self._grace_steps * self._reduction_factor ** len(self._rungs)
            # compared before it is rounded: an enormous factor gives inf, which cannot be
            following = max(round(exact), self._rungs[-1] + 1) if exact < self._limit else self._limit
            if following >= self._limit:
                return None
            self._rungs.append(int(following))
        above = bisect_right(self._rungs, rung)
        return self._rungs[above] if above < len(self._rungs) else None


class RegularRungs:
    """Rungs at ``grace_steps`` and then every ``every`` steps, below ``max_step`` (None: without end)."""

    __slots__ = ("_every", "_grace_steps", "_limit", "first")

    def __init__(self, grace_steps: int, every: int, *, max_step: int | None) -> None:
        self._grace_steps = grace_steps
        self._every = every
        self.extend(max_step)

    def extend(self, max_step: int | None) -> None:
        self._limit = math.inf if max_step is None else max_step
        self.first: int | None = self._grace_steps if self._grace_steps < self._limit else None

    def after(self, rung: int) -> int | None:
        passed = max(0, (rung - self._grace_steps) // self._every + 1)
        following = self._grace_steps + passed * self._every
        return following if following < self._limit else None


def check_whole(scheduler: str, **arguments: object) -> None:
    """Raise `UsageError` unless each argument is an int of at least 1."""
    for name, value in arguments.items():
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise UsageError(f"{scheduler}({name}={value!r}): needs a whole number (int) of at least 1")


def check_number(scheduler: str, **arguments: object) -> None:
    """Raise `UsageError` unless each argument is an int or float, finite and not negative."""
    for name, value in arguments.items():
        if not is_finite(value) or value < 0:
            raise UsageError(f"{scheduler}({name}={value!r}): needs a finite number of at least 0")


def check_reduction_factor(scheduler: str, value: object) -> None:
    """Raise `UsageError` unless ``value`` is an int or float, finite and above 1."""
    if not is_finite(value) or value <= 1:
        raise UsageError(f"{scheduler}(reduction_factor={value!r}): needs a finite number above 1")


def is_finite(value: object) -> TypeGuard[float]:
    """Whether it is an int or float, and finite."""
    return isinstance(value, int | float) and not isinstance(value, bool) and -math.inf < value < math.inf

"""Which checkpoints of a trial are kept."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Sequence

from caviar.trial import ORIGIN, Saved

POLICIES = ("last", "landmarks", "all")
"""``last``: the newest alone. ``landmarks``: the newest few, the best, those before adjustments, and a few that
are spread over the whole way."""

NEWEST = 3
BEFORE_ADJUSTMENTS = 20
SPREAD = 8
"""So many of the newest, of the last ones before adjustments, and of those spread, are landmarks."""


def superseded(
    saved: Sequence[Saved], policy: str, *, adjusted: Collection[int], minimize: bool
) -> list[tuple[int, int]]:
    """(attempt, step) of the checkpoints that are not to be kept, of those of a trial's main line, in order.

    ``adjusted``: the first steps that were trained with other params. The best is the one before which the metric
    was best, the earliest of equals; one without a finite value is not.
    """
    if policy == "all":
        return []
    kept = set(saved[-1:] if policy == "last" else saved[-NEWEST:])
    if policy == "landmarks":
        before = [one for one in saved if one.step + 1 in adjusted]
        kept.update(before[-BEFORE_ADJUSTMENTS:])
        kept.update(_spread(saved))
        finite = [one for one in saved if one.value is not None and math.isfinite(one.value)]
        if finite:
            kept.add(min(finite, key=lambda one: one.value if minimize else -one.value))  # type: ignore[arg-type, return-value, operator]
    return [(one.attempt, one.step) for one in saved if one not in kept]


def _spread(saved: Sequence[Saved]) -> list[Saved]:
    """The first checkpoint of each of at most `SPREAD` stretches of the same length, a power of two. As the length
    doubles, two stretches become one, so that what is kept was kept before."""
    stride = 1
    while saved and saved[-1].step // stride >= SPREAD:
        stride *= 2
    first: dict[int, Saved] = {}
    for one in saved:
        first.setdefault(one.step // stride, one)
    return list(first.values())


def unsound(saved: Sequence[Saved], damage: Callable[[Saved], str | None]) -> list[tuple[Saved, str]]:
    """Of a trial's checkpoints, in order, the newest ones down to one that can be gone on from, newest first, each
    with what is wrong with it. ``damage`` says that, or None; what its sweep began from is never asked about."""
    found: list[tuple[Saved, str]] = []
    for one in reversed(saved):
        why = None if one.attempt == ORIGIN else damage(one)
        if why is None:
            break
        found.append((one, why))
    return found

"""Trials of which a person changed the params: how they did says nothing about the params that they began with."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from caviar.errors import CaviarError

if TYPE_CHECKING:
    from caviar.analysis.result import Result


def left_out(result: Result) -> int:
    """How many trials have reported the metric, and are no evidence, as their params were changed."""
    events, line = result._events, result._known_line.of_metric(result.metric)
    return len(np.intersect1d(events.trial[events.rows("adjusted")], line.trial))


def too_little(result: Result, said: str) -> CaviarError:
    """The error of a result that has too little evidence, as ``said``: with the reason, if it is a hand's."""
    count = left_out(result)
    if result.declaration.get("panda") is not None:
        why = ", and its params were changed by hand, which says nothing about those that it began with"
        return CaviarError(
            f"{result.path}: is a live run, of one trial{why if count else ''}; caviar fork {result.path} --vary "
            "tries several values of a param"
        )
    if not count:
        return CaviarError(f"{result.path}: {said}")
    of, they = ("1 trial", "it") if count == 1 else (f"{count:,} trials", "they")
    why = f"the params of {of} were changed by hand, which says nothing about those that {they} began with"
    return CaviarError(f"{result.path}: {said}; {why}")

"""From a sweep's trials to a narrower space, and to the ends at which its best trials pile up."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from caviar.analysis import by_hand
from caviar.space.care import BOLD, CAREFUL
from caviar.space.narrowing import Narrowing, Tried, narrow

if TYPE_CHECKING:
    from caviar.analysis.result import Result
    from caviar.space.narrowed import NarrowedSpace

COLUMNS = ("param", "end", "low", "high", "share", "suggestion")


def zoom(result: Result, *, top: float, margin: float, widen: bool) -> NarrowedSpace:
    """`Result.zoom`."""
    return narrow(result.last_space, tried(result), top=top, margin=margin, widen=widen, seed=_seed(result))


def next_stage(result: Result) -> NarrowedSpace:
    """The space of a sweep's own next stage. It lies within the one before: nobody is there to say what the
    training function can take."""
    known, seed = tried(result), _seed(result)
    return narrow(result.last_space, known, margin=BOLD.margin, widen=False, seed=seed, care=BOLD)


def edges(result: Result, *, top: float) -> pd.DataFrame:
    """`Result.edges`."""
    found = Narrowing(
        result.last_space, tried(result), top=top, margin=CAREFUL.margin, widen=True, seed=_seed(result)
    )
    rows = [(each.name, each.end, each.low, each.high, each.share, each.suggestion) for each in found.edges()]
    return pd.DataFrame(rows, columns=list(COLUMNS))


def tried(result: Result) -> Tried:
    """The trials by which a sweep is zoomed. Raises `CaviarError` where none has a finite metric."""
    known = result.evidence
    if not np.isfinite(known.loss).any():
        others = "other " if by_hand.left_out(result) else ""
        raise by_hand.too_little(
            result, f"no {others}trial has reported a finite {result.metric!r}, so there is no best to go by"
        )
    score = np.where(np.isfinite(known.loss), known.score, np.inf)
    return Tried(params=known.params, score=score, stage=known.stage)


def _seed(result: Result) -> int:
    seed = result.declaration.get("seed", 0)
    return seed if isinstance(seed, int) and seed >= 0 else 0

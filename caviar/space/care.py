"""How sure narrowing is to be."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Care:
    """From which evidence on a param is touched, and how much is left around the best."""

    min_trials: int
    """With fewer trials nothing is narrowed."""
    min_best: int
    """So many trials, at least, count as the best, however few ``top`` says."""
    significant: float
    """A param is touched only where the best trials would lie so by chance at most so often."""
    margin: float
    """At least so much of a new range is added at either end."""
    missed: float
    """How rarely an end lies farther out than is added for it, if the best lie evenly."""


CAREFUL = Care(min_trials=20, min_best=10, significant=0.05, margin=0.15, missed=0.04)
"""What `Result.zoom` takes: what it leaves out, nobody may look at again."""

BOLD = Care(min_trials=10, min_best=5, significant=0.1, margin=0.05, missed=0.3)
"""What a sweep takes for its own stages. Their trials are given, and are few: what they gain by lying closer is
worth more than what is lost where the best of all is left out (``benchmarks/bench_coarse_to_fine.py``)."""

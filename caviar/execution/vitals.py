"""How a sweep stands, as its driver shows it to the executor every second, for who watches the cluster."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Vitals:
    """One look at a sweep from its driver. What is counted is counted since this driver began."""

    trials: Mapping[str, int]
    """How many trials are in each state; of every state there is one."""
    to_come: int
    """Trials that are yet to be sampled."""
    reports: int
    decisions: Mapping[str, int]
    """How often the scheduler came to each of its words."""
    workers_lost: int
    uncommitted_rows: int
    """Reports and events that are not yet durable."""
    commits_s: Sequence[float]
    """How long each commit took that was made since the last look."""
    lag_s: float
    """By how much the loop has lately been longer away than it means to be, at the worst."""
    busy: float
    """The share of a core that the loop has used since the last look."""

"""What the record of a run says to a hand that takes it over."""

from __future__ import annotations

from dataclasses import dataclass

from caviar.messages import Reports
from caviar.panda.change import Change


@dataclass(frozen=True, slots=True, kw_only=True)
class Begun:
    """An attempt began, as recorded: from ``step``, 0 for the beginning; ``back``: by a roll-back."""

    attempt: int
    step: int
    back: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Fired:
    """A rule fired, as recorded: ``judged`` as in `Decision`, ``change`` as in `Firing`. What several records tell
    of one firing may come one by one."""

    rule: str
    judged: int
    change: Change


def of_attempt(block: Reports, attempt: int) -> Reports:
    """The reports of one attempt."""
    rows = block.attempt == attempt
    return Reports(
        block.names,
        trial=block.trial[rows],
        attempt=block.attempt[rows],
        seq=block.seq[rows],
        step=block.step[rows],
        time_us=block.time_us[rows],
        values=block.values[rows],
    )

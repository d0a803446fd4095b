"""What failed, by the error that it failed with."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from caviar.analysis.report.markup import Html, count, join, paragraph, text
from caviar.analysis.report.section import Section
from caviar.analysis.trials import lasting_ends
from caviar.trial import TrialState

if TYPE_CHECKING:
    from caviar.analysis.result import Result

SHOWN = 8
TRIALS_NAMED = 12
TRACEBACK = 6_000
"""Characters of a traceback at most: its end."""


@dataclass(frozen=True, slots=True)
class Failure:
    """Trials that failed alike."""

    error: str
    """In one line."""
    trials: Sequence[int]
    traceback: str
    """Of the first of them, as far as there is one; else the reason."""


def failures(result: Result) -> list[Failure]:
    """The failed trials by error, the most frequent first. Errors that differ only in numbers, addresses or what
    stands in quotes are alike."""
    trials, events = result._trials, result._events
    failed = np.flatnonzero(trials.status == TrialState.FAILED.value)
    found: dict[str, list[int]] = {}
    for row in failed.tolist():
        found.setdefault(_alike(_line(trials.reason[row])), []).append(row)
    ends = lasting_ends(events) if found else np.zeros(0, np.int64)
    made = []
    for rows in sorted(found.values(), key=len, reverse=True):
        numbers = trials.trial[np.array(rows)]
        first = ends[events.trial[ends] == numbers[0]]
        error = events.event(int(first[-1])).get("error") if len(first) else None
        reason = trials.reason[rows[0]]
        made.append(Failure(_line(reason), numbers.tolist(), str(error or reason)))
    return made


def failed_section(found: Sequence[Failure], retried: int) -> Section | None:
    """The section; None where nothing failed. ``retried``: attempts that failed or were lost, and tried again."""
    if not found and not retried:
        return None
    parts: list[Html] = []
    if found:
        total = sum(len(each.trials) for each in found)
        ways = "" if total == 1 else f", in {count(len(found), 'way')}"
        parts.append(paragraph(f"{count(total, 'trial')} failed{ways}."))
    if retried:
        lost = count(retried, "more attempt" if found else "attempt")
        parts.append(paragraph(f"{lost} failed or {'was' if retried == 1 else 'were'} lost, and tried again."))
    for each in found[:SHOWN]:
        named = ", ".join(map(str, each.trials[:TRIALS_NAMED]))
        more = f" and {len(each.trials) - TRIALS_NAMED:,} more" if len(each.trials) > TRIALS_NAMED else ""
        which = f"{count(len(each.trials), 'trial')}: {named}{more}"
        told = each.traceback if len(each.traceback) <= TRACEBACK else "…" + each.traceback[1 - TRACEBACK :]
        parts.append(
            Html(
                f'<details><summary><span class="error">{text(each.error, 200)}</span>'
                f'<span class="soft">{text(which)}</span></summary><pre>{text(told)}</pre></details>'
            )
        )
    if len(found) > SHOWN:
        parts.append(paragraph(f"{count(len(found) - SHOWN, 'more way')} left out.", "soft"))
    return Section("What failed", join(parts), "failures")


def _line(reason: object) -> str:
    """The last line: of a traceback it says what was wrong."""
    lines = [line.strip() for line in reason.splitlines() if line.strip()] if isinstance(reason, str) else []
    return lines[-1] if lines else "no reason was recorded"


def _alike(line: str) -> str:
    return re.sub(r"'[^']*'|\"[^\"]*\"|0x[0-9a-f]+|\d+(\.\d+)?([eE][-+]?\d+)?", "_", line)[:300]

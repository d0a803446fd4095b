"""How the attempts of a trial came out of one another: what was rolled back, and what of it all counts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from caviar.adjusting import told
from caviar.analysis.reports import ReportColumns
from caviar.analysis.trials import MISSING, MOVES_OF_DRIVERS, EventColumns
from caviar.messages import BY_HAND, Ints

NAMED = 3
"""So many adjustments of an attempt are told one by one."""

_KINDS = ("trial_started", "rolled_back", "adjusted", "attempt_failed", "attempt_lost", "trial_ended")


@dataclass(frozen=True, slots=True, kw_only=True)
class Branch:
    """One attempt of a trial."""

    attempt: int
    began: int
    """The step after which it began; 0: from the beginning."""
    origin: int | None
    """The attempt that had trained that step; None: from the beginning."""
    last: int
    """The last step that it reported, or was restored to."""
    adjusted: Sequence[tuple[int, str]] = ()
    """The first step that was trained with each adjustment, and what it was."""
    end: str | None = None
    """How it ended, in a few words; None: it has not."""
    main: tuple[int, int] | None = None
    """Its first and its last step on the main line; None: nothing of it counts, or it has trained nothing."""


def rolled_back(events: EventColumns) -> list[int]:
    """The trials that were rolled back, by number."""
    trials: list[int] = np.unique(events.trial[events.rows("rolled_back")]).tolist()
    return trials


def branches(events: EventColumns, reports: ReportColumns, trial: int) -> list[Branch]:
    """The attempts of a trial in their order, by its events and reports. One that was under way when its driver
    went was cut off."""
    steps = _last_steps(reports, trial)
    found: dict[int, Branch] = {}
    line: list[tuple[int, int]] = []  # the main line: attempts, each from its first step there
    current = MISSING
    for kind, row in _story(events, trial):
        step, attempt = int(events.step[row]), int(events.attempt[row])
        data = events.event(row)
        if kind in MOVES_OF_DRIVERS:
            if current in found and found[current].end is None:
                found[current] = replace(found[current], end="cut off")
            continue
        if kind == "rolled_back" and current in found:
            end = f"rolled back at {data['from_step']}{_because(data)}"
            found[current] = replace(found[current], end=end)
        if kind in ("trial_started", "rolled_back"):
            began = step if kind == "rolled_back" else data.get("restored") or 0
            if attempt not in found or found[attempt].began != began:
                origin = next((each for each, first in reversed(line) if first <= began), None)
                adjusted = found[attempt].adjusted if attempt in found else ()
                last = max(began, steps.get(attempt, 0))
                found[attempt] = Branch(attempt=attempt, began=began, origin=origin, last=last, adjusted=adjusted)
                line = [*(each for each in line if each[1] <= began), (attempt, began + 1)]
            current = attempt
        elif attempt in found:
            branch = found[attempt]
            if kind == "adjusted":
                adjusted = (*branch.adjusted, (step, told(data["old"], data["new"])))
                found[attempt] = replace(branch, adjusted=adjusted)
            else:
                found[attempt] = replace(branch, end=_end(kind, step, data))
    ends = [first - 1 for _, first in line[1:]] + [found[attempt].last for attempt, _ in line[-1:]]
    for (attempt, first), last in zip(line, ends, strict=True):
        if first <= last:
            found[attempt] = replace(found[attempt], main=(first, last))
    return [found[attempt] for attempt in sorted(found)]


def _story(events: EventColumns, trial: int) -> Iterator[tuple[str, int]]:
    """The kinds and rows of what matters to a trial, in order."""
    for row in events.rows(*_KINDS, *MOVES_OF_DRIVERS).tolist():
        if events.trial[row] in (trial, MISSING):
            yield events.kinds[events.code[row]], row


def _last_steps(reports: ReportColumns, trial: int) -> dict[int, int]:
    """The last step that each attempt reported."""
    reports = reports.take(reports.trial == trial)
    attempts, place = np.unique(reports.attempt, return_inverse=True)
    last: Ints = np.zeros(len(attempts), np.int64)
    np.maximum.at(last, place, reports.step)
    return dict(zip(attempts.tolist(), last.tolist(), strict=True))


def _because(data: dict[str, Any]) -> str:
    by = "" if data.get("by") in (None, BY_HAND) else f" by {data['by']}"
    return f"{by}: {data['note']}" if data.get("note") else by or f" {BY_HAND}"


def _end(kind: str, step: int, data: dict[str, Any]) -> str:
    how = data["status"] if kind == "trial_ended" else kind.removeprefix("attempt_")
    return f"{how} at {step}" + (f": {data['reason']}" if data.get("reason") else "")


def tree(trial: int, of: Sequence[Branch], *, unicode: bool = True) -> list[str]:
    """The attempts of a trial as lines of a tree; without ``unicode`` in ASCII."""
    fork, corner = ("├─", "└─") if unicode else ("|-", "`-")
    numbers = [f"attempt {branch.attempt}" for branch in of]
    courses = [_course(branch) for branch in of]
    widths = [max(map(len, column), default=0) for column in (numbers, courses)]
    lines = [f"trial {trial}"]
    for place, (branch, number, course) in enumerate(zip(of, numbers, courses, strict=True)):
        last = place == len(of) - 1
        ends = [end for end in (branch.end, "main line" if last else None) if end is not None]
        line = (
            f"{corner if last else fork} {number.ljust(widths[0])}  {course.ljust(widths[1])}  {', '.join(ends)}"
        )
        lines.append(line.rstrip())
    return lines


def _course(branch: Branch) -> str:
    parts = []
    if branch.origin is not None:
        of = "" if branch.origin == branch.attempt - 1 else f" of attempt {branch.origin}"
        parts.append(f"from step {branch.began}{of}")
    begins = [what for step, what in branch.adjusted if step == branch.began + 1]
    later = [f"{what} at {step}" for step, what in branch.adjusted if step > branch.began + 1]
    first, last = branch.began + 1, branch.last
    steps = "no step" if last < first else f"step {first}" if last == first else f"steps {first}-{last}"
    return ", ".join([*parts, *begins, steps, *(later if len(later) <= NAMED else [f"{len(later)} adjustments"])])

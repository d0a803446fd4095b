"""What happened: the events that a person would want to know of."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from caviar.analysis.acts import acts
from caviar.analysis.notes import notes
from caviar.analysis.report.markup import Html, count, join, paragraph, short_moment, table
from caviar.analysis.report.section import Section

if TYPE_CHECKING:
    from caviar.analysis.result import Result

SHOWN = 40
STEERED = 20
"""So many trials at most have what was done to them told."""


def chronicle(result: Result, *, steering: bool = True) -> Section | None:
    """The section; None where nothing is worth telling. ``steering``: also what was done to single trials."""
    events = result._events
    done = _done(result)  # what came of these is told with the trial
    found = [each for each in notes(events, SHOWN + len(done)) if (each.time_us, each.text) not in done]
    rows: list[tuple[int, int, str]] = [(each.time_us, -1, each.text) for each in found]
    steered = np.unique(events.trial[events.rows("adjusted", "rolled_back", "paused", "unpaused", "adopted")])
    if not steering:
        steered = steered[:0]
    for trial in steered[:STEERED].tolist():
        for act in acts(events, trial):
            if act.kind in ("adjusted", "rolled_back", "paused", "unpaused", "adopted"):
                why = f" ({act.why})" if act.why else ""
                rows.append((act.time_us, trial, f"trial {trial}{_at(act.step)}: {act.text}{why}"))
    rows.sort(key=lambda row: row[0])
    left = max(len(rows) - SHOWN, 0)
    parts: list[Html] = []
    if left:
        parts.append(paragraph(f"The last {SHOWN}; {left:,} earlier ones are left out.", "soft"))
    if not rows:
        return None
    told = [(short_moment(time_us), " ".join(said.split())) for time_us, _, said in rows[-SHOWN:]]
    parts.append(table(("when", "what"), told, words=(1,)))
    if len(steered) > STEERED:
        parts.append(paragraph(f"{count(len(steered) - STEERED, 'more trial')} were steered.", "soft"))
    return Section("What happened", join(parts), "happened")


def _done(result: Result) -> set[tuple[int, str]]:
    """Time and text of the answers to commands that were carried out."""
    events = result._events
    rows = events.rows("command_answered")
    applied, text = events.fields(rows, "command_answered", "applied", "text")
    return {
        (time_us, str(said))
        for time_us, was, said in zip(events.time_us[rows].tolist(), applied, text, strict=True)
        if was
    }


def _at(step: int | None) -> str:
    return "" if step is None else f", step {step:,}"

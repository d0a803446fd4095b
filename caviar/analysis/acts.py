"""What was done to a trial while it trained, and what befell it: each in one line, with who did it and why."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from caviar.adjusting import told
from caviar.analysis.notes import describe
from caviar.analysis.trials import MISSING, EventColumns

BENT = ("adjusted", "rolled_back")
"""What bends the curve, and so has a place on it."""

KINDS = (
    *BENT, "paused", "unpaused", "stop_ordered", "attempt_failed", "attempt_lost", "checkpoint_lost",
    "command_answered", "driver_started", "driver_stopped",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Act:
    """Something that was done to a trial, or befell it."""

    time_us: int
    kind: str
    """Of its event."""
    text: str
    """What it was, without who and why."""
    step: int | None = None
    """Of an adjustment the first step that was trained with it, of a roll-back the one that it went back to; None:
    it did not bend the curve."""
    by: str | None = None
    """``by hand``, or the name of a rule."""
    note: str | None = None
    number: int | None = None
    """Counts those with a step, from 0."""
    params: frozenset[str] = frozenset()
    """What an adjustment changed."""
    dropped: bool = False
    """Whether it holds no more, as something was done later at an earlier step."""

    @property
    def why(self) -> str:
        """Who did it and why, as far as that was said: ``by hand: too jumpy``."""
        by = "" if self.by is None else self.by if self.by.startswith("by ") else f"by {self.by}"
        return ": ".join(part for part in (by, self.note) if part)

    def drops(self, before: Act) -> bool:
        """Whether this takes the place of something that was done before at a later step."""
        if self.step is None or before.step is None or before.step <= self.step:
            return False
        return self.kind == "rolled_back" or (before.kind == "adjusted" and before.params <= self.params)


def acts(events: EventColumns, trial: int) -> Iterator[Act]:
    """What was done to one trial in these events, in order; an adjustment that came with a roll-back is told with
    it. Its ``number`` is left to who knows what was before."""
    rows = [row for row in events.rows(*KINDS).tolist() if events.trial[row] in (trial, MISSING)]
    back: tuple[str | None, Act] | None = None
    for row in rows:
        kind, data = events.kinds[events.code[row]], events.event(row)
        if back is not None:
            if kind == "adjusted" and back[0] is not None and data.get("command") == back[0]:
                yield replace(back[1], text=f"{back[1].text}, {told(data['old'], data['new'])}")
                back = None
                continue
            yield back[1]
            back = None
        if kind == "command_answered" and data["applied"]:
            continue  # what came of it is an event of its own
        act = _act(events, row, kind, data)
        if kind == "rolled_back":
            back = data.get("command"), act
        else:
            yield act
    if back is not None:
        yield back[1]


def _act(events: EventColumns, row: int, kind: str, data: dict[str, Any]) -> Act:
    step = int(events.step[row])
    match kind:
        case "adjusted":
            text = told(data["old"], data["new"])
        case "rolled_back":
            text = f"back from step {data['from_step']} to step {step}"
        case "paused":
            text = f"paused at step {step}"
        case "unpaused":
            text = f"unpaused at step {step}"
        case "command_answered":
            text = f"not done: {data['text']}"
        case "attempt_failed" | "attempt_lost":
            text = f"{kind.removeprefix('attempt_')} at step {step}, starts again: {data['reason']}"
        case _:
            text = describe(kind, int(events.trial[row]), data)
    return Act(
        int(events.time_us[row]),
        kind,
        text,
        step=step if kind in BENT else None,
        by=data.get("by"),
        note=data.get("note"),
        params=frozenset(data["new"]) if kind == "adjusted" else frozenset(),
    )

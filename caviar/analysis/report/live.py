"""The sections of a live run: where it stands, what was done to it, and its curve with that on it."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from caviar.adjusting import Timeline, effective, with_adjustment
from caviar.analysis.acts import Act, acts
from caviar.analysis.report.advice import Advice
from caviar.analysis.report.gallery import PICTURES, Picture, gallery
from caviar.analysis.report.live_curve import TITLE, letter, run_curve
from caviar.analysis.report.markup import Html, code, join, number, paragraph, python_dict, short_moment, table
from caviar.analysis.report.section import Section
from caviar.analysis.report.trouble import TROUBLE, folder
from caviar.errors import CaviarError
from caviar.space import Constant, Float, Int

if TYPE_CHECKING:
    from caviar.analysis.result import Result

TRIAL = 0
SHOWN = 100
"""So many of the last things that were done to it are told."""


def is_live_run(result: Result) -> bool:
    """Whether it is one run in the hands of a person or of rules, and not a search."""
    return result.declaration.get("panda") is not None


@dataclass(frozen=True, slots=True)
class Course:
    """What a live run trained with, and what was done to it."""

    began: dict[str, Any]
    now: dict[str, Any]
    since: dict[str, int]
    """The first step trained with the value of now, of what changed."""
    acts: list[Act]
    on_line: list[bool]
    """Of each act, whether it led to now."""


def course(result: Result) -> Course | None:
    """None where its trial was not sampled yet."""
    if not len(result._trials):
        return None
    done = [act for act in acts(result._events, TRIAL) if act.kind not in ("driver_started", "driver_stopped")]
    on_line = [not any(later.drops(act) for later in done[at + 1 :]) for at, act in enumerate(done)]
    timeline: Timeline = []
    for kind, step, new in _bends(result):
        if kind == "adjusted":
            timeline = with_adjustment(timeline, step, new)
        else:
            timeline = [(at, changes) for at, changes in timeline if at <= step]
    schedule = tuple((step, changes) for step, changes in result.declaration.get("schedule") or ())
    sampled = result.params_of(TRIAL)
    began, later = effective(sampled, schedule, timeline, step=1)
    last = int(result._main_line.step.max(initial=0))
    now = dict(began)
    since: dict[str, int] = {}
    for step, changes in later:
        if step <= last + 1:
            now |= changes
            since |= dict.fromkeys(changes, step)
    return Course(dict(began), now, since, done, on_line)


def _bends(result: Result) -> Iterator[tuple[str, int, dict[str, Any]]]:
    events = result._events
    for row in events.rows("adjusted", "rolled_back").tolist():
        if events.trial[row] == TRIAL:
            kind = events.kinds[events.code[row]]
            yield kind, int(events.step[row]), events.event(row).get("new", {})


def live_sections(result: Result) -> list[Section]:
    """What opens the page of a live run, instead of a search's conclusions."""
    held = course(result)
    return [_stands(result, held), _done(held)]


def live_gallery(result: Result) -> list[Section]:
    """Its curve with what was done, and what its worker did."""
    aid = (
        "Each dotted line is a change at the first step that was trained with it, with its letter in the table "
        "above; grey lines are branches that were left by a roll-back."
    )
    held = course(result)
    bends = [act for act in held.acts if act.step is not None] if held else []
    curve = Picture("curves", TITLE, aid, lambda result: run_curve(result, bends))
    return gallery(result, [curve, next(each for each in PICTURES if each.name == "workers")])


def live_advice(result: Result) -> list[Advice]:
    """What to do next with a live run."""
    found = [each for rule in TROUBLE[:3] for each in rule(result)]
    where = folder(result)
    knob = next((name for name, each in result.space.items() if isinstance(each, Float | Int)), None)
    if result.status == "running" and knob is not None:
        why = "A change is applied at the next step and recorded, and the curve keeps every branch."
        found.append(Advice("Steer it", why, f"caviar watch {where}\ncaviar set {where} '{knob}*=0.5'"))
    elif result.status != "running" and len(result._main_line):
        why = "It trains again, with every change at its step."
        found.append(Advice("Repeat it", why, f"caviar replay {where} --out {where}-again"))
    return [*found, *_fork(result)]


def _fork(result: Result) -> list[Advice]:
    """Several ways on from the newest checkpoint that no roll-back went behind: older ones may be gone."""
    events = result._events
    step = 0
    for row in events.rows("checkpointed", "rolled_back").tolist():
        rolled_back = events.kinds[events.code[row]] == "rolled_back"
        step = min(step, int(events.step[row])) if rolled_back else int(events.step[row])
    exists = result.params_of(TRIAL) if len(result._trials) else {}
    vary = next(
        (name for name, each in result.space.items() if name in exists and not isinstance(each, Constant)), ""
    )
    if not step or not vary:
        return []
    command = f"caviar fork {folder(result)} --vary {shlex.quote(vary)} --at-step {step}"
    why = f"Several trials go on from its checkpoint at step {step:,}, each with a `{vary}` of its own."
    limit = result.declaration.get("max_step")
    if limit is not None and step >= limit:
        why += f" That is its last step, so it takes a later one: here {2 * step:,}."
        command += f" --max-step {2 * step}"
    return [Advice("Or try several ways on", why, command)]


def _stands(result: Result, held: Course | None) -> Section:
    if held is None:
        return Section("Where it stands", paragraph("Its trial has not begun."), "best")
    line = result._main_line.of_metric(result.metric)
    parts: list[Html] = []
    if len(line):
        said = f"`{result.metric}` {number(float(line.value[-1]))} at step {int(line.step[-1]):,}"
        try:
            best = result.best
            said += f"; best {number(best.value)}, at step {best.step:,}"
        except CaviarError:
            said += "; no value was finite"
        parts.append(paragraph(f"{said}.", "lead"))
    else:
        parts.append(paragraph(f"It has not reported `{result.metric}` yet.", "lead"))
    parts.append(
        paragraph(
            "It trains with these params now."
            if result.status == "running"
            else "It trained with these params last."
        )
    )
    parts.append(code(python_dict(held.now)))
    if held.since:
        rows = [(name, held.began.get(name), held.now.get(name), step) for name, step in held.since.items()]
        parts.append(table(("param", "at first", "now", "since step"), rows))
    return Section("Where it stands", join(parts), "best")


def _done(held: Course | None) -> Section:
    if held is None or not held.acts:
        return Section("What was done to it", paragraph("Nothing yet: it trains as it began."), "done")
    rows, bends = [], 0
    for act, on_line in zip(held.acts, held.on_line, strict=True):
        name = None if act.step is None else letter(bends)
        bends += name is not None
        led = "yes" if on_line else "no: undone by a later one"
        rows.append((name, act.step, act.text, act.why or None, led, short_moment(act.time_us)))
    heads = ("", "step", "what", "who and why", "led to now", "when")
    return Section("What was done to it", table(heads, rows[-SHOWN:], words=(2, 3, 4)), "done")

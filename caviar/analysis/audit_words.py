"""An audit in plain words."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from caviar.analysis.audit import Audit
    from caviar.analysis.control_group import ControlGroup

TO_RULE_OUT = 30
"""Where none of so many spared trials did better, at most a tenth of all those to be stopped would have."""

FEW = 6
"""By fewer spared trials the rule of three, 3/m, says nothing."""

FEW_RUNGS = 6
"""Of more rungs only the range is told."""

FEW_PAIRS = 10
"""A correlation of fewer trials is not told in words."""


def in_words(audit: Audit) -> list[str]:
    """What an audit says, a line each."""
    return [_saved(audit), *_cost(audit), *_rungs(audit)]


def _saved(audit: Audit) -> str:
    if not audit.judged:
        return f"nothing was judged at a rung, so nothing was stopped early: {_trials(audit.trials)}"
    said = f"stopped {audit.stopped:,} of {_trials(audit.trials)} at a rung"
    if math.isnan(audit.steps_saved):
        return f"{said}; without a max_step nobody knows how many steps that saved"
    said += f", and saved {audit.fraction_saved:.0%} of the steps"
    if audit.stopped and not math.isnan(audit.seconds_saved):
        said += f" (about {duration(audit.seconds_saved)} of training)"
    return said


def _cost(audit: Audit) -> list[str]:
    if not audit.stopped + audit.spared:
        return []
    if audit.control is not None:
        return _of_group(audit, audit.control)
    if not audit.spared:
        return [_without(audit.stopped)]
    why = "none was kept to its end" if not audit.kept else "the end of none of them is known"
    return [f"{audit.spared:,} more were spared, but {why}: what stopping cost cannot be told yet"]


def _without(stopped: int) -> str:
    """How to get a control group, and what it can tell: where none of m does better, at most 3/m of all would."""
    spare = max(0.01, min(0.5, round(TO_RULE_OUT / stopped, 2)))
    m = max(1, round(spare * stopped))
    said = (
        f"what that cost cannot be told, as no trial was spared: with spare={spare:g} the scheduler would have "
        f"let about {m:,} of them run to their end"
    )
    if m >= FEW:
        said += (
            f", and if none of {m:,} does better, at most about {_part(3 / m)} of those stopped would (3/{m:,})"
        )
    return said


def _of_group(audit: Audit, control: ControlGroup) -> list[str]:
    top, spared, found = control.top, control.spared, control.found_above_best
    better = "would have ended better than the best that was kept"
    told = [f"of the {control.population:,} that it stopped or spared, an estimated {control.above_best} {better}"]
    if control.kept > 2:
        told[0] += f", and {control.above_middle} better than the middle one of the {control.kept:,} kept"
    if top > 1 and control.among_top.high - control.among_top.low < top:  # else it says nothing
        told.append(f"of the best {top:,} of all trials, an estimated {control.among_top} are among them")
    cost = f"{audit.steps_spent:,.0f} steps"
    if not math.isnan(audit.seconds_spent):
        cost += f", about {duration(audit.seconds_spent)}"
    told.append(f"this is told by {spared:,} that were spared and came to their end (they cost {cost})")
    if not found and spared >= FEW:
        told.append(
            f"none of these did better than the best: so at most about {_part(3 / spared)} would (3/{spared:,})"
        )
    return told


def _rungs(audit: Audit) -> list[str]:
    frame = audit.rungs
    frame = frame[frame["correlation"].notna() & (frame["pairs"] >= FEW_PAIRS)]
    rung, value = frame["rung"].tolist(), frame["correlation"].tolist()
    if len(frame) > FEW_RUNGS and f"{min(value):.2f}" == f"{max(value):.2f}":
        return [f"the {len(frame):,} rungs rank trials as their ends do by {value[0]:.2f}"]
    if len(frame) > FEW_RUNGS:
        return [
            f"the {len(frame):,} rungs rank trials as their ends do by {min(value):.2f} (rung "
            f"{rung[value.index(min(value))]}) to {max(value):.2f} (rung {rung[value.index(max(value))]})"
        ]
    pairs, spared, of_all = (frame[name].tolist() for name in ("pairs", "pairs_spared", "of_all"))
    told = []
    for row in range(len(frame)):
        of = f"{spared[row]:,} of them spared" if spared[row] else "all of them kept"
        by = f"{pairs[row]:,} trials" if of_all[row] and not spared[row] else f"{pairs[row]:,} trials, {of}"
        told.append(f"rung {rung[row]} ranks trials as their ends do by {value[row]:.2f} ({by})")
    return told


def _part(part: float) -> str:
    return f"{part:.0%}" if part >= 0.02 else f"{part:.1%}"


def _trials(count: int) -> str:
    return "1 trial" if count == 1 else f"{count:,} trials"


def duration(seconds: float) -> str:
    """About how long."""
    for unit, size in (("days", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s" if seconds >= 1 else f"{seconds:.1g} s"

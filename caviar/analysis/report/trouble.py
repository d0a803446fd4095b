"""Advice about what went wrong, or is not done yet."""

from __future__ import annotations

import math
import shlex
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from caviar.analysis.evidence import DIVERGED
from caviar.analysis.report.advice import Advice
from caviar.analysis.report.failures import failures
from caviar.analysis.report.markup import count, moment, number
from caviar.analysis.reports import Bools
from caviar.messages import Floats
from caviar.space import Float, Int
from caviar.trial import TrialState

if TYPE_CHECKING:
    from caviar.analysis.result import Result

FEW = 4
"""Of fewer trials that diverged nothing in common is told."""

CLEAR = 0.85
"""So large a part of those that diverged, and of the others, must lie on its own side of a value."""


def folder(result: Result) -> str:
    """The sweep folder as it is typed."""
    return shlex.quote(str(result.path))


def unfinished(result: Result) -> list[Advice]:
    """A sweep that runs, was interrupted, or was cut short."""
    if result.status == "running":
        why = f"It still runs: this page shows it as it was on {moment(last_us(result))}."
        return [Advice("Look again later", why, f"caviar report {folder(result)}")]
    if result.status == "interrupted":
        why = "It was interrupted, and no driver has it in hand. Nothing is lost: it goes on from where it was."
        return [Advice("Resume it", why, f"caviar resume {folder(result)}")]
    if result.ended == "time_budget":
        ended, wanted = _ended(result), int(result.declaration.get("trials", 0))
        if ended < wanted:
            why = f"Its time budget ended it after {ended:,} of {count(wanted, 'trial')}."
            return [Advice("Give it more time", why)]
    return []


def last_us(result: Result) -> int:
    """When the last thing was recorded that this picture holds."""
    times = [int(column.max()) for column in (result._events.time_us, result._reports.time_us) if len(column)]
    return max(times, default=int(result.declaration.get("created_us", 0)))


def nothing_reported(result: Result) -> list[Advice]:
    """No value to go by."""
    if len(result._best_of_each):
        return []
    metric = result.metric
    line = result._main_line
    if len(line.of_metric(metric)):
        why = f"`{metric}` was reported, but never as a finite number, so no trial can be compared with another."
        return [
            Advice("Look at the first reports of a trial", f"{why} A smaller learning rate is the usual cure.")
        ]
    others = [name for name in line.names if name != metric]
    if others:
        names = ", ".join(f"`{name}`" for name in others[:6])
        why = f"The sweep watches `{metric}`, and its trials reported {names}."
        return [Advice("Report the metric", why, f"trial.report({metric}=...)")]
    if failures(result) or not _ended(result):
        return []
    return [Advice("Report the metric", f"No trial has reported anything, `{metric}` least of all.",
                   f"trial.report({metric}=...)")]  # fmt: skip


def failed(result: Result) -> list[Advice]:
    """Trials that failed, and the error that most of them failed with."""
    found = failures(result)
    silent = not len(result._best_of_each)
    if not found or (silent and found[0].error.startswith("no report of")):  # said by another rule
        return []
    total = sum(len(each.trials) for each in found)
    ended = max(_ended(result), total)
    first = found[0]
    most = "all" if len(found) == 1 else f"{len(first.trials):,} of them"
    with_ = f"with `{first.error[:160].replace('`', chr(39))}`"
    said = "It failed" if total == ended == 1 else f"{total:,} of {count(ended, 'ended trial')} failed, {most}"
    what = "Mend what fails first" if total >= 0.2 * ended else "See what failed"
    return [Advice(what, f"{said} {with_}. The tracebacks are below.")]


def diverged(result: Result) -> list[Advice]:
    """Trials whose metric was not finite any more, and where they lie."""
    trials = result._trials
    bad = (trials.status == TrialState.STOPPED.value) & (trials.reason == DIVERGED)
    if not bad.any() or bad.all():
        return []
    ended = max(_ended(result), 1)
    said = f"{bad.sum():,} of {count(ended, 'ended trial')} diverged: `{result.metric}` was not finite any more."
    where = _where(result, bad) if bad.sum() >= FEW else None
    if where is None:
        return [Advice("Mind the trials that diverged", said)] if bad.sum() >= 0.1 * ended else []
    name, side, value, share = where
    bound = "upper" if side == "above" else "lower"
    said += f" {share:.0%} of them, and few others, have `{name}` {side} {number(value)}."
    return [Advice(f"Move the {bound} end of `{name}`", said)]


def _where(result: Result, bad: Bools) -> tuple[str, str, float, float] | None:
    """The param, side and value that best part those that diverged from the others, and the share of those that
    diverged which lie there; None: none does clearly."""
    best: tuple[float, str, str, float, float] | None = None
    trials = result._trials
    for name, parameter in result.space.items():
        if not isinstance(parameter, Float | Int):
            continue
        value = np.array([params.get(name, math.nan) for params in trials.params], float)
        known = np.isfinite(value)
        if not (bad & known).any() or not (~bad & known).any():
            continue
        for side, turned in (("above", value), ("below", -value)):
            cut, hit, spared = _split(turned[known], bad[known])
            if min(hit, spared) >= CLEAR and (best is None or hit + spared > best[0]):
                best = (hit + spared, name, side, abs(cut), hit)
    return None if best is None else best[1:]


def _split(value: Floats, bad: Bools) -> tuple[float, float, float]:
    """The value above which most of the bad ones lie and fewest of the others, and the share of both on their
    side."""
    order = np.argsort(value, kind="stable")
    value, bad = value[order], bad[order]
    differ = np.flatnonzero(value[1:] > value[:-1])
    if not len(differ):
        return 0.0, 0.0, 0.0
    below_bad, below_good = np.cumsum(bad)[differ], np.cumsum(~bad)[differ]
    hit = 1 - below_bad / bad.sum()
    spared = below_good / (~bad).sum()
    at = int(np.argmax(hit + spared))
    return float(value[differ[at] + 1]), float(hit[at]), float(spared[at])


def _ended(result: Result) -> int:
    return sum(n for state, n in result.counts().items() if TrialState(state).final)


TROUBLE: Sequence[Callable[[Result], list[Advice]]] = (unfinished, nothing_reported, failed, diverged)
"""In the order in which they are told; the first needs no trial."""

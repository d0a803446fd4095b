"""The audit of early stopping: what it saved, and what it cost."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Literal

import numpy as np

from caviar.analysis.control_group import ControlGroup, control_group
from caviar.analysis.judged import Decisions, Ends
from caviar.analysis.rank_correlation import rank_correlation
from caviar.analysis.reports import Bools
from caviar.analysis.trials import TrialColumns
from caviar.messages import Floats

if TYPE_CHECKING:
    import pandas as pd

By = Literal["last", "best"]


@dataclass(frozen=True, slots=True, kw_only=True, repr=False, eq=False)
class Audit:
    """What early stopping saved and cost, of the trials that no person had a hand in.

    Made by `Result.audit`. ``print`` tells it in plain words.
    """

    trials: int
    """All trials that there are."""
    judged: int
    """Those that a rung judged."""
    stopped: int
    """Those that the scheduler stopped, at a rung."""
    spared: int
    """Those that it would have stopped, and that ran on: the control group."""
    spared_open: int
    """Of them, those of which the end is not known: they run, or something else stopped them."""
    kept: int
    """Those that came to their end on their merits."""
    steps: int
    """Steps trained in all."""
    steps_saved: float
    """Steps that the stopped trials lacked up to max_step; NaN without a max_step."""
    steps_spent: float
    """Steps that the spared ones trained past the rung that would have stopped them."""
    seconds_saved: float
    """What the steps saved had taken, at each trial's own pace: time of training, not of the sweep, in which
    trials run side by side. NaN where no report tells of a pace."""
    seconds_spent: float
    """The same of the steps spent."""
    rungs: pd.DataFrame
    """One row a rung, in order. Columns: ``rung`` (the step), ``judged``, ``stopped``, ``spared``, ``went_on``
    (trials); ``correlation`` (Spearman's, between the value at the rung and the one at the end), ``pairs`` (the
    trials that have both, by which it is told), ``pairs_spared`` (those of them that were spared), ``of_all``
    (whether spared ones stand for those that were stopped, so that it is the correlation of all that were judged
    there; else it is that of those that were kept, which are alike, and so it is closer to 0); ``steps_saved``,
    ``seconds_saved``, ``steps_spent``, ``seconds_spent``."""
    control: ControlGroup | None
    """What the control group tells; None: there is none yet."""
    by: By
    """What counts as the value at the end: the last one, or the best of the curve."""

    @property
    def fraction_saved(self) -> float:
        """The part of all steps that was saved; NaN without a max_step."""
        return self.steps_saved / (self.steps + self.steps_saved) if self.steps + self.steps_saved else 0.0

    def in_words(self) -> list[str]:
        """All of it in plain words, a line each."""
        from caviar.analysis.audit_words import in_words

        return in_words(self)

    def __repr__(self) -> str:
        return "\n".join(self.in_words())


def audit(
    trials: TrialColumns, decisions: Decisions, ends: Ends, *, max_step: int | None, before: int, by: By
) -> Audit:
    """Audit a sweep. ``before``: the step that its trials began from, trained elsewhere."""
    at = trials.places(decisions.trial)
    let_alone = ~decisions.touched
    counted = decisions_of(decisions, let_alone)
    place = at[let_alone]
    stop, spare = counted.stop, counted.spare
    lacking = np.maximum(0, (math.nan if max_step is None else max_step) - ends.step[place]) * stop
    beyond = np.maximum(0.0, ends.step[place] - counted.rung) * spare
    pace_s = ends.pace_s[place]

    verdict = stop | spare
    kept = np.isfinite(ends.loss) | (ends.loss == np.inf)
    kept &= ends.completed
    kept[at[decisions.stop | decisions.spare]] = False
    era = counted.era[spare & ~np.isnan(ends.loss[place])]
    largest = int(np.bincount(era).argmax()) if len(era) else -1
    of_era = verdict & (counted.era == largest)
    ended = of_era & spare & ~np.isnan(ends.loss[place])
    control = control_group(ends.loss[kept], ends.loss[place[ended]], int(of_era.sum()))
    weight = np.where(kept, 1.0, 0.0)
    if control is not None:
        weight[place[ended]] = control.population / control.spared

    return Audit(
        trials=len(trials),
        judged=len(np.unique(counted.trial)),
        stopped=int(stop.sum()),
        spared=int(spare.sum()),
        spared_open=int((spare & np.isnan(ends.loss[place])).sum()),
        kept=int(kept.sum()),
        steps=int(np.maximum(ends.step - before, 0).sum()),
        steps_saved=float(np.where(stop, lacking, 0.0).sum()),
        steps_spent=float(beyond.sum()),
        seconds_saved=_seconds(lacking, pace_s, stop),
        seconds_spent=_seconds(beyond, pace_s, spare),
        rungs=_rungs(counted, ends.loss[place], weight[place], lacking, beyond, pace_s),
        control=control,
        by=by,
    )


def decisions_of(decisions: Decisions, rows: Bools) -> Decisions:
    """Some of the decisions."""
    return Decisions(
        decisions.trial[rows],
        decisions.rung[rows],
        decisions.loss[rows],
        decisions.stop[rows],
        decisions.spare[rows],
        decisions.era[rows],
        decisions.touched[rows],
    )


def _seconds(steps: Floats, pace_s: Floats, rows: Bools) -> float:
    """How long steps take. A trial of which no pace is known has the mean of the others."""
    steps, pace_s = steps[rows], pace_s[rows]
    if not len(steps):
        return 0.0
    known = ~np.isnan(pace_s)
    if not known.any():
        return math.nan
    return float((steps * np.where(known, pace_s, pace_s[known].mean())).sum())


def _rungs(
    counted: Decisions, end: Floats, weight: Floats, lacking: Floats, beyond: Floats, pace_s: Floats
) -> pd.DataFrame:
    import pandas as pd

    rungs, of = np.unique(counted.rung, return_inverse=True)
    count = len(rungs)

    def sums(rows: Bools) -> Floats:
        return np.bincount(of, weights=rows, minlength=count).astype(np.int64)

    correlation, pairs, pairs_spared, of_all = [], [], [], []
    order = np.argsort(of, kind="stable")
    bounds = np.searchsorted(of[order], np.arange(count + 1))
    spared_trials = np.unique(counted.trial[counted.spare])
    stopped_trials = np.unique(counted.trial[counted.stop])
    for begin, after in pairwise(bounds):
        here = order[begin:after]
        both = here[weight[here] > 0]
        spared = int(np.isin(counted.trial[both], spared_trials).sum())
        stopped = bool(np.isin(counted.trial[here], stopped_trials).any())
        correlation.append(rank_correlation(counted.loss[both], end[both], weight[both]))
        pairs.append(len(both))
        pairs_spared.append(spared)
        of_all.append(spared > 0 or not stopped)
    return pd.DataFrame(
        {
            "rung": rungs,
            "judged": sums(np.ones(len(of), bool)),
            "stopped": sums(counted.stop),
            "spared": sums(counted.spare),
            "went_on": sums(~(counted.stop | counted.spare)),
            "correlation": np.array(correlation, float),
            "pairs": np.array(pairs, np.int64),
            "pairs_spared": np.array(pairs_spared, np.int64),
            "of_all": np.array(of_all, bool),
            "steps_saved": [float(lacking[(of == rung) & counted.stop].sum()) for rung in range(count)],
            "seconds_saved": [_seconds(lacking, pace_s, (of == rung) & counted.stop) for rung in range(count)],
            "steps_spent": [float(beyond[of == rung].sum()) for rung in range(count)],
            "seconds_spent": [_seconds(beyond, pace_s, (of == rung) & counted.spare) for rung in range(count)],
        }
    )

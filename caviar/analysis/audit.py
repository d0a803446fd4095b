"""The audit of early stopping: what it saved, and what it cost."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from caviar.analysis.control_group import ControlGroup, control_group
from caviar.analysis.judged import Decisions, Ends
from caviar.analysis.rank_correlation import rank_correlation
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
    kept = ends.completed & ~np.isnan(ends.loss)
    kept[trials.places(decisions.trial[decisions.stop | decisions.spare])] = False

    counted = decisions.take(~decisions.touched)
    place = trials.places(counted.trial)
    stop, spare = counted.stop, counted.spare
    end, pace_s, step = ends.loss[place], _known(ends.pace_s)[place], ends.step[place]
    lacking = np.maximum(0.0, (math.nan if max_step is None else max_step) - step)
    beyond = np.maximum(0.0, step - counted.rung)

    ended = spare & ~np.isnan(end)
    if ended.any():  # only of one scheduler's are those spared a fair sample
        ended &= counted.era == np.bincount(counted.era[ended]).argmax()
    population = (stop | spare) & np.isin(counted.era, counted.era[ended])
    control = control_group(ends.loss[kept], end[ended], int(population.sum()))
    weight = np.where(kept, 1.0, 0.0)
    if control is not None:
        weight[place[ended]] = control.population / control.spared

    return Audit(
        trials=len(trials),
        judged=len(np.unique(counted.trial)),
        stopped=int(stop.sum()),
        spared=int(spare.sum()),
        spared_open=int((spare & np.isnan(end)).sum()),
        kept=int(kept.sum()),
        steps=int(np.maximum(ends.step - before, 0).sum()),
        steps_saved=float(lacking[stop].sum()),
        steps_spent=float(beyond[spare].sum()),
        seconds_saved=_seconds(lacking, pace_s, stop),
        seconds_spent=_seconds(beyond, pace_s, spare),
        rungs=_rungs(counted, end, weight[place], lacking, beyond, pace_s),
        control=control,
        by=by,
    )


def _known(pace_s: Floats) -> Floats:
    """The pace of each trial; where none is known the mean of the others."""
    unknown = np.isnan(pace_s)
    return pace_s if unknown.all() else np.where(unknown, pace_s[~unknown].mean(), pace_s)


def _seconds(steps: Floats, pace_s: Floats, rows: Any) -> float:
    """How long the steps of some rows take."""
    return float((steps[rows] * pace_s[rows]).sum())


def _rungs(
    counted: Decisions, end: Floats, weight: Floats, lacking: Floats, beyond: Floats, pace_s: Floats
) -> pd.DataFrame:
    import pandas as pd

    order = np.argsort(counted.rung, kind="stable")
    rungs, first = np.unique(counted.rung[order], return_index=True)
    ever_stopped, ever_spared = (
        np.isin(counted.trial, counted.trial[verdict]) for verdict in (counted.stop, counted.spare)
    )
    rows = []
    end_of = np.r_[first[1:], len(order)][: len(first)]
    for rung, begin, after in zip(rungs.tolist(), first, end_of, strict=True):
        here = order[begin:after]
        stop, spare = here[counted.stop[here]], here[counted.spare[here]]
        both = here[weight[here] > 0]
        pairs_spared = int(ever_spared[both].sum())
        rows.append(
            {
                "rung": rung,
                "judged": len(here),
                "stopped": len(stop),
                "spared": len(spare),
                "went_on": len(here) - len(stop) - len(spare),
                "correlation": rank_correlation(counted.loss[both], end[both], weight[both]),
                "pairs": len(both),
                "pairs_spared": pairs_spared,
                "of_all": pairs_spared > 0 or not ever_stopped[here].any(),
                "steps_saved": float(lacking[stop].sum()),
                "seconds_saved": _seconds(lacking, pace_s, stop),
                "steps_spent": float(beyond[spare].sum()),
                "seconds_spent": _seconds(beyond, pace_s, spare),
            }
        )
    return pd.DataFrame(rows, columns=list(_COLUMNS)).astype(_COLUMNS)


_COLUMNS = {
    **dict.fromkeys(("rung", "judged", "stopped", "spared", "went_on"), "int64"),
    "correlation": "float64",
    **dict.fromkeys(("pairs", "pairs_spared"), "int64"),
    "of_all": "bool",
    **dict.fromkeys(("steps_saved", "seconds_saved", "steps_spent", "seconds_spent"), "float64"),
}

"""Whether a run that was repeated came to the same."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from caviar.panda.live_run import LiveRun
from caviar.panda.schedule import RunSchedule


@dataclass(frozen=True, slots=True)
class Difference:
    """The first place at which two curves are not the same."""

    step: int
    metric: str
    before: float
    """NaN: the first one has no such report."""
    again: float


def compare(run: LiveRun, repeated: LiveRun) -> Difference | None:
    """The first difference between the main lines of two runs, bit for bit, up to the last step that both have;
    None: there is none, and none of them is shorter. Two NaNs are the same."""
    first, second = (each.curves(tidy=True).astype({"metric": "str"}) for each in (run, repeated))
    keys = ["step", "metric"]
    both = first[[*keys, "value"]].merge(
        second[[*keys, "value"]], on=keys, how="outer", suffixes=("", "_again"), indicator="there"
    )
    values, again = both["value"].to_numpy(), both["value_again"].to_numpy()
    equal = (values == again) | (np.isnan(values) & np.isnan(again))
    differ = np.flatnonzero(~(equal & (both["there"] == "both").to_numpy()))
    if not len(differ):
        return None
    row = both.iloc[int(differ[both["step"].to_numpy()[differ].argmin()])]
    return Difference(int(row["step"]), str(row["metric"]), float(row["value"]), float(row["value_again"]))


def told(schedule: RunSchedule, difference: Difference | None) -> str:
    """The outcome, in one line."""
    changed = len(schedule) - 1
    what = f"repeated {schedule.last_step} steps, with params changed at {changed} of them"
    if difference is None:
        return f"{what}: the curve is the same, bit for bit"
    where = f"{difference.metric} {difference.again!r} instead of {difference.before!r}"
    return (
        f"{what}: the curves differ from step {difference.step} on ({where}): the training function depends on "
        "more than its params and seed, or its checkpoints do not hold all of its state"
    )

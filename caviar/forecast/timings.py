"""How long steps take, by what was measured or by the record of a sweep."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from caviar.analysis.recording import Recording
from caviar.errors import CaviarError

if TYPE_CHECKING:
    from caviar.analysis.result import Result


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """What is known of how long one trial took."""

    trial: int
    steps: int
    """So many were trained."""
    step_s: float
    start_s: float
    """What it took beside its steps: to begin, and where it returned to end."""
    setup_s: float = 0.0
    """For how long `setup` ran before it."""
    returned: bool = False
    """Whether it came to its end by itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Timings:
    """How long steps take, over several trials."""

    source: str
    """Where it comes from, in words."""
    trials: int
    steps: int
    """Steps that were timed, of all these trials."""
    mean_s: float
    """Seconds a step."""
    fastest_s: float
    median_s: float
    slowest_s: float
    """Of the trials' own seconds a step."""
    spread_s: float
    """The standard deviation of the same, over trials; 0 for a single one."""
    start_s: float
    """What a trial takes beside its steps, on average."""
    setup_s: float
    """What a worker takes before its first trial."""
    lengths: Sequence[int]
    """Of the trials that returned by themselves, their steps."""

    @classmethod
    def of(cls, samples: Sequence[Sample], *, source: str) -> Timings:
        """Raises `CaviarError` where nothing was timed."""
        if not samples:
            raise CaviarError("no trial trained a step")
        step_s = np.array([one.step_s for one in samples])
        return cls(
            source=source,
            trials=len(samples),
            steps=sum(one.steps for one in samples),
            mean_s=float(step_s.mean()),
            fastest_s=float(step_s.min()),
            median_s=float(np.median(step_s)),
            slowest_s=float(step_s.max()),
            spread_s=float(step_s.std(ddof=1)) if len(samples) > 1 else 0.0,
            start_s=float(np.mean([one.start_s for one in samples])),
            setup_s=max(one.setup_s for one in samples),
            lengths=[one.steps for one in samples if one.returned],
        )


def timed(moments: Sequence[tuple[int, float]], *, begin: int) -> tuple[int, float, float] | None:
    """The steps, the seconds a step and the seconds before the first, by (step, seconds since the start) of the
    reports of a trial that began after the step ``begin``; None: it has not come to a step."""
    # the last report of a step is its end
    last = {step: second for step, second in moments if step > begin}
    if not last:
        return None
    steps = sorted(last)
    first, final = steps[0], steps[-1]
    if final == first:  # what the start took cannot be told from the steps
        return first - begin, last[first] / (first - begin), 0.0
    step_s = max(last[final] - last[first], 0.0) / (final - first)
    return final - begin, step_s, max(last[first] - step_s * (first - begin), 0.0)


def recorded(result: Result) -> list[Sample]:
    """How long the trials of a sweep took. Raises `CaviarError` where it has no report of its metric."""
    record = Recording.of(result)
    samples = []
    for trial in np.flatnonzero(record.reported).tolist():
        rows = slice(record.first[trial], record.first[trial + 1])
        moments = list(zip(record.step[rows].tolist(), record.second[rows].tolist(), strict=True))
        found = timed(moments, begin=record.begin)
        if found is None or not math.isfinite(found[1]):
            continue
        steps, step_s, start_s = found
        returned = not record.cut[trial] and not record.diverged[trial]
        samples.append(Sample(trial=trial, steps=steps, step_s=step_s, start_s=start_s, returned=returned))
    return samples

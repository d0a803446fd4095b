"""A sweep rehearsed with made-up losses: what a scheduler expects that goes by their order alone."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable

import numpy as np

from caviar.schedulers.base import Judge, Verdict
from caviar.schedulers.outlook import Cohort, Outlook, RungAhead

ALIKE = (0.0, 0.5, 0.8, 0.95, 1.0)
"""How alike a trial's losses at two rungs are, as a correlation: from not at all to wholly. With curves
that tell the end early, trials that come late have passed more competition, and more of them go on. How it will be
in a sweep nobody knows, so each of these is rehearsed as often."""

LOOKS = 50_000
"""Judging so many losses takes less than a second."""

TIMES = (5, 60)
"""Rehearsals: at least and at most."""

MOST_TRIALS = LOOKS // 10
"""More trials than these are taken to do as these do."""

WITHOUT_END = 16
"""Without a max_step, so many rungs are looked at."""


def rehearsed(
    begin_judging: Callable[[], Judge],
    trials: int,
    *,
    max_step: int | None,
    begin: int = 0,
    spare: float = 0.0,
    cohort_of: Callable[[int], str | None] = lambda trial: None,
) -> Outlook:
    """What comes of a scheduler that looks at the order of losses alone, where trials come in no particular order.

    ``cohort_of``: the name of the cohort that a trial of this number belongs to.
    """
    played = min(trials, MOST_TRIALS)
    least, most = TIMES
    times = int(np.clip(LOOKS // (2 * max(played, 1)), least, most)) // len(ALIKE) * len(ALIKE)
    trial_steps: list[float] = []
    members: Counter[str | None] = Counter()
    reach, go_on, spared = (Counter[tuple[str | None, int]]() for _ in range(3))
    for number in range(times):
        judge, random = begin_judging(), np.random.default_rng(number)
        alike, steps = ALIKE[number % len(ALIKE)], 0
        own = math.sqrt(alike) * random.standard_normal(played)
        lucky = random.random(played) < spare
        for trial in range(played):
            name = cohort_of(trial)
            members[name] += 1
            rung = judge.rung_after(trial, begin) if begin else judge.first_rung(trial)
            passed, end = 0, max_step
            while rung is not None and passed < WITHOUT_END + (max_step or 0):
                loss = float(own[trial] + math.sqrt(1 - alike) * random.standard_normal())
                reach[name, rung] += 1
                stops = judge.decide(trial, rung, loss) is Verdict.STOP
                judge.observe(trial, rung, loss)
                if stops:
                    spared[name, rung] += int(lucky[trial])
                    end = max_step if lucky[trial] else rung
                    break
                go_on[name, rung] += 1
                rung, passed = judge.rung_after(trial, rung), passed + 1
            judge.forget(trial)
            steps += 0 if end is None else end - begin
        trial_steps.append(steps * trials / played)
    each = trials / (times * played)
    cohorts = [
        Cohort(
            trials=count * each,
            name=name,
            rungs=[
                RungAhead(
                    step=rung,
                    reach=reach[name, rung] * each,
                    go_on=go_on[name, rung] * each,
                    spared=spared[name, rung] * each,
                )
                for rung in sorted(rung for one, rung in reach if one == name)
            ],
        )
        for name, count in members.items()
    ]
    cohorts.sort(key=lambda cohort: cohort.rungs[0].step if cohort.rungs else math.inf)
    return Outlook(cohorts=cohorts, rehearsed=() if max_step is None else sorted(trial_steps))

"""A sweep and its recheck, read beside each other: the same settings' curves then and now."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from caviar.analysis import retest
from caviar.analysis.rechecked import Fresh, Recheck, Setting
from caviar.analysis.result import Result
from caviar.difference import difference
from caviar.errors import UsageError
from caviar.space import Constant, Space
from caviar.store.declaration import check_complete
from caviar.trial import Params

if TYPE_CHECKING:
    import pandas as pd


def compare(then: Result, now: Result) -> Recheck:
    """What the recheck ``now``, finished or not, found of the sweep ``then``.

    Raises `UsageError` where that is no recheck, or one of another sweep.
    """
    declared = declared_in(now, of=then)
    pairs = {trial: list(again) for trial, again in declared["trials"]}
    both = _Curves(then, now, pairs)
    settings = both.settings(among=declared["of"])
    noise = retest.pooled([np.array(one.now) for one in settings])
    choice, values, sign = settings[0], both.fresh(), 1 if now.maximize else -1
    return Recheck(
        path=now.path,
        of=then.path,
        metric=now.metric,
        maximize=now.maximize,
        among=declared["of"],
        settings=settings,
        fresh=tuple(
            Fresh(
                trial=trial,
                params=_varying(now.params_of(trial), now.space),
                value=value,
                p=retest.exceeds(
                    sign * (value - choice.mean), noise, rivals=[1] * len(values), own=len(choice.now)
                ),
            )
            for trial, value in values.items()
        ),
        fresh_failed=both.fresh_failed(),
        unfinished=both.unfinished,
        cut_short=None if now.ended == "done" else now.ended,
        untried=None if (untried := declared.get("untried")) is None else (untried[0], untried[1]),
        changes=tuple(changes(then, now)),
        noise=noise,
        noise_up_to=retest.pooled([np.array(one.up_to) for one in settings]),
    )


def declared_in(now: Result, *, of: Result) -> Mapping[str, Any]:
    """What a recheck of a sweep says that it trains again; `UsageError` where it is none of this one."""
    declared: Mapping[str, Any] | None = now.declaration.get("recheck")
    if declared is None:
        raise UsageError(f"{now.path}: is no recheck; caviar recheck makes one")
    if declared["created_us"] != of.declaration.get("created_us", 0):
        raise UsageError(f"{now.path}: is a recheck of {declared['path']}, and not of {of.path}")
    return declared


def changes(then: Result, now: Result) -> list[str]:
    """What differs between the declarations of a sweep and of its recheck, but for what makes it one."""
    before, after = then.declaration, now.declaration
    for one in (then, now):
        check_complete(one.declaration, one.path, to_go_on=True)
    own = ["first", "seed", "trials", "max_step", "sampler", "scheduler", "stages"]
    if (after.get("recheck") or {}).get("declared_space") == before["space"]:
        own.append("space")  # wider only by what stages of then had
    kept = {name: before[name] for name in own if name in before}
    told = list(difference(before, {**after, **kept}, first=before).told)
    was, is_now = _versions(before), _versions(after)
    both = sorted(was.keys() & is_now.keys())
    return told + [f"{name}: {was[name]} -> {is_now[name]}" for name in both if was[name] != is_now[name]]


def _versions(declaration: Mapping[str, Any]) -> Mapping[str, Any]:
    found = declaration.get("versions")
    return found if isinstance(found, dict) else {}


def _varying(params: Params, space: Space) -> Params:
    return {name: value for name, value in params.items() if not isinstance(space.get(name), Constant)}


class _Curves:
    """The curves of both, and how the trials of now ended."""

    def __init__(self, then: Result, now: Result, pairs: Mapping[int, Sequence[int]]) -> None:
        self._then, self._now, self._pairs = then, now, pairs
        self._again = [one for several in pairs.values() for one in several]
        frame = now.trials()
        self._status: Mapping[int, str] = dict(zip(frame.index.tolist(), frame["status"], strict=True))
        self._reason: Mapping[int, object] = dict(zip(frame.index.tolist(), frame["reason"], strict=True))
        ended = [trial for trial, status in self._status.items() if status in ("completed", "stopped")]
        failed = sum(status == "failed" for status in self._status.values())
        self.unfinished = max(0, int(now.declaration["trials"]) - len(ended) - failed)
        self._of_then = _of_metric(then, list(pairs))
        self._of_now = _of_metric(now, ended)

    def settings(self, *, among: int) -> tuple[Setting, ...]:
        """Those that are trained again, in the order of then."""
        steps = self._steps_then()
        limit = {again: steps[trial] for trial, several in self._pairs.items() for again in several}
        rows = self._of_now[self._of_now["trial"].isin(self._again)]
        whole, recorded = self._best(rows), self._best(self._of_then)
        short = self._best(rows[rows["step"] <= rows["trial"].map(limit)])
        up_to = {trial: _known(short, several) for trial, several in self._pairs.items()}
        noise = retest.pooled([np.array(values) for values in up_to.values()])
        # several reports of a step: the last one that has the metric
        by_step = rows.groupby(["step", "trial"])["value"].last().unstack("trial")
        found = []
        for trial, several in self._pairs.items():
            then, values = recorded.get(trial, math.nan), up_to[trial]
            change = (retest.mean(values) - then) * (1 if self._now.maximize else -1)
            found.append(
                Setting(
                    trial=trial,
                    params=_varying(self._then.params_of(trial), self._then.space),
                    then=then,
                    steps=steps[trial],
                    now=_known(whole, several),
                    up_to=values,
                    trials=tuple(several),
                    troubles=tuple(self._trouble(one) for one in several if self._ended(one) and one not in whole),
                    parts_at=self._parts_at(trial, by_step),
                    p=math.nan if math.isnan(change) else retest.moves(change, noise, of=among, seeds=len(values)),
                )
            )
        return tuple(found)

    def fresh(self) -> dict[int, float]:
        """The value of each fresh setting that has one."""
        return self._best(self._of_now[~self._of_now["trial"].isin(self._again)])

    def fresh_failed(self) -> int:
        """How many fresh settings ended without a value."""
        ended = {trial for trial in self._status if self._ended(trial)}
        return len(ended - set(self._again) - self.fresh().keys())

    def _steps_then(self) -> dict[int, int]:
        frame = self._then.trials()
        steps = dict(zip(frame.index.tolist(), frame["steps"].tolist(), strict=True))
        for trial in self._pairs:
            if trial not in steps:
                raise UsageError(
                    f"{self._now.path}: trains trial {trial} again, which {self._then.path} does not have"
                )
        return steps

    def _best(self, rows: pd.DataFrame) -> dict[int, float]:
        """The best finite value of each trial that has one."""
        groups = rows[np.isfinite(rows["value"].to_numpy())].groupby("trial")["value"]
        best = groups.max() if self._now.maximize else groups.min()
        return dict(zip(best.index.tolist(), best.tolist(), strict=True))

    def _ended(self, trial: int) -> bool:
        return self._status.get(trial) in ("completed", "stopped", "failed")

    def _trouble(self, trial: int) -> str:
        reason = self._reason[trial]
        return reason if isinstance(reason, str) else f"no finite {self._now.metric}"

    def _parts_at(self, trial: int, by_step: pd.DataFrame) -> int | None:
        then = self._of_then[self._of_then["trial"] == trial].groupby("step")["value"].last()
        steps = then.index.intersection(by_step.index)
        groups = {one: [each for each in more if each in by_step.columns] for one, more in self._pairs.items()}
        if not len(steps) or not groups[trial]:
            return None
        here = by_step.loc[steps]
        place = retest.parts(
            then.loc[steps].to_numpy(float),
            here[groups[trial]].to_numpy(float).T,
            retest.pooled_by_step([here[group].to_numpy(float).T for group in groups.values()]),
        )
        return None if place is None else int(steps.tolist()[place])


def _known(values: Mapping[int, float], trials: Sequence[int]) -> tuple[float, ...]:
    return tuple(values[trial] for trial in trials if trial in values)


def _of_metric(result: Result, trials: list[int]) -> pd.DataFrame:
    """Columns trial, step and value of the sweep's metric, of these trials; without NaN."""
    import pandas as pd

    frame = result.curves()
    if result.metric not in frame.columns:
        none: dict[str, list[int]] = {"trial": [], "step": [], "value": []}
        return pd.DataFrame(none).astype({"trial": "int64", "step": "int64", "value": "float64"})
    frame = frame.loc[frame["trial"].isin(trials), ["trial", "step", result.metric]]
    return frame.rename(columns={result.metric: "value"}).dropna(subset=["value"])

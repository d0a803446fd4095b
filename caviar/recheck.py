"""Re-testing what a sweep found: which of its settings to train again, beside which fresh ones, and where.

What comes of it is compared in `caviar.analysis.rechecked`.
"""

from __future__ import annotations

import logging
import os
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from caviar.analysis.result import Result, load
from caviar.errors import CaviarError, SpaceError, UsageError
from caviar.samplers import RandomSampler
from caviar.schedulers import RunAll
from caviar.space import Constant, Space
from caviar.space.hull import hull
from caviar.store.declaration import check_complete
from caviar.store.layout import SweepFolder
from caviar.store.place import Place, Url, absolute, place
from caviar.trial import MAX_TRIALS, Params

if TYPE_CHECKING:
    import pandas as pd

TOP, FRESH, SEEDS = 5, 20, 3
"""What is trained again unless somebody says otherwise."""
TOLD = 5
"""So many of the trials that are left out are told one by one."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Retest:
    """What is to be trained again, and beside what."""

    path: str
    """The sweep that is rechecked."""
    created_us: int
    """When it was made: it is known by this wherever its folder is moved to."""
    settings: tuple[tuple[int, Params], ...]
    """The trials of that sweep that are trained again, best first, each with the params that vary."""
    of: int
    """Among how many they were chosen: all that ended with a finite value."""
    seeds: int
    """How often each is trained."""
    fresh: int
    """How many fresh settings are trained beside them, once each."""
    max_step: int | None
    left_out: tuple[str, ...]
    """Of trials that would have been among them, why they are not: a line each."""
    untried: tuple[int, str] | None = None
    """The trial that should have been the first of them, and why it is left out; None: it is the first."""
    declared: Space | None = None
    """The space of the Sweep, where what is trained has a wider one; None: it is the Sweep's."""
    space: Space | None = None
    """That wider one: it holds every range that a stage of the sweep was sampled from."""

    @property
    def trials(self) -> int:
        """How many trainings that is."""
        return len(self.settings) * self.seeds + self.fresh

    @property
    def told(self) -> tuple[str, ...]:
        """`left_out` in a few lines."""
        more = len(self.left_out) - TOLD
        return self.left_out[:TOLD] + ((f"and {more} more",) if more > 0 else ())

    def to_dict(self) -> dict[str, Any]:
        """As sweep.json has it: which trial is trained again by which trials. One seed of all comes after the
        other, so that one that is cut off has something of each."""
        width = len(self.settings)
        again = [
            [trial, [place + width * seed for seed in range(self.seeds)]]
            for place, (trial, _) in enumerate(self.settings)
        ]
        found: dict[str, Any] = {"path": self.path, "created_us": self.created_us, "trials": again, "of": self.of}
        if self.untried is not None:
            found["untried"] = list(self.untried)
        if self.declared is not None:
            found["declared_space"] = self.declared.to_dict()
        return found

    def arguments(self, *, seed: int) -> dict[str, Any]:
        """What makes a Sweep the one that re-tests: arguments of `Sweep`. Nothing is stopped early, so that ends
        compare with ends."""
        own: dict[str, Any] = {} if self.space is None else {"space": self.space}
        return own | {
            "trials": self.trials,
            "max_step": self.max_step,
            "first": [dict(params) for params in self._first()],
            "sampler": RandomSampler(),
            "scheduler": RunAll(),
            "seed": seed,
            "stages": 1,
            "origin": None,
            "time_budget_s": None,
        }

    def _first(self) -> Iterator[Params]:
        for _ in range(self.seeds):
            for _, params in self.settings:
                yield params


def retest(
    result: Result,
    space: Space,
    *,
    metric: str,
    mode: str,
    top: int = TOP,
    trials: Sequence[int] | None = None,
    fresh: int = FRESH,
    seeds: int = SEEDS,
    same_metric: bool = False,
) -> Retest:
    """Choose from ``result`` what is to be trained again from ``space``, the one of today: its ``top`` best
    settings, or these ``trials``. ``metric`` and ``mode``: those of today. Where ``space`` is the one that
    ``result`` was declared with, the ranges that its stages were sampled from are allowed too.

    A trial that failed, that somebody touched, that has not ended, or whose params ``space`` no longer allows is
    left out, which is told. Raises `UsageError` for a live run or a fork, and where nothing is left or an
    argument is wrong; `CaviarError` where no trial has ended with a finite value."""
    _check(top=top, trials=trials, fresh=fresh, seeds=seeds)
    declaration = result.declaration
    if declaration.get("panda") is not None:
        raise UsageError(f"{result.path}: is a live run; caviar replay repeats it, and a recheck is of a sweep")
    if declaration.get("origin") is not None:
        raise UsageError(
            f"{result.path}: is a fork: its trials began from a checkpoint of {declaration['origin']['path']}, "
            "and would not train alike from the beginning; recheck that sweep"
        )
    check_complete(declaration, result.path, to_go_on=True)
    _check_metric(result, metric=metric, mode=mode, same_metric=same_metric)
    if result.status != "finished":
        _log.warning("%s is %s: the best so far of those that have ended are taken", result.path, result.status)
    ranked, of = _ranked(result)
    wide = hull(space, result.stage_spaces.values()) if result.space == space else space
    left_out: list[str] = []
    untried: tuple[int, str] | None = None
    settings: list[tuple[int, Params]] = []
    wanted = ranked.index.tolist() if trials is None else list(trials)
    seen: set[tuple[tuple[str, Any], ...]] = set()
    for trial in wanted:
        if trials is None and len(settings) == top:
            break
        params = _chosen(result.params_of(trial), then=result.space, now=wide)
        why = _unfit(ranked, trial) or _unfit_params(params, wide)
        if why is not None:
            left_out.append(f"trial {trial} is left out: {why}")
            if trial == wanted[0]:
                untried = (trial, why)
            continue
        key = tuple(sorted(params.items()))
        if key not in seen:
            seen.add(key)
            settings.append((trial, params))
    if not settings:
        raise UsageError(f"{result.path}: nothing can be trained again: {'; '.join(left_out[:3])}")
    found = Retest(
        path=_whole(place(result.path)),
        created_us=declaration.get("created_us", 0),
        settings=tuple(settings),
        of=of,
        seeds=seeds,
        fresh=fresh,
        max_step=declaration.get("max_step"),
        left_out=tuple(left_out),
        untried=untried,
        declared=space if wide != space else None,
        space=wide if wide != space else None,
    )
    if found.trials > MAX_TRIALS:
        raise UsageError(f"recheck: {found.trials:,} trainings are more than a sweep may have ({MAX_TRIALS:,})")
    return found


def _check(*, top: int, trials: Sequence[int] | None, fresh: int, seeds: int) -> None:
    for name, value, least in (("top", top, 1), ("fresh", fresh, 0), ("seeds", seeds, 1)):
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise UsageError(f"recheck({name}={value!r:.80}): needs a whole number of at least {least}")
    numbers = trials is None or (isinstance(trials, Sequence) and all(type(one) is int for one in trials))
    if not numbers or (trials is not None and not len(trials)):
        raise UsageError(f"recheck(trials={trials!r:.80}): needs a list of numbers of trials, or None")


def _check_metric(result: Result, *, metric: str, mode: str, same_metric: bool) -> None:
    was = str(result.declaration["mode"])
    if mode != was:
        raise UsageError(
            f"{result.path}: was judged by {result.metric} with mode={was!r}, and today's Sweep has {metric} with "
            f"mode={mode!r}: their values do not compare"
        )
    if metric != result.metric and not same_metric:
        raise UsageError(
            f"{result.path}: was judged by {result.metric!r}, and today's Sweep by {metric!r}; if that is the "
            "same under another name, say so with --same-metric (in Python same_metric=True)"
        )


def _ranked(result: Result) -> tuple[pd.DataFrame, int]:
    """All trials that have a finite value, best first, with what decides whether they can be trained again; and
    how many of them are eligible. Of a setting that was tried several times, trials that came as far as its best
    one are judged together, by their mean."""
    top = result.top(len(result.trials()))
    every = result.trials()
    names = [str(name) for name in every.columns if str(name).startswith("params.")]
    frame = top[["value"]].join(every[["status", "by_hand", "steps", *names]])
    good = frame["status"].isin(("completed", "stopped")) & ~frame["by_hand"]
    if not good.any():
        raise CaviarError(
            f"{result.path}: no trial has ended with a finite {result.metric!r} yet: nothing to recheck"
        )
    plain = frame[names].astype(object)
    keys = list(plain.where(plain.notna(), None).itertuples(index=False, name=None))
    if len(set(keys)) < len(keys):
        frame = frame.assign(setting=_codes(keys))
        furthest = frame[good].groupby("setting")["steps"].transform("max")
        whole = frame[good][frame[good]["steps"] == furthest]
        frame["value"] = frame["setting"].map(whole.groupby("setting")["value"].mean()).fillna(frame["value"])
        frame = frame.sort_values("value", ascending=not result.maximize, kind="stable")
    return frame, int(good.sum())


def _codes(keys: Sequence[object]) -> list[int]:
    codes: dict[object, int] = {}
    return [codes.setdefault(key, len(codes)) for key in keys]


def _unfit(ranked: pd.DataFrame, trial: int) -> str | None:
    """Why a trial has no value that could be compared; None: it has one."""
    if trial not in ranked.index:
        return "it has reported no finite value"
    row = ranked.loc[trial]
    if row["by_hand"]:
        return "somebody, or a rule, changed or stopped it, so its params are not all that it was trained with"
    if row["status"] == "failed":
        return "it failed then"
    if row["status"] not in ("completed", "stopped"):
        return "it has not ended"
    return None


def _chosen(params: Params, *, then: Space, now: Space) -> Params:
    """Without what was a constant and is none of the params that vary now: that is part of what has changed."""

    def constant(name: str) -> bool:
        before, today = then.get(name), now.get(name)
        was = isinstance(before, Constant) and before.value == params[name]
        return was and (today is None or isinstance(today, Constant))

    return {name: value for name, value in params.items() if not constant(name)}


def _unfit_params(params: Params, space: Space) -> str | None:
    """Why today's space does not have this setting; None: it does."""
    try:
        space.check(params)
    except SpaceError as error:
        return f"today's space does not have its params: {error}"
    return None


def _whole(path: Place) -> str:
    return path if isinstance(path, Url) else str(absolute(path))


def next_path(path: str | os.PathLike[str]) -> Place:
    """Where the next recheck of a sweep goes unless somebody says otherwise: beside it."""
    return _numbered(path, len(_rechecks(path)) + 1)


def last_path(path: str | os.PathLike[str]) -> Place | None:
    """Where the last recheck of a sweep went, by its name; None: there is none."""
    found = _rechecks(path)
    return found[-1] if found else None


def _rechecks(path: str | os.PathLike[str]) -> list[Place]:
    found: list[Place] = []
    while SweepFolder(one := _numbered(path, len(found) + 1)).exists():
        found.append(one)
    return found


def _numbered(path: str | os.PathLike[str], number: int) -> Place:
    return place(f"{place(path)}-recheck" + (f"-{number}" if number > 1 else ""))


def seed_of(seed: int, into: Place) -> int:
    """The seed of a recheck: another one than the sweep's, or its fresh settings would be those that the sweep
    had; and another one for each recheck, by the name of its folder."""
    spawned = np.random.SeedSequence(seed, spawn_key=(zlib.crc32(into.name.encode()),))
    return int(spawned.generate_state(1)[0])


def as_in(path: str | Path, space: Space) -> dict[str, Any]:
    """What makes a Sweep with this ``space`` the one that a folder declares, where that is a recheck: arguments of
    `Sweep`. Nothing where it is none, or there is no sweep."""
    folder = SweepFolder(place(path))
    if not folder.exists() or folder.declaration().get("recheck") is None:
        return {}
    declaration = load(path).declaration
    names = ("trials", "max_step", "first", "seed", "time_budget_s")
    # a wider space than the Sweep's is the recheck's own; any other difference is told
    widened = declaration["recheck"].get("declared_space") == space.to_dict()
    own: dict[str, Any] = {"space": Space.from_dict(declaration["space"])} if widened else {}
    return (
        own
        | {name: declaration[name] for name in names if name in declaration}
        | {
            "sampler": RandomSampler(),
            "scheduler": RunAll(),
            "stages": 1,
        }
    )

"""Coarse to fine: from the trials of a space to a space around those that did best.

Every range is looked at by itself, on its own scale, and by the trials in which its param exists. A param gets a
narrower range, or a `Choice` other weights, only where the best trials lie otherwise than all trials do; see
``chance.py`` for the tests and ``ends.py`` for how far a range may go.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeGuard

import numpy as np
import numpy.typing as npt

from caviar.errors import UsageError
from caviar.space.care import CAREFUL, Care
from caviar.space.chance import choice_evidence, lies_apart, outliers, region, shuffles
from caviar.space.ends import Ends, new_range
from caviar.space.mapping import Space
from caviar.space.narrowed import Change, NarrowedSpace, number
from caviar.space.parameters import Choice, Constant, Float, Int, Parameter, Scalar

NO_FURTHER = "it can go no further"
"""What is suggested of an end that its scale does not let out."""

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True, kw_only=True)
class Tried:
    """What `narrow` goes by: one entry a trial, in any order."""

    params: Sequence[Mapping[str, Any]]
    score: Floats | Sequence[float]
    """Less is better. Infinite or NaN: never among the best, but it counts as a trial."""
    stage: Ints | Sequence[int] | None = None
    """In which it was sampled; None: all in the same. Trials are compared with those of their own stage."""

    def __post_init__(self) -> None:
        stage = self.stage if self.stage is not None else np.zeros(len(self.params), np.int64)
        object.__setattr__(self, "score", np.asarray(self.score, np.float64).reshape(-1))
        object.__setattr__(self, "stage", np.asarray(stage, np.int64).reshape(-1))
        if not len(self.params) == len(self.score) == len(self.stage):  # type: ignore[arg-type]
            raise UsageError(
                f"Tried: {len(self.params)} params, {len(self.score)} scores and {len(self.stage)} stages; "  # type: ignore[arg-type]
                "there must be one each a trial"
            )


def narrow(
    space: Space,
    trials: Tried,
    *,
    top: float = 0.1,
    margin: float = CAREFUL.margin,
    widen: bool = True,
    seed: int = 0,
    care: Care = CAREFUL,
) -> NarrowedSpace:
    """A space around the best of the trials.

    ``top``: the share of the trials, above 0 and at most 0.5, that count as the best; at least 10 do.
    ``margin``: at least so much of a new range is added at either end. ``widen``: whether a range is widened
    where the best pile up at its end. ``seed``: of the permutations; the order of the trials makes no
    difference. ``care``: how sure it is to be.

    Only trials that lie in ``space`` count, of whatever stage. Raises `UsageError` for options out of bounds.
    """
    return Narrowing(space, trials, top=top, margin=margin, widen=widen, seed=seed, care=care).space()


@dataclass(frozen=True, slots=True)
class Rows:
    """The trials in which one param exists, in an order of their own."""

    values: list[Any]
    score: Floats
    stage: Ints
    best: Bools

    @property
    def first(self) -> Bools:
        """Those that no other is better than."""
        first: Bools = self.best & (self.score == self.score.min(initial=math.inf))
        return first

    @property
    def count(self) -> int:
        return len(self.values)


@dataclass(frozen=True, slots=True)
class Edge:
    """An end of a range at which the best pile up."""

    name: str
    end: str
    """``low`` or ``high``."""
    low: float
    high: float
    share: float
    """Of the best, how many are near it."""
    suggestion: str


class Narrowing:
    """One narrowing, param by param."""

    def __init__(
        self,
        space: Space,
        trials: Tried,
        *,
        top: float,
        margin: float,
        widen: bool,
        seed: int,
        care: Care = CAREFUL,
    ) -> None:
        if not 0 < top <= 0.5:
            raise UsageError(f"zoom(top={top!r}): must be above 0 and at most 0.5: the share that counts as best")
        if not 0 <= margin < math.inf:
            raise UsageError(
                f"zoom(margin={margin!r}): must be at least 0: the share of a range added at its ends"
            )
        self._space, self._top, self._margin, self._widen, self._seed = space, top, margin, widen, seed
        self._care = care
        self._picks: dict[bytes, Ints] = {}
        inside = [row for row, params in enumerate(trials.params) if _lies_in(space, params)]
        self._params = [trials.params[row] for row in inside]
        score = np.asarray(trials.score, np.float64)[inside]
        self._score = np.where(np.isfinite(score), score, np.inf)
        self._stage = np.asarray(trials.stage, np.int64)[inside]

    def space(self) -> NarrowedSpace:
        """The new space, with what became of each param."""
        changes = {name: self._change(name, parameter) for name, parameter in self._space.items()}
        changes = _settle_conditions(self._space, changes)
        params = {name: change.new for name, change in changes.items() if change.new is not None}
        return NarrowedSpace(params, changes=tuple(changes.values()))

    def rows(self, name: str) -> Rows:
        """The trials that have the param, the best of them marked; sorted, so that their order tells nothing."""
        there = [row for row, params in enumerate(self._params) if name in params]
        values = [self._params[row][name] for row in there]
        score, stage = self._score[there], self._stage[there]
        order = np.lexsort((np.array(list(map(repr, values)), np.str_), score, stage))
        score, stage = score[order], stage[order]
        best = np.zeros(len(order), bool)
        if len(order):
            count = max(self._care.min_best, math.ceil(self._top * len(order)))
            cut = np.sort(score)[min(count, len(order)) - 1]
            best = (score <= cut) & np.isfinite(score)
        return Rows([values[row] for row in order.tolist()], score, stage, best)

    def _change(self, name: str, parameter: Parameter) -> Change:
        if isinstance(parameter, Constant):
            return Change(name=name, kind="kept", old=parameter, new=parameter, why="a constant")
        rows = self.rows(name)
        why = self._too_little(name, rows)
        if why:
            return Change(name=name, kind="kept", old=parameter, new=parameter, why=why)
        if isinstance(parameter, Choice):
            return self._choice(name, parameter, rows)
        return self._range(name, parameter, rows)

    def _too_little(self, name: str, rows: Rows) -> str | None:
        """Why nothing can be said of the param, or None."""
        tried = f"{rows.count} trial{'s' * (rows.count != 1)}"
        finite = int(np.isfinite(rows.score).sum())
        trials, best = self._care.min_trials, self._care.min_best
        if rows.count < trials:
            return f"{tried} {'are' if rows.count != 1 else 'is'} too few to narrow {name}: it takes {trials}"
        if finite < best:
            return f"{finite} of {tried} did well enough to count, too few to narrow {name}: it takes {best}"
        if 2 * rows.best.sum() > rows.count:
            return f"{rows.best.sum()} of {tried} are best alike, so nothing tells them from the others"
        return None

    def edges(self) -> list[Edge]:
        """The ends of ranges at which the best pile up."""
        found = []
        for name, parameter in self._space.items():
            if not isinstance(parameter, Float | Int):
                continue
            rows = self.rows(name)
            if self._too_little(name, rows) or self._apart(parameter, rows) > self._care.significant:
                continue
            ends = self._ends(name, parameter, rows)
            new, _ = new_range(parameter, ends)
            for past, end, share, old_bound, bound in (
                (ends.past_low, "low", ends.near_low, parameter.low, new.low),
                (ends.past_high, "high", ends.near_high, parameter.high, new.high),
            ):
                if past:
                    to = f"try {name} as far as {number(bound)}" if bound != old_bound else NO_FURTHER
                    found.append(Edge(name, end, parameter.low, parameter.high, share, to))
        return found

    def _apart(self, parameter: Float | Int, rows: Rows) -> float:
        start, end = _cells(parameter, rows)
        return lies_apart((start + end) / 2, self._picked(rows))

    def _picked(self, rows: Rows) -> Ints:
        """The best of these trials, and picks at random to compare them with."""
        key = rows.best.tobytes() + rows.stage.tobytes()
        if key not in self._picks:  # most params exist in the same trials
            self._picks[key] = shuffles(rows.best, rows.stage, np.random.Generator(np.random.PCG64(self._seed)))
        return self._picks[key]

    def _ends(self, name: str, parameter: Float | Int, rows: Rows) -> Ends:
        start, end = _cells(parameter, rows)
        low, high = region(start, end, rows.best, first=rows.first, margin=self._margin, missed=self._care.missed)
        return Ends.of(start, end, rows.best, low=low, high=high, widen=self._widen)

    def _range(self, name: str, parameter: Float | Int, rows: Rows) -> Change:
        p = self._apart(parameter, rows)
        count = f"the best {rows.best.sum()} of {rows.count} trials"
        if p > self._care.significant:
            why = f"{count} lie as all do (p = {p:.2g}): no clear sign that {name} matters"
            return Change(name=name, kind="kept", old=parameter, new=parameter, why=why)
        new, notes = new_range(parameter, self._ends(name, parameter, rows))
        best = sorted(value for value, is_best in zip(rows.values, rows.best, strict=True) if is_best)
        out = outliers(len(best))
        but = f", but for {out} at either end," if out else ""
        lie = f"{count}{but} lie from {number(best[out])} to {number(best[-1 - out])}"
        return _told_range(name, parameter, new, lie, notes)

    def _choice(self, name: str, parameter: Choice, rows: Rows) -> Change:
        found = choice_evidence(
            np.array([_place(parameter.values, value) for value in rows.values]),
            self._picked(rows),
            stage=rows.stage,
            values=len(parameter.values),
        )
        count = f"the best {rows.best.sum()} of {rows.count} trials"
        if found.p > self._care.significant:
            why = f"{count} have its values as all do (p = {found.p:.2g}): no clear sign that {name} matters"
            return Change(name=name, kind="kept", old=parameter, new=parameter, why=why)
        weights = np.array(parameter.weights or [1.0] * len(parameter.values)) * found.lift
        weights = np.maximum(weights / weights[found.kept].sum(), 1e-3)
        kept = np.flatnonzero(found.kept).tolist()
        values = [parameter.values[place] for place in kept]
        share = [float(f"{weights[place]:.2g}") for place in kept] if len(kept) > 1 else None
        new = Choice(values, share, when=parameter.when)
        gone = [parameter.values[place] for place in np.flatnonzero(~found.kept).tolist()]
        among = ", ".join(
            f"{value} {part:.0%} (of all {tried:.0%})"
            for value, part, tried in zip(parameter.values, found.among_best, found.among_all, strict=True)
        )
        none = f"{', '.join(map(str, gone))} not " if gone else ""
        why = f"{none}among {count}: {among}"
        kind = "narrowed" if gone else "reweighted"
        return Change(name=name, kind=kind, old=parameter, new=new, why=why)  # type: ignore[arg-type]


def _cells(parameter: Float | Int, rows: Rows) -> tuple[Floats, Floats]:
    """From and to which coordinate the value of each trial reaches."""
    start, end = parameter.cells(rows.values)
    return start, end


def _told_range(name: str, old: Float | Int, new: Float | Int, lie: str, notes: Sequence[str]) -> Change:
    out = new.low < old.low or new.high > old.high
    cut = new.low > old.low or new.high < old.high
    if not out and not cut:
        notes = notes or ["further ones like these might lie anywhere"]
    kind = "moved" if out and cut else "widened" if out else "narrowed" if cut else "kept"
    return Change(name=name, kind=kind, old=old, new=new, why="; ".join([lie, *notes]))  # type: ignore[arg-type]


def _lies_in(space: Space, params: Mapping[str, Any]) -> bool:
    for name, value in params.items():
        parameter = space.get(name)
        if isinstance(parameter, Choice):
            if _place(parameter.values, value) < 0:
                return False
        elif isinstance(parameter, Float | Int) and not (
            _is_number(value) and parameter.low <= value <= parameter.high
        ):
            return False
    return True


def _is_number(value: object) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _place(values: Sequence[Scalar], value: object) -> int:
    """Which of the values it is, as JSON sees it: true is not 1, but 1 is 1.0; -1 for none."""
    for place, own in enumerate(values):
        if isinstance(own, bool) == isinstance(value, bool) and own == value:
            return place
    return -1


def _settle_conditions(space: Space, changes: Mapping[str, Change]) -> dict[str, Change]:
    """Cut ``when`` down to what its params can still be, and drop what can never exist any more."""
    settled = dict(changes)
    waiting = True
    while waiting:
        waiting = False
        for name, change in settled.items():
            if change.new is None or not change.new.when:
                continue
            when: dict[str, Any] = {}
            for parent, wanted in change.new.when.items():
                wanted = wanted if isinstance(wanted, tuple) else (wanted,)
                now = settled[parent].new
                left = tuple(value for value in wanted if now is not None and _can_be(now, value))
                if not left:
                    why = f"it exists only where {parent} is {' or '.join(map(str, wanted))}, which is gone"
                    settled[name] = replace(change, kind="dropped", new=None, why=why)
                    waiting = True
                    break
                when[parent] = left
            else:
                new = replace(change.new, when=when)
                if new != change.new:
                    kind = "narrowed" if change.kind == "kept" else change.kind
                    where = " and ".join(
                        f"{parent} is {' or '.join(map(str, left))}" for parent, left in when.items()
                    )
                    why = f"{change.why}; it exists only where {where} now"
                    settled[name] = replace(change, kind=kind, new=new, why=why)
    return settled


def _can_be(parameter: Parameter, value: Scalar) -> bool:
    if isinstance(parameter, Constant):
        return _place([parameter.value], value) == 0
    if isinstance(parameter, Choice):
        return _place(parameter.values, value) >= 0
    return _is_number(value) and parameter.low <= value <= parameter.high

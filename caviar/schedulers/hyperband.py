"""Hyperband, asynchronously: ASHA in brackets that begin to judge earlier or later."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass
from itertools import accumulate
from typing import ClassVar

from caviar.errors import UsageError
from caviar.schedulers.asha import AshaJudge
from caviar.schedulers.base import Judge, Scheduler, Verdict
from caviar.schedulers.outlook import Outlook
from caviar.schedulers.rehearsal import rehearsed
from caviar.schedulers.rung import GeometricRungs, ListedRungs, check_reduction_factor, check_whole
from caviar.schedulers.sparing import check_spare

# 2**64 over the golden ratio, made odd: multiples of it, modulo 2**64, fill the circle evenly from the first on
_GOLDEN = 0x9E3779B97F4A7C15
_CIRCLE = 1 << 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Bracket:
    """One of Hyperband's brackets, numbered as in the paper: s halvings, so the highest s stops most eagerly."""

    s: int
    rungs: tuple[int, ...]
    """The s steps at which its trials are judged; those that are left run to max_step."""
    trials: int
    """How many trials it has in one round of Hyperband, the paper's n."""
    share: float
    """The part of all trials that it gets, between 0 and 1."""


@dataclass(frozen=True, slots=True)
class Hyperband(Scheduler):
    """ASHA in several brackets: a hedge against curves whose early steps say little about their end.

    With ``s_max = floor(log(max_step / grace_steps) / log(reduction_factor))`` there are s_max + 1 brackets,
    numbered s = s_max … 0 as in the paper. Bracket s judges at ``grace_steps * reduction_factor**k`` for
    k = s_max - s … s_max - 1: bracket s_max from grace_steps on, each further one a rung later, and bracket 0
    never. (So where max_step is no such product, the last rung is farther below max_step than `Asha`'s.)
    Within a bracket all is as in `Asha`, ties and ``inf`` included; brackets do not see each other's losses.

    Brackets share the trials in proportion to Hyperband's ``n = ceil((s_max + 1) / (s + 1) *
    reduction_factor**s)``. A trial's bracket depends on its number alone, and every run of consecutive trials is
    shared out evenly. `plan` shows the brackets.

    ``grace_steps``: no trial stops before this step. ``reduction_factor``: above 1, not necessarily whole, as in
    `Asha`. ``brackets``: how many to use, the most eager first; None: all. ``spare``: as in `Asha`. Wrong
    arguments raise `UsageError`, and so do a missing max_step and more brackets than max_step allows. A sweep that
    is extended to further steps keeps the brackets that it has.

    Source: Li, Jamieson, DeSalvo, Rostamizadeh and Talwalkar, "Hyperband: A Novel Bandit-Based Approach to
    Hyperparameter Optimization", JMLR 18(185), 2018; asynchronous as in the ASHA paper, arXiv:1810.05934.
    """

    name: ClassVar[str] = "hyperband"
    grace_steps: int = 1
    reduction_factor: float = 3
    _: KW_ONLY
    brackets: int | None = None
    spare: float = 0.0

    def __post_init__(self) -> None:
        check_whole("Hyperband", grace_steps=self.grace_steps)
        check_reduction_factor("Hyperband", self.reduction_factor)
        if self.brackets is not None:
            check_whole("Hyperband", brackets=self.brackets)
        check_spare("Hyperband", self.spare)

    def plan(self, max_step: int) -> tuple[Bracket, ...]:
        """The brackets for trials of up to ``max_step`` steps, the most eager first."""
        rungs = self._rungs(max_step)
        s_max = len(rungs)
        wanted = s_max + 1 if self.brackets is None else self.brackets
        if wanted > s_max + 1:
            raise UsageError(
                f"Hyperband(brackets={wanted}): max_step={max_step}, grace_steps={self.grace_steps} and "
                f"reduction_factor={self.reduction_factor} give at most {s_max + 1}"
            )
        numbers = range(s_max, s_max - wanted, -1)
        # rounded up in whole numbers where the reduction_factor is whole: no float can push it one too high
        trials = [int(-(-((s_max + 1) * self.reduction_factor**s) // (s + 1))) for s in numbers]
        return tuple(
            Bracket(s=s, rungs=rungs[s_max - s :], trials=n, share=n / sum(trials))
            for s, n in zip(numbers, trials, strict=True)
        )

    def begin(self, *, max_step: int | None) -> Judge:
        if max_step is None:
            raise UsageError("Hyperband needs a max_step to lay out its brackets, and max_step=None was given")
        return HyperbandJudge(self.plan(max_step), self.reduction_factor)

    def outlook(self, trials: int, *, max_step: int | None, begin: int = 0) -> Outlook:
        """As `Asha` within each bracket, whose trials are known by their numbers."""
        if max_step is None:
            raise UsageError("Hyperband needs a max_step to lay out its brackets, and max_step=None was given")
        judge = HyperbandJudge(self.plan(max_step), self.reduction_factor)
        return rehearsed(
            lambda: self.begin(max_step=max_step),
            trials,
            max_step=max_step,
            begin=begin,
            spare=self.spare,
            cohort_of=lambda trial: f"bracket {judge.bracket_of(trial).s}",
        )

    def _rungs(self, max_step: int) -> tuple[int, ...]:
        """The rungs of the most eager bracket, s_max of them."""
        ladder = GeometricRungs(self.grace_steps, self.reduction_factor, max_step=max_step)
        rungs: list[int] = []
        rung = ladder.first
        # halvings are counted, as logarithms cannot be trusted: log(243) / log(3) is below 5 in floats. A factor
        # close to 1 runs out of steps to judge at before it runs out of halvings.
        while rung is not None and self.grace_steps * self.reduction_factor ** (len(rungs) + 1) <= max_step:
            rungs.append(rung)
            rung = ladder.after(rung)
        return tuple(rungs)


class HyperbandJudge(Judge):
    """One `AshaJudge` a bracket; of a trial it keeps nothing, for its number says which bracket it is in."""

    __slots__ = ("_bounds", "_judges", "brackets")

    def __init__(self, brackets: Sequence[Bracket], reduction_factor: float) -> None:
        self.brackets = tuple(brackets)
        self._judges = [AshaJudge(ListedRungs(b.rungs), reduction_factor) for b in brackets]
        total = sum(bracket.trials for bracket in brackets)
        self._bounds = [trials * _CIRCLE // total for trials in accumulate(b.trials for b in brackets)]

    def bracket_of(self, trial: int) -> Bracket:
        """The bracket that this trial is in."""
        return self.brackets[self._index(trial)]

    def _index(self, trial: int) -> int:
        # Steps of the golden ratio round a circle that the brackets divide: no table to build, the same on every
        # machine, and never in step with a period in the trials, as a repeating pattern could be with a grid.
        return bisect_right(self._bounds, trial * _GOLDEN % _CIRCLE)

    def first_rung(self, trial: int) -> int | None:
        return self._judges[self._index(trial)].first_rung(trial)

    def rung_after(self, trial: int, rung: int) -> int | None:
        return self._judges[self._index(trial)].rung_after(trial, rung)

    def decide(self, trial: int, rung: int, loss: float) -> Verdict:
        return self._judges[self._index(trial)].decide(trial, rung, loss)

    def observe(self, trial: int, rung: int, loss: float) -> None:
        self._judges[self._index(trial)].observe(trial, rung, loss)

"""Changes that are known before the run begins: nothing is judged, so a run that has only these never waits."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import KW_ONLY, dataclass, field
from typing import Any, ClassVar

from caviar.adjusting import OPERATIONS
from caviar.declared import Declared
from caviar.errors import UsageError
from caviar.messages import LAST_STEP
from caviar.trial import Params

Table = dict[int, dict[str, Any]]
"""By step, rising: the values of the params that change there. The step is the first that is trained with them."""

MOST_STEPS = 10_000_000
"""Of a schedule that sets a param at every step; they are all worked out at once."""


class Schedule(Declared):
    """What a param is set to at which steps, known ahead. A param that a person or a rule changes leaves its
    schedule from there on."""

    @abstractmethod
    def table(self, params: Params, max_step: int | None) -> Table:
        """All of it, for a run that begins with ``params`` and is complete at ``max_step`` (None: without limit);
        what lies past that is left out. Raises `UsageError` where it does not fit the run."""

    def _wrong(self, name: str, value: object, needed: str) -> UsageError:
        return UsageError(f"{type(self).__name__}({name}={value!r:.80}): {needed}")

    def _numbers(self, **arguments: object) -> None:
        for name, value in arguments.items():
            if not _is_number(value) or not math.isfinite(value):  # type: ignore[arg-type]
                raise self._wrong(name, value, "needs a finite number")

    def _steps(self, **arguments: object) -> None:
        for name, value in arguments.items():
            if type(value) is not int or not 1 <= value <= MOST_STEPS:
                raise self._wrong(name, value, f"needs a whole number (int) from 1 to {MOST_STEPS:,}")

    def _check_param(self, param: object) -> None:
        if not isinstance(param, str):
            raise self._wrong("param", param, "needs the name of a param")

    def _now(self, param: str, params: Params) -> Any:
        if param not in params:
            raise UsageError(f"{self.name}: there is no param {param!r}; there are {', '.join(params) or 'none'}")
        return params[param]

    def _peak(self, param: str, params: Params, peak: float | None) -> float:
        """What was given, or what the run begins with."""
        value = self._now(param, params) if peak is None else peak
        if not _is_number(value):
            raise UsageError(f"{self.name}: {param} is {value!r:.60}, no number")
        return float(value)


@dataclass(frozen=True, slots=True)
class Steps(Schedule):
    """Sets params at given steps. ``at``: from the first step that is trained with it to the new value of
    ``param``, or to a mapping from param to value. Text such as ``"*=0.1"`` is relative to the value before."""

    name: ClassVar[str] = "Steps"
    at: Mapping[int, Any] = field(hash=False)
    param: str = "lr"

    def __post_init__(self) -> None:
        self._check_param(self.param)
        if not isinstance(self.at, Mapping) or not self.at:
            raise self._wrong("at", self.at, "needs a mapping from step to value, as {30: 0.01}")
        own: dict[int, Any] = {}
        given: Mapping[Any, Any] = self.at
        for step, value in given.items():
            # JSON has no other keys than text
            number = int(step) if isinstance(step, str) and step.isdecimal() and step.isascii() else step
            if type(number) is not int or not 1 <= number <= LAST_STEP:
                raise self._wrong("at", self.at, f"step {step!r:.60} is no whole number from 1 on")
            named = isinstance(value, Mapping)
            each = dict(value) if named else {self.param: value}
            for param, new in each.items():
                if not isinstance(param, str) or not isinstance(new, str | int | float | bool):
                    raise self._wrong(
                        "at", self.at, f"step {number}: {param}={new!r:.60}: needs a number or a word"
                    )
            own[number] = each if named else value
        object.__setattr__(self, "at", dict(sorted(own.items())))

    def table(self, params: Params, max_step: int | None) -> Table:
        found: Table = {}
        for step, value in self.at.items():
            each = dict(value) if isinstance(value, Mapping) else {self.param: value}
            for param in each:
                now = self._now(param, params)
                if isinstance(each[param], str) and each[param][:2] in OPERATIONS and not _is_number(now):
                    raise UsageError(f"{self.name}: {param} is {now!r:.60}, no number")
            if max_step is None or step <= max_step:
                found[step] = each
        return found


@dataclass(frozen=True, slots=True)
class Warmup(Schedule):
    """Raises ``param`` evenly over the first ``steps`` steps, from ``start`` (which is not trained with) up to
    ``peak`` (None: what the run begins with), which step ``steps`` is the first to be trained with."""

    name: ClassVar[str] = "Warmup"
    steps: int
    param: str = "lr"
    _: KW_ONLY
    start: float = 0.0
    peak: float | None = None

    def __post_init__(self) -> None:
        self._steps(steps=self.steps)
        self._check_param(self.param)
        self._numbers(start=self.start)
        if self.peak is not None:
            self._numbers(peak=self.peak)

    def table(self, params: Params, max_step: int | None) -> Table:
        peak = self._peak(self.param, params, self.peak)
        last = self.steps if max_step is None else min(self.steps, max_step)
        way = peak - self.start
        found: Table = {step: {self.param: self.start + way * step / self.steps} for step in range(1, last + 1)}
        if last == self.steps:
            found[last] = {self.param: peak}  # without a rounding error
        return found


@dataclass(frozen=True, slots=True)
class Cosine(Schedule):
    """Lowers ``param`` along half a cosine wave, from ``peak`` (None: what the run begins with) at step ``begin``
    to ``low``, which it would come to one step after ``end`` (None: the run's max_step, which it then must have).
    ``every``: steps between changes.

    Loshchilov and Hutter, "SGDR: Stochastic Gradient Descent with Warm Restarts", ICLR 2017, without restarts.
    """

    name: ClassVar[str] = "Cosine"
    low: float
    param: str = "lr"
    _: KW_ONLY
    peak: float | None = None
    begin: int = 1
    end: int | None = None
    every: int = 1

    def __post_init__(self) -> None:
        self._numbers(low=self.low)
        self._check_param(self.param)
        self._steps(begin=self.begin, every=self.every)
        if self.peak is not None:
            self._numbers(peak=self.peak)
        if self.end is not None:
            self._steps(end=self.end)
            if self.end < self.begin:
                raise self._wrong("end", self.end, f"needs a step from begin={self.begin} on")

    def table(self, params: Params, max_step: int | None) -> Table:
        peak = self._peak(self.param, params, self.peak)
        end = max_step if self.end is None else self.end
        if end is None:
            raise UsageError(f"{self.name}: needs end=, as the run has no max_step")
        last = end if max_step is None else min(end, max_step)
        if last < self.begin:
            return {}
        if (last - self.begin) // self.every > MOST_STEPS:
            raise UsageError(f"{self.name}: {last - self.begin:,} steps are too many, with every={self.every}")
        wave = math.pi / (end + 1 - self.begin)
        half = (peak - self.low) / 2
        return {
            step: {self.param: self.low + half * (1 + math.cos(wave * (step - self.begin)))}
            for step in range(self.begin, last + 1, self.every)
        }


def timetable(schedules: Iterable[Schedule], params: Params, max_step: int | None) -> Table:
    """All schedules of a run in one table. Two that set the same param at the same step raise `UsageError`."""
    found: Table = {}
    for schedule in schedules:
        for step, each in schedule.table(params, max_step).items():
            here = found.setdefault(step, {})
            for param in each:
                if param in here:
                    raise UsageError(f"{schedule.name}: another schedule sets {param} at step {step}")
            here.update(each)
    return dict(sorted(found.items()))


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)

"""The contract that every rule keeps.

A `Rule` is a declaration and does the work itself, since it has no state: how often it may fire, and how long it
is silent, follow from the firings that it is shown. So resuming, repeating and rolling back need no care.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from caviar.adjusting import computed, is_relative
from caviar.declared import Declared
from caviar.errors import UsageError
from caviar.panda.change import Change
from caviar.panda.live import Live
from caviar.trial import Params


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule(Declared):
    """An automatic hand: looks at the run at reports of its metric, and may ask for a change.

    What all rules take: ``every``: steps between the reports that it looks at, each the first at or past a
    multiple. ``cooldown``: so many reports after a firing it is silent. ``at_most``: it fires no more often in one
    run, roll-backs or not; None: without limit. ``least``, ``greatest``: bounds by param beyond which it does not
    push, where those of the space are not narrower; a value that lies beyond already is not pulled back.

    One that wants to push params and can push none any more is silent, and does not roll back either. Wrong
    arguments raise `UsageError`.
    """

    every: int = 1
    cooldown: int = 0
    at_most: int | None = None
    least: Mapping[str, float] = field(default_factory=dict, hash=False)
    greatest: Mapping[str, float] = field(default_factory=dict, hash=False)

    def __post_init__(self) -> None:
        self._whole(every=self.every)
        self._whole(at_least=0, cooldown=self.cooldown)
        if self.at_most is not None:
            self._whole(at_most=self.at_most)
        for name in ("least", "greatest"):
            self._mapping(name, of_numbers=True)

    def judge(self, live: Live) -> Change | None:
        """What is to be done after this report; its values are absolute. None: nothing. Depends on ``live`` alone.

        Raises `UsageError` where the rule does not fit the run's params."""
        mine = [firing for firing in live.firings if firing.rule == (live.rule or self.name)]
        if self.at_most is not None and len(mine) >= self.at_most:
            return None
        fired = mine[-1].judged if mine else 0
        if (mine and live.judged - fired <= self.cooldown) or not live.passes(self.every):
            return None
        try:
            wanted = self.consider(live, fired)
            return self._settled(wanted, live) if wanted else None
        except UsageError as error:
            raise UsageError(f"rule {live.rule or self.name}: {error}") from error

    @abstractmethod
    def consider(self, live: Live, fired: int) -> Change | None:
        """What the rule wants, as it may look at this report; values may be relative. ``fired``: the number of
        the report at which it fired last, 0 for never: `Live.numbers` above it are of later ones."""

    @property
    def pace(self) -> int:
        """Steps between the reports that it has to look at."""
        return self.every

    @property
    def knobs(self) -> tuple[str, ...]:
        """The params that it is known to change."""
        return ()

    def check(self, params: Params) -> None:
        """Raise `UsageError` where a run with these params lacks one that the rule names."""
        for name in dict.fromkeys([*self.knobs, *self.least, *self.greatest]):
            if name not in params:
                raise UsageError(
                    f"{self.name}: there is no param {name!r}; there are {', '.join(params) or 'none'}"
                )

    def _settled(self, wanted: Change, live: Live) -> Change | None:
        """With absolute values within the bounds; None where nothing is left of it."""
        new: dict[str, Any] = {}
        pushes = False
        for name, given in wanted.set.items():
            if name not in live.params:
                raise UsageError(f"there is no param {name!r}; there are {', '.join(live.params) or 'none'}")
            now = live.params[name]
            asked = computed(name, now, given)
            new[name] = self._within(name, asked, live=live)
            # what was to stay as it is counts as done; what can be pushed no further does not
            pushes = pushes or not _same(new[name], now) or (_same(asked, now) and not is_relative(given))
        if wanted.rollback_to is not None and wanted.rollback_to > live.step:
            raise UsageError(f"rollback_to={wanted.rollback_to} lies ahead of step {live.step}")
        if new and not pushes and not wanted.pause:
            return None
        if wanted.rollback_to is None:  # the values that there are would stay anyway
            new = {name: value for name, value in new.items() if not _same(value, live.params[name])}
        change = Change(
            new,
            wanted.rollback_to,
            pause=wanted.pause,
            stop=wanted.stop,
            reason=wanted.reason or f"{live.rule or self.name} asked for it",
        )
        return change or None

    def _within(self, name: str, asked: Any, *, live: Live) -> Any:
        """Where a push of a param comes to rest."""
        now = live.params[name]
        if not _is_number(asked) or not _is_number(now):
            return asked
        if not math.isfinite(asked):
            raise UsageError(f"{name}={asked!r}: needs a finite number")
        low, high = live.bounds.get(name, (-math.inf, math.inf))
        low, high = max(low, self.least.get(name, low)), min(high, self.greatest.get(name, high))
        value = max(asked, min(low, now)) if asked < now else min(asked, max(high, now))
        if value == now:
            return now
        return round(value) if type(now) is int else value  # whole numbers stay whole

    # --- for the arguments of the kinds of rules ----------------------------------------------------

    def _whole(self, *, at_least: int = 1, **arguments: object) -> None:
        for name, value in arguments.items():
            if type(value) is not int or value < at_least:
                raise self._wrong(name, value, f"needs a whole number (int) of at least {at_least}")

    def _number(self, *, above: float | None = None, **arguments: object) -> None:
        for name, value in arguments.items():
            good = _is_number(value) and (value >= 0 if above is None else value > above)  # type: ignore[operator]
            if not good or not math.isfinite(value):  # type: ignore[arg-type]
                least = "of at least 0" if above is None else f"above {above}"
                raise self._wrong(name, value, f"needs a finite number {least}")

    def _flag(self, **arguments: object) -> None:
        for name, value in arguments.items():
            if type(value) is not bool:
                raise self._wrong(name, value, "needs True or False")

    def _mapping(self, name: str, *, of_numbers: bool = False, above: float = -math.inf) -> None:
        """The argument of this name, a mapping from param to value, becomes one of its own."""
        given = getattr(self, name)
        named = isinstance(given, Mapping) and all(isinstance(key, str) for key in given)
        if not named:
            raise self._wrong(name, given, "needs a mapping from param to value")
        if of_numbers and not all(_is_number(each) and above < each < math.inf for each in given.values()):
            finite = "finite numbers" if above == -math.inf else f"finite numbers above {above:g}"
            raise self._wrong(name, given, f"needs a mapping from param to {finite}")
        object.__setattr__(self, name, dict(given))

    def _wrong(self, name: str, value: object, needed: str) -> UsageError:
        return UsageError(f"{type(self).__name__}({name}={value!r:.80}): {needed}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Scaling(Rule):
    """A rule that multiplies params when it fires. ``scale``: factors above 0, by param."""

    scale: Mapping[str, float] = field(default_factory=lambda: {"lr": 0.5}, hash=False)

    def __post_init__(self) -> None:
        Rule.__post_init__(self)
        self._mapping("scale", of_numbers=True, above=0)

    @property
    def knobs(self) -> tuple[str, ...]:
        return tuple(self.scale)

    def check(self, params: Params) -> None:
        Rule.check(self, params)
        for name in self.scale:
            if not _is_number(params[name]):
                raise UsageError(f"{self.name}: {name} is {params[name]!r:.60}, no number to scale")

    @property
    def scaled(self) -> dict[str, str]:
        """The factors as relative changes."""
        return {name: f"*={float(factor)!r}" for name, factor in self.scale.items()}

    def _does_something(self, *, rollback: bool) -> None:
        """One that goes back and changes nothing does so without end, unless it is told how often."""
        if not self.scale and not rollback:
            raise self._wrong("scale", self.scale, "there would be nothing that it does")
        if not self.scale and self.at_most is None:
            raise self._wrong("at_most", None, "going back without a change (scale={}) needs a limit")


@dataclass(frozen=True, slots=True, kw_only=True)
class Watching(Scaling):
    """A rule that looks at one curve, and scales. ``metric``: which curve, where it is not the sweep's metric, and
    ``mode``, "min" or "max", which way that other metric is better."""

    metric: str | None = None
    mode: str = "min"

    def __post_init__(self) -> None:
        Scaling.__post_init__(self)
        if self.metric is not None and not isinstance(self.metric, str):
            raise self._wrong("metric", self.metric, "needs the name of a metric, or None for the sweep's")
        if self.mode not in ("min", "max"):
            raise self._wrong("mode", self.mode, 'needs "min" or "max"')


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _same(one: object, other: object) -> bool:
    return isinstance(one, bool) == isinstance(other, bool) and one == other

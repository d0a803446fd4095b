"""The hand that a driver holds over a run: it keeps what rules see, asks them at each report, and remembers what
they asked for."""

from __future__ import annotations

import logging
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, replace
from types import MappingProxyType
from typing import Any

import numpy as np

from caviar.errors import UsageError
from caviar.messages import Reports
from caviar.panda.change import Change
from caviar.panda.curves import Curves
from caviar.panda.live import Firing, Live
from caviar.panda.recorded import Begun, Fired, of_attempt
from caviar.panda.rules.base import Rule
from caviar.panda.rules.function import Judging, as_rule
from caviar.panda.rules.schedule import Schedule
from caviar.trial import Params

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Decision:
    """What a rule's firing asks of the run; values are absolute."""

    rule: str
    change: Change
    _: KW_ONLY
    step: int
    """Of the report at which it was made."""
    judged: int
    """The number of that report. With the rule's name it tells this decision from all others of the run, so that
    one that is made again after a crash can be told from another."""


class Hand:
    """Holds the rules of one run.

    The driver tells it what happens, in order: reports, attempts that begin. At a report of the sweep's metric,
    while the trial waits, it asks what to do. Each report is judged once: steps that a fault makes the run report
    again are not, as what was decided at them stands; those after a roll-back are.

    A rule that raises is told of once, by logging, and left out from then on.
    """

    def __init__(
        self,
        rules: Iterable[Rule | Schedule | Judging],
        *,
        metric: str,
        minimize: bool = True,
        max_step: int | None = None,
        bounds: Mapping[str, tuple[float, float]] | None = None,
    ) -> None:
        """``rules``: asked in this order; schedules among them are not asked. ``bounds``: from where to where each
        numeric param may go. Anything but rules and functions raises `UsageError`."""
        self.max_step = max_step
        self._metric = metric
        self._minimize = minimize
        self._bounds = MappingProxyType(dict(bounds or {}))
        judging = [as_rule(rule) for rule in rules if not isinstance(rule, Schedule)]
        self._rules = dict(zip(_names(judging), judging, strict=True))
        self._curves = Curves(metric, minimize=minimize)
        self._judged = 0
        """The number of the last report that was judged, or need not be."""
        self._firings: list[Firing] = []
        self._goes_back = False
        """Whether a rule wanted the run rolled back, and it has not been yet."""
        self._left_out: dict[str, str] = {}

    @property
    def rules(self) -> tuple[str, ...]:
        """The names under which the rules fire; of several that are called the same, each its own."""
        return tuple(self._rules)

    @property
    def every(self) -> int:
        """How many steps may lie between the reports at which the trial waits for the rules."""
        return math.gcd(*(rule.pace for rule in self._rules.values())) or 1

    @property
    def firings(self) -> Sequence[Firing]:
        """What rules asked for so far, in order."""
        return tuple(self._firings)

    @property
    def left_out(self) -> Mapping[str, str]:
        """Rules that are not asked any more, and why, in a line."""
        return MappingProxyType(self._left_out)

    # --- what happens to the run --------------------------------------------------------------------

    def see(self, block: Reports) -> None:
        """Further reports, before the one among them at which the trial waits is judged. Those of other trials and
        of older attempts, and those that it has, are passed over."""
        self._curves.see(block)

    def restarted(self, step: int, *, attempt: int) -> None:
        """An attempt begins after a fault, from the checkpoint at ``step``, 0 for the beginning. Older attempts'
        reports above it do not count."""
        self._curves.restarted(step, attempt=attempt)
        # that checkpoint was made after these reports were answered
        self._judged = max(self._judged, self._curves.number_before(step))

    def rolled_back(self, step: int, *, attempt: int) -> None:
        """``attempt`` begins from ``step``, 0 for the beginning, since a person or a rule rolled the run back."""
        if self._goes_back:  # the last firing did this
            firing = self._firings[-1]
            self._firings[-1] = replace(firing, change=replace(firing.change, rollback_to=step))
            self._goes_back = False
        self._curves.rolled_back(step, attempt=attempt)

    # --- what is to be done -------------------------------------------------------------------------

    def judge(self, step: int, params: Params) -> list[Decision]:
        """What the rules want after the report of the metric at ``step``, in their order. ``params``: what the run
        trains with.

        A param belongs to the first that sets it; who comes later leaves it alone, and says so in its reason. A
        roll-back or a stop ends the round, and what was wanted before it in this round is void: these rules did
        not fire. A report that was judged before gives nothing."""
        number = self._curves.number_at(step)
        if number is None or number <= self._judged:
            return []
        self._judged = number
        before = [firing for firing in self._firings if firing.judged < number]
        # after a crash in the middle of what a report led to, some of it is recorded, and is not asked for again
        done = {firing.rule: firing.change for firing in self._firings if firing.judged == number}
        if any(_ends_round(change) for change in done.values()):
            return []
        live = self._live(step, params, before)
        wanted: dict[str, Change] = {}
        owners: dict[str, str] = {}
        for name, rule in self._rules.items():
            change = done.get(name) or (None if name in self._left_out else self._ask(name, rule, live))
            if change is None:
                continue
            if _ends_round(change):
                wanted = {name: change}
                break
            change = change if name in done else _without(change, owners)
            if change:
                wanted[name] = change
                owners.update(dict.fromkeys(change.set, name))
        self._goes_back = any(change.rollback_to is not None for change in wanted.values())
        self._firings = [*before, *(Firing(name, step, number, change) for name, change in wanted.items())]
        new = ((name, change) for name, change in wanted.items() if name not in done)
        return [Decision(name, change, step=step, judged=number) for name, change in new]

    def undone(self, decision: Decision) -> None:
        """Nothing came of a decision, as something else came first: it was no firing."""
        mine = (decision.rule, decision.judged)
        self._firings = [firing for firing in self._firings if (firing.rule, firing.judged) != mine]
        self._goes_back = False

    def refused(self, decision: Decision, why: str) -> None:
        """A decision could not be carried out: it was no firing, and its rule is left out from now on."""
        self.undone(decision)
        self._leave_out(decision.rule, f"what it wanted at step {decision.step} was refused: {why}")

    def _live(self, step: int, params: Params, firings: Sequence[Firing]) -> Live:
        return Live(
            metric=self._metric,
            minimize=self._minimize,
            max_step=self.max_step,
            params=MappingProxyType(dict(params)),
            firings=tuple(firings),
            bounds=self._bounds,
            **self._curves.until(step),
        )

    def _ask(self, name: str, rule: Rule, live: Live) -> Change | None:
        try:
            change = rule.judge(replace(live, rule=name))
            if change is not None and not isinstance(change, Change):
                raise UsageError(f"judge() gave {change!r:.80}, which is no Change")
        except Exception as error:  # noqa: BLE001 - a rule may be anybody's code, and the run is worth more than it is
            what = str(error) if isinstance(error, UsageError) else f"{type(error).__name__}: {error}"
            self._leave_out(name, f"at step {live.step}: {what}", traceback=not isinstance(error, UsageError))
            return None
        return change or None

    def _leave_out(self, name: str, why: str, *, traceback: bool = False) -> None:
        if name not in self._left_out:
            self._left_out[name] = " ".join(why.split())
            _log.warning("rule %s is left out from now on: %s", name, self._left_out[name], exc_info=traceback)

    # --- going on with a run ------------------------------------------------------------------------

    def recall(
        self,
        blocks: Iterable[Reports],
        *,
        begun: Iterable[Begun] = (),
        fired: Iterable[Fired] = (),
        left_out: Mapping[str, str] | None = None,
    ) -> None:
        """Become what the hand of earlier drivers was, from what is recorded: rows in any blocks and order, how
        attempts began, the first one too or not, and which rules fired. From then on it judges as that one would
        have. Call it once, before anything else.

        Which rules were ``left_out`` is not recorded by itself: one that is not named here is asked again."""
        rows, starts = list(blocks), list(begun)
        past = sorted(fired, key=lambda one: one.judged)
        self._left_out |= left_out or {}
        attempts = {start.attempt for start in starts}
        for block in rows:
            attempts.update(np.unique(block.attempt[block.trial == 0]).tolist())
        for attempt in sorted(attempts):
            for start in starts:
                if start.attempt == attempt and start.back:
                    self.rolled_back(start.step, attempt=attempt)
                elif start.attempt == attempt:
                    self.restarted(start.step, attempt=attempt)
            for block in rows:
                self._curves.see(of_attempt(block, attempt))
            steps = self._curves.steps
            if len(steps) > 1:  # the last one may not have been judged, the others were, or no other had followed
                self._judged = max(self._judged, self._curves.number_before(int(steps[-2])))
            while past and past[0].judged <= self._curves.count:
                self._remember(past.pop(0))
        for one in past:  # their reports are lost
            self._remember(one)

    def _remember(self, one: Fired) -> None:
        for at, firing in enumerate(self._firings):
            if (firing.rule, firing.judged) == (one.rule, one.judged):
                self._firings[at] = replace(firing, change=firing.change.and_also(one.change))
                return
        self._firings.append(Firing(one.rule, self._curves.step_of(one.judged), one.judged, one.change))


def _names(rules: Sequence[Rule]) -> list[str]:
    """A name for each rule: its own, with a number from the second of the same name on."""
    seen: Counter[str] = Counter()
    names = []
    for rule in rules:
        seen[rule.name] += 1
        names.append(rule.name if seen[rule.name] == 1 else f"{rule.name} {seen[rule.name]}")
    return names


def _without(change: Change, owners: Mapping[str, str]) -> Change:
    """A change without the params that others have set at this report."""
    taken = [name for name in change.set if name in owners]
    if not taken:
        return change
    kept: dict[str, Any] = {name: value for name, value in change.set.items() if name not in owners}
    left = "; ".join(f"{name} was left to {owners[name]}" for name in taken)
    return replace(change, set=kept, reason=f"{change.reason}; {left}")


def _ends_round(change: Change) -> bool:
    return change.rollback_to is not None or change.stop

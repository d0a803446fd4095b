"""What a recheck found: settings as they did then and as they do now, beside fresh ones, and what that means.

`then_and_now.py` makes it of two sweeps, `recheck_words.py` says it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from caviar.analysis import retest
from caviar.analysis.retest import Noise
from caviar.store.place import Place
from caviar.trial import Params

if TYPE_CHECKING:
    import pandas as pd

ALARMS = 0.05
"""At most so often each of the two answers, whether the choice holds and whether values are the same, is a false
alarm."""

Outcome = Literal["holds", "beaten", "moved", "fails", "alone", "unclear", "untried"]
Values = Literal["same", "worse", "better", "unclear"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """One setting that was trained again."""

    trial: int
    """Of the sweep that is rechecked."""
    params: Params
    """Those that vary."""
    then: float
    """Its recorded value: the best finite one of its curve."""
    steps: int
    """How far it was trained then."""
    now: tuple[float, ...]
    """Its values now, one a seed: the best of each whole curve."""
    up_to: tuple[float, ...]
    """The same of the curves up to ``steps``, which is what compares with ``then``."""
    trials: tuple[int, ...]
    """Of the recheck, also those without a value."""
    troubles: tuple[str, ...]
    """Why those that ended without a value did."""
    parts_at: int | None
    """From this step to its end its curve of then lies outside of what seed noise explains of those of now;
    None: it does not, or nothing is known of the noise."""
    p: float
    """At most so probable is such a change from then to now by seed noise and the luck of having been chosen; NaN
    where that cannot be told."""

    @property
    def mean(self) -> float:
        """Its mean value now; NaN where there is none."""
        return retest.mean(self.now)

    @property
    def sd(self) -> float:
        """The standard deviation of its values now; NaN where there are fewer than two."""
        return retest.pooled([np.array(self.now)]).sd

    @property
    def change(self) -> float:
        """By how much its value up to ``steps`` is greater now than then."""
        return retest.mean(self.up_to) - self.then


@dataclass(frozen=True, slots=True, kw_only=True)
class Fresh:
    """One fresh setting, trained once."""

    trial: int
    """Of the recheck."""
    params: Params
    """Those that vary."""
    value: float
    p: float
    """So probable is it that the best of all fresh ones lies so far above the choice, where all are as good."""


@dataclass(frozen=True, kw_only=True)
class Recheck:
    """What a recheck found; as text it says that in words.

    All p are NaN where nothing is known of the seed noise, since no setting has two values."""

    path: Place
    """The folder of the recheck, a sweep like any other."""
    of: Place
    """The sweep that is rechecked."""
    metric: str
    maximize: bool
    among: int
    """Of so many trials the settings were the best."""
    settings: tuple[Setting, ...]
    """As they were ranked then; the first one is the choice."""
    fresh: tuple[Fresh, ...]
    """Those that have a value."""
    fresh_failed: int = 0
    """How many fresh settings ended without a value."""
    unfinished: int
    """Trials of the recheck that have not ended yet."""
    cut_short: str | None
    """Why the recheck ended before all its trials did, for one a fault that repeated; None: it did not."""
    untried: tuple[int, str] | None = None
    """The trial that should have been the choice, and why it could not be trained; None: it is the choice."""
    changes: tuple[str, ...]
    """What differs between the two declarations, a line each: code, space, versions."""
    noise: Noise
    """Of whole curves."""
    noise_up_to: Noise
    """Of curves up to where each setting was trained then."""

    @property
    def choice(self) -> Setting:
        """The setting that was best then, of those that could be trained again."""
        return self.settings[0]

    @property
    def interval(self) -> tuple[float, float]:
        """Within which the true value of the choice lies now, with 95% confidence (Student's t)."""
        half = retest.half_width(self.noise, len(self.choice.now))
        return self.choice.mean - half, self.choice.mean + half

    # --- then and now ---------------------------------------------------------------------------------------

    @cached_property
    def p_all(self) -> float:
        """At most so probable is the mean change of all settings by noise and luck; NaN where fewer than two have
        a value."""
        known = [one for one in self.settings if one.up_to]
        if len(known) < 2:
            return math.nan
        changes = np.array([self.better(one.change) for one in known])
        seeds = [len(one.up_to) for one in known]
        return retest.all_move(changes, self.noise_up_to, of=self.among, seeds=seeds)

    @cached_property
    def p_values(self) -> float:
        """At most so probable are the changes from then to now by noise and luck: that of the choice, or that of
        all settings together, whichever says more; times two for this where there are both."""
        found = [p for p in (self.choice.p, self.p_all) if not math.isnan(p)]
        return min(1.0, len(found) * min(found)) if found else math.nan

    @cached_property
    def values(self) -> Values:
        """Whether the settings do as they did: ``same``, ``worse`` or ``better`` now; ``unclear`` where nothing
        is known of the noise, or the choice has no value."""
        if math.isnan(self.p_values):
            return "unclear"
        if self.p_values >= ALARMS:
            return "same"
        alone = math.isnan(self.p_all) or self.choice.p <= self.p_all
        changes = [self.better(one.change) for one in ((self.choice,) if alone else self.settings) if one.up_to]
        return "better" if np.mean(changes) > 0 else "worse"

    # --- now: the choice and the others -----------------------------------------------------------------------

    @cached_property
    def rival(self) -> Setting | None:
        """The best now of the other settings; None: there is none."""
        others = [one for one in self.settings[1:] if one.now]
        return max(others, key=lambda one: self.better(one.mean)) if others else None

    @cached_property
    def p_rival(self) -> float:
        """So probable is it that the best of the others lies so far above the choice, where all are as good."""
        if self.rival is None or not self.choice.now:
            return math.nan
        others = [len(one.now) for one in self.settings[1:] if one.now]
        ahead = self.better(self.rival.mean - self.choice.mean)
        return retest.exceeds(ahead, self.noise, rivals=others, own=len(self.choice.now))

    @cached_property
    def best_fresh(self) -> Fresh | None:
        """The best of the fresh settings."""
        return max(self.fresh, key=lambda one: self.better(one.value)) if self.fresh else None

    @property
    def level(self) -> float:
        """Below this, `p_rival` or a `Fresh.p` says that the choice is beaten: both share the false alarms."""
        return ALARMS / max(1, (self.rival is not None) + bool(self.fresh))

    @cached_property
    def beat(self) -> int:
        """How many fresh settings lie further above the choice than noise explains."""
        return sum(one.p < self.level for one in self.fresh)

    @cached_property
    def by_search_alone(self) -> float:
        """About so probable it is that so many fresh settings beat the best of all that were tried, had nothing
        changed."""
        return retest.by_search_alone(self.beat, fresh=len(self.fresh), of=self.among)

    @cached_property
    def outcome(self) -> Outcome:
        """Whether the choice holds. ``holds``: nothing beats it. ``beaten``: another setting does, or fresh ones
        do, but no more than more search brings without any change. ``moved``: so many fresh ones do that this is
        no explanation. ``fails``: it does not train any more. ``alone``: there is nothing beside it. ``unclear``:
        it has no value yet, or nothing is known of the noise. ``untried``: nothing beats it, but it is only the
        best of those that could be trained again."""
        if not self.choice.now:
            over = self.cut_short is not None or len(self.choice.troubles) == len(self.choice.trials)
            return "fails" if over and self.choice.troubles else "unclear"
        if not self.noise.known:
            return "unclear"
        if self.rival is None and not self.fresh:
            return "alone"
        if self.beat and self.by_search_alone < ALARMS:
            return "moved"
        if self.beat or self.p_rival < self.level:
            return "beaten"
        return "holds" if self.untried is None else "untried"

    @cached_property
    def order(self) -> tuple[float, float]:
        """Kendall's tau between the settings' order then and now, and its p."""
        known = [one for one in self.settings if one.now]
        return retest.order_kept(np.array([one.then for one in known]), np.array([one.mean for one in known]))

    @cached_property
    def p_differ(self) -> float:
        """So probable is it that the settings' means differ so much now, where all are equally good (F test)."""
        return retest.differ([np.array(one.now) for one in self.settings if one.now])

    @cached_property
    def p_uneven(self) -> float:
        """At most so probable is it that one setting's values scatter so much more than the others', where all
        have the same noise, which all other p assume."""
        return retest.uneven([np.array(one.now) for one in self.settings])

    # --- for others -------------------------------------------------------------------------------------------

    def better(self, difference: float) -> float:
        """A difference of values, turned so that more is better."""
        return difference if self.maximize else -difference

    def frame(self) -> pd.DataFrame:
        """One row a setting, index ``trial`` (of the sweep that is rechecked), in the order of then.

        Columns ``then``, ``steps``, ``now`` (the mean), ``sd``, ``low``, ``high``, ``seeds`` (with a value),
        ``failed``, ``change`` (up to ``steps``), ``p``, ``parts_at`` (dtype Int64), ``params.<name>``.
        """
        import pandas as pd

        rows = [
            {
                "then": one.then,
                "steps": one.steps,
                "now": one.mean,
                "sd": one.sd,
                "low": min(one.now, default=math.nan),
                "high": max(one.now, default=math.nan),
                "seeds": len(one.now),
                "failed": len(one.troubles),
                "change": one.change,
                "p": one.p,
                "parts_at": one.parts_at,
                **{f"params.{name}": value for name, value in one.params.items()},
            }
            for one in self.settings
        ]
        index = pd.Index([one.trial for one in self.settings], name="trial")
        return pd.DataFrame(rows, index=index).astype({"parts_at": "Int64"})

    def __str__(self) -> str:
        from caviar.analysis.recheck_words import told

        return "\n".join(told(self))

    def to_dict(self) -> dict[str, Any]:
        """All of it as JSON has it, but for values that are not finite."""
        from caviar.analysis.recheck_words import as_dict

        return as_dict(self)

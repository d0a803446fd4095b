"""What is known of which hyperparameters mattered."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    import pandas as pd

Method = Literal["auto", "anova", "ped-anova", "fanova"]

LEVEL = 0.9
"""How often an interval should hold the truth."""

NEGLIGIBLE = 0.05
"""A param whose interval ends below this share did not matter."""


LITTLE = 0.02
"""A pair below this share is not worth a word: ranks of a plain sum act together by so much."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Importance:
    """Which hyperparameters decided how the trials did.

    An importance is a share, from 0 to 1, of the differences between the trials' scores, which are ranks: 0.71
    says that 71% of their variance goes with this param alone. ``low`` to ``high`` holds the truth 9 times in 10.
    """

    params: pd.DataFrame
    """One row a param that varied, index ``param``, the most important first. Columns ``importance``, ``low``,
    ``high``, ``trials`` (those that have the param), ``noise`` (what would still be found by chance among params
    without influence, 1 time in 20), ``verdict`` (``matters``, ``only together``: it acts through a pair alone,
    ``does not matter``, ``cannot be told``), ``values`` (what was tried, as text) and ``where`` (the condition
    under which the param exists, empty for most). NaN where too few trials have the param."""
    pairs: pd.DataFrame
    """One row a pair, what the two decide together beyond what each decides alone, the most important first.
    Columns ``first``, ``second``, ``importance``, ``low``, ``high``, ``trials``, ``noise`` and ``verdict``
    (``matters``, ``does not matter``, ``cannot be told``). Always by ``anova``."""
    method: str
    """``anova``, ``ped-anova`` or ``fanova``."""
    trials: int
    """The trials that it rests on."""
    stage: int
    """The stage that they are of."""
    metric: str
    later: Importance | None = None
    """The same for the last stage, where several were asked about: what matters where it is good."""

    def summary(self) -> str:
        """In plain words: what mattered, what acted together, what did not matter, and what cannot be told."""
        from caviar.analysis.importance.words import summary

        return summary(self)

    def to_dict(self) -> dict[str, Any]:
        """What JSON can say of it: ``params`` and ``pairs`` are lists of objects; NaN is None."""
        return {
            "metric": self.metric,
            "method": self.method,
            "stage": self.stage,
            "trials": self.trials,
            "params": _rows(self.params.reset_index()),
            "pairs": _rows(self.pairs),
            "later": None if self.later is None else self.later.to_dict(),
        }

    def __repr__(self) -> str:
        return f"Importance by {self.method} of {self.trials:,} trials: {self.summary()}"


def _rows(frame: pd.DataFrame) -> list[dict[str, Any]]:
    rows = frame.astype(object).to_dict("records")
    return [{str(name): None if value != value else value for name, value in row.items()} for row in rows]

"""One param over the trials that have it, in groups whose means can be compared."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import rankdata

from caviar.messages import Floats, Ints
from caviar.trial import Params

MIN_TRIALS = 10
"""Of fewer trials nothing is said."""
MAX_GROUPS = 40
MAX_GROUPS_OF_PAIRS = 12


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Column:
    """The values of one param that varied."""

    name: str
    rows: Ints
    """Which of the trials have it."""
    code: Ints
    """The place of each value among ``values``."""
    values: Sequence[object]
    """All different values; numbers rise."""
    ordered: bool
    """Whether they are numbers."""

    def shown(self) -> str:
        """What was tried, as text: ``0.0001 to 1``, or ``sgd, adam``."""
        if self.ordered:
            low, high = (
                f"{each:.3g}" if isinstance(each, float) else str(each)
                for each in self.values[:: len(self.values) - 1]
            )
            return f"{low} to {high}"
        texts = ", ".join(map(str, self.values[:5]))
        return texts if len(self.values) <= 5 else f"{texts} and {len(self.values) - 5} more"

    def unit(self) -> Floats:
        """Each value by its rank, from 0 to 1: uniform, whatever the scale and the range it was sampled from."""
        rank: Floats = rankdata(self.code)
        return (rank - 0.5) / len(self.code)

    def among(self, kept: Ints) -> Column:
        """The same in some of the trials only, given by their places, which rise."""
        here = np.isin(self.rows, kept, assume_unique=True)
        used, code = np.unique(self.code[here], return_inverse=True)
        return Column(
            name=self.name,
            rows=np.searchsorted(kept, self.rows[here]),
            code=code,
            values=[self.values[place] for place in used.tolist()],
            ordered=self.ordered,
        )

    def groups(self, most: int) -> Ints:
        """The group of each trial, from 0. Each value is its own group; more than ``most`` different numbers are
        cut into so many groups of about as many trials, in which the scale plays no part."""
        if len(self.values) <= most or not self.ordered:
            return self.code
        cut = np.minimum((self.unit() * most).astype(np.int64), most - 1)
        return np.unique(cut, return_inverse=True)[1]


def columns_of(params: Sequence[Params], names: Iterable[str]) -> list[Column]:
    """The params that take at least two values in these trials."""
    found = []
    for name in names:
        rows = [row for row, each in enumerate(params) if name in each]
        column = _column(name, np.array(rows, np.int64), [params[row][name] for row in rows])
        if len(column.values) > 1:
            found.append(column)
    return found


def _column(name: str, rows: Ints, values: list[object]) -> Column:
    if all(isinstance(value, int | float) and not isinstance(value, bool) for value in values):
        numbers, code = np.unique(np.array(values, np.float64), return_inverse=True)
        whole = all(isinstance(value, int) for value in values)
        shown = [int(number) if whole else float(number) for number in numbers]
        return Column(name=name, rows=rows, code=code, values=shown, ordered=True)
    # JSON tells true from 1, Python does not
    place: dict[tuple[type, object], int] = {}
    codes = [place.setdefault((type(value), value), len(place)) for value in values]
    return Column(
        name=name, rows=rows, code=np.array(codes, np.int64), values=[value for _, value in place], ordered=False
    )


def groups_for(trials: int) -> int:
    """How many groups so many trials allow: enough to follow a narrow valley, few enough to have good means."""
    return int(np.clip(round(2 * trials ** (1 / 3)), 2, MAX_GROUPS))


def groups_of_pairs_for(trials: int) -> int:
    """The same along each of two params, whose groups make a table."""
    return int(np.clip(round(1.5 * trials ** (1 / 4)), 2, MAX_GROUPS_OF_PAIRS))

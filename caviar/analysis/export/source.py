"""What is exported: the rows of all trials, or of some."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from caviar.analysis.reports import ReportColumns
from caviar.analysis.trials import MISSING, EventColumns, TrialColumns
from caviar.messages import Ints
from caviar.store.place import Place

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, slots=True)
class Source:
    """The tables of a sweep, and which of its trials are wanted."""

    path: Place
    status: str
    metric: str
    maximize: bool
    declaration: Mapping[str, Any]
    frame: pd.DataFrame
    """Of ``Result.trials``: one row each of these trials."""
    columns: TrialColumns
    """Of all trials."""
    reports: ReportColumns
    """Of these trials; of their main lines, unless ``with_attempt``."""
    best: ReportColumns
    """One row each of those that have a finite value: the best."""
    events: EventColumns
    event_rows: Ints
    """Those of these trials, and those of no trial."""
    with_attempt: bool

    @property
    def trial(self) -> Ints:
        """The trials, by number."""
        numbers: Ints = self.frame.index.to_numpy()
        return numbers

    @property
    def of_trials(self) -> int:
        """How many the sweep has."""
        return len(self.columns)

    @property
    def names(self) -> Sequence[str]:
        """The metrics, the sweep's own first."""
        return self.reports.names or (self.metric,)

    def only(self, wanted: Ints) -> Source:
        """The same of some trials."""
        reports, best, events = self.reports, self.best, self.events
        of = events.trial[self.event_rows]
        return Source(
            self.path,
            self.status,
            self.metric,
            self.maximize,
            self.declaration,
            self.frame.loc[np.isin(self.trial, wanted)],
            self.columns,
            reports.take(np.isin(reports.trial, wanted)),
            best.take(np.isin(best.trial, wanted)),
            events,
            self.event_rows[np.isin(of, wanted) | (of == MISSING)],
            self.with_attempt,
        )


def text(value: Any) -> str:
    """A value as text that any file can hold: a text that is not Unicode has its odd characters told."""
    return str(value).encode("utf-8", "backslashreplace").decode()

"""The events table as one row a trial."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from caviar.analysis.reports import NOWHERE, Bools, Restarts, dictionary
from caviar.controller import BY_HAND
from caviar.messages import Ints
from caviar.trial import Params, TrialState

MISSING = -1
"""Stands for a missing trial, attempt or step in an integer column."""

NO_TIME = np.iinfo(np.int64).min
"""NaT as an integer."""


class EventColumns:
    """The events table by kind, in the order of ``seq``. The JSON of a row is parsed only when asked for."""

    def __init__(self, table: pa.Table) -> None:
        self.seq: Ints = table.column("seq").to_numpy()
        if (self.seq[1:] < self.seq[:-1]).any():
            table = table.take(np.argsort(self.seq))
            self.seq = table.column("seq").to_numpy()
        self.kinds, self.code = dictionary(table.column("kind"))
        self.time_us: Ints = table.column("time").cast(pa.int64()).to_numpy()
        self.trial, self.attempt, self.step = (
            pc.fill_null(table.column(name).cast(pa.int64()), MISSING).to_numpy()
            for name in ("trial", "attempt", "step")
        )
        self._data = table.column("data")

    def __len__(self) -> int:
        return len(self.seq)

    def rows(self, *kinds: str) -> Ints:
        """Where the events of these kinds are."""
        wanted = np.array([kind in kinds for kind in self.kinds], bool)
        return np.flatnonzero(wanted[self.code])

    def text(self, rows: Ints) -> list[str]:
        """The data of some rows, as JSON text."""
        texts: list[str] = self._data.take(pa.array(rows)).to_pylist()
        return texts

    def data(self, rows: Ints) -> list[dict[str, Any]]:
        """The data of some rows, parsed."""
        # one call of the parser for all rows costs a third of one call for each
        parsed: list[dict[str, Any]] = json.loads(f"[{','.join(self.text(rows))}]")
        return parsed


@dataclass(frozen=True, slots=True)
class TrialColumns:
    """One row a sampled trial, sorted by number."""

    trial: Ints
    stage: Ints
    params: Sequence[Params]
    status: npt.NDArray[np.object_]
    reason: npt.NDArray[np.object_]
    """Why it ended so; NaN where nothing was said."""
    attempts: Ints
    start_us: Ints
    end_us: Ints
    """Microseconds since the epoch; `NO_TIME` where it has not come to that."""
    by_hand: Bools
    restarts: Restarts

    def __len__(self) -> int:
        return len(self.trial)

    def places(self, trial: Ints) -> Ints:
        """The rows of these trials, all of which must have been sampled."""
        return np.searchsorted(self.trial, trial)

    def known(self, trial: Ints) -> Bools:
        """Which of these trials were sampled, as far as that is recorded: all, unless events were lost."""
        return _known(self.trial, trial)

    @classmethod
    def of(cls, events: EventColumns, *, alive: bool) -> TrialColumns:
        """Read the events; in a sweep that no driver has in hand (``alive`` false) no trial runs: those cut off
        are pending, as they will be when it is resumed."""
        rows = events.rows("trial_sampled")
        trial, first = np.unique(events.trial[rows], return_index=True)
        sampled = events.data(rows[first])
        count = len(trial)

        starts = _of(events, events.rows("trial_started"), trial)
        restarts = Restarts.of(events.trial[starts], events.attempt[starts], restored_steps(events, starts))
        place = np.searchsorted(trial, events.trial[starts])
        start_us = np.full(count, NO_TIME)
        start_us[place[::-1]] = events.time_us[starts][::-1]  # the first start of each is written last

        status: npt.NDArray[np.object_] = np.full(count, TrialState.PENDING.value, object)
        under_way = _of(events, running(events), trial)
        status[np.searchsorted(trial, events.trial[under_way])] = TrialState.RUNNING.value
        if not alive:
            status[:] = TrialState.PENDING.value

        ends = _of(events, lasting_ends(events), trial)
        ended = events.data(ends)
        place_ended = np.searchsorted(trial, events.trial[ends])
        reason: npt.NDArray[np.object_] = np.full(count, np.nan, object)
        end_us = np.full(count, NO_TIME)
        status[place_ended] = [data["status"] for data in ended]
        reason[place_ended] = [np.nan if (why := data.get("reason")) is None else why for data in ended]
        end_us[place_ended] = events.time_us[ends]

        orders = events.rows("stop_ordered")
        orders = orders[events.trial[orders] != MISSING]
        by_person = np.array([data["reason"] == BY_HAND for data in events.data(orders)], bool)
        return cls(
            trial=trial,
            stage=np.array([data["stage"] for data in sampled], np.int64),
            params=[data["params"] for data in sampled],
            status=status,
            reason=reason,
            attempts=np.bincount(place, minlength=count).astype(np.int64),
            start_us=start_us,
            end_us=end_us,
            by_hand=np.isin(trial, events.trial[orders[by_person]]),
            restarts=restarts,
        )


def _of(events: EventColumns, rows: Ints, trials: Ints) -> Ints:
    """Those of some rows that are of these trials."""
    return rows[_known(trials, events.trial[rows])]


def _known(trials: Ints, trial: Ints) -> Bools:
    if not len(trials):
        return np.zeros(len(trial), np.bool_)
    place = np.minimum(np.searchsorted(trials, trial), len(trials) - 1)
    return np.asarray(trials[place] == trial)


def lasting_ends(events: EventColumns) -> Ints:
    """The rows of ends after which their trial was not reopened."""
    rows = events.rows("trial_ended", "trial_reopened")
    _, last = np.unique(events.trial[rows][::-1], return_index=True)
    return np.intersect1d(rows[len(rows) - 1 - last], events.rows("trial_ended"), assume_unique=True)


def restored_steps(events: EventColumns, starts: Ints) -> Ints:
    """The steps that these ``trial_started`` rows began from, `NOWHERE` for a fresh start."""
    steps = [data.get("restored") for data in events.data(starts)]
    return np.array([NOWHERE if step is None else step for step in steps], np.int64)


MOVES_OF_TRIALS = ("trial_started", "attempt_failed", "attempt_lost", "trial_ended", "trial_reopened")
"""The events after which a trial stands elsewhere."""

MOVES_OF_DRIVERS = ("driver_started", "driver_stopped")
"""The events before which nothing runs that goes on after them."""


def running(events: EventColumns) -> Ints:
    """The rows of the starts of attempts that are under way: nothing ended them, nor did their driver go."""
    moves = events.rows(*MOVES_OF_TRIALS)
    drivers = events.rows(*MOVES_OF_DRIVERS)
    if len(drivers):
        moves = moves[moves > drivers[-1]]
    _, last = np.unique(events.trial[moves][::-1], return_index=True)
    moves = moves[len(moves) - 1 - last]
    return np.intersect1d(moves, events.rows("trial_started"), assume_unique=True)

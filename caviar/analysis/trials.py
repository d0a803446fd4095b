"""The events table as one row a trial."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from caviar.analysis.reports import NOWHERE, Bools, Restarts, dictionary
from caviar.errors import FolderError
from caviar.messages import BY_HAND, SPARE, EventsLost, Ints
from caviar.store.event_data import COLUMNS_OF, EventDataError, field, parse_event, parse_rows
from caviar.trial import Params, TrialState

MISSING = -1
"""Stands for a missing trial, attempt or step in an integer column."""

NO_TIME = np.iinfo(np.int64).min
"""NaT as an integer."""


class EventColumns:
    """The events table by kind, in the order of ``seq``. The JSON of a row is parsed, and checked, only when asked
    for. ``where``: the sweep folder, for errors."""

    def __init__(self, table: pa.Table, where: str = "events") -> None:
        self.where = where
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

    def saying(self, rows: Ints, text: str) -> Ints:
        """Those of some rows whose data, as JSON text, have this text in them."""
        found: Bools = pc.match_substring(self._data.take(pa.array(rows)), text).to_numpy()
        there: Ints = rows[found]
        return there

    def data(self, rows: Ints) -> list[dict[str, Any]]:
        """The data of some rows, parsed: objects, unless it raises `FolderError`."""
        try:
            return parse_rows(self.text(rows))
        except EventDataError as error:
            raise self.damaged(int(rows[error.row]), str(error)) from None

    def fields(self, rows: Ints, kind: str, *names: str) -> Iterator[list[Any]]:
        """Some fields of the data of some rows, all of one kind, each as a column; None where one is missing. What
        an event of this kind cannot hold raises `FolderError`."""
        data = self.data(rows)
        for name in names:
            try:
                yield field(data, kind, name)
            except EventDataError as error:
                raise self.damaged(int(rows[error.row]), str(error)) from None

    def event(self, row: int) -> dict[str, Any]:
        """The data of one row, whole and as its kind wants them; else it raises `FolderError`."""
        try:
            return parse_event(self.text(np.array([row]))[0], self.kinds[self.code[row]])
        except EventDataError as error:
            raise self.damaged(row, str(error)) from None

    def damaged(self, row: int, reason: str) -> FolderError:
        """The error for an event that cannot be."""
        return FolderError(f"{self.where}: event {self.seq[row]}, {self.kinds[self.code[row]]!r:.80}: {reason}")

    @property
    def gaps(self) -> bool:
        """Whether a repair has left out events that were lost."""
        return bool(len(self.rows(EventsLost.kind)))

    def check_sampled(self, known: Callable[[Ints], Bools]) -> None:
        """Raise `FolderError` where an event is of a trial that is not known: that was never sampled. Where events
        were lost nobody can tell."""
        if self.gaps:
            return
        rows = self.rows(*COLUMNS_OF["trial"])
        unknown = np.flatnonzero(~known(self.trial[rows]))
        if len(unknown):
            row = int(rows[unknown[0]])
            raise self.damaged(row, f"it is of trial {self.trial[row]}, which was never sampled")


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
    spared: Bools
    """Which the scheduler would have stopped, and let go on."""
    restarts: Restarts
    where: str
    """The sweep folder, for errors."""
    gaps: bool
    """Whether events were lost."""

    def __len__(self) -> int:
        return len(self.trial)

    def places(self, trial: Ints) -> Ints:
        """The rows of these trials, which are known."""
        return np.searchsorted(self.trial, trial)

    def known(self, trial: Ints) -> Bools:
        """Which of these trials were sampled, as far as that is recorded: all, unless events were lost. Where none
        were, one that was never sampled raises `FolderError`."""
        found = _among(trial, self.trial)
        if not self.gaps and not found.all():
            raise FolderError(
                f"{self.where}: has reports of trial {trial[np.argmin(found)]}, which was never sampled"
            )
        return found

    @classmethod
    def of(cls, events: EventColumns, *, alive: bool) -> TrialColumns:
        """Read the events; in a sweep that no driver has in hand (``alive`` false) no trial runs: those cut off
        are pending, as they will be when it is resumed."""
        rows = events.rows("trial_sampled")
        trial, first = np.unique(events.trial[rows], return_index=True)
        events.check_sampled(lambda trials: _among(trials, trial))
        stage, params = events.fields(rows[first], "trial_sampled", "stage", "params")
        count = len(trial)

        starts = _of(events, events.rows("trial_started"), trial)
        restarts = Restarts.of(
            *beginnings(events, _of(events, events.rows("trial_started", "rolled_back"), trial))
        )
        place = np.searchsorted(trial, events.trial[starts])
        start_us = np.full(count, NO_TIME)
        start_us[place[::-1]] = events.time_us[starts][::-1]  # the first start of each is written last

        status: npt.NDArray[np.object_] = np.full(count, TrialState.PENDING.value, object)
        for state, rows in zip((TrialState.RUNNING, TrialState.PAUSED), under_way(events), strict=True):
            status[np.searchsorted(trial, events.trial[_of(events, rows, trial)])] = state.value
        if not alive:
            status[:] = TrialState.PENDING.value

        ends = _of(events, lasting_ends(events), trial)
        how, why = events.fields(ends, "trial_ended", "status", "reason")
        place_ended = np.searchsorted(trial, events.trial[ends])
        reason: npt.NDArray[np.object_] = np.full(count, np.nan, object)
        end_us = np.full(count, NO_TIME)
        status[place_ended] = how
        reason[place_ended] = [np.nan if each is None else each for each in why]
        end_us[place_ended] = events.time_us[ends]

        return cls(
            trial=trial,
            stage=np.array(stage, np.int64),
            params=params,
            status=status,
            reason=reason,
            attempts=np.bincount(place, minlength=count).astype(np.int64),
            start_us=start_us,
            end_us=end_us,
            by_hand=np.isin(trial, events.trial[by_person(events)]),
            spared=np.isin(trial, events.trial[_spared(events)]),
            restarts=restarts,
            where=events.where,
            gaps=events.gaps,
        )


def _among(trials: Ints, sampled: Ints) -> Bools:
    """Which of the trials are among those sampled, which are sorted and differ."""
    if not len(sampled):
        return np.zeros(len(trials), bool)
    if sampled[0] == 0 and sampled[-1] == len(sampled) - 1:  # all numbers, as it should be
        known: Bools = (trials >= 0) & (trials < len(sampled))
        return known
    found: Bools = sampled[np.minimum(np.searchsorted(sampled, trials), len(sampled) - 1)] == trials
    return found


def _of(events: EventColumns, rows: Ints, trials: Ints) -> Ints:
    """Those of some rows that are of these trials."""
    return rows[_among(events.trial[rows], trials)]


def lasting_ends(events: EventColumns) -> Ints:
    """The rows of ends after which their trial was not reopened."""
    rows = events.rows("trial_ended", "trial_reopened")
    _, last = np.unique(events.trial[rows][::-1], return_index=True)
    return np.intersect1d(rows[len(rows) - 1 - last], events.rows("trial_ended"), assume_unique=True)


def by_person(events: EventColumns) -> Ints:
    """The rows of what people did to single trials."""
    found = [events.rows("paused")]
    for kind, name in (("stop_ordered", "reason"), ("adjusted", "by"), ("rolled_back", "by")):
        rows = events.rows(kind)
        rows = rows[events.trial[rows] != MISSING]
        [who] = events.fields(rows, kind, name)
        found.append(rows[np.array([each == BY_HAND for each in who], bool)])
    return np.concatenate(found)


def _spared(events: EventColumns) -> Ints:
    """The rows of decisions that spared a trial. Only those are parsed that have the word in their text."""
    rows = events.saying(events.rows("decision"), f'"{SPARE}"')
    [decision] = events.fields(rows, "decision", "decision")
    spared: Ints = rows[np.array([each == SPARE for each in decision], bool)]
    return spared


def beginnings(events: EventColumns, rows: Ints) -> tuple[Ints, Ints, Ints]:
    """Where attempts began, of these rows of ``trial_started`` and ``rolled_back``, whose attempt is yet to begin:
    trial, attempt, and the step that it began from, `NOWHERE` for a fresh start. An attempt may be in it twice."""
    is_start = events.code[rows] == _code(events, "trial_started")
    step = events.step[rows].copy()
    [restored] = events.fields(rows[is_start], "trial_started", "restored")
    step[is_start] = [NOWHERE if each is None else each for each in restored]
    return events.trial[rows], events.attempt[rows], step


def _code(events: EventColumns, kind: str) -> int:
    return events.kinds.index(kind) if kind in events.kinds else MISSING


MOVES_OF_TRIALS = (
    "trial_started", "attempt_failed", "attempt_lost", "rolled_back", "adopted", "paused", "unpaused",
    "trial_ended", "trial_reopened",
)  # fmt: skip
"""The events after which a trial stands elsewhere."""

MOVES_OF_DRIVERS = ("driver_started", "driver_stopped")
"""The events before which nothing runs that goes on after them."""


def under_way(events: EventColumns) -> tuple[Ints, Ints]:
    """The rows of the last moves of trials that run, and of those that are paused: nothing ended their attempt,
    and their driver did not go."""
    moves = events.rows(*MOVES_OF_TRIALS)
    drivers = events.rows(*MOVES_OF_DRIVERS)
    if len(drivers):
        moves = moves[moves > drivers[-1]]
    _, last = np.unique(events.trial[moves][::-1], return_index=True)
    moves = moves[len(moves) - 1 - last]
    running, paused = events.rows("trial_started", "unpaused"), events.rows("paused")
    return (
        np.intersect1d(moves, running, assume_unique=True),
        np.intersect1d(moves, paused, assume_unique=True),
    )

"""When each worker trained what, from the recorded events."""

from __future__ import annotations

import re
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from caviar.analysis.plots.elapsed import Terms
from caviar.analysis.trials import EventColumns
from caviar.messages import Floats, Ints

ENDS = ("completed", "stopped", "failed", "lost", "running")
"""How an attempt ended: as its trial did; failed, and another one came; rolled back, which counts as stopped; lost
with its worker or its driver; or it is under way."""

_ENDS_OF = {"attempt_failed": "failed", "attempt_lost": "lost", "rolled_back": "stopped", "adopted": "stopped"}


@dataclass(frozen=True, slots=True)
class Attempts:
    """One row an attempt that a worker began, sorted by worker and begin."""

    trial: Ints
    attempt: Ints
    worker: Ints
    """Counted from 0, by name."""
    start_s: Floats
    stop_s: Floats
    """Seconds that the sweep had been in hand."""
    end: Ints
    """A place in `ENDS`."""

    def __len__(self) -> int:
        return len(self.trial)

    def take(self, rows: Any) -> Attempts:
        """Some of them."""
        return Attempts(*(getattr(self, field.name)[rows] for field in fields(self)))


@dataclass(frozen=True, slots=True)
class Shifts:
    """The work of all workers."""

    names: list[str]
    attempts: Attempts
    busy_s: Floats
    """Of each worker, the time in which it trained something, however much at once."""
    present_s: Floats
    """Of each worker, the time from its first attempt to its loss or its driver's end, of all drivers."""
    total_s: float

    @property
    def shares(self) -> Floats:
        """Of each worker, the part of its time in which it trained."""
        return self.busy_s / np.maximum(self.present_s, 1e-9)

    @property
    def share(self) -> float:
        """The same of all workers together."""
        return float(self.busy_s.sum() / max(self.present_s.sum(), 1e-9))

    @classmethod
    def of(cls, events: EventColumns, terms: Terms, *, running: bool) -> Shifts:
        """``running``: whether what has not ended is under way; else it was lost."""
        starts = events.rows("trial_started")
        (workers,) = events.fields(starts, "trial_started", "worker")
        names = sorted(set(workers), key=_natural)
        place = {name: number for number, name in enumerate(names)}
        worker = np.array([place[name] for name in workers], np.int64)
        stop_us, end = _ends(events, starts, int(terms.stop[-1]) if len(terms.stop) else 0, running=running)
        start_s = terms.seconds(events.time_us[starts])
        over_s = terms.ends_s[terms.of_seconds(start_s)]  # no attempt outlives its driver
        stop_s = np.clip(terms.seconds(stop_us), start_s, np.maximum(over_s, start_s))
        attempts = Attempts(events.trial[starts], events.attempt[starts], worker, start_s, stop_s, end)
        attempts = attempts.take(np.lexsort((start_s, worker)))
        lost = events.rows("worker_lost")
        (gone,) = events.fields(lost, "worker_lost", "worker")
        lost_s = terms.seconds(events.time_us[lost]).tolist()
        losses = [(place[name], at) for name, at in zip(gone, lost_s, strict=True) if name in place]
        busy, present = _busy(attempts, len(names)), _present(attempts, terms, losses, len(names))
        return cls(names, attempts, busy, np.maximum(present, busy), terms.total_s)


def _ends(events: EventColumns, starts: Ints, last_us: int, *, running: bool) -> tuple[Ints, Ints]:
    """When and how each of these attempts ended: with the next thing that befell its trial."""
    rows = np.sort(np.concatenate([starts, events.rows("trial_ended", *_ENDS_OF)]))
    rows = rows[np.argsort(events.trial[rows], kind="stable")]
    here = np.flatnonzero(np.isin(rows, starts))
    following = np.r_[rows[1:], 0][here]
    ended = np.r_[events.trial[rows][1:] == events.trial[rows][:-1], False][here] if len(rows) else here > 0
    end_of = np.full(len(events), ENDS.index("lost"))  # where the next thing is another attempt
    for kind, end in _ENDS_OF.items():
        end_of[events.rows(kind)] = ENDS.index(end)
    finals = events.rows("trial_ended")
    (statuses,) = events.fields(finals, "trial_ended", "status")
    end_of[finals] = [ENDS.index(status) for status in statuses]
    open_end = ENDS.index("running" if running else "lost")
    order = np.argsort(rows[here])  # `starts` are in the order of rows
    stop_us = np.where(ended, events.time_us[following], last_us)
    return stop_us[order], np.where(ended, end_of[following], open_end)[order]


def _busy(attempts: Attempts, workers: int) -> Floats:
    """The length of the union of the attempts of each worker."""
    if not len(attempts):
        return np.zeros(workers)
    band = attempts.worker * (float(attempts.stop_s.max()) + 1.0)  # workers one after the other on one line
    start, stop = attempts.start_s + band, attempts.stop_s + band
    before = np.r_[-np.inf, np.maximum.accumulate(stop)[:-1]]
    own = np.maximum(stop - np.maximum(start, before), 0.0)
    return np.bincount(attempts.worker, own, minlength=workers).astype(np.float64)


def _present(attempts: Attempts, terms: Terms, losses: list[tuple[int, float]], workers: int) -> Floats:
    """How long each worker was there, over the terms of all drivers."""
    ends, term = terms.ends_s, terms.of_seconds(attempts.start_s)
    _, first = np.unique(attempts.worker * max(len(ends), 1) + term, return_index=True)
    present = np.zeros(workers)
    for row in first.tolist():  # one for each worker and term
        worker, begin, end = int(attempts.worker[row]), float(attempts.start_s[row]), float(ends[term[row]])
        mine = (attempts.worker == worker) & (term == term[row])
        last = float(attempts.start_s[mine].max())
        end = min((at for gone, at in losses if gone == worker and last <= at <= end), default=end)
        present[worker] += max(end - begin, 0.0)
    return present


def merged(attempts: Attempts, bins: int, total_s: float) -> Attempts:
    """The same in so many equal parts of the time, each with what took most of it, neighbours drawn together;
    trial and attempt are -1."""
    size, states = total_s / bins or 1.0, len(ENDS)
    workers = int(attempts.worker.max(initial=-1)) + 1
    line = attempts.worker * states + attempts.end
    covered = _ramps(attempts.start_s, line, workers * states, bins, size)
    covered -= _ramps(attempts.stop_s, line, workers * states, bins, size)
    covered = covered.reshape(workers, states, bins)
    idle = size - covered.sum(axis=1, keepdims=True)
    most = np.concatenate([covered, idle], axis=1).argmax(axis=1)
    edge = np.ones((workers, bins), bool)
    edge[:, 1:] = most[:, 1:] != most[:, :-1]
    worker, start = np.nonzero(edge)
    stop = np.r_[start[1:], bins]
    stop[np.r_[worker[1:] != worker[:-1], True]] = bins
    end = most[worker, start]
    none = np.full(len(worker), -1)
    whole = Attempts(none, none, worker, (start * size).astype(np.float64), (stop * size).astype(np.float64), end)
    return whole.take(end < states)  # idle otherwise


def _ramps(at: Floats, line: Ints, lines: int, bins: int, size: float) -> Floats:
    """For each line and bin, how much time lies behind the moments ``at`` of that line, over all of them."""
    bin_ = np.clip((at / size).astype(np.int64), 0, bins - 1)
    place = line * bins + bin_
    own = np.bincount(place, (bin_ + 1) * size - at, minlength=lines * bins).reshape(lines, bins)
    begun = np.cumsum(np.bincount(place, minlength=lines * bins).reshape(lines, bins), axis=1)
    return np.asarray(own + np.c_[np.zeros(lines), begun[:, :-1] * size])


def _natural(name: str) -> list[tuple[int, str]]:
    """So that worker 10 comes after worker 9."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", name)]

"""What the recorder knows of every trial: its newest attempt, and how many of that attempt's reports it has."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from caviar.messages import Ints, Reports


class Progress:
    """Tells new reports from those sent twice and those of attempts that another has superseded.

    Two arrays indexed by trial, 12 bytes a trial; nothing is done row by row.
    """

    def __init__(self) -> None:
        self._attempt = np.zeros(1024, dtype=np.int32)
        self._next_seq = np.zeros(1024, dtype=np.int64)

    def select(self, reports: Sequence[Reports]) -> list[Reports]:
        """Those reports that are new: of an attempt not older than the newest known, numbered on from what is
        known of it, and each once. Changes nothing; call `note` when they are stored.

        All are judged by what was known before: reports of one attempt lie in several blocks, one for each set of
        metric names, and their numbers interleave.
        """
        reports = [block for block in reports if len(block)]
        if not reports:
            return []
        trial = np.concatenate([block.trial for block in reports])
        attempt = np.concatenate([block.attempt for block in reports])
        seq = np.concatenate([block.seq for block in reports])
        self._grow(int(trial.max()))
        known = self._attempt[trial]
        keep = (attempt > known) | ((attempt == known) & (seq >= self._next_seq[trial]))
        keep &= _first_of_each(trial, attempt, seq)
        if keep.all():
            return reports
        bounds = np.cumsum([len(block) for block in reports])[:-1]
        return [
            _rows(block, mask) for block, mask in zip(reports, np.split(keep, bounds), strict=True) if mask.any()
        ]

    def note(self, trial: Ints, attempt: Ints, seq: Ints) -> None:
        """These reports are stored."""
        if not len(trial):
            return
        self._grow(int(trial.max()))
        before = self._attempt[trial]
        np.maximum.at(self._attempt, trial, attempt.astype(np.int32, copy=False))
        newest = self._attempt[trial]
        self._next_seq[trial[newest > before]] = 0
        current = attempt == newest
        np.maximum.at(self._next_seq, trial[current], seq[current] + 1)

    def begin(self, trial: int, attempt: int) -> None:
        """An attempt began: it supersedes the trial's earlier ones."""
        self._grow(trial)
        if attempt > self._attempt[trial]:
            self._attempt[trial] = attempt
            self._next_seq[trial] = 0

    def _grow(self, trial: int) -> None:
        size = len(self._attempt)
        if trial >= size:
            # zeros, and not zeros joined on: what no trial touches takes no memory, however high one's number
            attempt, next_seq = self._attempt, self._next_seq
            self._attempt = np.zeros(max(2 * size, trial + 1), dtype=np.int32)
            self._next_seq = np.zeros(len(self._attempt), dtype=np.int64)
            self._attempt[:size], self._next_seq[:size] = attempt, next_seq


def _first_of_each(trial: Ints, attempt: Ints, seq: Ints) -> npt.NDArray[np.bool_]:
    order = np.lexsort((seq, attempt, trial))  # stable: of equal rows the one that came first stays first
    again = np.ones(len(order) - 1, dtype=np.bool_)
    for column in (trial, attempt, seq):
        ordered = column[order]
        again &= ordered[1:] == ordered[:-1]
    first = np.ones(len(order), dtype=np.bool_)
    first[order[1:][again]] = False
    return first


def _rows(block: Reports, keep: npt.NDArray[np.bool_]) -> Reports:
    return Reports(
        block.names,
        trial=block.trial[keep],
        attempt=block.attempt[keep],
        seq=block.seq[keep],
        step=block.step[keep],
        time_us=block.time_us[keep],
        values=block.values[keep],
    )

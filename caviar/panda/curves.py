"""The curves of a run on its main line, metric by metric, kept as reports arrive."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from caviar.messages import Floats, Ints, Reports
from caviar.panda.live import losses_of

_TRIAL = 0
"""A run is a sweep of one trial."""


class _Growing:
    """An array that grows at its end. What was shown of it stays as it was."""

    __slots__ = ("_data", "_size")

    def __init__(self, kind: type) -> None:
        self._data: npt.NDArray[Any] = np.empty(64, kind)
        self._size = 0

    def __len__(self) -> int:
        return self._size

    @property
    def all(self) -> npt.NDArray[Any]:
        """Everything, read-only."""
        shown = self._data[: self._size]
        shown.flags.writeable = False
        return shown

    def extend(self, more: npt.NDArray[Any]) -> None:
        size = self._size + len(more)
        if size > len(self._data):
            grown = np.empty(max(size, 2 * len(self._data)), self._data.dtype)
            grown[: self._size] = self.all
            self._data = grown
        self._data[self._size : size] = more
        self._size = size

    def keep(self, which: npt.NDArray[np.bool_]) -> None:
        """Drop the rest. The kept ones move to a copy, as others may look at where they were."""
        self._data = self.all[which]
        self._size = len(self._data)


class _Curve:
    """One metric's reports on the main line, steps rising, and the attempt that made each."""

    __slots__ = ("attempts", "steps", "values")

    def __init__(self) -> None:
        self.steps = _Growing(np.int64)
        self.values = _Growing(np.float64)
        self.attempts = _Growing(np.int64)

    def fresh(self, steps: Ints) -> npt.NDArray[np.bool_]:
        """Which of an attempt's next rows it has not: an attempt's steps rise, and rows may be sent twice."""
        if not len(steps):
            return np.zeros(0, bool)
        last = self.steps.all[-1] if len(self.steps) else np.iinfo(np.int64).min
        fresh: npt.NDArray[np.bool_] = steps > np.maximum.accumulate(np.r_[last, steps[:-1]])
        return fresh


class Curves:
    """The reports of trial 0 that its last attempt saw, itself or through the checkpoint it began from.

    Each report of the sweep's metric has a number, from 1. After a fault the run reports some steps again, and
    they keep their numbers. After a roll-back they have new ones: what is trained then is something else.
    """

    def __init__(self, metric: str, *, minimize: bool) -> None:
        self._metric = metric
        self._minimize = minimize
        self._curves: dict[str, _Curve] = {metric: _Curve()}
        self._losses = _Growing(np.float64)
        self._numbers = _Growing(np.int64)
        self._arrived: list[Reports] = []
        self._attempt = 0
        self._branch = 0
        """The attempt that began with the last roll-back."""
        self._seen = _Growing(np.int64)
        self._seen_numbers = _Growing(np.int64)
        """The steps at which the metric was reported since then, or before where it went back to, and the number
        of each; also where a fault has taken the run back since."""
        self._count = 0

    @property
    def count(self) -> int:
        """The highest number so far."""
        self._lay()
        return self._count

    @property
    def steps(self) -> Ints:
        """The steps of the metric's reports."""
        self._lay()
        return self._curves[self._metric].steps.all

    def see(self, block: Reports) -> None:
        """Further reports. What arrives at once may come in several blocks, each with other metrics: it is put in
        order when it is asked for. Other trials', older attempts' and those that it has are passed over."""
        self._arrived.append(block)

    def _lay(self) -> None:
        """Put what has arrived where it belongs."""
        if not self._arrived:
            return
        blocks, self._arrived = self._arrived, []
        for attempt in np.unique(np.concatenate([block.attempt[block.trial == _TRIAL] for block in blocks])):
            if attempt < self._attempt:
                continue
            rows = [np.flatnonzero((block.trial == _TRIAL) & (block.attempt == attempt)) for block in blocks]
            if attempt > self._attempt:  # heard of here first: at least these take the place of what there was
                first = min(block.step[here].min() for block, here in zip(blocks, rows, strict=True) if len(here))
                self._begin(int(attempt), int(first) - 1)
            columns: dict[str, list[tuple[Ints, Ints, Floats]]] = {}
            for block, here in zip(blocks, rows, strict=True):
                for column, name in enumerate(block.names):
                    part = block.seq[here], block.step[here], block.values[here, column]
                    columns.setdefault(name, []).append(part)
            for name, parts in columns.items():
                seq, steps, values = (np.concatenate(each) for each in zip(*parts, strict=True))
                order = np.argsort(seq, kind="stable")
                self._append(name, int(attempt), steps[order], values=values[order])

    def restarted(self, step: int, *, attempt: int) -> None:
        """An attempt begins from ``step``, 0 for the beginning, as it would have gone on: what older attempts
        reported later does not count."""
        self._lay()
        if attempt >= self._attempt:
            self._begin(attempt, step)

    def rolled_back(self, step: int, *, attempt: int) -> None:
        """An attempt begins from ``step``, to do otherwise than was done."""
        self._lay()
        if attempt > self._branch:
            self._branch = attempt
            kept = self._seen.all <= step
            self._seen.keep(kept)
            self._seen_numbers.keep(kept)
            self.restarted(step, attempt=attempt)

    def number_at(self, step: int) -> int | None:
        """The number of the metric's report at a step of the main line; None: there is none."""
        at = int(np.searchsorted(self.steps, step))
        return int(self._numbers.all[at]) if at < len(self.steps) and self.steps[at] == step else None

    def number_before(self, step: int) -> int:
        """The number of the last report of the metric at or before a step, 0 for none. Steps that a fault took the
        run back from count."""
        self._lay()
        at = int(np.searchsorted(self._seen.all, step, side="right"))
        return int(self._seen_numbers.all[at - 1]) if at else 0

    def step_of(self, number: int) -> int:
        """The step of the report of this number, or of the last one before; 0 for none. Steps that a fault took
        the run back from count."""
        self._lay()
        at = int(np.searchsorted(self._seen_numbers.all, number, side="right"))
        return int(self._seen.all[at - 1]) if at else 0

    def until(self, step: int) -> dict[str, Any]:
        """The fields of `Live` that tell the main line up to and with a report of the metric at ``step``."""
        self._lay()
        curves: dict[str, tuple[Ints, Floats]] = {}
        for name, curve in self._curves.items():
            end = int(np.searchsorted(curve.steps.all, step, side="right"))
            curves[name] = curve.steps.all[:end], curve.values.all[:end]
        steps, values = curves[self._metric]
        numbers = self._numbers.all[: len(steps)]
        return {
            "step": step,
            "steps": steps,
            "values": values,
            "losses": self._losses.all[: len(steps)],
            "numbers": numbers,
            "judged": int(numbers[-1]),
            "curves": {name: curve for name, curve in curves.items() if len(curve[0])},
        }

    def _begin(self, attempt: int, step: int) -> None:
        self._attempt = attempt
        for name, curve in self._curves.items():
            kept = (curve.attempts.all >= attempt) | (curve.steps.all <= step)
            if kept.all():
                continue
            columns = [curve.steps, curve.values, curve.attempts]
            if name == self._metric:
                columns += [self._losses, self._numbers]
            for column in columns:
                column.keep(kept)

    def _append(self, name: str, attempt: int, steps: Ints, *, values: Floats) -> None:
        curve = self._curves.setdefault(name, _Curve())
        fresh = curve.fresh(steps)
        steps, values = steps[fresh], values[fresh]
        curve.steps.extend(steps)
        curve.values.extend(values)
        curve.attempts.extend(np.full(len(steps), attempt))
        if name == self._metric:
            self._losses.extend(losses_of(values, minimize=self._minimize))
            self._numbers.extend(self._number(steps))

    def _number(self, steps: Ints) -> Ints:
        """The numbers of reports: those that they had, or for steps that were not seen yet, new ones."""
        last = int(self._seen.all[-1]) if len(self._seen) else -1
        new = steps[steps > last]
        self._seen.extend(new)
        self._seen_numbers.extend(np.arange(self._count + 1, self._count + 1 + len(new)))
        self._count += len(new)
        # a step between those of the first time has the number of the one before it
        at = np.searchsorted(self._seen.all, steps, side="right") - 1
        return np.where(at < 0, 0, self._seen_numbers.all[at])

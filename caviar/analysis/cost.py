"""What a sweep costs: for how long its trials held a place, at the price of that place."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from caviar.analysis.trials import MOVES_OF_TRIALS, EventColumns
from caviar.execution.resources import KIND
from caviar.messages import Floats, Ints

_MOVES = tuple(kind for kind in MOVES_OF_TRIALS if kind not in ("paused", "unpaused"))
"""After each of these an attempt has begun, or none is under way. One that is paused keeps its place."""

_TURNS = ("driver_started", "driver_stopped", "sweep_ended", "declaration_changed")

_HOUR_US = 3.6e9


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """What a sweep costs. Counted are attempts, each from its start to its end, pauses included; and not workers
    that wait, the driver, storage and traffic."""

    hours: float
    """For how long attempts were under way, all added up."""
    spent: float | None
    """What these hours cost; None: no price is known."""
    to_come: float | None
    """About what the rest will cost, by the time that is left; None: nobody knows."""
    saved: float | None = None
    """About what stopping trials early saved; None: nobody knows."""
    hours_without_price: float = 0.0
    """Of the hours, those for which no price was known; ``spent`` leaves them out."""


NOTHING = Cost(hours=0.0, spent=None, to_come=None)
"""Of a sweep in which nothing was trained yet, at no known price."""


@dataclass(slots=True)
class _Sum:
    """Time and money, in microseconds and in microseconds times the price of an hour."""

    time_us: float = 0.0
    unpriced_us: float = 0.0
    money_us: float = 0.0

    def add(self, time_us: Floats, price: Floats) -> None:
        known = ~np.isnan(price)
        self.time_us += float(time_us.sum())
        self.unpriced_us += float(time_us[~known].sum())
        self.money_us += float((time_us[known] * price[known]).sum())


class Spending:
    """Folds events into what was spent. Kept are the attempts under way, and sums."""

    def __init__(self, resources: Any, *, price_per_hour: float | None = None) -> None:
        """``resources``: those of the declaration as it was written; what changes of them is among the events.
        ``price_per_hour``: of every place, whatever was declared."""
        self._resources = resources
        self._price_given = price_per_hour
        self._whole = _Sum()
        self._driver = _Sum()
        """Of the driver at work."""
        self._since_us: int | None = None
        """When its first attempt began."""
        self._trial: Ints = np.zeros(0, np.int64)
        self._begin_us: Ints = np.zeros(0, np.int64)
        self._price: Floats = np.zeros(0)
        self._last_us = 0

    def add(self, events: EventColumns, report_time_us: Ints) -> None:
        """Take in what is new, the events in order."""
        begin = 0
        times = np.concatenate([events.time_us, report_time_us])
        moves = events.rows(*_MOVES)
        for row in events.rows(*_TURNS).tolist():
            self._move(events, moves[(moves >= begin) & (moves < row)])
            begin = row
            kind, now_us = events.kinds[events.code[row]], int(events.time_us[row])
            if kind == "declaration_changed":
                self._resources = events.event(row)["changes"].get("resources", self._resources)
                continue
            if kind == "driver_started":
                # a driver that was killed leaves no last word: it lived until the last thing it recorded
                self._release(int(times[times < now_us].max(initial=self._last_us)))
                self._driver, self._since_us = _Sum(), None
            else:
                self._release(now_us)
        self._move(events, moves[moves >= begin])
        self._last_us = max(self._last_us, int(times.max(initial=0)))

    def _move(self, events: EventColumns, rows: Ints) -> None:
        """Attempts begin and end."""
        if not len(rows):
            return
        starts = np.isin(rows, events.rows("trial_started"))
        price = np.full(len(rows), math.nan)
        price[starts] = self._prices(events, rows[starts])
        if self._since_us is None and starts.any():
            self._since_us = int(events.time_us[rows[starts]].min())
        trial = np.r_[self._trial, events.trial[rows]]
        time_us = np.r_[self._begin_us, events.time_us[rows]]
        price = np.r_[self._price, price]
        starts = np.r_[np.ones(len(self._trial), bool), starts]
        order = np.argsort(trial, kind="stable")
        trial, time_us, price, starts = trial[order], time_us[order], price[order], starts[order]
        last = np.r_[trial[1:] != trial[:-1], True]
        ended = np.flatnonzero(starts & ~last)
        # the clocks of two machines differ
        self._count(np.maximum(time_us[ended + 1] - time_us[ended], 0).astype(np.float64), price[ended])
        left = starts & last
        self._trial, self._begin_us, self._price = trial[left], time_us[left], price[left]

    def _prices(self, events: EventColumns, starts: Ints) -> Floats:
        """The price of each attempt's place; NaN where none is known."""
        if self._price_given is not None:
            return np.full(len(starts), self._price_given)
        prices = prices_of(self._resources)
        if len(prices) == 1:
            return np.full(len(starts), prices[0])
        [workers] = events.fields(starts, "trial_started", "worker")
        return np.array([_of_worker(prices, str(worker)) for worker in workers], np.float64)

    def _release(self, now_us: int) -> None:
        """All attempts under way end."""
        self._count(np.maximum(now_us - self._begin_us, 0).astype(np.float64), self._price)
        self._trial, self._begin_us, self._price = self._trial[:0], self._begin_us[:0], self._price[:0]

    def _count(self, time_us: Floats, price: Floats) -> None:
        self._whole.add(time_us, price)
        self._driver.add(time_us, price)

    def cost(self, now_us: int, left_s: float | None) -> Cost:
        """What was spent up to ``now_us``, attempts under way included. ``left_s``: for how long the sweep will go
        on; None: nobody knows."""
        under_way = _Sum()
        under_way.add(np.maximum(now_us - self._begin_us, 0).astype(np.float64), self._price)
        whole_us = self._whole.time_us + under_way.time_us
        unpriced_us = self._whole.unpriced_us + under_way.unpriced_us
        known = (
            unpriced_us < whole_us
            or self._price_given is not None
            or not all(map(math.isnan, prices_of(self._resources)))
        )
        return Cost(
            hours=whole_us / _HOUR_US,
            spent=(self._whole.money_us + under_way.money_us) / _HOUR_US if known else None,
            to_come=self._to_come(under_way, now_us, left_s) if known else None,
            hours_without_price=unpriced_us / _HOUR_US,
        )

    def _to_come(self, under_way: _Sum, now_us: int, left_s: float | None) -> float | None:
        """The rest, as dear by the hour as it was since this driver's first attempt began."""
        if left_s == 0:
            return 0.0
        if left_s is None or self._since_us is None or now_us <= self._since_us:
            return None
        if self._driver.unpriced_us + under_way.unpriced_us:
            return None
        money = (self._driver.money_us + under_way.money_us) / _HOUR_US
        return money * left_s * 1e6 / (now_us - self._since_us)


def prices_of(resources: Any) -> list[float]:
    """What a worker of each kind costs an hour, as the declaration says; NaN: it does not."""
    prices = []
    while resources:
        price = resources.get("price_per_hour")
        prices.append(math.nan if price is None else float(price))
        resources = resources.get("otherwise")
    return prices or [math.nan]


def _of_worker(prices: Sequence[float], worker: str) -> float:
    """The price of a worker, whose name tells its kind."""
    _, _, kind = worker.partition(KIND)
    number = int(kind) if kind.isdecimal() else 0
    return prices[number] if number < len(prices) else math.nan

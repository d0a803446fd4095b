"""What another scheduler would have done: the recorded learning curves, trained once more in virtual time.

The controller and the simulated executor are the real ones; only nothing is stored. What a record does not have is
how trials would have gone on that were stopped, or cut off. Where the other scheduler lets such a trial go past
the end of its record, all is replayed twice: with these trials worse than any other from there on, and better.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from caviar.analysis.recording import DIVERGED, Courses, Recording
from caviar.analysis.reports import Bools
from caviar.controller import Controller
from caviar.errors import UsageError
from caviar.execution.contract import Arrivals, Job
from caviar.execution.resources import Resources
from caviar.execution.simulated import START_US, Simulated
from caviar.messages import AttemptEnded, Command, DriverStarted, Floats, Ints, RoomOffered
from caviar.origin import Origin
from caviar.samplers import RandomSampler
from caviar.schedulers import Scheduler
from caviar.space import Space
from caviar.state import Plan

if TYPE_CHECKING:
    from caviar.analysis.result import Result

TOP = 10
"""So many of the best trials are looked after."""

POLL_S = 1.0


@dataclass(frozen=True, slots=True)
class Cost:
    """What training took."""

    steps: int
    seconds: float
    """Of all trials, added up: how long it takes depends on how many train at once."""


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class WhatIf:
    """What another scheduler would have cost, and what it would have found, as far as the record tells.

    Where ``beyond`` is not 0 nobody knows how that many trials would have ended. Then the least cost and the
    greatest are those of two replays, in which these trials are worse than any other from the end of their record
    on, and better; what was found is the lesser of what was found in the two. ``print`` tells it in plain words.
    """

    scheduler: Scheduler
    workers: int
    """Trials at once, which the order of reports depends on."""
    least: Cost
    most: Cost | None
    """None: without a max_step nobody knows how far trials would have trained."""
    recorded: Cost
    """What the record has."""
    run_all: Cost | None
    """What it would cost to stop no trial; of trials that were cut off by their own pace. None: as of ``most``."""
    elapsed_s: tuple[float, float | None]
    """How long it would take, the least and the most."""
    beyond: int
    """How many trials would have trained past the end of their record."""
    best: float
    """The best finite value of what it would have trained of the record; NaN: there is none."""
    best_recorded: float
    """The best finite value of the whole record; NaN: there is none."""
    best_kept: bool | None
    """Whether the trial that has this value would have trained as far as in the record, or further. None: that
    depends on the trials that nobody knows enough of, or no trial is best."""
    top: int
    """How many trials have a finite value, of the best ten."""
    top_kept: tuple[int, int]
    """How many of these would have trained as far as in the record: the fewest and the most."""
    unreported: int
    """How many trials are left out, as there is no report of them."""

    @property
    def regret(self) -> float:
        """How much worse the best value would be than that of the record; 0: as good."""
        return abs(self.best_recorded - self.best)

    def __repr__(self) -> str:
        from caviar.analysis.what_if_words import in_words

        return in_words(self)


@dataclass(frozen=True, slots=True)
class _Replay:
    """One pass through the record."""

    reached: Ints
    """Of each trial, the step that it trained to."""
    stopped: Bools
    """Trials that the scheduler stopped."""
    elapsed_s: float


def what_if(result: Result, schedulers: Sequence[Scheduler], *, workers: int | None = None) -> list[WhatIf]:
    """Replay a sweep under other schedulers. ``workers``: trials at once; None: as many as the record had.

    Raises `UsageError` for a scheduler that cannot serve the sweep, and `CaviarError` where nothing was reported.
    """
    if workers is not None and (isinstance(workers, bool) or not isinstance(workers, int) or workers < 1):
        raise UsageError(f"what_if(workers={workers!r:.60}): needs a whole number of at least 1, or None")
    for scheduler in schedulers:
        if not isinstance(scheduler, Scheduler):
            raise UsageError(f"what_if({scheduler!r:.60}): needs a scheduler, as caviar.Asha(grace_steps=2)")
    record = Recording.of(result)
    origin = result.declaration.get("origin")
    plan = Plan(
        space=Space(),
        sampler=RandomSampler(),
        scheduler=schedulers[0],
        trials=len(record),
        seed=result.declaration.get("seed", 0),  # which trials a scheduler spares depends on it
        minimize=not record.maximize,
        max_step=record.max_step,
        origin=None if origin is None else Origin.from_dict(origin),
    )
    return [_one(record, plan, scheduler, workers=workers or record.workers) for scheduler in schedulers]


def recorded_cost(record: Recording) -> Cost:
    """What the record has, each trial up to its last report."""
    return Cost(int((record.last_step - record.begin).sum()), float(record.last_second.sum()))


def cost_of_all(record: Recording) -> Cost | None:
    """What it takes to stop no trial. Trials that completed, failed or diverged end as they did."""
    open_ended = record.cut & record.reported
    if record.max_step is None:
        return None if open_ended.any() else recorded_cost(record)
    lacking = np.where(open_ended, np.maximum(record.max_step - record.last_step, 0), 0)
    had = recorded_cost(record)
    return Cost(had.steps + int(lacking.sum()), had.seconds + float((lacking * record.pace_s).sum()))


def _one(record: Recording, plan: Plan, scheduler: Scheduler, *, workers: int) -> WhatIf:
    plan = replace(plan, scheduler=scheduler)
    replays = [_replay(record, plan, workers=workers, better=False)]
    ends = _ends(record)
    beyond = _beyond(record, replays[0], ends)
    if beyond.any() and record.max_step is not None:
        replays.append(_replay(record, plan, workers=workers, better=True))
        beyond |= _beyond(record, replays[1], ends)
    costs = [_cost(record, one) for one in replays]
    bests = [_best(record, one) for one in replays]
    kept = [one.reached >= ends for one in replays]
    ranking = _ranking(record)
    unknown = bool(beyond.any()) and record.max_step is None
    tops = [int(one[ranking[:TOP]].sum()) for one in kept]
    firsts = {bool(one[ranking[0]]) for one in kept} if len(ranking) else set()
    elapsed = [one.elapsed_s for one in replays]
    turned = -1.0 if record.maximize else 1.0
    least = record.loss.min(initial=math.inf)
    return WhatIf(
        scheduler=scheduler,
        workers=workers,
        least=Cost(min(one.steps for one in costs), min(one.seconds for one in costs)),
        most=None if unknown else Cost(max(one.steps for one in costs), max(one.seconds for one in costs)),
        recorded=recorded_cost(record),
        run_all=cost_of_all(record),
        elapsed_s=(min(elapsed), None if unknown else max(elapsed)),
        beyond=int(beyond.sum()),
        best=turned * _or_nan(max(bests)),
        best_recorded=turned * _or_nan(float(least)),
        best_kept=firsts.pop() if len(firsts) == 1 else None,
        top=min(TOP, len(ranking)),
        top_kept=(min(tops), max(tops)),
        unreported=int((~record.reported).sum()),
    )


# --- a replay ------------------------------------------------------------------------------------------------


def _replay(record: Recording, plan: Plan, *, workers: int, better: bool) -> _Replay:
    """All trials of the record, from end to end. ``better``: those that go past the end of their record are."""
    controller = Controller(plan)
    executor = Simulated(workers, source=Courses(record, better))
    reached, stopped = np.full(len(record), record.begin, np.int64), np.zeros(len(record), bool)

    def deliver(arrivals: Arrivals) -> int:
        for event in arrivals.events:
            if isinstance(event, AttemptEnded):
                reached[event.trial] = event.step
                stopped[event.trial] = event.outcome == "stopped" and event.reason != DIVERGED
            executor.send(_commands(controller.handle(event, executor.now_us())))
        return 0

    executor.start(_job(record), deliver)
    controller.begin(DriverStarted(START_US, "", 0, ""))
    while not controller.ended:
        if (room := executor.room()) > 0:
            executor.send(_commands(controller.handle(RoomOffered(room), executor.now_us())))
        executor.poll(POLL_S)
    return _Replay(reached, stopped, (executor.now_us() - START_US) / 1e6)


def _commands(output: Sequence[Any]) -> list[Command]:
    return [item for item in output if isinstance(item, Command)]


def _job(record: Recording) -> Job:
    """Of which the simulated executor looks at the metric alone: nothing is trained, and no file is written."""
    return Job(
        name="what if",
        train=lambda trial: None,
        setup=None,
        metric=record.metric,
        minimize=not record.maximize,
        max_step=record.max_step,
        stop_on_nan=False,
        checkpoint_every=None,
        resources=Resources(),
        files=cast(Any, None),
        trials=len(record),
    )


# --- what came of it -----------------------------------------------------------------------------------------


def _ends(record: Recording) -> Ints:
    """The step of each trial's last report of the metric."""
    ends = np.full(len(record), record.begin, np.int64)
    ends[record.reported] = record.step[record.first[1:][record.reported] - 1]
    return ends


def _beyond(record: Recording, replay: _Replay, ends: Ints) -> Bools:
    """Trials that would go on past the end of their record; without a max_step a replay ends them there."""
    if record.max_step is None:
        return record.cut & record.reported & ~replay.stopped
    beyond: Bools = replay.reached > ends
    return beyond


def _cost(record: Recording, replay: _Replay) -> Cost:
    ends = _ends(record)
    # what it trained after its last report of the metric, it trains again where nothing stops it before
    whole = (replay.reached == ends) & (record.cut | ~replay.stopped)
    steps = np.where(whole, record.last_step, replay.reached)
    width = int(max(record.step.max(initial=0), replay.reached.max(initial=0))) + 1
    keys = record.trial * width + record.step
    rows = np.searchsorted(keys, np.arange(len(record)) * width + replay.reached, side="right") - 1
    there = rows >= record.first[:-1]
    second = np.where(there, record.second[np.maximum(rows, 0)], 0.0)
    further = np.maximum(replay.reached - ends, 0) * record.pace_s
    seconds = np.where(whole, record.last_second, second + further)
    return Cost(int((steps - record.begin).sum()), float(seconds.sum()))


def _best(record: Recording, replay: _Replay) -> float:
    """The least loss of what was trained of the record."""
    seen = record.step <= replay.reached[record.trial]
    return float(record.loss[seen].min(initial=math.inf))


def _ranking(record: Recording) -> Ints:
    """The trials that have a finite value, the best first; ties by number."""
    loss: Floats = np.full(len(record), math.inf)
    np.minimum.at(loss, record.trial, record.loss)
    order = np.argsort(loss, kind="stable")
    return order[np.isfinite(loss[order])]


def _or_nan(loss: float) -> float:
    return loss if math.isfinite(loss) else math.nan

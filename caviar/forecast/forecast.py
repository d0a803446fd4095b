"""What a sweep will do: trials, rungs, steps, time and money, before anything of it is trained."""

from __future__ import annotations

import dataclasses
import itertools
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from caviar.analysis.result import load
from caviar.difference import of_training
from caviar.errors import CaviarError, FolderError, UsageError
from caviar.execution.capacity import Capacity, gpus, of_cluster, of_this_machine
from caviar.execution.cluster import cores
from caviar.execution.contract import Job
from caviar.execution.resources import Resources
from caviar.forecast import MEASURE_S
from caviar.forecast.estimate import Estimate, Work, training_s, wall_s, work
from caviar.forecast.measuring import Measured, check, measure
from caviar.forecast.staged import staged_wall_s, waits
from caviar.forecast.timings import Sample, Timings, recorded
from caviar.schedulers.outlook import Outlook
from caviar.state import Plan, proposer
from caviar.store.checkpoints import CheckpointFiles
from caviar.store.layout import SweepFolder
from caviar.store.place import Place, place


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """The sweep that is looked ahead at."""

    plan: Plan
    resources: Resources
    declaration: Mapping[str, Any]
    job: Callable[[CheckpointFiles], Job]

    @property
    def begin(self) -> int:
        """The step after which its trials begin."""
        return 0 if self.plan.origin is None else self.plan.origin.step


@dataclass(frozen=True, slots=True, kw_only=True)
class Forecast:
    """What is expected of a sweep. Times are in seconds; what nobody can know is None, and ``notes`` say why."""

    trials: int
    first: int
    """Of them, those with given settings."""
    stages: Sequence[int]
    """The trials of each stage."""
    begin: int
    """The step after which trials begin: 0, unless the sweep is a fork."""
    max_step: int | None
    limit: int | None
    """The step at which trials end that are not stopped: max_step, or where those timed ended; None: unknown."""
    outlook: Outlook
    steps: Estimate | None
    steps_of_all: int | None
    """What it would be if nothing were stopped early."""
    capacity: Capacity | None
    """None: nobody asked, as trials run one after another."""
    where: str
    """What was asked for its capacity."""
    workers: int | None
    """Trials at once; None: not one fits."""
    timings: Timings | None
    training_s: Estimate | None
    """Of all trials, added up."""
    wall_s: Estimate | None
    price_per_hour: float | None
    cost: Estimate | None
    time_budget_s: float | None
    notes: Sequence[str]


def forecast(
    subject: Subject,
    *,
    path: str | Path | None = None,
    measure_s: float = MEASURE_S,
    workers: int | None = None,
    address: str | None = None,
    autoscale: bool = False,
    inline: bool = False,
) -> Forecast:
    """Look ahead at a sweep. ``path``: where a sweep of the same code may lie, whose record has the time of steps;
    else they are measured, for about ``measure_s`` seconds, 0: not at all. ``workers``: trials at once, where that
    is known. ``address``: the Ray cluster that is asked what it holds; None: this machine. ``autoscale``:
    it grows as it is asked to. ``inline``: trials run one after another, in one process.

    Raises `UsageError` for a sweep that could not begin, and `CaviarError` where all trials that were tried
    failed.
    """
    checked(measure_s, workers)
    proposer(subject.plan, 0, stage=0)  # a sampler that cannot serve the sweep raises
    notes: list[str] = []
    capacity, where = _capacity(subject, address=address, inline=inline)
    if address is not None and capacity is not None and capacity.lacks is not None and not autoscale:
        raise UsageError(capacity.lacks)
    at_once = _at_once(subject, capacity, workers=workers, notes=notes)
    if autoscale:
        notes.append("the cluster may grow: --workers N plans with so many workers")
    timings = _timings(subject, path, measure_s, inline=inline, notes=notes)
    begin = subject.begin
    limit = _limit(subject, timings, begin=begin, notes=notes)
    outlook = subject.plan.scheduler.outlook(
        subject.plan.trials, max_step=limit or subject.plan.max_step, begin=begin
    )
    found = None if limit is None else work(outlook, limit=limit, begin=begin)
    training = wall = None
    if found is not None and timings is not None:
        training = training_s(found, timings, trials=subject.plan.trials, workers=at_once or 1)
        if at_once is not None and limit is not None:
            wall = _wall_s(training, found, timings, stages=_stages(subject), steps=limit - begin, workers=at_once)
            wall = _within(wall, subject.declaration["time_budget_s"], notes)
    if subject.plan.stages > 1:
        notes.append(
            "each stage after the first samples where trials did well, so more of its trials may go on than "
            "expected"
        )
    price = _price(subject.resources, capacity, at_once, autoscale=autoscale)
    return Forecast(
        trials=subject.plan.trials,
        first=len(subject.plan.first),
        stages=_stages(subject),
        begin=begin,
        max_step=subject.plan.max_step,
        limit=limit,
        outlook=outlook,
        steps=None if found is None else found.steps,
        steps_of_all=None if limit is None else subject.plan.trials * (limit - begin),
        capacity=capacity,
        where=where,
        workers=at_once,
        timings=timings,
        training_s=training,
        wall_s=wall,
        price_per_hour=price,
        cost=None if training is None or price is None else training.times(price / 3600),
        time_budget_s=subject.declaration["time_budget_s"],
        notes=notes,
    )


def _wall_s(
    training: Estimate, found: Work, timings: Timings, *, stages: Sequence[int], steps: int, workers: int
) -> Estimate:
    if waits(stages, workers):
        return staged_wall_s(training, found, timings, stages=stages, workers=workers)
    return wall_s(training, longest_s=timings.start_s + steps * timings.mean_s, workers=workers)


def _stages(subject: Subject) -> list[int]:
    plan = subject.plan
    ends = [0, *(plan.stage_end(stage) for stage in range(subject.plan.stages))]
    return [after - before for before, after in itertools.pairwise(ends)]


def _capacity(subject: Subject, *, address: str | None, inline: bool) -> tuple[Capacity | None, str]:
    if inline:
        return None, "this process"
    if address is not None:
        return of_cluster(address, subject.resources), f"the cluster at {address}"
    return of_this_machine(subject.resources), "this machine"


def _at_once(subject: Subject, capacity: Capacity | None, *, workers: int | None, notes: list[str]) -> int | None:
    """Trials at once, as a run would have them."""
    if capacity is None:
        return 1
    fits = sum(capacity.fits)
    if workers is None and not fits:
        notes.append(f"{capacity.lacks}: --workers N plans with so many, --address A asks a cluster")
        return None
    if workers is not None and fits < workers:
        notes.append(f"{workers} workers were asked for, and {fits or 'none'} fit there now")
    return min(workers or fits, subject.plan.trials)


def _price(
    resources: Resources, capacity: Capacity | None, workers: int | None, *, autoscale: bool
) -> float | None:
    """What a place costs an hour: of several kinds of workers, as many of each as a run would have, the mean."""
    kinds = resources.kinds
    fits = [0] * len(kinds) if capacity is None else capacity.fits
    counts, left = [], workers or 1
    for places in fits:
        counts.append(min(places, left))
        left -= counts[-1]
    # those that wait are of the first kind that the cluster has, or may come to have
    counts[0 if autoscale else next((kind for kind, places in enumerate(fits) if places), 0)] += left
    held = [(kind.price_per_hour, count) for kind, count in zip(kinds, counts, strict=True) if count]
    known = [(price, count) for price, count in held if price is not None]
    if len(known) < len(held):
        return None
    return sum(price * count for price, count in known) / sum(counts)


def _within(wall: Estimate, budget_s: float | None, notes: list[str]) -> Estimate:
    if budget_s is None or wall.most <= budget_s:
        return wall
    notes.append("the time budget may end it before it is done: cost and steps are those without one")
    about = None if wall.about is None else min(wall.about, budget_s)
    return Estimate(about=about, least=min(wall.least, budget_s), most=budget_s)


# --- how long steps take ---------------------------------------------------------------------------------


def _timings(
    subject: Subject, path: str | Path | None, measure_s: float, *, inline: bool, notes: list[str]
) -> Timings | None:
    folder = None if path is None else place(path)
    if folder is not None and (samples := _from_record(subject, folder, notes)):
        return Timings.of(samples, source=f"the record in {folder}")
    if not measure_s:
        notes.append("nothing was trained (--measure-s 0), so nobody knows how long a step takes")
        return None
    if subject.resources.gpus and not gpus():
        notes.append("nothing was measured: trials need a GPU, and this machine has none")
        return None
    measured = measure(subject.plan, lambda files: _job(subject, files, inline=inline), seconds=measure_s)
    check(measured)
    _tell(measured, measure_s, notes)
    if not measured.samples:
        return None
    seconds = f"{measured.seconds:.0f} s" if measured.seconds >= 1 else f"{measured.seconds:.1f} s"
    return Timings.of(measured.samples, source=f"measured in {seconds}, one trial at a time")


def _job(subject: Subject, files: CheckpointFiles, *, inline: bool) -> Job:
    """Inline, only the environment keeps numerical libraries to the cores of one trial."""
    job = subject.job(files)
    if not inline:
        return job
    told = os.environ.get("OMP_NUM_THREADS", "")
    threads = int(told) if told.isdecimal() and int(told) else cores()
    return dataclasses.replace(job, resources=dataclasses.replace(job.resources, cpus=threads))


def _tell(measured: Measured, measure_s: float, notes: list[str]) -> None:
    if not measured.samples:
        notes.append(
            f"no trial came to the end of a step within {measure_s:g} s: a step takes longer, or setup does "
            "(--measure-s N gives it more)"
        )
    for reason, count in measured.failed.items():
        notes.append(f"{count} of the {measured.begun} trials that were tried failed: {reason}")
    if measured.diverged:
        notes.append(
            f"{measured.diverged} of the {measured.begun} trials that were tried diverged: such end early, which "
            "is not counted here"
        )


def _from_record(subject: Subject, folder: Place, notes: list[str]) -> list[Sample]:
    """What a sweep of the same code has timed."""
    try:
        if not SweepFolder(folder).exists():
            return []
        result = load(folder)
    except FolderError as error:
        notes.append(f"{error}: not asked for the time of steps")
        return []
    notes.append(f"{folder} holds a sweep already: to run this one it needs another --out")
    differs = of_training({"code": {}, **result.declaration}, subject.declaration)
    if differs or _hold(result.declaration.get("resources") or {}) != _hold(subject.resources.to_dict()):
        why = differs[0] if differs else "other resources"
        notes.append(f"its steps say nothing of this one: {why}")
        return []
    try:
        samples = recorded(result)
    except CaviarError as error:
        notes.append(str(error))
        return []
    if result.declaration["space"] != subject.plan.space.to_dict():
        notes.append("that sweep had another space, and its steps may have taken longer or less for it")
    return samples


def _hold(resources: Mapping[str, Any]) -> tuple[Any, ...]:
    """What of a worker's resources decides how fast it is."""
    return resources.get("cpus"), resources.get("gpus")


def _limit(subject: Subject, timings: Timings | None, *, begin: int, notes: list[str]) -> int | None:
    """The step at which trials end that nobody stops."""
    lengths = [] if timings is None else list(timings.lengths)
    if subject.plan.max_step is not None:
        early = [one for one in lengths if begin + one < subject.plan.max_step]
        if early:
            notes.append(
                f"{len(early)} of the {timings.trials if timings else 0} trials that were timed ended by "
                f"themselves before max_step, at {_span(begin, early)}"
            )
        return subject.plan.max_step
    if timings is None or len(lengths) < timings.trials:
        notes.append("max_step=None: how far trials train is up to the training function, and not known")
        return None
    limit = begin + max(1, round(sum(lengths) / len(lengths)))
    notes.append(f"max_step=None: the trials that were timed ended by themselves, at {_span(begin, lengths)}")
    return limit


def _span(begin: int, lengths: Sequence[int]) -> str:
    least, most = begin + min(lengths), begin + max(lengths)
    return f"step {least}" if least == most else f"step {least} to {most}"


def checked(measure_s: float, workers: int | None) -> None:
    """Raise `UsageError` for arguments of `Sweep.forecast` that cannot be."""
    if isinstance(measure_s, bool) or not isinstance(measure_s, int | float) or not 0 <= measure_s < float("inf"):
        raise UsageError(f"Sweep.forecast(measure_s={measure_s!r:.60}): needs seconds, 0 for no measuring")
    if workers is not None and (isinstance(workers, bool) or not isinstance(workers, int) or workers < 1):
        raise UsageError(f"Sweep.forecast(workers={workers!r:.60}): needs a whole number of at least 1, or None")

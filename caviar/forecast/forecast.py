"""What a sweep will do: trials, rungs, steps, time and money, before anything of it is trained."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from caviar.analysis.result import Result, load
from caviar.difference import of_training
from caviar.errors import CaviarError, FolderError, UsageError
from caviar.execution.capacity import Capacity, gpus, of_cluster, of_this_machine
from caviar.execution.cluster import cores
from caviar.forecast.estimate import Estimate, training_s, wall_s, work
from caviar.forecast.measuring import Measured, check, measure
from caviar.forecast.timings import Sample, Timings, recorded
from caviar.schedulers.outlook import Outlook
from caviar.state import SweepState
from caviar.store.layout import SweepFolder
from caviar.store.place import Place, place

if TYPE_CHECKING:
    from caviar.sweep import Sweep

MEASURE_S = 30.0


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
    """The step at which trials end that are not stopped: max_step, or what those measured came to; None: unknown."""
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

    def __repr__(self) -> str:
        from caviar.forecast.words import in_words

        return "\n".join(in_words(self))


def forecast(
    sweep: Sweep,
    *,
    path: str | Path | None = None,
    measure_s: float = MEASURE_S,
    workers: int | None = None,
    address: str | None = None,
    inline: bool = False,
) -> Forecast:
    """Look ahead at a sweep. ``path``: where a sweep of the same code may lie, whose record has the time of steps;
    else they are measured, for about ``measure_s`` seconds, 0: not at all. ``workers``: trials at once, where that
    is known. ``address``: the Ray cluster that is asked what it holds; None: this machine. ``inline``: trials run
    one after another, in one process.

    Raises `UsageError` for a sweep that could not begin, and `CaviarError` where all trials that were tried failed.
    """
    SweepState(sweep.plan()).propose(0)
    notes: list[str] = []
    capacity, where = _capacity(sweep, address=address, inline=inline)
    at_once = _at_once(sweep, capacity, workers=workers, notes=notes)
    timings = _timings(sweep, path, measure_s, inline=inline, notes=notes)
    begin = 0 if sweep.origin is None else sweep.origin.step
    limit = _limit(sweep, timings, begin=begin, notes=notes)
    outlook = sweep.scheduler.outlook(sweep.trials, max_step=limit or sweep.max_step, begin=begin)
    found = None if limit is None else work(outlook, limit=limit, begin=begin)
    training = wall = None
    if found is not None and timings is not None:
        training = training_s(found, timings, trials=sweep.trials, workers=at_once or 1)
        if at_once is not None and limit is not None:
            longest_s = timings.start_s + (limit - begin) * timings.mean_s
            wall = _within(wall_s(training, longest_s=longest_s, workers=at_once), sweep.time_budget_s, notes)
    if sweep.stages > 1:
        notes.append(
            "each stage after the first samples where trials did well, so more of its trials may go on than expected"
        )
    price = _price(sweep.resources)
    return Forecast(
        trials=sweep.trials,
        first=len(sweep.first),
        stages=_stages(sweep),
        begin=begin,
        max_step=sweep.max_step,
        limit=limit,
        outlook=outlook,
        steps=None if found is None else found.steps,
        steps_of_all=None if limit is None else sweep.trials * (limit - begin),
        capacity=capacity,
        where=where,
        workers=at_once,
        timings=timings,
        training_s=training,
        wall_s=wall,
        price_per_hour=price,
        cost=None if training is None or price is None else training.times(price / 3600),
        time_budget_s=sweep.time_budget_s,
        notes=notes,
    )


def _stages(sweep: Sweep) -> list[int]:
    plan = sweep.plan()
    ends = [0, *(plan.stage_end(stage) for stage in range(sweep.stages))]
    return [after - before for before, after in zip(ends[:-1], ends[1:], strict=True)]


def _capacity(sweep: Sweep, *, address: str | None, inline: bool) -> tuple[Capacity | None, str]:
    if inline:
        return None, "this process"
    if address is not None:
        return of_cluster(address, sweep.resources), f"the cluster at {address}"
    return of_this_machine(sweep.resources), "this machine"


def _at_once(sweep: Sweep, capacity: Capacity | None, *, workers: int | None, notes: list[str]) -> int | None:
    """Trials at once, as a run would have them."""
    if capacity is None:
        return 1
    if workers is None and not capacity.fits:
        notes.append(
            f"a trial needs {capacity.lacks}: --workers N plans with so many, --address A asks a cluster"
        )
        return None
    if workers is not None and capacity.fits < workers:
        notes.append(f"{workers} workers were asked for, and {capacity.fits} fit")
    return min(workers or capacity.fits, sweep.trials)


def _price(resources: Any) -> float | None:
    """What a worker costs an hour; of several kinds, what all of them cost."""
    kinds = resources if isinstance(resources, list | tuple) else (resources,)
    prices = {one.price_per_hour for one in kinds}
    return prices.pop() if len(prices) == 1 else None


def _within(wall: Estimate, budget_s: float | None, notes: list[str]) -> Estimate:
    if budget_s is None or wall.most <= budget_s:
        return wall
    notes.append("the time budget may end it before it is done: cost and steps are those without one")
    about = None if wall.about is None else min(wall.about, budget_s)
    return Estimate(about=about, least=min(wall.least, budget_s), most=budget_s)


# --- how long steps take ---------------------------------------------------------------------------------


def _timings(
    sweep: Sweep, path: str | Path | None, measure_s: float, *, inline: bool, notes: list[str]
) -> Timings | None:
    folder = None if path is None else place(path)
    if folder is not None and (samples := _from_record(sweep, folder, notes)):
        return Timings.of(samples, source=f"the record in {folder}")
    if not measure_s:
        notes.append("nothing was trained (--measure-s 0), so nobody knows how long a step takes")
        return None
    if _gpus_wanted(sweep.resources) and not gpus():
        notes.append("nothing was measured: trials need a GPU, and this machine has none")
        return None
    measured = measure(sweep, seconds=measure_s, cpus=cores() if inline else None)
    check(measured)
    _tell(measured, measure_s, notes)
    if not measured.samples:
        return None
    seconds = f"{measured.seconds:.0f} s" if measured.seconds >= 1 else f"{measured.seconds:.1f} s"
    return Timings.of(measured.samples, source=f"measured in {seconds}, one trial at a time")


def _gpus_wanted(resources: Any) -> bool:
    return any(one.gpus for one in (resources if isinstance(resources, list | tuple) else (resources,)))


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


def _from_record(sweep: Sweep, folder: Place, notes: list[str]) -> list[Sample]:
    """What a sweep of the same code has timed."""
    try:
        if not SweepFolder(folder).exists():
            return []
        result = load(folder)
    except FolderError as error:
        notes.append(f"{error}: not asked for the time of steps")
        return []
    notes.append(f"{folder} holds a sweep already: another --out is needed to run this one")
    differs = of_training({"code": {}, **result.declaration}, sweep.declaration(""))
    if differs or _hold(result) != _hold_of(sweep):
        why = differs[0] if differs else "other resources"
        notes.append(f"its steps say nothing of this one: {why}")
        return []
    try:
        samples = recorded(result)
    except CaviarError as error:
        notes.append(str(error))
        return []
    if result.declaration["space"] != sweep.space.to_dict():
        notes.append("that sweep had another space, and its steps may have taken longer or less for it")
    return samples


def _hold(result: Result) -> Any:
    declared = result.declaration.get("resources") or {}
    return [(one.get("cpus"), one.get("gpus")) for one in (declared if isinstance(declared, list) else [declared])]


def _hold_of(sweep: Sweep) -> Any:
    kinds: Any = sweep.resources
    return [(one.cpus, one.gpus) for one in (kinds if isinstance(kinds, list | tuple) else [kinds])]


def _limit(sweep: Sweep, timings: Timings | None, *, begin: int, notes: list[str]) -> int | None:
    """The step at which trials end that nobody stops."""
    lengths = [] if timings is None else list(timings.lengths)
    if sweep.max_step is not None:
        early = [one for one in lengths if begin + one < sweep.max_step]
        if early:
            notes.append(
                f"{len(early)} of the {timings.trials if timings else 0} trials that were timed ended by themselves "
                f"before max_step, at step {begin + min(early)} to {begin + max(early)}"
            )
        return sweep.max_step
    if timings is None or len(lengths) < timings.trials:
        notes.append("max_step=None: how far trials train is up to the training function, and not known")
        return None
    limit = begin + max(1, round(sum(lengths) / len(lengths)))
    notes.append(
        f"max_step=None: the trials that were timed ended by themselves, at step {begin + min(lengths)} to "
        f"{begin + max(lengths)}"
    )
    return limit


def checked(measure_s: float, workers: int | None) -> None:
    """Raise `UsageError` for arguments of `Sweep.forecast` that cannot be."""
    if isinstance(measure_s, bool) or not isinstance(measure_s, int | float) or not 0 <= measure_s < float("inf"):
        raise UsageError(f"Sweep.forecast(measure_s={measure_s!r:.60}): needs seconds, 0 for no measuring")
    if workers is not None and (isinstance(workers, bool) or not isinstance(workers, int) or workers < 1):
        raise UsageError(f"Sweep.forecast(workers={workers!r:.60}): needs a whole number of at least 1, or None")

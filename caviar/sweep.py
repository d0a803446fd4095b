"""The declaration of a sweep, and what running it does."""

from __future__ import annotations

import dataclasses
import hashlib
import logging
import math
import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import caviar
from caviar.adjusting import adjustable, check_knobs, check_schedule, merged, shown
from caviar.analysis.rechecked import Recheck
from caviar.analysis.result import Result, load
from caviar.analysis.then_and_now import compare
from caviar.errors import UsageError
from caviar.execution.contract import Executor, Job
from caviar.execution.resources import Resources
from caviar.execution.training import Trial
from caviar.fingerprint import source_file, sources
from caviar.forecast import MEASURE_S
from caviar.forking import as_in, forked
from caviar.keeping import POLICIES
from caviar.launch import Commission, Continuation, go_on, start
from caviar.messages import LAST_STEP, RESERVED_METRICS
from caviar.origin import Origin
from caviar.recheck import FRESH, SEEDS, TOP, Retest, next_path, retest, seed_of
from caviar.recheck import as_in as rechecked_as_in
from caviar.runner import Observer
from caviar.samplers import GridSampler, RandomSampler
from caviar.samplers.base import Sampler, trial_seed, trial_seeds
from caviar.schedulers import RunAll
from caviar.schedulers.base import Scheduler
from caviar.schedulers.by_hand import ByHand
from caviar.space import NarrowedSpace, Space
from caviar.state import Plan
from caviar.store.checkpoints import CheckpointFiles
from caviar.store.layout import SweepFolder
from caviar.store.lease import Lease
from caviar.store.place import place
from caviar.trial import MAX_TRIALS

if TYPE_CHECKING:
    from caviar.forecast.forecast import Forecast
    from caviar.panda.live_run import LiveRun
    from caviar.panda.rule_hand import RuleHand
    from caviar.panda.schedule import RunSchedule

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Sweep:
    """One search over a space.

    ``train``: the training function; it takes a `Trial`. ``metric``: the name of the reported metric that
    trials are judged by, and ``mode``, "min" or "max", which way. ``trials``: how many to sample. ``max_step``:
    the step at which a trial is complete; None: when its function returns. ``setup``: called once in every
    training process; what it returns is ``trial.shared``. ``first``: known settings to try before sampling;
    params that one lacks are sampled. ``stages``: from coarse to fine in so many stages, which share the trials
    evenly: each after the first samples from the space that `Result.zoom` finds, within the one declared, once
    half of the trials of the one before have ended. ``retries``: further attempts of a trial after faults of its
    own. ``checkpoint_every``: steps between checkpoints. ``keep_checkpoints``: "last", "all", or "landmarks": the
    newest three, the best, and those before the last twenty adjustments. ``knobs``: the params that may be changed
    while a trial trains; None: every numeric one. ``schedule``: changes of params in every trial, as {step: {name:
    value}}: from that step on it trains with this value, or where that is text such as ``"*=0.1"``, with so many
    times the one before. ``time_budget_s``: wall time after which everything is stopped. ``stop_on_nan``: whether
    a trial whose metric is NaN or infinite is stopped; if not, it ranks worst. ``origin``: a checkpoint of another
    sweep from which all trials begin, where `fork` made this one.

    A mistake in any of them raises `UsageError`.
    """

    train: Callable[[Trial], object]
    space: Space
    _: dataclasses.KW_ONLY
    metric: str
    mode: str = "min"
    trials: int
    max_step: int | None = None
    setup: Callable[[], object] | None = None
    sampler: Sampler = RandomSampler()  # noqa: RUF009 - frozen, as the next two are
    scheduler: Scheduler = RunAll()  # noqa: RUF009
    resources: Resources = Resources()  # noqa: RUF009
    seed: int = 0
    first: Sequence[Mapping[str, Any]] = ()
    stages: int = 1
    retries: int = 1
    checkpoint_every: int | None = None
    keep_checkpoints: str = "last"
    knobs: Sequence[str] | None = None
    schedule: Mapping[int, Mapping[str, Any]] | None = None
    time_budget_s: float | None = None
    stop_on_nan: bool = True
    origin: Origin | None = None

    def __post_init__(self) -> None:
        _need(callable(self.train), "train", self.train, "a function that takes a Trial")
        _need(
            self.setup is None or callable(self.setup),
            "setup",
            self.setup,
            "a function without arguments, or None",
        )
        _need(isinstance(self.space, Space), "space", self.space, "a caviar.Space")
        good_metric = isinstance(self.metric, str) and bool(self.metric) and self.metric not in RESERVED_METRICS
        _need(
            good_metric,
            "metric",
            self.metric,
            f"a metric's name, other than {', '.join(sorted(RESERVED_METRICS))}",
        )
        _need(self.mode in ("min", "max"), "mode", self.mode, '"min" or "max"')
        good_trials = _whole(self.trials, 1) and self.trials <= MAX_TRIALS
        _need(good_trials, "trials", self.trials, f"a whole number from 1 to {MAX_TRIALS:,}")
        good_step = self.max_step is None or (_whole(self.max_step, 1) and self.max_step <= LAST_STEP)
        _need(good_step, "max_step", self.max_step, f"from 1 to {LAST_STEP}, or None")
        _need(
            isinstance(self.sampler, Sampler), "sampler", self.sampler, "a sampler such as caviar.RandomSampler()"
        )
        _need(
            isinstance(self.scheduler, Scheduler), "scheduler", self.scheduler, "a scheduler such as caviar.Asha()"
        )
        _need(isinstance(self.resources, Resources), "resources", self.resources, "a caviar.Resources(...)")
        _need(_whole(self.seed, 0), "seed", self.seed, "a whole number of at least 0")
        _need(_whole(self.retries, 0), "retries", self.retries, "a whole number of at least 0")
        every = self.checkpoint_every
        _need(
            every is None or _whole(every, 1), "checkpoint_every", every, "a whole number of at least 1, or None"
        )
        keep = self.keep_checkpoints
        _need(keep in POLICIES, "keep_checkpoints", keep, " or ".join(map(repr, POLICIES)))
        budget = self.time_budget_s
        good_budget = budget is None or (_number(budget) and math.isfinite(budget) and budget > 0)
        _need(good_budget, "time_budget_s", budget, "a positive number of seconds, or None")
        _need(isinstance(self.stop_on_nan, bool), "stop_on_nan", self.stop_on_nan, "True or False")
        good_first = isinstance(self.first, Sequence) and all(isinstance(one, Mapping) for one in self.first)
        _need(good_first, "first", self.first, "a list of settings, each a mapping from param to value")
        object.__setattr__(self, "first", tuple(dict(params) for params in self.first))
        few = f"at most as many settings as trials ({self.trials})"
        _need(len(self.first) <= self.trials, "first", list(self.first), few)
        stages = self.stages
        good_stages = _whole(stages, 1) and stages <= self.trials
        _need(good_stages, "stages", stages, f"a whole number from 1 to the number of trials ({self.trials})")
        once = stages == 1 or not isinstance(self.sampler, GridSampler)
        _need(once, "stages", stages, "another sampler than GridSampler, which goes through one space")
        _need(stages == 1 or self.origin is None, "stages", stages, "stages=1 for a fork")
        for params in self.first:
            self.space.check_partial(params)
        self.scheduler.begin(max_step=self.max_step)
        if self.knobs is not None:
            names = isinstance(self.knobs, Sequence) and not isinstance(self.knobs, str)
            _need(names, "knobs", self.knobs, "a list of names of params, or None")
            object.__setattr__(self, "knobs", tuple(self.knobs))
            check_knobs(self.space, self.knobs)
        check_schedule(self.space, {} if self.schedule is None else self.schedule)
        known = self.origin is None or isinstance(self.origin, Origin)
        _need(known, "origin", self.origin, "what Sweep.forked gives it, or None")
        if self.origin is not None:
            self.origin.check_limit(self.max_step)

    def but(self, **changes: Any) -> Sweep:
        """The same sweep with some of its arguments changed."""
        return dataclasses.replace(self, **changes)

    def run(
        self,
        path: str | Path,
        executor: Executor | None = None,
        *,
        resume: bool = False,
        allow_change: bool = False,
        take_over: bool | Lease = False,
        on_event: Observer | None = None,
        source: Mapping[str, Any] | None = None,
    ) -> Result:
        """Run the sweep to its end into the folder or URL ``path``, and return its result.

        ``executor``: None means `Ray`. ``on_event`` sees every recorded event and every block of reports; if it
        raises, that is logged once and it is dropped. An existing sweep folder is refused (`FolderError`), as is
        whatever cannot work, before anything is written. Ctrl-C once: KeyboardInterrupt, after everything that has
        arrived is committed; twice: at once.

        ``resume``: go on with an existing sweep, from all that was acknowledged (a folder that holds none yet
        begins one). Trials that have ended are not run again; those cut off start a new attempt from their last
        checkpoint. A sweep other than the recorded one (space, metric, code, ...) raises `UsageError` with the
        difference, unless ``allow_change``: then it is recorded, and another space, sampler or seed opens a new
        stage. ``take_over``: also from a driver that seems to be alive (`LeaseError` otherwise), or, given a
        lease, from the one driver that has it. ``source``: where ``caviar resume`` finds this Sweep again: its
        ``file``, and where it takes them, the ``name`` in that file and ``changes`` by the command line; None: the
        file that defines the training function.
        """
        declared = declared_in(path, self) if resume else self
        commission = declared._commission(path, executor, on_event, source)
        if resume and commission.folder.exists():
            go_on(commission, Continuation(allow_change=allow_change, take_over=take_over, source=source))
        else:
            start(commission)
        return load(commission.folder.path)

    def extend(
        self,
        path: str | Path,
        executor: Executor | None = None,
        *,
        trials: int = 0,
        max_step: int | None = None,
        space: NarrowedSpace | None = None,
        allow_change: bool = False,
        take_over: bool = False,
        on_event: Observer | None = None,
        source: Mapping[str, Any] | None = None,
    ) -> Result:
        """Go on with a sweep that no driver has in hand, finished or not, and beyond what it had: so many more
        ``trials``, and up to ``max_step``, to which completed trials that have a checkpoint train on too.

        ``space``: what `Result.zoom` found, from which the further trials are sampled, as the next stage; the
        Sweep stays as it is declared. Earlier trials go on to count at the rungs. The rest is as in `run` with
        ``resume``; with ``allow_change`` and another space in the Sweep the further trials are a new stage too.
        (``caviar extend`` and ``caviar zoom --run`` also reach a sweep that is running.)
        """
        _need(_whole(trials, 0), "trials", trials, "a whole number of at least 0", of="Sweep.extend")
        good_step = max_step is None or _whole(max_step, 1)
        _need(good_step, "max_step", max_step, "a whole number of at least 1, or None", of="Sweep.extend")
        narrowed = space is None or (isinstance(space, NarrowedSpace) and trials > 0)
        _need(
            narrowed, "space", space, "what Result.zoom returns, with trials to sample from it", of="Sweep.extend"
        )
        how = Continuation(
            more_trials=trials,
            max_step=max_step,
            space=space,
            allow_change=allow_change,
            take_over=take_over,
            source=source,
        )
        if not how.extends:
            raise UsageError("Sweep.extend(): by nothing; give trials, max_step or both")
        commission = declared_in(path, self)._commission(path, executor, on_event, source)
        go_on(commission, how)
        return load(commission.folder.path)

    def forked(
        self,
        path: str | Path,
        *,
        trial: int = 0,
        at_step: int | None = None,
        vary: Sequence[str] = (),
        trials: int | None = None,
        max_step: int | None = None,
        allow_change: bool = False,
    ) -> Sweep:
        """This Sweep with trials that go on from a checkpoint of a trial in the sweep folder ``path``: its newest
        one at or before ``at_step``. That trial may be under way, a live run for example, or have ended.

        They have the params that it had there, but for those of ``vary``, which are sampled; and its seed, so they
        differ by these params alone. ``trials``: how many; eight, and one where nothing varies. ``max_step``: None
        is that of the other sweep. ``forked(...).run(path)`` trains them, into a folder of its own;
        ``forked(...).panda(path)`` takes one in hand.

        Raises `UsageError` where there is no such trial or checkpoint, where a param cannot vary, and where the
        training function is not the one that the other sweep has, unless ``allow_change``.
        """
        from caviar.panda.holding import held

        names = isinstance(vary, Sequence) and not isinstance(vary, str)
        _need(names, "vary", vary, "a list of names of params", of="Sweep.forked")
        begin = held(path, trial=trial, at_step=at_step)
        how: dict[str, Any] = {"vary": vary, "trials": trials, "max_step": max_step, "allow_change": allow_change}
        return self.but(stages=1, **forked(begin, self.declaration(""), **how))

    def recheck(
        self,
        path: str | Path,
        executor: Executor | None = None,
        *,
        out: str | Path | None = None,
        top: int = TOP,
        trials: Sequence[int] | None = None,
        fresh: int = FRESH,
        seeds: int = SEEDS,
        same_metric: bool = False,
        on_event: Observer | None = None,
        source: Mapping[str, Any] | None = None,
    ) -> Recheck:
        """Train the best settings of the sweep in ``path`` again, with this Sweep's code and data, beside fresh
        ones, and say whether what was best then still is.

        ``top``: how many settings, or ``trials``: these; ``seeds``: how often each, from other seeds; ``fresh``:
        how many settings are sampled from this Sweep's space beside them. Nothing is stopped early, so that ends
        compare with ends. ``out``: the folder to train into; None: ``path`` and ``-recheck``, ``-recheck-2``, …
        One that is there has to be a recheck of ``path``: then nothing is trained, and what it holds is compared
        again (``sweep.run(out, resume=True)`` goes on with one that was cut off).

        Code that has changed is the point here: what differs is told, and not refused. ``same_metric``: the
        metric has another name now, and is the same. Raises `UsageError` for a live run or a fork, another
        metric or mode, where nothing can be trained again, and where an argument is wrong; `CaviarError` where
        nothing ended with a finite value."""
        then = load(path)
        into = next_path(path) if out is None else place(out)
        if out is not None and SweepFolder(into).exists():
            return compare(then, load(into))
        how: dict[str, Any] = {
            "top": top,
            "trials": trials,
            "fresh": fresh,
            "seeds": seeds,
            "same_metric": same_metric,
        }
        chosen = retest(then, self.space, metric=self.metric, mode=self.mode, **how)
        for line in chosen.told:
            _log.warning("%s", line)
        return compare(then, self.retrain(chosen, into, executor, on_event=on_event, source=source))

    def retrain(
        self,
        chosen: Retest,
        path: str | Path,
        executor: Executor | None = None,
        *,
        on_event: Observer | None = None,
        source: Mapping[str, Any] | None = None,
    ) -> Result:
        """Train what `caviar.recheck.retest` chose into ``path``; the rest is as in `run`."""
        seed = seed_of(self.seed, place(path))
        again = self.but(**chosen.arguments(seed=seed))
        commission = again._commission(path, executor, on_event, source)
        declaration = {**commission.declaration, "recheck": chosen.to_dict()}
        start(dataclasses.replace(commission, declaration=declaration))
        return load(commission.folder.path)

    def forecast(
        self,
        *,
        path: str | Path | None = None,
        measure_s: float = MEASURE_S,
        workers: int | None = None,
        address: str | None = None,
        autoscale: bool = False,
        inline: bool = False,
    ) -> Forecast:
        """What this sweep will do: trials at each rung, steps, time and cost, as far as that is known before.

        For the time of a step some of its trials are trained for a few steps, in a training process and a folder
        of their own, for about ``measure_s`` seconds in all (0: not at all); unless ``path`` holds a sweep of the
        same code, whose record has it. ``workers``: trials at once; None: as many as fit on this machine, or on
        the Ray cluster at ``address``, which may grow where ``autoscale`` says so. ``inline``: with the `Inline`
        executor. Nothing of it is left.

        Raises `UsageError` for a sweep that could not begin, and `CaviarError` where all trials that were tried
        failed.
        """
        from caviar.forecast.forecast import Subject, forecast

        subject = Subject(
            plan=self.plan(),
            resources=self.resources,
            declaration=self.declaration(""),
            job=lambda files: self.job(name="plan", files=files),
        )
        return forecast(
            subject,
            path=path,
            measure_s=measure_s,
            workers=workers,
            address=address,
            autoscale=autoscale,
            inline=inline,
        )

    def panda(
        self,
        path: str | Path,
        executor: Executor | None = None,
        *,
        params: Mapping[str, Any] | None = None,
        rules: Sequence[Any] = (),
        schedule: Mapping[int, Mapping[str, Any]] | None = None,
        checkpoint_every: int | None = None,
        max_step: int | None = None,
        resume: bool = False,
        extend_to: int | None = None,
        allow_change: bool = False,
        take_over: bool = False,
        on_event: Observer | None = None,
        source: Mapping[str, Any] | None = None,
        background: bool = True,
    ) -> LiveRun:
        """Train one trial, live: a person or rules change its params while it trains, pause it, roll it back.

        ``params``: its params; those that are not given are the middle of their scale, which is logged.
        ``rules``: from `caviar.rules`, or functions from what a rule sees to changes; the trial waits for them
        at every report of the metric. ``schedule``: changes by step; or that of another run, `LiveRun.schedule`,
        which it then repeats. ``checkpoint_every``, ``max_step``: instead of this Sweep's. Of its checkpoints
        the newest three are kept, the best, those before adjustments, and some that are spread over the whole
        way.

        Returns once the trial trains, and the run goes on in the background of this process; with ``background``
        false, once it has ended. ``extend_to``: with ``resume``, train on up to this step, beyond the run's
        max_step, also where it has ended and has a checkpoint. The rest is as in `run`."""
        from caviar.panda.driver import Driver
        from caviar.panda.live_run import LiveRun, attempts_begun
        from caviar.panda.schedule import RunSchedule
        from caviar.store.reader import Reader

        declared = declared_in(path, self) if resume else self
        if isinstance(schedule, RunSchedule):
            declared = declared._repeating(schedule)
            params, schedule = {**schedule.params, **(params or {})}, schedule.changes()
        alone, hand = declared._alone(params or {}, rules, schedule, checkpoint_every, max_step)
        commission = alone._commission(path, executor, on_event, source)
        told = {"rules": [] if hand is None else hand.declared()}
        commission = dataclasses.replace(
            commission, declaration={**commission.declaration, "panda": told}, hand=hand
        )
        _need(extend_to is None or resume, "extend_to", extend_to, "resume=True", of="Sweep.panda")
        how = Continuation(max_step=extend_to, allow_change=allow_change, take_over=take_over, source=source)

        def drive(commission: Commission) -> None:
            if resume and commission.folder.exists():
                go_on(commission, how)
            else:
                start(commission)

        if not background:
            drive(commission)
            return LiveRun(commission.folder.path, sweep=self)
        driver = Driver(
            lambda own: drive(dataclasses.replace(commission, on_event=own.observe, interrupt=own.interrupt)),
            on_event=on_event,
        )
        there = resume and commission.folder.exists()
        before = attempts_begun(Reader(commission.folder.path, metrics=False)) if there else 0
        driver.begin()
        run = LiveRun(commission.folder.path, driver=driver, sweep=self)
        run.until_recorded(beyond=before)
        return run

    def _repeating(self, schedule: RunSchedule) -> Sweep:
        """This Sweep as it repeats a run."""
        own = trial_seed(trial_seeds(self.seed, 0)) if self.origin is None else self.origin.seed
        if schedule.seed not in (None, own):
            raise UsageError(
                f"Sweep.panda(schedule=...): that run's trial had the seed {schedule.seed}, and this one would "
                f"have {own}: give the Sweep that run's seed; one of several trials of a sweep cannot be repeated"
            )
        kept = self.stop_on_nan if schedule.stop_on_nan is None else schedule.stop_on_nan
        return self.but(schedule=None, stop_on_nan=kept)

    def _alone(
        self,
        params: Mapping[str, Any],
        rules: Sequence[Any],
        schedule: Mapping[int, Mapping[str, Any]] | None,
        checkpoint_every: int | None,
        max_step: int | None,
    ) -> tuple[Sweep, RuleHand | None]:
        """This Sweep with one trial that a hand watches over, and the hand."""
        from caviar.panda.rule_hand import watching

        origin = None if self.origin is None else self.origin.but(self.space, params)
        begins_with = self.space.middle(params) if origin is None else dict(origin.params)
        given = params if origin is None else begins_with
        missing = {
            name: begins_with[name] for name in self.space.varying if name in begins_with and name not in given
        }
        if missing:
            told = ", ".join(f"{name}={shown(value)}" for name, value in missing.items())
            _log.warning("not given, so the middle of their scale: %s", told)
        steps = self.max_step if max_step is None else max_step
        watch = watching(
            rules,
            params=begins_with,
            space=self.space,
            knobs=adjustable(self.space, self.knobs),
            metric=self.metric,
            minimize=self.mode == "min",
            max_step=steps,
        )
        alone = self.but(
            trials=1,
            stages=1,
            first=[begins_with] if origin is None else (),
            origin=origin,
            sampler=RandomSampler(),
            scheduler=RunAll() if watch.hand is None else ByHand(watch.hand.every),
            max_step=steps,
            checkpoint_every=self.checkpoint_every if checkpoint_every is None else checkpoint_every,
            keep_checkpoints="landmarks",
            schedule=merged({} if self.schedule is None else self.schedule, watch.table, schedule or {}),
            stop_on_nan=self.stop_on_nan and not watch.handles_non_finite,
        )
        if alone.checkpoint_every is None and any(getattr(rule, "rollback", False) is True for rule in rules):
            _log.warning(
                "rules may roll the run back, and without checkpoint_every that is to the beginning, unless the "
                "training function saves checkpoints by itself"
            )
        return alone, watch.hand

    def _commission(
        self,
        path: str | Path,
        executor: Executor | None,
        on_event: Observer | None,
        source: Mapping[str, Any] | None,
    ) -> Commission:
        if executor is None:
            from caviar.execution.ray import Ray

            executor = Ray()
        runs_trials = isinstance(executor, Executor)
        if not runs_trials:
            allowed = "an executor such as caviar.Ray() or caviar.Inline(), or None"
            raise UsageError(f"Sweep.run(executor={executor!r:.80}): needs {allowed}")
        folder = SweepFolder(place(path))
        files = CheckpointFiles.of(folder.path)
        name = folder.path.name
        return Commission(
            folder=folder,
            files=files,
            declaration=self.declaration(name, source=source),
            plan=self.plan(),
            job=self.job(name=name, files=files),
            executor=executor,
            on_event=on_event,
        )

    # --- what others make of it --------------------------------------------------------------------

    def plan(self) -> Plan:
        """What the controller needs to know."""
        return Plan(
            space=self.space,
            sampler=self.sampler,
            scheduler=self.scheduler,
            trials=self.trials,
            seed=self.seed,
            minimize=self.mode == "min",
            max_step=self.max_step,
            retries=self.retries,
            first=self.first,
            knobs=self.knobs,
            schedule=check_schedule(self.space, self.schedule or {}),
            keep_checkpoints=self.keep_checkpoints,
            origin=self.origin,
            stages=self.stages,
        )

    def job(self, *, name: str, files: CheckpointFiles) -> Job:
        """What workers need to know."""
        return Job(
            name=name,
            train=self.train,
            setup=self.setup,
            metric=self.metric,
            minimize=self.mode == "min",
            max_step=self.max_step,
            stop_on_nan=self.stop_on_nan,
            judged_at_end=isinstance(self.scheduler, ByHand),
            checkpoint_every=self.checkpoint_every,
            resources=self.resources,
            files=files,
            trials=self.trials,
            folder=files.folder_path,
        )

    def declaration(self, name: str, *, source: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """What sweep.json holds: JSON. ``source``: where `caviar resume` finds this Sweep again."""
        space = self.space.to_dict()
        code = sources(self.train, self.setup)
        return {
            "name": name,
            "train": _name(self.train),
            "source": source or {"file": source_file(self.train)},
            "space": space,
            "metric": self.metric,
            "mode": self.mode,
            "trials": self.trials,
            "max_step": self.max_step,
            "sampler": self.sampler.to_dict(),
            "scheduler": self.scheduler.to_dict(),
            "resources": self.resources.to_dict(),
            "seed": self.seed,
            "first": list(self.first),
            "stages": self.stages,
            "retries": self.retries,
            "checkpoint_every": self.checkpoint_every,
            "keep_checkpoints": self.keep_checkpoints,
            "knobs": None if self.knobs is None else list(self.knobs),
            "schedule": [[step, changes] for step, changes in check_schedule(self.space, self.schedule or {})],
            "time_budget_s": self.time_budget_s,
            "stop_on_nan": self.stop_on_nan,
            "origin": None if self.origin is None else self.origin.to_dict(),
            "fingerprints": {
                "space": _digest(repr(space)),
                "code": _digest(repr(code)),
            },
            "code": code,
            "versions": _versions(),
        }


def declared_in(path: str | Path, sweep: Sweep) -> Sweep:
    """A Sweep as it is declared in an existing folder, where that is a fork or a recheck of it."""
    if sweep.origin is not None:
        return sweep
    return sweep.but(**(as_in(path) or rechecked_as_in(path, sweep.space)))


def _need(good: bool, name: str, value: object, allowed: str, *, of: str = "Sweep") -> None:
    if not good:
        raise UsageError(f"{of}({name}={value!r:.80}): needs {allowed}")


def _whole(value: object, least: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


def _number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _name(function: Callable[..., object]) -> str:
    return f"{getattr(function, '__module__', '?')}:{getattr(function, '__qualname__', repr(function))}"


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _versions() -> dict[str, str]:
    versions = {"caviar": caviar.__version__, "python": platform.python_version()}
    for package in ("ray", "numpy", "pyarrow", "pandas"):
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            continue
    return versions

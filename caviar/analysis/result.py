"""A sweep's result: a picture of its folder at one moment, in pandas."""

from __future__ import annotations

import dataclasses
import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np
import pyarrow as pa

from caviar.analysis.branches import Branch, branches, rolled_back
from caviar.analysis.cost import Cost
from caviar.analysis.rates import Clock
from caviar.analysis.reports import ReportColumns, best_of_each
from caviar.analysis.savings import Savings, savings
from caviar.analysis.trials import EventColumns, TrialColumns
from caviar.errors import CaviarError, UsageError
from caviar.schedulers.patience import Patience
from caviar.space import Space
from caviar.store.place import Place, place
from caviar.trial import Params, TrialState

if TYPE_CHECKING:
    import pandas as pd

    from caviar.analysis.audit import Audit
    from caviar.analysis.evidence import Evidence
    from caviar.analysis.export.source import Source
    from caviar.analysis.importance import Importance, Method
    from caviar.analysis.plots import Plots
    from caviar.analysis.rechecked import Recheck
    from caviar.analysis.what_if import WhatIf
    from caviar.schedulers import Scheduler
    from caviar.space.narrowed import NarrowedSpace

Status = Literal["finished", "running", "interrupted"]


@dataclass(frozen=True, slots=True)
class Best:
    """The best report of a sweep."""

    trial: int
    params: Params
    value: float
    step: int
    metrics: Mapping[str, float]
    """Everything that this trial reported at that step."""


@dataclass(frozen=True, slots=True)
class Contents:
    """What a sweep folder held at one moment."""

    declaration: Mapping[str, Any]
    status: Status
    metrics: pa.Table
    events: pa.Table
    written: Mapping[str, Any] | None = None
    """What sweep.json says, without what was changed since; None: nothing was."""
    seen_us: int | None = None
    """When that was."""


class Result:
    """What a sweep found, finished or still running: a picture of one moment, until `refresh`.

    Made by `load`, and by ``Sweep.run``. All frames are the caller's own: change them as you like.
    """

    def __init__(self, path: Place, picture: Contents) -> None:
        self.path = path
        """The sweep folder; in an object store its URL, which is text."""
        self._contents = picture

    def __repr__(self) -> str:
        counts = ", ".join(f"{count} {state}" for state, count in self.counts().items())
        return f"Result({str(self.path)!r}, {self.status}: {counts or 'no trials'})"

    @property
    def status(self) -> Status:
        """``finished``, ``running``, or ``interrupted``: not finished, and no driver has it in hand."""
        return self._contents.status

    @property
    def declaration(self) -> Mapping[str, Any]:
        """What sweep.json says, with what was changed since."""
        return self._contents.declaration

    @property
    def metric(self) -> str:
        """The metric that the sweep watches."""
        return str(self.declaration["metric"])

    @property
    def maximize(self) -> bool:
        """Whether more of the metric is better."""
        return bool(self.declaration["mode"] == "max")

    @property
    def best(self) -> Best:
        """The best finite value at any step of any trial's main line; ties: the lowest trial, then the earliest
        step. Raises `CaviarError` if there is none."""
        best = self._best_of_each
        if not len(best):
            raise CaviarError(f"{self.path}: no trial has reported a finite {self.metric!r} yet, so none is best")
        # argmax and argmin return the first of equals: the lowest trial
        row = int(best.value.argmax() if self.maximize else best.value.argmin())
        trial, step = int(best.trial[row]), int(best.step[row])
        reports = self._main_line
        here = reports.take((reports.trial == trial) & (reports.step == step))
        return Best(
            trial,
            self.params_of(trial),
            float(best.value[row]),
            step,
            {here.names[code]: float(value) for code, value in zip(here.code, here.value, strict=True)},
        )

    def top(self, k: int = 10) -> pd.DataFrame:
        """The ``k`` best trials, best first, each by the best finite value of its main line; ties by number.

        Index ``trial``; columns ``value``, ``step`` (of that value), ``status``, ``params.<name>``. Trials
        without a finite value are left out.
        """
        from caviar.analysis import frames

        if k < 0:
            raise UsageError(f"top(k={k!r}): needs a number of at least 0")
        return frames.top_frame(self._trials, self._best_of_each, k, maximize=self.maximize, params=self.params)

    def trials(self) -> pd.DataFrame:
        """One row a trial, index ``trial``.

        Columns ``stage``, ``status``, ``reason``, ``attempts`` (started), ``steps`` (the last on the main line,
        0 before the first report), ``start_time``, ``end_time``, ``by_hand`` (whether a person adjusted, paused,
        rolled back or stopped it), ``spared`` (whether the scheduler would have stopped it, and let it go on),
        ``params.<name>`` and ``metrics.<name>`` (as last reported on the main line). Missing is NaN or NaT. In an
        interrupted sweep, trials that were cut off are pending.
        """
        from caviar.analysis import frames

        metrics = self._main_line.names or (self.metric,)
        return frames.trials_frame(self._trials, self._known_line, params=self.params, metrics=metrics)

    def curves(
        self, tidy: bool = False, *, params: Iterable[str] = (), attempts: Literal["last", "all"] = "last"
    ) -> pd.DataFrame:
        """The learning curves: one row a report, sorted by trial and step.

        Columns ``trial``, ``step``, ``time``, one a metric (the sweep's own first, the others by name; NaN where
        a report lacks it), and ``params.<name>`` for those asked. ``tidy``: one row a value, with columns
        ``metric`` and ``value`` instead. ``attempts="last"`` keeps each trial's main line: what its last attempt
        saw, so that earlier attempts count up to the step that it was restored from. ``"all"`` keeps everything
        and adds the column ``attempt``. An unknown param or choice raises `UsageError`.
        """
        from caviar.analysis import frames

        if attempts not in ("last", "all"):
            raise UsageError(f'curves(attempts={attempts!r}): must be "last" or "all"')
        asked = frames.known([params] if isinstance(params, str) else params, self.params)
        reports = self._main_line if attempts == "last" else self._reports
        return frames.curves_frame(reports, self._trials, tidy=tidy, params=asked, with_attempt=attempts == "all")

    def events(self) -> pd.DataFrame:
        """What happened, one row an event: ``seq``, ``time``, ``kind``, ``trial``, ``attempt``, ``step`` (dtype
        Int64, so that they stay whole numbers), and ``data``, a dict whose keys depend on the kind."""
        from caviar.analysis import frames

        return frames.events_frame(self._events)

    def zoom(self, top: float = 0.1, *, margin: float = 0.15, widen: bool = True) -> NarrowedSpace:
        """The space around the trials that did best: a `Space`, and of each param in ``changes`` what became of it
        and why; ``explained()`` is a table. It begins from the space of the last stage.

        ``top``: the share of the trials that count as the best; at least 10 do. ``margin``: at least so much of a
        new range is added at either end. ``widen``: whether a range is widened where the best pile up at its end.
        Raises `CaviarError` if no trial has a finite metric.
        """
        from caviar.analysis.zoom import zoom

        return zoom(self, top=top, margin=margin, widen=widen)

    def edges(self, top: float = 0.1) -> pd.DataFrame:
        """The params whose best values pile up at an end of their range.

        Columns ``param``, ``end`` (``low`` or ``high``), ``low``, ``high`` (the range), ``share`` (of the best
        trials, those within a tenth of the range of that end) and ``suggestion``. Raises as `zoom` does.
        """
        from caviar.analysis.zoom import edges

        return edges(self, top=top)

    def refresh(self) -> Self:
        """Read the folder again; returns this result, now a picture of the present."""
        self.__dict__ = {"path": self.path, "_contents": _read(self.path)}  # and so drops all that was cached
        return self

    @cached_property
    def plot(self) -> Plots:
        """Figures in plotly, each a method: ``result.plot.curves()``."""
        from caviar.analysis.plots import Plots

        return Plots(self)

    def what_if(self, scheduler: Scheduler, *, workers: int | None = None) -> WhatIf:
        """What another scheduler would have cost and found: the recorded curves, replayed in virtual time at the
        trials' own pace.

        ``workers``: trials at once, which the order of reports depends on; None: as many as the record had. How
        trials that were stopped would have gone on nobody knows: `WhatIf` says how many would have. Raises
        `UsageError` for a scheduler that cannot serve this sweep, `CaviarError` where no trial reported anything.
        """
        from caviar.analysis.what_if import what_if

        return what_if(self, [scheduler], workers=workers)[0]

    def report(self, path: str | Path = "report.html", *, title: str | None = None) -> Path:
        """Write one self-contained HTML page: the best setting, what mattered, what to do next and why, all
        figures, the declaration, and what failed.

        ``title``: None takes the sweep's name. Returns where it lies. What cannot be told of this sweep, the page
        says in a line. Raises `CaviarError` if plotly is not installed.
        """
        from caviar.analysis.report import write_report

        return write_report(self, path, title=title)

    def importance(self, stage: int | None = None, *, method: Method = "auto", seed: int = 0) -> Importance:
        """Which params mattered, with intervals, pairs that act together, and a summary in words.

        ``stage``: of which stage's trials; None: of the first, where all was sampled, and under ``later`` of the
        last, which says what matters where it is good. ``method``: ``anova`` (``auto``), ``ped-anova`` or
        ``fanova`` (Optuna's, which `caviar-sweep[importance]` installs). ``seed``: of the resamples and shuffles.
        What is explained is the score of `evidence`, by rank: diverged trials are the worst, trials stopped early
        count at their rung. Raises `CaviarError` where fewer than 10 trials have reported, no param varied, or all
        did equally well, and `UsageError` for another stage or method.
        """
        from caviar.analysis.importance import importance

        return importance(self, stage, method=method, seed=seed)

    def export(
        self,
        path: str | Path,
        to: Literal["csv", "tensorboard"] = "csv",
        *,
        top: int | None = None,
        trials: Iterable[int] | None = None,
        attempts: Literal["last", "all"] = "last",
        tidy: bool = False,
        replace: bool = False,
    ) -> Path:
        """Write the sweep into a new folder, for other tools; returns where it lies.

        ``to="csv"``: curves.csv (one row a report of the main lines; with ``attempts="all"`` of all, and with
        ``tidy`` one row a value), trials.csv and events.csv. ``to="tensorboard"``: a run a trial, with its main
        line as scalars in 32 bits, and its params for the HParams page. export.json says what it is of.

        ``top``: only so many of the best trials; ``trials``: only these; either way with the events of no trial.
        ``replace``: also in the place of an earlier export. Raises `UsageError` for a folder that is there
        already, and for an unknown trial; `CaviarError` if TensorBoard is not installed.
        """
        from caviar.analysis.export import export

        return export(self._source(top, trials, attempts), path, to=to, tidy=tidy, replace=replace)

    def recheck(self, sweep: Any = None, executor: Any = None, **how: Any) -> Recheck:
        """Train the best settings again, beside fresh ones, and say whether what was best still is.

        ``sweep``: the `Sweep` as it is today, whose `Sweep.recheck` has all else; None, with ``out``: compare
        with a recheck that is there already, without training."""
        if sweep is not None:
            found: Recheck = sweep.recheck(self.path, executor, **how)
            return found
        from caviar.analysis.then_and_now import compare

        if how.keys() != {"out"} or how["out"] is None:
            raise UsageError(
                "Result.recheck(): needs the Sweep to train with, as in result.recheck(sweep), or out=..., a "
                "recheck that is there"
            )
        return compare(self, load(how["out"]))

    # --- what the command line and the page also want ----------------------------------------------------

    @cached_property
    def ended(self) -> str | None:
        """Why the sweep ended: ``done``, or what cut it short; None while it has not."""
        rows = self._events.rows("sweep_ended")
        return str(self._events.data(rows[-1:])[0]["reason"]) if self.status == "finished" and len(rows) else None

    @cached_property
    def evidence(self) -> Evidence:
        """How well each trial did, on one scale: what `zoom` and `importance` go by."""
        from caviar.analysis.evidence import evidence

        line = self._known_line.of_metric(self.metric)
        converges = self.declaration.get("scheduler", {}).get("name") == Patience.name
        return evidence(self._trials, line, self._events, maximize=self.maximize, converges=converges)

    @cached_property
    def overall_importance(self) -> Importance:
        """What `importance` says by default, worked out once: words and figures both need it, and it takes its
        time. Raises as that does."""
        return self.importance()

    @cached_property
    def space(self) -> Space:
        """The space that the sweep was declared with."""
        return Space.from_dict(self.declaration["space"])

    @cached_property
    def stage_spaces(self) -> dict[int, Space]:
        """The space that each stage was sampled from."""
        stages, spaces = self._events.fields(self._events.rows("stage_opened"), "stage_opened", "stage", "space")
        return {stage: Space.from_dict(space) for stage, space in zip(stages, spaces, strict=True)}

    @cached_property
    def last_space(self) -> Space:
        """The space of the last stage."""
        spaces = self.stage_spaces
        return spaces[max(spaces)] if spaces else self.space

    @cached_property
    def params(self) -> list[str]:
        """The names of all params, in the order of the space."""
        from caviar.analysis import frames

        return frames.param_names(self._trials, self.space)

    def params_of(self, trial: int) -> Params:
        """The params of one trial, as they were sampled; an unknown trial raises `UsageError`."""
        trials = self._trials
        place = int(np.searchsorted(trials.trial, trial))
        if place == len(trials) or trials.trial[place] != trial:
            raise UsageError(f"trial {trial!r}: {self.path} has {len(trials)} trials, and none of this number")
        return trials.params[place]

    def counts(self) -> dict[str, int]:
        """How many trials are in each state, in the order of a trial's life; states without trials are absent."""
        found = Counter(self._trials.status.tolist())
        return {state.value: found[state.value] for state in TrialState if found[state.value]}

    def branches(self) -> dict[int, list[Branch]]:
        """The attempts of each trial that was rolled back, in their order."""
        return {trial: branches(self._events, self._reports, trial) for trial in rolled_back(self._events)}

    def savings(self) -> Savings:
        """What early stopping saved."""
        before = (self.declaration.get("origin") or {"step": 0})["step"]  # trained elsewhere
        steps = np.maximum(self.trials()["steps"].to_numpy() - before, 0)
        limit = self.declaration.get("max_step")
        return savings(self._trials, steps, None if limit is None else limit - before)

    def audit(self, by: Literal["last", "best"] = "last") -> Audit:
        """What early stopping saved and cost.

        ``by``: what counts as the value at a trial's end, the ``"last"`` that it reported or the ``"best"`` of its
        curve; anything else raises `UsageError`. Trials that a person had a hand in are left out, and a trial that
        failed or diverged ended worst. What it cost can be told where some trials were spared, as with
        ``Asha(spare=0.05)``.
        """
        from caviar.analysis.audit import audit
        from caviar.analysis.judged import Decisions, Ends, last_of_each

        if by not in ("last", "best"):
            raise UsageError(f'audit(by={by!r}): must be "last" or "best"')
        values = self._known_line.of_metric(self.metric)
        last = self._best_of_each if by == "best" else last_of_each(values)
        ends = Ends.of(self._trials, self._known_line, last, maximize=self.maximize)
        decisions = Decisions.of(self._events, self._trials, maximize=self.maximize)
        before = (self.declaration.get("origin") or {"step": 0})["step"]
        limit = self.declaration.get("max_step")
        return audit(self._trials, decisions, ends, max_step=limit, before=before, by=by)

    def cost(self, price_per_hour: float | None = None) -> Cost:
        """For how long trials held a place, and what that costs: by ``Resources(price_per_hour=...)``, as it was
        when each attempt began, or all of it by the price given here, in any currency.

        Counted are attempts, from start to end, pauses included; in a sweep that runs up to the moment of this
        picture, and where a driver was killed up to the last thing that it recorded. What is left out: workers
        that wait or start, the driver, storage, traffic. Raises `UsageError` for a price that is not above 0.
        """
        from caviar.analysis.progress import Progress
        from caviar.execution.resources import Resources
        from caviar.store.reader import Increment

        Resources(price_per_hour=price_per_hour)  # which checks it
        contents, alive = self._contents, self.status == "running"
        progress = Progress(str(self.path), price_per_hour=price_per_hour)
        whole = Increment(contents.metrics, contents.events, fresh=True)
        progress.update(whole, self.declaration, written=contents.written)
        found = progress.view(contents.seen_us if alive else None, alive=alive).cost
        priced, saved_s = found.hours - found.hours_without_price, self.audit().seconds_saved
        if not found.spent or math.isnan(saved_s):
            return found
        return dataclasses.replace(found, saved=saved_s / 3600 * found.spent / priced)

    def elapsed_s(self) -> float:
        """The time that the sweep spent in the hands of a driver, over all resumes."""
        clock = Clock()
        clock.add(self._events, self._reports.time_us)
        return clock.elapsed_s()

    def _source(self, top: int | None, trials: Iterable[int] | None, attempts: str) -> Source:
        """What is to be exported."""
        from caviar.analysis.export.source import Source

        if attempts not in ("last", "all"):
            raise UsageError(f'export(attempts={attempts!r}): must be "last" or "all"')
        if top is not None and trials is not None:
            raise UsageError("export(top=..., trials=...): takes one of the two")
        source = Source(
            path=self.path,
            status=self.status,
            metric=self.metric,
            maximize=self.maximize,
            declaration=self.declaration,
            frame=self.trials(),
            columns=self._trials,
            reports=self._main_line if attempts == "last" else self._reports,
            best=self._best_of_each,
            events=self._events,
            event_rows=np.arange(len(self._events)),
            with_attempt=attempts == "all",
        )
        if trials is not None:
            wanted = np.array(list(trials), np.int64)
            for trial in wanted.tolist():
                self.params_of(trial)
            return source.only(wanted)
        if top is not None:
            wanted = self.top(top).index.to_numpy()
            if not len(wanted):
                raise CaviarError(
                    f"{self.path}: no trial has reported a finite {self.metric!r} yet, so none is best"
                )
            return source.only(wanted)
        return source

    # --- the picture, worked out once -----------------------------------------------------------------------

    @cached_property
    def _events(self) -> EventColumns:
        return EventColumns(self._contents.events, str(self.path))

    @cached_property
    def _trials(self) -> TrialColumns:
        return TrialColumns.of(self._events, alive=self.status == "running")

    @cached_property
    def _reports(self) -> ReportColumns:
        return ReportColumns.of(self._contents.metrics, self.metric)

    @cached_property
    def _main_line(self) -> ReportColumns:
        return self._reports.main_line(self._trials.restarts)

    @cached_property
    def _known_line(self) -> ReportColumns:
        """Without the reports of trials whose params are lost."""
        known = self._trials.known(self._main_line.trial)
        return self._main_line if known.all() else self._main_line.take(known)

    @cached_property
    def _best_of_each(self) -> ReportColumns:
        return best_of_each(self._known_line.of_metric(self.metric), maximize=self.maximize)


def load(path: str | Path) -> Result:
    """Open a sweep folder, or the URL of one, finished or still running, from any process; what is no sweep raises
    `FolderError`."""
    return Result(place(path), _read(place(path)))


def _read(path: Place) -> Contents:
    from caviar.store.declaration import check_complete
    from caviar.store.lease import wall_clock_us
    from caviar.store.reader import Reader

    reader = Reader(path)
    check_complete(reader.declaration, path)
    # the state first: a sweep that ends in between reads as running, never as finished with trials under way
    status = reader.state()
    metrics, events = reader.read()
    return Contents(reader.declaration, status, metrics, events, reader.written, wall_clock_us())

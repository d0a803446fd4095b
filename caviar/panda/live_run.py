"""A live run in the hands of a person: from the process that started it, or from any other."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol

import pyarrow.compute as pc

from caviar.adjusting import OPERATIONS
from caviar.adopting import winner
from caviar.analysis.result import Result, load
from caviar.errors import CaviarError, UsageError
from caviar.forking import fork_path
from caviar.messages import Adjusted, RolledBack, TrialStarted
from caviar.panda.asking import TIMEOUT_S, Outcome, carried_out
from caviar.panda.driver import Driver
from caviar.panda.schedule import RunSchedule
from caviar.panda.story import Story, read_story
from caviar.runner import Observer
from caviar.store.inbox import post
from caviar.store.place import Place, place
from caviar.store.reader import Reader
from caviar.trial import Params, TrialState

if TYPE_CHECKING:
    from pathlib import Path

    import pandas as pd

    from caviar.execution.contract import Executor

_LOOK_S = 0.2
ENDS = frozenset(state.value for state in TrialState if state.final)
_RECORD_S = 0.02


@dataclass(frozen=True, slots=True)
class Adjustment:
    """A change of params."""

    step: int | None
    """The first step that is trained with the new values; None: it was only tried out."""
    old: Params
    new: Params
    text: str
    """The same in words."""


class Forkable(Protocol):
    """What a live run needs of the Sweep that it was made by."""

    def forked(
        self,
        path: str | Path,
        *,
        trial: int,
        at_step: int | None,
        vary: Sequence[str],
        trials: int | None,
        max_step: int | None,
        allow_change: bool,
    ) -> Any: ...


class LiveRun:
    """One trial that trains, and can be steered: watched, changed, paused, rolled back.

    Whatever changes it goes through the inbox of its folder, is applied at a step boundary, and is recorded. All
    methods that change something return once it is done; `CommandError` where it is refused, or was not done
    within ``timeout_s`` (then it says whether it may still be)."""

    def __init__(
        self, path: Place, *, trial: int = 0, driver: Driver | None = None, sweep: Forkable | None = None
    ) -> None:
        self.path = path
        """The sweep folder; in an object store its URL, which is text."""
        self.trial = trial
        self._driver = driver
        self._sweep = sweep
        self._result: Result | None = None

    def __repr__(self) -> str:
        return f"LiveRun({str(self.path)!r}, {self.status} at step {self.step})"

    # --- what it is ------------------------------------------------------------------------------------

    @property
    def status(self) -> str:
        """``running``, ``paused``, ``completed``, ``stopped``, ``failed``; ``pending`` before it begins, and where
        its driver is gone."""
        return str(self._row("status"))

    @property
    def step(self) -> int:
        """The last step that was reported, and is committed."""
        return int(self._row("steps"))

    @property
    def params(self) -> Params:
        """The params with which it trains now."""
        return self._story().at(self.step + 1)

    def params_at(self, step: int) -> Params:
        """The params with which this step of the main line was trained, or would be."""
        return self._story().at(step)

    def result(self) -> Result:
        """All that is recorded, as it is now."""
        self._result = load(self.path) if self._result is None else self._result.refresh()
        return self._result

    def curves(self, *, tidy: bool = False, attempts: Literal["last", "all"] = "last") -> pd.DataFrame:
        """The learning curve, as ``Result.curves``: the main line is what led to now; ``attempts="all"`` has the
        branches that were left, too."""
        frame = self.result().curves(tidy=tidy, attempts=attempts)
        return frame[frame["trial"] == self.trial].reset_index(drop=True)

    def adjustments(self) -> pd.DataFrame:
        """All changes of params, in the order in which they were made, one row for each param: ``step`` (the
        first trained with the new value), ``time``, ``attempt``, ``param``, ``old``, ``new``, ``by`` (``by
        hand``, or the rule that did it), ``note``, and ``main_line``: whether it led to now, or was left by a
        roll-back."""
        import pandas as pd

        columns = ("step", "time", "attempt", "param", "old", "new", "by", "note", "main_line")
        rows = [
            (
                event.step,
                event.time_us,
                event.attempt,
                name,
                event.old.get(name),
                value,
                event.by,
                event.note,
                main,
            )
            for event, main in ((one.event, one.main_line) for one in self._story().changes)
            for name, value in event.new.items()
        ]
        frame = pd.DataFrame(rows, columns=list(columns))
        frame["time"] = pd.to_datetime(frame["time"], unit="us", utc=True)
        return frame

    def schedule(self) -> RunSchedule:
        """The params by step that led to now: `RunSchedule` says how to repeat the run."""
        story, step = self._story(), self.step
        stop_on_nan = self.result().declaration.get("stop_on_nan")
        return RunSchedule(
            story.until(step), begins=story.params, seed=story.seed, last_step=step, stop_on_nan=stop_on_nan
        )

    # --- what is done to it ------------------------------------------------------------------------------

    def set(
        self,
        *changes: str,
        note: str | None = None,
        force: bool = False,
        dry_run: bool = False,
        timeout_s: float = TIMEOUT_S,
        **params: Any,
    ) -> Adjustment:
        """Change params from the next step on: ``run.set(lr=0.01)``, or relative, as text: ``run.set("lr*=0.5")``.

        Several at once are one change. They are checked against the space and the sweep's knobs; ``force`` lets
        numbers out of their bounds. ``note``: why, for the record. ``dry_run``: only say what would be.
        """
        wanted = {**_parsed(changes), **params}
        args = {"changes": wanted, "note": note, "force": force, "dry_run": dry_run}
        outcome = self._ask("set", args, timeout_s=timeout_s)
        if dry_run:
            return Adjustment(None, {}, {}, outcome.answer.text)
        event = next(event for event in outcome.events if isinstance(event, Adjusted))
        return Adjustment(event.step, event.old, event.new, outcome.answer.text)

    def rollback(
        self,
        *changes: str,
        to_step: int,
        note: str | None = None,
        force: bool = False,
        timeout_s: float = TIMEOUT_S,
        **params: Any,
    ) -> int:
        """Go back to the nearest checkpoint at or before ``to_step``, without one to the beginning, and train on
        from there, with params changed as in `set`. Adjustments after that step are dropped. Returns the step."""
        args = {"to_step": to_step, "changes": {**_parsed(changes), **params}, "note": note, "force": force}
        outcome = self._ask("rollback", args, timeout_s=timeout_s)
        return next(event.step for event in outcome.events if isinstance(event, RolledBack))

    def pause(self, *, note: str | None = None, timeout_s: float = TIMEOUT_S) -> None:
        """Wait after the step in progress, in place, until `unpause`. It can be set, rolled back and stopped
        meanwhile."""
        self._ask("pause", {"note": note}, timeout_s=timeout_s)

    def unpause(self, *, note: str | None = None, timeout_s: float = TIMEOUT_S) -> None:
        """Train on after a pause."""
        self._ask("unpause", {"note": note}, timeout_s=timeout_s)

    def fork(
        self,
        path: str | Path | None = None,
        executor: Executor | None = None,
        *,
        vary: Sequence[str],
        at_step: int | None = None,
        trials: int | None = None,
        max_step: int | None = None,
        allow_change: bool = False,
        on_event: Observer | None = None,
    ) -> Result:
        """Train several trials from a checkpoint of this run on, which differ by the params ``vary`` alone, into a
        sweep folder of their own: ``path``, or one beside this run's. The run goes on meanwhile.
        Returns what they came to; `adopt` puts one of them back. The arguments are those of `Sweep.forked`.

        A run that was attached to does not know its training function: `UsageError`; ``sweep.forked(path, ...)``
        is the same.
        """
        if self._sweep is None:
            raise UsageError(
                f"{self.path}: its training function is not known here; write sweep.forked({str(self.path)!r}, "
                "vary=[...]).run(...)"
            )
        forked = self._sweep.forked(
            self.path,
            trial=self.trial,
            at_step=at_step,
            vary=vary,
            trials=trials,
            max_step=max_step,
            allow_change=allow_change,
        )
        into = fork_path(self.path, forked.origin.step) if path is None else path
        result: Result = forked.run(into, executor, on_event=on_event)
        return result

    def adopt(
        self, fork: str | Path, *, trial: int | None = None, note: str | None = None, timeout_s: float = TIMEOUT_S
    ) -> str:
        """Go back to the step at which ``fork`` began, and on from the last checkpoint of one of its trials, with
        its params: ``trial``, or the best of those that completed. What it trained since becomes part of this
        run's main line. Returns what was done, in a line.

        A run that nobody drives adopts it when it is gone on with (``resume``), also one that had ended.
        `UsageError` where there is nothing to adopt.
        """
        chosen = winner(self.path, fork, trial=trial)
        if chosen.of_trial != self.trial:
            raise UsageError(f"{fork}: is a fork of trial {chosen.of_trial}, not of trial {self.trial}")
        args = chosen.args(note)
        if Reader(self.path, metrics=False).state() != "running":
            post(self.path, "adopt", trial=chosen.of_trial, args=args)
            return f"trial {chosen.trial} of {fork} will be adopted when {self.path} is gone on with"
        return carried_out(self.path, "adopt", trial=chosen.of_trial, args=args, timeout_s=timeout_s).answer.text

    def stop(self, *, timeout_s: float = TIMEOUT_S) -> None:
        """End it after the step in progress."""
        self._ask("stop", {}, timeout_s=timeout_s)

    def wait(self, timeout_s: float | None = None) -> Result:
        """Wait for its end, for at most ``timeout_s``, and return what it came to: its sweep's result.

        In the process that started it, what ended it in error is raised, and a Ctrl-C lets go of it in good
        order: everything is committed, and ``caviar resume`` goes on with it. From another process,
        `CaviarError` where its driver is gone."""
        if self._driver is not None:
            self._driver.wait(timeout_s)
            return self.result()
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        reader = Reader(self.path, metrics=False)
        while (state := reader.state()) == "running" and (deadline is None or time.monotonic() < deadline):
            if self.status in ENDS:
                break
            time.sleep(_LOOK_S)
        if state == "interrupted":
            raise CaviarError(f"{self.path}: its driver is gone; caviar resume {self.path} goes on with it")
        return self.result()

    def until_recorded(self, *, beyond: int = 0) -> None:
        """Return once its beginning is committed, so that other processes see it too. ``beyond``: how many
        attempts had begun before."""
        reader = Reader(self.path, metrics=False)
        begun = 0
        while (begun := begun + attempts_begun(reader)) <= beyond:
            if self._driver is None or self._driver.wait(_RECORD_S):
                return

    # --- inside --------------------------------------------------------------------------------------------

    def _ask(self, command: str, args: Mapping[str, Any], *, timeout_s: float) -> Outcome:
        given = {name: value for name, value in args.items() if value is not None}
        return carried_out(self.path, command, trial=self.trial, args=given, timeout_s=timeout_s)

    def _story(self) -> Story:
        reader = Reader(self.path, metrics=False)
        events = reader.refresh().events
        return read_story(events, self.trial, declaration=reader.declaration, where=str(self.path))

    def _row(self, column: str) -> Any:
        trials = self.result().trials()
        if self.trial not in trials.index:
            return {"status": "pending", "steps": 0}[column]
        return trials.loc[self.trial, column]


def attempts_begun(reader: Reader) -> int:
    """How many attempts of trials have begun since ``reader`` last looked, as far as that is committed."""
    kinds = reader.refresh().events.column("kind")
    return int(pc.sum(pc.equal(kinds, TrialStarted.kind)).as_py() or 0)


def attach(path: str | Path, *, trial: int = 0) -> LiveRun:
    """Take hold of a live run, or of any trial of a sweep, from any process. What is no sweep raises
    `FolderError`, a trial that is not there `UsageError`."""
    run = LiveRun(place(path), trial=trial)
    run._story()
    return run


def _parsed(changes: tuple[str, ...]) -> dict[str, str]:
    """``("lr*=0.5",)`` as {"lr": "*=0.5"}."""
    found: dict[str, str] = {}
    for text in changes:
        operation = next((one for one in OPERATIONS if isinstance(text, str) and one in text), None)
        if operation is None:
            raise UsageError(f"set({text!r:.60}): needs a relative change such as 'lr*=0.5'; else write lr=0.01")
        name, _, operand = text.partition(operation)
        found[name.strip()] = operation + operand.strip()
    return found

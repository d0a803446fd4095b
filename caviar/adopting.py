"""What a fork came to: which of its trials is to be adopted, and how that comes into the sweep that was forked."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from caviar.adoption import Adoption, Bring, Brought, check_adoption, check_args
from caviar.analysis.reports import ReportColumns
from caviar.analysis.result import load
from caviar.analysis.trials import EventColumns, TrialColumns
from caviar.errors import CaviarError, UsageError
from caviar.history import History, replay
from caviar.main_line import reopened
from caviar.messages import CommandReceived, Reports, TrialReopened
from caviar.origin import Origin
from caviar.state import Plan, SweepState
from caviar.store.checkpoints import CheckpointFiles
from caviar.store.declaration import check_complete
from caviar.store.inbox import waiting
from caviar.store.layout import SweepFolder
from caviar.store.place import Url, absolute, place
from caviar.store.reader import Reader
from caviar.trial import ORIGIN, Saved, TrialRecord, TrialState


@dataclass(frozen=True, slots=True, kw_only=True)
class Winner:
    """A trial of a fork that can be adopted."""

    of_trial: int
    """The one that it is a fork of."""
    path: str
    trial: int
    attempt: int
    step: int
    """Of the checkpoint to go on from, with its attempt."""

    def args(self, note: str | None = None) -> dict[str, Any]:
        """As the arguments of the command ``adopt``."""
        args = {"path": self.path, "trial": self.trial, "attempt": self.attempt, "step": self.step, "note": note}
        return {name: value for name, value in args.items() if value is not None}


def winner(path: str | Path, fork: str | Path, *, trial: int | None = None) -> Winner:
    """The trial of ``fork`` to be adopted by the sweep ``path``: ``trial``, or the best of those that completed.

    Raises `UsageError` where it is no fork of that sweep, none has completed, or there is no checkpoint to go on
    from.
    """
    origin = _origin(fork, SweepFolder.find(path))
    result = load(fork)
    if trial is None:
        top = result.top(len(result.trials()))
        completed = top[top["status"] == TrialState.COMPLETED.value]
        if completed.empty:
            counts = ", ".join(f"{count} {state}" for state, count in result.counts().items())
            raise UsageError(
                f"{fork}: no trial has completed with a finite {result.metric!r} ({counts or 'none'})"
            )
        trial = int(completed.index[0])
    _, record = _recall(fork, trial)
    saved = [one for one in record.checkpoints if one.attempt != ORIGIN]
    if not saved:
        raise UsageError(
            f"{fork}: trial {trial} has no checkpoint to go on from; its training function writes some where "
            "trial.checkpoint_due says so (checkpoint_every=...)"
        )
    whole = place(fork)
    return Winner(
        of_trial=origin.trial,
        path=whole if isinstance(whole, Url) else str(absolute(whole)),
        trial=trial,
        attempt=saved[-1].attempt,
        step=saved[-1].step,
    )


def bring(order: Bring, *, folder: SweepFolder, files: CheckpointFiles) -> Brought:
    """Carry out a `Bring` for the sweep in ``folder``. What prevents that is told in what it returns."""
    args = order.command.args
    path, trial, saved = args["path"], args["trial"], (args["attempt"], args["step"])
    try:
        origin = _origin(path, folder)
        if origin.trial != order.trial:
            raise UsageError(f"{path}: is a fork of trial {origin.trial}, not of trial {order.trial}")
        state, record = _recall(path, trial)
        found = next((one for one in record.checkpoints if one[:2] == saved), None)
        if found is None:
            raise UsageError(f"{path}: trial {trial} has no checkpoint of step {saved[1]} any more")
        adoption = Adoption(
            path=path,
            trial=trial,
            attempt=found.attempt,
            step=found.step,
            value=found.value,
            origin=origin,
            params=_params(state, record, first=origin.step + 1, last=found.step),
            reports=list(_reports(path, record, origin, found, to=order.trial)),
        )
        with files.checkpoint(order.trial, order.attempt, found.step) as draft:
            CheckpointFiles.of(place(path)).copy(trial, saved, draft)
    except (CaviarError, OSError) as error:
        return Brought(order, refusal=f"nothing was adopted: {error}")
    return Brought(order, adoption)


def asked(folder: SweepFolder) -> CommandReceived | None:
    """The adoption that waits in the inbox of a sweep that no driver has in hand, the first if there are several:
    it is done before anything is trained, and it has a trial go on that had ended."""
    return next((command for command in waiting(folder) if command.command == "adopt"), None)


def done_first(
    command: CommandReceived, history: History, *, folder: SweepFolder, files: CheckpointFiles
) -> tuple[Brought, TrialReopened | None]:
    """What such a command comes to, and the trial that has to be reopened for it. ``history``: with that trial as
    the one that was followed."""
    trial = 0 if command.trial is None else command.trial
    record, state = history.followed, history.state
    try:
        if record is None:
            raise UsageError(f"there is no trial {trial}: trials 0 to {state.sampled - 1} exist")
        check_args(command.args)
        if record.state is TrialState.FAILED:
            raise UsageError(f"trial {trial} has failed, and cannot be gone on with")
        # what no attempt is launched as: this driver gives the next number to what it finds under way
        brought = bring(Bring(trial, record.attempt + 1, command), folder=folder, files=files)
        if brought.adoption is not None:
            check_adoption(brought.adoption, record, state)
    except UsageError as error:
        return Brought(Bring(trial, 0, command), refusal=str(error)), None
    brought = replace(brought, from_step=_reached(folder, record))
    reopens = brought.adoption is not None and trial not in state.active
    return brought, replace(reopened(record, 0), ended=record.state.value) if reopens else None


def _reached(folder: SweepFolder, record: TrialRecord) -> int:
    """The last step that the last attempt of a trial reported."""
    rows = Reader(folder.path, metrics=False).reports_of([record.trial])
    steps = rows.column("step").to_numpy()[rows.column("attempt").to_numpy() == record.attempt]
    return int(steps.max(initial=record.step))


def _origin(fork: str | os.PathLike[str], folder: SweepFolder) -> Origin:
    """Where a fork of the sweep in ``folder`` begins."""
    declaration = SweepFolder.find(fork).declaration()
    if declaration.get("origin") is None:
        raise UsageError(f"{fork}: is no fork: its trials began with nothing")
    origin = Origin.from_dict(declaration["origin"])
    if origin.created_us != folder.declaration().get("created_us"):
        raise UsageError(f"{fork}: is a fork of {origin.path}, not of {folder}")
    return origin


def _recall(path: str | os.PathLike[str], trial: int) -> tuple[SweepState, TrialRecord]:
    reader = Reader(path, metrics=False)
    first: Mapping[str, Any] = reader.declaration
    check_complete(first, path, to_go_on=True)
    history = replay(Plan.of(first), reader.refresh().events, where=str(path), follow=trial)
    if history.followed is None:
        raise UsageError(f"{path}: there is no trial {trial}; it has the trials 0 to {history.state.sampled - 1}")
    return history.state, history.followed


def _params(state: SweepState, record: TrialRecord, *, first: int, last: int) -> list[tuple[int, dict[str, Any]]]:
    """The params of a trial from one step to another, as `Adoption` has them."""
    here, later = state.params_at(record, first)
    return [(first, dict(here)), *((step, dict(changes)) for step, changes in later if step <= last)]


def _reports(
    path: str | os.PathLike[str], record: TrialRecord, origin: Origin, saved: Saved, *, to: int
) -> Iterator[Reports]:
    """The reports of a trial's main line behind its origin, up to a checkpoint, as those of the trial ``to``."""
    reader = Reader(path, metrics=False)
    table, events = reader.reports_of([record.trial]), reader.read()[1]
    restarts = TrialColumns.of(EventColumns(events, str(path)), alive=False).restarts
    rows = ReportColumns.of(table, reader.declaration["metric"]).main_line(restarts)
    rows = rows.take((rows.step > origin.step) & (rows.step <= saved.step))
    if not len(rows):
        return
    starts = np.flatnonzero(rows.report_starts())
    ends = np.r_[starts[1:], len(rows)]
    names = np.array(rows.names, object)
    of_kind: dict[tuple[str, ...], list[int]] = {}
    for number, (start, end) in enumerate(zip(starts.tolist(), ends.tolist(), strict=True)):
        of_kind.setdefault(tuple(names[rows.code[start:end]]), []).append(number)
    for kind, numbers in of_kind.items():
        seq = np.array(numbers, np.int64)
        at = starts[seq]
        yield Reports(
            kind,
            trial=np.full(len(seq), to, np.int64),
            attempt=np.zeros(len(seq), np.int64),
            seq=seq,
            step=rows.step[at],
            time_us=rows.time_us[at],
            values=np.stack([rows.value[at + offset] for offset in range(len(kind))], axis=1),
        )

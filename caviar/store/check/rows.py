"""The rows of both tables, in the order of commits: doubled ones, missing ones, impossible ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from caviar.errors import UsageError
from caviar.messages import (
    Checkpointed,
    CheckpointLost,
    CommandAnswered,
    DeclarationChanged,
    EventsLost,
    Ints,
    Recorded,
    Repaired,
    RolledBack,
    TrialSampled,
)
from caviar.samplers import RandomSampler
from caviar.state import MISFITS, Plan, SweepState, misfit
from caviar.store.check.findings import Findings
from caviar.store.segment import one_line
from caviar.store.tables import events_of

Bools = npt.NDArray[np.bool_]


@dataclass(slots=True)
class Reported:
    """What the rows of metrics say, without the rows."""

    reports: int = 0
    trials: Bools = field(default_factory=lambda: np.zeros(0, np.bool_))
    """Which trials have reports."""
    attempts: int = 0
    """No trial has reports of an attempt above this number."""
    _keys: Ints = field(default_factory=lambda: np.zeros(0, np.int64))
    """Trial and attempt in one number, sorted."""
    _highest: Ints = field(default_factory=lambda: np.zeros(0, np.int64))
    """The last seq of each of these."""

    def take(self, rows: pa.Table, file: str, findings: Findings) -> None:
        """The next rows. From commit to commit, the seq of an attempt only grows: so what lies in another file
        already is told by the last seq of each attempt, and memory grows with the attempts alone."""
        if not rows.num_rows:
            return
        trial, attempt, seq = (rows.column(name).to_numpy() for name in ("trial", "attempt", "seq"))
        if trial.min() < 0 or attempt.min() < 0 or seq.min() < 0 or trial.max() >= 2**40:
            findings.damage(file, "has rows with a trial, attempt or seq that cannot be")
            return
        code = rows.column("metric").unify_dictionaries().combine_chunks().indices.to_numpy()
        key = (trial << 22) | attempt
        order = np.lexsort((code, seq, key))
        key, seq, code = key[order], seq[order], code[order]
        same_report = (key[1:] == key[:-1]) & (seq[1:] == seq[:-1])
        doubled = int((same_report & (code[1:] == code[:-1])).sum())
        begins = np.r_[True, ~same_report]
        key, seq = key[begins], seq[begins]
        place = np.searchsorted(self._keys, key)
        known = np.zeros(len(key), np.bool_)
        if len(self._keys):
            at = np.minimum(place, len(self._keys) - 1)
            known = (self._keys[at] == key) & (seq <= self._highest[at])
        doubled += int(known.sum())
        if doubled:
            example = int(np.flatnonzero(known)[0]) if known.any() else 0
            of = f", among them of trial {key[example] >> 22}" if known.any() else ""
            findings.damage(file, f"{doubled:,} reports are doubled, by (trial, attempt, seq){of}")
        self.reports += len(key) - int(known.sum())
        self.attempts = max(self.attempts, int(attempt.max()))
        if len(self.trials) <= trial.max():
            grown = np.zeros(max(2 * len(self.trials), int(trial.max()) + 1), np.bool_)
            grown[: len(self.trials)] = self.trials
            self.trials = grown
        self.trials[trial] = True
        ends = np.flatnonzero(np.r_[key[1:] != key[:-1], True])
        keys = np.concatenate([self._keys, key[ends]])
        highest = np.concatenate([self._highest, seq[ends]])
        order = np.lexsort((highest, keys))
        keys, highest = keys[order], highest[order]
        last = np.r_[keys[1:] != keys[:-1], True]
        self._keys, self._highest = keys[last], highest[last]

    def of(self, trial: int) -> bool:
        """Whether there are reports of a trial."""
        return trial < len(self.trials) and bool(self.trials[trial])


@dataclass(frozen=True, slots=True)
class Missing:
    """Events that are lost, as their numbers show, and of which no repair has said so yet."""

    first: int
    """The commits that are lost there, both ends included."""
    last: int
    seq: int
    """The number of the first of them."""
    events: int | None
    """How many they are; None: that cannot be told, as nothing is left that came after them."""


@dataclass(slots=True)
class Told:
    """What the rows of events say."""

    events: int = 0
    next_seq: int = 0
    sampled: Bools = field(default_factory=lambda: np.zeros(0, np.bool_))
    """Which trials have been sampled, as far as that is recorded."""
    trials: int = 0
    """Trials of which anything is recorded have numbers below this."""
    attempts: int = 0
    checkpoints: dict[int, list[tuple[int, int]]] = field(default_factory=dict)
    """The recorded checkpoints (attempt, step) of each trial that should be there, in order."""
    answered: set[str] = field(default_factory=set)
    """The ids of commands that were answered."""
    repairs: list[Repaired] = field(default_factory=list)
    missing: list[Missing] = field(default_factory=list)
    gaps: list[EventsLost] = field(default_factory=list)
    state: SweepState | None = None
    """What they come to; None: that cannot be told."""

    @property
    def known_trials(self) -> int:
        """How many trials have been sampled, as far as that is recorded."""
        return int(self.sampled.sum())


class Listener:
    """Listens to the events of a sweep."""

    def __init__(self, declaration: Mapping[str, Any] | None, findings: Findings) -> None:
        self.told = Told()
        self._findings = findings
        self._keep_all = declaration is not None and declaration.get("keep_checkpoints") == "all"
        self._lost: tuple[int, int] | None = None
        """The commits that are lost since the last event."""
        self._after_repair = False
        """Whether the last event says that events were lost there."""
        if declaration is None:
            return
        try:
            # Folding asks nothing of the sampler, and one that is not ours cannot be made here
            self.told.state = SweepState(Plan.of(declaration, sampler=RandomSampler()))
        except (UsageError, *MISFITS) as error:
            findings.note("sweep.json", f"the story that its events tell is not checked: {one_line(error)}")

    def gap(self, first: int, last: int) -> None:
        """Events of these commits are lost, and no repair has said so yet."""
        self._lost = (first if self._lost is None else self._lost[0], last)
        if self.told.state is not None:
            self.told.state.apply(EventsLost(0, first, last))

    def end(self) -> None:
        """There are no more."""
        if self._lost is not None:
            self.told.missing.append(Missing(*self._lost, self.told.next_seq, None))
            self.told.next_seq += 1

    def take(self, rows: pa.Table, file: str) -> None:
        """The next events."""
        if not rows.num_rows:
            return
        seq = rows.column("seq").to_numpy()
        self._check_numbers(rows, seq, file)
        told = self.told
        told.events += rows.num_rows
        told.next_seq = max(told.next_seq, int(seq.max()) + 1)
        told.trials = max(told.trials, _most(rows, "trial") + 1)
        told.attempts = max(told.attempts, _most(rows, "attempt"))
        sampled = rows.filter(pc.equal(rows.column("kind"), TrialSampled.kind)).column("trial").to_numpy()
        if len(sampled):
            if len(told.sampled) <= sampled.max():
                grown = np.zeros(max(2 * len(told.sampled), int(sampled.max()) + 1), np.bool_)
                grown[: len(told.sampled)] = told.sampled
                told.sampled = grown
            told.sampled[sampled] = True
        try:
            for event in events_of(rows):
                self._note(event)
                self._fold(event, file)
        except (ValueError, TypeError, LookupError, AttributeError) as error:
            self._findings.damage(file, f"an event says what no event says: {one_line(error)}")

    def _check_numbers(self, rows: pa.Table, seq: Ints, file: str) -> None:
        """``seq`` counts without gaps, but for what is known to be lost."""
        told, kinds = self.told, rows.column("kind")
        before = np.r_[told.next_seq - 1, seq[:-1]]
        for at in np.flatnonzero(seq != before + 1).tolist():
            number, expected = int(seq[at]), int(before[at]) + 1
            if number < expected:
                text = f"event {number} comes after event {expected - 1}: doubled, or out of order"
                self._findings.damage(file, text)
                break
            after_repair = self._after_repair if at == 0 else kinds[at - 1].as_py() == EventsLost.kind
            if at == 0 and self._lost is not None:
                told.missing.append(Missing(*self._lost, expected, number - expected))
            elif not after_repair:
                text = f"the events {expected} to {number - 1} are missing before event {number}"
                self._findings.damage(file, text)
        self._lost = None
        self._after_repair = kinds[-1].as_py() == EventsLost.kind

    def _note(self, event: Recorded) -> None:
        told = self.told
        match event:
            case Checkpointed():
                if event.superseded is None and not self._keep_all:
                    told.checkpoints.pop(event.trial, None)
                self._give_up(event.trial, [*(event.superseded or ()), (event.attempt, event.step)])
                told.checkpoints.setdefault(event.trial, []).append((event.attempt, event.step))
            case RolledBack():
                self._give_up(event.trial, event.superseded)
            case CheckpointLost():
                self._forget(event.trial, event.attempt, event.step)
            case DeclarationChanged():
                self._keep_all = event.changes.get("keep_checkpoints", "all" if self._keep_all else "") == "all"
            case CommandAnswered():
                told.answered.add(event.id)
            case EventsLost():
                told.gaps.append(event)
            case Repaired():
                told.repairs.append(event)
                for trial, attempt, step in event.checkpoints:
                    self._forget(trial, attempt, step)

    def _give_up(self, trial: int, superseded: Sequence[Sequence[int]] | None) -> None:
        for attempt, step in superseded or ():
            self._forget(trial, attempt, step)

    def _forget(self, trial: int, attempt: int, step: int) -> None:
        found = self.told.checkpoints.get(trial, [])
        left = [one for one in found if one != (attempt, step)]
        if left:
            self.told.checkpoints[trial] = left
        else:
            self.told.checkpoints.pop(trial, None)

    def _fold(self, event: Recorded, file: str) -> None:
        if self.told.state is None:
            return
        try:
            self.told.state.apply(event)
        except MISFITS as error:
            self._findings.damage(
                file,
                f"{misfit(event, error)}: the tables can be read, but the sweep cannot be resumed",
            )
            self.told.state = None


def compare(reported: Reported, told: Told, findings: Findings, *, excused: bool) -> None:
    """Reports of trials that were never sampled. ``excused``: events are known to be lost."""
    trials = np.flatnonzero(reported.trials)
    known = np.zeros(len(reported.trials), np.bool_)
    known[: len(told.sampled)] = told.sampled[: len(known)]
    strangers = [int(trial) for trial in trials if not known[trial]]
    if not strangers:
        return
    some = ", ".join(map(str, strangers[:5])) + (", ..." if len(strangers) > 5 else "")
    text = f"there are reports of {len(strangers):,} trials that no event says were sampled: {some}"
    if excused:
        findings.note("metrics", f"{text}; their params are lost")
    else:
        findings.damage("metrics", text)


def _most(rows: pa.Table, column: str) -> int:
    most: int | None = pc.max(rows.column(column)).as_py()
    return -1 if most is None else most

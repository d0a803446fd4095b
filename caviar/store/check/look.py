"""A whole check of a sweep folder: finished, interrupted, or running meanwhile."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from caviar.errors import FolderError
from caviar.messages import Repaired
from caviar.store.check.around import (
    Around,
    look_at_checkpoints,
    look_at_declaration,
    look_at_foreign,
    look_at_inbox,
    look_at_lease,
    look_at_leftovers,
    look_at_origin,
)
from caviar.store.check.files import Files, look_at_files, lost_by_stand_ins, names, rows_of
from caviar.store.check.findings import Finding, Findings, Ranges, Severity, ranges, told
from caviar.store.check.rows import Listener, Reported, Told, compare
from caviar.store.layout import TABLES, SweepFolder, Table
from caviar.store.lease import wall_clock_us

LOOKS = 4
"""A running sweep changes under one's hands: what is damaged is so in each of so many looks."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a check comes to."""

    findings: Sequence[Finding]
    held: bool
    """Whether a driver has the sweep in hand."""
    files: Files
    around: Around
    told: Told
    reported: Reported
    declaration: tuple[str, bytes | None]
    """How sweep.json is, and what it should hold."""

    @property
    def sound(self) -> bool:
        """Whether nothing is damaged."""
        return not any(finding.severity is Severity.DAMAGE for finding in self.findings)

    @property
    def commits(self) -> int:
        """How many commits were made, as far as that can be seen."""
        return self.files.last + 1

    @property
    def lost(self) -> dict[Table, Ranges]:
        """The commits whose rows no file holds, and of which no repair has said so yet."""
        return {table: self.files.lost(table) for table in TABLES}

    @property
    def whole_until(self) -> int:
        """The last commit up to which nothing is lost; -1: not even the first."""
        return min([self.files.last, *(spans[0][0] - 1 for spans in self.lost.values() if spans)])

    @property
    def trials(self) -> int:
        """How many trials can be read."""
        return self.told.known_trials


def check(folder: SweepFolder, *, log_bytes: int, now_us: Callable[[], int] = wall_clock_us) -> Verdict:
    """Verify a sweep folder, and change nothing. ``log_bytes``: how long a trial's log may be.

    Raises `FolderError` where there is nothing like a sweep, or one of a later format.
    """
    _refuse_what_is_no_sweep(folder)
    verdict: Verdict | None = None
    for _ in range(LOOKS):
        try:
            new = look(folder, log_bytes=log_bytes, now_us=now_us())
        except FileNotFoundError:
            continue  # a commit was rolled before we came to it
        verdict = new if verdict is None else _both(verdict, new)
        if verdict.sound or not verdict.held:
            return verdict
    if verdict is None:
        raise FolderError(f"{folder}: changes faster than it can be checked; try again")
    return verdict


def _refuse_what_is_no_sweep(folder: SweepFolder) -> None:
    if folder.exists() or any(names(folder, key) for key in (folder.hot_folder, *TABLES)):
        return
    folder.declaration()  # says what this is instead


def _both(before: Verdict, now: Verdict) -> Verdict:
    """Of what was damaged, only that which is so still; the rest as it is now."""
    seen = {(one.file, one.text) for one in before.findings}
    still = [one for one in now.findings if one.severity is not Severity.DAMAGE or (one.file, one.text) in seen]
    return Verdict(still, now.held, now.files, now.around, now.told, now.reported, now.declaration)


def look(folder: SweepFolder, *, log_bytes: int, now_us: int) -> Verdict:
    """One look, as `check` takes them. `FileNotFoundError`: a commit was rolled meanwhile."""
    findings, around = Findings(), Around()
    held = look_at_lease(folder, findings, now_us=now_us)
    look_at_foreign(folder, findings, around)
    files = look_at_files(folder, findings)
    declaration = look_at_declaration(folder, findings)
    content = _content(declaration[1])
    listener = Listener(content, findings)
    reported = Reported()
    for source in files.sources("metrics"):
        if not source.lost:
            key = source.part.key if source.part is not None else folder.hot(source.first)
            reported.take(rows_of(folder, source, "metrics"), key, findings)
    for source in files.sources("events"):
        if source.lost:
            listener.gap(source.first, source.last)
        else:
            key = source.part.key if source.part is not None else folder.hot(source.first)
            listener.take(rows_of(folder, source, "events"), key)
    listener.end()
    heard = listener.told
    lost_events = bool(files.lost("events") or heard.gaps or lost_by_stand_ins(files, "events"))
    compare(reported, heard, findings, excused=lost_events)
    look_at_checkpoints(folder, heard, findings, around)
    look_at_origin(folder, content, findings)
    look_at_inbox(folder, heard, findings, held=held)
    look_at_leftovers(folder, findings, around, log_bytes=log_bytes)
    _tell_of_repairs(folder, files, heard, findings, around)
    return Verdict(findings.found, held, files, around, heard, reported, declaration)


def _content(data: bytes | None) -> Mapping[str, Any] | None:
    if data is None:
        return None
    try:
        content = json.loads(data)
    except ValueError:
        return None
    return content if isinstance(content, dict) else None


def _tell_of_repairs(folder: SweepFolder, files: Files, heard: Told, findings: Findings, around: Around) -> None:
    """What earlier repairs found lost stays in sight."""
    recorded: dict[Table, set[int]] = {table: set() for table in TABLES}
    named: set[str] = set()
    for repair in heard.repairs:
        named.update(repair.aside)
        for table in TABLES:
            for first, last in repair.lost.get(table, ()):
                recorded[table].update(range(first, last + 1))
        findings.note(folder.damaged_folder, _told_of(repair))
    for table in TABLES:
        silent = [
            commit
            for first, last in lost_by_stand_ins(files, table)
            for commit in range(first, last + 1)
            if commit not in recorded[table]
        ]
        if silent and not files.lost(table):
            findings.note(table, f"{told(ranges(silent))} of {table} are lost, as a repair left them")
    unnamed = sorted(around.aside - named)
    findings.harmless_many(
        folder.damaged_folder,
        [f"{folder.damaged_folder}/{name}" for name in unnamed],
        "set aside, but no repair has recorded that",
    )


def _told_of(repair: Repaired) -> str:
    lost = [
        f"{told(tuple((first, last) for first, last in spans))} of {table}"
        for table, spans in repair.lost.items()
        if spans
    ]
    if repair.checkpoints:
        lost.append(f"{len(repair.checkpoints):,} checkpoints")
    what = f"lost were {', '.join(lost)}" if lost else "nothing was lost"
    return f"repaired: {what}; {len(repair.aside):,} files were set aside"

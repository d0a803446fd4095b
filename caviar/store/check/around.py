"""What lies beside the tables: checkpoints, commands, logs, leftovers, files that are not caviar's, the lease."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

from caviar.errors import FolderError, OutageError
from caviar.store import spare
from caviar.store.check.files import names
from caviar.store.check.findings import Findings, size
from caviar.store.check.rows import Told
from caviar.store.checkpoints import MARKER
from caviar.store.declaration import declared_mistake
from caviar.store.layout import TABLES, SweepFolder
from caviar.store.lease import Lease
from caviar.store.local import TMP
from caviar.trial import ORIGIN

_CHECKPOINT = re.compile(r"checkpoints/(\d+)/(\d+)/(\d+)/.+")
FOUNDING = f"{TMP}/founding"
"""In an object store it stays, for good."""
_LOG = re.compile(r"logs/\d+\.log")
LOG_SLACK_BYTES = 1024
"""The line that says that a log was cut comes on top of its bound."""

Checkpoint = tuple[int, int, int]
"""Trial, attempt and step."""


@dataclass(slots=True)
class Around:
    """What is found beside the tables, as far as a repair has to do with it."""

    foreign: list[str] = field(default_factory=list)
    """Keys of files that readers would trip over."""
    checkpoints: dict[Checkpoint, str] = field(default_factory=dict)
    """Recorded checkpoints that cannot be restored, and why."""
    aside: set[str] = field(default_factory=set)
    """The names, in the sweep folder, of what earlier repairs set aside."""


def look_at_foreign(folder: SweepFolder, findings: Findings, around: Around) -> None:
    """Files that are not caviar's, and folders that are missing."""
    inside = {
        folder.sweep_json,
        folder.sweep_copy,
        folder.lease_json,
        folder.logs_folder,
        folder.damaged_folder,
        TMP,
    }
    inside.update(folder.folders)
    strangers = sorted(name for name in names(folder, "") if name not in inside)
    findings.harmless_many("", strangers, "not caviar's; everybody passes it over")
    for key in folder.folders:
        try:
            folder.storage.names(key)
        except FileNotFoundError:
            if key in (folder.hot_folder, *map(folder.table_folder, TABLES)):
                findings.damage(key, "the folder is missing")
            else:
                findings.harmless(key, "the folder is missing; the next driver makes it")
        except NotADirectoryError:
            findings.damage(key, "is a file, and should be a folder")
            around.foreign.append(key)
    for table in TABLES:
        inside_table = folder.table_folder(table)
        for key, _ in folder.storage.walk(inside_table):
            name = key.removeprefix(f"{inside_table}/")
            if SweepFolder.part_first(name) is not None:
                continue
            if any(piece.startswith(("_", ".")) for piece in name.split("/")):
                findings.harmless(key, "not caviar's; everybody passes it over")
            else:
                around.foreign.append(key)
                findings.damage(key, f"not caviar's: pandas.read_parquet on {inside_table}/ trips over it")
    hot = [name for name in names(folder, folder.hot_folder) if SweepFolder.hot_commit(name) is None]
    strangers = [f"{folder.hot_folder}/{name}" for name in sorted(hot)]
    findings.harmless_many(folder.hot_folder, strangers, "not a commit's name; everybody passes it over")


def look_at_checkpoints(folder: SweepFolder, told: Told, findings: Findings, around: Around) -> None:
    """Checkpoints that are recorded against those that are there; memory holds the files of one."""
    expected = {(trial, *one) for trial, found in told.checkpoints.items() for one in found}
    extra: list[str] = []
    extra_bytes = 0
    strangers: list[str] = []
    of_origins = f"{folder.checkpoints_folder}/origin/"
    for place, files in _checkpoints(folder):
        if place is None:
            strangers += [key for key, _ in files if not key.startswith(of_origins)]
            continue
        key = folder.checkpoint(*place)
        if place not in expected:
            extra.append(f"{key} ({size(sum(size_bytes for _, size_bytes in files))})")
            extra_bytes += sum(size_bytes for _, size_bytes in files)
            continue
        expected.discard(place)
        sizes = {name.removeprefix(f"{key}/"): size_bytes for name, size_bytes in files}
        wrong = damage_of(folder, key, sizes, findings)
        if wrong is not None:
            around.checkpoints[place] = wrong
            findings.damage(key, f"the checkpoint of trial {place[0]} at step {place[2]} {wrong}")
    for place in sorted(expected):
        around.checkpoints[place] = "is missing"
        key = folder.checkpoint(*place)
        findings.damage(key, f"the checkpoint of trial {place[0]} at step {place[2]} is missing")
    if extra:
        some = ", ".join(extra[:3]) + (", ..." if len(extra) > 3 else "")
        findings.harmless(
            folder.checkpoints_folder,
            f"{len(extra):,} checkpoints that no trial goes on from, superseded or never recorded, "
            f"{size(extra_bytes)}: {some}",
        )
    findings.harmless_many(folder.checkpoints_folder, strangers, "not a checkpoint's; everybody passes it over")


def look_at_origin(folder: SweepFolder, declaration: Mapping[str, Any] | None, findings: Findings) -> None:
    """The checkpoint of another sweep that all trials of this one begin from, if they do."""
    sound = declaration is not None and declared_mistake(declaration) is None
    origin = declaration.get("origin") if declaration is not None and sound else None
    files = dict(folder.storage.walk(f"{folder.checkpoints_folder}/origin"))
    if origin is not None:
        key = folder.checkpoint(0, ORIGIN, origin["step"])
        inside = {name: size_bytes for name, size_bytes in files.items() if name.startswith(f"{key}/")}
        files = {name: size_bytes for name, size_bytes in files.items() if name not in inside}
        sizes = {name.removeprefix(f"{key}/"): size_bytes for name, size_bytes in inside.items()}
        wrong = damage_of(folder, key, sizes, findings) if sizes else "is missing"
        if wrong is not None:
            mend = f"the next driver copies it again from {origin['path']}, if it still lies there"
            findings.damage(key, f"the checkpoint that all trials begin from {wrong}; {mend}")
    findings.harmless_many(folder.checkpoints_folder, sorted(files), "no trial begins from it")


def damage_of(
    folder: SweepFolder, key: str, sizes: dict[str, int], findings: Findings | None = None
) -> str | None:
    """What is wrong with a checkpoint that has files of these sizes, by their names within it; None: nothing."""
    try:
        listed = json.loads(folder.storage.read(f"{key}/{MARKER}"))["sizes_bytes"]
        wanted = {str(name): int(size_bytes) for name, size_bytes in listed.items()}
    except FileNotFoundError:
        return f"has no {MARKER}, so it may not be whole"
    except OutageError:
        raise
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        return f"has a damaged {MARKER}: {(str(error).splitlines() or [type(error).__name__])[0]}"
    for name, size_bytes in wanted.items():
        if name not in sizes:
            return f"lacks {name}"
        if sizes[name] != size_bytes:
            return f"is damaged: {name} has {sizes[name]} bytes, and had {size_bytes}"
    others = sorted(f"{key}/{name}" for name in sizes if name not in wanted and name != MARKER)
    if findings is not None:
        findings.harmless_many(key, others, "not listed in its checkpoint, and passed over")
    return None


def files_of(folder: SweepFolder, checkpoint: Checkpoint) -> dict[str, int]:
    """The files of a checkpoint and their sizes, by their names within it."""
    key = folder.checkpoint(*checkpoint)
    return {name.removeprefix(f"{key}/"): size_bytes for name, size_bytes in folder.storage.walk(key)}


def look_at_inbox(folder: SweepFolder, told: Told, findings: Findings, *, held: bool) -> None:
    """Commands that wait, or that should have gone."""
    present = sorted(names(folder, folder.inbox_folder))
    bad = [f"{folder.inbox_folder}/{name}" for name in present if name.endswith(".bad")]
    findings.harmless_many(folder.inbox_folder, bad, "no command; a driver set it aside")
    for name in present:
        key = f"{folder.inbox_folder}/{name}"
        command_id = name.removesuffix(".json")
        if key in bad:
            continue
        if command_id == name:
            findings.harmless(key, "not a command's name; the next driver sets it aside")
        elif command_id in told.answered:
            findings.harmless(key, "a command that was answered; the next driver removes it")
        elif held:
            findings.note(key, "a command that waits for its answer")
        else:
            findings.harmless(key, "a command that no driver has answered; the next one obeys it")


def look_at_leftovers(folder: SweepFolder, findings: Findings, around: Around, *, log_bytes: int) -> None:
    """Logs over their bound, what was on its way, and what earlier repairs set aside."""
    strangers = []
    for key, size_bytes in folder.storage.walk(folder.logs_folder):
        if not _LOG.fullmatch(key):
            strangers.append(key)
        elif size_bytes > log_bytes + LOG_SLACK_BYTES:
            findings.harmless(key, f"{size(size_bytes)}: longer than a log may be, {size(log_bytes)}")
    findings.harmless_many(folder.logs_folder, strangers, "not a log's name; everybody passes it over")
    left = [found for found in folder.storage.walk(TMP) if found[0] != FOUNDING]
    if left:
        text = f"{len(left):,} files on their way, {size(sum(size_bytes for _, size_bytes in left))}"
        findings.harmless(TMP, f"{text}; what crashed writers left there, the next driver removes")
    for key, _ in folder.storage.walk(folder.damaged_folder):
        around.aside.add(key.removeprefix(f"{folder.damaged_folder}/"))


def look_at_lease(folder: SweepFolder, findings: Findings, *, now_us: int) -> bool:
    """Who drives the sweep; whether anybody does."""
    lease = Lease.read(folder)
    if lease is None:
        if folder.storage.exists(folder.lease_json):
            findings.harmless(folder.lease_json, "cannot be read, so it keeps nobody away")
        return False
    age_s = max(0.0, (now_us - lease.time_us) / 1e6)
    who = f"process {lease.pid} on {lease.host}, last heard of {age_s:.0f} s ago"
    if lease.held(now_us):
        findings.note(folder.lease_json, f"held by {who}")
        return True
    findings.harmless(folder.lease_json, f"stale: {who}, is gone; the next driver replaces it")
    return False


def look_at_declaration(folder: SweepFolder, findings: Findings) -> tuple[str, bytes | None]:
    """How sweep.json is (``whole``, ``damaged`` or ``missing``), and what it holds, be it only in its copy."""
    key = folder.sweep_json
    copy = _copy(folder, findings)
    mend = (
        f"{folder.sweep_copy} is a copy" if copy else "there is no copy of it; the tables are Parquet all the same"
    )
    try:
        folder.declaration()
        data = folder.storage.read(key)
    except FolderError as error:
        if isinstance(error.__cause__, OutageError | PermissionError):
            raise
        if not folder.storage.exists(key):
            findings.damage(key, f"missing: without it nothing of caviar reads this folder; {mend}")
            return "missing", copy
        if "format version" in str(error) and copy is None:
            raise
        findings.damage(key, f"{str(error).removeprefix(f'{folder.where(key)}: ')}; {mend}")
        return "damaged", copy
    if copy is not None and data != copy:
        findings.damage(key, f"differs from its copy {folder.sweep_copy}, and neither is ever rewritten")
        return "damaged", copy
    return "whole", data


def _copy(folder: SweepFolder, findings: Findings) -> bytes | None:
    key = folder.sweep_copy
    try:
        return spare.decode(folder.where(key), folder.storage.read(key))
    except FileNotFoundError:
        return None
    except FolderError:
        findings.harmless(key, "a copy of sweep.json that is damaged")
        return None


def _checkpoints(folder: SweepFolder) -> Iterator[tuple[Checkpoint | None, list[tuple[str, int]]]]:
    """The files of each checkpoint; under None what is none's."""

    def place(file: tuple[str, int]) -> Checkpoint | None:
        match = _CHECKPOINT.fullmatch(file[0])
        return (int(match[1]), int(match[2]), int(match[3])) if match else None

    for checkpoint, files in groupby(folder.storage.walk(folder.checkpoints_folder), key=place):
        yield checkpoint, list(files)

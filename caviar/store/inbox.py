"""The inbox: the folder through which people and programs speak to a running sweep.

A command is one small file, written as a whole and named by an id that sorts by time. The driver records it as an
event, answers in another event, and removes the file once the answer is committed.
"""

from __future__ import annotations

import json
import os
import secrets
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from typing import Any, TypeAlias

from caviar.errors import FolderError, OutageError, UsageError
from caviar.messages import CommandAnswered, CommandReceived
from caviar.store.layout import SweepFolder
from caviar.store.lease import wall_clock_us
from caviar.store.strict_json import is_whole, parse_object

_POLL_S = 0.05
_MOST_BYTES = 2**20
"""No command is longer."""


def post(
    folder: str | os.PathLike[str],
    command: str,
    *,
    trial: int | None = None,
    args: Mapping[str, Any] | None = None,
) -> str:
    """Leave a command for the sweep in ``folder``, for one trial or for all (None); returns the command's id.

    Raises `FolderError` where ``folder`` is no sweep, and `UsageError` where ``args`` is not JSON.
    """
    sweep = SweepFolder.find(folder)
    command_id = f"{wall_clock_us():016d}-{secrets.token_hex(4)}"
    content = {"id": command_id, "command": command, "trial": trial, "args": dict(args or {})}
    try:
        data = json.dumps(content, allow_nan=False).encode()
    except (TypeError, ValueError) as error:
        raise UsageError(f"{command}: its arguments {dict(args or {})!r} are not JSON: {error}") from None
    sweep.storage.replace(sweep.command(command_id), data)
    return command_id


def answer(folder: str | os.PathLike[str], command_id: str, timeout_s: float) -> CommandAnswered | None:
    """Wait for the answer to a command; None: there was none within ``timeout_s``."""
    from caviar.store.reader import Reader  # loads pyarrow, which a driver's look into the inbox does not need
    from caviar.store.tables import events_of

    reader = Reader(folder, metrics=False)
    deadline_s = time.monotonic() + timeout_s
    while True:
        events = reader.refresh().events
        for event in events_of(events.filter(events_of_kind(events, CommandAnswered.kind)), where=str(folder)):
            if isinstance(event, CommandAnswered) and event.id == command_id:
                return event
        if time.monotonic() >= deadline_s:
            return None
        time.sleep(_POLL_S)


def waiting(folder: SweepFolder) -> list[CommandReceived]:
    """The commands that lie in the inbox of a sweep that no driver has in hand, oldest first. What is no command,
    or cannot be read, is passed over: the next driver says so."""
    found: list[CommandReceived] = []
    try:
        names = sorted(folder.storage.names(folder.inbox_folder))
    except FileNotFoundError:  # the next driver makes it
        return found
    for name in names:
        with suppress(OSError, ValueError):
            data = folder.storage.read(f"{folder.inbox_folder}/{name}", most_bytes=_MOST_BYTES)
            found.append(_read(name, data, now_us=wall_clock_us()))
    return found


def events_of_kind(events: Any, kind: str) -> Any:
    """A mask of the rows of an events table that are of this kind."""
    import pyarrow.compute as pc

    return pc.equal(events.column("kind"), kind)


class _NotACommandError(ValueError):
    """A file in the inbox that holds no command."""


_File: TypeAlias = tuple[str, bytes | OSError | FolderError]
"""A file's name, and what it holds, or why it cannot be read."""


class Inbox:
    """The driver's side. One driver reads an inbox at a time: the one that holds the lease."""

    def __init__(self, folder: SweepFolder, *, now_us: Callable[[], int] = wall_clock_us) -> None:
        self._folder = folder
        self._storage = folder.storage
        self._now_us = now_us
        self._taken: set[str] = set()
        self._unread: set[str] = set()
        """Files that could not be read at the last look, and of which that was said."""
        self._warnings: list[str] = []
        self._looker = ThreadPoolExecutor(1, thread_name_prefix="caviar-inbox") if folder.storage.look_s else None
        self._look_at = 0.0
        self._looking: Future[list[_File]] | None = None

    def take(self) -> list[CommandReceived]:
        """The commands that arrived since the last call, oldest first, each id once.

        A file that is no command is renamed to ``<name>.bad`` and skipped, and one that cannot be read is tried
        again; `take_warnings` says so. `FolderError` where the folder has been removed. Never waits where looking
        takes a while: then it returns what a thread beside has found.
        """
        arrived = []
        for name, content in self._look() if self._looker is None else self._looked(self._looker):
            self._taken.add(name)
            try:
                if not isinstance(content, bytes):
                    raise content
                arrived.append(_read(name, content, now_us=self._now_us()))
            except (FileNotFoundError, OutageError):
                self._taken.discard(name)
            except IsADirectoryError as error:
                self._set_aside(name, error)
            except OSError as error:  # the disk's fault, not the file's: look again
                self._taken.discard(name)
                if name not in self._unread:
                    self._unread.add(name)
                    where = self._folder.where(f"{self._folder.inbox_folder}/{name}")
                    self._warnings.append(f"{where}: cannot be read ({error}); tried again")
            except ValueError as error:
                self._set_aside(name, error)
            else:
                self._unread.discard(name)
        return arrived

    def _looked(self, looker: ThreadPoolExecutor) -> list[_File]:
        """What the last look has found, if one has just ended; lets the next one begin in time."""
        found: list[_File] = []
        if self._looking is not None:
            if not self._looking.done():
                return []
            looking, self._looking = self._looking, None
            with suppress(OutageError):
                found = [(name, content) for name, content in looking.result() if name not in self._taken]
        elif time.monotonic() >= self._look_at:
            self._look_at = time.monotonic() + self._storage.look_s
            self._looking = looker.submit(self._look)
        return found

    def _look(self) -> list[_File]:
        try:
            names = sorted(self._storage.names(self._folder.inbox_folder))
        except (FileNotFoundError, NotADirectoryError) as error:
            raise self._folder.gone() from error
        new = [
            name for name in names if not (name in self._taken or name.startswith(".") or name.endswith(".bad"))
        ]
        return [(name, self._content(name)) for name in new]

    def _content(self, name: str) -> bytes | OSError | FolderError:
        try:
            return self._storage.read(f"{self._folder.inbox_folder}/{name}", most_bytes=_MOST_BYTES)
        except (OSError, FolderError) as error:
            return error

    def done(self, command_id: str) -> None:
        """The answer to this command is committed: remove its file."""
        key = self._folder.command(command_id)
        self._storage.unlink(key)
        self._taken.discard(key.rpartition("/")[2])

    def take_warnings(self) -> list[str]:
        """What was set aside since the last call, a line each."""
        warnings, self._warnings = self._warnings, []
        return warnings

    def _set_aside(self, name: str, error: Exception) -> None:
        key = f"{self._folder.inbox_folder}/{name}"
        told = f"{self._folder.where(key)}: is not a command ({error})"
        try:
            self._storage.move(key, f"{key}.bad")
        except OSError:
            self._warnings.append(f"{told}; skipped")
        else:
            self._taken.discard(name)
            self._warnings.append(f"{told}; set aside as {name}.bad")


def _read(name: str, data: bytes, *, now_us: int) -> CommandReceived:
    """The command in a file; one that holds none raises `ValueError`."""
    command_id = name.removesuffix(".json")
    if command_id == name:
        raise _NotACommandError("its name does not end in .json")
    content = parse_object(data)
    if content.get("id") != command_id:
        raise _NotACommandError("its id is not its name")
    command, trial, args = content.get("command"), content.get("trial"), content.get("args")
    if not isinstance(command, str):
        raise _NotACommandError(f"command is {command!r:.80}, not text")
    if trial is not None and not is_whole(trial):
        raise _NotACommandError(f"trial is {trial!r:.80}, neither a trial's number nor null")
    if not isinstance(args, dict):
        raise _NotACommandError(f"args is {args!r:.80}, not an object")
    return CommandReceived(now_us, command_id, command, trial, args)

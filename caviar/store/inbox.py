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
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import Any, TypeAlias

from caviar.errors import FolderError, OutageError, UsageError
from caviar.messages import CommandReceived
from caviar.store.layout import SweepFolder
from caviar.store.lease import wall_clock_us
from caviar.store.strict_json import is_whole, parse_object

_MOST_BYTES = 2**20
"""No command is longer."""

_STALE_S = 1.0
"""What was found longer ago than this is looked for again."""


def post(
    folder: str | os.PathLike[str],
    command: str,
    *,
    trial: int | None = None,
    args: Mapping[str, Any] | None = None,
) -> str:
    """Leave a command for the sweep in ``folder``, for one trial or for all (None); returns the command's id.

    Raises `FolderError` where ``folder`` is no sweep, and `UsageError` for what no driver would take: a trial that
    is no number, and ``args`` that are not JSON, or too long.
    """
    return leave(SweepFolder.find(folder), command, trial=trial, args=args)


def leave(sweep: SweepFolder, command: str, *, trial: int | None, args: Mapping[str, Any] | None) -> str:
    """The same, for who has found the sweep already."""
    command_id = f"{wall_clock_us():016d}-{secrets.token_hex(4)}"
    content = {"id": command_id, "command": command, "trial": trial, "args": dict(args or {})}
    try:
        data = json.dumps(content, allow_nan=False).encode()
        _read(f"{command_id}.json", data, now_us=0)
    except _NotACommandError as error:
        raise UsageError(f"{command}: {error}") from None
    except (TypeError, ValueError, RecursionError) as error:
        raise UsageError(f"{command}: its arguments {dict(args or {})!r:.200} are not JSON: {error}") from None
    if len(data) > _MOST_BYTES:
        raise UsageError(f"{command}: its arguments are too long: {len(data):,} bytes, of {_MOST_BYTES:,}")
    sweep.storage.replace(sweep.command(command_id), data)
    return command_id


def withdraw(sweep: SweepFolder, command_id: str) -> None:
    """Take a command back, in case that its driver has not read it yet; `OSError` where that cannot be done."""
    sweep.storage.unlink(sweep.command(command_id))


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
        self._looking: Future[tuple[float, list[_File]]] | None = None

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
        if self._looking is None:
            if time.monotonic() >= self._look_at:
                self._begin_look(looker)
            return []
        if not self._looking.done():
            return []
        looking, self._looking = self._looking, None
        try:
            ended_s, found = looking.result()
        except OutageError:
            return []
        if time.monotonic() - ended_s > _STALE_S:
            # The loop comes by rarely: what was there may have been withdrawn meanwhile, and others have come
            wait([self._begin_look(looker)], _STALE_S)
            return self._looked(looker)
        return [(name, content) for name, content in found if name not in self._taken]

    def _begin_look(self, looker: ThreadPoolExecutor) -> Future[tuple[float, list[_File]]]:
        self._look_at = time.monotonic() + self._storage.look_s

        def look() -> tuple[float, list[_File]]:
            found = self._look()
            return time.monotonic(), found

        self._looking = looker.submit(look)
        return self._looking

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

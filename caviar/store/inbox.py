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
from pathlib import Path
from typing import Any

from caviar.errors import UsageError
from caviar.messages import CommandAnswered, CommandReceived
from caviar.store.files import Files, read_plain
from caviar.store.layout import SweepFolder
from caviar.store.lease import wall_clock_us
from caviar.store.rows import from_row
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
    Files().replace(sweep.command(command_id), data, temporary=sweep.temporary("post"))
    return command_id


def answer(folder: str | os.PathLike[str], command_id: str, timeout_s: float) -> CommandAnswered | None:
    """Wait for the answer to a command; None: there was none within ``timeout_s``."""
    from caviar.store.reader import Reader  # loads pyarrow, which a driver's look into the inbox does not need
    from caviar.store.tables import event_rows

    reader = Reader(folder, metrics=False)
    deadline_s = time.monotonic() + timeout_s
    while True:
        events = reader.refresh().events
        for row in event_rows(events.filter(events_of_kind(events, CommandAnswered.kind))):
            event = from_row(row)
            if isinstance(event, CommandAnswered) and event.id == command_id:
                return event
        if time.monotonic() >= deadline_s:
            return None
        time.sleep(_POLL_S)


def events_of_kind(events: Any, kind: str) -> Any:
    """A mask of the rows of an events table that are of this kind."""
    import pyarrow.compute as pc

    return pc.equal(events.column("kind"), kind)


class _NotACommandError(ValueError):
    """A file in the inbox that holds no command."""


class Inbox:
    """The driver's side. One driver reads an inbox at a time: the one that holds the lease."""

    def __init__(self, folder: SweepFolder, *, now_us: Callable[[], int] = wall_clock_us) -> None:
        self._folder = folder
        self._now_us = now_us
        self._taken: set[str] = set()
        self._warnings: list[str] = []

    def take(self) -> list[CommandReceived]:
        """The commands that arrived since the last call, oldest first, each id once.

        A file that is no command is renamed to ``<name>.bad`` and skipped; `take_warnings` says so. `FolderError`
        where the folder has been removed.
        """
        arrived = []
        try:
            names = sorted(entry.name for entry in self._folder.inbox_folder.iterdir())
        except (FileNotFoundError, NotADirectoryError) as error:
            raise self._folder.gone() from error
        for name in names:
            if name in self._taken or name.startswith(".") or name.endswith(".bad"):
                continue
            path = self._folder.inbox_folder / name
            self._taken.add(name)
            try:
                arrived.append(_read(path, self._now_us()))
            except FileNotFoundError:
                self._taken.discard(name)
            except (OSError, ValueError) as error:
                self._set_aside(path, error)
        return arrived

    def done(self, command_id: str) -> None:
        """The answer to this command is committed: remove its file."""
        path = self._folder.command(command_id)
        path.unlink(missing_ok=True)
        self._taken.discard(path.name)

    def take_warnings(self) -> list[str]:
        """What was set aside since the last call, a line each."""
        warnings, self._warnings = self._warnings, []
        return warnings

    def _set_aside(self, path: Path, error: Exception) -> None:
        try:
            path.rename(path.with_name(f"{path.name}.bad"))
        except OSError:
            self._warnings.append(f"{path}: is not a command ({error}); skipped")
        else:
            self._taken.discard(path.name)
            self._warnings.append(f"{path}: is not a command ({error}); set aside as {path.name}.bad")


def _read(path: Path, now_us: int) -> CommandReceived:
    """The command in a file; one that holds none raises `ValueError`."""
    if path.suffix != ".json":
        raise _NotACommandError("its name does not end in .json")
    content = parse_object(read_plain(path, most_bytes=_MOST_BYTES))
    if content.get("id") != path.stem:
        raise _NotACommandError("its id is not its name")
    command, trial, args = content.get("command"), content.get("trial"), content.get("args")
    if not isinstance(command, str):
        raise _NotACommandError(f"command is {command!r:.80}, not text")
    if trial is not None and not is_whole(trial):
        raise _NotACommandError(f"trial is {trial!r:.80}, neither a trial's number nor null")
    if not isinstance(args, dict):
        raise _NotACommandError(f"args is {args!r:.80}, not an object")
    return CommandReceived(now_us, path.stem, command, trial, args)

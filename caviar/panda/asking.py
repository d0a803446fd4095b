"""A command to a running sweep, and its answer: the client of the inbox, for Python and for the command line."""

from __future__ import annotations

import logging
import math
import os
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from caviar.errors import CommandError, OutageError, UsageError
from caviar.messages import Adjusted, CommandAnswered, CommandReceived, Recorded, RolledBack
from caviar.store import inbox
from caviar.store.layout import SweepFolder
from caviar.store.lease import Lease, wall_clock_us
from caviar.store.sequel import Sequel

_log = logging.getLogger(__name__)

TIMEOUT_S = 30.0

PAUSE_S = (0.01, 0.04)
"""A look is for one file, and so cheap. The next one comes after a tenth of the time waited so far, within these
bounds."""

REMOTE_PAUSE_S = (0.25, 2.0)
"""The same in an object store, where every look is a request."""

THOROUGH_S = 1.0
"""So often folders are listed for what a look may have missed, and the driver is looked for; in an object store as
often as that can be looked at."""

GRACE_S = 1.0
"""So long after a command was withdrawn, a driver may yet say that it had read it before."""

_KINDS = (CommandReceived.kind, CommandAnswered.kind, Adjusted.kind, RolledBack.kind)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a command."""

    answer: CommandAnswered
    events: tuple[Recorded, ...]
    """What was recorded in carrying it out, in order: `Adjusted`, `RolledBack`. Not for pauses and stops, which
    several commands may have asked for."""


def ask(
    folder: str | os.PathLike[str],
    command: str,
    *,
    trial: int | None = None,
    args: Mapping[str, Any] | None = None,
    timeout_s: float = TIMEOUT_S,
) -> CommandAnswered:
    """Have a running sweep carry out a command, and wait until it has; returns its answer, as it is recorded.

    ``trial`` None: for the whole sweep, or for the only trial of a sweep of one. Raises `UsageError` where the
    sweep is not running, and `CommandError` where the command is refused, cannot be left in the inbox, or is not
    answered within ``timeout_s`` seconds; then it is withdrawn unless its driver has it, and the text says what
    can still come of it. So it is with Ctrl-C, where a warning says so.
    """
    return carried_out(folder, command, trial=trial, args=args, timeout_s=timeout_s).answer


def carried_out(
    folder: str | os.PathLike[str],
    command: str,
    *,
    trial: int | None = None,
    args: Mapping[str, Any] | None = None,
    timeout_s: float = TIMEOUT_S,
) -> Outcome:
    """The same, with what was recorded in carrying it out."""
    if not isinstance(timeout_s, int | float) or math.isnan(timeout_s) or timeout_s < 0:
        raise UsageError(f"{command}: timeout_s={timeout_s!r:.60}: needs a number of seconds")
    sweep = SweepFolder.find(folder)
    if not _held(sweep):
        _check_running(sweep, command)
    asked = _Asked(sweep, command, trial=trial, args=args)
    answer = asked.wait(timeout_s)
    if not answer.applied:
        raise CommandError(answer.text)
    return Outcome(answer, tuple(asked.events))


class _Asked:
    """A command that is on its way."""

    def __init__(
        self, sweep: SweepFolder, command: str, *, trial: int | None, args: Mapping[str, Any] | None
    ) -> None:
        self._sweep = sweep
        self._command = command
        self._look_s = sweep.storage.look_s
        self._sequel = Sequel(sweep, _KINDS)
        self._received = False
        self.events: list[Recorded] = []
        try:
            self._id = inbox.leave(sweep, command, trial=trial, args=args)
        except OutageError:
            raise
        except PermissionError as error:
            raise CommandError(
                f"{sweep}: only who may write the sweep folder can steer it: {error.filename}: {error.strerror}"
            ) from error
        except OSError as error:
            where = error.filename or sweep.where(sweep.inbox_folder)
            raise CommandError(
                f"{sweep}: the command cannot be left in the inbox: {where}: {error.strerror}"
            ) from error

    def wait(self, timeout_s: float) -> CommandAnswered:
        """The answer. Raises `CommandError` where none comes."""
        try:
            last = self._wait(timeout_s)
        except KeyboardInterrupt:
            last = self._settle("interrupted")
            _log.warning("%s", last if isinstance(last, str) else last.text)
            raise
        if isinstance(last, str):
            raise CommandError(last)
        return last

    def _wait(self, timeout_s: float) -> CommandAnswered | str:
        """The answer, or why there is none."""
        began_s = time.monotonic()
        thorough_at_s = began_s + self._thorough_s
        while True:
            now_s = time.monotonic()
            thorough = now_s >= thorough_at_s
            gone = thorough and not _held(self._sweep)  # first: so what it recorded before it went is not missed
            answer = self._look(thorough=thorough)
            if answer is not None:
                return answer
            if gone:
                with suppress(OutageError):
                    if (state := _state(self._sweep)) != "running":
                        return self._abandoned(state)
            if thorough:
                thorough_at_s = now_s + self._thorough_s
            left_s = began_s + timeout_s - now_s
            if left_s <= 0:
                return self._settle(f"no answer within {timeout_s:g} s")
            least_s, most_s = REMOTE_PAUSE_S if self._look_s else PAUSE_S
            time.sleep(min(left_s, most_s, max(least_s, (now_s - began_s) / 10)))

    @property
    def _grace_s(self) -> float:
        return max(GRACE_S, self._look_s)

    @property
    def _thorough_s(self) -> float:
        return max(THOROUGH_S, self._look_s)

    def _look(self, *, thorough: bool = False) -> CommandAnswered | None:
        try:
            events = self._sequel.new(thorough=thorough)
        except OutageError:
            return None
        answer: CommandAnswered | None = None
        for event in events:
            if isinstance(event, CommandReceived):
                self._received = self._received or event.id == self._id
            elif isinstance(event, CommandAnswered):
                answer = event if event.id == self._id else answer
            elif getattr(event, "command", None) == self._id and event not in self.events:
                self.events.append(event)
        return answer

    def _settle(self, why: str) -> CommandAnswered | str:
        """Nobody waits any longer: withdraw the command, unless its driver has it. Returns what can still come of
        it, or after all its answer."""
        answer = self._look(thorough=True)
        if answer is not None:
            return answer
        fate = ""
        if not self._received:
            fate = self._withdrawn("its driver has not come to the command")
            deadline_s = time.monotonic() + self._grace_s
            while not self._received and time.monotonic() < deadline_s:
                time.sleep(REMOTE_PAUSE_S[0] if self._look_s else PAUSE_S[1])
                answer = self._look(thorough=not self._look_s)
                if answer is not None:
                    return answer
        if self._received:
            fate = (
                "its driver has the command, which takes effect at the trial's next step boundary; "
                f"caviar events {self._sweep} shows when (--timeout, in Python timeout_s, waits longer)"
            )
        return f"{self._sweep}: {why}: {fate}"

    def _abandoned(self, state: str) -> str:
        """The same where no driver is left that could carry it out."""
        if state == "finished":
            return f"{self._sweep}: has finished: {self._withdrawn('its driver did not answer the command')}"
        fate = (
            f"it had the command, and did not answer; {_resume(self._sweep)}, and carries it out"
            if self._received
            else self._withdrawn("it had not come to the command")
        )
        return f"{self._sweep}: its driver is gone: {fate}"

    def _withdrawn(self, why: str) -> str:
        try:
            inbox.withdraw(self._sweep, self._id)
        except OSError as error:
            return f"{why}, which cannot be withdrawn ({error.strerror}), and may still be applied"
        return f"{why}, which was withdrawn and will not be applied"


def _held(sweep: SweepFolder) -> bool:
    """Whether a driver has the sweep in hand, as far as can be told now."""
    try:
        lease = Lease.read(sweep)
    except OSError:
        return True
    return lease is not None and lease.held(wall_clock_us())


def _state(sweep: SweepFolder) -> str:
    from caviar.store.reader import Reader  # loads pyarrow and pandas, which who only asks seldom needs

    return Reader(sweep.path, metrics=False).state()


def _check_running(sweep: SweepFolder, command: str) -> None:
    state = _state(sweep)
    if state != "running":
        mend = f"; {_resume(sweep)}" if state == "interrupted" else ""
        told = f"is not running ({state}), so there is nothing to {_VERBS.get(command, command)}"
        raise UsageError(f"{sweep}: {told}{mend}")


def _resume(sweep: SweepFolder) -> str:
    return f"caviar resume {sweep}, in Python run(..., resume=True), goes on with it"


_VERBS = {"rollback": "roll back"}

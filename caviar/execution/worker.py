"""A worker: its Ray actor, and the driver's picture of it."""

from __future__ import annotations

import os
import re
import socket
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import cloudpickle

from caviar.errors import FolderError, OutageError, UsageError
from caviar.execution import gpus
from caviar.execution.contract import TrialFiles
from caviar.execution.heartbeat import CutOff
from caviar.execution.resources import Resources
from caviar.execution.supervisor import Order, Supervisor
from caviar.execution.tracebacks import one_line
from caviar.messages import SCRATCH, AttemptEnded, Event, Launch, TrialStarted

FOLDER_S = 5.0
"""How long a new folder may take to be seen on every node."""

END_S = 20.0
"""How long a worker that is cut off may take to end what it started."""

Request = tuple[int, list[Order], int, int, float, float]
"""The arguments of `Supervisor.exchange`: as one, they cost Ray less than half on their way."""


TITLES = ("ray::caviar:", "ray::WorkerActor")
"""What the title of a worker's process begins with: ours, and for a moment before and after each call, Ray's."""


class WorkerActor:
    """What runs in a worker's Ray actor: a supervisor, under a name that people recognise."""

    def __init__(self, name: str, pickled_job: bytes, parts: bytes, cut_off_s: float) -> None:
        self._name = name
        self._set_title = _title_setter()
        resources, files, own_gpus = cloudpickle.loads(parts)
        if own_gpus and not resources.gpus:
            gpus.hide()
        # asked before the first reply, for which a worker has as much time as it needs
        self._unfit = gpus.too_small(resources, node=socket.gethostname())
        self._unseen: TrialFiles | None = files
        self._supervisor = Supervisor(pickled_job, resources=resources, files=files)
        os.environ[SCRATCH] = self._supervisor.folder
        self._cut_off = CutOff(cut_off_s, self._end)

    def __repr__(self) -> str:
        return self._name

    def exchange(self, request: Request) -> Any:
        """See `Supervisor.exchange`. `FolderError` where this node does not see the sweep folder, `OutageError`
        where it does not reach the object store now, `UsageError` where trials do not fit its GPU."""
        number, orders, received, acknowledged, interval_s, hold_s = request
        self._set_title(f"ray::{self._name}")  # Ray has just made it the method's name, as it does each time
        self._cut_off.heard()
        try:
            if orders and self._unseen is not None:
                self._probe(self._unseen)
                if self._unfit is not None:
                    raise UsageError(self._unfit)
                self._unseen = None
            return self._supervisor.exchange(
                number,
                orders,
                received=received,
                acknowledged=acknowledged,
                interval_s=interval_s,
                hold_s=hold_s,
            )
        finally:
            self._cut_off.heard()

    def node(self) -> str:
        """The name of the machine that it is on."""
        return socket.gethostname()

    def nudge(self) -> None:
        """See `Supervisor.nudge`."""
        self._supervisor.nudge()

    def close(self) -> None:
        """See `Supervisor.close`."""
        self._supervisor.close()

    def _end(self) -> None:
        """End this worker, without Ray: it may be the one that is gone."""
        print(f"{self._name}: no word from the driver any more: it ends itself", file=sys.stderr, flush=True)
        last = threading.Timer(END_S, os._exit, [1])
        last.daemon = True
        last.start()
        with suppress(Exception):
            self._supervisor.close()
        os._exit(1)

    @staticmethod
    def _probe(files: TrialFiles) -> None:
        deadline = time.monotonic() + FOLDER_S
        node = socket.gethostname()
        while True:
            outage: OutageError | None = None
            try:
                if files.visible():
                    return
            except OutageError as error:
                outage = error
            except FolderError as error:
                raise FolderError(f"node {node}: {error}") from error
            if time.monotonic() > deadline:
                if outage is not None:
                    raise outage
                raise FolderError(
                    f"node {node} does not see the sweep folder: put it where every node that trains sees it, "
                    "on NFS for instance"
                )
            time.sleep(0.1)


def _title_setter() -> Callable[[str], object]:
    """What sets this process's title, for `ps`, as Ray itself does; nothing where Ray has no such thing."""
    raylet = sys.modules.get("ray._raylet")
    setter: Callable[[str], object] = getattr(raylet, "setproctitle", lambda title: None)
    return setter


def cause_of_death(error: Exception) -> str:
    """What Ray says of an actor that is no more, in a few words."""
    text = str(error)
    if getattr(error, "actor_init_failed", False):  # our own error, below Ray's traceback
        return f"it could not begin: {text.splitlines()[-1].strip()}"
    found = re.search(r"The actor is dead because (.+?)\.( |$)", text, re.MULTILINE)
    if found is None:
        return one_line(error)
    kind = re.search(r"Worker exit type: (\w+)", text)
    return found[1] + (f" ({kind[1]})" if kind and kind[1] != "SYSTEM_ERROR" else "")


@dataclass(slots=True, eq=False)
class Worker:
    """The driver's picture of one worker."""

    name: str
    actor: Any
    resources: Resources = field(default_factory=Resources)
    kind: int = 0
    """Which of the kinds of workers it is."""
    node: str | None = None
    """The name of its machine, once it has told."""
    ready: bool = False
    lost: bool = False
    waiting: bool = False
    """Whether an exchange is under way."""
    request: int = 0
    sent: list[Order] = field(default_factory=list)
    """The orders of that exchange, to be repeated if its reply is lost."""
    orders: list[Order] = field(default_factory=list)
    """Those of the next one."""
    received: int = 0
    """The last batch that has arrived."""
    acknowledged: int = 0
    """The last one that is committed."""
    trials: dict[int, Launch] = field(default_factory=dict)
    """What it has: in hand and in training, in order."""
    started: dict[int, int] = field(default_factory=dict)
    """The start of those in training, in microseconds."""
    step: int = 0
    """The last step heard of."""
    recalling: bool = False
    """Whether it has been asked to give trials back."""
    asked_s: float = 0.0
    """When that exchange began, by the driver's `AwakeClock`."""
    unreachable_s: float | None = None
    """Since when Ray does not get that exchange through, or its reply, by that clock."""
    to_repeat: bool = False
    """Whether that exchange is to be tried again."""
    idle_since_s: float | None = None
    """Since when it has no trial, by that clock."""
    failed_starts: int = 0
    """How many there were in its place before it, in a row, that never replied."""

    @property
    def in_hand(self) -> int:
        """How many trials it has not begun."""
        return len(self.trials) - len(self.started)

    def silent_s(self, now_s: float) -> float:
        """For how long it has owed a reply. Before its first one it owes none, as long as it cannot be told from
        one that waits for its place."""
        since_s = self.asked_s if self.ready else self.unreachable_s
        return now_s - since_s if self.waiting and since_s is not None else 0.0

    def note(self, happened: Event) -> float | None:
        """Keep the picture up to date. Returns how many seconds a trial took that has just ended."""
        if isinstance(happened, TrialStarted):
            self.recalling = False  # what it has in hand has changed: it may be asked again
            self.started[happened.trial] = happened.time_us
            self.step = happened.restored or 0
        elif isinstance(happened, AttemptEnded):
            self.trials.pop(happened.trial, None)
            started = self.started.pop(happened.trial, None)
            if started is not None:
                return (happened.time_us - started) / 1e6
        return None

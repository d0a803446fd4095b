"""A sweep folder, looked at again and again: by `run` from beside the sweep, by `watch` from anywhere."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from caviar.errors import FolderError, OutageError

if TYPE_CHECKING:
    from caviar.analysis.live_run import LiveRunView
    from caviar.analysis.progress import View
    from caviar.store.place import Place

SHARE_OF_A_CORE = 0.05
"""Looking and showing take at most this much of one core, however large the sweep and the screen."""

CREATION_INTERVAL_S = 0.05

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Moment:
    """A sweep folder at one moment."""

    folder: Place
    declaration: Mapping[str, Any]
    state: str
    """finished, running or interrupted."""
    view: View
    run: LiveRunView | None = None
    """Of a live run: how it stands."""

    @property
    def metric(self) -> str:
        """The metric that the sweep watches."""
        return str(self.declaration["metric"])

    @property
    def done(self) -> int:
        """Trials that have ended."""
        return sum(self.view.counts[state] for state in ("completed", "stopped", "failed"))


class Display(Protocol):
    """Shows moments, each in place of the one before or below it."""

    interval_s: float
    """How often it wants to be shown one."""

    def show(self, moment: Moment) -> None:
        """Show how things stand."""

    def close(self) -> None:
        """Nothing more will come: leave the screen in order."""


class Follower:
    """Reads what is new in a sweep folder; what is no sweep raises `FolderError`."""

    def __init__(self, folder: Place) -> None:
        from caviar.analysis.live_run import LiveRunProgress
        from caviar.analysis.progress import Progress
        from caviar.store.declaration import check_complete
        from caviar.store.reader import Reader

        self._folder = folder
        self._reader = Reader(folder)
        check_complete(self._reader.declaration, folder)
        self._progress = Progress(str(folder))
        live = self._reader.declaration.get("panda") is not None
        self._run = LiveRunProgress(str(folder)) if live else None
        self._in_the_dark = False

    def look(self) -> Moment:
        """The present."""
        # the state first: what a sweep recorded before it ended is then never missed
        state = self._reader.state()
        increment, alive = self._reader.refresh(), state == "running"
        declaration = self._reader.declaration
        self._progress.update(increment, declaration, written=self._reader.written)
        view = self._progress.view(time.time_ns() // 1000 if alive else None, alive=alive)
        if self._run is None:
            return Moment(self._folder, declaration, state, view)
        self._run.update(increment, declaration)
        return Moment(self._folder, declaration, state, view, self._run.view(alive=alive))

    def try_look(self) -> Moment | None:
        """The present; None while the object store that the sweep lies in is out of reach, which is said once."""
        try:
            moment = self.look()
        except OutageError as error:
            if not self._in_the_dark:
                logger.warning("%s: %s; looking again until it can be read", error.filename, error.strerror)
            self._in_the_dark = True
            return None
        self._in_the_dark = False
        return moment


def watch(follower: Follower, display: Display) -> Moment:
    """Show a sweep until no driver has it in hand any more; returns the last moment."""
    while True:
        began_s = time.thread_time()
        moment = follower.try_look()
        if moment is not None:
            display.show(moment)
            if moment.state != "running":
                return moment
        time.sleep(_pause_s(display, time.thread_time() - began_s))


@contextmanager
def shown(folder: Place, display: Display) -> Iterator[None]:
    """Show a sweep that begins, or is gone on with, and ends within the block, from a thread beside it."""
    over = threading.Event()
    thread = threading.Thread(target=_show, args=(folder, display, over), name="caviar-display", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
        display.close()


def _show(folder: Place, display: Display, over: threading.Event) -> None:
    try:
        follower = _wait_for(folder, over)
        busy_s, last, begun = 0.0, False, False
        while follower is not None and not last:
            # the last look comes after the end
            last = over.wait(_pause_s(display, busy_s))
            began_s = time.thread_time()
            moment = follower.try_look()
            if moment is not None:
                display.show(moment)
                begun = begun or moment.state == "running"  # one that is extended may have been finished until now
                last = last or (begun and moment.state == "finished")
            busy_s = time.thread_time() - began_s
    except BrokenPipeError:
        pass  # nobody reads any more; the sweep goes on
    except Exception as error:  # what only shows a sweep must not end it
        logger.warning("no more progress is shown: %s: %s", type(error).__name__, error, exc_info=_debug())


def _wait_for(folder: Place, over: threading.Event) -> Follower | None:
    """The follower, once the folder is a sweep; None if it is all over and it never became one."""
    while True:
        last = over.is_set()
        try:
            return Follower(folder)
        except FolderError:
            if last:
                return None
        over.wait(CREATION_INTERVAL_S)


def _pause_s(display: Display, busy_s: float) -> float:
    return max(display.interval_s, busy_s / SHARE_OF_A_CORE)


def _debug() -> bool:
    return logger.isEnabledFor(logging.DEBUG)

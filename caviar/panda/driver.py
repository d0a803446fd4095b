"""Driving a live run in the background of the process that started it."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from caviar.errors import CaviarError
from caviar.messages import Recorded, Reports, SweepEnded, TrialEnded, TrialStarted
from caviar.runner import Observer

_log = logging.getLogger(__name__)

_LOOK_S = 0.2
"""How often whoever waits looks up, so that Ctrl-C reaches it."""


class Driver:
    """A sweep that is run in a thread of its own.

    The process does not end before the run has: it waits as `wait` does.
    """

    def __init__(self, drive: Callable[[Driver], None], *, on_event: Observer | None = None) -> None:
        """``drive`` runs the sweep to its end, with `observe` as its observer and `interrupt` as what interrupts
        it."""
        self._drive = drive
        self._observer = on_event
        self._begun = threading.Event()
        self._failure: BaseException | None = None
        self._told = False
        """Whether that was raised to anybody."""
        self.interrupt = threading.Event()
        self._thread = threading.Thread(target=self._run, name="caviar-live-run", daemon=True)

    def begin(self) -> None:
        """Start, and return once the trial trains; what prevents that is raised here."""
        # the pools of threads that a run writes with close when the interpreter begins to end, before `atexit`
        at_exit = getattr(threading, "_register_atexit", None)
        if at_exit is not None:
            at_exit(self._at_exit)
        self._thread.start()
        try:
            while not self._begun.wait(_LOOK_S):
                pass
        except KeyboardInterrupt:
            self._let_go()
            raise
        if self._failure is not None:
            self._raise()

    def observe(self, item: Recorded | Reports) -> None:
        """See what happens in the run."""
        if isinstance(item, TrialStarted | TrialEnded | SweepEnded):
            self._begun.set()
        if self._observer is None:
            return
        try:
            self._observer(item)
        except Exception:  # noqa: BLE001 - caught here, as the run has to be seen all the same
            _log.exception("on_event raised, and is called no more")
            self._observer = None

    @property
    def alive(self) -> bool:
        """Whether it is under way."""
        return self._thread.is_alive()

    def wait(self, timeout_s: float | None = None) -> bool:
        """Return once the run has ended (True), or after ``timeout_s`` (False). What ended it in error is
        raised; a Ctrl-C meanwhile lets go of it in good order: everything is committed, and it can be gone on
        with."""
        left_s = timeout_s
        try:
            while self._thread.is_alive() and (left_s is None or left_s > 0):
                pause_s = _LOOK_S if left_s is None else min(_LOOK_S, left_s)
                self._thread.join(pause_s)
                left_s = None if left_s is None else left_s - pause_s
        except KeyboardInterrupt:
            self._let_go()
            raise
        if self._thread.is_alive():
            return False
        if self._failure is not None:
            self._raise()
        return True

    def _let_go(self) -> None:
        self.interrupt.set()
        self._thread.join()

    def _run(self) -> None:
        try:
            self._drive(self)
        except BaseException as error:  # noqa: BLE001 - raised where somebody waits
            self._failure = error
        finally:
            self._begun.set()

    def _raise(self) -> None:
        failure = self._failure
        assert failure is not None
        self._told = True
        if isinstance(failure, KeyboardInterrupt):
            raise CaviarError("the run was interrupted; caviar resume goes on with it") from None
        raise failure

    def _at_exit(self) -> None:
        told = self._told
        try:
            self.wait()
        except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001 - it is too late to raise it
            if not told:
                _log.error("the live run has ended: %s", error)

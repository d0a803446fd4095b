"""A job that is followed from here: what it prints, and where its sweep can be read from here, the live view."""

from __future__ import annotations

import logging
import re
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING

import click

from caviar.cli import figures, logs
from caviar.cli.app import INTERRUPTED
from caviar.cli.follow import SHARE_OF_A_CORE, Follower
from caviar.cli.table import print_json
from caviar.cli.tame import tame_pieces
from caviar.errors import CaviarError, ClusterError, FolderError

if TYPE_CHECKING:
    from caviar.cli.follow import Display
    from caviar.jobs.client import JobInfo, Jobs
    from caviar.store.place import Place

BEGUN = "Running entrypoint for job "
"""What Ray writes into a job's log before anything of the job's own."""

ERROR = "caviar: error: "

LOOK_S = 2.0
"""How often it is looked whether the sweep can be seen from here."""

BEGIN_S, LONG_S, AGAIN_S = 0.2, 5.0, 30.0
"""How often it is looked whether a job has begun, when that takes long, and how often that is said."""

_PROGRESS = re.compile(r"\[[\d.,]+ (s|min|h|d)\b[^\]]*\] ")
"""How a line begins that tells how a sweep stands."""


def follow(jobs: Jobs, job: str, folder: Place, *, as_json: bool) -> int:
    """Show a job until it has ended, and return its exit status. Ctrl-C leaves it alone."""
    from caviar.jobs.outcome import exit_status, trouble

    try:
        _show(jobs, job, folder, as_json=as_json)
    except KeyboardInterrupt:
        tell_left(jobs, job)
        return INTERRUPTED
    except ClusterError as error:
        way = f"caviar logs {job} --address {jobs.address}"
        raise ClusterError(f"{error}; job {job} may go on all the same, as {way} will show") from error
    info = jobs.info(job)
    status, problem = exit_status(info), trouble(info)
    if as_json:
        print_json({"kind": "job_ended", "job": job, "status": info.status, "exit_status": status})
    if problem is not None:
        begun = info.node is not None
        more = f"; what was recorded is in {folder}, and the same command goes on with it" if begun else ""
        text = figures.one_line(f"{problem}{more}")
        logs.say(text if status == INTERRUPTED or logs.in_json() else f"{ERROR}{text}", level=logging.ERROR)
    return status


def tell_left(jobs: Jobs, job: str) -> None:
    """Say that a job goes on though nobody follows it any more, and how to come back."""
    ways = [f"caviar {verb} {job} --address {jobs.address}" for verb in ("logs", "cancel")]
    logs.say(f"job {job} goes on; {ways[0]} --follow follows it again, {ways[1]} ends it")


def _show(jobs: Jobs, job: str, folder: Place, *, as_json: bool) -> None:
    """Show what a job prints, until it has ended. The picture is left before this is: what is said after it, even
    of an interrupt, would be drawn over."""
    view = Elsewhere(folder) if sys.stdout.isatty() and not as_json else None
    try:
        _await_begin(jobs, job)
        for line in own_lines(tame_pieces(jobs.follow(job))):
            if view is None or not view.shown or not _PROGRESS.match(line):
                err = line.startswith((ERROR, logs.BEGINNING)) or (as_json and not line.startswith("{"))
                click.echo(line, err=err)
                sys.stdout.flush()
    finally:
        if view is not None:
            view.close()


def _await_begin(jobs: Jobs, job: str) -> None:
    """Wait until a job has begun, or ended without that; say what it waits for where that takes long."""
    from caviar.jobs.outcome import awaited

    began_s = time.monotonic()
    tell_s = began_s + LONG_S
    while (info := _info(jobs, job)) is not None and info.node is None and not info.ended:
        if (now_s := time.monotonic()) > tell_s:
            took = figures.duration(now_s - began_s)
            logs.say(figures.one_line(f"job {job} has not begun after {took}: {awaited(info)}"))
            tell_s = now_s + AGAIN_S
        time.sleep(BEGIN_S)


def _info(jobs: Jobs, job: str) -> JobInfo | None:
    try:
        return jobs.info(job)
    except ClusterError:
        return None  # who follows its log has more patience


def own_lines(pieces: Iterable[str]) -> Iterator[str]:
    """The lines of a log, without those that Ray writes before the job begins."""
    begun, rest = False, ""
    for piece in pieces:
        *lines, rest = (rest + piece).split("\n")
        for line in lines:
            if begun:
                yield line
            begun = begun or line.startswith(BEGUN)
    if rest and begun:
        yield rest


class Elsewhere:
    """The live view of a sweep that runs on other machines, from the moment on that it is seen to run, which may
    never come: not every folder of a cluster can be read from here."""

    def __init__(self, folder: Place, display: Callable[[], Display] | None = None) -> None:
        """``display``: makes what shows it; None: the live view."""
        self._folder = folder
        self._display = display
        self._over = threading.Event()
        self._view: Display | None = None
        self._thread = threading.Thread(target=self._watch, name="caviar-display", daemon=True)
        self._thread.start()

    @property
    def shown(self) -> bool:
        """Whether it is on the screen."""
        return self._view is not None

    def close(self) -> None:
        """Leave the last picture."""
        self._over.set()
        self._thread.join()
        if self._view is not None:
            self._view.close()

    def _watch(self) -> None:
        from caviar.cli.live import LiveView

        display = self._display or LiveView
        follower: Follower | None = None
        pause_s = LOOK_S
        last = False
        while not last:
            last = self._over.wait(pause_s)
            began_s = time.thread_time()
            try:
                follower = follower or Follower(self._folder)
                moment = follower.try_look()
            except FolderError:
                continue  # not there yet, or not from here
            except (CaviarError, OSError):
                return
            if moment is not None and self._view is None and moment.state == "running":
                self._view = display()
            if moment is not None and self._view is not None:
                self._view.show(moment)
                pause_s = max(self._view.interval_s, (time.thread_time() - began_s) / SHARE_OF_A_CORE)

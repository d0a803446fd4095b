"""A query: a small job that runs a command line of caviar on the cluster, and sends back what it prints.

The caviar of this machine is sent along, so it does not matter which one the cluster has, if any; the cluster
keeps it by its content. What caviar itself needs, such as pyarrow, must be there.
"""

from __future__ import annotations

import dataclasses
import json
import logging
import os
import secrets
import shlex
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import caviar
from caviar.errors import CaviarError, ClusterError
from caviar.jobs.client import FOLDER, KIND, ORDERLY_END, QUERY, VERSION, JobInfo, Jobs
from caviar.jobs.records import Kind, Record, from_pieces

ENTRY = "caviar.jobs.far_end"
"""The module that answers, on the cluster."""

SETTING = "CAVIAR_ANSWERING"
"""The environment variable that tells it how, as JSON of a `Manner`."""

PYTHON = 'exec "$(command -v python || command -v python3)"'
"""Whatever Python the cluster has, as a shell finds it."""

KEPT = ("env_vars", "pip", "uv", "conda", "container", "image_uri", "py_executable", "config")
"""What a query takes over of the runtime environment of the sweep that it asks about: the way to its packages, and
to where it lies."""

START_S = 15.0
"""If a query has not begun after so long, that is said."""

FORGET_S, FORGET_AT_ONCE = 60.0, 20
"""So long after their end queries are removed from the cluster's list of jobs, and so many at a time."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Manner:
    """How a query is to answer."""

    terminal: bool = False
    """Whether what it prints goes to a terminal."""
    columns: int = 80
    lines: int = 24
    live: bool = False
    """Whether it is to send pictures, in place of what would be a live view."""
    life_s: float | None = None
    """It ends after so long, though there is more to come; None: never."""


class Query:
    """A command line that is carried out on the cluster."""

    def __init__(self, jobs: Jobs, id: str) -> None:  # noqa: A002 - what it is
        self._jobs = jobs
        self.id = id
        self._taken = 0

    def records(self) -> Iterator[Record]:
        """What it sends, the exit status last. Raises `ClusterError` where it ends without one.

        After an interrupt this can be called once more, for what has not been taken.
        """
        self._await_start()
        said: list[str] = []
        skip = self._taken
        for record in from_pieces(self._jobs.follow(self.id)):
            if isinstance(record, str):
                said.append(record)
            elif skip:
                skip -= 1
            else:
                self._taken += 1
                yield record
                if record.kind in (Kind.END, Kind.AGAIN):
                    return
        raise ClusterError(f"{self._jobs.address}: no answer: {_cause(self._jobs.info(self.id), said)}")

    def end(self) -> None:
        """Have it end; it may still say something."""
        with suppress(CaviarError):  # gone already, or out of reach: it ends by itself
            self._jobs.stop(self.id)

    def _await_start(self) -> None:
        """Wait until it has begun, or ended without that; where that takes long, say so, and wait no more."""
        began_s = time.monotonic()
        while (info := self._jobs.info(self.id)).node is None and not info.ended:
            if time.monotonic() - began_s > START_S:
                _log.warning(
                    "%s: the cluster has not yet begun with job %s, which asks there", self._jobs.address, self.id
                )
                return
            time.sleep(0.1)


def start(jobs: Jobs, words: Sequence[str], *, folder: str, sweep: JobInfo | None, manner: Manner) -> Query:
    """Have the cluster carry out the command line ``words`` (without "caviar"), which is about ``folder``.

    ``sweep``: the job that runs, or ran, that sweep, where it is known.
    """
    environment = (
        {} if sweep is None else {name: sweep.runtime_env[name] for name in KEPT if name in sweep.runtime_env}
    )
    variables = {
        **(environment.get("env_vars") or {}),
        **_appearance(manner),
        **ORDERLY_END,
        SETTING: json.dumps(dataclasses.asdict(manner)),
    }
    id = jobs.submit(  # noqa: A001 - what it is
        f"{PYTHON} -m {ENTRY} {shlex.join(words)}",
        runtime_env={
            **environment,
            "env_vars": variables,
            "py_modules": [str(Path(caviar.__file__).parent)],
            "excludes": ["__pycache__"],
        },
        job_id=f"caviar-query-{secrets.token_hex(4)}",
        metadata={KIND: QUERY, FOLDER: folder, VERSION: caviar.__version__},
    )
    return Query(jobs, id)


def sweep_job(listed: Sequence[JobInfo], which: str) -> JobInfo | None:
    """The job that runs, or ran last, the sweep that is meant: by its id, or by its folder."""
    sweeps = [job for job in listed if job.kind != QUERY and job.folder is not None]
    return next((job for job in sweeps if which in (job.id, job.folder)), None)


def forget(jobs: Jobs, listed: Sequence[JobInfo]) -> None:
    """Remove queries that have ended from the cluster's list, which else grows with every look."""
    # by the cluster's own clock: nobody knows how far this machine's is from it
    now_s = max(
        (moment_s or 0.0 for job in listed for moment_s in (job.start_time_s, job.end_time_s)), default=0.0
    )
    over = [job for job in listed if job.kind == QUERY and job.ended and now_s - (job.end_time_s or 0) > FORGET_S]
    for job in over[-FORGET_AT_ONCE:]:
        with suppress(CaviarError):  # somebody else was quicker
            jobs.delete(job.id)


def _appearance(manner: Manner) -> Mapping[str, str]:
    """What decides on colours and widths there, as it is here."""
    if not manner.terminal:
        return {}
    here = {name: os.environ[name] for name in ("TERM", "COLORTERM", "NO_COLOR") if name in os.environ}
    return {**here, "COLUMNS": str(manner.columns), "LINES": str(manner.lines)}


def _cause(info: JobInfo, said: Sequence[str]) -> str:
    """Why a query ended without an answer."""
    text: Any = next((line for line in reversed(said) if line.strip()), "") or info.message
    last = text.strip().splitlines()[-1] if text.strip() else "it said nothing"
    if info.status == "stopped":
        return f"job {info.id}, which asked there, was ended"
    if "No module named" in last:
        missing = last.rpartition("No module named")[2].strip(" '\"")
        return f"Python on the cluster has no {missing}; install caviar-sweep there, which brings what it needs"
    if info.exit_code == 127:
        return 'the cluster finds no "python" on the PATH that Ray was started with'
    return f"job {info.id} {info.status}: {last[:300]}"

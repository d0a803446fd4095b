"""A sweep as a job: the command, the metadata, and an id; and the job that is at the same sweep already."""

from __future__ import annotations

import logging
import os
import re
import secrets
import shlex
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import caviar
from caviar.errors import UsageError
from caviar.jobs.client import COMMAND, FOLDER, KIND, NAME, ORDERLY_END, SWEEP, VERSION, JobInfo, Jobs
from caviar.jobs.package import most_bytes, pack
from caviar.jobs.working_dir import WorkingDir
from caviar.store.place import Place, Url, place

_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Submission:
    """What is to run on a cluster."""

    file: str
    """The file that defines the Sweep, below the working directory."""
    name: str | None
    """Which Sweep, where it defines several."""
    out: Place
    options: Sequence[str] = ()
    """Of `caviar run`, besides ``--out`` and ``--resume``."""
    environment: Mapping[str, Any] = field(default_factory=dict)
    """Ray's runtime environment, with folders and packages of this machine."""

    @property
    def entrypoint(self) -> str:
        """The line for the shell. Where there is no ``python``, there may be a ``python3``."""
        target = self.file if self.name is None else f"{self.file}:{self.name}"
        words = ["-m", "caviar.jobs.entry", f"./{target}", "--out", str(self.out), *self.options]
        return f'exec "$(command -v python || command -v python3)" {shlex.join(words)}'

    def send(self, jobs: Jobs, job_id: str, working_dir: WorkingDir, *, command: str) -> None:
        """Pack what is to be sent, and have the cluster run it as the job of this id. ``command``: what somebody
        types to go on with the sweep."""
        metadata = {
            KIND: SWEEP,
            FOLDER: str(self.out),
            NAME: Path(self.file).stem,
            VERSION: caviar.__version__,
            COMMAND: command,
        }
        with tempfile.TemporaryDirectory(prefix="caviar-") as folder:
            environment = {
                **self.environment,
                "env_vars": {**ORDERLY_END, **self.environment.get("env_vars", {})},
                "working_dir": str(pack(working_dir, Path(folder), at_most=most_bytes())),
                # caviar itself goes along: whichever the cluster has, it is this one that runs
                "py_modules": [str(Path(caviar.__file__).parent), *self.environment.get("py_modules", [])],
                "excludes": ["__pycache__", *self.environment.get("excludes", [])],
            }
            # what is sent has been told already
            logging.getLogger("ray._private.runtime_env.packaging").setLevel(logging.WARNING)
            jobs.submit(self.entrypoint, runtime_env=environment, job_id=job_id, metadata=metadata)


def destination(out: str) -> Place:
    """Where the cluster is to put a sweep, in one spelling; `UsageError` where that is not the same place from
    everywhere. ``..`` is what it is to a shell: where a link leads on the cluster is not known here."""
    where = place(out)
    if isinstance(where, Url):
        return where
    if where.is_absolute():
        return Path(_spelled(where))
    raise UsageError(
        f"--out {out}: a relative folder would go with the job's own: give a URL, as s3://bucket/{where.name}, "
        f"or a path that all machines of the cluster share, as /shared/{where.as_posix().lstrip('./')}"
    )


def at_work(jobs: Sequence[JobInfo], out: Place) -> JobInfo | None:
    """The job that has this sweep in hand; None: there is none."""
    under_way = (job for job in jobs if job.kind == SWEEP and job.folder is not None and not job.ended)
    return next((job for job in under_way if _spelled(place(job.folder or "")) == _spelled(out)), None)


def _spelled(where: Place) -> str:
    """One spelling of a place, whichever it was given in."""
    if isinstance(where, Url):
        return where
    return re.sub("^//", "/", os.path.normpath(where))  # which leaves two slashes there


def succeeds(job: str, wanted: str | None) -> bool:
    """Whether a job is the one that is wanted, or by its name a successor of it, as `free_id` calls them."""
    return wanted is not None and re.fullmatch(rf"{re.escape(wanted)}(-\d+)?", job) is not None


def free_id(wanted: str | None, jobs: Sequence[JobInfo], *, stem: str) -> str:
    """An id for a new job that no other has; one that ended gives its name, with a number, to its successor.

    `UsageError` where the wanted one cannot be had.
    """
    taken = {job.id: job for job in jobs}
    if wanted is None:
        while (
            made := f"{re.sub('[^A-Za-z0-9]+', '-', stem).strip('-') or 'sweep'}-{secrets.token_hex(3)}"
        ) in taken:
            continue
        return made
    if not _ID.fullmatch(wanted):
        raise UsageError(f"--job-id {wanted!r:.80}: needs letters, digits, '-', '_' and '.', at most 100")
    if (other := taken.get(wanted)) is not None and not other.ended:
        raise UsageError(
            f"--job-id {wanted}: a job of this name is under way, at {other.folder or other.entrypoint}"
        )
    names = (wanted, *(f"{wanted}-{number}" for number in range(2, len(taken) + 3)))
    return next(name for name in names if name not in taken)

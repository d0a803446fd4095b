"""Jobs of a Ray cluster, over the HTTP of its dashboard: submitted, listed, followed, ended.

A job that runs a sweep has as its metadata `FOLDER`, `NAME`, `VERSION` and `KIND`, and `ORDERLY_END` among the
environment variables of its runtime environment:

```python
jobs = Jobs("http://head:8265")
job = jobs.submit(
    "python -m caviar run digits.py --out s3://bucket/digits",
    runtime_env={"working_dir": ".", "env_vars": {**ORDERLY_END}},
    metadata={KIND: SWEEP, FOLDER: "s3://bucket/digits", NAME: "digits", VERSION: caviar.__version__},
)
```

Ray ends a job by SIGTERM to each of its processes, and 3 seconds later by SIGKILL. A driver that gets SIGTERM
commits what has arrived and leaves a folder that can be gone on with; that may take it longer.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from caviar.errors import CaviarError, ClusterError, UsageError
from caviar.jobs.address import dashboard_address, only, token_headers, trusted
from caviar.jobs.extra import lacking

if TYPE_CHECKING:
    from caviar.jobs.connection import Connection

KIND, FOLDER, NAME, VERSION = "caviar_kind", "caviar_folder", "caviar_name", "caviar_version"
COMMAND = "caviar_command"
"""Keys of a job's metadata: what it is (`SWEEP` or `QUERY`); its sweep folder, as the cluster knows it (an
absolute path or a URL); the name of its Sweep's file, without .py; the version of caviar that submitted it; the
command line that did, to be shown to who wants to go on with the sweep."""

SWEEP, QUERY = "sweep", "query"
"""Kinds of jobs: one that runs a sweep, and one that looks at a sweep or steers it and has ended in a moment."""

STOP_WAIT, STOP_WAIT_S = "RAY_JOB_STOP_WAIT_TIME_S", 3.0
ORDERLY_END = {STOP_WAIT: "30"}
"""Environment variables of every job that runs a sweep: how long it has between SIGTERM and SIGKILL. A driver has
ended within 10 seconds; an object store that does not answer at that moment takes longer."""

ENDED = frozenset({"succeeded", "failed", "stopped"})
"""The statuses of a job that has ended; before, it is pending, then running."""

SHOWN = 5
"""So many jobs are named where one is asked for that does not exist."""


@dataclass(frozen=True, slots=True)
class JobInfo:
    """A job as it stands. Times are seconds since 1970, and None before they have come."""

    id: str
    status: str
    """pending, running, succeeded, failed or stopped."""
    entrypoint: str
    metadata: Mapping[str, str]
    start_time_s: float | None
    end_time_s: float | None
    message: str
    """What Ray says about it, in its words; of a job that failed, with the end of its log."""
    exit_code: int | None
    """The exit status of the entrypoint; None before it has ended, and where it never began."""
    node: str | None
    """Ray's id of the node that the entrypoint runs on; None before it has begun."""
    runtime_env: Mapping[str, Any] = field(default_factory=dict)
    """What it was submitted with; folders have become packages of the cluster."""

    @property
    def ended(self) -> bool:
        """Whether nothing will come of it any more."""
        return self.status in ENDED

    @property
    def folder(self) -> str | None:
        """The sweep folder that it works on, as the cluster knows it; None of jobs that are not caviar's."""
        return self.metadata.get(FOLDER)

    @property
    def stop_wait_s(self) -> float:
        """How long it has to end once it was asked to, before it is killed."""
        variables = self.runtime_env.get("env_vars") or {}
        try:
            return float(variables.get(STOP_WAIT, STOP_WAIT_S))
        except ValueError:
            return STOP_WAIT_S

    @property
    def kind(self) -> str | None:
        """`SWEEP`, `QUERY`, or None of jobs that are not caviar's."""
        return self.metadata.get(KIND)


class Jobs:
    """The jobs of one cluster.

    ``address``: the URL of its dashboard; None: what ``RAY_API_SERVER_ADDRESS`` or ``RAY_ADDRESS`` names. It is
    reached at once: what cannot be reached within 10 seconds, is no dashboard, or refuses, raises `ClusterError`;
    an address of another kind, or a Ray without its job API on this machine, `UsageError`.

    A token is sent as Ray does (``RAY_AUTH_MODE=token``), and also where that is not set, the cluster asks for
    one over TLS or within a private network, and there is one (``RAY_AUTH_TOKEN``, ``RAY_AUTH_TOKEN_PATH``,
    ``~/.ray/auth_token``).
    """

    def __init__(self, address: str | None = None) -> None:
        self.address = dashboard_address(address)
        self._connection = self._connect()

    def submit(
        self,
        entrypoint: str,
        *,
        runtime_env: Mapping[str, Any] | None = None,
        job_id: str | None = None,
        metadata: Mapping[str, str] | None = None,
        cpus: float | None = None,
        gpus: float | None = None,
        memory_bytes: int | None = None,
        resources: Mapping[str, float] | None = None,
        labels: Mapping[str, str] | None = None,
    ) -> str:
        """Start a job, and return its id.

        ``entrypoint``: a line for a shell. ``runtime_env``: Ray's; folders of this machine in it are sent, unless
        the cluster has them. ``job_id``: a word that no other job of the cluster has. The rest is what the process
        of the entrypoint itself takes; without any of it, it runs on the head. Raises `ClusterError` where it is
        refused.
        """
        with self._asked(f"cannot submit a job to {self.address}"):
            return str(
                self._connection.submit_job(
                    entrypoint=entrypoint,
                    submission_id=job_id,
                    runtime_env=dict(runtime_env or {}),
                    metadata=dict(metadata or {}),
                    entrypoint_num_cpus=cpus,
                    entrypoint_num_gpus=gpus,
                    entrypoint_memory=memory_bytes,
                    entrypoint_resources=None if resources is None else dict(resources),
                    entrypoint_label_selector=None if labels is None else dict(labels),
                )
            )

    def list(self) -> list[JobInfo]:
        """All jobs that were submitted to the cluster since it began, the newest first."""
        with self._asked(f"cannot list the jobs of {self.address}"):
            found = self._connection.list_jobs()
        # scripts that connect to Ray by themselves are also listed; nobody submitted those
        submitted = [_info(each) for each in found if each.submission_id is not None]
        return sorted(submitted, key=lambda job: job.start_time_s or 0.0, reverse=True)

    def info(self, job: str) -> JobInfo:
        """A job as it stands. Raises `UsageError` where the cluster has no such job."""
        with self._asked(f"cannot ask {self.address} about job {job}", job=job):
            return _info(self._connection.get_job_info(job))

    def log(self, job: str) -> str:
        """What a job has printed so far, with what Ray itself says there."""
        with self._asked(f"cannot read the log of job {job} at {self.address}", job=job):
            return str(self._connection.get_job_logs(job))

    def follow(self, job: str) -> Iterator[str]:
        """What a job prints, from its beginning, as it comes, until it has ended.

        A connection that is lost is made again, and nothing is doubled or left out; a cluster that stays out of
        reach for a minute raises `ClusterError`.
        """
        from caviar.jobs.log import follow

        return follow(self, self._connection, job)

    def stop(self, job: str) -> bool:
        """Ask a job to end, with the time that its `ORDERLY_END` gives it; returns whether it was under way.

        It has not ended when this returns.
        """
        with self._asked(f"cannot end job {job} at {self.address}", job=job):
            return bool(self._connection.stop_job(job))

    def delete(self, job: str) -> None:
        """Have a cluster forget a job that has ended."""
        with self._asked(f"cannot delete job {job} at {self.address}", job=job):
            self._connection.delete_job(job)

    def _connect(self) -> Connection:
        try:
            from caviar.jobs.connection import Connection, RefusedError

            with self._asked(f"cannot reach a Ray cluster at {self.address}"), only(self.address):
                try:
                    return Connection(self.address)
                except RefusedError as error:
                    headers = token_headers()
                    if error.status != 401 or not headers or not trusted(self.address):
                        raise
                    return Connection(self.address, headers=headers)
        except ImportError as error:
            raise lacking(error) from error
        except RuntimeError as error:
            if isinstance(error, CaviarError) or "ray[default]" not in str(error):
                raise
            raise lacking(error) from error

    @contextmanager
    def _asked(self, problem: str, *, job: str | None = None) -> Iterator[None]:
        """Whatever goes wrong within the block becomes one line that begins with ``problem``."""
        from caviar.jobs.connection import RefusedError
        from caviar.jobs.trouble import refusal, unreachable

        try:
            yield
        except RefusedError as error:
            if error.status == 404 and job is not None:
                raise self._no_such_job(job) from None
            raise ClusterError(f"{problem}: {refusal(error)}") from error
        except CaviarError:
            raise
        except Exception as error:
            if "ray[default]" in str(error):
                raise
            raise ClusterError(f"{problem}: {unreachable(error)}") from error

    def _no_such_job(self, job: str) -> UsageError:
        names = [each.id for each in self.list() if each.kind != QUERY]
        more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
        there = f"there are {', '.join(names[:SHOWN])}{more}" if names else "it has none"
        return UsageError(f"no job {job} at {self.address}; {there}")


def _info(details: Any) -> JobInfo:
    def seconds(time_ms: int | None) -> float | None:
        return None if not time_ms else time_ms / 1000.0

    return JobInfo(
        id=str(details.submission_id or details.job_id),
        status=str(details.status.value).lower(),
        entrypoint=details.entrypoint,
        metadata=dict(details.metadata or {}),
        start_time_s=seconds(details.start_time),
        end_time_s=seconds(details.end_time),
        message=details.message or "",
        exit_code=details.driver_exit_code,
        node=details.driver_node_id,
        runtime_env=dict(details.runtime_env or {}),
    )

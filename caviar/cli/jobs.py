"""``caviar jobs``, ``logs`` and ``cancel``: the sweeps that were submitted to a cluster."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, TypeVar

import click

from caviar.cli import figures
from caviar.cli.app import DONE, FAILED, INTERRUPTED, debug_option
from caviar.cli.job_follow import tell_left
from caviar.cli.table import Form, form_options, print_json, print_rows
from caviar.cli.tame import tame, tame_pieces
from caviar.errors import UsageError

if TYPE_CHECKING:
    from caviar.jobs.client import JobInfo, Jobs

AnyFunction = TypeVar("AnyFunction", bound=Callable[..., Any])

LOOK_S = 0.25
"""How often it is looked whether a job that was asked to end has."""

BEYOND_S = 30.0
"""How much longer than it may take, the end of a job is waited for."""

UNBEGUN_S = 5.0
"""How long that of a job is that has no driver yet: it cannot end before it begins, and that may take minutes."""


def cluster_option(command: AnyFunction) -> AnyFunction:
    """``--address`` of commands that are about a cluster and its jobs."""
    option = click.option(
        "--address",
        metavar="URL",
        help="The Ray cluster's dashboard, as http://HEAD:8265.  [default: RAY_API_SERVER_ADDRESS or RAY_ADDRESS]",
    )
    return option(command)


job_argument = click.argument("job", metavar="JOB")


@click.command()
@cluster_option
@click.option("--all", "everything", is_flag=True, help="Also jobs that are not sweeps.")
@form_options(csv=False)
@debug_option
def jobs(address: str | None, everything: bool, form: Form | None) -> None:
    """The sweeps that were submitted to a cluster, the newest first."""
    from caviar.jobs.client import SWEEP, Jobs

    cluster = Jobs(address)
    found = [job for job in cluster.list() if everything or job.kind == SWEEP]
    if form == "json":
        for job in found:
            print_json(_as_dict(job))
        return
    if not found:
        click.echo(f"no {'job' if everything else 'sweep'} was submitted to {cluster.address} since it began")
        return
    rows = [
        [
            figures.one_line(job.id),
            job.status,
            _took(job),
            "-"
            if job.start_time_s is None
            else figures.moment(datetime.fromtimestamp(job.start_time_s, UTC))[:19],
            figures.one_line(job.folder or job.entrypoint),
        ]
        for job in found
    ]
    names = ["job", "status", "time", "submitted", "sweep or entrypoint" if everything else "sweep"]
    print_rows(names, rows, right=[False, False, True, False, False])


@click.command()
@job_argument
@cluster_option
@click.option("-f", "--follow", is_flag=True, help="Go on until the job has ended.")
@debug_option
def logs(job: str, address: str | None, follow: bool) -> int:
    """What a job has printed.

    With --follow the exit status is 1 where the job fails or is ended. Ctrl-C leaves the job alone.
    """
    from caviar.jobs.client import Jobs

    cluster = Jobs(address)
    if not follow:
        click.echo(tame(cluster.log(job)), nl=False)
        return DONE
    cluster.info(job)  # whether there is such a job is known at once
    try:
        for piece in tame_pieces(cluster.follow(job)):
            sys.stdout.write(piece)
            sys.stdout.flush()
    except KeyboardInterrupt:
        tell_left(cluster, job)
        return INTERRUPTED
    info = cluster.info(job)
    if info.status == "succeeded":
        return DONE
    click.echo(figures.one_line(_became(info)), err=True)
    return FAILED


@click.command()
@job_argument
@cluster_option
@debug_option
def cancel(job: str, address: str | None) -> int:
    """End a sweep's job; the sweep can be gone on with.

    What has been reported is committed first. `caviar stop` ends a sweep for good, with its results as they are.
    """
    from caviar.jobs.client import Jobs
    from caviar.jobs.outcome import awaited

    cluster = Jobs(address)
    info = cluster.info(job)
    if info.kind is None:
        raise UsageError(f"{job} is not a job of caviar's; `ray job stop {job}` ends any")
    if info.ended:
        click.echo(f"{job} has ended already: {info.status}")
        return DONE
    asked_s = time.monotonic()
    cluster.stop(job)
    if not (info := cluster.info(job)).ended and info.node is None:
        click.echo(f"{job} has no driver yet: {awaited(info)}; it ends as soon as that is over", err=True)
    info = _await_end(cluster, job)
    took = time.monotonic() - asked_s
    if not info.ended:
        click.echo(
            f"{job} was asked to end, and is {info.status} yet: it ends as soon as the cluster comes to it, as "
            f"caviar logs {job} --address {cluster.address} --follow will show",
            err=True,
        )
        return FAILED
    click.echo(figures.one_line(_told(info, took)))
    return DONE


def _await_end(cluster: Jobs, job: str) -> JobInfo:
    """The job once it has ended, or is not waited for any longer."""
    asked_s = begun_s = time.monotonic()
    while True:
        info, now_s = cluster.info(job), time.monotonic()
        if info.node is None:
            begun_s = now_s
        late = now_s - asked_s > UNBEGUN_S if info.node is None else now_s - begun_s > info.stop_wait_s + BEYOND_S
        if info.ended or late:
            return info
        time.sleep(LOOK_S)


def _told(info: JobInfo, took_s: float) -> str:
    from caviar.jobs.client import COMMAND, SWEEP

    if info.status != "stopped":
        return f"{info.id} {info.status} before it was ended"
    how = f"{info.id} stopped within {figures.duration(took_s)}"
    if took_s >= info.stop_wait_s:
        how = f"{info.id} did not end within {info.stop_wait_s:g} s, and was killed; what was committed is safe"
    if info.kind != SWEEP:
        return how
    return f"{how}; the sweep is in {info.folder}; {_go_on(info.metadata.get(COMMAND))}"


def _became(info: JobInfo) -> str:
    """What came of a job that did not succeed, with what to do where its log does not have it."""
    from caviar.jobs.client import COMMAND, SWEEP
    from caviar.jobs.outcome import trouble

    problem = trouble(info) if info.kind == SWEEP else None  # of others it is not known what they run
    if problem is None:
        return f"{info.id} {info.status}"
    if info.node is None:
        return problem
    again = info.metadata.get(COMMAND)
    return f"{problem}; what was recorded is in {info.folder}; {_go_on(again)}"


def _go_on(command: str | None) -> str:
    return f"go on with: {command}" if command else "submit it again with the same --out to go on"


def _took(job: JobInfo) -> str:
    if job.start_time_s is None:
        return figures.MISSING
    return figures.duration((job.end_time_s or time.time()) - job.start_time_s)


def _as_dict(job: JobInfo) -> dict[str, Any]:
    def moment(time_s: float | None) -> str | None:
        return None if time_s is None else datetime.fromtimestamp(time_s, UTC).isoformat()

    return {
        "id": job.id,
        "status": job.status,
        "kind": job.kind,
        "folder": job.folder,
        "entrypoint": job.entrypoint,
        "start_time": moment(job.start_time_s),
        "end_time": moment(job.end_time_s),
        "message": job.message,
        "exit_code": job.exit_code,
        "metadata": dict(job.metadata),
    }

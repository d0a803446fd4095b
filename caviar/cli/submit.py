"""``caviar submit``: run the Sweep that a file defines as a job of a Ray cluster."""

from __future__ import annotations

import functools
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from caviar.cli.app import DONE, debug_option
from caviar.cli.run import change_options
from caviar.cli.table import print_json
from caviar.errors import UsageError

if TYPE_CHECKING:
    from caviar.jobs.client import Jobs
    from caviar.jobs.submission import Submission
    from caviar.jobs.working_dir import WorkingDir

Tell = Callable[[str], None]


@click.command()
@click.argument("target", metavar="FILE[:NAME]")
@click.option(
    "--address", metavar="URL", help="The cluster's dashboard, as http://head:8265.  [default: RAY_ADDRESS]"
)
@click.option(
    "--out", metavar="URI", required=True, help="The sweep: a URL, or a path that the whole cluster shares."
)
@change_options
@click.option("--workers", type=click.IntRange(min=1), metavar="N", help="Trials at once.  [default: what fits]")
@click.option("--cpus", type=click.FloatRange(min=0), metavar="N", help="Cores for each trial.")
@click.option("--gpus", type=click.FloatRange(min=0), metavar="N", help="GPUs for each trial; may be a fraction.")
@click.option(
    "--allow-change", is_flag=True, help="Go on with a sweep whose space, metric, code, ... have changed."
)
@click.option("--working-dir", metavar="DIR", help="The folder that is sent.  [default: the current one]")
@click.option(
    "--requirements",
    metavar="FILE",
    help="Packages to install.  [default: requirements.txt of the working directory]",
)
@click.option("--no-requirements", is_flag=True, help="Install nothing.")
@click.option(
    "--env", "variables", metavar="NAME[=VALUE]", multiple=True, help="An environment variable; repeatable."
)
@click.option("--runtime-env", metavar="FILE", help="More of Ray's runtime environment, as YAML or JSON.")
@click.option("--job-id", metavar="ID", help="What the job is called.  [default: made of FILE's name]")
@click.option("--detach", is_flag=True, help="Return at once, and do not follow the job.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
@debug_option
def submit(
    target: str,
    address: str | None,
    out: str,
    working_dir: str | None,
    requirements: str | None,
    no_requirements: bool,
    variables: Sequence[str],
    runtime_env: str | None,
    job_id: str | None,
    detach: bool,
    as_json: bool,
    **options: Any,
) -> int:
    """Run the Sweep that FILE defines as a job of a Ray cluster.

    The working directory is sent there, without what .gitignore names. The job goes on whatever becomes of this
    machine; the same command again goes on with a sweep that was cut off.
    """
    from caviar.cli.load_file import split_target
    from caviar.jobs.client import Jobs
    from caviar.jobs.environment import without
    from caviar.jobs.package import most_bytes
    from caviar.jobs.submission import Submission, at_work, destination
    from caviar.jobs.submission import job_id as free_id
    from caviar.jobs.working_dir import default_root, survey

    tell: Tell = functools.partial(click.echo, err=as_json)
    file, name = split_target(target)
    place = destination(out)
    sent = survey(Path(working_dir) if working_dir is not None else default_root(file))
    submission = Submission(
        file=sent.name_of(file),
        name=name,
        out=place,
        options=_as_words(options, as_json=as_json),
        environment=_environment(sent, requirements, no_requirements, variables, runtime_env, tell=tell),
    )
    if unsent := without(place, submission.environment["env_vars"]):
        tell(f"not sent, though set here: {', '.join(unsent)} (--env NAME sends one)")
    jobs = Jobs(address)
    known = jobs.list()
    other = at_work(known, place)
    if other is not None and other.id != job_id:
        raise UsageError(
            f"{place}: job {other.id} is at it already; caviar logs {other.id} --address {jobs.address} shows it, "
            f"and caviar cancel {other.id} --address {jobs.address} ends it"
        )
    if other is not None:  # who is asked for the same job again means this one
        made, verb = other.id, "is under way"
    else:
        made, verb = free_id(job_id, known, stem=file.stem), "submitted"
        _send(submission, jobs, made, sent, at_most=most_bytes(), tell=tell)
    if as_json:
        print_json({"kind": "job", "job": made, "address": jobs.address, "folder": str(place)})
    else:
        tell(f"job {made} {verb}, into {place}")
        tell(f"  how it goes: caviar logs {made} --address {jobs.address}")
        tell(f"  end it:      caviar cancel {made} --address {jobs.address}")
    if detach:
        return DONE
    from caviar.cli.job_follow import follow

    return follow(jobs, made, place, as_json=as_json)


def _as_words(options: Mapping[str, Any], *, as_json: bool) -> list[str]:
    """Options of this command as words for `caviar run`."""
    words = []
    for name, value in options.items():
        option = f"--{name.replace('_', '-')}"
        if value is True:
            words.append(option)
        elif value not in (None, False):
            words += [option, f"{value:g}" if isinstance(value, float) else str(value)]
    return [*words, "--json"] if as_json else words


def _environment(
    sent: WorkingDir,
    requirements: str | None,
    no_requirements: bool,
    variables: Sequence[str],
    runtime_env: str | None,
    *,
    tell: Tell,
) -> dict[str, Any]:
    """Ray's runtime environment, but for what is packed."""
    from caviar.jobs import environment

    made = {} if runtime_env is None else environment.from_file(Path(runtime_env))
    made["env_vars"] = {**made.get("env_vars", {}), **environment.variables(variables)}
    installs = environment.installer(made)
    if requirements is not None and no_requirements:
        raise UsageError("--requirements and --no-requirements: only one of them can be meant")
    if requirements is not None and installs is not None:
        raise UsageError(f"--requirements {requirements}: {runtime_env} has packages too, under {installs!r}")
    file = Path(requirements) if requirements is not None else sent.root / environment.REQUIREMENTS
    by_default = requirements is None and environment.REQUIREMENTS in sent.sizes_bytes and installs is None
    if requirements is not None or (by_default and not no_requirements):
        packages = environment.requirements(file)
        tell(
            f"requirements: {file}: {len(packages)} to install"
            + (" (--no-requirements: none)" if by_default else "")
        )
        if packages:
            made["pip"] = packages
    return made


def _send(submission: Submission, jobs: Jobs, job_id: str, sent: WorkingDir, *, at_most: int, tell: Tell) -> None:
    """Pack the working directory and caviar, tell how much that is, and submit the job with them."""
    import dataclasses

    from caviar.jobs.package import own_code, pack, told

    for line in sent.left_out:
        tell(f"left out: {line}")
    tell(f"working directory: {told(sent)}")
    with tempfile.TemporaryDirectory(prefix="caviar-") as folder:
        environment = {
            **submission.environment,
            "working_dir": str(pack(sent, Path(folder), at_most=at_most)),
            "py_modules": [str(own_code(Path(folder))), *submission.environment.get("py_modules", [])],
        }
        dataclasses.replace(submission, environment=environment).send(jobs, job_id)

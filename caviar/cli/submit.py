"""``caviar submit``: run the Sweep that a file defines as a job of a Ray cluster."""

from __future__ import annotations

import functools
import shlex
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from caviar.cli import logs
from caviar.cli.app import DONE, debug_option
from caviar.cli.conduct import crew_options
from caviar.cli.jobs import cluster_option
from caviar.cli.run import change_options
from caviar.cli.table import print_json
from caviar.errors import UsageError

if TYPE_CHECKING:
    from caviar.jobs.working_dir import WorkingDir

Tell = Callable[[str], None]

SECRET = "variables"
"""The option whose values are not written down."""


@click.command()
@click.argument("target", metavar="FILE[:NAME]")
@cluster_option
@click.option(
    "--out", metavar="URI", required=True, help="The sweep: a URL, or a path that the whole cluster shares."
)
@change_options
@crew_options
@click.option("--allow-change", is_flag=True, help="Go on also where space, metric, code, ... have changed.")
@click.option(
    "--working-dir", metavar="DIR", help="The folder that is sent.  [default: the current one, if FILE is in it]"
)
@click.option("--requirements", metavar="FILE", help="Packages that are to be installed there, as pip has them.")
@click.option(
    "--env", SECRET, metavar="NAME[=VALUE]", multiple=True, help="An environment variable; may be repeated."
)
@click.option("--runtime-env", metavar="FILE", help="More of Ray's runtime environment, as YAML or JSON.")
@click.option("--job-id", metavar="ID", help="What the job is called.  [default: made of FILE's name]")
@click.option("--detach", is_flag=True, help="Return once it is submitted.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
@debug_option
def submit(
    target: str,
    address: str | None,
    out: str,
    working_dir: str | None,
    requirements: str | None,
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
    from caviar.jobs import submission
    from caviar.jobs.client import Jobs
    from caviar.jobs.environment import without
    from caviar.jobs.package import most_bytes, size, told
    from caviar.jobs.working_dir import default_root, survey

    tell: Tell = functools.partial(click.echo, err=as_json)
    file, name = split_target(target)
    folder = submission.destination(out)
    sent = survey(Path(working_dir) if working_dir is not None else default_root(file))
    wanted = submission.Submission(
        file=sent.name_of(file),
        name=name,
        out=folder,
        options=_as_words(options, as_json=as_json),
        environment=_environment(
            sent,
            requirements=requirements,
            variables=variables,
            runtime_env=runtime_env,
            tell=tell,
        ),
    )
    jobs = Jobs(address)
    known = jobs.list()
    other = submission.at_work(known, folder)
    if other is not None and not submission.succeeds(other.id, job_id):
        raise UsageError(
            f"{folder}: job {other.id} is at it already: caviar logs {other.id} --address {jobs.address} shows "
            f"it, and caviar cancel {other.id} --address {jobs.address} ends it"
        )
    if other is not None:  # who asks for the same job once more is told how it goes
        job, verb = other.id, "is under way"
    else:
        job, verb = submission.free_id(job_id, known, stem=file.stem), "submitted"
        if unsent := without(folder, wanted.environment["env_vars"]):
            tell(f"not sent, though set here: {', '.join(unsent)} (--env NAME sends one)")
        for line in sent.left_out:
            tell(f"left out: {line}")
        tell(f"working directory: {told(sent)}")
        if sent.size_bytes > (most := most_bytes()):
            tell(f"packing it, to see whether it then has less than the {size(most)} that Ray takes")
        wanted.send(jobs, job, sent, command=_again(jobs.address))
    if as_json:
        print_json({"kind": "job", "job": job, "address": jobs.address, "folder": str(folder)})
    else:
        tell(f"job {job} {verb}; its sweep: {folder}")
        for what, verb in (("follow it:", "logs --follow"), ("look at it:", "watch"), ("end it:", "cancel")):
            tell(f"  {what:<11} caviar {verb} {job} --address {jobs.address}")
    if detach:
        return DONE
    from caviar.cli.job_follow import follow

    return follow(jobs, job, folder, as_json=as_json)


def _as_words(options: Mapping[str, Any], *, as_json: bool) -> list[str]:
    """Options of this command as words for `caviar run`."""
    words: list[str] = []
    for name, value in options.items():
        option = f"--{name.replace('_', '-')}"
        if value is True:
            words.append(option)
        elif value is not None and value is not False:
            words += [option, f"{value:g}" if isinstance(value, float) else str(value)]
    return [*words, *(["--json"] if as_json else []), *logs.as_words()]


def _again(address: str) -> str:
    """The command line that goes on with the sweep, for the record: without secrets."""
    context = click.get_current_context()
    words = ["caviar", "submit", context.params["target"], "--address", address]
    for param in context.command.params:
        given = context.get_parameter_source(param.name or "") == ParameterSource.COMMANDLINE
        if not given or not isinstance(param, click.Option) or param.name in ("address", "detach", "as_json"):
            continue
        if not param.expose_value:  # about this command's own lines
            continue
        option, value = param.opts[0], context.params[param.name or ""]
        if param.is_flag:
            words.append(option)
            continue
        for each in value if param.multiple else (value,):
            words += [option, str(each).partition("=")[0] if param.name == SECRET else str(each)]
    return shlex.join(words)


def _environment(
    sent: WorkingDir,
    *,
    requirements: str | None,
    variables: Sequence[str],
    runtime_env: str | None,
    tell: Tell,
) -> dict[str, Any]:
    """What the job is to find on the cluster, besides its files."""
    from caviar.jobs import environment

    made = {} if runtime_env is None else environment.from_file(Path(runtime_env))
    made["env_vars"] = {**made.get("env_vars", {}), **environment.variables(variables)}
    if requirements is None:
        if environment.REQUIREMENTS in sent.sizes_bytes and environment.installer(made) is None:
            tell(f"requirements: {environment.REQUIREMENTS} is not installed there, unless with --requirements")
        return made
    if (installs := environment.installer(made)) is not None:
        raise UsageError(f"--requirements {requirements}: {runtime_env} has packages too, under {installs!r}")
    packages = environment.requirements(Path(requirements))
    tell(f"requirements: {len(packages)} from {requirements}; installing them can take the cluster minutes")
    return {**made, "pip": packages} if packages else made

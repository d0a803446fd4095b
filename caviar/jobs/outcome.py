"""What a job waits for, and what came of it: an exit status, and a line where its log does not have one."""

from __future__ import annotations

import re
import signal

from caviar.jobs.client import JobInfo
from caviar.jobs.environment import installer

FAILED, INTERRUPTED = 1, 130

NO_COMMAND = 127
"""What a shell says of a command that it does not find."""

_PIP = re.compile(r"^\s*ERROR: (.*)$", re.MULTILINE)
_LONGEST = 300


def awaited(job: JobInfo) -> str:
    """What a job waits for that has not begun, as far as that is known."""
    if (how := installer(job.runtime_env)) is not None:
        return f"the cluster installs its packages ({how})"
    return "the cluster brings its files there, or has no room for its driver"


def exit_status(job: JobInfo) -> int:
    """That of the command on the cluster, as far as it has one."""
    if job.status == "succeeded":
        return 0
    if job.status == "stopped":
        return INTERRUPTED
    code = job.exit_code
    return code if code in (1, 2, INTERRUPTED) else FAILED


def trouble(job: JobInfo) -> str | None:
    """What went wrong, where the command on the cluster had no chance to say it itself."""
    if job.status == "stopped":
        return f"job {job.id} was cancelled"
    if job.status == "succeeded":
        return None
    code = job.exit_code
    if code is None:
        return f"job {job.id} {'could not begin' if job.node is None else 'was lost'}: {_of_ray(job.message)}"
    if code < 0:
        why = " (where nobody did that, for want of memory)" if -code == signal.SIGKILL else ""
        return f"the driver of job {job.id} was ended by {_signal(-code)}{why}"
    if code in (NO_COMMAND, NO_COMMAND - 1):
        return (
            f"job {job.id} could not begin: there is no python on the PATH of the cluster's head; give it one "
            "with --env 'PATH=/its/bin:${PATH}'"
        )
    return None


def _signal(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _of_ray(message: str) -> str:
    """The line of a message of Ray's that says what is wrong."""
    found = _PIP.findall(message)
    lines = [line.strip() for line in message.splitlines() if line.strip()]
    told = found[-1] if found else lines[-1] if lines else "Ray does not say why"
    return told.rstrip(".")[:_LONGEST]

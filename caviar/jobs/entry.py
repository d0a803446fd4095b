"""What a job runs on the cluster: looks whether everything is there, and becomes ``caviar run``.

It is run as ``python -m caviar.jobs.entry FILE[:NAME] --out URI ...`` and needs nothing but Python's own library,
so that it can say in one line what is missing, before anything is made or trained.
"""

from __future__ import annotations

import ast
import importlib.util
import os
import sys
from collections.abc import Iterator
from pathlib import Path

WRONG_USE = 2

OLDEST = (3, 11)

WORKERS = "--python_worker_command="

NEEDED = ("click", "cloudpickle", "numpy", "pandas", "pyarrow", "ray", "rich", "scipy")
"""What caviar itself cannot do without, as it is imported."""

NEEDED_FOR = {"s3": "obstore", "gs": "obstore"}
"""What it needs for sweeps at URLs of this kind."""

WITHIN_JOB = "CAVIAR_WITHIN_JOB"
"""The environment variable by which the command knows that it is a job: who reads its lines is elsewhere, and goes
on with the sweep by another job."""

_MEND = "install that there, or submit with a --requirements FILE that names it"


def main(arguments: list[str]) -> None:
    """Become ``caviar run`` with these arguments and ``--resume``, or say what is missing and exit."""
    if not _there("ray") and (python := rays_python()) != sys.executable:
        os.execv(python, [python, "-m", "caviar.jobs.entry", *arguments])
    problem = wrong(arguments)
    if problem is not None:
        print(f"caviar: error: {problem}", file=sys.stderr)
        sys.exit(WRONG_USE)
    sys.stderr.flush()
    os.environ[WITHIN_JOB] = "1"
    os.execv(sys.executable, [sys.executable, "-m", "caviar", "run", *arguments, "--resume"])


def rays_python() -> str:
    """The Python that Ray itself runs with, which is not always the one that is called ``python``: the raylet, a
    parent of every job, knows it. Where that cannot be found, this one."""
    process = os.getppid()
    try:
        while process > 1:
            command = Path(f"/proc/{process}/cmdline").read_text("utf-8", "replace").split("\0")
            for word in command:
                if word.startswith(WORKERS):
                    return word[len(WORKERS) :].split(" ")[0]
            status = Path(f"/proc/{process}/stat").read_text("utf-8", "replace").rpartition(")")[2]
            process = int(status.split()[1])
    except (OSError, ValueError, IndexError):
        pass  # not Linux, or another user's process
    return sys.executable


def wrong(arguments: list[str]) -> str | None:
    """What keeps the sweep from running here; None: nothing is known to."""
    if sys.version_info < OLDEST:
        oldest, here = (".".join(map(str, version[:2])) for version in (OLDEST, sys.version_info))
        return f"the cluster has Python {here} ({sys.executable}); caviar needs {oldest} or later"
    if not _there("ray"):
        return (
            f"{sys.executable}, which the cluster calls python, has no Ray: start its head with the Python of its "
            "environment on the PATH, or give the job one with --env 'PATH=/its/bin:${PATH}'"
        )
    extra = NEEDED_FOR.get((_value(arguments, "--out") or "").partition("://")[0].lower())
    missing = [name for name in (*NEEDED, *([extra] if extra else [])) if not _there(name)]
    if missing:
        return f"the cluster lacks {_listed(missing)}, which caviar needs: {_MEND}"
    return _file_lacks(arguments[0])


def _file_lacks(target: str) -> str | None:
    file = Path(target)
    if not file.exists():
        file = Path(target.rpartition(":")[0])
    sys.path.insert(0, str(file.resolve().parent))
    lacks = {name: line for name, line in imports(file) if not _there(name)}
    if not lacks:
        return None
    first = next(iter(lacks.values()))
    return f"{file}:{first}: the cluster lacks {_listed(list(lacks))}, which the file imports: {_MEND}"


def imports(file: Path) -> Iterator[tuple[str, int]]:
    """The modules that a file imports whatever happens, by the first part of their names, and where."""
    try:
        tree = ast.parse(file.read_bytes())
    except (OSError, SyntaxError, ValueError):
        return  # who loads it says so
    for statement in tree.body:
        if isinstance(statement, ast.Import):
            for name in statement.names:
                yield name.name.partition(".")[0], statement.lineno
        elif isinstance(statement, ast.ImportFrom) and not statement.level and statement.module:
            yield statement.module.partition(".")[0], statement.lineno


def _there(name: str) -> bool:
    try:
        return name in sys.modules or importlib.util.find_spec(name) is not None
    except (ImportError, ValueError):
        return False


def _value(arguments: list[str], option: str) -> str | None:
    return arguments[arguments.index(option) + 1] if option in arguments[:-1] else None


def _listed(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


if __name__ == "__main__":
    main(sys.argv[1:])

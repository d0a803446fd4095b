"""The job, unpickled once in the fork server, so that every training process is born with it and its imports.

The fork server imports this module before its first fork. What goes wrong then goes wrong again, and is told,
in the training process.
"""

from __future__ import annotations

import os
import pickle
import sys
from dataclasses import replace
from pathlib import Path

from caviar.execution.contract import Job
from caviar.execution.resources import Resources

JOB_FILE = "CAVIAR_JOB_FILE"
"""The environment variable that names the job's file to the fork server."""

_loaded: dict[str, Job] = {}


def job(path: str) -> Job:
    """The job that was written to ``path``: at hand where the fork server had it, else read now."""
    if path not in _loaded:
        _loaded.clear()
        _loaded[path] = read_job(Path(path).read_bytes())
    return _loaded[path]


def write_job(pickled: bytes, path: Path, *, resources: Resources) -> None:
    """Leave a pickled job, with this process's import path and what this worker has, where training processes find
    it."""
    path.write_bytes(pickle.dumps((sys.path, resources, pickled)))


def read_job(data: bytes) -> Job:
    """Unpickle a job; the import path that it was pickled with is added to ours, since its imports may need it."""
    import_path, resources, pickled = pickle.loads(data)
    sys.path.extend(entry for entry in import_path if entry not in sys.path)
    loaded: Job = pickle.loads(pickled)
    return replace(loaded, resources=resources)


def _try_early() -> None:
    try:
        job(os.environ[JOB_FILE])
    except BaseException:  # noqa: BLE001 - a fork server that dies here could not even say why
        _loaded.clear()


if JOB_FILE in os.environ:
    _try_early()

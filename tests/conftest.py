"""What all tests share: one small Ray cluster a session, and a place in memory."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def ray_cluster() -> Iterator[None]:
    """A Ray on this machine with four nominal cores, so that up to four workers fit whatever the machine has."""
    import ray

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ray.init("local", num_cpus=4, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    yield
    ray.shutdown()


@pytest.fixture(scope="session")
def memory() -> Path | None:
    """A file system in memory, where there is one: these tests make and remove thousands of files."""
    path = Path("/dev/shm")
    return path if os.access(path, os.W_OK) else None

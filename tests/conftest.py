"""What all tests share: one small Ray cluster and one S3 server a session, and a place in memory."""

from __future__ import annotations

import os
import secrets
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.weed import BUCKET, Weed


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


@pytest.fixture(scope="session")
def weed() -> Iterator[Weed]:
    """An S3 server on loopback."""
    with tempfile.TemporaryDirectory(prefix="caviar-weed-", ignore_cleanup_errors=True) as folder:
        server = Weed(Path(folder))
        try:
            server.start()
            yield server
        finally:
            server.stop()


@pytest.fixture
def s3(weed: Weed, monkeypatch: pytest.MonkeyPatch) -> str:
    """The URL of a folder of its own in the server, which the environment says how to reach."""
    for name, value in weed.environment().items():
        monkeypatch.setenv(name, value)
    return f"s3://{BUCKET}/{secrets.token_hex(6)}"

"""What all tests share: one small Ray cluster and one S3 server a session, and a place in memory."""

from __future__ import annotations

import os
import secrets
import signal
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.weed import BUCKET, Weed

GROUPS = ("machines", "ray")
"""Tests that run one after another, beside the others: those that start clusters of their own and mostly wait, and
those that share one Ray. They begin first, since they take longest."""


def pytest_configure() -> None:
    """Ctrl-C is what it usually is, for the tests and what they start: a shell that runs them in the background
    has it ignored."""
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Sort tests into `GROUPS`, for a run by several processes."""
    group_of = {}
    for item in items:
        folder, stem = item.path.parent.name, item.path.stem
        if item.get_closest_marker("ray") and folder != "clusters":  # which has machines of its own
            alone = folder == "cluster" or stem in ("test_machines", "test_cluster_jobs")
            group_of[item] = "machines" if alone else "ray"
            item.add_marker(pytest.mark.xdist_group(group_of[item]))
    items.sort(key=lambda item: GROUPS.index(group_of[item]) if item in group_of else len(GROUPS))


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

"""The Ray cluster that workers run on: joining or starting it, and what fits there."""

from __future__ import annotations

import logging
import os
import socket
import warnings
from collections.abc import Mapping
from typing import Any

from caviar.errors import ExecutionError, UsageError
from caviar.execution.nodes import Node
from caviar.execution.resources import Resources
from caviar.execution.tracebacks import one_line

REACH_S = 10.0
"""How long a cluster may take to accept a connection."""


def join(address: str | None, *, cpus: int, runtime_env: Mapping[str, Any]) -> bool:
    """Connect this process to Ray, unless it is already; returns whether that was needed.

    ``address`` None: the cluster that ``RAY_ADDRESS`` names, or a Ray of our own with so many ``cpus``. A cluster
    that does not answer raises `ExecutionError`, the address of a dashboard `UsageError`.
    """
    import ray

    if ray.is_initialized():
        return False
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # else it warns of its own future
    address = address or os.environ.get("RAY_ADDRESS") or "local"  # "local" keeps it from joining what runs here
    options: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    if runtime_env:
        options["runtime_env"] = dict(runtime_env)
    if address == "local":
        options.update(include_dashboard=False, num_cpus=cpus)
    else:
        _refuse_dashboard(address)
        _check_reachable(address)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            ray.init(address=address, **options)
    except Exception as error:
        where = "on this machine" if address == "local" else f"at {address}"
        raise ExecutionError(f"cannot start or join Ray {where}: {one_line(error)}{_hint(address)}") from error
    return True


def _refuse_dashboard(address: str) -> None:
    if address.startswith(("http://", "https://")):
        raise UsageError(
            f"the address {address} is that of a dashboard, which takes jobs (caviar submit); workers are reached "
            "through the head's own port, as HEAD:6379, or from a machine of the cluster as auto"
        )


def _hint(address: str) -> str:
    """What Ray does not say where it was not let in."""
    if address == "local":
        return ""
    if os.environ.get("RAY_AUTH_MODE") == "token":
        return " (is the token that of this cluster? See RAY_AUTH_TOKEN, RAY_AUTH_TOKEN_PATH, ~/.ray/auth_token)"
    return " (if it asks for a token: RAY_AUTH_MODE=token, with the token in RAY_AUTH_TOKEN or ~/.ray/auth_token)"


def where() -> str:
    """The address of the cluster's head."""
    import ray

    return str(ray.get_runtime_context().gcs_address)


def cores() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def nodes() -> list[Node]:
    """The nodes of the cluster that this process is connected to.

    What others use of them is not taken off: workers wait for it, and what was just freed is not yet in Ray's
    figures.
    """
    import ray

    return [
        Node(resources=node["Resources"], labels=node.get("Labels") or {})
        for node in ray.nodes()  # type: ignore[no-untyped-call]
        if node["Alive"]
    ]


def actor_options(resources: Resources, *, runtime_env: Mapping[str, Any]) -> dict[str, Any]:
    """Ray's options for a worker's actor. It is never restarted or retried by Ray: attempts are ours to count.
    Workers are spread over the nodes, so that each has as much of its machine as it can."""
    options: dict[str, Any] = {
        "scheduling_strategy": "SPREAD",
        "num_cpus": resources.cpus,
        "num_gpus": resources.gpus,
        "resources": dict(resources.custom),
        "max_restarts": 0,
        "max_task_retries": 0,
        "max_concurrency": 2,  # so that a nudge gets past the exchange that waits
        "enable_task_events": False,  # of every call, for Ray's dashboard: the driver would pay for them
    }
    if resources.memory_bytes is not None:
        options["memory"] = resources.memory_bytes
    if resources.labels:
        options["label_selector"] = dict(resources.labels)
    if runtime_env:
        options["runtime_env"] = dict(runtime_env)
    return options


def _check_reachable(address: str) -> None:
    """Ray itself tries for minutes; whether anything listens is known at once."""
    host, _, port = address.rpartition("://")[2].rpartition(":")
    if not host or not port.isdigit():
        return  # "auto", say: a name that Ray resolves
    try:
        socket.create_connection((host, int(port)), timeout=REACH_S).close()
    except OSError as error:
        raise ExecutionError(f"cannot reach Ray at {address}: {error}") from error

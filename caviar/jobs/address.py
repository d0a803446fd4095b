"""Which address a cluster's jobs are reached at, and with which token."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from ipaddress import IPv6Address, ip_address
from pathlib import Path
from urllib.parse import urlsplit

from caviar.errors import UsageError

VARIABLES = ("RAY_API_SERVER_ADDRESS", "RAY_ADDRESS")
"""The environment variables in which Ray looks for it, in order."""

DASHBOARD_PORT, GCS_PORT, CLIENT_PORT = 8265, 6379, 10001

LIKELY_PORTS = range(8000, 9000)
"""Where a dashboard may be; who gives another port without http:// may well mean something else by it."""


def dashboard_address(given: str | None, environment: Mapping[str, str] = os.environ) -> str:
    """The URL of a cluster's dashboard: ``given``, or else what the environment names.

    Anything but an http or https URL raises `UsageError`, with the one that is probably meant.
    """
    if given is None:
        for name in VARIABLES:
            if environment.get(name, "").startswith(("http://", "https://")):
                return dashboard_address(environment[name])
        raise UsageError(
            f"--address: which cluster? Give the address of its dashboard, as http://HEAD:{DASHBOARD_PORT}, here "
            "or in RAY_ADDRESS"
        )
    address = given.strip().rstrip("/")
    scheme, host, port = _parts(address)
    if scheme in ("http", "https") and host and port not in (GCS_PORT, CLIENT_PORT):
        return address
    host = None if host in ("auto", "local") else host  # words for a cluster on this machine
    meant = f"http://{host or 'HEAD'}:{port if port in LIKELY_PORTS else DASHBOARD_PORT}"
    what = ": that is the port by which Ray's own processes find each other;" if port == GCS_PORT else ":"
    raise UsageError(f"--address {given}{what} jobs need the address of the cluster's dashboard, as {meant}")


def _parts(address: str) -> tuple[str, str | None, int | None]:
    try:
        parts = urlsplit(address if "://" in address else f"//{address}")
        return parts.scheme, parts.hostname, parts.port
    except ValueError:  # a port that is no number, say
        return "", None, None


@contextmanager
def only(address: str) -> Iterator[None]:
    """Within the block Ray's client takes this address; else the environment has the last word."""
    before = {name: os.environ.get(name) for name in VARIABLES}
    os.environ[VARIABLES[0]] = address
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def trusted(address: str) -> bool:
    """Whether a token may be shown to who asks for it there, though nobody said that it is to be sent: over TLS,
    or within a network of one's own."""
    parts = urlsplit(address)
    if parts.scheme == "https":
        return True
    try:
        found = socket.getaddrinfo(parts.hostname, parts.port, type=socket.SOCK_STREAM)
    except OSError:
        return False
    return not any(_public(str(each[4][0])) for each in found)


def _public(address: str) -> bool:
    ip = ip_address(address.partition("%")[0])
    inner = ip.ipv4_mapped if isinstance(ip, IPv6Address) else None
    return (inner or ip).is_global


def token_headers() -> dict[str, str]:
    """What shows a cluster the token that this machine has, where Ray has not been told whether to use it.

    Ray sends one itself with ``RAY_AUTH_MODE=token``; with any other word there it is not to be sent.
    """
    if os.environ.get("RAY_AUTH_MODE"):
        return {}
    token = os.environ.get("RAY_AUTH_TOKEN", "").strip()
    if not token:
        path = Path(os.environ.get("RAY_AUTH_TOKEN_PATH") or Path.home() / ".ray" / "auth_token")
        try:
            token = path.read_text("utf-8").strip()
        except (OSError, ValueError):
            return {}
    return {"Authorization": f"Bearer {token}"} if token else {}

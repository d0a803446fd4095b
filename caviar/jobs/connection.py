"""Ray's client of the job API, with time limits, and with errors that say what is wrong."""

from __future__ import annotations

import logging
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import aiohttp
import requests
from ray.job_submission import JobSubmissionClient

CONNECT_S, ANSWER_S, TAKE_S = 4.0, 6.0, 120.0
"""How long a cluster may take to accept a connection, to answer a question, and to take in what is sent to it."""

for _name in ("ray.dashboard.modules.dashboard_sdk", "ray._private.runtime_env.packaging"):
    # what is being sent is told by who sends it
    logging.getLogger(_name).setLevel(logging.WARNING)


class RefusedError(Exception):
    """The cluster answered with an error: its HTTP status, and what it said."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


class Connection(JobSubmissionClient):
    """Ray's own waits for an answer without end, and has one kind of error for everything that is refused."""

    def _do_request(
        self, method: str, endpoint: str, *, data: Any = None, json_data: Any = None, **options: Any
    ) -> requests.Response:
        options.setdefault("timeout", (CONNECT_S, ANSWER_S if method == "GET" else TAKE_S))
        response = requests.request(
            method,
            f"{self._address}{endpoint}",
            cookies=self._cookies,
            data=data,
            json=json_data,
            headers=self._headers,
            verify=self._verify,
            **options,
        )
        if response.status_code in (requests.codes.unauthorized, requests.codes.forbidden):
            self._raise_error(response)
        return response

    def _raise_error(self, r: requests.Response) -> None:
        raise RefusedError(r.status_code, r.text)

    @asynccontextmanager
    async def open_log(
        self, job: str, *, node: str, interval_s: float | None
    ) -> AsyncIterator[aiohttp.StreamReader]:
        """The log of a job from its beginning, as bytes.

        ``node``: where it runs. ``interval_s``: how often the cluster looks for more; the bytes then go on
        until this is left. None: what there is now. Raises `RefusedError`, and what aiohttp raises.
        """
        kind, more = ("file", {}) if interval_s is None else ("stream", {"interval": f"{interval_s:g}"})
        limits = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_S)
        async with (
            aiohttp.ClientSession(
                cookies=self._cookies, headers=self._headers, timeout=limits, trust_env=True
            ) as session,
            session.get(
                f"{self._address}/api/v0/logs/{kind}",
                params={"node_id": node, "submission_id": job, "lines": "-1", **more},
                ssl=True if self._ssl_context is None else self._ssl_context,
            ) as response,
        ):
            if response.status != requests.codes.ok:
                raise RefusedError(response.status, await response.text())
            _keep_alive(response)
            yield response.content


def _keep_alive(response: aiohttp.ClientResponse) -> None:
    """Have the operating system find out when the other side has gone, which a silent log would not show."""
    transport = None if response.connection is None else response.connection.transport
    sock: socket.socket | None = None if transport is None else transport.get_extra_info("socket")
    if sock is None:
        return
    for level, name, value in (
        (socket.SOL_SOCKET, "SO_KEEPALIVE", 1),
        (socket.IPPROTO_TCP, "TCP_KEEPIDLE", 10),
        (socket.IPPROTO_TCP, "TCP_KEEPINTVL", 5),
        (socket.IPPROTO_TCP, "TCP_KEEPCNT", 3),
    ):
        with suppress(OSError, AttributeError):  # not all of them are known everywhere
            sock.setsockopt(level, getattr(socket, name), value)

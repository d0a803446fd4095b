"""Small web servers that stand in for the dashboard of a Ray cluster, and for what is none."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

Answer = tuple[int, Any]
"""A status, and what goes with it: JSON, or bytes as they are."""


class Handler(BaseHTTPRequestHandler):
    """Asks the `Dashboard` that its server stands in for."""

    def do_GET(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        self._answer()

    def do_PUT(self) -> None:
        self._answer()

    def do_DELETE(self) -> None:
        self._answer()

    def _answer(self) -> None:
        self.body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.server.dashboard.answer(self)

    def log_message(self, *_: object) -> None:
        pass

    def give(self, status: int, body: Any) -> None:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


class Dashboard:
    """A cluster with one job, ``job-1``, whose log is streamed as the test says.

    ``streams``: what each request for the log gets, one after another, before its connection ends; the last one
    again and again.
    """

    def __init__(self, *, token: str | None = None, streams: list[list[bytes]] | None = None) -> None:
        self.token = token
        self.streams = streams or [[]]
        self.log = b""
        self.job: dict[str, Any] = {
            "type": "SUBMISSION",
            "submission_id": "job-1",
            "status": "RUNNING",
            "entrypoint": "caviar run",
            "message": "Job is currently running.",
            "start_time": 1_700_000_000_000,
            "metadata": {"caviar_kind": "sweep", "caviar_folder": "/shared/runs/digits"},
            "runtime_env": {"env_vars": {"RAY_JOB_STOP_WAIT_TIME_S": "30"}},
            "driver_node_id": "node-1",
        }
        self.seen: list[str] = []
        self.refused: Mapping[str, Answer] = {}
        self.on_stop: Callable[[], None] = self.end

    def end(self, status: str = "SUCCEEDED") -> None:
        """Have the job end."""
        self.job = {**self.job, "status": status, "end_time": 1_700_000_060_000}

    def answer(self, asked: Handler) -> None:
        url = urlsplit(asked.path)
        self.seen.append(f"{asked.command} {url.path}")
        authorization = asked.headers.get("Authorization")
        if self.token is not None and authorization != f"Bearer {self.token}":
            asked.give(*((401, b"Unauthorized") if authorization is None else (403, b"Forbidden")))
        elif url.path in self.refused:
            asked.give(*self.refused[url.path])
        elif url.path == "/api/version":
            asked.give(200, {"version": "4", "ray_version": "2.60.0", "ray_commit": "", "session_name": ""})
        elif url.path == "/api/jobs/":
            asked.give(200, [self.job])
        elif url.path == "/api/jobs/job-1":
            asked.give(200, self.job)
        elif url.path == "/api/jobs/job-1/logs":
            asked.give(200, {"logs": self.log.decode()})
        elif url.path == "/api/jobs/job-1/stop":
            self.on_stop()
            asked.give(200, {"stopped": True})
        elif url.path.startswith("/api/v0/logs/") and parse_qs(url.query)["submission_id"] == ["job-1"]:
            self._stream(asked, last=url.path.endswith("file"))
        else:
            asked.give(404, b"does not exist")

    def _stream(self, asked: Handler, *, last: bool) -> None:
        if last:
            asked.give(200, self.log)
            return
        pieces = self.streams.pop(0) if len(self.streams) > 1 else self.streams[0]
        asked.send_response(200)
        asked.end_headers()
        for piece in pieces:
            asked.wfile.write(piece)
            asked.wfile.flush()


@contextmanager
def serving(dashboard: Dashboard) -> Iterator[str]:
    """The URL of a server that answers as this dashboard does."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    server.dashboard = dashboard
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def know_nothing_of_ray(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No address, and no token but those of the test; whatever another test of this process has had Ray do."""
    for name in ("RAY_ADDRESS", "RAY_API_SERVER_ADDRESS", "RAY_AUTH_MODE", "RAY_AUTH_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(tmp_path / "no-token"))
    monkeypatch.setattr("ray.dashboard.modules.dashboard_sdk.get_auth_headers_if_auth_enabled", lambda given: {})

"""An S3 server for the tests: SeaweedFS on loopback, with one bucket and three users."""

from __future__ import annotations

import http.client
import json
import signal
import socket
import subprocess
import sysconfig
import time
from pathlib import Path

BUCKET = "sweeps"
USERS = {
    "key": ("secret", ["Admin", "Read", "Write", "List", "Tagging"]),
    "reader": ("reader-secret", [f"Read:{BUCKET}", f"List:{BUCKET}"]),
}
UP_S = 60


class Weed:
    """One server. It keeps its ports and its data over `kill` and `start`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        (folder / "data").mkdir()
        identities = [
            {"name": key, "credentials": [{"accessKey": key, "secretKey": secret}], "actions": actions}
            for key, (secret, actions) in USERS.items()
        ]
        (folder / "s3.json").write_text(json.dumps({"identities": identities}))
        names = ("master", "volume", "filer", "s3")
        numbers = iter(_free_ports(2 * len(names)))
        self._ports = {f"{name}.port{kind}": next(numbers) for name in names for kind in ("", ".grpc")}
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self._ports['s3.port']}"

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def environment(self, user: str = "key") -> dict[str, str]:
        """What a process needs to reach it."""
        return {
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_ACCESS_KEY_ID": user,
            "AWS_SECRET_ACCESS_KEY": USERS[user][0],
            "AWS_REGION": "us-east-1",
            "AWS_ALLOW_HTTP": "true",
        }

    def start(self) -> None:
        """Start it, and wait until its bucket can be used."""
        command = [
            str(Path(sysconfig.get_path("scripts"), "weed")),
            "server",
            f"-dir={self._folder / 'data'}",
            "-ip=127.0.0.1",
            "-ip.bind=127.0.0.1",
            "-s3",
            f"-s3.config={self._folder / 's3.json'}",
            "-s3.autoCreateBucket=false",
            "-s3.port.iceberg=0",
            "-s3.port.lance=0",
            "-volume.max=50",
            "-master.volumeSizeLimitMB=64",
            "-master.telemetry=false",
            "-master.electionTimeout=1s",
            "-master.heartbeatInterval=100ms",
            *(f"-{name}={number}" for name, number in self._ports.items()),
        ]
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log, cwd=self._folder)
        deadline = time.monotonic() + UP_S
        while not self._is_up():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"weed does not start: {(self._folder / 'log').read_text()[-2000:]}")
            time.sleep(0.05)

    def _is_up(self) -> bool:
        """Whether it keeps what it is given: its parts find each other one after another."""
        try:
            made = self._ask("filer.port", "POST", f"/buckets/{BUCKET}/")
            kept = self._ask("filer.port", "PUT", f"/buckets/{BUCKET}/.up", b"up")
            return (made < 300 or made == 409) and kept < 300 and self._ask("s3.port", "GET", "/healthz") < 300
        except OSError:
            return False

    def _ask(self, port: str, method: str, path: str, data: bytes | None = None) -> int:
        connection = http.client.HTTPConnection("127.0.0.1", self._ports[port], timeout=10)
        try:
            connection.request(method, path, body=data)
            return connection.getresponse().status
        finally:
            connection.close()

    def kill(self) -> None:
        """Kill it, as a power loss would."""
        assert self._process is not None
        self._process.send_signal(signal.SIGKILL)
        self._process.wait()

    def stop(self) -> None:
        """Stop it for good."""
        if self._process is not None and self._process.poll() is None:
            self.kill()


def _free_ports(count: int) -> list[int]:
    held = [socket.socket() for _ in range(count)]
    for one in held:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in held]
    for one in held:
        one.close()
    return ports

"""Two machines on this one: each with a network, an address, processes and a /tmp-like folder of its own.

They are namespaces of Linux, made by `unshare`, so they need root or a system that lets anybody make user
namespaces. Ray finds no other Ray there, whatever runs on this machine, and `ray stop` ends nobody else's. All of
it goes when the outermost process is killed.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import psutil

ADDRESSES = ("10.77.0.1", "10.77.0.2")
HERE = Path(__file__).parent
APART = ("--net", "--mount", "--uts", "--pid", "--fork", "--kill-child", "--mount-proc")
WAIT_S = 20.0


def unshare() -> list[str]:
    """The command that puts what follows apart from this machine."""
    return ["unshare", *([] if os.geteuid() == 0 else ["--map-root-user"]), *APART]


def why_not() -> str | None:
    """Why there can be no such machines here, or None."""
    for tool in ("unshare", "ip", "mount"):
        if shutil.which(tool) is None:
            return f"there is no `{tool}`"
    script = "ip link add name caviar0 type veth peer name caviar1 && mount -t tmpfs tmpfs /proc/self/cwd"
    with tempfile.TemporaryDirectory() as folder:
        tried = subprocess.run(
            [*unshare(), "sh", "-c", script], cwd=folder, capture_output=True, text=True, check=False
        )
    return None if tried.returncode == 0 else f"no namespaces: {tried.stderr.strip()}"


def ask(door: Path, words: Sequence[str], *, env: Mapping[str, str], cwd: Path, out: int) -> socket.socket:
    """Have a machine run a command, with ``out`` as its output. What comes back is closed to end it, or read by
    `answer`."""
    client = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    client.connect(str(door))
    message = json.dumps({"words": list(words), "env": dict(env), "cwd": str(cwd)}).encode()
    socket.send_fds(client, [message], [out])
    return client


def answer(client: socket.socket) -> int:
    """Wait for the command, and return its exit status."""
    with client:
        said = client.recv(64)
    return int(said) if said else 255  # the machine is gone


class Machines:
    """Two machines that see ``folder`` and everything else of this machine's files; ``tmp`` is each one's own."""

    def __init__(self) -> None:
        self._root = Path(tempfile.mkdtemp(prefix="caviar-"))
        self.folder = self._root / "shared"
        self.tmp = self._root / "t"
        self.folder.mkdir()
        self.tmp.mkdir()
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            [*unshare(), sys.executable, str(HERE / "namespaces.py"), "switch", str(self._root)],
            stdin=subprocess.PIPE,  # which is never written to: its end tells that this process is gone
        )
        deadline = time.monotonic() + WAIT_S
        while not all(self.door(number).exists() for number in range(len(ADDRESSES))):
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError("the machines did not start")
            time.sleep(0.02)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        assert self._process is not None
        inside = psutil.Process(self._process.pid).children(recursive=True)
        self._process.send_signal(signal.SIGKILL)
        self._process.communicate()
        _, alive = psutil.wait_procs(inside, timeout=WAIT_S)
        shutil.rmtree(self._root, ignore_errors=True)
        assert not alive, alive

    def door(self, number: int) -> Path:
        """The socket at which a machine takes commands."""
        return self._root / f"machine-{number}"

    def run(
        self, number: int, words: Sequence[str], *, env: Mapping[str, str], timeout_s: float
    ) -> tuple[int, str]:
        """Run a command on a machine, to its end; its exit status and its output."""
        with tempfile.TemporaryFile() as out:
            client = ask(self.door(number), words, env=env, cwd=self.folder, out=out.fileno())
            client.settimeout(timeout_s)
            try:
                status = answer(client)
            except TimeoutError:
                status = -1
            out.seek(0)
            return status, out.read().decode(errors="replace")

"""Ray clusters of several nodes on this machine, each node as `ray start` makes it."""

from __future__ import annotations

import json
import os
import random
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from caviar.execution.worker import TITLES

ROOT = Path(__file__).parents[2]
DEADLINE_S = 100
HOST = "127.0.0.2"
"""The head's address; those of other nodes follow. Some of Ray listens there alone, some of it everywhere."""
PORTS = range(20_000, 32_000)
"""Below those that the kernel gives to whoever asks for none in particular."""

MARK = "CAVIAR_NODE_MARK"
"""An environment variable by which every process of a node can be found, whoever its parent has become."""

TOO_SLOW = "timed out during startup"
BEGINS = 3

NO_COMMANDS = (
    "cluster_synced_files",
    "rsync_exclude",
    "rsync_filter",
    "initialization_commands",
    "setup_commands",
    "head_setup_commands",
    "worker_setup_commands",
    "head_start_ray_commands",
    "worker_start_ray_commands",
)
"""What Ray wants to see in an autoscaler's configuration, and what nodes without a machine of their own lack."""

NUMBER = "CAVIAR_NODE"
"""What every process of a node reads its number from: 0 is the head."""

BEGIN = """
import ctypes, os, signal, sys

ctypes.CDLL(None).prctl(1, signal.SIGTERM)  # with the process that wanted it, the node ends
if os.getppid() == int(sys.argv[1]):
    os.execv(sys.executable, [sys.executable, "-m", "ray.scripts.scripts", "start", "--block", *sys.argv[2:]])
"""


def until(condition: Callable[[], Any], *, what: Any = "", deadline_s: float = DEADLINE_S) -> Any:
    """Wait until the condition holds. ``what``: what is wrong where it never does; a function is called then."""
    deadline = time.monotonic() + deadline_s
    while not (found := condition()):
        assert time.monotonic() < deadline, (what() if callable(what) else what) or condition
        time.sleep(0.05)
    return found


def free_port() -> int:
    """A port on which nobody listens; one in thousands, so that two who ask at once get two."""
    while True:
        port = random.SystemRandom().choice(PORTS)
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("", port))
            return port


def marked(mark: str) -> dict[int, str]:
    """The processes under a mark and all that descend from them, by pid, with their command lines."""
    found: dict[int, str] = {}
    parents: dict[int, int] = {}
    for path in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            state, parent = (path / "stat").read_text().rpartition(")")[2].split()[:2]
            if state in "ZX":
                continue
            pid = int(path.name)
            parents[pid] = int(parent)
            if f"{MARK}={mark}\0" in (path / "environ").read_text(errors="replace"):
                found[pid] = ""
    while more := [pid for pid, parent in parents.items() if parent in found and pid not in found]:
        found.update(dict.fromkeys(more, ""))
    for pid in list(found):
        with suppress(OSError):
            found[pid] = Path(f"/proc/{pid}/cmdline").read_text(errors="replace").replace("\0", " ").strip()
    return found


def send(number: signal.Signals, pids: Iterable[int]) -> None:
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, number)


class Node:
    """One `ray start`, and all processes that come of it."""

    def __init__(
        self, number: int, folder: Path, arguments: Iterable[str], environment: Mapping[str, str]
    ) -> None:
        self.number = number
        self.folder = folder
        self.amounts: list[str] = []
        self.mark = secrets.token_hex(8)
        self._told = folder / "told"
        self._command = [sys.executable, "-c", BEGIN, str(os.getpid()), f"--temp-dir={folder}", *arguments]
        self._environment = {**environment, MARK: self.mark, NUMBER: str(number)}
        self._begins = 0
        folder.mkdir(parents=True)
        self._begin()

    def _begin(self) -> None:
        self._begins += 1
        with self._told.open("w") as told:
            self.process = subprocess.Popen(
                self._command,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=told,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def begun(self) -> bool:
        """Whether it has joined. Ray gives a node 30 seconds for that; on a busy machine it tries again."""
        told = self._told.read_text()
        if self.process.poll() is not None:
            assert TOO_SLOW in told, told
            assert self._begins < BEGINS, told
            self.end()
            self._begin()
        return "Ray runtime started" in told

    def processes(self) -> dict[int, str]:
        """Its command lines by pid: Ray's own, workers, and what those have started."""
        return marked(self.mark)

    def named(self, *titles: str) -> list[int]:
        """Its processes whose command line begins so."""
        return [pid for pid, line in self.processes().items() if line.startswith(titles)]

    def end(self) -> None:
        """End all its processes at once, as a machine does that loses its power."""
        while left := self.processes():
            send(signal.SIGKILL, left)
            self.process.poll()
        self.process.wait()


class Nodes:
    """A Ray cluster on loopback: a head with the dashboard, and the nodes that were added.

    Every node is a raylet of its own, with its own ports and temporary folder. ``cpus``, ``gpus``, ``labels`` and
    ``resources`` are those of the head; none of them need to exist. ``token``: whoever wants in must show one,
    which clients have from `environment`; without, anybody gets in. With the process that made it, a cluster ends.
    ``grows``: what nodes have that Ray's autoscaler adds where they are asked for, two at most.
    """

    def __init__(
        self,
        *,
        cpus: int = 0,
        gpus: int = 0,
        labels: Mapping[str, str] | None = None,
        resources: Mapping[str, float] | None = None,
        token: bool = True,
        environment: Mapping[str, str] | None = None,
        grows: Mapping[str, float] | None = None,
    ) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="cv-", dir="/tmp"))  # Unix sockets have short paths
        self.address = f"{HOST}:{free_port()}"
        self.token = secrets.token_hex(32) if token else None
        self.nodes: list[Node] = []
        self._dashboard_port = free_port()
        self._changes = dict(environment or {})
        more = [] if grows is None else self._autoscaled(grows)
        try:
            self.head = self._begin(
                "--head",
                f"--port={self.address.rpartition(':')[2]}",
                f"--ray-client-server-port={free_port()}",
                "--dashboard-host=" + HOST,
                f"--dashboard-port={self._dashboard_port}",
                *more,
                *_amounts(cpus=cpus, gpus=gpus, labels=labels, resources=resources),
            )
            self._wait(self.head)
        except BaseException:
            self.end()
            raise

    @property
    def environment(self) -> dict[str, str]:
        """The environment of a client: this checkout's caviar, this cluster's token, and no other's address."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("RAY_", MARK))}
        path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
        token = {"RAY_AUTH_MODE": "disabled"}
        if self.token is not None:
            token = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": self.token}
        programs = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
        return {
            **kept,
            "PATH": programs,
            "PYTHONPATH": path,
            "PYTHONWARNINGS": "ignore",
            "RAY_USAGE_STATS_ENABLED": "0",
            **token,
        }

    @property
    def dashboard(self) -> str:
        """The dashboard's URL, once it takes jobs."""
        url = f"http://{HOST}:{self._dashboard_port}"
        until(lambda: self._answers(url + "/api/jobs/"), what=f"{url} does not answer")
        return url

    def add(
        self,
        *,
        cpus: int = 1,
        gpus: int = 0,
        labels: Mapping[str, str] | None = None,
        resources: Mapping[str, float] | None = None,
        wait: bool = True,
    ) -> Node:
        """Have one more node; ``wait`` until it has joined. None of what it is said to have need exist."""
        amounts = _amounts(cpus=cpus, gpus=gpus, labels=labels, resources=resources)
        node = self._begin(f"--address={self.address}", *amounts)
        node.amounts = amounts
        if wait:
            self._wait(node)
        return node

    def have(self, *wanted: Mapping[str, Any]) -> None:
        """Have these nodes besides the head, each as `add` makes it, and no others."""
        missing = [(_amounts(**one), one) for one in wanted]
        for node in self.nodes[1:]:
            found = next((one for one in missing if one[0] == node.amounts), None)
            if found is None:
                self.kill(node)
            else:
                missing.remove(found)
        for _, one in missing:
            self.add(**one, wait=False)
        self.wait()

    def wait(self) -> None:
        """Until all nodes have joined."""
        for node in self.nodes:
            self._wait(node)

    def kill(self, node: Node) -> None:
        """Lose a node: all its processes at once, and no others."""
        self.nodes.remove(node)
        node.end()

    def workers(self) -> list[int]:
        """The processes of Ray's in which somebody's workers are."""
        return [pid for node in self.nodes for pid in node.named(*TITLES)]

    def end(self) -> None:
        """End every process of every node."""
        for node in self.nodes:
            send(signal.SIGKILL, node.processes())
        for node in self.nodes:
            node.end()
        shutil.rmtree(self.folder, ignore_errors=True)

    def get(self, path: str) -> Any:
        """What the dashboard's REST interface says."""
        with urllib.request.urlopen(self._request(self.dashboard + path), timeout=DEADLINE_S) as answer:
            return json.load(answer)

    def _autoscaled(self, resources: Mapping[str, float]) -> list[str]:
        """Let Ray's autoscaler begin nodes in the head's own processes, as its tests do; returns the arguments."""
        config = {
            "cluster_name": "grows",
            "max_workers": 2,
            "idle_timeout_minutes": 0.05,
            "provider": {
                "type": "fake_multinode",
                "use_node_id_as_ip": True,
                "disable_node_updaters": True,
                "gcs_address": self.address,
            },
            "head_node_type": "ray.head.default",
            "available_node_types": {
                "ray.head.default": {"resources": {"CPU": 0}, "node_config": {}, "max_workers": 0},
                "grown": {
                    "resources": {**resources, "object_store_memory": 100 * 10**6},
                    "node_config": {},
                    "min_workers": 0,
                    "max_workers": 2,
                },
            },
            **{name: {} for name in ("head_node", "worker_nodes", "file_mounts", "auth", "docker")},
            **{name: [] for name in NO_COMMANDS},
            "file_mounts_sync_continuously": False,
        }
        self._changes |= {"RAY_FAKE_CLUSTER": "1", "AUTOSCALER_UPDATE_INTERVAL_S": "1"}
        path = self.folder / "autoscaling.json"
        path.write_text(json.dumps(config))
        return [f"--autoscaling-config={path}"]

    def _begin(self, *arguments: str) -> Node:
        number = sum(1 for one in self.folder.iterdir() if one.is_dir())
        common = [
            f"--node-ip-address=127.0.0.{2 + number}",
            "--min-worker-port=0",  # any
            "--max-worker-port=0",
            f"--dashboard-agent-listen-port={free_port()}",
            f"--object-store-memory={100 * 10**6}",
            "--include-log-monitor=false",
            "--disable-usage-stats",
        ]
        node = Node(
            number, self.folder / str(number), [*arguments, *common], {**self.environment, **self._changes}
        )
        self.nodes.append(node)
        return node

    def _wait(self, node: Node) -> None:
        until(node.begun, what=f"it has not started: see {node.folder}")

    def _answers(self, url: str) -> bool:
        with suppress(OSError), urllib.request.urlopen(self._request(url), timeout=10):
            return True
        return False

    def _request(self, url: str) -> urllib.request.Request:
        headers = {} if self.token is None else {"Authorization": f"Bearer {self.token}"}
        return urllib.request.Request(url, headers=headers)


def _amounts(
    *,
    cpus: int = 1,
    gpus: int = 0,
    labels: Mapping[str, str] | None = None,
    resources: Mapping[str, float] | None = None,
) -> list[str]:
    named = ",".join(f"{name}={value}" for name, value in (labels or {}).items())
    return [
        f"--num-cpus={cpus}",
        f"--num-gpus={gpus}",
        f"--resources={json.dumps(dict(resources or {}))}",
        *([f"--labels={named}"] if named else []),
    ]

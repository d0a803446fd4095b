"""Whether the Ray cluster is still there: its head (the GCS), and the raylet that connects this process to it.

Ray itself says nothing of it. It ends the process, without a word to Python, when the head has not answered for a
minute; and without its raylet a driver waits for new workers forever. So both are asked from outside.
"""

from __future__ import annotations

import socket
import threading
from dataclasses import dataclass

from caviar.execution.heartbeat import AwakeClock

HEAD_S = 30.0
"""A head that does not answer for so long is gone. One that comes back sooner, Ray reconnects to."""

RAYLET_S = 5.0
"""A raylet that does not answer for so long is gone: it never comes back, and Ray ends its driver's workers."""

ASK_S = 0.5
CONNECT_S = 1.5


@dataclass(slots=True)
class _Service:
    what: str
    address: str
    limit_s: float
    answered_s: float = 0.0


class ClusterWatch:
    """Asks now and then, on a thread of its own."""

    def __init__(self, *, head_s: float = HEAD_S, raylet_s: float = RAYLET_S) -> None:
        """Watches the cluster that this process is connected to; nothing where that is through a Ray client."""
        self._over = threading.Event()
        self.gone: str | None = None
        """What is gone, in words."""
        self._services = _services(head_s, raylet_s)
        if self._services:
            threading.Thread(target=self._watch, name="caviar-cluster-watch", daemon=True).start()

    def stop(self) -> None:
        """Ask no more."""
        self._over.set()

    def _watch(self) -> None:
        clock = AwakeClock(gap_s=ASK_S + CONNECT_S)
        while not self._over.wait(ASK_S) and self.gone is None:
            for service in self._services:
                answers = _answers(service.address)
                now_s = clock.look()
                if answers:
                    service.answered_s = now_s
                elif now_s - service.answered_s > service.limit_s:
                    self.gone = (
                        f"its {service.what} at {service.address} has not answered for {service.limit_s:g} s"
                    )


def _services(head_s: float, raylet_s: float) -> list[_Service]:
    import ray

    if ray.util.client.ray.is_connected():  # type: ignore[no-untyped-call]
        return []
    context = ray.get_runtime_context()
    own = [node for node in ray.nodes() if node["NodeID"] == context.get_node_id()]  # type: ignore[no-untyped-call]
    return [
        _Service("head", context.gcs_address, head_s),
        *(
            _Service(
                "raylet beside the driver", f"{node['NodeManagerAddress']}:{node['NodeManagerPort']}", raylet_s
            )
            for node in own
        ),
    ]


def _answers(address: str) -> bool:
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=CONNECT_S).close()
    except OSError:
        return False
    return True

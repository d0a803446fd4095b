"""Who drives a sweep: the lease, and when another driver may take the folder over.

The lease keeps a second driver away by courtesy; what makes it safe is the fence. A driver that lost its lease
while it was suspended collides with its successor's seal at its next create.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from caviar.errors import FolderError, LeaseError
from caviar.store.layout import SweepFolder
from caviar.store.strict_json import is_whole, parse_object

FRESH_S = 30.0
"""For so long after it was renewed, a lease keeps others away."""

_MOST_BYTES = 2**16

RENEW_S = 5.0
"""How often its driver renews it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lease:
    """One driver's hold on a sweep folder."""

    host: str
    pid: int
    process_start: str
    """With the pid it names one process for good: pids are used again."""
    nonce: str
    time_us: int
    """When it was last renewed."""

    @classmethod
    def mine(cls, nonce: str, now_us: int) -> Lease:
        """A lease of this process."""
        pid = os.getpid()
        return cls(
            host=socket.gethostname(), pid=pid, process_start=process_start(pid) or "", nonce=nonce, time_us=now_us
        )

    @classmethod
    def read(cls, folder: SweepFolder) -> Lease | None:
        """The folder's lease, or None where there is none, or what is there is none: then nobody is kept away.

        `OSError` where it cannot be read now: then nothing is known.
        """
        try:
            lease = cls(**parse_object(folder.storage.read(folder.lease_json, most_bytes=_MOST_BYTES)))
        except (FileNotFoundError, NotADirectoryError, ValueError, TypeError):
            return None
        texts = (lease.host, lease.process_start, lease.nonce)
        sound = is_whole(lease.pid) and is_whole(lease.time_us) and all(isinstance(text, str) for text in texts)
        return lease if sound and lease.host.isprintable() and len(lease.host) < 256 else None

    def to_bytes(self) -> bytes:
        """The content of lease.json."""
        return json.dumps(asdict(self), indent=1).encode()

    def held(self, now_us: int) -> bool:
        """Whether its driver must be taken to be alive: it renewed the lease within the last 30 s (or, its clock
        being ahead, in the future), and it is not a dead process of this host."""
        if now_us - self.time_us >= FRESH_S * 1e6:
            return False
        return self.host != socket.gethostname() or process_start(self.pid) == self.process_start


def refuse_if_held(folder: SweepFolder, now_us: int, *, but: Lease | None = None) -> None:
    """Raise `LeaseError` where another driver holds the folder, `FolderError` where that cannot be told. ``but``:
    the driver that has, or had, this lease does not count."""
    try:
        lease = Lease.read(folder)
    except OSError as error:
        raise FolderError(f"{folder.where(folder.lease_json)}: cannot be read: {error.strerror}") from error
    if lease is not None and lease.held(now_us) and (but is None or lease.nonce != but.nonce):
        age_s = max(0.0, (now_us - lease.time_us) / 1e6)
        raise LeaseError(
            f"{folder}: is being driven by process {lease.pid} on {lease.host}, last heard of {age_s:.0f} s ago: "
            "stop that first"
        )


def process_start(pid: int) -> str | None:
    """When a process of this host started, in the system's own words; None: there is no such process."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        # The command's name comes second, in brackets, and may itself hold brackets and blanks
        state, *rest = (
            Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
        )
    except OSError:
        return None if Path("/proc/self/stat").exists() else _process_start_by_ps(pid)
    ticks = rest[18]
    return None if state in "ZX" else f"{boot}/{ticks}"


def _process_start_by_ps(pid: int) -> str | None:
    told = subprocess.run(["ps", "-o", "lstart=", "-p", str(pid)], capture_output=True, text=True, check=False)
    return told.stdout.strip() or None


def wall_clock_us() -> int:
    """Microseconds since the epoch."""
    return time.time_ns() // 1000

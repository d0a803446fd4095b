"""A driver that had a sweep folder before this one, and may still be at work: waiting until it surely is not."""

from __future__ import annotations

import socket
import time

from caviar.cli import logs
from caviar.errors import FolderError
from caviar.store.layout import SweepFolder
from caviar.store.lease import FRESH_S, Lease, refuse_if_held, wall_clock_us

LOOK_S = 1.0


def outlive(folder: SweepFolder) -> Lease | None:
    """Wait until no driver holds the folder; `LeaseError` where one is alive. Returns the lease that has to be
    taken over, if any: it is not renewed any more, and seems fresh by a clock that is ahead of this one. Of
    several who wait for it only the first is to have it: by then it is another's."""
    first = _lease(folder)
    if first is None or not first.held(wall_clock_us()):
        return None
    if first.host == socket.gethostname():  # then its process is known to be there
        refuse_if_held(folder, wall_clock_us())
    age_s = max(0.0, (wall_clock_us() - first.time_us) / 1e6)
    logs.say(
        f"{folder}: process {first.pid} on {first.host} had it in hand {age_s:.0f} s ago; waiting for at most "
        f"{max(0.0, FRESH_S - age_s):.0f} s to see whether it is gone"
    )
    began_s = time.monotonic()
    while time.monotonic() - began_s < FRESH_S:
        time.sleep(LOOK_S)
        now = _lease(folder)
        if now is None or not now.held(wall_clock_us()):
            return None
        if now != first:
            refuse_if_held(folder, wall_clock_us())
    return first


def _lease(folder: SweepFolder) -> Lease | None:
    try:
        return Lease.read(folder)
    except OSError as error:
        raise FolderError(f"{folder.where(folder.lease_json)}: cannot be read: {error.strerror}") from error

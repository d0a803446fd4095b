from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from dataclasses import replace
from typing import Any

import pytest

from caviar.errors import LeaseError
from caviar.store.layout import SweepFolder
from caviar.store.lease import FRESH_S, Lease, process_start, refuse_if_held
from caviar.store.recorder import Recorder


def write(folder: SweepFolder, lease: Lease) -> None:
    (folder.path / "lease.json").write_bytes(lease.to_bytes())


def test_processes_are_told_apart_by_when_they_started() -> None:
    mine = process_start(os.getpid())
    assert mine
    assert mine == process_start(os.getpid())
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    assert process_start(child.pid) not in (None, mine)
    child.communicate(b"\n")
    assert process_start(child.pid) is None


def test_a_process_that_died_and_was_not_waited_for_is_dead() -> None:
    child = subprocess.Popen([sys.executable, "-c", ""])
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert process_start(child.pid) is None
    child.wait()


def test_a_living_driver_keeps_others_away_while_its_lease_is_fresh(
    recorder: Recorder, folder: SweepFolder, clock: Any
) -> None:
    clock.advance(FRESH_S - 1)
    with pytest.raises(LeaseError, match=rf"process {os.getpid()} on .* 29 s ago: stop that first"):
        Recorder.open(folder, now_us=clock)
    clock.advance(1)
    Recorder.open(folder, now_us=clock).close()


def test_renewing_keeps_others_away(recorder: Recorder, folder: SweepFolder, clock: Any) -> None:
    for _ in range(20):
        clock.advance(5)
        recorder.keep_lease()
    with pytest.raises(LeaseError):
        Recorder.open(folder, now_us=clock)


def test_the_lease_is_renewed_every_5_seconds_only(recorder: Recorder, folder: SweepFolder, clock: Any) -> None:
    before = (folder.path / "lease.json").stat().st_ino
    clock.advance(4.9)
    recorder.keep_lease()
    assert (folder.path / "lease.json").stat().st_ino == before
    clock.advance(0.1)
    recorder.keep_lease()
    lease = Lease.read(folder)
    assert lease is not None
    assert lease.time_us == clock()


def test_take_over_needs_no_permission(recorder: Recorder, folder: SweepFolder, clock: Any) -> None:
    Recorder.open(folder, now_us=clock, take_over=True).close()


def test_a_dead_process_of_this_host_keeps_nobody_away(
    recorder: Recorder, folder: SweepFolder, clock: Any
) -> None:
    lease = Lease.read(folder)
    assert lease is not None
    write(folder, replace(lease, process_start="another start: the pid was used again"))
    refuse_if_held(folder, clock())
    write(folder, replace(lease, process_start="another start", host=f"not-{socket.gethostname()}"))
    with pytest.raises(LeaseError):  # of another host nothing is known
        refuse_if_held(folder, clock())


def test_a_clock_that_is_behind_does_not_let_a_second_driver_in(
    recorder: Recorder, folder: SweepFolder, clock: Any
) -> None:
    clock.advance(-1000)
    with pytest.raises(LeaseError, match="0 s ago"):
        refuse_if_held(folder, clock())


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"host": 1', json.dumps({"nonce": "a"})])
def test_a_lease_that_cannot_be_read_keeps_nobody_away(folder: SweepFolder, content: str) -> None:
    folder.path.mkdir()
    (folder.path / "lease.json").write_text(content)
    assert Lease.read(folder) is None
    refuse_if_held(folder, 0)


def test_closing_lets_go(recorder: Recorder, folder: SweepFolder, clock: Any) -> None:
    recorder.close()
    assert not (folder.path / "lease.json").exists()
    refuse_if_held(folder, clock())

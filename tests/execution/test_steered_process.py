"""Orders to a real training process: params that change, pauses that hold no processor, its death in a pause."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from pathlib import Path

import pytest

from caviar.execution.process import ADJUST, KEEP, PAUSE, STOP, PipeLink
from caviar.execution.resources import Resources
from caviar.execution.training import Trial
from caviar.execution.wire import APPLIED, ENDED, PAUSED, REPORTS, STARTED, UNPAUSED, columns, pack
from caviar.messages import Launch
from tests.execution.test_supervisor import Driver, launches, supervised, wait_until

PAUSE_S = 1.0
"""How long a pause is watched."""


def tells_its_lr(trial: Trial) -> None:
    """Until its lr is 0."""
    for _ in trial.steps():
        trial.report(loss=trial.params["lr"], process=float(os.getpid()))
        time.sleep(0.001)
        if not trial.params["lr"]:
            break


def paused(driver: Driver) -> int:
    """Have its trial pause; returns the process's number."""
    pids: list[int] = []
    exchange = driver.supervisor.exchange

    def look(*args: object, **kwargs: object) -> object:
        batches = exchange(*args, **kwargs)  # type: ignore[arg-type]
        for _, blocks, entries in batches:
            few = [pack(block) for block in columns([entry for entry in entries if entry[0] == REPORTS])]
            pids.extend(int(values[0, 1]) for *_, values in (*blocks, *few))
        return batches

    driver.supervisor.exchange = look  # type: ignore[assignment, method-assign]
    driver.exchange(launches(0))
    driver.until(lambda: pids)
    driver.exchange((PAUSE, 0, 0, False))
    driver.until(lambda: driver.of(PAUSED))
    return pids[0]


def cpu_s(pid: int) -> float:
    """The processor time of a process so far, all its threads."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def test_what_comes_while_setup_runs_waits_for_the_trial(tmp_path: Path) -> None:
    go = tmp_path / "go"

    def waits() -> None:
        wait_until(go.exists)

    with supervised(tmp_path, tells_its_lr, max_step=None, setup=waits) as driver:
        driver.exchange(launches(0))
        driver.until(lambda: driver.of(STARTED))
        driver.exchange((ADJUST, 0, 0, "a", {"lr": 0.5}, False), (PAUSE, 0, 0, False), (PAUSE, 0, 0, True))
        driver.exchange((ADJUST, 0, 7, "of another attempt", {"lr": 0.7}, False))
        driver.exchange()
        go.touch()
        driver.until(lambda: driver.of(UNPAUSED))
        driver.exchange((ADJUST, 0, 0, "b", {"lr": 0.0}, False))
        driver.until_ended(1)
    assert driver.of(APPLIED)[0][2:6] == (0, 0, 1, "a")
    assert [entry[5] for entry in driver.of(APPLIED)] == ["a", "b"]
    assert {row[3] for row in driver.rows} == {0.5, 0.0}


def test_orders_for_an_attempt_that_has_ended_reach_nobody(tmp_path: Path) -> None:
    with supervised(tmp_path, tells_its_lr) as driver:
        driver.exchange(launches(0))
        driver.until_ended(1)
        driver.exchange((ADJUST, 0, 0, "a", {"lr": 0.5}, False), (PAUSE, 0, 0, False))
        driver.exchange(launches(1))
        driver.until_ended(2)
    assert {row[3] for row in driver.rows} == {0.1}
    assert not driver.of(APPLIED)


def test_the_place_of_a_trial_that_comes_again_is_kept(tmp_path: Path) -> None:
    with supervised(tmp_path, tells_its_lr, max_step=None) as driver:
        driver.exchange(launches(0, 1))
        driver.until(lambda: driver.of(STARTED))
        driver.exchange((KEEP, 0, 0), (STOP, 0, 0, "rolled back"))
        driver.until_ended(1)
        driver.exchange()
        assert len(driver.of(STARTED)) == 1, "the one in hand waits"
        driver.exchange(launches(0, attempt=1))
        driver.until(lambda: len(driver.of(STARTED)) == 2)
        driver.exchange((STOP, 0, 1, "by hand"))
        driver.until(lambda: len(driver.of(STARTED)) == 3)
    assert [entry[2:4] for entry in driver.of(STARTED)] == [(0, 0), (0, 1), (1, 0)]


def test_no_place_is_kept_for_a_trial_that_has_ended_or_for_ever(tmp_path: Path) -> None:
    with supervised(tmp_path, tells_its_lr) as driver:
        driver.exchange(launches(0))
        driver.until_ended(1)
        driver.exchange((KEEP, 0, 0))
        driver.exchange(launches(1))
        driver.until_ended(2)
    ours, theirs = multiprocessing.Pipe()
    link = PipeLink(ours, theirs, log_mark=b"", job_file="")
    in_hand = [Launch(trial, 0, {}, 0, None) for trial in (1, 0)]
    link._in_hand.extend(in_hand)
    link._kept = 7
    assert link._first(time.monotonic() + 60) is None
    assert link._first(time.monotonic() - 1) == in_hand[0]
    link._kept = 0
    assert link._first(time.monotonic() - 1) == in_hand[1], "it is there, if late"


@pytest.mark.slow
def test_a_pause_holds_no_processor_is_no_hang_and_goes_on_where_it_was(tmp_path: Path) -> None:
    resources = Resources(progress_timeout_s=PAUSE_S / 4)
    with supervised(tmp_path, tells_its_lr, max_step=None, resources=resources) as driver:
        pid = paused(driver)
        [entry] = driver.of(PAUSED)
        rows = len(driver.rows)
        assert rows == entry[4], "all that it reported, and nothing after"
        before_s, deadline = cpu_s(pid), time.monotonic() + PAUSE_S
        while time.monotonic() < deadline:
            driver.exchange()
        assert cpu_s(pid) - before_s < PAUSE_S / 5
        assert len(driver.rows) == rows
        assert not driver.ended
        driver.exchange((PAUSE, 0, 0, True))
        driver.until(lambda: len(driver.rows) > rows)
        assert driver.of(UNPAUSED)[0][4] == entry[4]
        driver.exchange((ADJUST, 0, 0, "a", {"lr": 0.0}, False))
        [end] = driver.until_ended(1)
        assert end[5] == "returned"
        assert [seq for *_, seq, _ in driver.rows] == list(range(len(driver.rows)))


def test_a_paused_process_can_be_stopped_and_adjusted(tmp_path: Path) -> None:
    with supervised(tmp_path, tells_its_lr, max_step=None) as driver:
        paused(driver)
        driver.exchange((ADJUST, 0, 0, "a", {"lr": 0.5}, False))
        driver.until(lambda: driver.of(APPLIED))
        driver.exchange((STOP, 0, 0, "by hand"))
        [end] = driver.until_ended(1)
        assert (end[4], end[5], end[6]) == (driver.of(PAUSED)[0][4], "stopped", "by hand")
        assert driver.of(APPLIED)[0][4] == end[4] + 1


def test_a_process_that_dies_in_a_pause_is_a_fault_of_its_trial(tmp_path: Path) -> None:
    with supervised(tmp_path, tells_its_lr, max_step=None) as driver:
        os.kill(paused(driver), signal.SIGKILL)
        driver.until(lambda: driver.of(ENDED))
        [end] = driver.ended
        assert (end[4], end[5]) == (driver.of(PAUSED)[0][4], "failed")
        assert "was killed by SIGKILL" in end[6]
        driver.exchange(launches(1))  # the one in its place is not paused
        driver.until(lambda: any(row[0] == 1 for row in driver.rows))

"""Drivers are killed at random moments and at chosen operations, and gone on with, until their sweep ends.

After each kill all that was durable is still there, once and unchanged, and the state that the record gives is the
one that wrote it. At the end the sweep is what it would have been without a kill.
"""

from __future__ import annotations

import itertools
import json
import os
import random
import secrets
import select
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import caviar
from caviar.history import replay
from caviar.state import SweepState
from caviar.store.layout import SweepFolder
from caviar.store.lease import process_start
from caviar.store.reader import Reader
from caviar.store.tables import events_of
from tests.faults import kills
from tests.faults.kills import SWEEPS, digest

ROOT = Path(__file__).parents[2]
KILLS = int(os.environ.get("CAVIAR_KILLS", "100"))
RAY_KILLS = int(os.environ.get("CAVIAR_RAY_KILLS", "5"))
SEED = int(os.environ.get("CAVIAR_KILLS_SEED", "0")) or secrets.randbits(32)
DEADLINE_S = 60
ENVIRONMENT = {**os.environ, "PYTHONWARNINGS": "ignore", "RAY_AUTH_MODE": "disabled"}
"""Who starts a Ray and who joins it must agree on whether it asks for a token."""

INLINE = ["plain", "checkpoints", "asha", "asha-checkpoints", "asha-retries"]
ON_RAY = ["ray", "ray-asha"]
SAME_AT_THE_END = {"plain", "checkpoints", "asha", "asha-checkpoints", "ray"}
"""Sweeps whose end does not depend on their interruptions: what `RunAll` lets run to the end; and, one trial at a
time, what ASHA judges, as long as no trial waits for a retry. A trial cut off is the first to go on, from a
checkpoint or from its beginning, and what it reports again is what it had reported; so every rung sees the same
losses in the same order. With a retry the order depends on the clock: others come first while it waits, and after
a kill it waits no longer."""

KILLS_A_SWEEP = 10
"""At most: some sweeps come to their end before."""

CREATIONS = 1
"""So many of them cut off its creation on purpose."""

HIT = {"creation", "opening", "commit", "roll", "close", "time"}
"""Every sweep with more kills than that goes on until it was hit in each of these."""

PHASES = ("opening", "roll", "commit", "checkpoint", "discard", "any", "time", "time")
REACH = {"opening": 20, "roll": 12, "commit": 25, "checkpoint": 25, "discard": 10, "any": 120}
"""Among so many operations of a phase, counted from a driver's start, one is drawn at which it dies."""

NO_FUSE = {"phase": "none", "operation": -1, "how": "before"}
OF_PROCESSES = ["training", "server", "actor"]


class Nursery:
    """Starts drivers, as children of a process that has everything loaded; see `kills.nursery`."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", kills.__name__, "nursery"],
            cwd=ROOT,
            env=ENVIRONMENT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=0,
        )

    def drive(self, order: dict[str, Any], *, kill_after_s: float | None) -> int:
        """Have a driver live until it ends, or for so long. Returns its exit status, -9 where it was killed."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(order).encode() + b"\n")
        pid = self._number()
        assert self._process.stdout is not None
        if not select.select([self._process.stdout], [], [], DEADLINE_S if kill_after_s is None else kill_after_s)[
            0
        ]:
            with suppress(ProcessLookupError):  # it has just ended by itself
                os.kill(pid, signal.SIGKILL)
            assert kill_after_s is not None, "a driver does not come to its end"
        return self._number()

    def close(self) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(DEADLINE_S)
        self._process.stdout.close()

    def _number(self) -> int:
        assert self._process.stdout is not None
        return int(self._process.stdout.readline())


class Story:
    """A sweep, from the kill before its beginning to its end."""

    def __init__(self, name: str, folder: Path, nursery: Nursery, *, address: str | None = None) -> None:
        self.name = name
        self.path = folder / "sweep"
        self.deaths = Counter[str]()
        self._told_path = folder / "told"
        self._told_bytes = 0
        self._nursery = nursery
        self._address = address
        self._rows: list[tuple[Any, ...]] = []
        """All rows of metrics that were ever read, in the order of their commits."""
        self._events: list[tuple[Any, ...]] = []
        self._state = SweepState(SWEEPS[name].plan())
        """Folded from the events as they are found in the folder."""
        self._digests = [digest(self._state)]
        folder.mkdir()

    @property
    def exists(self) -> bool:
        return SweepFolder(self.path).exists()

    def live(self, fuse: dict[str, Any], *, kill_after_s: float | None = None) -> dict[str, Any] | None:
        """A driver's life, and what is found afterwards. Returns what it told at its end; None: it was killed."""
        order = {
            "sweep": self.name,
            "path": str(self.path),
            "told": str(self._told_path),
            "address": self._address,
            "fuse": fuse,
        }
        status = self._nursery.drive(order, kill_after_s=kill_after_s)
        assert status in (0, -signal.SIGKILL), f"a driver ended with status {status}"
        told = self._told()
        self._look(told)
        if not status:
            return told[-1]
        died = [one for one in told if "died" in one]
        self.deaths.update((died[0]["died"] or ["between"]) if died else ["time"])
        self.deaths["all"] += 1
        return None

    def finish(self) -> None:
        """Let a driver finish. After that there is nothing left to do, and another one changes nothing."""
        told = self.live(NO_FUSE)
        assert told is not None
        assert told["ended"] == "finished"
        assert _happened(Reader(self.path).read()[1])[-1][2] == "sweep_ended"
        parts = pq.read_table(self.path / "events"), pq.read_table(self.path / "metrics")
        assert (parts[0].num_rows, parts[1].num_rows) == (len(self._events), len(self._rows)), "not all is rolled"
        assert not list((self.path / ".tmp").iterdir())
        again = replay(SWEEPS[self.name].plan(), Reader(self.path).read()[1])
        assert digest(again.state) == self._digests[-1]
        before = len(self._events)
        self.live(NO_FUSE)
        assert len(self._events) == before

    def _told(self) -> list[dict[str, Any]]:
        """What the last driver told."""
        if not self._told_path.exists():
            return []
        data = self._told_path.read_bytes()
        whole = data.rfind(b"\n") + 1
        lines = data[self._told_bytes : whole].splitlines()
        os.truncate(self._told_path, whole)
        self._told_bytes = whole
        return [json.loads(line) for line in lines]

    def _look(self, told: list[dict[str, Any]]) -> None:
        commits = [one for one in told if "rows" in one]
        if not self.exists:
            assert not commits
            shutil.rmtree(self.path, ignore_errors=True)  # nothing was begun yet: what lies there is of no use
            return
        metrics, events = Reader(self.path).read()
        rows, happened = _rows(metrics), _happened(events)
        assert rows[: len(self._rows)] == self._rows, "a stored row has changed or gone"
        assert happened[: len(self._events)] == self._events, "a stored event has changed or gone"
        assert [event[0] for event in happened] == list(range(len(happened))), "event numbers have gaps"
        stored = set(rows)
        for commit in commits:
            lost = {tuple(row) for row in commit["rows"]} - stored
            assert not lost, "acknowledged rows are lost"
            for seq, kind, trial, data in commit["events"]:
                assert happened[seq][2:4] == (kind, trial), "an acknowledged event is lost"
                assert happened[seq][-1] == data
        _check_numbers(rows)
        decisions = Counter(
            (event[3], json.loads(event[-1])["rung"]) for event in happened if event[2] == "decision"
        )
        assert set(decisions.values()) <= {1}, "a trial was judged twice at a rung"
        self._replay(events.slice(len(self._events)), told)
        self._rows, self._events = rows, happened

    def _replay(self, events: pa.Table, told: list[dict[str, Any]]) -> None:
        for event in events_of(events):
            self._state.apply(event)
            if type(event) in self._state._folds:
                self._digests.append(digest(self._state))
        for applied, number in (one["state"] for one in told if "state" in one):
            if applied < len(self._digests):  # the others were not committed
                assert self._digests[applied] == number, f"event {applied} replayed gives another state"

    def processes(self) -> set[int]:
        """Those that trained, as far as reports tell."""
        return {int(float(row[5])) for row in self._rows if row[4] in OF_PROCESSES}


def _rows(metrics: pa.Table) -> list[tuple[Any, ...]]:
    names = ("trial", "attempt", "seq", "step", "metric", "value")
    columns = [metrics.column(name).to_pylist() for name in names]
    return list(zip(*columns[:-1], map(repr, columns[-1]), strict=True))


def _happened(events: pa.Table) -> list[tuple[Any, ...]]:
    """(seq, time, kind, trial, attempt, step, data) of all events."""
    columns = [events.column(0).to_pylist(), events.column(1).cast(pa.int64()).to_pylist()]
    return list(zip(*columns, *(column.to_pylist() for column in events.columns[2:]), strict=True))


def _check_numbers(rows: list[tuple[Any, ...]]) -> None:
    """The reports of each attempt are numbered from 0 without gaps, each with all its metrics, once."""
    assert len({(*row[:3], row[4]) for row in rows}) == len(rows), "a row is doubled"
    seqs: dict[tuple[int, int], set[int]] = {}
    steps: dict[tuple[int, int, int], set[int]] = {}
    for trial, attempt, seq, step, *_ in rows:
        seqs.setdefault((trial, attempt), set()).add(seq)
        steps.setdefault((trial, attempt, seq), set()).add(step)
    assert all(numbers == set(range(len(numbers))) for numbers in seqs.values()), "an attempt's reports have gaps"
    assert all(len(found) == 1 for found in steps.values()), "two reports have one number"


def _end(path: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    """What must be the same with and without kills: the table of trials, and the curves of their main lines."""
    result = caviar.load(path)
    assert result.status == "finished"
    trials = result.trials().drop(columns=["attempts", "start_time", "end_time"])
    trials = trials.drop(columns=[f"metrics.{name}" for name in OF_PROCESSES], errors="ignore")
    curves = result.curves(tidy=True).drop(columns="time")
    curves = curves[~curves.metric.isin(OF_PROCESSES)].sort_values(["trial", "step", "metric"], ignore_index=True)
    return trials, curves.astype({"metric": str})


def _fuse(dice: random.Random, phase: str, operations: int) -> dict[str, Any]:
    how = dice.choice(["before", "after", "torn"])
    return {"phase": phase, "operation": dice.randint(1, max(1, operations)), "how": how}


def _live_and_die(story: Story, dice: random.Random, whole: dict[str, Any]) -> None:
    """Kill the sweep's drivers some times, then let one finish. ``whole``: what a driver without a kill told."""
    life_s = whole["seconds"]
    phases = [*PHASES]
    dice.shuffle(phases)
    last = dice.randint(3, KILLS_A_SWEEP)
    while (deaths := story.deaths["all"]) < last:
        if not story.exists and deaths < CREATIONS:
            phase, reach, kill_after_s = "creation", whole["operations"]["creation"], None
        elif deaths == last - 1:
            phase, reach, kill_after_s = "close", whole["operations"]["close"], None
        else:
            phase = phases[deaths % len(phases)]
            reach, kill_after_s = REACH.get(phase, 0), dice.uniform(0 if phase == "time" else 0.5, 1) * life_s
        fuse = _fuse(dice, phase, reach)
        if story.live(fuse, kill_after_s=kill_after_s) is not None:
            break  # it was faster
    story.finish()


def _compare(story: Story, whole: Story) -> None:
    if story.name not in SAME_AT_THE_END:
        return
    for found, expected in zip(_end(story.path), _end(whole.path), strict=True):
        pd.testing.assert_frame_equal(found, expected, check_exact=True)


@pytest.fixture(scope="module")
def nursery() -> Iterator[Nursery]:
    nursery = Nursery()
    yield nursery
    nursery.close()


@pytest.mark.timeout(60 + KILLS)
@pytest.mark.parametrize("name", INLINE)
def test_inline_nothing_is_lost_or_doubled_and_the_end_is_the_same(
    name: str, nursery: Nursery, tmp_path: Path
) -> None:
    dice = random.Random(f"{SEED} {name}")
    print(f"CAVIAR_KILLS_SEED={SEED} gives the same dice")
    whole = Story(name, tmp_path / "whole", nursery)
    told = whole.live(NO_FUSE)
    assert told is not None
    deaths = Counter[str]()
    wanted = KILLS * (INLINE.index(name) + 1) // len(INLINE) - KILLS * INLINE.index(name) // len(INLINE)
    numbers = itertools.count()
    while deaths["all"] < wanted or (deaths["all"] > KILLS_A_SWEEP and not deaths.keys() >= HIT):
        story = Story(name, tmp_path / str(next(numbers)), nursery)
        _live_and_die(story, dice, told)
        _compare(story, whole)
        deaths += story.deaths
        shutil.rmtree(story.path)
    print(f"{name}: {dict(deaths)}")


# --- on Ray ------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def ray_address() -> Iterator[str]:
    """A Ray of its own, which outlives the drivers that join it."""
    head = subprocess.Popen(
        [sys.executable, "-m", kills.__name__, "head"],
        cwd=ROOT,
        env=ENVIRONMENT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert head.stdin is not None
    assert head.stdout is not None
    yield head.stdout.readline().strip()
    head.stdin.close()
    head.wait(DEADLINE_S)
    head.stdout.close()


@pytest.mark.ray
@pytest.mark.timeout(120 + 20 * RAY_KILLS)
def test_on_ray_nothing_is_lost_or_doubled_and_no_worker_outlives_its_driver(
    nursery: Nursery, ray_address: str, tmp_path: Path
) -> None:
    dice = random.Random(f"{SEED} ray")
    print(f"CAVIAR_KILLS_SEED={SEED} gives the same dice")
    wholes: dict[str, tuple[Story, dict[str, Any]]] = {}
    deaths = Counter[str]()
    sweeps = 0
    while deaths["all"] < RAY_KILLS:
        name = ON_RAY[sweeps % len(ON_RAY)]
        sweeps += 1
        if name not in wholes:
            whole = Story(name, tmp_path / f"whole-{name}", nursery, address=ray_address)
            told = whole.live(NO_FUSE)
            assert told is not None
            wholes[name] = whole, told
        whole, told = wholes[name]
        story = Story(name, tmp_path / str(sweeps), nursery, address=ray_address)
        many = min(3, RAY_KILLS - deaths["all"])
        while story.deaths["all"] < many:
            phase = dice.choice(["time", "any", "commit", "roll"])
            fuse = _fuse(dice, phase, REACH.get(phase, 0))
            kill_after_s = dice.uniform(0.2, 1) * told["seconds"]
            if story.live(fuse, kill_after_s=kill_after_s) is not None:
                break
            _until_gone(story.processes())
        story.finish()
        _compare(story, whole)
        deaths += story.deaths
    print(f"on Ray: {dict(deaths)}")


def _until_gone(pids: set[int]) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while left := {pid for pid in pids if process_start(pid) is not None}:
        assert time.monotonic() < deadline, f"processes {left} outlive their driver"
        time.sleep(0.02)

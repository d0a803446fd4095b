"""Reports, re-sent ones, attempts, commits, rolls, faults, kills, power cuts and take-overs in any order."""

from __future__ import annotations

import errno
import os
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path

import pyarrow.parquet as pq
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from caviar.errors import FencedError, FolderError
from caviar.messages import TrialStarted
from caviar.store.layout import TABLES, SweepFolder
from caviar.store.reader import Reader
from caviar.store.recorder import Recorder
from caviar.store.rows import EventRow
from tests.store.disk import EXTREMES, Dead, Disk, DiskFiles, Survival, by_chance
from tests.store.story import BEGIN_US, Key, block

ROOT = Path("/nowhere/sweep")
TRIALS = 3
FAILING = ("create", "write", "fsync", "link", "rename", "unlink", "sync", "list", "read", "open")


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """What one commit is to store: an event by which it is known, and reports."""

    event: EventRow
    keys: list[Key]


@dataclass(slots=True)
class Driver:
    """A recorder in a process of its own, and what it was given and was not told to be stored."""

    recorder: Recorder
    waiting: list[Batch] = field(default_factory=list)

    def events(self) -> list[EventRow]:
        return [batch.event for batch in self.waiting]


class Interleavings(RuleBasedStateMachine):
    """What a reader finds is always this: of all batches, in order, those that were acknowledged and perhaps those
    that were under way, each whole."""

    @initialize(seed=st.integers(0, 2**32))
    def begin(self, seed: int) -> None:
        self.chance = random.Random(seed)
        self.disk = Disk(ROOT.parent)
        self.clock_us = BEGIN_US
        self.numbers = 0
        self.fault: tuple[int, BaseException] | None = None
        self.attempt = dict.fromkeys(range(TRIALS), 0)
        self.next_seq = dict.fromkeys(range(TRIALS), 0)
        self.stored: list[Batch] = []
        """What was acknowledged or, by a successor, found all the same; in order."""
        self.orphans: list[Batch] = []
        """What a driver that is gone was given and was not told to be stored: it may be found or not."""
        self.zombies: list[Driver] = []
        recorder = Recorder.create(SweepFolder(ROOT, self.process()), {}, now_us=self.now_us)
        self.driver: Driver | None = Driver(recorder)

    def now_us(self) -> int:
        return self.clock_us

    def process(self) -> DiskFiles:
        """Files of another process; a fault that is due hits whoever makes that step."""

        def before(number: int, name: str) -> BaseException | None:
            if self.fault is None or self.fault[0] > 0:
                if self.fault is not None:
                    self.fault = (self.fault[0] - 1, self.fault[1])
                return None
            if isinstance(self.fault[1], OSError) and name not in FAILING:
                return None
            error, self.fault = self.fault[1], None
            if isinstance(error, OSError) and name == "link" and self.chance.random() < 0.5:
                return error  # done all the same
            raise error

        return DiskFiles(self.disk, before)

    # --- what trials and drivers do ----------------------------------------------------------------------------

    @precondition(lambda self: self.driver is not None)
    @rule(trial=st.integers(0, TRIALS - 1), reports=st.integers(0, 3), again=st.booleans())
    def commit(self, trial: int, reports: int, again: bool) -> None:
        """New reports of a trial, and perhaps all of its attempt that were sent before."""
        attempt, first = self.attempt[trial], self.next_seq[trial]
        new = [(trial, attempt, seq) for seq in range(first, first + reports)]
        self.next_seq[trial] += reports
        self._commit(new, self._event("noted", None, None), again=again)

    @precondition(lambda self: self.driver is not None and not self.driver.waiting)
    @rule(trial=st.integers(0, TRIALS - 1))
    def next_attempt(self, trial: int) -> None:
        self.attempt[trial] += 1
        self.next_seq[trial] = 0
        self._commit([], self._event(TrialStarted.kind, trial, self.attempt[trial]), again=False)

    @precondition(lambda self: self.driver is not None)
    @rule(seconds=st.sampled_from([1, 6, 40]))
    def tick(self, seconds: int) -> None:
        self.clock_us += seconds * 1_000_000
        self._try(lambda driver: driver.recorder.tick())

    @precondition(lambda self: self.driver is not None)
    @rule()
    def roll(self) -> None:
        self._try(lambda driver: driver.recorder.roll())

    @precondition(lambda self: self.driver is not None)
    @rule(final=st.booleans())
    def close(self, final: bool) -> None:
        if self._try(lambda driver: driver.recorder.close(final=final)):
            self._end()

    # --- what happens to them ------------------------------------------------------------------------------------

    @precondition(lambda self: self.fault is None)
    @rule(steps=st.integers(0, 25), number=st.sampled_from([errno.EIO, errno.ENOSPC]))
    def a_step_is_going_to_fail(self, steps: int, number: int) -> None:
        self.fault = (steps, OSError(number, os.strerror(number)))

    @precondition(lambda self: self.fault is None)
    @rule(steps=st.integers(0, 25))
    def the_driver_is_going_to_be_killed(self, steps: int) -> None:
        self.fault = (steps, Dead())

    @rule()
    def kill(self) -> None:
        self._end()

    @rule(survival=st.one_of(st.sampled_from(EXTREMES), st.integers(0, 2**32).map(by_chance)))
    def power_cut(self, survival: Survival) -> None:
        self._end()
        self.zombies.clear()
        self.disk = self.disk.after_power_cut(survival)
        self._settle()

    @rule()
    def take_over(self) -> None:
        """A successor comes, whether the predecessor lives on or not."""
        self.clock_us += 1_000_000
        if self.driver is not None:
            self.zombies.append(self.driver)
        self._end()
        folder = SweepFolder(ROOT, self.process())
        recorder = None
        while recorder is None:
            try:
                recorder = Recorder.open(folder, now_us=self.now_us, take_over=True)
            except Dead:
                folder = SweepFolder(ROOT, self.process())
            except (OSError, FolderError):
                assert self.fault is None
        self._settle()
        assert recorder.events == len(self.stored)
        self.driver = Driver(recorder)

    @precondition(lambda self: self.zombies)
    @rule(which=st.integers(0, 10), act=st.sampled_from(["commit", "roll", "tick", "close"]))
    def a_zombie_wakes_up(self, which: int, act: str) -> None:
        """It may do what changes nothing; the first thing that would make a name fences it off."""
        driver = self.zombies[which % len(self.zombies)]
        before = self._names()
        event = self._event("noted", None, None)
        reports = block([key for batch in driver.waiting for key in batch.keys] + [(0, 1_000, self.numbers)])
        acts: dict[str, Callable[[], None]] = {
            "commit": lambda: driver.recorder.commit([reports], [*driver.events(), event]),
            "roll": driver.recorder.roll,
            "tick": driver.recorder.tick,
            "close": driver.recorder.close,
        }
        self.clock_us += 6_000_000
        try:
            acts[act]()
        except Dead:
            self.zombies.remove(driver)
        except (OSError, FolderError):
            pass
        else:
            assert act != "commit", "a zombie's rows were acknowledged"
        after = self._names()
        assert after["metrics"] == before["metrics"]
        assert after["events"] == before["events"]
        self._find()

    @rule()
    def look(self) -> None:
        self._find()

    # --- the reckoning ----------------------------------------------------------------------------------------

    def _event(self, kind: str, trial: int | None, attempt: int | None) -> EventRow:
        self.numbers += 1
        return EventRow(BEGIN_US, kind, trial, attempt, None, f'{{"n":{self.numbers}}}')

    def _names(self) -> dict[str, list[str]]:
        return {folder: sorted(self.disk.folder(ROOT / folder).names) for folder in TABLES}

    def _commit(self, keys: list[Key], event: EventRow, *, again: bool) -> None:
        driver = self.driver
        assert driver is not None
        driver.waiting.append(Batch(event, keys))
        sent = [key for batch in driver.waiting for key in batch.keys]
        if again:
            earlier = [key for batch in self.stored for key in batch.keys]
            sent = [key for key in earlier if key[1] == self.attempt[key[0]]] + sent
        if self._try(lambda driver: driver.recorder.commit([block(sent)], driver.events())):
            self.stored += driver.waiting
            driver.waiting = []
            self._find()

    def _try(self, call: Callable[[Driver], None]) -> bool:
        """Whether it went well. A driver whose disk fails lives on; one that is killed does not."""
        driver = self.driver
        assert driver is not None
        try:
            call(driver)
        except Dead:
            self._end()
            return False
        except FencedError:
            raise AssertionError("nobody took over") from None
        except (OSError, FolderError):
            self._find()
            return False
        return True

    def _end(self) -> None:
        if self.driver is not None:
            self.orphans = list(self.driver.waiting)
        self.driver = None

    def _settle(self) -> None:
        """What is there of a driver that is gone stays, and the rest never comes. Trials go on from there."""
        self.stored, self.orphans = self._find(), []
        for trial in range(TRIALS):
            started = [batch.event.attempt or 0 for batch in self.stored if batch.event.trial == trial]
            keys = [key for batch in self.stored for key in batch.keys if key[0] == trial]
            self.attempt[trial] = max(started, default=0)
            self.next_seq[trial] = sum(1 for _, attempt, _ in keys if attempt == self.attempt[trial])

    def _find(self) -> list[Batch]:
        """The batches that a reader finds."""
        under_way = self.orphans if self.driver is None else self.driver.waiting
        metrics, events = Reader(ROOT, files=DiskFiles(self.disk)).read()
        told = events.column("data").to_pylist()
        possible = [*self.stored, *under_way]
        assert told == [batch.event.data for batch in possible[: len(told)]]
        assert len(told) >= len(self.stored), "what was acknowledged is gone"
        found = possible[: len(told)]
        columns = (metrics.column(name).to_pylist() for name in ("trial", "attempt", "seq"))
        assert list(zip(*columns, strict=True)) == [key for batch in found for key in batch.keys]
        assert events.column("seq").to_pylist() == list(range(len(found)))
        for table, rows in zip(TABLES, (metrics, events), strict=True):
            parts = [self.disk.file(ROOT / table / name).content for name in self._names()[table]]
            assert sum(pq.read_metadata(BytesIO(part)).num_rows for part in parts) <= rows.num_rows
        return found

    def teardown(self) -> None:
        if not hasattr(self, "stored"):
            return
        self.fault = None
        self.power_cut(EXTREMES[0])
        self.take_over()
        self.close(final=True)
        assert "lease.json" not in self.disk.folder(ROOT).names


TestInterleavings = Interleavings.TestCase
TestInterleavings.settings = settings(
    max_examples=150,
    stateful_step_count=40,
    deadline=None,
    derandomize=True,
    phases=[Phase.generate],  # a failure is told as it was found: making it shorter takes minutes
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)

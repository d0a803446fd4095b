"""Whole sweeps on a disk in memory, stopped at any step on it by a kill or by the power, and resumed, again.

Everything is real but the disk: the sweep, the runner, the controller, the executor, checkpoints, and the record.
"""

from __future__ import annotations

import itertools
import json
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import caviar
from caviar import commits as commits_module
from caviar import runner as runner_module
from caviar.execution import inline
from caviar.execution.contract import Deliver, Job
from caviar.schedulers.base import Scheduler
from caviar.store.files import Files
from caviar.store.layout import SweepFolder
from caviar.store.reader import Reader
from tests.store.disk import EXTREMES, Dead, Disk, DiskFiles, by_chance
from tests.store.story import Key
from tests.test_runner import AtOnce

SPACE = caviar.Space(lr=caviar.Float(0.1, 1.0))
TRIALS, MAX_STEP = 4, 5
STOPS = 6
"""A sweep is stopped so often, or less where it comes to its end before."""


class World:
    """The disk of now, and the process that uses it."""

    def __init__(self, place: Path) -> None:
        self.begin(place)

    def begin(self, place: Path) -> None:
        """With nothing on the disk."""
        self.root = place / "sweep"
        self.disk = Disk(place)
        self.files = DiskFiles(self.disk)
        self.acknowledged: set[Key] = set()

    def process(self, stop: int | None = None) -> None:
        """A new process, which is killed before its step number ``stop``."""

        def before(number: int, name: str) -> None:
            if number == stop:
                raise Dead

        self.files = DiskFiles(self.disk, before)

    def train(self, trial: caviar.Trial) -> None:
        """Its losses depend on all steps before, so that one that is left out or done twice tells."""
        total = 0.0
        if trial.restored is not None:
            total = json.loads(self.files.read(trial.restored / "state" / "total.json"))
        for step in trial.steps():
            total += trial.params["lr"] * step
            trial.report(loss=total)
            if trial.checkpoint_due:
                with trial.checkpoint() as folder:
                    (folder / "state").mkdir(parents=True)
                    (folder / "state" / "total.json").write_text(json.dumps(total))


class Telling(caviar.Inline):
    """Tells which reports were acknowledged."""

    def __init__(self, world: World) -> None:
        super().__init__()
        self._world = world
        self._delivered: dict[int, list[Key]] = {}

    def start(self, job: Job, deliver: Deliver) -> None:
        numbers = itertools.count(1)

        def keep(arrivals: Any) -> int:
            columns = [(one.trial.tolist(), one.attempt.tolist(), one.seq.tolist()) for one in arrivals.reports]
            keys = [key for one in columns for key in zip(*one, strict=True)]
            self._delivered[next(numbers)] = keys
            return deliver(arrivals)

        super().start(job, keep)

    def acknowledge(self, delivery: int) -> None:
        for number in [number for number in self._delivered if number <= delivery]:
            self._world.acknowledged.update(self._delivered.pop(number))


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    world = World(tmp_path)
    make = SweepFolder.__init__

    def on_this_disk(self: SweepFolder, path: Path, files: Files | None = None, **more: Any) -> None:
        make(self, path, world.files if files is None else files, **more)

    monkeypatch.setattr(SweepFolder, "__init__", on_this_disk)
    monkeypatch.setattr(commits_module, "ThreadPoolExecutor", AtOnce)
    monkeypatch.setattr(commits_module, "COMMIT_S", 0.0)
    monkeypatch.setattr(runner_module, "INBOX_S", -1.0)
    monkeypatch.setattr(inline, "FLUSH_S", -1.0)
    return world


def run(world: World, scheduler: Scheduler) -> caviar.Result:
    sweep = caviar.Sweep(
        world.train,
        SPACE,
        metric="loss",
        trials=TRIALS,
        max_step=MAX_STEP,
        checkpoint_every=2,
        scheduler=scheduler,
        retries=0,
    )
    return sweep.run(world.root, Telling(world), resume=True, take_over=True)


def told(result: caviar.Result) -> tuple[pd.DataFrame, pd.DataFrame]:
    """What it says, times and attempts aside."""
    trials = result.trials().drop(columns=["start_time", "end_time", "attempts"])
    return trials, result.curves().drop(columns="time")


def check_acknowledged(world: World) -> None:
    """Every report that was acknowledged is there, and none is there twice."""
    metrics, _ = Reader(world.root, files=DiskFiles(world.disk)).read()
    columns = (metrics.column(name).to_pylist() for name in ("trial", "attempt", "seq"))
    keys: Sequence[Key] = list(zip(*columns, strict=True))
    assert len(keys) == len(set(keys))
    assert set(keys) >= world.acknowledged


@pytest.mark.parametrize(
    ("scheduler", "seed"),
    [
        *((caviar.RunAll(), seed) for seed in range(14)),
        *((caviar.Asha(grace_steps=1, reduction_factor=2), seed) for seed in range(4)),
    ],
)
def test_stopped_anywhere_and_resumed_it_comes_to_the_same_end(
    world: World, tmp_path: Path, scheduler: Scheduler, seed: int
) -> None:
    chance = random.Random(seed)
    expected = told(run(world, scheduler))
    steps = len(world.files.steps)
    world.begin(tmp_path)
    stopped = 0
    for _ in range(STOPS):
        world.process(stop=chance.randrange(steps // 2 if stopped else steps))
        try:
            run(world, scheduler)
        except Dead:
            stopped += 1
        else:
            break
        if chance.random() < 0.6:
            survival = chance.choice([*EXTREMES, by_chance(chance.randrange(2**32))])
            world.disk = world.disk.after_power_cut(survival)
        if DiskFiles(world.disk).exists(world.root / "sweep.json"):
            check_acknowledged(world)
        else:
            assert not world.acknowledged
            # The process of its lease, if it had come to that, is this one, and would be taken to be alive
            DiskFiles(world.disk).unlink(world.root / "lease.json")
    world.process()
    result = run(world, scheduler)
    assert stopped > 0
    assert result.status == "finished"
    check_acknowledged(world)
    if isinstance(scheduler, caviar.RunAll):  # whom others stop depends on the order in which reports arrive
        for found, wanted in zip(told(result), expected, strict=True):
            pd.testing.assert_frame_equal(found, wanted)

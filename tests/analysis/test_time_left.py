"""The time left, against sweeps whose whole time is known."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

import caviar
from caviar.analysis.progress import Progress
from caviar.analysis.survival import Survival
from caviar.messages import Paused, Unpaused
from caviar.schedulers import Asha, Hyperband, MedianStop, RunAll
from caviar.store.reader import Increment

S_US = 1_000_000


def train(trial):
    """Nothing: the curves are known."""


def curve(launch):
    steps = np.arange(1, 201)
    noise = np.random.default_rng(launch.trial).normal(0, 0.1, len(steps))
    return {"loss": launch.params["x"] + 1 / steps + noise}


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    """Runs a sweep in virtual time, half a second a step; gives its declaration, reports and events."""

    def run(scheduler, *, trials=60, workers=4, max_step=200):
        sweep = caviar.Sweep(
            train, caviar.Space(x=caviar.Float(0, 1)), metric="loss", trials=trials, max_step=max_step,
            scheduler=scheduler,
        )  # fmt: skip
        folder = tmp_path_factory.mktemp("sweeps") / "sweep"
        contents = sweep.run(folder, caviar.Simulated(workers=workers, step_s=0.5, curves=curve))._contents
        return contents.declaration, contents.metrics, contents.events

    return run


def until(table, time_us):
    return table.filter(pc.less_equal(table.column("time").cast(pa.int64()), time_us))


def times_left(recorded, shares):
    """(share of its time, what was said to be left, what was left) of a sweep, at each moment."""
    declaration, metrics, events = recorded
    times = events.column("time").cast(pa.int64()).to_numpy()
    begin, end = int(times.min()), int(times.max())
    for share in shares:
        now_us = begin + int(share * (end - begin))
        progress = Progress()
        progress.update(Increment(until(metrics, now_us), until(events, now_us), fresh=True), declaration)
        yield share, progress.view(now_us).left_s, (end - now_us) / S_US


@pytest.mark.parametrize(
    ("scheduler", "trials", "workers"),
    [
        (Asha(), 60, 4),
        (Asha(), 300, 16),
        (Asha(grace_steps=10), 300, 16),
        (Asha(spare=0.1), 60, 4),
        (Hyperband(), 300, 16),
        (MedianStop(grace_steps=10), 60, 4),
        (RunAll(), 60, 8),
    ],
)
def test_it_is_within_a_factor_of_two_from_a_quarter_of_the_time_on(recorded, scheduler, trials, workers):
    shares = [0.05, 0.25, 0.5, 0.75, 0.9, 0.99]
    told = list(times_left(recorded(scheduler, trials=trials, workers=workers), shares))
    for share, said, truth in told:
        if said is None and share == 0.05:
            continue
        # of a few trials, two that are judged just then may double all that is left, which nobody can know
        few = trials < 100 and not isinstance(scheduler, RunAll)
        factor, off_s = (5, 60) if few else (4 if share < 0.25 else 2, 10)
        assert truth / (4 if share < 0.25 else 2) - 1 <= said <= truth * factor + off_s, told


def test_at_the_tail_it_is_what_the_last_trials_need(story):
    """27 of 30 ended, most of them early; three run on, at half a second a step."""
    told = story(trials=30, max_step=200)
    for trial in range(27):
        told.sampled(trial).started(trial)
        for step in range(1, 4):
            told.now_us += S_US // 2
            told.report(trial, step, loss=1.0)
        told.ended(trial, "stopped")
    for trial in (27, 28, 29):
        told.sampled(trial).started(trial)
    for step in range(1, 101):
        told.now_us += S_US // 2
        for trial in (27, 28, 29):
            told.report(trial, step, loss=0.5)
    progress = Progress()
    progress.update(told.increment(), told.declaration)
    assert progress.view().left_s == pytest.approx(50, rel=0.1)


def test_at_the_start_nothing_is_said_before_a_pace_is_known(story):
    told = story(trials=60, max_step=200)
    told.now_us += 20 * S_US  # workers start
    declaration = {**told.declaration, "scheduler": Asha().to_dict()}
    for trial in range(4):
        told.sampled(trial).started(trial)
    told.now_us += 5 * S_US  # what takes long before the first step
    for trial in range(4):
        told.report(trial, 1, loss=1.0)
    progress = Progress()
    progress.update(told.increment(), declaration)
    assert progress.view().left_s is None
    told.now_us += S_US // 2
    for trial in range(4):
        told.report(trial, 2, loss=1.0)
    progress.update(told.increment(), declaration)
    assert 50 < progress.view().left_s < 600
    progress.update(told.increment(), {**declaration, "scheduler": MedianStop().to_dict()})
    assert progress.view().left_s is None, "how early it stops trials, only their curves can tell"


def test_pieces_tell_the_pace_as_the_whole_does_and_a_pause_is_no_part_of_it(story):
    told, pieces, whole = story(trials=1, max_step=100).sampled(0).started(0), Progress(), Progress()
    for step in range(1, 41):
        told.now_us += S_US
        told.report(0, step, loss=1.0)
        if step == 20:
            told.tell(Paused(told.tick(), 0, 1, step))
            told.now_us += 10_000 * S_US
            told.tell(Unpaused(told.tick(), 0, 1, step))
        pieces.update(told.increment(), told.declaration)
    told.told = (0, 0)
    whole.update(told.increment(), told.declaration)
    for progress in (pieces, whole):
        assert progress.view().left_s == pytest.approx(60, rel=0.05)


def test_time_left_of_trials_that_report_nothing_goes_by_those_that_ended(story):
    told = story(trials=4, max_step=None)
    for trial in range(2):
        told.sampled(trial).started(trial)
        told.now_us += 100 * S_US
        told.ended(trial, "completed")
    told.sampled(2).started(2)
    told.now_us += 50 * S_US
    progress = Progress()
    progress.update(told.increment(), told.declaration)
    assert progress.view(told.now_us).left_s == pytest.approx(150, rel=0.01)


def test_trials_under_way_count_as_not_ended():
    found = Survival.of({10: 6}, np.array([20, 20, 20, 5]), limit=100)
    assert found.left.tolist() == pytest.approx([3 / 9])
    ends = found.ends(np.array([0, 0, 10, 50]), np.array([0.2, 0.9, 0.9, 0.9]))
    assert sorted(ends.tolist()) == [10, 100, 100, 100]

"""`load` and `refresh` on a real sweep folder."""

from __future__ import annotations

import itertools
import time

import numpy as np
import pandas as pd
import pytest

from caviar.analysis.progress import Progress
from caviar.analysis.result import load
from caviar.errors import FolderError
from caviar.messages import Reports
from caviar.store.layout import SweepFolder
from caviar.store.reader import Reader
from caviar.store.recorder import Recorder


def wall_clock_us() -> int:
    return time.time_ns() // 1_000


def blocks(told, since):
    """What was reported, as columns: a block for each run of reports with the same metrics."""
    for _, rows in itertools.groupby(told.rows[since:], key=lambda row: row[5]):
        trial, attempt, seq, step, time_us, names, values = zip(*rows, strict=True)
        whole = (np.array(column, np.int64) for column in (trial, attempt, seq, step, time_us))
        yield Reports((names[0],), *whole, np.array(values)[:, None])


class Recording:
    """Commits a story as it is told."""

    def __init__(self, told, path):
        self.told, self.done = told, (0, 0)
        self.recorder = Recorder.create(SweepFolder(path), told.declaration, now_us=wall_clock_us)

    def commit(self):
        rows, events = self.done
        self.recorder.commit(list(blocks(self.told, rows)), self.told.events[events:])
        self.done = len(self.told.rows), len(self.told.events)


@pytest.fixture
def recording(story, tmp_path):
    made = Recording(story(trials=3), tmp_path / "sweep")
    yield made
    made.recorder.close()


def test_a_loaded_result_is_a_picture_of_one_moment(recording, tmp_path):
    told, path = recording.told, tmp_path / "sweep"
    told.trial(0, [3.0, 2.0])
    recording.commit()
    result = load(path)
    assert (result.path, result.status) == (path, "running")
    before = result.curves()

    told.sampled(1).started(1).curve(1, [1.0]).started(1, 2).curve(1, [1.5], attempt=2)
    recording.commit()
    pd.testing.assert_frame_equal(result.curves(), before)
    assert result.best.trial == 0
    assert result.refresh() is result
    assert (result.best.trial, result.best.value) == (1, 1.5)
    assert result.trials().attempts.tolist() == [1, 2]

    recording.recorder.close()
    assert result.status == "running"
    assert result.refresh().status == "interrupted"
    assert result.trials().status.tolist() == ["completed", "pending"]


@pytest.mark.parametrize("rolled", [False, True])
def test_tidy_curves_agree_with_the_parquet_files(recording, tmp_path, rolled):
    told = recording.told.trial(0, [3.0, 2.0]).trial(1, [1.0, float("nan"), float("inf")])
    recording.commit()
    told.trial(2, [5.0])
    recording.commit()
    if rolled:
        recording.recorder.roll()
        stored = pd.read_parquet(tmp_path / "sweep" / "metrics").sort_values(["trial", "step"])
        tidy = load(tmp_path / "sweep").curves(tidy=True)
        for column in ("trial", "step", "time", "value"):
            np.testing.assert_array_equal(tidy[column], stored[column])
    np.testing.assert_array_equal(load(tmp_path / "sweep").curves().loss, [3, 2, 1, np.nan, np.inf, 5])


def test_progress_follows_a_reader(recording, tmp_path):
    told = recording.told.trial(0, [3.0, 2.0])
    recording.commit()
    reader, progress = Reader(tmp_path / "sweep"), Progress()
    progress.update(reader.refresh(), reader.declaration)
    assert progress.view().counts["completed"] == 1
    told.trial(1, [0.5], "stopped")
    recording.commit()
    for _ in range(2):  # the second brings nothing new
        progress.update(reader.refresh(), reader.declaration)
        view = progress.view()
        assert (view.best.trial, view.reports, view.counts["stopped"]) == (1, 3, 1)


def test_what_is_no_sweep_is_refused(tmp_path):
    with pytest.raises(FolderError, match=str(tmp_path)):
        load(tmp_path)

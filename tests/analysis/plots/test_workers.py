"""The timeline of the workers."""

from __future__ import annotations

import numpy as np
import pytest

from caviar.analysis.plots import workers as module
from caviar.analysis.plots.shifts import ENDS, Attempts, merged
from caviar.messages import (
    AttemptFailed,
    AttemptLost,
    DriverStarted,
    DriverStopped,
    SweepEnded,
    TrialStarted,
    WorkerLost,
)


class Shop:
    """Tells what workers do, at seconds since the beginning."""

    def __init__(self, told):
        self.told = told
        self.zero = told.events[0].time_us

    def at(self, second):
        self.told.now_us = max(self.told.now_us, self.zero + int(second * 1e6) - 1_000)
        return self.zero + int(second * 1e6)

    def start(self, second, trial, worker, attempt=1):
        if attempt == 1:
            self.told.sampled(trial)
        self.told.tell(TrialStarted(self.at(second), trial, attempt, worker))
        return self

    def end(self, second, trial, status="completed", attempt=1):
        self.at(second)
        self.told.ended(trial, status, attempt)
        return self

    def tell(self, second, event, *args):
        self.told.tell(event(self.at(second), *args))
        return self


def bars(figure):
    """(worker, begin, length) of the bars of each end."""
    names = [text.rsplit("  ", 1)[0] for text in figure.layout.yaxis.ticktext]
    return {
        trace.name: [
            (names[row], round(float(begin), 2), round(float(length), 2))
            for row, begin, length in zip(
                np.asarray(trace.y), np.asarray(trace.base), np.asarray(trace.x), strict=True
            )
        ]
        for trace in figure.data
    }


def shares(figure):
    return [text.rsplit("  ", 1)[1] for text in figure.layout.yaxis.ticktext]


def test_a_bar_is_an_attempt_coloured_by_its_end(story):
    shop = Shop(story()).start(1, 0, "w10").start(1, 1, "w9").end(3, 1, "stopped").start(3, 2, "w9").end(5, 0)
    shop.tell(6, AttemptFailed, 2, 1, 0, "it raised").start(7, 2, "w9", 2).end(9, 2, "failed", 2)
    figure = shop.tell(11, SweepEnded, "done").told.result().plot.workers()
    assert bars(figure) == {
        "completed": [("w10", 1, 4)], "stopped": [("w9", 1, 2)], "failed": [("w9", 3, 3), ("w9", 7, 2)],
    }  # fmt: skip
    assert figure.data[-1].customdata.tolist() == [[2, 1], [2, 2]]
    assert figure.layout.xaxis.title.text == "wall time (seconds)"
    # in hand for 10 s from their first trials on: w9 trained 7 of them, w10 4
    assert shares(figure) == ["70%", "40%"]
    assert (
        "2 workers, at work for 55% of the time since the first trial of each: 11 s of 20 s."
        in figure.layout.meta["caption"]
    )


def test_a_lost_worker_is_counted_until_its_loss(story):
    shop = Shop(story()).start(0, 0, "a").start(0, 1, "b").tell(4, WorkerLost, "a", "node died")
    shop.tell(4, AttemptLost, 0, 1, 0, "node died").start(5, 0, "b", 2).end(8, 1).end(10, 0, "completed", 2)
    figure = shop.tell(10, SweepEnded, "done").told.result().plot.workers()
    assert bars(figure) == {"completed": [("b", 0, 8), ("b", 5, 5)], "lost": [("a", 0, 4)]}
    assert shares(figure) == ["100%", "100%"]  # overlapping attempts of b count once


def test_attempts_that_a_driver_left_were_lost_and_breaks_are_left_out(story):
    shop = Shop(story()).start(1, 0, "a").tell(3, DriverStopped, "interrupted")
    shop.tell(1000, DriverStarted, "host", 8, "0.1", 3.0).start(1001, 0, "a", 2).end(1005, 0, "completed", 2)
    figure = shop.tell(1005, SweepEnded, "done").told.result().plot.workers()
    assert bars(figure) == {"completed": [("a", 4, 4)], "lost": [("a", 1, 2)]}
    assert shares(figure) == ["100%"]  # 2 of 2 s, then 4 of 4


def test_what_has_not_ended_is_under_way_or_was_lost(story):
    shop = Shop(story()).start(1, 0, "a").start(1, 1, "b").end(5, 1)
    assert bars(shop.told.result("running").plot.workers())["running"] == [("a", 1, 4)]
    assert bars(shop.told.result("interrupted").plot.workers())["lost"] == [("a", 1, 4)]


def test_of_many_workers_an_even_sample_is_drawn(story, monkeypatch):
    monkeypatch.setattr(module, "MAX_WORKERS", 3)
    shop = Shop(story())
    for worker in range(9):
        shop.start(0, worker, f"w{worker}")
    figure = shop.tell(10, SweepEnded, "time_budget").told.result().plot.workers()
    assert [text.split()[0] for text in figure.layout.yaxis.ticktext] == ["w0", "w4", "w8"]
    assert "9 workers, at work for 100%" in figure.layout.meta["caption"]
    assert "Drawn: 3 of 9 workers." in figure.layout.meta["caption"]


def test_many_attempts_are_drawn_together(story, monkeypatch):
    monkeypatch.setattr(module, "MAX_BARS", 10)
    shop = Shop(story())
    for trial in range(40):
        shop.start(trial, trial, "a").end(trial + 1, trial, "stopped" if trial < 20 else "completed")
    figure = shop.tell(40, SweepEnded, "done").told.result().plot.workers()
    assert bars(figure) == {"completed": [("a", 20, 20)], "stopped": [("a", 0, 20)]}
    assert "Short attempts are drawn together" in figure.layout.meta["caption"]
    assert "trial" not in figure.data[0].hovertemplate


def test_drawing_together_keeps_the_time_of_each_worker():
    rng = np.random.default_rng(2)
    start = np.sort(rng.random(3000)) * 100
    stop = np.r_[start[1:], 100.0]
    worker = np.zeros(3000, np.int64)
    end = np.where(start < 50, 0, 1)
    found = merged(Attempts(worker, worker, worker, start, stop, end), 100, 100.0)
    assert [(ENDS[code], a, b) for code, a, b in zip(found.end, found.start_s, found.stop_s, strict=True)] == [
        ("completed", pytest.approx(0, abs=1), 50.0), ("stopped", 50.0, 100.0),
    ]  # fmt: skip


def test_names_of_workers_are_text(story):
    figure = Shop(story()).start(0, 0, "<b>w").end(1, 0).told.result().plot.workers()
    assert figure.layout.yaxis.ticktext[0].startswith("&lt;b&gt;w ")

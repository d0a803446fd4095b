from __future__ import annotations

import numpy as np
import pytest

from caviar.analysis.pace import FEWEST, KEPT, Pace

S = 1_000_000


def paced(times_s, steps):
    pace = Pace()
    for time_s, step in zip(times_s, steps, strict=True):
        pace.add(np.array([int(time_s * S)]), np.array([step]))
    return pace


def test_nothing_says_how_fast_it_is():
    assert Pace().per_s == 0
    assert paced([1.0], [7]).per_s == 0
    assert paced([1.0, 1.0], [7, 8]).per_s == 0


@pytest.mark.parametrize("every_s", [0.001, 0.5, 60.0])
@pytest.mark.parametrize("stride", [1, 100])
def test_steps_count_not_reports(every_s, stride):
    count = np.arange(1, 200)
    assert paced(count * every_s, count * stride).per_s == pytest.approx(stride / every_s, rel=1e-3)


def test_the_recent_past_counts():
    slow, fast = np.arange(100) * 2.0, 200 + np.arange(200) * 0.1
    pace = paced([*slow, *fast], range(300))
    assert pace.per_s == pytest.approx(10, rel=0.01)


def test_where_little_came_of_late_the_last_reports_count():
    times = np.arange(100) * 30.0
    times[-FEWEST:] += 1000
    assert paced(times, range(100)).per_s == pytest.approx(1 / 30)


def test_a_pause_does_not_count():
    pace = paced(np.arange(10) * 1.0, range(10))
    pace.stop()
    assert pace.per_s == 0
    pace.add(np.array([100, 101]) * S, np.array([10, 11]))
    assert pace.per_s == 1


def test_memory_is_bounded_and_the_rate_right():
    pace = Pace()
    for begin in range(0, 100_000, 1_000):
        steps = begin + np.arange(1_000)
        pace.add(steps * 10, steps)
        assert len(pace._step) <= KEPT
    assert pace.per_s == pytest.approx(100_000)

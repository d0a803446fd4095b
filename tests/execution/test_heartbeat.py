from __future__ import annotations

import threading

from caviar.execution.heartbeat import GAP_S, AwakeClock, CutOff


def test_an_awake_clock_counts_little_of_the_time_in_which_nobody_looked() -> None:
    times = iter([100.0, 100.5, 101.0, 4000.0, 4000.25])
    clock = AwakeClock(clock=lambda: next(times))
    assert [clock.look() for _ in range(4)] == [0.5, 1.0, 1.0 + GAP_S, 1.25 + GAP_S]
    assert clock.now_s == 1.25 + GAP_S


def test_a_worker_ends_itself_after_a_silence_and_not_before() -> None:
    ended = threading.Event()
    cut_off = CutOff(2.5, ended.set)
    for _ in range(7):  # in all longer than the limit, but never silent
        cut_off.heard()
        assert not ended.wait(0.5)
    assert ended.wait(30)

"""What a driver shows of itself while it runs a sweep."""

from __future__ import annotations

from pathlib import Path

import pytest

import caviar
from caviar import pulse as pulse_module
from caviar.execution.vitals import Vitals
from caviar.messages import WorkerLost
from caviar.pulse import LAG_LOOKS, LOOK_S, Pulse
from caviar.state import SweepState

SPACE = caviar.Space(lr=caviar.Float(0.1, 1.0))


def learns(trial: caviar.Trial) -> None:
    for step in trial.steps():
        trial.report(loss=trial.params["lr"] / step)
        if trial.id == 3:
            raise ValueError("no luck")


SWEEP = caviar.Sweep(
    learns,
    SPACE,
    metric="loss",
    trials=9,
    max_step=4,
    retries=0,
    scheduler=caviar.Asha(grace_steps=2, reduction_factor=2),
)


class Watched(caviar.Inline):
    def __init__(self) -> None:
        super().__init__()
        self.shown: list[Vitals] = []

    def show(self, vitals: Vitals) -> None:
        self.shown.append(vitals)


def test_the_last_look_is_what_came_of_the_sweep(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pulse_module, "LOOK_S", 0.0)
    executor = Watched()
    result = SWEEP.run(tmp_path / "sweep", executor)
    *on_the_way, last = executor.shown
    assert {state: count for state, count in last.trials.items() if count} == result.counts()
    assert last.to_come == last.uncommitted_rows == last.workers_lost == 0
    assert last.reports == len(result.curves())
    events = result.events()
    decided = events[events.kind == "decision"].data.map(lambda data: data["decision"])
    assert last.decisions == decided.value_counts().to_dict()
    assert on_the_way
    assert all(sum(one.trials.values()) + one.to_come == 9 for one in executor.shown)
    assert all(0 <= one.busy <= 1 and one.lag_s >= 0 for one in executor.shown)
    took_s = [seconds for one in executor.shown for seconds in one.commits_s]
    assert took_s
    assert min(took_s) > 0
    reports = [one.reports for one in executor.shown]
    assert reports == sorted(reports)


def test_it_looks_no_more_often_than_it_is_to() -> None:
    shown: list[Vitals] = []
    pulse = Pulse(shown.append, state=SweepState(SWEEP.plan()), take_commits=lambda: (5, [0.5]), turn_s=0.1)
    pulse.begin()
    now_s = pulse._looked_s
    for _ in range(20):
        now_s += LOOK_S / 4
        pulse.turn(now_s)
    assert len(shown) == 5
    assert (shown[0].uncommitted_rows, shown[0].commits_s, shown[0].to_come) == (5, [0.5], 9)


def test_the_worst_lag_is_shown_for_a_while() -> None:
    shown: list[Vitals] = []
    pulse = Pulse(shown.append, state=SweepState(SWEEP.plan()), take_commits=lambda: (0, []), turn_s=0.1)
    pulse.begin()
    now_s = pulse._looked_s
    for gap_s in [0.1, 7.1, *[LOOK_S] * (LAG_LOOKS + 1)]:
        now_s += gap_s
        pulse.turn(now_s)
    lags = [round(one.lag_s, 6) for one in shown]
    assert lags == [7.0] * LAG_LOOKS + [LOOK_S - 0.1] * 2


def test_lost_workers_are_counted() -> None:
    shown: list[Vitals] = []
    pulse = Pulse(shown.append, state=SweepState(SWEEP.plan()), take_commits=lambda: (0, []), turn_s=0.1)
    pulse.recorded(WorkerLost(0, "worker-0", "gone"))
    pulse.look(1.0)
    assert shown[0].workers_lost == 1

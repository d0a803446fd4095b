from __future__ import annotations

import math
from typing import Any

import pytest

from caviar.adjusting import check_schedule, effective
from caviar.errors import UsageError
from caviar.panda.rules import Cosine, Steps, Warmup, timetable
from caviar.space import Choice, Float, Space

PARAMS = {"lr": 0.4, "momentum": 0.9, "optimizer": "adam"}


def test_steps() -> None:
    assert Steps({30: 0.01, 10: 0.1}).table(PARAMS, None) == {10: {"lr": 0.1}, 30: {"lr": 0.01}}
    mixed = Steps({10: 0.1, 20: {"momentum": 0.95, "optimizer": "sgd"}, 30: "*=0.5"})
    assert mixed.table(PARAMS, 20) == {10: {"lr": 0.1}, 20: {"momentum": 0.95, "optimizer": "sgd"}}
    assert Steps({5: 0.8}, "momentum").table(PARAMS, 5) == {5: {"momentum": 0.8}}
    assert Steps({5: 0.8}).table(PARAMS, 4) == {}


def test_warmup_rises_evenly_to_what_the_run_begins_with() -> None:
    assert Warmup(4).table(PARAMS, 100) == {step: {"lr": pytest.approx(0.1 * step)} for step in range(1, 5)}
    assert Warmup(4).table(PARAMS, 100)[4] == {"lr": 0.4}, "exactly"
    assert Warmup(4).table(PARAMS, 2) == {1: {"lr": pytest.approx(0.1)}, 2: {"lr": pytest.approx(0.2)}}
    given = Warmup(2, "momentum", start=0.5, peak=0.7).table(PARAMS, None)
    assert given == {1: {"momentum": pytest.approx(0.6)}, 2: {"momentum": 0.7}}
    assert Warmup(1).table(PARAMS, None) == {1: {"lr": 0.4}}


def test_cosine_falls_from_the_peak_to_the_low() -> None:
    table = Cosine(0.1).table(PARAMS, 100)
    values = [table[step]["lr"] for step in range(1, 101)]
    assert values[0] == 0.4
    assert values == sorted(values, reverse=True)
    assert 0.1 < values[-1] < 0.1001, "it would come to the low one step later"
    assert table[51]["lr"] == pytest.approx(0.25), "halfway it is in the middle"
    assert table[26]["lr"] == pytest.approx(0.25 + 0.15 * math.cos(math.pi / 4))


def test_cosine_between_steps() -> None:
    table = Cosine(0.0, peak=1.0, begin=11, end=20, every=3).table(PARAMS, 17)
    assert list(table) == [11, 14, 17]
    assert table[11]["lr"] == 1.0
    assert table[17]["lr"] == pytest.approx((1 + math.cos(0.6 * math.pi)) / 2)
    assert Cosine(0.0, end=5).table(PARAMS, None)[5]["lr"] > 0
    assert Cosine(0.0, begin=9).table(PARAMS, 8) == {}


def test_several_in_one_table() -> None:
    table = timetable([Cosine(0.1, begin=3), Warmup(2), Steps({2: 0.5}, "momentum")], PARAMS, 5)
    assert list(table) == [1, 2, 3, 4, 5]
    assert table[2] == {"lr": 0.4, "momentum": 0.5}
    assert table[3] == {"lr": 0.4}
    with pytest.raises(UsageError, match=r"^Cosine: another schedule sets lr at step 1$"):
        timetable([Warmup(2), Cosine(0.1)], PARAMS, 5)


def test_a_sweep_takes_the_table_as_its_schedule() -> None:
    space = Space(lr=Float(1e-3, 1.0, scale="log"), optimizer=Choice(["adam", "sgd"]))
    table = timetable([Warmup(2), Steps({4: "*=0.5", 5: {"optimizer": "sgd"}})], PARAMS, 9)
    schedule = check_schedule(space, table)
    at = [effective({"lr": 0.4, "optimizer": "adam"}, schedule, (), step=step)[0] for step in (1, 2, 3, 4, 5)]
    assert [params["lr"] for params in at] == [0.2, 0.4, 0.4, 0.2, 0.2]
    assert [params["optimizer"] for params in at] == ["adam"] * 4 + ["sgd"]


@pytest.mark.parametrize(
    ("kind", "arguments", "told"),
    [
        (Steps, {"at": {}}, "Steps(at={}): needs a mapping from step to value, as {30: 0.01}"),
        (Steps, {"at": [1]}, "Steps(at=[1]): needs a mapping from step to value, as {30: 0.01}"),
        (Steps, {"at": {0: 1}}, "Steps(at={0: 1}): step 0 is no whole number from 1 on"),
        (Steps, {"at": {"x": 1}}, "Steps(at={'x': 1}): step 'x' is no whole number from 1 on"),
        (Steps, {"at": {1: [2]}}, "Steps(at={1: [2]}): step 1: lr=[2]: needs a number or a word"),
        (Steps, {"at": {1: 2}, "param": 3}, "Steps(param=3): needs the name of a param"),
        (Warmup, {"steps": 0}, "Warmup(steps=0): needs a whole number (int) from 1 to 10,000,000"),
        (Warmup, {"steps": 2, "start": "x"}, "Warmup(start='x'): needs a finite number"),
        (Warmup, {"steps": 2, "peak": math.inf}, "Warmup(peak=inf): needs a finite number"),
        (Cosine, {"low": None}, "Cosine(low=None): needs a finite number"),
        (Cosine, {"low": 0, "begin": 5, "end": 4}, "Cosine(end=4): needs a step from begin=5 on"),
        (Cosine, {"low": 0, "every": 0}, "Cosine(every=0): needs a whole number (int) from 1 to 10,000,000"),
    ],
)
def test_a_wrong_argument_is_named(kind: type, arguments: dict[str, Any], told: str) -> None:
    with pytest.raises(UsageError) as caught:
        kind(**arguments)
    assert str(caught.value) == told


@pytest.mark.parametrize(
    ("schedule", "told"),
    [
        (Steps({1: 2}, "x"), "Steps: there is no param 'x'; there are lr, momentum, optimizer"),
        (Steps({1: "*=2"}, "optimizer"), "Steps: optimizer is 'adam', no number"),
        (Warmup(3, "x"), "Warmup: there is no param 'x'; there are lr, momentum, optimizer"),
        (Warmup(3, "optimizer"), "Warmup: optimizer is 'adam', no number"),
        (Cosine(0), "Cosine: needs end=, as the run has no max_step"),
    ],
)
def test_a_schedule_that_does_not_fit_the_run(schedule: Any, told: str) -> None:
    with pytest.raises(UsageError) as caught:
        schedule.table(PARAMS, None)
    assert str(caught.value) == told


def test_a_schedule_without_measure_is_refused() -> None:
    with pytest.raises(UsageError, match=r"^Cosine: 9,007,199,254,740,991 steps are too many, with every=1$"):
        Cosine(0.1).table(PARAMS, 2**53)
    assert len(Cosine(0.1, every=2**20).table(PARAMS, 2**30)) == 2**10

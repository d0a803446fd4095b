"""What a sweep costs, from the record alone."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest

import caviar
from caviar.analysis.cost import Spending
from caviar.analysis.progress import Progress
from caviar.analysis.result import Contents, Result
from caviar.analysis.trials import EventColumns
from caviar.messages import (
    Adopted,
    AttemptFailed,
    AttemptLost,
    DeclarationChanged,
    DriverStarted,
    DriverStopped,
    Paused,
    RolledBack,
    SweepEnded,
    TrialStarted,
    Unpaused,
)

HOUR_US = 3_600_000_000


def hours_later(told, hours):
    told.now_us += round(hours * HOUR_US)
    return told


def cost_of(told, *, price=2.0, alive=False, now_us=None, pieces=False, **declared):
    """By one look at the whole record, or by one at each event and what was reported with it."""
    resources = {} if price is None else {"price_per_hour": price}
    declaration = {**told.declaration, "resources": resources, **declared}
    progress, seen = Progress(), (0, 0)
    times = [row.time_us for row in told.events]
    for place in range(1, len(times) + 1) if pieces else [len(times)]:
        until_us = times[place] if place < len(times) else told.now_us + 1
        rows = [row for row in told.rows if row[4] < until_us]
        part = replace(told, events=told.events[:place], rows=rows, told=seen)
        progress.update(part.increment(), declaration)
        seen = part.told
    return progress.view(now_us, alive=alive).cost


def about(value):
    return pytest.approx(value, abs=1e-4)


def test_attempts_count_from_their_start_to_their_end(story):
    told = story().sampled(0).started(0)
    hours_later(told, 1.5).ended(0, "completed").sampled(1)
    hours_later(told, 7).started(1)  # a trial that waits costs nothing
    hours_later(told, 0.5).ended(1, "stopped")
    cost = cost_of(told)
    assert cost.hours == about(2.0)
    assert cost.spent == about(4.0)
    assert cost.hours_without_price == 0


def test_side_by_side_they_add_up(story):
    told = story().sampled(0).sampled(1).started(0).started(1)
    hours_later(told, 1).ended(0, "completed")
    hours_later(told, 1).ended(1, "completed")
    assert cost_of(told).hours == about(3.0)


def test_those_under_way_count_until_now(story):
    told = story().sampled(0).started(0)
    assert cost_of(told, alive=True, now_us=told.now_us + 3 * HOUR_US).hours == about(3.0)


def test_of_a_driver_that_is_gone_until_its_last_sign_of_life(story):
    told = story().sampled(0).started(0)
    hours_later(told, 2).report(0, 1, loss=1.0)
    assert cost_of(told).hours == about(2.0)
    assert cost_of(told).to_come is None
    hours_later(told, 50).tell(DriverStarted(told.tick(), "host", 8, "0.1", driven_s=7200.0))
    told.started(0, 1)
    hours_later(told, 1).ended(0, "completed", 1)
    assert cost_of(told).hours == about(3.0), "the break costs nothing"


def test_of_a_driver_that_let_go_until_then(story):
    told = story().sampled(0).started(0)
    hours_later(told, 1).tell(DriverStopped(told.tick(), "interrupted"))
    hours_later(told, 9).report(0, 5, loss=1.0)
    assert cost_of(told).hours == about(1.0)


@pytest.mark.parametrize(
    "end",
    [
        lambda told: AttemptFailed(told.tick(), 0, 0, 1, "a fault"),
        lambda told: AttemptLost(told.tick(), 0, 0, 1, "its node is gone"),
        lambda told: RolledBack(told.tick(), 0, 1, 0, 1),
        lambda told: Adopted(told.tick(), 0, 1, 3, "runs/other", 2, 0, 0),
    ],
)
def test_an_attempt_ends_with_whatever_takes_its_place(story, end):
    told = story().sampled(0).started(0)
    hours_later(told, 1).tell(end(told))
    hours_later(told, 4).started(0, 1)
    hours_later(told, 1).ended(0, "completed", 1)
    assert cost_of(told).hours == about(2.0)


def test_a_pause_keeps_its_place_and_so_costs(story):
    told = story().sampled(0).started(0)
    told.tell(Paused(told.tick(), 0, 0, 1))
    hours_later(told, 3).tell(Unpaused(told.tick(), 0, 0, 1))
    hours_later(told, 1).ended(0, "completed")
    assert cost_of(told).hours == about(4.0)


def test_clocks_that_differ_bring_no_negative_time(story):
    told = story().sampled(0).started(0)
    told.now_us -= HOUR_US
    told.ended(0, "completed")
    assert cost_of(told).hours == 0


def test_without_a_price_hours_alone(story):
    told = story().sampled(0).started(0)
    hours_later(told, 1).ended(0, "completed")
    cost = cost_of(told, price=None)
    assert (cost.hours, cost.spent, cost.to_come) == (about(1.0), None, None)


def change(told, price):
    return told.tell(DeclarationChanged(told.tick(), {"resources": {"price_per_hour": price} if price else {}}))


def test_another_price_counts_from_then_on(story):
    told = story().sampled(0).sampled(1).sampled(2).started(0)
    hours_later(told, 1)
    change(told, 10.0).started(1)
    hours_later(told, 1).ended(0, "completed").ended(1, "completed")
    change(told, None).started(2)
    hours_later(told, 5).ended(2, "completed")
    cost = cost_of(told)
    assert cost.spent == about(2 * 2.0 + 1 * 10.0), "an attempt has the price that it began with"
    assert (cost.hours, cost.hours_without_price) == (about(8.0), about(5.0))


def test_each_kind_of_worker_has_its_price(story):
    told = story().sampled(0).sampled(1).started(0)
    told.tell(TrialStarted(told.tick(), 1, 1, "worker-7-kind-1"))
    hours_later(told, 1).ended(0, "completed").ended(1, "completed")
    kinds = {"price_per_hour": 3.0, "otherwise": {"price_per_hour": 0.5, "otherwise": None}}
    assert cost_of(told, resources=kinds).spent == about(3.5)
    half = cost_of(told, resources={**kinds, "otherwise": {"cpus": 1}})
    assert (half.spent, half.hours_without_price) == (about(3.0), about(1.0))


def test_pieces_cost_what_the_whole_costs(story):
    told = story(trials=6)
    for trial in range(6):
        told.sampled(trial)
    told.started(0).started(1)
    hours_later(told, 1).report(0, 1, loss=1.0).ended(0, "completed").started(2)
    hours_later(told, 2).tell(AttemptFailed(told.tick(), 1, 0, 1, "a fault"))
    hours_later(told, 1).started(1, 1).report(2, 1, loss=3.0)
    change(hours_later(told, 1), 5.0)
    hours_later(told, 1).report(1, 1, attempt=1, loss=3.0)
    told.now_us += HOUR_US
    told.tell(DriverStarted(told.tick(), "host", 8, "0.1", driven_s=3.0)).started(1, 2).started(3)
    hours_later(told, 1).ended(1, "completed", 2).started(4)
    hours_later(told, 1)
    whole, pieces = cost_of(told), cost_of(told, pieces=True)
    assert pieces.hours == pytest.approx(whole.hours)
    assert pieces.spent == pytest.approx(whole.spent)
    assert whole.hours > 8


def test_only_attempts_under_way_are_kept(story):
    told, spending = story(trials=500), Spending({})
    for trial in range(500):
        told.trial(trial, [1.0])
    spending.add(EventColumns(told.events_table()), told.metrics_table().column("time").cast("int64").to_numpy())
    assert len(spending._trial) == 0


# --- what is to come -----------------------------------------------------------------------------------


def test_what_is_to_come_follows_from_the_time_that_is_left(story):
    told = story(trials=4, max_step=None).sampled(0).sampled(1).started(0).started(1)
    hours_later(told, 1).ended(0, "completed").ended(1, "completed").sampled(2).sampled(3).started(2).started(3)
    cost = cost_of(told, alive=True)
    assert cost.to_come == pytest.approx(4.0, rel=0.01), "two at once for another hour, at 2 an hour"


def test_a_sweep_that_ended_has_nothing_to_come(story):
    told = story(trials=1).trial(0, [1.0])
    told.tell(SweepEnded(told.tick(), "done"))
    assert cost_of(told).to_come == 0.0


def test_no_more_is_to_come_than_the_time_budget_allows(story):
    told = story(trials=100, max_step=None).sampled(0).started(0)
    hours_later(told, 1).ended(0, "completed").sampled(1).started(1)
    progress = Progress()
    declared = {**told.declaration, "resources": {"price_per_hour": 2.0}, "time_budget_s": 1.5 * 3600}
    progress.update(told.increment(), declared)
    view = progress.view(alive=True)
    assert view.budget_left_s == pytest.approx(1800, rel=0.01)
    assert view.left_s == view.budget_left_s
    assert view.cost.to_come == pytest.approx(1.0, rel=0.01)


# --- of a result ---------------------------------------------------------------------------------------


def train(trial):
    for step in trial.steps():
        trial.report(loss=trial.params["x"] + 1 / step)


def test_a_result_says_what_it_cost_and_what_stopping_saved(tmp_path):
    sweep = caviar.Sweep(
        train,
        caviar.Space(x=caviar.Float(0, 1)),
        metric="loss",
        trials=20,
        max_step=9,
        scheduler=caviar.Asha(),
        resources=caviar.Resources(price_per_hour=1.5),
    )
    result = sweep.run(tmp_path / "sweep", caviar.Simulated(workers=3, step_s=3600.0))
    cost = result.cost()
    steps = result.savings().steps
    assert cost.hours == pytest.approx(steps, rel=1e-3)
    assert cost.spent == pytest.approx(1.5 * steps, rel=1e-3)
    assert cost.to_come == 0.0
    assert cost.saved == pytest.approx(1.5 * (20 * 9 - steps), rel=0.01)
    assert result.cost(3.0).spent == pytest.approx(2 * cost.spent)
    assert caviar.load(tmp_path / "sweep").cost() == cost
    free = sweep.but(resources=caviar.Resources()).run(
        tmp_path / "free", caviar.Simulated(workers=3, step_s=3600.0)
    )
    assert free.cost().spent is None
    assert free.cost(1.5).spent == pytest.approx(cost.spent)


def test_a_resume_with_another_price_is_recorded(tmp_path):
    sweep = caviar.Sweep(
        train, caviar.Space(x=caviar.Float(0, 1)), metric="loss", trials=2, max_step=2,
        resources=caviar.Resources(price_per_hour=1.0),
    )  # fmt: skip
    simulated = caviar.Simulated(workers=1, step_s=3600.0)
    sweep.run(tmp_path / "sweep", simulated)
    dearer = sweep.but(trials=4, resources=caviar.Resources(price_per_hour=10.0))
    result = dearer.run(tmp_path / "sweep", simulated, resume=True, allow_change=True)
    assert result.cost().spent == pytest.approx(4 * 1.0 + 4 * 10.0, rel=1e-3)
    assert caviar.load(tmp_path / "sweep").cost().spent == result.cost().spent


def test_a_sweep_that_runs_counts_up_to_its_picture(story):
    told = story().sampled(0).started(0)
    declaration = {**told.declaration, "resources": {"price_per_hour": 2.0}}
    tables = told.metrics_table(), told.events_table()
    contents = Contents(declaration, "running", *tables, seen_us=told.now_us + HOUR_US)
    assert Result(Path("runs/digits"), contents).cost().spent == about(2.0)


@pytest.mark.parametrize("price", [0, -1.0, math.nan, math.inf, "2", True])
def test_a_price_is_a_number_above_0(price, story):
    with pytest.raises(caviar.UsageError, match=r"price_per_hour=.*needs a number above 0"):
        caviar.Resources(price_per_hour=price)
    with pytest.raises(caviar.UsageError, match="needs a number above 0"):
        story().result().cost(price)


def test_resources_without_a_price_are_written_as_before_there_was_one():
    assert "price_per_hour" not in caviar.Resources().to_dict()
    priced = caviar.Resources(price_per_hour=0.5)
    assert caviar.Resources.from_dict(priced.to_dict()) == priced
    kinds = caviar.Resources(gpus=1, price_per_hour=3, otherwise=priced)
    assert caviar.Resources.from_dict(kinds.to_dict()) == kinds

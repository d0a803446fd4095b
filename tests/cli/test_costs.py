"""What a sweep costs, and what it may take, as the command line tells it."""

from __future__ import annotations

import dataclasses
import json

import pytest
from rich.console import Console

from caviar.analysis.cost import NOTHING, Cost
from caviar.cli import costs, figures, follow
from caviar.cli.lines import as_dict, line
from caviar.cli.live import draw
from tests.cli.conftest import EXPERIMENT


@pytest.mark.parametrize(
    ("amount", "shown"),
    [
        (0, "0.00"),
        (12.345, "12.35"),
        (0.5, "0.50"),
        (0.0123, "0.012"),
        (1e-7, "below 0.0001"),
        (999.99, "999.99"),
        (1234.5, "1,234"),
        (float("nan"), "-"),
    ],
)
def test_money(amount, shown):
    assert figures.money(amount) == shown


@pytest.mark.parametrize(
    ("cost", "told"),
    [
        (NOTHING, None),
        (Cost(hours=2, spent=4.0, to_come=0.0), "4.00"),
        (Cost(hours=2, spent=4.0, to_come=None), "4.00"),
        (Cost(hours=0, spent=0.0, to_come=3.0), None),
        (Cost(hours=2, spent=0.0022, to_come=2e-5), "0.0022 so far, less than 0.0001 to come"),
        (Cost(hours=2, spent=4.0, to_come=1.5), "4.00 so far, about 1.50 to come"),
        (
            Cost(hours=3, spent=4.0, to_come=None, hours_without_price=1.0),
            "4.00 (without 1 h at no known price)",
        ),
    ],
)
def test_in_words(cost, told):
    assert costs.told(cost) == told


@pytest.fixture
def priced(invoke, write, tmp_path):
    """The folder of a sweep with a price and a time budget, run to its end."""
    more = "retries=0, time_budget_s=7200, resources=caviar.Resources(price_per_hour=3.6e9),"
    file, out = write(EXPERIMENT.replace("retries=0,", more)), tmp_path / "out"
    result = invoke("run", file, "--executor", "inline", "--out", out)
    assert result.exit_code == 0, result.output
    return result, out


def test_run_and_status_say_it(invoke, priced):
    ran, out = priced
    lines = ran.stdout.splitlines()
    assert "; cost " in lines[-7]
    assert lines[-2].startswith("cost ")
    assert " of training; early stopping saved about " in lines[-2]
    told = invoke("status", out).stdout
    assert "; time budget: 2 h of 2 h left\n" in told
    assert f"\n  cost     {lines[-2].split()[1]} for " in told
    found = json.loads(invoke("status", out, "--json").stdout)
    assert found["time_budget_s"] == 7200
    assert 7000 < found["time_budget_left_s"] < 7200
    assert found["spent"] == pytest.approx(found["hours"] * 3.6e9)
    assert found["to_come"] == 0.0


def test_the_live_view_and_plain_lines_have_it(priced):
    moment = follow.Follower(priced[1]).look()
    running = dataclasses.replace(
        moment,
        state="running",
        view=dataclasses.replace(moment.view, cost=Cost(hours=1, spent=7.5, to_come=2.5)),
    )
    assert line(running).endswith("; cost 7.50 so far, about 2.50 to come")
    assert as_dict(running)["to_come"] == 2.5
    console = Console(width=200)
    with console.capture() as captured:
        console.print(draw(running, 200, 40))
    assert "cost 7.50 so far, about 2.50 to come" in captured.get()


def test_without_a_price_nothing_is_said(invoke, finished):
    told = invoke("status", finished).stdout
    assert "cost" not in told
    assert "budget" not in told
    found = json.loads(invoke("status", finished, "--json").stdout)
    assert (found["spent"], found["time_budget_s"]) == (None, None)
    assert found["hours"] > 0

from __future__ import annotations

import dataclasses
import io
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from caviar.analysis.cost import Cost
from caviar.analysis.curve import TrialView
from caviar.analysis.notes import Note
from caviar.analysis.progress import View
from caviar.cli import follow
from caviar.cli.live import LiveView, draw

DECLARATION = {
    "metric": "loss",
    "max_step": 50,
    "space": {
        "params": [
            {"name": "lr", "type": "float"},
            {"name": "optimizer", "type": "choice"},
            {"name": "hidden", "type": "int"},
        ]
    },
}


def trial(number: int, status: str = "running") -> TrialView:
    values = np.linspace(1.0, 0.1 * number, 12)
    return TrialView(
        number,
        {"lr": 0.0123, "optimizer": "adam", "hidden": 64},
        status,
        step=12,
        value=float(values[-1]),
        best=float(values[-1]),
        best_step=12,
        steps=np.arange(1, 13),
        values=values,
    )


def moment(*, running: int = 3, leaders: int = 5, notes: int = 8, state: str = "running") -> follow.Moment:
    best = [trial(number, "completed") for number in range(1, leaders + 1)]
    view = View(
        wanted=200,
        sampled=40,
        counts={"pending": 1, "running": running, "completed": 20, "stopped": 15, "failed": 1},
        best=best[0] if best else None,
        leaders=best,
        running=[trial(100 + number) for number in range(running)],
        reports=12345,
        reports_per_s=160.0,
        trials_per_s=3.2,
        elapsed_s=80.0,
        left_s=75.0,
        notes=[Note(1_700_000_000_000_000, f"note {number}") for number in range(notes)],
        ended=None,
    )
    return follow.Moment(Path("runs/digits"), DECLARATION, state, view)


def lines(moment: follow.Moment, width: int = 100, height: int = 40) -> list[str]:
    console = Console(file=io.StringIO(), width=width, height=height, force_terminal=True, color_system=None)
    with console.capture() as capture:
        console.print(draw(moment, width, height))
    return capture.get().splitlines()


def test_everything_that_one_wants_to_see():
    picture = "\n".join(lines(moment()))
    for words in (
        "runs/digits",
        "36/200 trials",
        "20 completed",
        "1 failed",
        "3.2 trials/s",
        "160 reports/s",
        "about 1 min 15 s left",
        "best loss 0.1 at step 12 of trial 1",
        "lr=0.0123",
        "12/50",
        "note 7",
    ):
        assert words in picture
    assert "█" in picture


@pytest.mark.parametrize("width", [40, 80, 160])
@pytest.mark.parametrize("height", [10, 18, 24, 50])
@pytest.mark.parametrize("running", [0, 1, 2, 8, 500])
def test_it_fits_the_screen(width, height, running):
    drawn = lines(moment(running=running), width, height)
    assert all(len(line) <= width for line in drawn)
    if height >= 18:
        assert len(drawn) < height


@pytest.mark.parametrize("width", [40, 60, 80, 100, 140])
def test_no_figure_of_the_head_is_cut(width):
    shown = moment()
    cost = Cost(hours=20, spent=1234.5, to_come=56.78)
    view = dataclasses.replace(shown.view, cost=cost, reports=1_234_567, elapsed_s=7530)
    timing = lines(dataclasses.replace(shown, view=view), width)[2]
    assert "…" not in timing
    assert timing.startswith("2 h 5 min   ")
    assert "about 1 min 15 s left" in timing
    assert ("cost 1,234 so far, about 56.78 to come" in timing) == (width >= 80)
    assert ("reports/s" in timing) == (width >= 140)


def test_running_trials_that_do_not_fit_are_counted():
    drawn = lines(moment(running=500), height=30)
    shown = [line for line in drawn if line.split()[0:1] and line.split()[0].isdigit() and "running" in line]
    shown = [line for line in shown if int(line.split()[0]) >= 100]
    more = next(line for line in drawn if line.startswith("and "))
    assert more == f"and {500 - len(shown)} more"


def test_before_the_first_report():
    drawn = lines(moment(running=0, leaders=0, notes=0))
    assert "no report yet" in "\n".join(drawn)


def test_it_redraws_in_place_and_leaves_the_last_picture():
    file = io.StringIO()
    view = LiveView(Console(file=file, width=100, height=40, force_terminal=True))
    view.show(moment())
    view.show(moment())
    view.close()
    left = file.getvalue().rsplit("\x1b[?25l", 1)[-1]
    assert "finished" not in left
    assert "\x1b[?25h" in file.getvalue()  # the cursor is back


def test_it_can_be_closed_before_anything_was_shown():
    file = io.StringIO()
    LiveView(Console(file=file, width=100, height=40, force_terminal=True)).close()
    assert "\x1b[?25h" in file.getvalue()

from __future__ import annotations

import dataclasses
import io
import json
import math
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from caviar.analysis.acts import Act
from caviar.analysis.live_run import Change, LiveRunView
from caviar.analysis.progress import View
from caviar.cli.follow import Moment
from caviar.cli.lines import JsonLines, Lines
from caviar.cli.live import LiveView, draw
from caviar.cli.live_run import Picture, lines

DECLARATION = {
    "metric": "loss",
    "mode": "min",
    "max_step": 500,
    "knobs": None,
    "panda": {"rules": []},
    "space": {
        "params": [
            {"name": "lr", "type": "float"},
            {"name": "optimizer", "type": "choice"},
            {"name": "epsilon", "type": "constant"},
        ]
    },
}
PARAMS = {"lr": 0.05, "optimizer": "adam", "epsilon": 1e-8}
ADJUSTED = Act(10**15, "adjusted", "lr 0.1 -> 0.05", step=41, by="by hand", note="too jumpy", number=0)
BACK = Act(10**15 + 10**6, "rolled_back", "back from step 57 to step 40", step=40, by="OnSpike", number=1)
PAUSED = Act(10**15 + 2 * 10**6, "paused", "paused at step 57")


def run(count: int = 57, **more: object) -> LiveRunView:
    steps = np.arange(1, count + 1)
    values = 2.0 / np.sqrt(steps)
    view = LiveRunView(
        status="running", reason=None, attempt=1, step=count,
        value=float(values[-1]) if count else math.nan,
        best=float(values[-1]) if count else math.nan,
        best_step=count, others={"accuracy": 0.93}, params=PARAMS, changes={"lr": Change(0.1, 41)},
        steps=steps, values=values, branches=[(steps[39:], values[39:] * 3)], not_finite=0,
        acts=[ADJUSTED], checkpoint=55, steps_per_s=3.1, left_s=148.0,
    )  # fmt: skip
    return dataclasses.replace(view, **more)


def moment(of: LiveRunView, state: str = "running", folder: str = "runs/live", **declared: object) -> Moment:
    counts = {"pending": 0, "running": 1, "paused": 0, "completed": 0, "stopped": 0, "failed": 0}
    view = View(
        wanted=1, sampled=1, counts=counts, best=None, leaders=[], running=[], reports=57, reports_per_s=3.0,
        trials_per_s=0.0, elapsed_s=20.0, left_s=None, notes=[], ended=None if state == "running" else "done",
    )  # fmt: skip
    return Moment(Path(folder), DECLARATION | declared, state, view, of)


def drawn(of: Moment, width: int = 100, height: int = 30, **more: object) -> list[str]:
    assert of.run is not None
    return [line.plain for line in lines(Picture(of, of.run, width, height), **more)]


def test_everything_that_one_wants_to_see():
    picture = drawn(moment(run()))
    assert picture[0] == "runs/live  running"
    assert picture[1].startswith("step 57 of 500  ━━──")
    assert picture[1].endswith("20 s   3.1 steps/s   about 2 min 28 s left")
    assert picture[2] == "loss 0.2649 at step 57   best 0.2649 at step 57   accuracy 0.93"
    assert picture[-3] == "lr 0.05 (was 0.1, step 41)   optimizer adam"
    assert picture[-2].startswith("a ")
    assert picture[-2].endswith(" step 41  lr 0.1 -> 0.05   by hand: too jumpy")
    assert picture[-1] == (
        "caviar set runs/live lr=…   caviar pause runs/live   caviar rollback runs/live --to-step 55"
    )
    [axis] = [line for line in picture if "└" in line]
    assert "a" in axis


@pytest.mark.parametrize("width", [1, 20, 40, 80, 200])
@pytest.mark.parametrize("height", [1, 5, 10, 18, 24, 50, 80])
@pytest.mark.parametrize("acts", [0, 1, 50])
@pytest.mark.parametrize("unicode", [True, False])
def test_it_fits_the_screen(width, height, acts, unicode):
    many = {f"param_{number}": 0.1 for number in range(30)}
    picture = drawn(moment(run(acts=[ADJUSTED] * acts, params=PARAMS | many)), width, height, unicode=unicode)
    assert len(picture) <= height
    assert all(len(line) <= width for line in picture)
    if not unicode:
        assert all(line.isascii() for line in picture)


def test_a_tall_screen_shows_more_of_what_was_done_newest_last():
    acts = [dataclasses.replace(PAUSED, text=f"act {number}") for number in range(50)]
    short, tall = (drawn(moment(run(acts=acts)), height=height) for height in (14, 60))
    assert [line.split()[-1] for line in short if " act " in line] == ["47", "48", "49"]
    shown = [line.split()[-1] for line in tall if " act " in line]
    assert shown[-1] == "49"
    assert len(shown) > 12
    assert any("└" in line for line in tall)


def test_the_chart_gives_way_on_a_small_screen():
    assert not any("│" in line for line in drawn(moment(run()), height=9))
    assert any("│" in line for line in drawn(moment(run()), height=12))


@pytest.mark.parametrize(
    ("status", "reason", "state", "title"),
    [
        ("running", None, "running", "running"),
        ("paused", None, "running", "paused at step 57"),
        ("pending", None, "running", "starting from step 57"),
        ("pending", None, "interrupted", "interrupted at step 57"),
        ("completed", None, "finished", "completed at step 57"),
        ("stopped", "by hand", "finished", "stopped at step 57: by hand"),
        ("failed", "ValueError: no", "running", "failed at step 57: ValueError: no"),
    ],
)
def test_the_title_says_how_it_stands(status, reason, state, title):
    assert drawn(moment(run(status=status, reason=reason), state))[0] == f"runs/live  {title}"


def test_before_the_first_report():
    picture = drawn(moment(run(0, status="pending", changes={}, acts=[], checkpoint=None, branches=[])))
    assert picture[0] == "runs/live  starting"
    assert "no report yet" in picture
    assert len(picture) == 5  # without a chart
    assert picture[-1] == "caviar set runs/live lr=…   caviar pause runs/live"


@pytest.mark.parametrize(
    ("of", "state", "hint"),
    [
        (run(status="paused"), "running", "caviar unpause"),
        (run(status="pending"), "interrupted", "caviar resume 'my runs/live'"),
        (run(status="completed"), "finished", "caviar replay 'my runs/live'"),
    ],
)
def test_the_hint_names_what_it_takes(of, state, hint):
    assert hint in drawn(moment(of, state, folder="my runs/live"))[-1]


def test_the_hint_names_a_knob():
    none = run(changes={})
    assert "set runs/live optimizer=" in drawn(moment(none, knobs=["optimizer"]))[-1]
    assert "set" not in drawn(moment(none, knobs=[]))[-1]


def test_a_constant_is_shown_where_it_may_change_or_did():
    assert not any("epsilon" in line for line in drawn(moment(run())))
    assert any("epsilon 1e-08" in line for line in drawn(moment(run(), knobs=["epsilon"])))
    changed = run(changes={"epsilon": Change(1e-7, 3)})
    assert any("epsilon 1e-08 (was 1e-07, step 3)" in line for line in drawn(moment(changed)))


def test_without_max_step_there_is_no_bar():
    picture = drawn(moment(run(left_s=None), max_step=None))
    assert picture[1] == "step 57  20 s   3.1 steps/s"


def test_a_value_that_is_not_finite():
    picture = drawn(moment(run(value=math.nan, best=math.nan, best_step=0, not_finite=3)))
    assert picture[2].startswith("loss nan at step 57   best -")
    assert picture[3] == "loss   3 values not finite"


def test_an_adjustment_that_holds_no_more_has_no_mark():
    dropped = dataclasses.replace(ADJUSTED, dropped=True)
    picture = drawn(moment(run(acts=[dropped, BACK])))
    [axis] = [line for line in picture if "└" in line]
    assert "b" in axis
    assert "a" not in axis
    assert any(line.endswith("(holds no more)") for line in picture)
    assert any("back from step 57 to step 40   by OnSpike" in line for line in picture)


def test_a_hostile_note_stays_in_its_line():
    act = dataclasses.replace(ADJUSTED, note="one\ntwo\x1b[2Jthree")
    picture = drawn(moment(run(acts=[act], reason="x\ny", status="failed")))
    assert all("\n" not in line and "\x1b" not in line for line in picture)
    assert any("one two [2Jthree" in line for line in picture)


@pytest.mark.parametrize("encoding", ["utf-8", "ascii", "latin-1"])
def test_any_terminal_can_show_it(encoding):
    stream = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    console = Console(file=stream, width=80, height=24, force_terminal=True)
    act = dataclasses.replace(ADJUSTED, note="größer → 数")
    console.print(draw(moment(run(acts=[act])), 80, 24))
    stream.flush()
    text = stream.buffer.getvalue().decode(encoding)
    assert ("größer → 数" in text) is (encoding == "utf-8")
    assert ("größer ? ?" in text) is (encoding == "latin-1")


def test_it_is_redrawn_in_place_and_the_last_picture_has_no_hint():
    file = io.StringIO()
    view = LiveView(Console(file=file, width=100, height=30, force_terminal=True))
    view.show(moment(run()))
    assert "caviar pause" in file.getvalue()
    view.show(moment(run(status="completed"), "finished"))
    file.seek(0)
    file.truncate()
    view.close()
    assert "completed at step 57" in file.getvalue()
    assert "caviar" not in file.getvalue()


def test_plain_lines_are_of_what_is_new(capsys):
    shown = Lines()
    old = [dataclasses.replace(PAUSED, text=f"act {number}") for number in range(20)]
    shown.show(moment(run(56, acts=old)))
    first = capsys.readouterr().out.splitlines()
    assert [line.split("  ")[1] for line in first[:-1]] == [f"act {number}" for number in range(12, 20)]
    assert first[-1] == (
        "[20 s] step 56/500; loss 0.2673; best 0.2673 at step 56; 3.1 steps/s; about 2 min 28 s left"
    )
    shown.show(moment(run(56, acts=old)))
    assert capsys.readouterr().out == ""
    dropped = [dataclasses.replace(act, dropped=True) for act in old]
    shown.show(moment(run(57, status="paused", left_s=None, acts=[*dropped, ADJUSTED, PAUSED])))
    told = capsys.readouterr().out.splitlines()
    assert [line.split("  ", 1)[1] for line in told[:-1]] == [
        "step 41: lr 0.1 -> 0.05 (by hand: too jumpy)",
        "paused at step 57",
    ]
    assert told[-1] == "[20 s] step 57/500; loss 0.2649; best 0.2649 at step 57; paused at step 57"


def test_json_for_machines(capsys):
    JsonLines().show(moment(run(value=math.nan, acts=[ADJUSTED] * 30)))
    [line] = capsys.readouterr().out.splitlines()
    found = json.loads(line)
    assert (found["kind"], found["state"], found["status"]) == ("live_run", "running", "running")
    assert (found["step"], found["max_step"], found["value"]) == (57, 500, None)
    assert found["best"] == {"value": pytest.approx(0.2649, abs=1e-4), "step": 57}
    assert found["params"] == PARAMS
    assert found["changes"] == {"lr": {"old": 0.1, "step": 41}}
    assert len(found["acts"]) == 20
    assert found["acts"][-1] == {
        "time": "2001-09-09T01:46:40+00:00",
        "kind": "adjusted",
        "step": 41,
        "text": "lr 0.1 -> 0.05",
        "by": "by hand",
        "note": "too jumpy",
        "dropped": False,
    }

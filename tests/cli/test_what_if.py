from __future__ import annotations

import json
from typing import Any

import pytest

import caviar
from caviar.cli.scheduler_text import parse_scheduler, scheduler_text
from caviar.errors import UsageError
from caviar.schedulers import SCHEDULERS


def table(text: str) -> list[list[str]]:
    """Its lines, cut at what is at least two blanks wide."""
    return [[cell.strip() for cell in line.split("  ") if cell.strip()] for line in text.splitlines()]


def test_a_table_of_schedulers_with_the_record_first(invoke: Any, finished: Any) -> None:
    result = invoke("what-if", finished, "--scheduler", "run_all", "--scheduler", "asha:grace_steps=1")
    assert result.exit_code == 0, result.output
    lines = table(result.stdout)
    assert lines[0] == [
        "scheduler", "steps", "of all", "best kept", "regret", "top 5 kept", "beyond", "best loss", "training",
        "of record",
    ]  # fmt: skip
    # trial 2 was stopped at step 2 of 4, and trial 3 failed at step 1
    assert lines[1][:8] == ["as recorded", "15", "88%", "yes", "0", "5", "-", "0.025"]
    assert lines[2][:8] == ["run_all", "17", "100%", "yes", "0", "5", "1", "0.025"]
    assert lines[3][:5] == ["asha", "14", "82%", "yes", "0"]
    assert lines[4] == ["recorded with asha:grace_steps=2,reduction_factor=2"]
    assert lines[5] == ["replayed 1 trial at a time, each at its own pace"]
    assert lines[6][0].startswith("beyond: trials that would have trained past the end of their record")
    assert lines[7][0].startswith("Costs are those if they had been worse")


def test_nothing_is_said_of_what_nobody_knows_where_all_is_known(invoke: Any, finished: Any) -> None:
    lines = invoke("what-if", finished, "--scheduler", "asha", "--workers", 2).stdout.splitlines()
    assert lines[4:] == ["replayed 2 trials at once, each at its own pace"]


def test_without_a_scheduler_the_usual_ones(invoke: Any, finished: Any) -> None:
    lines = table(invoke("what-if", finished).stdout)
    assert [line[0].partition(":")[0] for line in lines[2:6]] == ["asha", "hyperband", "median_stop", "run_all"]


def test_of_the_usual_ones_those_that_cannot_be_are_left_out(invoke: Any, write: Any, tmp_path: Any) -> None:
    text = """
import caviar


def train(trial):
    for step in range(1, 4):
        trial.report(loss=trial.params["x"] / step)


sweep = caviar.Sweep(train, caviar.Space(x=caviar.Float(0, 1)), metric="loss", trials=6)
"""
    folder = tmp_path / "endless"
    assert invoke("run", write(text, "endless.py"), "--executor", "inline", "--out", folder).exit_code == 0
    result = invoke("what-if", folder)
    assert result.exit_code == 0, result.output
    assert "run_all" in result.stdout
    assert "hyperband" not in result.stdout
    [line] = result.stderr.splitlines()
    assert line.startswith("without hyperband")
    assert "needs a max_step" in line
    assert invoke("what-if", folder, "--scheduler", "hyperband").exit_code == 2


def test_json(invoke: Any, finished: Any) -> None:
    result = invoke("what-if", finished, "--scheduler", "run_all", "--json")
    record, other = (json.loads(line) for line in result.stdout.splitlines())
    assert record["record"] is True
    assert record["scheduler"] == {"name": "asha", "grace_steps": 2, "reduction_factor": 2}
    assert record["steps"] == [15, 15]
    assert other["record"] is False
    assert other["scheduler"] == {"name": "run_all"}
    assert (other["steps"], other["steps_of_all"], other["beyond"]) == ([17, 17], 17, 1)
    assert list(record) == list(other)
    found = caviar.load(finished).what_if(caviar.RunAll())
    assert other["seconds"] == [found.least.seconds, found.least.seconds]


@pytest.mark.parametrize(
    ("text", "scheduler"),
    [
        ("run_all", caviar.RunAll()),
        ("asha", caviar.Asha()),
        ("asha:grace_steps=1,reduction_factor=4", caviar.Asha(grace_steps=1, reduction_factor=4)),
        ("asha: grace_steps = 2 , reduction_factor=2.5", caviar.Asha(grace_steps=2, reduction_factor=2.5)),
        ("hyperband:brackets=2", caviar.Hyperband(brackets=2)),
        ("asha:spare=0.1", caviar.Asha(spare=0.1)),
        ("hyperband:brackets=null", caviar.Hyperband()),
        ("median_stop:min_trials=3,every=2", caviar.MedianStop(every=2, min_trials=3)),
        ("patience:patience=3,min_delta=1e-3", caviar.Patience(3, 1e-3)),
    ],
)
def test_schedulers_as_text(text: str, scheduler: Any) -> None:
    assert parse_scheduler(text) == scheduler
    assert parse_scheduler(scheduler_text(scheduler.to_dict())) == scheduler


def test_lesser_arguments_are_left_out_where_they_are_as_usual() -> None:
    assert scheduler_text(caviar.MedianStop().to_dict()) == "median_stop:grace_steps=1,every=1"
    assert scheduler_text(caviar.MedianStop(min_trials=9).to_dict()).endswith(",every=1,min_trials=9")
    assert scheduler_text(caviar.Hyperband().to_dict()) == "hyperband:grace_steps=1,reduction_factor=3"
    assert scheduler_text({"name": "by_hand", "every": 2}) == "by_hand:every=2"


def test_in_short_only_what_is_not_as_usual_is_shown() -> None:
    assert scheduler_text(caviar.Asha().to_dict(), short=True) == "asha"
    asha = caviar.Asha(2, spare=0.1)
    assert scheduler_text(asha.to_dict(), short=True) == "asha:grace_steps=2,spare=0.1"
    assert parse_scheduler("asha:grace_steps=2,spare=0.1") == asha
    assert scheduler_text(caviar.Patience(3).to_dict(), short=True) == "patience:patience=3"


def test_one_answer_is_told_in_words(finished: Any) -> None:
    result = caviar.load(finished)
    assert str(result.what_if(caviar.Asha())) == (
        f"{caviar.Asha()!r}: 14 steps of the 17 that it takes to stop no trial (the record has 15); of the "
        "best 5 trials 4 are kept, and the best one is kept; regret 0"
    )
    assert repr(result.what_if(caviar.RunAll())).splitlines()[1].startswith("1 trial would have trained past ")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("asah", f"there is no scheduler 'asah'; there are {', '.join(SCHEDULERS)}"),
        ("", f"there is no scheduler ''; there are {', '.join(SCHEDULERS)}"),
        ("asha:grace=1", "scheduler 'asha' was given grace=1; it takes grace_steps, reduction_factor, spare"),
        ("asha:grace_steps", "'grace_steps' needs a name and a value, as in asha:grace_steps=1"),
        ("asha:", "'' needs a name and a value, as in asha:grace_steps=1"),
        ("asha:=1", "'=1' needs a name and a value, as in asha:grace_steps=1"),
        ("asha:grace_steps=1,grace_steps=2", "grace_steps is given twice"),
        ("asha:grace_steps=0", "Asha(grace_steps=0): needs a whole number (int) of at least 1"),
        ("asha:reduction_factor=two", "Asha(reduction_factor='two'): needs a finite number above 1"),
        (
            "patience",
            "scheduler 'patience' was given nothing; it takes patience, min_delta, grace_steps, every, spare",
        ),
        ("run_all:x=1", "scheduler 'run_all' was given x=1; it takes nothing"),
    ],
)
def test_mistakes_in_a_scheduler_are_one_line(invoke: Any, finished: Any, text: str, told: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_scheduler(text)
    assert str(caught.value) == f"--scheduler {text}: {told}"
    result = invoke("what-if", finished, "--scheduler", text)
    assert result.exit_code == 2
    assert result.stderr == f"caviar: error: {' '.join(str(caught.value).split())}\n"


def test_no_sweep(invoke: Any, tmp_path: Any) -> None:
    result = invoke("what-if", tmp_path)
    assert result.exit_code == 2
    assert len(result.stderr.splitlines()) == 1

from __future__ import annotations

import json

import pytest

import caviar


def test_one_line_an_event(invoke, finished):
    lines = invoke("events", finished).stdout.splitlines()
    assert len(lines) == len(caviar.load(finished).events())
    assert any("sweep_started" in line and line.endswith("5 trials") for line in lines)
    assert any("trial_sampled" in line and line.endswith("trial 0     lr=0.4 optimizer=sgd") for line in lines)
    assert any("trial 2     stop at step 2 (rung 2): 0.4" in line for line in lines)
    assert any("trial 4     completed at step 4; best 0.025 at step 4" in line for line in lines)
    assert lines[-1].endswith("done")


def test_one_trial_with_its_traceback(invoke, finished):
    output = invoke("events", finished, "--trial", 3).stdout
    assert "trial 2" not in output
    assert "failed at step 1: ValueError: the loss exploded; best 1.0 at step 1" in output
    assert "    Traceback (most recent call last)" in output
    assert 'raise ValueError("the loss exploded")' in output


def test_tracebacks_are_not_shown_unasked(invoke, finished):
    assert "Traceback" not in invoke("events", finished).stdout


def test_kinds_and_tail(invoke, finished):
    result = invoke("events", finished, "--kind", "trial_ended", "--kind", "sweep_ended", "--tail", 2, "--json")
    rows = [json.loads(line) for line in result.stdout.splitlines()]
    assert [row["kind"] for row in rows] == ["trial_ended", "sweep_ended"]
    assert list(rows[0]) == ["seq", "time", "kind", "trial", "attempt", "step", "data"]
    assert rows[0]["trial"] == 4
    assert rows[0]["data"]["status"] == "completed"
    assert rows[1]["trial"] is None


def test_a_kind_that_did_not_happen(invoke, finished):
    result = invoke("events", finished, "--kind", "worker_lost")
    assert (result.exit_code, result.stdout) == (0, "")


@pytest.mark.parametrize("kind", ["nope", ""])
def test_an_unknown_kind(invoke, finished, kind):
    result = invoke("events", finished, "--kind", kind)
    assert result.exit_code == 2
    assert f"--kind {kind}: no events are of that kind; there are adjusted, adopted, " in result.stderr
    assert result.stderr.count("\n") == 1

from __future__ import annotations

import functools
import json

import pytest

import caviar
from caviar.cli import follow
from caviar.cli.lines import JsonLines, Lines
from tests.cli import beside

SPACE = caviar.Space(lr=caviar.Float(0.1, 1.0))

running = functools.partial(beside.running, space=SPACE)


def reports_until_over(trial, over):
    for _ in trial.steps():
        trial.report(loss=trial.params["lr"])
        if over.wait(0.01):
            return


def test_status_of_a_finished_sweep(invoke, finished):
    lines = invoke("status", finished).stdout.splitlines()
    assert lines[0] == f"{finished}: finished, 5 of 5 trials ended"
    assert lines[1] == "  trials   3 completed, 1 stopped, 1 failed"
    assert lines[2] == "  best     loss 0.025 at step 4 of trial 4"
    assert lines[3].strip() == "lr=0.1 optimizer=adam"
    assert any("trial 3 failed" in line and "the loss exploded" in line for line in lines)


def test_status_for_machines(invoke, finished):
    found = json.loads(invoke("status", finished, "--json").stdout)
    assert (found["kind"], found["state"], found["ended"], found["trials"]) == ("progress", "finished", "done", 5)
    assert found["best"] == {"trial": 4, "value": 0.025, "step": 4, "params": {"lr": 0.1, "optimizer": "adam"}}
    assert found["reports"] == 15


def test_watch_a_finished_sweep(invoke, finished):
    result = invoke("watch", finished)
    assert result.exit_code == 0
    assert result.stdout.count("\n") == 1
    assert "5/5 trials: 3 completed, 1 stopped, 1 failed; best loss 0.025 (trial 4); finished" in result.stdout


def test_status_of_a_running_sweep(invoke, tmp_path):
    with running(tmp_path / "out", reports_until_over, trials=3):
        lines = invoke("status", tmp_path / "out").stdout.splitlines()
        assert lines[0] == f"{tmp_path / 'out'}: running, 0 of 3 trials ended"
        assert any(line.startswith("  speed") for line in lines)


def test_watch_ends_with_the_sweep(tmp_path):
    """The sweep ends only after it was seen running, so it was watched from there to its end."""
    seen = []
    with running(tmp_path / "out", reports_until_over, trials=2) as over:

        class Display:
            interval_s = 0.01

            def show(self, moment):
                seen.append(moment)
                over.set()

            def close(self):
                raise AssertionError("closing is for who made it")

        last = follow.watch(follow.Follower(tmp_path / "out"), Display())
    assert seen[0].state == "running"
    assert last is seen[-1]
    assert (last.state, last.done) == ("finished", 2)


@pytest.mark.parametrize("display", [Lines, JsonLines])
def test_displays_print_a_line_a_moment(display, finished, capsys):
    moment = follow.Follower(finished).look()
    shown = display()
    shown.show(moment)
    shown.close()
    assert capsys.readouterr().out.count("\n") == 1


def test_plain_lines_are_silent_while_nothing_happens(finished, capsys):
    follower, shown = follow.Follower(finished), Lines()
    shown.show(follower.look())
    capsys.readouterr()
    shown.show(follower.look())
    assert capsys.readouterr().out == ""


def test_a_display_that_fails_does_not_end_the_sweep(finished, caplog):
    class Broken:
        interval_s = 0.0
        closed = False

        def show(self, moment):
            raise ZeroDivisionError("broken")

        def close(self):
            self.closed = True

    display = Broken()
    with follow.shown(finished, display):
        pass
    assert display.closed
    assert "no more progress is shown: ZeroDivisionError: broken" in caplog.text


def test_nothing_is_shown_of_a_sweep_that_never_came_to_be(tmp_path):
    with follow.shown(tmp_path / "never", Lines()):
        pass
    assert list(tmp_path.iterdir()) == []

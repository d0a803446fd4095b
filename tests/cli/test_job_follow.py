"""A job's sweep, seen from here while it runs."""

from __future__ import annotations

import functools
import sys
import threading
from types import SimpleNamespace

import pytest

import caviar
from caviar.cli import job_follow
from caviar.cli.job_follow import Elsewhere
from caviar.store.place import place
from tests.cli import beside

running = functools.partial(beside.running, space=caviar.Space(lr=caviar.Float(0.1, 1.0)))


class Display:
    interval_s = 0.01

    def __init__(self):
        self.states, self.closed, self.shown = [], False, threading.Event()

    def show(self, moment):
        self.states.append(moment.state)
        self.shown.set()

    def close(self):
        self.closed = True


@pytest.fixture(autouse=True)
def _soon(monkeypatch):
    monkeypatch.setattr(job_follow, "LOOK_S", 0.01)


def reports_until_over(trial, over):
    for _ in trial.steps():
        trial.report(loss=trial.params["lr"])
        if over.wait(0.01):
            return


def test_it_is_shown_from_when_it_runs_to_its_end(tmp_path):
    display = Display()
    view = Elsewhere(tmp_path / "out", lambda: display)
    assert not view.shown, "there is no such sweep yet"
    with running(tmp_path / "out", reports_until_over, trials=1):
        assert display.shown.wait(30)
        assert view.shown
    view.close()
    assert display.states[0] == "running"
    assert display.states[-1] == "finished"
    assert display.closed


def test_one_that_does_not_run_is_not_the_one_of_the_job(finished):
    display = Display()
    view = Elsewhere(finished, lambda: display)
    view.close()
    assert not view.shown
    assert display.states == []


def test_what_cannot_be_reached_from_here_is_left_alone(monkeypatch, caplog):
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    monkeypatch.setenv("AWS_ALLOW_HTTP", "true")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "a")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "b")
    display = Display()
    view = Elsewhere(place("s3://bucket/x"), lambda: display)
    view.close()
    assert not view.shown
    assert caplog.text == ""


def test_the_picture_is_left_before_it_is_said_how_to_come_back(monkeypatch, capsys):
    class View:
        shown = True

        def __init__(self, folder):
            pass

        def close(self):
            print("picture left", file=sys.stderr)

    class Interrupted:
        address = "http://head:8265"

        def info(self, job):
            return SimpleNamespace(node="node-1", ended=False)

        def follow(self, job):
            raise KeyboardInterrupt

    monkeypatch.setattr(job_follow, "Elsewhere", View)
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    assert job_follow.follow(Interrupted(), "x", place("/shared/x"), as_json=False) == 130
    left, told = capsys.readouterr().err.splitlines()
    assert left == "picture left"
    assert told.startswith("job x goes on; caviar logs x --address http://head:8265 --follow")


@pytest.mark.parametrize(
    ("line", "tells"),
    [
        ("[5.1 s] 16/40 trials: 16 completed", True),
        ("[1 min 1 s] 269/300 trials: 2 pending", True),
        ("[2 h 5 min] 1,000/2,000 trials: none yet", True),
        ("[1.0] is a list", False),
        ("40 trials: 40 completed", False),
        ("caviar: error: [5 s] x", False),
    ],
)
def test_lines_that_the_view_says_already(line, tells):
    assert bool(job_follow._PROGRESS.match(line)) == tells

"""`caviar run --resume`: the same command, until the sweep has ended."""

from __future__ import annotations

import json
import os
import shutil
import socket
import time

import pytest

import caviar
from caviar.cli import predecessor
from caviar.cli.predecessor import outlive
from caviar.errors import LeaseError
from caviar.store.layout import SweepFolder
from caviar.store.lease import Lease, wall_clock_us
from caviar.store.recorder import Recorder

CUT_OFF = """
import pathlib
import signal

import caviar

FLAG = pathlib.Path({flag!r})


def train(trial):
    for step in trial.steps():
        trial.report(loss=trial.params["lr"] / step)
    if trial.id == 2 and not FLAG.exists():
        FLAG.touch()
        signal.raise_signal(signal.SIGTERM)


sweep = caviar.Sweep(train, caviar.Space(lr=caviar.Float(0.1, 1.0)), metric="loss", trials=5, max_step=4)
"""


@pytest.fixture
def file(write, tmp_path):
    return write(CUT_OFF.format(flag=str(tmp_path / "flag")))


@pytest.fixture
def again(invoke, file, tmp_path):
    return lambda *more: invoke("run", file, "--executor", "inline", "--out", tmp_path / "out", "--resume", *more)


def test_the_same_command_begins_goes_on_and_says_that_it_has_ended(again, tmp_path):
    first = again("--trials", "6", "--seed", "3")
    assert first.exit_code == 130
    assert 0 < caviar.load(tmp_path / "out").counts()["completed"] < 6
    second = again("--trials", "6", "--seed", "3")
    assert second.exit_code == 0, second.output
    assert "has ended already" not in second.stderr
    trials = caviar.load(tmp_path / "out").trials()
    assert list(trials["status"]) == ["completed"] * 6
    third = again("--trials", "6", "--seed", "3")
    assert third.exit_code == 0
    out = tmp_path / "out"
    assert third.stderr == f"{out}: has ended already; caviar extend {out} --trials N adds trials\n"
    assert third.stdout.endswith(f"everything is in {out}\n")
    assert caviar.load(out).trials().equals(trials)


def test_what_was_given_at_first_holds_and_something_else_is_refused_or_allowed(again, tmp_path):
    again("--trials", "6", "--seed", "3")
    assert again().exit_code == 0
    result = caviar.load(tmp_path / "out")
    assert (len(result.trials()), result.declaration["seed"]) == (6, 3)
    other = again("--trials", "7")
    assert other.exit_code == 2
    assert "this Sweep is not the one that was recorded: trials: 6 -> 7 (--allow-change" in other.stderr
    assert again("--trials", "7", "--allow-change").exit_code == 0
    assert len(caviar.load(tmp_path / "out").trials()) == 7
    assert again("--trials", "7").exit_code == 0


@pytest.mark.parametrize("command", ["run", "resume"])
def test_what_is_another_sweep_is_refused_with_that_line_alone(invoke, finished, write, tmp_path, command):
    out = shutil.copytree(finished, tmp_path / "out")
    other = write((finished.parent / "finished_experiment.py").read_text().replace("trials=5", "trials=5, seed=7"))
    words = [other, "--out", out, "--resume"] if command == "run" else [out, "--file", other]
    refused = invoke(command, *words, "--executor", "inline")
    assert (refused.exit_code, refused.stdout) == (2, "")
    assert refused.stderr.startswith(f"caviar: error: {out}: this Sweep is not the one that was recorded: ")
    assert "seed: " in refused.stderr
    assert refused.stderr.count("\n") == 1


def test_a_sweep_that_was_extended_is_still_the_same(again, invoke, tmp_path):
    again()
    again()
    assert invoke("extend", tmp_path / "out", "--trials", "2", "--executor", "inline").exit_code == 0
    assert again().exit_code == 0
    assert len(caviar.load(tmp_path / "out").trials()) == 7


def test_without_resume_a_sweep_is_refused_and_nothing_can_have_changed(invoke, file, tmp_path):
    out = tmp_path / "out"
    assert invoke("run", file, "--executor", "inline", "--out", out).exit_code == 130
    refused = invoke("run", file, "--executor", "inline", "--out", out)
    assert refused.exit_code == 2
    assert "already holds a sweep" in refused.stderr
    refused = invoke("run", file, "--executor", "inline", "--out", tmp_path / "new", "--allow-change")
    assert refused.exit_code == 2
    assert "it goes with --resume" in refused.stderr
    assert not (tmp_path / "new").exists()


def test_a_live_run_is_left_to_caviar_resume(invoke, file, tmp_path):
    (tmp_path / "flag").touch()
    out = tmp_path / "live"
    assert invoke("panda", file, "--out", out, "--executor", "inline").exit_code == 0
    refused = invoke("run", file, "--out", out, "--executor", "inline", "--resume")
    assert refused.exit_code == 2
    assert f"holds a live run; caviar resume {out} goes on with it" in refused.stderr


def hold(folder, *, age_s, host="elsewhere", nonce="n", pid=7):
    lease = {"host": host, "pid": pid, "process_start": "x", "nonce": nonce}
    text = json.dumps({**lease, "time_us": int((time.time() - age_s) * 1e6)})
    (folder / "lease.json").write_text(text)


@pytest.fixture
def held(finished, tmp_path):
    return SweepFolder(shutil.copytree(finished, tmp_path / "held"))


@pytest.fixture(autouse=True)
def _looks_often(monkeypatch):
    monkeypatch.setattr(predecessor, "LOOK_S", 0.001)


def test_nobody_is_waited_for_where_nobody_is_at_it(held, capsys):
    assert outlive(held) is None
    hold(held.path, age_s=31)
    assert outlive(held) is None
    assert capsys.readouterr().err == ""


def test_a_driver_that_was_killed_elsewhere_is_waited_for(held, monkeypatch, capsys):
    hold(held.path, age_s=0)
    begin_us = json.loads((held.path / "lease.json").read_text())["time_us"]
    passed_s = [12]
    monkeypatch.setattr(predecessor, "wall_clock_us", lambda: begin_us + passed_s[0] * 10**6)
    monkeypatch.setattr(predecessor.time, "sleep", lambda seconds: passed_s.__setitem__(0, passed_s[0] + 3))
    assert outlive(held) is None
    assert passed_s == [30]
    told = f"{held}: process 7 on elsewhere had it in hand 12 s ago; waiting for at most 18 s to see"
    assert capsys.readouterr().err == f"{told} whether it is gone\n"


def test_one_that_is_alive_is_left_alone(held, monkeypatch):
    hold(held.path, age_s=4)
    monkeypatch.setattr(predecessor.time, "sleep", lambda seconds: hold(held.path, age_s=0))
    with pytest.raises(LeaseError, match="is being driven by process 7 on elsewhere, last heard of 0 s ago"):
        outlive(held)


def test_one_that_lets_go_meanwhile_is_not_waited_for(held, monkeypatch):
    hold(held.path, age_s=4)
    monkeypatch.setattr(predecessor.time, "sleep", lambda seconds: (held.path / "lease.json").unlink())
    assert outlive(held) is None


def test_where_its_clock_is_ahead_it_is_taken_over_after_as_long(held, monkeypatch):
    hold(held.path, age_s=-3600)
    now = [0.0]
    monkeypatch.setattr(predecessor.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(predecessor.time, "sleep", lambda seconds: now.__setitem__(0, now[0] + 5))
    watched = outlive(held)
    assert watched is not None
    assert (now[0], watched.nonce) == (30, "n")
    # and who waited for the same one beside this one finds that it is this one's by now
    first = Recorder.open(held, now_us=wall_clock_us, take_over=watched)
    with pytest.raises(LeaseError, match=f"is being driven by process {os.getpid()}"):
        Recorder.open(held, now_us=wall_clock_us, take_over=watched)
    first.close()


def test_one_that_lives_on_this_machine_is_refused_at_once(held, monkeypatch):
    mine = Lease.mine("n", int(time.time() * 1e6))
    assert (mine.pid, mine.host) == (os.getpid(), socket.gethostname())
    (held.path / "lease.json").write_bytes(mine.to_bytes())
    monkeypatch.setattr(predecessor.time, "sleep", lambda seconds: pytest.fail("nothing to wait for"))
    with pytest.raises(LeaseError, match="stop that first"):
        outlive(held)

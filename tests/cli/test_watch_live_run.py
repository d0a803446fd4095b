"""`caviar status`, `watch` and `events` of a real live run, while it is steered and after its end."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator

import pytest

import caviar
from caviar.panda.live_run import LiveRun


def train(trial: caviar.Trial) -> None:
    x = float((trial.restored / "x").read_text()) if trial.restored else 1.0
    for _ in trial.steps():
        time.sleep(0.002)
        x *= 1 - 0.1 * trial.params["lr"]
        trial.report(loss=x)
        if trial.checkpoint_due:
            with trial.checkpoint() as folder:
                (folder / "x").write_text(repr(x))


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveRun]:
    """One that was changed and rolled back, and waits."""
    space = caviar.Space(lr=caviar.Float(1e-4, 1.0, scale="log"))
    sweep = caviar.Sweep(train, space, metric="loss", trials=1, checkpoint_every=5)
    folder = tmp_path_factory.mktemp("live") / "run"
    run = sweep.panda(folder, caviar.Inline(), params={"lr": 0.1})
    run.set(lr=0.2, note="too slow")
    deadline = time.monotonic() + 30
    while run.step < 20:
        assert time.monotonic() < deadline
    run.rollback(to_step=10, lr=0.05, note="too fast")
    run.pause()
    yield run
    if run.status == "paused":
        run.stop()
    run.wait()


def test_a_live_run_that_waits(invoke, run):
    lines = invoke("status", run.path).stdout.splitlines()
    step = run.step
    assert lines[0] == f"{run.path}  paused at step {step}"
    assert lines[1].startswith(f"step {step}  ")
    assert lines[2].startswith(f"loss {run.curves().loss.iloc[-1]:.4g} at step {step}   best ")
    assert any("└─" in line for line in lines)
    assert any(line.startswith("lr 0.05 (was 0.") for line in lines)
    assert any(line.startswith("a ") and "lr 0.1 -> 0.2   by hand: too slow" in line for line in lines)
    assert any(
        re.match(r"b .* back from step \d+ to step \d+, lr .* -> 0\.05   by hand: too fast", x) for x in lines
    )
    assert lines[-1].startswith(f"caviar set {run.path} lr=…")
    assert f"caviar unpause {run.path}" in lines[-1]


def test_the_same_for_machines(invoke, run):
    found = json.loads(invoke("status", run.path, "--json").stdout)
    assert (found["kind"], found["state"], found["status"]) == ("live_run", "running", "paused")
    assert found["params"] == {"lr": 0.05}
    assert [act["kind"] for act in found["acts"]] == ["adjusted", "rolled_back", "paused"]
    assert invoke("trials", run.path, "--status", "paused", "--json").stdout.count("\n") == 1


def test_its_branches_are_told_after_its_events(invoke, run):
    lines = invoke("events", run.path).stdout.splitlines()
    assert any(
        re.search(r"adjusted +trial 0 +from step \d+: lr 0.1 -> 0.2 \(by hand: too slow\)", x) for x in lines
    )
    assert any(
        re.search(r"rolled_back +trial 0 +from step \d+ to step \d+ \(by hand: too fast\)", x) for x in lines
    )
    assert any(re.search(r"paused +trial 0 +after step \d+", line) for line in lines)
    assert lines[-3:-2] == ["trial 0"]
    assert re.match(r"├─ attempt 0  steps 1-\d+.* rolled back at \d+: too fast$", lines[-2])
    assert re.match(r"└─ attempt 1  from step \d+, lr .* -> 0\.05, steps? .*  main line$", lines[-1])

    *_, last = map(json.loads, invoke("events", run.path, "--json").stdout.splitlines())
    assert (last["kind"], last["trial"]) == ("branches", 0)
    assert [attempt["attempt"] for attempt in last["attempts"]] == [0, 1]
    assert last["attempts"][1]["origin"] == 0
    assert "branches" not in invoke("events", run.path, "--json", "--tail", 100).stdout
    assert "attempt 0  steps" not in invoke("events", run.path, "--kind", "adjusted").stdout


def test_watched_to_its_end(invoke, run):
    run.stop()
    run.wait()
    result = invoke("watch", run.path)
    assert result.exit_code == 0
    assert f"; stopped at step {run.step}: by hand" in result.stdout.splitlines()[-1]
    assert invoke("status", run.path).stdout.splitlines()[0] == f"{run.path}  stopped at step {run.step}: by hand"

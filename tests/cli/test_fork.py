"""``caviar fork``, ``adopt``, and ``panda`` with a trial of a sweep: from one mode to the other and back."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

import caviar
from tests.cli.conftest import Invoke

FILE = """
import caviar


def train(trial):
    x = 5.0
    if trial.restored:
        x = float((trial.restored / "x").read_text())
    for _ in trial.steps():
        x *= 1 - 0.1 * trial.params["lr"] * (1 - trial.params["momentum"])
        trial.report(loss=x * x)
        if trial.checkpoint_due:
            with trial.checkpoint() as folder:
                (folder / "x").write_text(repr(x))


space = caviar.Space(lr=caviar.Float(1e-3, 1.0, scale="log"), momentum=caviar.Float(0.0, 0.9), epsilon=1e-8)
sweep = caviar.Sweep(
    train, space, metric="loss", trials=3, max_step=30, checkpoint_every=5, keep_checkpoints="all",
    scheduler=caviar.Asha(grace_steps=10),
)
"""

INLINE = ("--executor", "inline")


@pytest.fixture
def live(tmp_path: Path, invoke: Invoke) -> Path:
    """A live run that has come to its end."""
    (tmp_path / "experiment.py").write_text(FILE)
    folder = tmp_path / "live"
    told = invoke(
        "panda", tmp_path / "experiment.py", "--set", "lr=0.01", "--set", "momentum=0.5", "--out", folder, *INLINE
    )
    assert told.exit_code == 0, told.output
    return folder


def curve(folder: Path) -> dict[int, float]:
    rows = caviar.load(folder).curves()
    return dict(zip(rows["step"].tolist(), rows["loss"].tolist(), strict=True))


def by_hand(rates: dict[int, float], steps: int, momentum: float = 0.5) -> dict[int, float]:
    x, rate, losses = 5.0, 0.0, {}
    for step in range(1, steps + 1):
        rate = rates.get(step, rate)
        x *= 1 - 0.1 * rate * (1 - momentum)
        losses[step] = x * x
    return losses


def test_a_fork_trains_beside_and_its_best_is_put_back(
    live: Path, invoke: Invoke, caplog: pytest.LogCaptureFixture
) -> None:
    told = invoke("fork", live, "--at-step", 12, "--vary", "lr", "--trials", 3, "--adopt", "best", *INLINE)
    assert told.exit_code == 0, told.output
    fork = live.with_name("live-fork-10")
    assert "has no checkpoint of step 12: the one of step 10 is taken" in caplog.text
    assert f"{fork}: 3 trials from step 10 of {live} on, by lr" in told.output
    result = caviar.load(fork)
    assert len(result.trials()) == 3
    assert result.declaration["scheduler"]["name"] == "asha", "that of the file"
    best = result.best.trial
    assert f"trial {best} of {fork} is adopted when {live} is gone on with: caviar resume {live}" in told.output
    told = invoke("resume", live, *INLINE)
    assert told.exit_code == 0, told.output
    assert "has ended already" not in told.output
    assert curve(live) == by_hand({1: 0.01, 11: result.params_of(best)["lr"]}, 30)
    told = invoke("events", live, "--kind", "adopted")
    assert re.search(rf"adopted +trial 0 +on from step 30 of trial {best} of {fork} \(by hand\)", told.output)
    assert f"trained as trial {best} of live-fork-10, and adopted" in invoke("events", live).output
    assert invoke("check", live).exit_code == invoke("check", fork).exit_code == 0


def test_another_one_can_be_chosen_later_with_a_note(live: Path, invoke: Invoke, tmp_path: Path) -> None:
    other = tmp_path / "other"
    arguments = ("--at-step", 10, "--vary", "lr,momentum", "--trials", 2, "--out", other, "--max-step", 20)
    assert invoke("fork", live, *arguments, *INLINE).exit_code == 0
    told = invoke("adopt", live, "--from", other, "--trial", 1, "--note", "slower, but steady")
    assert told.exit_code == 0, told.output
    assert invoke("resume", live, *INLINE).exit_code == 0
    params = caviar.load(other).params_of(1)
    x = by_hand({1: 0.01}, 10)[10]
    factor = (1 - 0.1 * params["lr"] * (1 - params["momentum"])) ** 2
    assert curve(live)[11] == pytest.approx(x * factor, rel=1e-12)
    assert "slower, but steady" in invoke("events", live, "--kind", "adopted").output


def test_a_fork_is_resumed_and_extended_as_any_sweep(live: Path, invoke: Invoke) -> None:
    assert invoke("fork", live, "--at-step", 10, "--vary", "lr", "--trials", 2, *INLINE).exit_code == 0
    fork = live.with_name("live-fork-10")
    told = invoke("resume", fork, *INLINE)
    assert told.exit_code == 0, told.output
    assert "has ended already" in told.output
    told = invoke("extend", fork, "--trials", 2, *INLINE)
    assert told.exit_code == 0, told.output
    result = caviar.load(fork)
    assert len(result.trials()) == 4
    assert {params["momentum"] for params in map(result.params_of, range(4))} == {0.5}


def test_a_trial_of_a_sweep_is_taken_in_hand(tmp_path: Path, invoke: Invoke) -> None:
    (tmp_path / "experiment.py").write_text(FILE)
    many = tmp_path / "many"
    assert invoke("run", tmp_path / "experiment.py", "--out", many, *INLINE).exit_code == 0
    told = invoke("panda", many, *INLINE)
    assert told.exit_code == 2
    assert "has 3 trials; say which one to go on with, as --trial 0" in told.output
    told = invoke("panda", many, "--trial", 1, "--at-step", 5, "--set", "momentum=0.2", *INLINE)
    assert told.exit_code == 0, told.output
    one = tmp_path / "many-trial-1"
    before = caviar.load(many).params_of(1)
    assert caviar.load(one).params_of(0) == {**before, "momentum": 0.2}
    x = curve_of(many, 1)[5] ** 0.5
    assert curve(one)[6] == pytest.approx((x * (1 - 0.1 * before["lr"] * 0.8)) ** 2, rel=1e-12)
    assert list(curve(one)) == list(range(6, 31))
    told = invoke("replay", one, *INLINE)
    assert told.exit_code == 0, told.output
    assert "the curve is the same, bit for bit" in told.output
    assert json.loads((tmp_path / "many-trial-1" / "sweep.json").read_text())["panda"] == {"rules": []}


def curve_of(folder: Path, trial: int) -> dict[int, float]:
    rows = caviar.load(folder).curves().query("trial == @trial")
    return dict(zip(rows["step"].tolist(), rows["loss"].tolist(), strict=True))


def test_mistakes_are_one_line(live: Path, invoke: Invoke, tmp_path: Path) -> None:
    for arguments, told in [
        (
            ("fork", live, "--vary", "rate", "--at-step", 10),
            "vary: 'rate' is unknown; this space has lr, momentum",
        ),
        (("fork", live, "--vary", "epsilon", "--at-step", 10), "'epsilon' is a constant; lr, momentum can vary"),
        (("fork", live, "--vary", "lr", "--at-step", 3), "trial 0 has no checkpoint at or before step 3; it has"),
        (("fork", live, "--vary", "lr"), "max_step=30: the checkpoint to begin from is of step 30"),
        (("fork", live, "--vary", "lr", "--at-step", 10, "--out", live), "already holds a sweep"),
        (("fork", tmp_path / "away", "--vary", "lr"), "no such folder"),
        (("adopt", live, "--from", live), "is no fork"),
        (("panda", tmp_path / "experiment.py", "--trial", 1), "--trial and --at-step are of a sweep folder"),
    ]:
        answer = invoke(*arguments, *(() if arguments[0] == "adopt" else INLINE))
        assert answer.exit_code == 2, answer.output
        [line] = answer.stderr.splitlines()
        assert line.startswith("caviar: error: ")
        assert told in line

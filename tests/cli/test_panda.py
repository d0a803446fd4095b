"""``caviar panda`` and ``replay``, and going on with a live run."""

from __future__ import annotations

import json

import pytest

import caviar

LIVE = """
import caviar

def slower(live):
    return {"lr": "*=0.5"} if live.step == 4 else None

def train(trial):
    x = 1.0
    if trial.restored:
        x = float((trial.restored / "x").read_text())
    for step in trial.steps():
        x *= 1 - 0.1 * trial.params["lr"]
        trial.report(loss=x, rate=trial.params["lr"])
        if trial.checkpoint_due:
            with trial.checkpoint() as folder:
                (folder / "x").write_text(repr(x))

space = caviar.Space(lr=caviar.Float(0.01, 1.0, scale="log"), width=caviar.Int(1, 9))
sweep = caviar.Sweep(train, space, metric="loss", trials=50, max_step=10, checkpoint_every=5)
"""

NOISY = LIVE.replace("repr(x)", "'0.5'")
"""Its checkpoints do not hold its state."""


@pytest.fixture
def file(write):
    return write(LIVE)


@pytest.fixture
def out(tmp_path):
    return tmp_path / "live"


def panda(invoke, file, out, *options):
    return invoke("panda", file, "--executor", "inline", "--out", out, "--set", "lr=0.4", *options)


def test_one_trial_with_the_params_given_and_the_middle_of_the_others(invoke, file, out):
    result = panda(invoke, file, out)
    assert result.exit_code == 0, result.output
    assert "not given, so the middle of their scale: width=5" in result.stderr
    run = caviar.attach(out)
    assert (run.status, run.step, run.params) == ("completed", 10, {"lr": 0.4, "width": 5})
    assert f"everything is in {out}" in result.stdout


def test_a_rule_of_the_file_and_one_of_caviars(invoke, file, out):
    options = ("--rule", "slower", "--rule", "EveryN(8, set={'width': 2})", "--set", "width=3")
    assert panda(invoke, file, out, *options).exit_code == 0
    frame = caviar.attach(out).adjustments()
    assert frame[["step", "param", "old", "new", "by"]].values.tolist() == [
        [5, "lr", 0.4, 0.2, "slower"],
        [9, "width", 3, 2, "EveryN"],
    ]


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("--set", "lr"), "--set lr: needs a param and its value"),
        (("--set", "lrr=1"), "param 'lrr' is unknown"),
        (("--set", "lr=7"), "param 'lr': 7 is no finite number from 0.01 to 1.0"),
        (("--rule", "OnSpik"), "rule 'OnSpik' is not known"),
        (("--rule", "OnSpike(scale={'lr': -1})"), "OnSpike(scale="),
        (("--rule", "OnSpike(scale={'mu': 0.5})"), "there is no param 'mu'"),
        (("--workers", "2"), "--workers"),
    ],
)
def test_mistakes_are_one_line_and_nothing_is_written(invoke, file, out, options, says):
    result = panda(invoke, file, out, *options)
    assert result.exit_code == 2
    assert says in result.stderr
    assert len([line for line in result.stderr.splitlines() if "error" in line]) == 1
    assert not out.exists()


def test_a_replay_is_the_same_bit_for_bit(invoke, file, out):
    panda(invoke, file, out, "--rule", "slower")
    result = invoke("replay", out, "--executor", "inline")
    assert result.exit_code == 0, result.output
    last = result.stdout.splitlines()[-1]
    assert last == "repeated 10 steps, with params changed at 1 of them: the curve is the same, bit for bit"
    first, second = (caviar.attach(path).curves() for path in (out, f"{out}-replay"))
    assert first.drop(columns="time").equals(second.drop(columns="time"))


def test_a_replay_that_differs_says_where(invoke, write, out):
    file = write(NOISY)
    assert panda(invoke, file, out, "--rule", "back").exit_code == 2
    going_back = NOISY + (
        "\ndef back(live):\n"
        "    return caviar.rules.Change(rollback_to=5) if live.step == 7 and not live.firings else None\n"
    )
    file.write_text(going_back)
    assert panda(invoke, file, out, "--rule", "back").exit_code == 0
    result = invoke("replay", out, "--executor", "inline", "--out", f"{out}-2")
    assert result.exit_code == 1
    assert "the curves differ from step 6 on (loss" in result.stdout.splitlines()[-1]


def test_it_is_extended_with_its_rules(invoke, file, out):
    panda(invoke, file, out, "--rule", "EveryN(6, scale={'lr': 0.5})")
    assert invoke("resume", out, "--executor", "inline").stderr.strip().endswith("--max-step N trains on")
    result = invoke("extend", out, "--max-step", 14, "--executor", "inline")
    assert result.exit_code == 0, result.output
    run = caviar.attach(out)
    assert run.step == 14
    assert run.adjustments()[["step", "new"]].values.tolist() == [[7, 0.2], [13, 0.1]]
    result = invoke("extend", out, "--trials", 3, "--executor", "inline")
    assert (result.exit_code, "is a live run, of one trial" in result.stderr) == (2, True)


def test_for_machines_the_result_comes_last(invoke, file, out):
    lines = panda(invoke, file, out, "--json").stdout.splitlines()
    assert json.loads(lines[-1])["kind"] == "result"

"""Steering from the command line, with real sweeps that run beside the tests."""

from __future__ import annotations

import functools
import json
import re

import pytest

import caviar
from tests.cli import beside

SPACE = caviar.Space(
    lr=caviar.Float(0.001, 1.0),
    hidden=caviar.Int(1, 512),
    optimizer=caviar.Choice(["sgd", "adam"]),
    epsilon=1e-8,
)
FIRST = {"lr": 0.1, "hidden": 64, "optimizer": "sgd"}

running = functools.partial(beside.running, space=SPACE, first=[FIRST])


def learns(trial, over):
    """Saves what it is asked to, and trains on from it."""
    trained = int((trial.restored / "trained").read_text()) if trial.restored else 0
    for step in trial.steps():
        trained += 1
        trial.report(loss=trial.params["lr"], trained=trained, restored=trained - step)
        if trial.checkpoint_due:
            with trial.checkpoint() as folder:
                (folder / "trained").write_text(str(trained))
        if over.wait(0.002):
            return


def silent(trial, over):
    over.wait(30)
    trial.report(loss=1.0)


@pytest.fixture
def live(tmp_path):
    """The folder of a sweep of one trial that trains until the test is over."""
    folder = tmp_path / "live"
    with running(folder, learns, trials=1, checkpoint_every=5, keep_checkpoints="all"):
        wait_for_step(folder, 1)
        yield folder


def wait_for_step(folder, step):
    reader = caviar.load(folder)
    while reader.refresh().trials()["steps"].max() < step:
        assert reader.status == "running"


def told(result, pattern):
    """The groups of the one line that a command printed."""
    assert result.exit_code == 0, result.output
    found = re.fullmatch(pattern + "\n", result.output)
    assert found, result.output
    return tuple(map(int, found.groups()))


def refused(result, status=1):
    """The one line with which a command was refused."""
    assert result.exit_code == status, result.output
    assert result.stdout == ""
    line = result.stderr.removeprefix("caviar: error: ")
    assert line != result.stderr
    assert line.count("\n") == 1
    return line.removesuffix("\n")


def event(folder, kind):
    """The last event of a kind."""
    events = caviar.load(folder).events()
    return events[events["kind"] == kind].iloc[-1]


# --- set ----------------------------------------------------------------------------------------------


def test_set(invoke, live):
    (first,) = told(invoke("set", live, "lr=0.05"), r"applied at step (\d+): lr 0.1 -> 0.05")
    (second,) = told(
        invoke("set", live, "lr*=0.5", "hidden+=8", "-m", "too jumpy"),
        r"applied at step (\d+): lr 0.05 -> 0.025, hidden 64 -> 72",
    )
    assert first < second
    wait_for_step(live, second)
    curve = caviar.load(live).curves().set_index("step")["loss"]
    assert list(curve[[first - 1, first, second - 1, second]]) == [0.1, 0.05, 0.05, 0.025]
    adjusted = event(live, "adjusted")
    assert (adjusted.step, adjusted.data["by"], adjusted.data["note"]) == (second, "by hand", "too jumpy")


def test_a_dry_run_only_says_what_would_be_set(invoke, live):
    result = invoke("set", live, "lr=0.5", "hidden/=3", "--dry-run")
    assert told(result, "would set lr 0.1 -> 0.5, hidden 64 -> 21") == ()
    told(invoke("set", live, "lr*=1"), r"applied at step (\d+): lr 0.1 -> 0.1")
    assert list(caviar.load(live).events()["kind"]).count("adjusted") == 1


def test_force_goes_beyond_the_bounds(invoke, live):
    line = refused(invoke("set", live, "lr=5"))
    assert line.startswith("lr=5 lies outside its bounds, 0.001 to 1 (--force, ")
    told(invoke("set", live, "lr=5", "--force"), r"applied at step (\d+): lr 0.1 -> 5")


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["nope=1"], "nope is unknown; this space has lr, hidden, optimizer, epsilon"),
        (["optimizer=adam"], "optimizer is no knob, so it cannot change while it trains; knobs: lr, hidden"),
        (["epsilon=1"], "epsilon is a constant, so it cannot change while it trains; knobs: lr, hidden"),
        (["lr=fast"], "lr='fast': needs a finite number"),
        (["hidden=2.5"], "hidden=2.5: needs a whole number"),
        (["hidden=" + "9" * 300, "--force"], f"hidden={'9' * 60}: is too large"),
        (["lr=0.2", "--trial", "7"], "there is no trial 7: trials 0 to 0 exist so far"),
    ],
)
def test_what_cannot_be_set(invoke, live, words, line):
    assert refused(invoke("set", live, *words)) == line
    assert "adjusted" not in set(caviar.load(live).events()["kind"])


def test_a_number_beyond_any_float_does_not_end_the_sweep(live):
    from caviar.errors import CommandError
    from caviar.panda.asking import ask

    for args in ({"changes": {"hidden": 10**400}}, {"changes": {"lr": 10**400}, "force": True}):
        with pytest.raises(CommandError, match="needs a finite number"):
            ask(live, "set", args=args)
    assert caviar.load(live).status == "running"


def test_which_trial_where_there_are_several(invoke, tmp_path):
    folder = tmp_path / "two"
    with running(folder, learns, trials=2):
        wait_for_step(folder, 1)
        for command, *words in (("set", "lr=1"), ("pause",), ("unpause",), ("rollback", "--to-step", "1")):
            line = refused(invoke(command, folder, *words))
            assert line.startswith(f"{command}: name the trial, one of 2 (--trial N)")
        told(invoke("set", folder, "lr=0.2", "--trial", 0), r"applied at step (\d+): lr 0.1 -> 0.2")
        assert refused(invoke("set", folder, "lr=1", "--trial", 1)).startswith("there is no trial 1")


# --- pause, unpause -----------------------------------------------------------------------------------


def test_pause_and_unpause(invoke, live):
    assert refused(invoke("unpause", live)) == "trial 0 is not paused"
    (step,) = told(invoke("pause", live, "-m", "lunch"), r"paused at step (\d+)")
    assert told(invoke("pause", live), r"trial 0 is paused already, at step (\d+)") == (step,)
    (first,) = told(invoke("set", live, "lr=0.2"), r"applied at step (\d+): lr 0.1 -> 0.2")
    assert first == step + 1
    result = caviar.load(live)
    assert result.trials()["steps"][0] == step
    assert told(invoke("unpause", live), r"unpaused at step (\d+)") == (step,)
    wait_for_step(live, step + 1)
    assert event(live, "paused").step == event(live, "unpaused").step == step


def test_who_is_paused_can_be_stopped(invoke, live):
    (step,) = told(invoke("pause", live), r"paused at step (\d+)")
    assert told(invoke("stop", live), "stopped the sweep: 1 stopped") == ()
    assert caviar.load(live).trials()["steps"][0] == step


# --- roll back ----------------------------------------------------------------------------------------


def test_roll_back(invoke, live):
    wait_for_step(live, 12)
    result = invoke("rollback", live, "--to-step", 12, "lr/=10", "-m", "it jumped")
    (before,) = told(result, r"rolled back from step (\d+) to step 10: lr 0.1 -> 0.01")
    assert before >= 12
    back, adjusted = event(live, "rolled_back"), event(live, "adjusted")
    assert (back.attempt, back.step, back.data["from_step"], back.data["note"]) == (1, 10, before, "it jumped")
    assert (adjusted.step, adjusted.data["new"]) == (11, {"lr": 0.01})
    reader = caviar.load(live)
    while (1, 11) not in (curve := reader.refresh().curves(attempts="all").set_index(["attempt", "step"])).index:
        assert reader.status == "running"
    assert curve.loc[(1, 11), "loss"] == 0.01
    assert curve.loc[(1, 11), "restored"] == 0, "what was trained is that of step 10"


def test_roll_back_to_before_the_first_checkpoint(invoke, live):
    wait_for_step(live, 5)
    told(
        invoke("rollback", live, "--to-step", 4),
        r"rolled back from step (\d+) to step 0 \(it has no checkpoint at or before step 4: from the beginning\)",
    )
    told(invoke("rollback", live, "--to-step", 0), r"rolled back from step (\d+) to step 0")


def test_a_roll_back_with_a_mistake_does_not_begin(invoke, live):
    wait_for_step(live, 6)
    assert refused(invoke("rollback", live, "--to-step", 5, "lr=7")).startswith("lr=7 lies outside its bounds")
    assert refused(invoke("rollback", live, "--to-step", -1), 2).startswith("Invalid value for '--to-step'")
    assert refused(invoke("rollback", live), 2).startswith("Missing option '--to-step'")
    assert "rolled_back" not in set(caviar.load(live).events()["kind"])
    told(
        invoke("rollback", live, "--to-step", 5, "lr=7", "--force"),
        r"rolled back from step (\d+) to step 5: lr 0.1 -> 7",
    )


# --- stop ---------------------------------------------------------------------------------------------


def test_stop_one_trial(invoke, tmp_path):
    with running(tmp_path / "out", learns, trials=2):
        wait_for_step(tmp_path / "out", 1)
        told(invoke("stop", tmp_path / "out", "--trial", 0), r"trial 0 stopped at step (\d+)")
    assert caviar.load(tmp_path / "out").trials()["by_hand"].tolist() == [True, False]


def test_stop_the_whole_sweep(invoke, tmp_path):
    with running(tmp_path / "out", learns, trials=1000) as over:
        result = invoke("stop", tmp_path / "out")
        assert result.exit_code == 0
        assert not over.is_set()
    found = caviar.load(tmp_path / "out")
    assert found.status == "finished"
    assert len(found.trials()) < 1000
    assert f"{tmp_path / 'out'}: finished (by hand)" in invoke("status", tmp_path / "out").stdout


def test_stop_what_does_not_exist(invoke, live):
    assert refused(invoke("stop", live, "--trial", 77)) == "there is no trial 77: trials 0 to 0 exist so far"


# --- what they have in common -------------------------------------------------------------------------


def test_for_machines(invoke, live):
    said = json.loads(invoke("set", live, "lr=0.05", "--json").stdout)
    (adjusted,) = said["events"]
    assert said["text"] == f"applied at step {adjusted['step']}: lr 0.1 -> 0.05"
    assert (adjusted["kind"], adjusted["trial"], adjusted["data"]["new"]) == ("adjusted", 0, {"lr": 0.05})
    assert adjusted["data"]["command"] == said["id"]
    said = json.loads(invoke("rollback", live, "--to-step", 0, "lr=0.5", "--json").stdout)
    assert [one["kind"] for one in said["events"]] == ["rolled_back", "adjusted"]
    for command in ("pause", "unpause", "stop"):
        said = json.loads(invoke(command, live, "--json").stdout)
        assert (set(said), said["events"]) == ({"id", "text", "events"}, [])


COMMANDS = [("set", "lr=1"), ("pause",), ("unpause",), ("rollback", "--to-step", "1"), ("stop",)]


@pytest.mark.parametrize(("command", "words"), [(command, words) for command, *words in COMMANDS])
def test_what_is_over(invoke, finished, command, words):
    verb = {"rollback": "roll back"}.get(command, command)
    line = refused(invoke(command, finished, *words), 2)
    assert line == f"{finished}: is not running (finished), so there is nothing to {verb}"


@pytest.mark.parametrize(("command", "words"), [(command, words) for command, *words in COMMANDS])
def test_a_folder_that_is_no_sweep(invoke, tmp_path, command, words):
    assert refused(invoke(command, tmp_path, *words), 2).startswith(f"{tmp_path}: not a sweep folder")


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["lr"], "lr: needs a value, as in lr=0.01"),
        (["lr=1", "lr=2"], "lr=2: lr is given twice"),
        ([], "Missing argument 'NAME=VALUE...' (see caviar set --help)"),
        (["lr=1", "--trial", "-1"], "Invalid value for '--trial': -1 is not in the range x>=0."),
        (["lr=1", "--timeout", "nan"], "--timeout nan: needs a number of seconds"),
        (["lr=1", "--to-step", "3"], "No such option '--to-step'"),
    ],
)
def test_wrong_use_is_found_before_the_folder_is_looked_at(invoke, words, line):
    assert refused(invoke("set", "/nowhere", *words), 2).startswith(line.removesuffix("."))


def test_without_an_answer_the_command_is_withdrawn(invoke, tmp_path):
    with running(tmp_path / "out", silent, trials=1):
        line = refused(invoke("pause", tmp_path / "out", "--timeout", 0.1))
        assert line == (
            f"{tmp_path / 'out'}: no answer within 0.1 s: its driver has not come to the command, "
            "which was withdrawn and will not be applied"
        )
        assert list((tmp_path / "out" / "inbox").iterdir()) == []
    assert "command_received" not in set(caviar.load(tmp_path / "out").events()["kind"])


def test_events_in_words(invoke, live):
    (first,) = told(invoke("set", live, "lr*=0.5", "-m", "too\njumpy"), r"applied at step (\d+): lr 0.1 -> 0.05")
    (step,) = told(invoke("pause", live, "-m", "lunch"), r"paused at step (\d+)")
    told(invoke("unpause", live), r"unpaused at step (\d+)")
    (before,) = told(invoke("rollback", live, "--to-step", 0), r"rolled back from step (\d+) to step 0")
    refused(invoke("rollback", live, "--to-step", 3, "lr=7", "hidden=3"))
    told(invoke("set", live, "lr=7", "--force", "--dry-run"), r"would set lr 0.1 -> 7")
    lines = [line[25:] for line in invoke("events", live).stdout.splitlines()]
    wanted = [
        "command_received              set lr*=0.5 (too jumpy)",
        f"adjusted          trial 0     from step {first}: lr 0.1 -> 0.05 (by hand: too jumpy)",
        f"command_answered              applied at step {first}: lr 0.1 -> 0.05",
        "command_received              pause (lunch)",
        f"paused            trial 0     after step {step} (by hand: lunch)",
        "command_received              unpause",
        f"unpaused          trial 0     after step {step} (by hand)",
        "command_received              rollback to step 0",
        f"rolled_back       trial 0     from step {before} to its beginning (by hand)",
        "command_received              rollback to step 3 lr=7 hidden=3",
        "command_received              set lr=7 dry run force",
    ]
    assert [line for line in lines if line in wanted] == wanted

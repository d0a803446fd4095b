"""The declaration of a sweep: every mistake is one clear line, and nothing is written then."""

from __future__ import annotations

import dataclasses
import json
import logging
import math
import signal
from pathlib import Path
from typing import Any

import pytest

import caviar
from caviar.errors import FolderError, SpaceError, UsageError
from caviar.messages import CommandAnswered, Reports, TrialStarted
from caviar.store.inbox import post

SPACE = caviar.Space(lr=caviar.Float(0.1, 1.0), width=caviar.Int(1, 8), optimizer=caviar.Choice(["sgd", "adam"]))


def train(trial: caviar.Trial) -> None:
    for step in trial.steps():
        trial.report(loss=trial.params["lr"] / step, seed=trial.seed)


def sweep(**changes: Any) -> caviar.Sweep:
    arguments: dict[str, Any] = {"train": train, "space": SPACE, "metric": "loss", "trials": 4, "max_step": 3}
    arguments |= changes
    return caviar.Sweep(arguments.pop("train"), arguments.pop("space"), **arguments)


# --- mistakes ---------------------------------------------------------------------------------------

MISTAKES: dict[str, list[Any]] = {
    "train": [None, "train"],
    "space": [None, {"lr": caviar.Float(0, 1)}],
    "metric": ["", None, 3, "step", "time", "trial", "attempt"],
    "mode": ["maximum", None, "MIN"],
    "trials": [0, -1, 2.0, "4", None, True],
    "max_step": [0, -5, 1.5, "3", False],
    "setup": ["setup", 1],
    "sampler": [None, "random", caviar.RandomSampler],
    "scheduler": [None, "asha", caviar.Asha],
    "resources": [None, {"cpus": 1}],
    "seed": [-1, 0.5, None, "0"],
    "first": [5, None, {"lr": 0.5}, ["lr"], [{"lr": 0.5}] * 5],
    "stages": [0, 5, 1.0, "2", True],
    "retries": [-1, 0.5, None],
    "checkpoint_every": [0, 1.5, "2", True],
    "keep_checkpoints": ["none", None, 3],
    "knobs": ["lr", 5, {"lr"}],
    "schedule": [5, "lr", [[3, {"lr": 0.1}]]],
    "time_budget_s": [0, -1.0, math.inf, math.nan, "60", True],
    "stop_on_nan": ["no", None, 1],
    "origin": ["runs/live", {"step": 3}, 5],
}


def test_every_argument_is_among_the_mistakes() -> None:
    assert {field.name for field in dataclasses.fields(caviar.Sweep)} == {*MISTAKES, "_"} - {"_"}


@pytest.mark.parametrize(("name", "value"), [(name, value) for name in MISTAKES for value in MISTAKES[name]])
def test_a_mistake_names_the_argument_the_value_and_what_is_allowed(name: str, value: Any) -> None:
    with pytest.raises(UsageError) as caught:
        sweep(**{name: value})
    text = str(caught.value)
    assert text.startswith(f"Sweep({name}="), text
    assert ": needs " in text
    assert "\n" not in text


@pytest.mark.parametrize("params", [{"rate": 0.5}, {"lr": 7}, {"optimizer": "rmsprop"}, {"width": 1.5}])
def test_known_settings_must_belong_to_the_space(params: dict[str, Any]) -> None:
    with pytest.raises(SpaceError, match=next(iter(params))):
        sweep(first=[params])


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *((name, value) for name in ("cpus", "gpus") for value in (-1, 1.5, math.nan, math.inf, "1", None, True)),
        *(("memory_bytes", value) for value in (0, -1, "1GB", 1.5, True)),
        *(("custom", value) for value in ([1], "tpu", {"tpu": "1"}, {"tpu": -1}, {"tpu": math.nan})),
        *(("labels", value) for value in ("kind", ["kind"], {"kind": 1})),
    ],
)
def test_a_mistake_in_resources(name: str, value: Any) -> None:
    with pytest.raises(UsageError, match=rf"^Resources\({name}=.*"):
        caviar.Resources(**{name: value})


@pytest.mark.parametrize("executor", ["ray", caviar.Inline, 3])
def test_an_executor_that_is_none(tmp_path: Path, executor: Any) -> None:
    with pytest.raises(UsageError, match=r"^Sweep\.run\(executor=.*: needs an executor such as"):
        sweep().run(tmp_path / "sweep", executor)
    assert not list(tmp_path.iterdir())


def test_more_trials_than_the_grid_has_are_refused_before_anything_is_written(tmp_path: Path) -> None:
    small = sweep(sampler=caviar.GridSampler(points=2), trials=9)
    with pytest.raises(UsageError, match="8"):
        small.run(tmp_path / "sweep", caviar.Inline())
    assert not list(tmp_path.iterdir())


# --- the folder -------------------------------------------------------------------------------------


def test_an_existing_sweep_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "sweep"
    sweep().run(path, caviar.Inline())
    before = {file: file.read_bytes() for file in path.rglob("*") if file.is_file()}
    with pytest.raises(FolderError, match="already holds a sweep"):
        sweep().run(path, caviar.Inline())
    assert {file: file.read_bytes() for file in path.rglob("*") if file.is_file()} == before


def test_a_folder_that_is_not_empty_is_refused_and_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(FolderError, match=r"is not empty \(it holds thesis.tex\)"):
        sweep().run(tmp_path, caviar.Inline())
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


@pytest.mark.parametrize("place", ["file", "file/sweep"])
def test_a_file_in_the_way_is_named(tmp_path: Path, place: str) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(FolderError, match="file"):
        sweep().run(tmp_path / place, caviar.Inline())
    assert (tmp_path / "file").read_text() == "mine"


def test_an_empty_folder_will_do_and_missing_parents_are_made(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert sweep().run(tmp_path / "empty", caviar.Inline()).status == "finished"
    assert sweep().run(tmp_path / "a" / "b" / "sweep", caviar.Inline()).status == "finished"


def test_an_executor_that_cannot_start_leaves_nothing_behind_and_is_closed(tmp_path: Path) -> None:
    closed: list[bool] = []

    class Broken(caviar.Inline):
        def start(self, job: Any, deliver: Any) -> None:
            raise UsageError("cannot run this")

        def close(self) -> None:
            closed.append(True)

    with pytest.raises(UsageError, match="cannot run this"):
        sweep().run(tmp_path / "sweep", Broken())
    assert closed == [True]
    assert not list(tmp_path.iterdir())


# --- what is written ----------------------------------------------------------------------------------


def test_sweep_json_says_all_that_was_declared(tmp_path: Path) -> None:
    declared = sweep(
        mode="max",
        scheduler=caviar.Asha(grace_steps=1, reduction_factor=2),
        sampler=caviar.SobolSampler(),
        resources=caviar.Resources(cpus=2, custom={"tpu": 0.5}),
        seed=7,
        first=[{"lr": 0.5}],
        retries=2,
        checkpoint_every=2,
        keep_checkpoints="all",
        time_budget_s=3600.0,
        stop_on_nan=False,
    )
    result = declared.run(tmp_path / "digits", caviar.Inline())
    told = json.loads((tmp_path / "digits" / "sweep.json").read_text())
    assert told == result.declaration
    plain = {
        "format": 1,
        "name": "digits",
        "metric": "loss",
        "mode": "max",
        "trials": 4,
        "max_step": 3,
        "seed": 7,
        "first": [{"lr": 0.5}],
        "retries": 2,
        "checkpoint_every": 2,
        "keep_checkpoints": "all",
        "time_budget_s": 3600.0,
        "stop_on_nan": False,
    }
    assert {name: told[name] for name in plain} == plain
    assert told["train"].endswith(":train")
    assert caviar.Space.from_dict(told["space"]) == SPACE
    assert told["sampler"]["name"] == "sobol"
    assert told["scheduler"] == {"name": "asha", "grace_steps": 1, "reduction_factor": 2}
    assert told["resources"]["cpus"] == 2
    assert told["resources"]["custom"] == {"tpu": 0.5}
    assert told["versions"]["caviar"] == caviar.__version__
    assert all(len(told["fingerprints"][name]) == 64 for name in ("space", "code"))
    assert {field.name for field in dataclasses.fields(declared)} - {"train", "setup"} <= set(told)


def test_fingerprints_tell_code_and_space_apart(tmp_path: Path) -> None:
    def other(trial: caviar.Trial) -> None:
        trial.report(loss=0.0)

    def prints(**changes: Any) -> dict[str, str]:
        found: dict[str, str] = sweep(**changes).declaration("name")["fingerprints"]
        return found

    assert prints() == prints(seed=9)
    assert prints(train=other)["code"] != prints()["code"]
    assert prints(train=other)["space"] == prints()["space"]
    assert prints(setup=other)["code"] != prints()["code"]
    assert prints(space=caviar.Space(lr=caviar.Float(0.1, 2.0)))["space"] != prints()["space"]


def test_the_same_sweep_with_changes() -> None:
    one = sweep(seed=3)
    two = one.but(trials=9, metric="accuracy", mode="max")
    assert (two.trials, two.metric, two.mode, two.seed, two.train) == (9, "accuracy", "max", 3, train)
    assert (one.trials, one.metric) == (4, "loss")
    with pytest.raises(UsageError, match="trials=0"):
        one.but(trials=0)
    with pytest.raises(dataclasses.FrozenInstanceError):
        one.trials = 5  # type: ignore[misc]


# --- params -------------------------------------------------------------------------------------------


def test_known_settings_come_first_and_what_they_lack_is_sampled(tmp_path: Path) -> None:
    known = [{"lr": 0.5, "width": 2, "optimizer": "sgd"}, {"lr": 0.25}]
    trials = sweep(first=known, trials=5).run(tmp_path / "sweep", caviar.Inline()).trials()
    assert trials.loc[0, ["params.lr", "params.width", "params.optimizer"]].tolist() == [0.5, 2, "sgd"]
    assert trials.loc[1, "params.lr"] == 0.25
    assert trials.loc[1, "params.width"] in range(1, 9)
    assert len(trials) == 5
    alone = sweep(trials=3).run(tmp_path / "alone", caviar.Inline()).trials()
    assert trials["params.lr"].nunique() == 5
    assert len(alone) == 3


@pytest.mark.parametrize(
    "sampler",
    [caviar.RandomSampler(), caviar.SobolSampler(), caviar.GridSampler(points=2)],
    ids=lambda one: one.name,
)
def test_the_same_seed_gives_the_same_params_and_seeds(tmp_path: Path, sampler: Any) -> None:
    columns = ["params.lr", "params.width", "params.optimizer", "metrics.seed"]

    def trials(name: str, **changes: Any) -> Any:
        return sweep(sampler=sampler, **changes).run(tmp_path / name, caviar.Inline()).trials()[columns]

    one = trials("one", seed=11, trials=8)
    assert one.equals(trials("two", seed=11, trials=8))
    assert not one.equals(trials("three", seed=12, trials=8))


# --- running --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_it_leaves_a_folder_that_loads(tmp_path: Path, number: signal.Signals) -> None:
    seen: list[int] = []

    def observe(item: Any) -> None:
        if isinstance(item, Reports):
            seen.append(len(item))
        if isinstance(item, TrialStarted) and item.trial == 2:
            signal.raise_signal(number)

    with pytest.raises(KeyboardInterrupt):
        sweep(trials=50).run(tmp_path / "sweep", caviar.Inline(), on_event=observe)
    result = caviar.load(tmp_path / "sweep")
    assert result.status == "interrupted"
    assert len(result.curves()) == sum(seen) >= 6
    assert list(result.trials().status[:2]) == ["completed"] * 2
    last = result.events().iloc[-1]
    assert (last.kind, last.data) == ("driver_stopped", {"reason": "interrupted"})
    left = {path.name for path in (tmp_path / "sweep").iterdir()}
    assert "lease.json" not in left
    assert list((tmp_path / "sweep" / ".tmp").iterdir()) == []


def test_a_command_through_the_inbox_is_applied_answered_and_removed(tmp_path: Path) -> None:
    path = tmp_path / "sweep"
    answers: list[CommandAnswered] = []

    def observe(item: Any) -> None:
        if isinstance(item, TrialStarted) and item.trial == 1:
            post(path, "stop", trial=1)
            post(path, "dance")
        if isinstance(item, CommandAnswered):
            answers.append(item)

    def until_stopped(trial: caviar.Trial) -> None:
        trial.report(loss=1.0)
        while trial.id == 1:
            trial.report(loss=1.0)

    result = sweep(train=until_stopped, max_step=None, trials=3).run(path, caviar.Inline(), on_event=observe)
    assert list(result.trials().status) == ["completed", "stopped", "completed"]
    assert result.trials().reason[1] == "by hand"
    assert sorted((answer.applied, answer.text.split(":")[0]) for answer in answers) == [
        (False, "unknown command 'dance'"),
        (True, f"trial 1 stopped at step {result.trials().steps[1]}"),
    ]
    assert list((path / "inbox").iterdir()) == []


def test_a_time_budget_stops_everything(tmp_path: Path) -> None:
    def endless(trial: caviar.Trial) -> None:
        while True:
            trial.report(loss=1.0)

    result = sweep(train=endless, max_step=None, time_budget_s=0.2).run(tmp_path / "sweep", caviar.Inline())
    assert result.status == "finished"
    assert result.trials().reason[0] == "time_budget"
    assert result.events().iloc[-1].data == {"reason": "time_budget"}


def test_an_observer_that_is_no_function_harms_nobody(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.ERROR):
        result = sweep().run(tmp_path / "sweep", caviar.Inline(), on_event=3)  # type: ignore[arg-type]
    assert set(result.trials().status) == {"completed"}
    assert len(caplog.records) == 1


def test_only_the_last_checkpoint_is_kept_unless_all_are_wanted(tmp_path: Path) -> None:
    def saves(trial: caviar.Trial) -> None:
        for step in trial.steps():
            trial.report(loss=1.0 / step)
            if trial.checkpoint_due:
                with trial.checkpoint() as folder:
                    (folder / "step").write_text(str(step))

    for keep, steps in (("last", {"9"}), ("all", {"3", "6", "9"})):
        sweep(train=saves, max_step=10, trials=2, checkpoint_every=3, keep_checkpoints=keep).run(
            tmp_path / keep, caviar.Inline()
        )
        for trial in ("0", "1"):
            assert {path.name for path in (tmp_path / keep / "checkpoints" / trial / "0").iterdir()} == steps


def test_an_inline_executor_serves_a_second_sweep_with_its_own_setup(tmp_path: Path) -> None:
    def tells(trial: caviar.Trial) -> None:
        trial.report(loss=trial.shared)

    executor = caviar.Inline()
    for value in (1.0, 2.0):
        result = sweep(train=tells, setup=lambda value=value: value).run(tmp_path / str(value), executor)
        assert set(result.curves().loss) == {value}

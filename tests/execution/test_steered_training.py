"""What a trial does at a step boundary as it was told to: params that change, pauses, checkpoints before them."""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from caviar.errors import TrialStopped
from caviar.execution.training import Trial, run_attempt
from caviar.execution.wire import APPLIED, PAUSED, SAVED, UNPAUSED, Entry
from tests.execution.test_training import Ear, Files, attempt, job, launch

Told = Callable[[Trial, int], None]
"""What is done to a trial while it trains a step."""


def in_a_loop(trial: Trial, told: Told, *, asks: bool = False, late: Told | None = None) -> Iterator[Any]:
    """Trains to the end, and says with which lr it trained each step. ``late``: what is done to the trial after
    it has asked whether a checkpoint is due."""
    for step in trial.steps():
        yield step, trial.params["lr"]
        told(trial, step)
        trial.report(loss=1.0)
        save(trial, asks)
        if late is not None:
            late(trial, step)


def without_a_loop(trial: Trial, told: Told, *, asks: bool = False, late: Told | None = None) -> Iterator[Any]:
    """The same, step by step as its reports count."""
    for step in range(trial.step + 1, (trial.max_step or 0) + 1):
        yield step, trial.params["lr"]
        told(trial, step)
        trial.report(loss=1.0)
        save(trial, asks)
        if late is not None:
            late(trial, step)


def save(trial: Trial, asks: bool) -> None:
    if asks and trial.checkpoint_due:
        with trial.checkpoint():
            pass


STYLES = pytest.mark.parametrize("style", [in_a_loop, without_a_loop])


def train(style: Any, told: Told, ear: Ear, *, how: dict[str, Any] | None = None, **changes: Any) -> list[Any]:
    """(step, lr) of all steps that are trained."""
    trained: list[Any] = []
    entry = run_attempt(
        launch(**changes),
        job=job(lambda trial: trained.extend(style(trial, told, **(how or {})))),
        link=ear,
        shared=[0],
    )
    assert entry[5] == "returned", entry
    return trained


def at(step: int, *told: Callable[[Trial], None]) -> Told:
    def tell(trial: Trial, now: int) -> None:
        for one in told if now == step else ():
            one(trial)

    return tell


def sets(lr: float, command: str = "id") -> Callable[[Trial], None]:
    return lambda trial: trial.adjust(command, {"lr": lr})


def pauses(trial: Trial) -> None:
    trial.pause()


def unpauses(trial: Trial) -> None:
    trial.pause(over=True)


def nothing(trial: Trial, step: int) -> None:
    pass


def of(ear: Ear, *kinds: int) -> list[tuple[int, int]]:
    """(kind, step) of what it told."""
    return [(entry[0], entry[4]) for entry in ear.entries if entry[0] in kinds]


# --- params --------------------------------------------------------------------------------------------


@STYLES
def test_params_change_between_two_steps_and_the_first_with_them_is_told(style: Any) -> None:
    ear = Ear()
    assert train(style, at(2, sets(0.5, "a"), sets(0.3, "b")), ear) == [
        (1, 0.1),
        (2, 0.1),
        (3, 0.3),
        (4, 0.3),
        (5, 0.3),
    ]
    assert [entry[2:] for entry in ear.entries] == [(0, 0, 3, "a"), (0, 0, 3, "b")]


def test_params_stay_the_same_mapping() -> None:
    def trains(trial: Trial) -> None:
        params = trial.params
        for step in trial.steps():
            assert params is trial.params
            assert params["lr"] == (0.1 if step == 1 else 0.5)
            trial.adjust("id", {"lr": 0.5})
            trial.report(loss=params["lr"])

    assert attempt(trains)["value"] == 0.5


@STYLES
def test_nothing_changes_after_the_last_step(style: Any) -> None:
    ear = Ear()
    train(style, at(5, sets(0.5), pauses), ear)
    assert ear.entries == []


@STYLES
def test_reports_before_a_change_are_told_before_it(style: Any) -> None:
    ear = Ear()
    before: list[int] = []
    ear.tell = lambda entry: before.append(len(ear.rows))  # type: ignore[method-assign]
    train(style, at(3, sets(0.5)), ear)
    assert before == [3]


@STYLES
def test_what_is_known_ahead_changes_at_its_steps(style: Any) -> None:
    timeline = [(2, {"lr": 0.2}), (4, {"lr": 0.4})]
    assert train(style, nothing, Ear(), timeline=timeline) == [(1, 0.1), (2, 0.2), (3, 0.2), (4, 0.4), (5, 0.4)]


@STYLES
def test_what_is_set_drops_what_was_known_ahead_of_it(style: Any) -> None:
    timeline = [(2, {"lr": 0.2}), (3, {"lr": 0.3, "momentum": 0.8}), (4, {"lr": 0.4}), (5, {"momentum": 0.9})]
    momenta: list[float] = []

    def told(trial: Trial, step: int) -> None:
        momenta.append(trial.params["momentum"])
        at(2, sets(0.7))(trial, step)

    trained = train(style, told, Ear(), timeline=timeline, params={"lr": 0.1, "momentum": 0.5})
    assert trained == [(1, 0.1), (2, 0.2), (3, 0.7), (4, 0.7), (5, 0.7)]
    assert momenta == [0.5, 0.5, 0.8, 0.8, 0.9]


def test_steps_that_are_jumped_over_take_their_changes_along() -> None:
    seen = []

    def trains(trial: Trial) -> None:
        for step in (1, 4, 5):
            trial.report(step=step, loss=1.0)
            seen.append(trial.params["lr"])

    run_attempt(launch(timeline=[(2, {"lr": 0.2}), (3, {"lr": 0.3})]), job=job(trains), link=Ear(), shared=[0])
    assert seen == [0.2, 0.3, 0.3]


# --- a checkpoint before them ----------------------------------------------------------------------------


@STYLES
@pytest.mark.parametrize("order", [sets(0.5), pauses])
def test_a_checkpoint_is_due_before_it_is_adjusted_or_paused(style: Any, order: Callable[[Trial], None]) -> None:
    ear = Ear()
    ear.waits = [unpauses]
    train(style, at(3, order), ear, how={"asks": True})
    done = of(ear, SAVED, APPLIED, PAUSED)
    assert done[0] == (SAVED, 3)
    assert done[1] in ((APPLIED, 4), (PAUSED, 3))
    assert len(done) == 2


@STYLES
def test_what_comes_after_it_asked_waits_for_a_step_so_that_there_is_one(style: Any) -> None:
    ear = Ear()
    trained = train(style, nothing, ear, how={"asks": True, "late": at(2, sets(0.5))})
    assert of(ear, SAVED, APPLIED) == [(SAVED, 3), (APPLIED, 4)]
    assert [lr for _, lr in trained] == [0.1, 0.1, 0.1, 0.5, 0.5]


def test_it_does_not_wait_where_there_is_a_checkpoint_already() -> None:
    ear = Ear()

    def told(trial: Trial, step: int) -> None:
        if step == 3:
            with trial.checkpoint():
                pass
            sets(0.5)(trial)

    train(in_a_loop, nothing, ear, how={"asks": True, "late": told})
    assert of(ear, SAVED, APPLIED) == [(SAVED, 3), (APPLIED, 4)]


@STYLES
def test_it_waits_for_one_step_alone_where_the_function_does_not_ask_again(style: Any) -> None:
    ear = Ear()
    asked = []

    def told(trial: Trial, step: int) -> None:
        if step == 1:
            asked.append(trial.checkpoint_due)
        at(2, sets(0.5))(trial, step)

    trained = train(style, told, ear)
    assert asked == [False]
    assert of(ear, APPLIED) == [(APPLIED, 4)]
    assert [lr for _, lr in trained] == [0.1, 0.1, 0.1, 0.5, 0.5]


@STYLES
def test_what_is_known_ahead_does_not_wait_for_it(style: Any) -> None:
    ear = Ear()
    how = {"asks": True, "late": at(2, lambda trial: trial.adjust("id", {"momentum": 0.5}))}
    params = {"lr": 0.1, "momentum": 0.9}
    trained = train(style, nothing, ear, how=how, params=params, timeline=[(3, {"lr": 0.3})])
    assert of(ear, APPLIED) == [(APPLIED, 4)]
    assert [lr for _, lr in trained] == [0.1, 0.1, 0.3, 0.3, 0.3]


@STYLES
def test_what_is_certain_does_not_wait_either_and_is_not_told(style: Any) -> None:
    ear = Ear()
    certain = at(2, lambda trial: trial.adjust("rule", {"lr": 0.5}, certain=True))
    trained = train(style, certain, ear, how={"asks": True}, timeline=[(4, {"lr": 0.3})])
    assert [lr for _, lr in trained] == [0.1, 0.1, 0.5, 0.5, 0.5]
    assert of(ear, APPLIED) == []


def test_a_checkpoint_is_due_before_what_is_certain() -> None:
    ear = Ear()
    trained = train(
        in_a_loop, at(3, lambda trial: trial.adjust("rule", {"lr": 0.5}, certain=True)), ear, how={"asks": True}
    )
    assert [lr for _, lr in trained] == [0.1, 0.1, 0.1, 0.5, 0.5]
    assert of(ear, SAVED, APPLIED) == [(SAVED, 3)]


@STYLES
def test_of_one_boundary_what_is_certain_comes_first(style: Any) -> None:
    """In the order in which it is recorded: what is set by hand is told once it holds."""
    ear = Ear()
    both = at(2, sets(0.5), lambda trial: trial.adjust("rule", {"lr": 0.3}, certain=True))
    assert [lr for _, lr in train(style, both, ear)] == [0.1, 0.1, 0.5, 0.5, 0.5]


@STYLES
def test_it_does_not_wait_right_after_it_was_restored(style: Any) -> None:
    ear = Ear()
    trained = train(style, at(3, sets(0.5)), ear, checkpoint=(0, 2), attempt=1)
    assert trained == [(3, 0.1), (4, 0.5), (5, 0.5)]


# --- pauses ----------------------------------------------------------------------------------------------


@STYLES
def test_a_pause_waits_until_it_is_over(style: Any) -> None:
    ear = Ear()
    ear.waits = [lambda trial: None, unpauses]  # the first wakes it up for nothing
    trained = train(style, at(2, pauses), ear)
    assert of(ear, PAUSED, UNPAUSED) == [(PAUSED, 2), (UNPAUSED, 2)]
    assert [step for step, _ in trained] == [1, 2, 3, 4, 5]


@STYLES
def test_a_paused_trial_is_adjusted_where_it_waits(style: Any) -> None:
    ear = Ear()
    ear.waits = [sets(0.5), unpauses]
    assert train(style, at(2, pauses), ear)[2] == (3, 0.5)
    assert of(ear, PAUSED, UNPAUSED, APPLIED) == [(PAUSED, 2), (APPLIED, 3), (UNPAUSED, 2)]


def all_of(*told: Callable[[Trial], None]) -> Callable[[Trial], None]:
    def tell(trial: Trial) -> None:
        for one in told:
            one(trial)

    return tell


@pytest.mark.parametrize(
    ("orders", "waits", "told"),
    [
        ([pauses, unpauses], [], [UNPAUSED]),
        ([pauses, pauses], [unpauses], [PAUSED, UNPAUSED]),
        ([pauses, unpauses, pauses], [unpauses], [UNPAUSED, PAUSED, UNPAUSED]),
        ([pauses, unpauses, pauses, unpauses], [], [UNPAUSED, UNPAUSED]),
        ([pauses], [all_of(unpauses, pauses), unpauses], [PAUSED, UNPAUSED, PAUSED, UNPAUSED]),
        ([pauses], [pauses, unpauses], [PAUSED, UNPAUSED]),
        ([unpauses], [], [UNPAUSED]),
        ([unpauses, pauses], [unpauses], [UNPAUSED, PAUSED, UNPAUSED]),
    ],
)
@STYLES
def test_pauses_in_every_order(style: Any, orders: list[Any], waits: list[Any], told: list[int]) -> None:
    ear = Ear()
    ear.waits = list(waits)
    assert len(train(style, at(2, *orders), ear)) == 5
    assert of(ear, PAUSED, UNPAUSED) == [(kind, 2) for kind in told]
    assert ear.waits == []


@pytest.mark.parametrize(("style", "first"), [(in_a_loop, 0), (without_a_loop, 1)])
def test_one_that_is_launched_paused_waits_first(style: Any, first: int) -> None:
    ear = Ear()
    ear.waits = [unpauses]
    assert len(train(style, nothing, ear, paused=True)) == 5
    assert of(ear, PAUSED, UNPAUSED) == [(PAUSED, first), (UNPAUSED, first)]


@pytest.mark.parametrize("style", [in_a_loop, without_a_loop])
def test_a_paused_trial_can_be_stopped(style: Any) -> None:
    ear = Ear()
    ear.waits = [lambda trial: trial.stop("by hand")]
    end = attempt(lambda trial: [*style(trial, at(2, pauses))], ear)
    assert (end["outcome"], end["reason"], end["step"]) == ("stopped", "by hand", 2)
    assert ear.steps == [1, 2]


def test_a_stop_comes_before_what_else_it_was_told() -> None:
    ear = Ear()
    end = attempt(lambda trial: [*in_a_loop(trial, at(2, sets(0.5), pauses, lambda trial: trial.stop("x")))], ear)
    assert (end["outcome"], end["step"]) == ("stopped", 1)
    assert ear.entries == []


def test_a_stop_that_was_swallowed_is_raised_at_every_later_boundary_and_report() -> None:
    ear = Ear()
    raised = 0

    def trains(trial: Trial) -> None:
        nonlocal raised
        trial.report(loss=1.0)
        trial.stop("by hand")
        for attempt_to in (*[lambda: list(trial.steps())] * 2, *[lambda: trial.report(loss=1.0)] * 2):
            try:
                attempt_to()
            except TrialStopped:
                raised += 1

    assert attempt(trains, ear)["outcome"] == "stopped"
    assert raised == 4
    assert ear.steps == [1]


# --- no room for a checkpoint ------------------------------------------------------------------------------


class Full(Files):
    """A disk that is full, as one notices at some moment."""

    def __init__(self, folder: Path, when: str, number: int = errno.ENOSPC) -> None:
        super().__init__(folder)
        self.error = OSError(number, "no space left")
        self.when = when

    @contextmanager
    def checkpoint(self, trial: int, attempt: int, step: int) -> Iterator[Path]:
        if self.when == "beginning":
            raise self.error
        yield self.folder
        if self.when == "end":
            raise self.error


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
@pytest.mark.parametrize("when", ["beginning", "block", "end"])
def test_a_checkpoint_without_room_is_dropped_and_the_trial_trains_on(
    tmp_path: Path, when: str, number: int
) -> None:
    ear = Ear()
    files = Full(tmp_path, when, number)
    folders: list[Path] = []
    asked: list[bool] = []

    def trains(trial: Trial) -> None:
        for _ in trial.steps():
            trial.report(loss=1.0)
            if trial.checkpoint_due:
                with trial.checkpoint() as folder:
                    (folder / "weights").write_text("1")
                    folders.append(folder)
                    if when == "block":
                        raise files.error
                asked.append(trial.checkpoint_due)

    end = attempt(trains, ear, checkpoint_every=2, files=files)
    assert (end["outcome"], end["step"]) == ("returned", 5)
    assert of(ear, SAVED) == []
    assert ear.logged == [
        f"[caviar: no room for the checkpoint of step {step}, which is dropped: no space left]" for step in (2, 4)
    ]
    assert asked == [False, False], "not due again at once"
    assert when != "beginning" or not any(folder.exists() for folder in folders)


def test_a_log_without_room_either() -> None:
    class Mute(Ear):
        def log(self, trial: Trial, text: str) -> None:
            raise OSError(errno.ENOSPC, "no space left")

    def trains(trial: Trial) -> None:
        trial.report(loss=1.0)
        with trial.checkpoint():
            pass
        trial.report(loss=0.5)

    assert attempt(trains, Mute(), files=Full(Path("nowhere"), "end"))["step"] == 2


def test_an_adjustment_does_not_wait_for_a_checkpoint_that_has_no_room(tmp_path: Path) -> None:
    ear = Ear()

    def trains(trial: Trial) -> None:
        for _ in in_a_loop(trial, at(2, sets(0.5)), asks=True):
            pass

    attempt(trains, ear, files=Full(tmp_path, "end"))
    assert of(ear, APPLIED) == [(APPLIED, 3)]


@pytest.mark.parametrize("when", ["beginning", "end"])
def test_any_other_error_of_the_disk_is_raised(tmp_path: Path, when: str) -> None:
    def trains(trial: Trial) -> None:
        trial.report(loss=1.0)
        with trial.checkpoint():
            pass

    end = attempt(trains, files=Full(tmp_path, when, errno.EIO))
    assert end["outcome"] == "failed"
    assert "no space left" in end["reason"]


def test_the_metric_before_a_checkpoint_is_told_with_it() -> None:
    ear = Ear()

    def trains(trial: Trial) -> None:
        trial.report(loss=3.0)
        trial.report(loss=2.0)
        with trial.checkpoint():
            pass

    attempt(trains, ear)
    saved: list[Entry] = [entry for entry in ear.entries if entry[0] == SAVED]
    assert [entry[2:] for entry in saved] == [(0, 0, 2, 2.0)]

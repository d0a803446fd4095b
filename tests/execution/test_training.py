"""The trial as the training function sees it, with a link that only listens."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from caviar.errors import MetricError, TrialStopped
from caviar.execution.contract import Job
from caviar.execution.resources import Resources
from caviar.execution.training import Link, Trial, as_number, run_attempt
from caviar.execution.wire import ENDED, RUNG, SAVED, Entry, Row, Run
from caviar.messages import Launch


class Files:
    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def visible(self) -> bool:
        return True

    def restore(self, trial: int, checkpoint: tuple[int, int]) -> Path:
        return self.folder / f"{trial}-{checkpoint[0]}-{checkpoint[1]}"

    @contextmanager
    def checkpoint(self, trial: int, attempt: int, step: int) -> Iterator[Path]:
        yield self.folder

    def log(self, trial: int) -> Path:
        return self.folder / f"{trial}.log"

    def logged(self, trial: int, path: Path) -> None:
        pass

    def settle(self, trial: int) -> None:
        pass


class Ear(Link):
    """Keeps what a trial says, and answers at rungs as it was told to."""

    def __init__(self, answer: Callable[[Trial, Entry], None] | None = None) -> None:
        self.runs: list[Run] = []
        self.entries: list[Entry] = []
        self.logged: list[str] = []
        self.waits: list[Callable[[Trial], None]] = []
        self.answer = answer or (lambda trial, entry: trial.answered(None))

    def attend(self, trial: Trial | None) -> None:
        pass

    def open(self, run: Run) -> None:
        self.runs.append(run)

    def breathe(self) -> None:
        pass

    @property
    def rows(self) -> list[tuple[tuple[str, ...], Row]]:
        return [(run.names, row) for run in self.runs for row in run.rows]

    def tell(self, entry: Entry) -> None:
        self.entries.append(entry)

    def ask(self, trial: Trial, entry: Entry) -> None:
        self.entries.append(entry)
        self.answer(trial, entry)

    def wait(self, trial: Trial) -> None:
        self.waits.pop(0)(trial)

    def log(self, trial: Trial, text: str) -> None:
        self.logged.append(text)

    @property
    def steps(self) -> list[int]:
        return [int(row[0]) for _, row in self.rows]


def job(train: Callable[[Trial], object] = lambda trial: None, **changes: Any) -> Job:
    arguments: dict[str, Any] = {
        "name": "test",
        "train": train,
        "setup": None,
        "metric": "loss",
        "minimize": True,
        "max_step": 5,
        "stop_on_nan": True,
        "checkpoint_every": None,
        "resources": Resources(),
        "files": Files(Path("nowhere")),
        "trials": 1,
        **changes,
    }
    return Job(**arguments)


def launch(**changes: Any) -> Launch:
    arguments: dict[str, Any] = {"trial": 0, "attempt": 0, "params": {"lr": 0.1}, "seed": 7, "next_rung": None}
    return Launch(**{**arguments, **changes})


JOB = job()


def make(ear: Ear | None = None, *, job: Job = JOB, **changes: Any) -> Trial:
    return Trial(launch(**changes), job=job, link=ear or Ear(), shared="shared")


def attempt(train: Callable[[Trial], object], ear: Ear | None = None, **changes: Any) -> dict[str, Any]:
    """Run an attempt, and return its end by field."""
    entry = run_attempt(launch(), job=job(train, **changes), link=ear or Ear(), shared=[None])
    assert entry[0] == ENDED
    names = ("time_us", "trial", "attempt", "step", "outcome", "reason", "error", "value", "best", "best_step")
    return dict(zip(names, entry[1:], strict=True))


# --- steps and reports ------------------------------------------------------------------------------


def test_what_a_trial_is() -> None:
    trial = make()
    assert (trial.id, trial.attempt, trial.seed, trial.step, trial.max_step) == (0, 0, 7, 0, 5)
    assert (trial.shared, trial.restored, dict(trial.params)) == ("shared", None, {"lr": 0.1})
    with pytest.raises(TypeError):
        trial.params["lr"] = 1.0  # type: ignore[index]


def test_a_report_takes_the_loops_step() -> None:
    ear = Ear()
    trial = make(ear)
    for step in trial.steps():
        trial.report(train_loss=1.0)
        trial.report(loss=0.5)
        assert trial.step == step
    assert ear.steps == [1, 1, 2, 2, 3, 3, 4, 4, 5, 5]


def test_outside_the_loop_reports_count_on() -> None:
    ear = Ear()
    trial = make(ear)
    trial.report(loss=1.0)
    trial.report(loss=1.0)
    trial.report(step=4, loss=1.0)
    trial.report(loss=1.0)
    assert ear.steps == [1, 2, 4, 5]


def test_steps_begin_after_the_restored_one(tmp_path: Path) -> None:
    trial = make(job=job(files=Files(tmp_path)), checkpoint=(0, 3), attempt=1)
    assert trial.restored == tmp_path / "0-0-3"
    assert trial.step == 3
    assert list(trial.steps()) == [4, 5]


def test_without_max_step_the_function_leaves_the_loop() -> None:
    trial = make(job=job(max_step=None))
    for step in trial.steps():
        if step == 1000:
            break
    assert step == 1000


def test_a_step_must_not_shrink() -> None:
    trial = make()
    trial.report(step=3, loss=1.0)
    with pytest.raises(MetricError, match=r"report\(step=2\): the last report was of step 3"):
        trial.report(step=2, loss=1.0)


def test_a_step_may_be_a_numpy_integer_and_nothing_else() -> None:
    ear = Ear()
    make(ear).report(step=np.int64(2), loss=1.0)  # type: ignore[arg-type]
    assert ear.steps == [2]
    with pytest.raises(MetricError, match="needs a whole number"):
        make().report(step=1.5, loss=1.0)  # type: ignore[arg-type]


def test_the_same_metric_twice_at_one_step_is_refused() -> None:
    trial = make()
    trial.report(step=1, loss=1.0, accuracy=0.5)
    trial.report(step=1, f1=0.5)
    with pytest.raises(MetricError, match="step 1 already has a value of 'accuracy'"):
        trial.report(step=1, accuracy=0.5)


def test_a_refused_report_leaves_nothing_behind() -> None:
    ear = Ear()
    trial = make(ear)
    with pytest.raises(MetricError):
        trial.report(loss=0.5, note="good")
    assert ear.rows == []
    trial.report(loss=0.5)
    assert ear.steps == [1]


@pytest.mark.parametrize("name", ["trial", "attempt", "time"])
def test_reserved_names_are_refused(name: str) -> None:
    with pytest.raises(MetricError, match="caviar's own"):
        make().report(**{name: 1.0})


def test_a_report_needs_a_metric() -> None:
    with pytest.raises(MetricError, match="at least one metric"):
        make().report()


@pytest.mark.parametrize(
    "value", [1, True, 0.5, np.float32(0.5), np.int8(3), np.array(2.0), np.bool_(True), Fraction(1, 2), math.nan]
)
def test_numbers_are_taken(value: Any) -> None:
    number = as_number("loss", value)
    assert type(number) is float
    assert number == float(value) or math.isnan(number)


@pytest.mark.parametrize(
    "value", ["0.5", b"1", None, [1.0], {"a": 1}, 1j, np.array([1.0]), np.array([[1.0]]), object(), 10**400]
)
def test_what_is_no_number_is_refused_by_name(value: Any) -> None:
    with pytest.raises(MetricError, match=r"report\(loss=\.\.\.\): needs a number"):
        as_number("loss", value)


# --- ends -------------------------------------------------------------------------------------------


def test_an_end_tells_the_last_and_the_best_value() -> None:
    def train(trial: Trial) -> None:
        for loss in (3.0, 1.0, 2.0):
            trial.report(loss=loss)

    end = attempt(train)
    assert (end["outcome"], end["step"], end["value"], end["best"], end["best_step"]) == (
        "returned",
        3,
        2.0,
        1.0,
        2,
    )
    end = attempt(train, minimize=False)
    assert (end["best"], end["best_step"]) == (3.0, 1)


def test_the_report_of_max_step_returns_and_a_later_one_ends_the_trial() -> None:
    ear = Ear()

    def train(trial: Trial) -> None:
        trial.report(step=5, loss=1.0)
        trial.report(step=6, loss=1.0)
        pytest.fail("the second report must not return")

    assert attempt(train, ear)["outcome"] == "returned"
    assert ear.steps == [5]


def test_the_stop_of_a_scheduler_is_raised_at_the_rung_and_again_at_every_report() -> None:
    ear = Ear(lambda trial, entry: trial.stop("asha: rung 2"))
    raised = []

    def train(trial: Trial) -> None:
        for _ in trial.steps():
            try:
                trial.report(loss=1.0)
            except TrialStopped as stop:
                raised.append(str(stop))

    entry = run_attempt(launch(next_rung=2), job=job(train), link=ear, shared=[None])
    assert entry[5:7] == ("stopped", "asha: rung 2")
    assert ear.steps == [1, 2]
    assert [one for one in ear.entries if one[0] == RUNG] == [(RUNG, 0, 0, 2, 1.0)]
    assert raised == ["asha: rung 2"]


def test_except_exception_lets_a_stop_pass() -> None:
    def train(trial: Trial) -> None:
        while True:
            try:
                trial.report(loss=1.0)
            except Exception:
                pytest.fail("TrialStopped is no Exception")

    assert attempt(train)["outcome"] == "returned"  # past max_step


def test_a_stop_from_outside_waits_for_the_step_boundary() -> None:
    ear = Ear()

    def train(trial: Trial) -> None:
        for step in trial.steps():
            if step == 2:
                trial.stop("by hand")
            trial.report(loss=1.0)

    end = attempt(train, ear)
    assert (end["outcome"], end["reason"], end["step"]) == ("stopped", "by hand", 1)
    assert ear.steps == [1]


def test_status_follows_the_decision_whatever_the_function_raises_then() -> None:
    def train(trial: Trial) -> None:
        trial.stop("by hand")
        try:
            trial.report(loss=1.0)
        except TrialStopped:
            raise ValueError("cleaning up failed") from None

    assert attempt(train)["outcome"] == "stopped"


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_non_finite_metric_is_stored_and_stops_the_trial(value: float) -> None:
    ear = Ear()

    def train(trial: Trial) -> None:
        trial.report(loss=1.0)
        trial.report(other=math.nan)
        trial.report(loss=value)

    end = attempt(train, ear)
    assert (end["outcome"], end["reason"], end["step"], end["best"]) == ("stopped", "diverged", 3, 1.0)
    assert len(ear.rows) == 3


def test_an_error_is_told_in_full_from_the_training_function_on() -> None:
    def inner() -> None:
        raise KeyError("missing\nsecond line")

    def train(trial: Trial) -> None:
        trial.report(loss=1.0)
        inner()

    end = attempt(train)
    assert (end["outcome"], end["step"]) == ("failed", 1)
    assert end["reason"] == r"KeyError: 'missing\nsecond line'"
    assert end["error"].count("File ") == 2
    assert "in inner" in end["error"]


def test_an_error_in_the_users_report_shows_their_line() -> None:
    def train(trial: Trial) -> None:
        trial.report(loss="x")

    end = attempt(train)
    assert end["reason"].startswith("MetricError: report(loss=...)")
    assert 'trial.report(loss="x")' in end["error"]


@pytest.mark.parametrize("error", [KeyboardInterrupt, GeneratorExit])
def test_an_interrupt_is_not_an_end_of_the_trial(error: type[BaseException]) -> None:
    def train(trial: Trial) -> None:
        raise error

    with pytest.raises(error):
        attempt(train)


def test_a_metric_that_was_never_reported() -> None:
    end = attempt(lambda trial: trial.report(accuracy=1.0, f1=0.5))
    assert (end["outcome"], end["reason"]) == ("failed", "no report of loss; it reported accuracy, f1")


def test_a_thread_left_running_cannot_report_once_the_trial_has_ended() -> None:
    ear, left_running = Ear(), []

    def train(trial: Trial) -> None:
        trial.report(loss=1.0)
        left_running.append(trial)

    assert attempt(train, ear)["outcome"] == "returned"
    with pytest.raises(TrialStopped):
        left_running[0].report(loss=0.5)
    assert ear.steps == [1]


@pytest.mark.parametrize("error", [KeyboardInterrupt, GeneratorExit])
def test_in_a_process_of_its_own_an_interrupt_fails_the_trial(error: type[BaseException]) -> None:
    def train(trial: Trial) -> None:
        trial.report(loss=1.0)
        raise error

    entry = run_attempt(launch(), job=job(train), link=Ear(), shared=[None], let_through=())
    assert entry[4:7] == (1, "failed", error.__name__)


def test_an_error_that_cannot_say_what_it_is() -> None:
    class MuteError(Exception):
        def __str__(self) -> str:
            raise RuntimeError("not even this")

    def train(trial: Trial) -> None:
        raise MuteError

    assert attempt(train)["reason"] == "MuteError"


@pytest.mark.parametrize("step", [2**53 + 1, 2**63, 10**400])
def test_a_step_too_large_to_be_kept_exactly(step: int) -> None:
    with pytest.raises(MetricError, match="steps must not shrink, and end at 9007199254740992"):
        make(job=job(max_step=None)).report(step=step, loss=1.0)


def test_a_metric_name_that_is_no_text() -> None:
    with pytest.raises(MetricError, match=r"report\('\\udcff'=...\): the name cannot be stored"):
        make().report(**{"\udcff": 1.0})


# --- rungs ------------------------------------------------------------------------------------------


def test_a_rung_is_asked_at_the_first_report_past_it_that_carries_the_metric() -> None:
    ear = Ear(lambda trial, entry: trial.answered(4))
    trial = make(ear, next_rung=2)
    trial.report(step=1, loss=1.0)
    trial.report(step=3, other=1.0)
    assert ear.entries == []
    trial.report(step=3, loss=0.5)
    assert ear.entries == [(RUNG, 0, 0, 3, 0.5)]
    trial.report(step=4, loss=0.4)
    assert ear.entries[1:] == [(RUNG, 0, 0, 4, 0.4)]


def test_nothing_is_asked_at_max_step() -> None:
    ear = Ear()
    trial = make(ear, next_rung=4)
    trial.report(step=5, loss=1.0)
    assert ear.entries == []


# --- checkpoints --------------------------------------------------------------------------------------


def test_checkpoints_are_due_every_so_many_steps() -> None:
    ear = Ear()
    trial = make(ear, job=job(checkpoint_every=2, max_step=9))
    due = []
    for step in trial.steps():
        trial.report(loss=1.0)
        if trial.checkpoint_due:
            due.append(step)
            with trial.checkpoint():
                pass
            assert not trial.checkpoint_due
    assert due == [2, 4, 6, 8]
    assert [entry[4] for entry in ear.entries if entry[0] == SAVED] == due


def test_a_checkpoint_is_due_after_steps_were_jumped_over() -> None:
    trial = make(job=job(checkpoint_every=3, max_step=None))
    trial.report(step=2, loss=1.0)
    assert not trial.checkpoint_due
    trial.report(step=7, loss=1.0)
    assert trial.checkpoint_due


def test_no_checkpoint_is_due_right_after_a_restore() -> None:
    assert not make(job=job(checkpoint_every=3), checkpoint=(0, 3)).checkpoint_due


def test_a_checkpoint_needs_a_step() -> None:
    with pytest.raises(MetricError, match="report a step first"), make().checkpoint():
        pass


def test_a_checkpoint_that_failed_is_not_announced() -> None:
    ear = Ear()
    trial = make(ear)
    trial.report(loss=1.0)
    with pytest.raises(ZeroDivisionError), trial.checkpoint():
        raise ZeroDivisionError
    assert ear.entries == []

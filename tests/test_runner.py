"""The loop: a real controller between an executor, a recorder and an inbox that do as they are told."""

from __future__ import annotations

import logging
import signal
import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

import caviar
from caviar import commits as commits_module
from caviar import runner as runner_module
from caviar.controller import Controller
from caviar.errors import FencedError
from caviar.execution.contract import Arrivals, Deliver, Executor, Job
from caviar.messages import (
    Answer,
    AttemptEnded,
    Checkpointed,
    Command,
    CommandAnswered,
    CommandReceived,
    Launch,
    Recorded,
    Reports,
    RungReached,
    Stop,
    TrialStarted,
)
from caviar.runner import Runner
from caviar.state import Plan
from caviar.store.rows import EventRow

SPACE = caviar.Space(lr=caviar.Float(0.1, 1.0))
POLLS = 10_000
"""A sweep that has not ended after so many polls never will."""

Row = tuple[int, int, int]


def rows_of(block: Reports) -> set[Row]:
    return set(zip(block.trial.tolist(), block.attempt.tolist(), block.seq.tolist(), strict=True))


def block(trial: int, attempt: int, *seqs: int) -> Reports:
    seq = np.array(seqs, dtype=np.int64)
    same = np.ones_like(seq)
    return Reports(("loss",), same * trial, same * attempt, seq, seq + 1, seq + 1, 1.0 / (seq[:, None] + 1))


class Puppet(Executor):
    """Holds two trials. Every poll plays a scene, or else trains the first trial: two reports, and its end."""

    def __init__(self) -> None:
        self.scenes: deque[Callable[[], None]] = deque()
        self.hands: dict[int, Launch] = {}
        self.begun: set[int] = set()
        self.sent: list[Command] = []
        self.delivered: dict[int, set[Row]] = {}
        self.acknowledged: list[int] = []
        self.on_send: Callable[[Command], None] = lambda command: None
        self.on_acknowledge: Callable[[int], None] = lambda delivery: None
        self.deliver: Deliver
        self.us = 1_000_000
        self.polls = 0

    def start(self, job: Job, deliver: Deliver) -> None:
        raise AssertionError("the runner starts nothing")

    def room(self) -> int:
        return 2 - len(self.hands)

    def send(self, commands: Sequence[Command]) -> None:
        for command in commands:
            self.sent.append(command)
            if isinstance(command, Launch):
                self.hands[command.trial] = command
            self.on_send(command)

    def poll(self, timeout_s: float) -> None:
        self.polls += 1
        assert self.polls < POLLS, "the sweep does not end"
        if self.scenes:
            self.scenes.popleft()()
        elif self.hands:
            self.train(next(iter(self.hands)))

    def acknowledge(self, delivery: int) -> None:
        self.acknowledged.append(delivery)
        self.on_acknowledge(delivery)

    def now_us(self) -> int:
        return self.us

    def close(self) -> None:
        raise AssertionError("the runner closes nothing")

    # --- what a scene may play ---------------------------------------------------------------------

    def arrive(self, *items: Any) -> int:
        reports = [item for item in items if isinstance(item, Reports)]
        events = [item for item in items if not isinstance(item, Reports)]
        number = self.deliver(Arrivals(reports, events))
        self.delivered[number] = set().union(*(rows_of(one) for one in reports)) if reports else set()
        return number

    def begin(self, trial: int) -> None:
        self.begun.add(trial)
        self.arrive(TrialStarted(self.us, trial, self.hands[trial].attempt, "worker-0"))

    def end(self, trial: int, outcome: str = "returned", reason: str | None = None) -> None:
        self.begun.discard(trial)
        attempt = self.hands.pop(trial).attempt
        self.arrive(AttemptEnded(self.us, trial, attempt, 2, outcome, reason, None, 0.5, 0.5, 2))

    def train(self, trial: int) -> None:
        if trial not in self.begun:
            self.begin(trial)
        self.arrive(block(trial, self.hands[trial].attempt, 0, 1))
        self.end(trial)


class Ledger:
    """A recorder that keeps what it was given, and fails when told to."""

    def __init__(self) -> None:
        self.rows: set[Row] = set()
        self.events: list[EventRow] = []
        self.calls: list[str] = []
        self.attempts: list[tuple[list[Row], list[EventRow]]] = []
        """What every call of `commit` was given, the failed ones too."""
        self.before_commit: Callable[[], None] = lambda: None
        self.before_close: Callable[[], None] = lambda: None

    def commit(self, reports: Sequence[Reports], events: Sequence[EventRow]) -> None:
        self.calls.append("commit")
        rows = [row for one in reports for row in sorted(rows_of(one))]
        self.attempts.append((rows, list(events)))
        self.before_commit()
        assert self.rows.isdisjoint(rows), "the runner gives nothing twice that it knows to be stored"
        self.rows.update(rows)
        self.events += events

    def tick(self) -> None:
        self.calls.append("tick")

    def close(self, *, final: bool) -> None:
        self.calls.append(f"close(final={final})")
        self.before_close()

    @property
    def kinds(self) -> list[str]:
        return [event.kind for event in self.events]


class Letterbox:
    """An inbox."""

    def __init__(self) -> None:
        self.waiting: list[CommandReceived] = []
        self.warnings: list[str] = []
        self.removed: list[str] = []
        self.on_done: Callable[[str], None] = lambda command_id: None

    def take(self) -> Sequence[CommandReceived]:
        taken, self.waiting = self.waiting, []
        return taken

    def take_warnings(self) -> Sequence[str]:
        taken, self.warnings = self.warnings, []
        return taken

    def done(self, command_id: str) -> None:
        self.on_done(command_id)
        self.removed.append(command_id)


class AtOnce:
    """A writing thread that is done as soon as it is asked: so every test takes the same course each time."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.ended = False

    def submit(self, function: Callable[..., None], *args: Any, **kwargs: Any) -> Future[None]:
        if self.ended:
            raise RuntimeError("cannot schedule new futures after shutdown")
        future: Future[None] = Future()
        try:
            future.set_result(function(*args, **kwargs))
        except BaseException as error:
            future.set_exception(error)
        return future

    def shutdown(self, **kwargs: Any) -> None:
        self.ended = True


class Stage:
    """A runner with everything around it. Commits follow one another as fast as they are written."""

    def __init__(self, **changes: Any) -> None:
        wants = {key: changes.pop(key) for key in ("checkpoints", "time_budget_s", "on_event") if key in changes}
        plan = {"space": SPACE, "sampler": caviar.RandomSampler(), "scheduler": caviar.RunAll(), "trials": 6}
        self.controller = Controller(Plan(**{**plan, **changes}))
        self.executor, self.recorder, self.inbox = Puppet(), Ledger(), Letterbox()
        self.runner = Runner(self.controller, self.executor, recorder=self.recorder, inbox=self.inbox, **wants)
        self.executor.deliver = self.runner.deliver

    def run(self) -> None:
        self.runner.run()


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(commits_module, "ThreadPoolExecutor", AtOnce)
    for name in ("COMMIT_S", "PATIENT_COMMIT_S"):
        monkeypatch.setattr(commits_module, name, 0.0)
    monkeypatch.setattr(runner_module, "POLL_S", 0.0)
    monkeypatch.setattr(runner_module, "INBOX_S", -1.0)


def raises(*errors: BaseException | None) -> Callable[[], None]:
    """Something that raises these errors, one a call (None: none), and then no more."""
    left = deque(errors)

    def act() -> None:
        error = left.popleft() if left else None
        if error is not None:
            raise error

    return act


# --- the normal course ------------------------------------------------------------------------------


def test_a_sweep_is_recorded_from_its_start_to_its_end() -> None:
    stage = Stage()
    stage.run()
    assert stage.recorder.rows == {(trial, 0, seq) for trial in range(6) for seq in range(2)}
    assert stage.recorder.kinds[:3] == ["driver_started", "sweep_started", "stage_opened"]
    assert stage.recorder.kinds[-1] == "sweep_ended"
    assert stage.recorder.kinds.count("trial_ended") == 6
    assert stage.recorder.calls[-1] == "close(final=True)"


def test_only_what_is_committed_is_acknowledged_and_all_of_it_in_the_end() -> None:
    stage = Stage(trials=40)

    def check(delivery: int) -> None:
        for number in range(1, delivery + 1):
            assert stage.executor.delivered.get(number, set()) <= stage.recorder.rows

    stage.executor.on_acknowledge = check
    stage.run()
    assert stage.executor.acknowledged[-1] == max(stage.executor.delivered)
    assert stage.executor.acknowledged == sorted(stage.executor.acknowledged)


def test_a_command_is_sent_after_its_cause_was_recorded() -> None:
    seen: list[str] = []
    stage = Stage(on_event=lambda item: seen.append(getattr(item, "kind", "reports")), trials=1)
    causes: list[tuple[type, str]] = []
    stage.executor.on_send = lambda command: causes.append((type(command), seen[-1]))
    stage.executor.scenes.extend(
        [
            lambda: stage.executor.begin(0),
            lambda: stage.inbox.waiting.append(CommandReceived(1, "a", "stop", 0, {})),
        ]
    )
    stage.run()
    assert causes == [(Launch, "trial_sampled"), (Stop, "stop_ordered")]


def test_the_answer_at_a_rung_follows_its_decision() -> None:
    seen: list[str] = []
    stage = Stage(
        on_event=lambda item: seen.append(getattr(item, "kind", "reports")),
        trials=1,
        scheduler=caviar.Asha(grace_steps=1, reduction_factor=2),
        max_step=2,
    )
    answers: list[str] = []
    stage.executor.on_send = lambda command: answers.append(seen[-1]) if isinstance(command, Answer) else None
    stage.executor.scenes.append(lambda: stage.executor.begin(0))
    stage.executor.scenes.append(lambda: stage.executor.arrive(block(0, 0, 0), RungReached(0, 0, 1, 1.0)) and None)
    stage.executor.scenes.append(lambda: stage.executor.end(0))
    stage.run()
    assert answers == ["decision"]


def test_what_a_command_leads_to_at_once_is_recorded_after_its_cause() -> None:
    stage = Stage(trials=2)

    def stopped_at_once(command: Command) -> None:
        if isinstance(command, Stop):
            stage.executor.end(command.trial, "stopped", command.reason)

    stage.executor.on_send = stopped_at_once
    stage.executor.scenes.append(lambda: stage.inbox.waiting.append(CommandReceived(1, "a", "stop", None, {})))
    stage.run()
    kinds = stage.recorder.kinds
    received = kinds.index("command_received")
    assert kinds[received:] == [
        "command_received",
        "stop_ordered",
        "trial_ended",
        "trial_ended",
        "sweep_ended",
        "command_answered",
    ]


# --- commands ---------------------------------------------------------------------------------------


def test_commands_are_answered_and_removed_once_the_answer_is_committed() -> None:
    stage = Stage(trials=4)

    def committed(command_id: str) -> None:
        answers = [event.data for event in stage.recorder.events if event.kind == "command_answered"]
        assert any(f'"{command_id}"' in data for data in answers)

    stage.inbox.on_done = committed
    unknown, missing, known = (
        CommandReceived(1, "unknown", "dance", None, {}),
        CommandReceived(1, "missing", "stop", 99, {}),
        CommandReceived(1, "known", "stop", 1, {}),
    )
    stage.executor.scenes.extend(
        [
            lambda: stage.executor.begin(0),
            lambda: stage.inbox.waiting.extend([unknown, missing, known]),
            lambda: stage.executor.end(1, "stopped", "by hand"),
        ]
    )
    stage.run()
    assert stage.inbox.removed == ["unknown", "missing", "known"]
    answers = {event.data for event in stage.recorder.events if event.kind == "command_answered"}
    assert any("unknown command 'dance'" in data for data in answers)
    assert any("there is no trial 99" in data for data in answers)
    assert any("trial 1 stopped at step 2" in data for data in answers)


def test_who_waits_for_an_answer_need_not_wait_for_another_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Inline, the next turn may be a long step of training away: the loop waits for the commit under way, once."""
    writing: list[Future[None]] = []
    waited: list[float] = []
    in_time = False

    def submit(self: Any, function: Callable[..., None], *args: Any) -> Future[None]:
        future: Future[None] = Future()
        if function.__name__ == "_commit":
            writing.append(future)
        return future

    def wait(futures: list[Future[None]], timeout_s: float) -> None:
        waited.append(timeout_s)
        if in_time:
            futures[0].set_result(None)

    monkeypatch.setattr(AtOnce, "submit", submit)
    monkeypatch.setattr(commits_module, "wait", wait)
    commits = commits_module.Commits(Ledger(), acknowledge=lambda delivery: None, tidy=lambda event: None)

    def answer(*, soon: bool) -> None:
        commits.add_event(CommandAnswered(2, "a", True, "paused"), soon=soon)
        commits.turn(1.0)

    answer(soon=True)
    answer(soon=False)
    assert (len(writing), waited) == (1, []), "nobody waits for the second"
    answer(soon=True)
    answer(soon=True)
    assert (len(writing), waited) == (1, [commits_module.SOON_S]), "only once"
    writing[0].set_result(None)
    commits.turn(1.0)
    assert len(writing) == 2
    in_time = True
    answer(soon=True)
    assert (len(writing), len(waited)) == (3, 2), "the one before was done in time"


def test_what_is_no_command_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    stage = Stage()
    stage.inbox.warnings.append("inbox/note.txt: is not a command; set aside")
    stage.run()
    warned = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert warned == ["inbox/note.txt: is not a command; set aside"]


# --- a disk that fails --------------------------------------------------------------------------------


def test_a_failed_commit_pauses_launching_and_loses_nothing(caplog: pytest.LogCaptureFixture) -> None:
    stage = Stage(trials=10)
    failures = deque([None, *(OSError(28, "No space left on device") for _ in range(5))])
    failing: list[bool] = [False]
    launched: list[int] = []

    def fail() -> None:
        error = failures.popleft() if failures else None
        if error is not None:
            failing[0] = True
            raise error
        failing[0] = False

    def launching(command: Command) -> None:
        if isinstance(command, Launch) and stage.runner._commits.stuck is not None:
            launched.append(command.trial)

    stage.recorder.before_commit = fail
    stage.executor.on_send = launching
    with caplog.at_level(logging.WARNING, logger="caviar"):
        stage.run()
    assert launched == []
    assert stage.recorder.rows == {(trial, 0, seq) for trial in range(10) for seq in range(2)}
    assert stage.recorder.kinds.count("trial_ended") == 10
    assert stage.executor.acknowledged[-1] == max(stage.executor.delivered)
    texts = [record.getMessage() for record in caplog.records]
    assert len(texts) == 2, texts
    assert "No space left on device" in texts[0]
    assert "waiting, no trial is started" in texts[0]
    assert "going on" in texts[1]


def test_a_failed_commit_is_repeated_with_the_same_rows_first() -> None:
    stage = Stage(trials=10)
    stage.recorder.before_commit = raises(None, OSError("full"), OSError("full"))
    stage.run()
    failed, again = stage.recorder.attempts[1], stage.recorder.attempts[2]
    assert failed == again == stage.recorder.attempts[3]
    assert failed != stage.recorder.attempts[4]


def test_the_last_commit_and_the_last_roll_wait_for_room_too(caplog: pytest.LogCaptureFixture) -> None:
    stage = Stage(trials=2)
    armed: list[bool] = []

    def when_ended() -> None:
        if stage.controller.ended and len(armed) < 3:
            armed.append(True)
            raise OSError(28, "No space left on device")

    stage.recorder.before_commit = when_ended
    stage.recorder.before_close = raises(OSError(28, "No space left on device"), None)
    stage.run()
    assert armed == [True] * 3
    assert stage.recorder.kinds[-1] == "sweep_ended"
    assert stage.recorder.calls[-2:] == ["close(final=True)"] * 2


def test_an_interrupt_does_not_wait_for_room(caplog: pytest.LogCaptureFixture) -> None:
    stage = Stage()
    stage.recorder.before_commit = lambda: (_ for _ in ()).throw(OSError("full"))
    stage.executor.scenes.append(lambda: signal.raise_signal(signal.SIGINT))
    with pytest.raises(KeyboardInterrupt):
        stage.run()
    assert stage.recorder.rows == set()
    assert caplog.records[-1].getMessage() == "cannot write the last reports: full"


def test_what_cannot_be_tidied_stays_and_harms_nobody(caplog: pytest.LogCaptureFixture) -> None:
    class Stubborn:
        def discard(self, trial: int, checkpoint: tuple[int, int]) -> None:
            raise PermissionError(13, "Permission denied")

    stage = Stage(trials=3, checkpoints=Stubborn())
    stage.inbox.on_done = lambda command_id: (_ for _ in ()).throw(PermissionError(13, "Permission denied"))
    stage.inbox.waiting.append(CommandReceived(1, "a", "dance", None, {}))
    stage.executor.scenes.extend(
        [
            lambda: stage.executor.begin(0),
            lambda: stage.executor.arrive(block(0, 0, 0), Checkpointed(1, 0, 0, 1)) and None,
            lambda: stage.executor.arrive(block(0, 0, 1), Checkpointed(1, 0, 0, 2)) and None,
            lambda: stage.executor.end(0),
        ]
    )
    stage.run()
    assert stage.recorder.kinds[-1] == "sweep_ended"
    assert [record.levelname for record in caplog.records] == ["WARNING", "WARNING"]


# --- another driver -----------------------------------------------------------------------------------


def test_a_fenced_driver_stops_at_once_and_writes_nothing_more() -> None:
    stage = Stage(trials=50)
    stage.recorder.before_commit = raises(None, None, FencedError("another driver took it over"))
    with pytest.raises(FencedError, match="another driver"):
        stage.run()
    assert stage.recorder.calls.count("commit") == 3
    assert stage.recorder.calls[-1] == "commit"
    assert not stage.controller.ended


def test_a_driver_that_is_fenced_at_its_last_commit_says_so() -> None:
    stage = Stage(trials=1)

    def fence() -> None:
        if stage.controller.ended:
            raise FencedError("another driver took it over")

    stage.recorder.before_commit = fence
    with pytest.raises(FencedError):
        stage.run()
    assert stage.recorder.calls[-1] == "commit"


# --- time, observers, checkpoints ---------------------------------------------------------------------


def test_at_the_end_of_its_time_budget_everything_is_stopped() -> None:
    stage = Stage(time_budget_s=10.0)

    def stop(command: Command) -> None:
        if isinstance(command, Stop):
            stage.executor.end(command.trial, "stopped", command.reason)

    def later() -> None:
        stage.executor.us += 10_000_001

    stage.executor.on_send = stop
    stage.executor.scenes.extend([lambda: stage.executor.train(0), later])
    stage.run()
    ends = [event for event in stage.recorder.events if event.kind == "trial_ended"]
    assert [event.trial for event in ends] == [0, 1, 2]
    assert all('"reason":"time_budget"' in event.data for event in ends[1:])
    assert stage.recorder.events[-1].data == '{"reason":"time_budget"}'


def test_within_its_time_budget_nothing_is_stopped() -> None:
    stage = Stage(time_budget_s=10.0)

    def later() -> None:
        stage.executor.us += 9_999_999

    stage.executor.scenes.append(later)
    stage.run()
    assert stage.recorder.kinds.count("trial_ended") == 6
    assert "stop_ordered" not in stage.recorder.kinds


def test_an_observer_that_raises_is_logged_once_and_dropped(caplog: pytest.LogCaptureFixture) -> None:
    calls: list[Recorded | Reports] = []

    def observe(item: Recorded | Reports) -> None:
        calls.append(item)
        raise RuntimeError("the observer is broken")

    stage = Stage(on_event=observe)
    stage.run()
    assert len(calls) == 1
    (record,) = caplog.records
    assert "on_event raised" in record.getMessage()
    assert stage.recorder.kinds[-1] == "sweep_ended"


def test_an_observer_sees_every_event_and_every_report_once() -> None:
    seen: list[Any] = []
    stage = Stage(on_event=seen.append)
    stage.run()
    assert [item.kind for item in seen if isinstance(item, Recorded)] == stage.recorder.kinds
    rows = [row for item in seen if isinstance(item, Reports) for row in rows_of(item)]
    assert sorted(rows) == sorted(stage.recorder.rows)


def test_an_older_checkpoint_is_discarded_once_the_newer_is_committed() -> None:
    discarded: list[tuple[int, tuple[int, int]]] = []

    class Checkpoints:
        def discard(self, trial: int, checkpoint: tuple[int, int]) -> None:
            newer = [
                (e.attempt, e.step) for e in stage.recorder.events if (e.kind, e.trial) == ("checkpointed", trial)
            ]
            assert newer[newer.index(checkpoint) + 1 :], "the newer one is not on record"
            discarded.append((trial, checkpoint))

    stage = Stage(trials=2, checkpoints=Checkpoints(), retries=1)

    def save(trial: int, attempt: int, step: int) -> Callable[[], None]:
        return lambda: stage.executor.arrive(Checkpointed(1, trial, attempt, step)) and None

    def a_while() -> None:
        stage.executor.us += 2_000_000  # a trial that failed waits before it is tried again

    stage.executor.scenes.extend(
        [
            lambda: stage.executor.begin(0),
            save(0, 0, 2),
            save(0, 0, 4),
            save(0, 0, 4),  # the same once more
            lambda: stage.executor.end(0, "failed", "crash"),
            a_while,
            lambda: stage.executor.begin(0),
            save(0, 1, 6),
            save(0, 0, 8),  # late words of the attempt before
            lambda: stage.executor.end(0),
        ]
    )
    stage.run()
    assert discarded == [(0, (0, 2)), (0, (0, 4))]


def test_the_clock_is_minded_where_nothing_is_to_be_committed() -> None:
    ledger = Ledger()
    commits = commits_module.Commits(ledger, acknowledge=lambda delivery: None, tidy=lambda event: None)
    commits.turn(1.0)
    assert ledger.calls == ["tick"], "what is old is rolled also while nothing new comes"


# --- signals ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_ends_it_once_everything_that_arrived_is_committed(number: signal.Signals) -> None:
    stage = Stage(trials=20)

    def interrupted() -> None:
        signal.raise_signal(number)
        stage.executor.begin(1)

    def fetched_at_the_end() -> None:
        stage.executor.arrive(block(1, 0, 0))

    stage.executor.scenes.extend([lambda: stage.executor.train(0), interrupted, fetched_at_the_end])
    before = signal.getsignal(number)
    with pytest.raises(KeyboardInterrupt):
        stage.run()
    assert signal.getsignal(number) is before
    assert stage.recorder.rows == {(0, 0, 0), (0, 0, 1), (1, 0, 0)}
    assert stage.recorder.kinds[-1] == "driver_stopped"
    assert stage.recorder.events[-1].data == '{"reason":"interrupted"}'
    assert stage.recorder.calls[-1] == "close(final=False)"


def test_a_second_signal_interrupts_where_it_stands() -> None:
    stage = Stage()

    def twice() -> None:
        signal.raise_signal(signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)

    stage.executor.scenes.append(twice)
    with pytest.raises(KeyboardInterrupt):
        stage.run()
    assert not stage.executor.scenes


def test_a_second_signal_does_not_wait_for_a_disk_that_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(commits_module, "ThreadPoolExecutor", ThreadPoolExecutor)
    stage = Stage()
    hanging, draining, release = threading.Event(), threading.Event(), threading.Event()

    def hang() -> None:
        if draining.is_set():
            hanging.set()
            release.wait(60)

    def second() -> None:
        hanging.wait(60)
        while not release.wait(0.02):  # again and again: a signal that comes just before a wait does not end it
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)

    stage.recorder.before_commit = hang
    stage.executor.scenes.extend([lambda: signal.raise_signal(signal.SIGINT), draining.set])
    before = signal.signal(signal.SIGINT, lambda number, frame: None)  # for those that come after the end
    thread = threading.Thread(target=second)
    thread.start()
    try:
        with pytest.raises(KeyboardInterrupt):
            stage.run()
        assert hanging.is_set()
        assert not any(call.startswith("close") for call in stage.recorder.calls)
    finally:
        release.set()
        thread.join()
        signal.signal(signal.SIGINT, before)


def test_on_a_thread_that_is_not_the_main_one_signals_are_left_alone() -> None:
    stage = Stage()
    before = signal.getsignal(signal.SIGINT)
    during: list[Any] = []
    stage.executor.scenes.append(lambda: during.append(signal.getsignal(signal.SIGINT)))
    thread = threading.Thread(target=stage.run)
    thread.start()
    thread.join(60)
    assert during == [before]
    assert stage.controller.ended


# --- errors -------------------------------------------------------------------------------------------


def test_an_executor_that_breaks_leaves_a_folder_that_says_so() -> None:
    stage = Stage()

    def broken() -> None:
        raise RuntimeError("no workers")

    stage.executor.scenes.extend([lambda: stage.executor.train(0), broken])
    with pytest.raises(RuntimeError, match="no workers"):
        stage.run()
    assert stage.recorder.rows == {(0, 0, 0), (0, 0, 1)}
    assert stage.recorder.events[-1].data == '{"reason":"RuntimeError: no workers"}'
    assert stage.recorder.calls[-1] == "close(final=False)"

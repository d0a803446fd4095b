"""A command and its answer, with a driver that does what the test says, when the test says it."""

from __future__ import annotations

import errno
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from caviar.errors import CommandError, FolderError, OutageError, UsageError
from caviar.messages import Adjusted, CommandAnswered, CommandReceived, Recorded, SweepEnded
from caviar.panda import asking
from caviar.panda.asking import ask, carried_out
from caviar.store.inbox import Inbox
from caviar.store.layout import SweepFolder
from caviar.store.lease import wall_clock_us
from caviar.store.local import LocalStorage
from caviar.store.recorder import Recorder
from caviar.store.rows import to_row
from caviar.store.sequel import Sequel


class Driver:
    """Holds a sweep folder, and answers only when told to."""

    def __init__(self, path: Path) -> None:
        self.folder = SweepFolder(path)
        self.recorder = Recorder.create(self.folder, {"metric": "loss"}, now_us=wall_clock_us)
        self.inbox = Inbox(self.folder)

    def commit(self, *events: Recorded) -> None:
        self.recorder.commit([], [to_row(event) for event in events])

    def take(self) -> CommandReceived:
        [received] = self.inbox.take()
        return received

    @property
    def left(self) -> list[str]:
        """What lies in the inbox."""
        return self.folder.storage.names("inbox")


@pytest.fixture
def driver(tmp_path: Path) -> Driver:
    return Driver(tmp_path / "sweep")


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asking, "THOROUGH_S", 0.02)
    monkeypatch.setattr(asking, "GRACE_S", 0.1)


@pytest.fixture
def on_look(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Callable[[], object]]]:
    """What happens before each look of who waits, one after another."""
    scenes: list[Callable[[], object]] = []
    look = Sequel.new

    def after_a_scene(self: Sequel, **how: bool) -> list[Recorded]:
        if scenes:
            scenes.pop(0)()
        return look(self, **how)

    monkeypatch.setattr(Sequel, "new", after_a_scene)
    yield scenes
    assert not scenes, "all of it happened"


def answered(received: CommandReceived, text: str, *, applied: bool = True) -> CommandAnswered:
    return CommandAnswered(7, received.id, applied, text)


def test_the_answer_with_what_was_recorded_for_it(driver: Driver, on_look: list[Any]) -> None:
    adjusted: list[Recorded] = []

    def carry_out() -> None:
        received = driver.take()
        assert (received.command, received.trial, received.args) == ("set", 3, {"changes": {"lr": 0.05}})
        adjusted.append(Adjusted(6, 3, 0, 41, {"lr": 0.1}, {"lr": 0.05}, received.id))
        other = Adjusted(6, 3, 0, 41, {"lr": 0.1}, {"lr": 0.05}, "another")
        driver.commit(received, other, *adjusted, answered(received, "applied at step 41: lr 0.1 -> 0.05"))

    on_look.append(carry_out)
    outcome = carried_out(driver.folder.path, "set", trial=3, args={"changes": {"lr": 0.05}})
    assert outcome.answer.text == "applied at step 41: lr 0.1 -> 0.05"
    assert list(outcome.events) == adjusted


def test_an_answer_is_found_however_it_is_rolled(driver: Driver, on_look: list[Any]) -> None:
    def carry_out() -> None:
        received = driver.take()
        driver.commit(received)
        driver.recorder.roll()
        driver.commit(answered(received, "done"))
        driver.recorder.roll()

    on_look += [lambda: None, carry_out]
    assert ask(driver.folder.path, "stop").text == "done"


def test_a_refusal_is_an_error_with_the_answers_text(driver: Driver, on_look: list[Any]) -> None:
    def refuse() -> None:
        received = driver.take()
        driver.commit(received, answered(received, "there is no trial 99", applied=False))

    on_look.append(refuse)
    with pytest.raises(CommandError, match=r"^there is no trial 99$"):
        ask(driver.folder.path, "stop", trial=99)


# --- no answer ----------------------------------------------------------------------------------------


def test_what_its_driver_has_not_come_to_is_withdrawn(driver: Driver) -> None:
    with pytest.raises(CommandError) as raised:
        ask(driver.folder.path, "set", trial=0, args={"changes": {"lr": 1}}, timeout_s=0.05)
    assert str(raised.value) == (
        f"{driver.folder}: no answer within 0.05 s: its driver has not come to the command, "
        "which was withdrawn and will not be applied"
    )
    assert driver.left == []
    assert driver.inbox.take() == []


def test_what_its_driver_has_takes_effect_later(driver: Driver, on_look: list[Any]) -> None:
    on_look.append(lambda: driver.commit(driver.take()))
    with pytest.raises(CommandError) as raised:
        ask(driver.folder.path, "pause", trial=0, timeout_s=0.05)
    assert str(raised.value).startswith(
        f"{driver.folder}: no answer within 0.05 s: its driver has the command, which takes effect at the trial's "
        f"next step boundary; caviar events {driver.folder} shows when"
    )
    assert len(driver.left) == 1, "a driver that goes on with the sweep carries it out"


def test_what_its_driver_had_read_before_it_was_withdrawn_is_told_so(
    driver: Driver, on_look: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    taken: list[CommandReceived] = []
    # one look while it waits, one when the time is up, then it is withdrawn, and its driver says what it had read
    on_look += [lambda: taken.append(driver.take()), lambda: None, lambda: driver.commit(*taken)]
    with pytest.raises(CommandError, match=r"its driver has the command, which takes effect at"):
        ask(driver.folder.path, "pause", trial=0, timeout_s=0)
    assert driver.left == []


def test_an_answer_at_the_last_moment_is_the_answer(driver: Driver, on_look: list[Any]) -> None:
    taken: list[CommandReceived] = []
    late = [lambda: driver.commit(*taken, answered(taken[0], "paused at step 3"))]
    on_look += [lambda: taken.append(driver.take()), lambda: None, *late]
    assert ask(driver.folder.path, "pause", trial=0, timeout_s=0).text == "paused at step 3"


def test_what_cannot_be_withdrawn_is_told_so(driver: Driver, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(self: LocalStorage, key: str) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", key)

    monkeypatch.setattr(LocalStorage, "unlink", refused)
    with pytest.raises(CommandError, match=r"cannot be withdrawn \(Permission denied\), and may still be applied"):
        ask(driver.folder.path, "pause", trial=0, timeout_s=0)


def test_an_interrupt_withdraws_it(driver: Driver, on_look: list[Any], caplog: pytest.LogCaptureFixture) -> None:
    on_look.append(lambda: signal.raise_signal(signal.SIGINT))
    with pytest.raises(KeyboardInterrupt):
        ask(driver.folder.path, "pause", trial=0)
    assert driver.left == []
    assert [record.getMessage() for record in caplog.records] == [
        f"{driver.folder}: interrupted: its driver has not come to the command, "
        "which was withdrawn and will not be applied"
    ]


# --- no driver ----------------------------------------------------------------------------------------


def test_a_sweep_that_has_finished(driver: Driver) -> None:
    driver.commit(SweepEnded(5, "done"))
    driver.recorder.close()
    with pytest.raises(UsageError) as raised:
        ask(driver.folder.path, "rollback", trial=0)
    assert str(raised.value) == f"{driver.folder}: is not running (finished), so there is nothing to roll back"
    assert driver.left == []


def test_a_sweep_that_was_interrupted(driver: Driver) -> None:
    driver.recorder.close(final=False)
    with pytest.raises(UsageError) as raised:
        ask(driver.folder.path, "set", trial=0)
    assert str(raised.value) == (
        f"{driver.folder}: is not running (interrupted), so there is nothing to set; caviar resume "
        f"{driver.folder}, in Python run(..., resume=True), goes on with it"
    )
    assert driver.left == []


def test_a_driver_that_ends_before_it_came_to_the_command(driver: Driver, on_look: list[Any]) -> None:
    on_look.append(lambda: (driver.commit(SweepEnded(5, "done")), driver.recorder.close()))
    with pytest.raises(CommandError) as raised:
        ask(driver.folder.path, "pause", trial=0)
    assert str(raised.value) == (
        f"{driver.folder}: has finished: its driver did not answer the command, "
        "which was withdrawn and will not be applied"
    )
    assert driver.left == []


def test_a_driver_that_answers_and_ends_at_once(driver: Driver, on_look: list[Any]) -> None:
    def last_act() -> None:
        received = driver.take()
        driver.commit(received, SweepEnded(5, "by hand"), answered(received, "stopped the sweep"))
        driver.recorder.close()

    on_look += [lambda: None, last_act]
    assert ask(driver.folder.path, "stop").text == "stopped the sweep"


@pytest.mark.parametrize("received", [False, True])
def test_a_driver_that_goes_in_between(driver: Driver, on_look: list[Any], received: bool) -> None:
    def goes() -> None:
        if received:
            driver.commit(driver.take())
        driver.recorder.close(final=False)

    on_look.append(goes)
    with pytest.raises(CommandError) as raised:
        ask(driver.folder.path, "pause", trial=0)
    told = {
        True: f"it had the command, and did not answer; caviar resume {driver.folder}, in Python "
        "run(..., resume=True), goes on with it, and carries it out",
        False: "it had not come to the command, which was withdrawn and will not be applied",
    }
    assert str(raised.value) == f"{driver.folder}: its driver is gone: {told[received]}"
    assert len(driver.left) == received


def test_another_driver_may_take_over_meanwhile(driver: Driver, on_look: list[Any]) -> None:
    def takes_over() -> None:
        driver.recorder.close(final=False)
        driver.recorder = Recorder.open(driver.folder, now_us=wall_clock_us)

    def carry_out() -> None:
        received = driver.take()
        driver.commit(received, answered(received, "done"))

    on_look += [takes_over, *(lambda: None for _ in range(5)), carry_out]
    assert ask(driver.folder.path, "pause", trial=0).text == "done"


# --- mistakes -----------------------------------------------------------------------------------------


def test_who_may_not_write_the_folder_may_not_steer(driver: Driver, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(self: LocalStorage, key: str, data: bytes) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", str(self.path(key)))

    monkeypatch.setattr(LocalStorage, "replace", refused)
    with pytest.raises(CommandError) as raised:
        ask(driver.folder.path, "pause", trial=0)
    assert str(raised.value).startswith(
        f"{driver.folder}: only who may write the sweep folder can steer it: {driver.folder}/inbox/"
    )
    assert str(raised.value).endswith(".json: Permission denied")


def test_a_disk_without_room(driver: Driver, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(self: LocalStorage, key: str, data: bytes) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", str(self.path(key)))

    monkeypatch.setattr(LocalStorage, "replace", full)
    with pytest.raises(CommandError, match=r"cannot be left in the inbox: .*: No space left on device"):
        ask(driver.folder.path, "pause", trial=0)


def test_a_place_out_of_reach_is_waited_for(driver: Driver, on_look: list[Any]) -> None:
    def out_of_reach() -> None:
        raise OutageError(5, "away")

    def carry_out() -> None:
        received = driver.take()
        driver.commit(received, answered(received, "done"))

    on_look += [out_of_reach, out_of_reach, carry_out]
    assert ask(driver.folder.path, "pause", trial=0).text == "done"


@pytest.mark.parametrize("timeout_s", [-1, float("nan"), "3"])
def test_a_time_that_is_none(driver: Driver, timeout_s: Any) -> None:
    with pytest.raises(UsageError, match=r"pause: timeout_s=.*: needs a number of seconds"):
        ask(driver.folder.path, "pause", timeout_s=timeout_s)


def test_what_is_no_sweep(tmp_path: Path) -> None:
    with pytest.raises(FolderError, match="not a sweep folder"):
        ask(tmp_path, "pause")


def test_two_ask_at_once_and_each_gets_its_own_answer(driver: Driver) -> None:
    told: dict[str, str] = {}

    def client(command: str) -> None:
        told[command] = ask(driver.folder.path, command, trial=0).text

    threads = [threading.Thread(target=client, args=(command,)) for command in ("pause", "unpause")]
    for thread in threads:
        thread.start()
    received: list[CommandReceived] = []
    while len(received) < 2:
        received += driver.inbox.take()
    driver.commit(*received, *(answered(one, f"{one.command}d") for one in received))
    for thread in threads:
        thread.join(30)
    assert told == {"pause": "paused", "unpause": "unpaused"}

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

from caviar.errors import FolderError, UsageError
from caviar.messages import CommandReceived
from caviar.store import inbox
from caviar.store.inbox import Inbox
from caviar.store.layout import SweepFolder
from caviar.store.recorder import Recorder


@pytest.fixture
def box(recorder: Recorder, folder: SweepFolder, clock: Any) -> Inbox:
    return Inbox(folder, now_us=clock)


def test_a_command_arrives_once(box: Inbox, folder: SweepFolder, clock: Any) -> None:
    first = inbox.post(folder.path, "set", trial=3, args={"lr": 0.1, "names": ["é"]})
    assert box.take() == [CommandReceived(clock(), first, "set", 3, {"lr": 0.1, "names": ["é"]})]
    second = inbox.post(str(folder.path), "stop")
    assert box.take() == [CommandReceived(clock(), second, "stop", None, {})]
    assert box.take() == []
    assert box.take_warnings() == []
    assert list((folder.path / ".tmp").iterdir()) == []


def test_commands_arrive_in_the_order_of_their_ids(
    box: Inbox, folder: SweepFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    times_us = [30, 10, 20]
    monkeypatch.setattr(inbox, "wall_clock_us", lambda: times_us.pop(0))
    ids = [inbox.post(folder.path, "stop", trial=trial) for trial in range(3)]
    assert [command.id for command in box.take()] == [ids[1], ids[2], ids[0]]


def test_a_driver_that_died_before_it_answered_finds_the_command_again(box: Inbox, folder: SweepFolder) -> None:
    command = inbox.post(folder.path, "stop")
    assert [found.id for found in box.take()] == [command]
    assert [found.id for found in Inbox(folder).take()] == [command]


def test_what_is_done_is_gone(box: Inbox, folder: SweepFolder) -> None:
    command = inbox.post(folder.path, "stop")
    box.take()
    box.done(command)
    box.done(command)
    assert list((folder.path / "inbox").iterdir()) == []
    assert Inbox(folder).take() == []


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.json", ""),
        ("a.json", "{"),
        ("a.json", "[]"),
        ("a.json", json.dumps({"id": "b", "command": "stop", "trial": None, "args": {}})),
        ("a.json", json.dumps({"id": "a", "command": 3, "trial": None, "args": {}})),
        ("a.json", json.dumps({"id": "a", "command": "stop", "trial": "1", "args": {}})),
        ("a.json", json.dumps({"id": "a", "command": "stop", "trial": True, "args": {}})),
        ("a.json", json.dumps({"id": "a", "command": "stop", "trial": -1, "args": {}})),
        ("a.json", json.dumps({"id": "a", "command": "stop", "trial": None, "args": []})),
        ("a.json", b"\xff\xfe"),
        ("notes.txt", "hello"),
    ],
)
def test_what_is_no_command_is_set_aside_and_said(
    box: Inbox, folder: SweepFolder, name: str, content: str | bytes
) -> None:
    data = content if isinstance(content, bytes) else content.encode()
    (folder.path / "inbox" / name).write_bytes(data)
    command = inbox.post(folder.path, "stop")
    assert [found.id for found in box.take()] == [command]
    [warning] = box.take_warnings()
    assert str(folder.path / "inbox" / name) in warning
    assert f"set aside as {name}.bad" in warning
    assert (folder.path / "inbox" / f"{name}.bad").read_bytes() == data
    assert box.take() == []
    assert box.take_warnings() == []


def test_hidden_files_are_let_be(box: Inbox, folder: SweepFolder) -> None:
    (folder.path / "inbox" / ".nfs0001").touch()
    assert box.take() == []
    assert box.take_warnings() == []


def test_posting_needs_a_sweep_and_json(recorder: Recorder, folder: SweepFolder, tmp_path: Path) -> None:
    with pytest.raises(FolderError, match="not a sweep folder"):
        inbox.post(tmp_path, "stop")
    for value in (object(), math.nan):
        with pytest.raises(UsageError, match=r"set: its arguments .* are not JSON"):
            inbox.post(folder.path, "set", args={"lr": value})
    assert list((folder.path / "inbox").iterdir()) == []


def test_no_command_is_left_that_no_driver_would_take(recorder: Recorder, folder: SweepFolder) -> None:
    for trial in (-1, True, 1.5, 2**63):
        with pytest.raises(UsageError, match=r"set: trial is .*, neither a trial's number nor null"):
            inbox.post(folder.path, "set", trial=trial)  # type: ignore[arg-type]
    deep: list[Any] = []
    for _ in range(200):
        deep = [deep]
    with pytest.raises(UsageError, match="nested deeper than"):
        inbox.post(folder.path, "set", args={"deep": deep})
    with pytest.raises(UsageError, match=r"too long: 1,100,\d{3} bytes, of 1,048,576"):
        inbox.post(folder.path, "set", args={"note": "x" * 1_100_000})
    with pytest.raises(UsageError, match="not UTF-8"):
        inbox.post(folder.path, "set", args={"note": "\udcff"})
    assert list((folder.path / "inbox").iterdir()) == []


def test_a_command_that_was_withdrawn_does_not_arrive(box: Inbox, folder: SweepFolder) -> None:
    command = inbox.post(folder.path, "stop")
    inbox.withdraw(folder, command)
    inbox.withdraw(folder, command)
    assert box.take() == []

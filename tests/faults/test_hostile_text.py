"""A folder from a stranger: JSON that is no declaration, lease, command or marker."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import caviar
from caviar import samplers, schedulers
from caviar.errors import UsageError
from caviar.store.inbox import Inbox
from caviar.store.layout import SweepFolder
from caviar.store.lease import Lease, wall_clock_us
from caviar.store.rows import to_row
from tests.faults.hostile import (
    COMMANDS,
    NOW_US,
    RAW,
    assert_set_aside,
    command,
    copy_of,
    everything,
    fuzz,
    odd,
    opens,
    tables,
    told,
    with_one_odd,
)

# --- JSON that is no declaration, lease, command, marker ---------------------------------------------


@pytest.mark.parametrize("name", ["sweep.json", "lease.json", "inbox/1-a.json"])
@pytest.mark.parametrize("number", range(len(RAW)))
def test_text_that_is_no_object(sweep: Callable[[], Path], name: str, number: int) -> None:
    path = sweep()
    (path / name).write_bytes(RAW[number])
    if name.startswith("inbox"):
        assert_set_aside(path, name)
        return
    errors = [told(call, path) for call in (tables, opens)]
    command("status", str(path))
    assert all(errors) if name == "sweep.json" else not any(errors)
    assert all(str(path / name) in str(error) for error in errors if error)


@fuzz(70)
@given(data=st.data())
def test_a_declaration_that_says_something_odd(whole: Path, data: st.DataObject) -> None:
    sound = json.loads((whole / "sweep.json").read_text())
    member = data.draw(st.sampled_from([None, "space", "sampler", "scheduler", "resources"]))
    drawn = data.draw(with_one_odd(sound if member is None else sound[member]))
    content = drawn if member is None else {**sound, member: drawn}
    if data.draw(st.booleans()):
        entries = content["space"].get("params") if isinstance(content.get("space"), dict) else None
        if isinstance(entries, list) and entries and isinstance(entries[0], dict):
            entry = data.draw(with_one_odd(entries[0]))
            content = {**content, "space": {"params": [entry, *entries[1:]]}}
    with copy_of(whole) as path:
        (path / "sweep.json").write_text(json.dumps(content))
        for error in everything(path, [data.draw(st.sampled_from(COMMANDS))]):
            assert error is None or str(error).startswith(str(path / "sweep.json")), error


@fuzz(100)
@given(data=st.data())
def test_what_a_declaration_declares(data: st.DataObject) -> None:
    read, sound = data.draw(
        st.sampled_from(
            [
                (caviar.Space.from_dict, {"params": [{"name": "lr", "type": "float", "low": 1, "high": 2}]}),
                *((samplers.from_dict, dict(kind().to_dict())) for kind in samplers.SAMPLERS.values()),
                (schedulers.from_dict, dict(caviar.Asha().to_dict())),
                (schedulers.from_dict, dict(caviar.Hyperband().to_dict())),
                (schedulers.from_dict, dict(caviar.MedianStop().to_dict())),
                (schedulers.from_dict, dict(caviar.Patience(3).to_dict())),
            ]
        )
    )
    content = data.draw(with_one_odd(sound) | odd)
    try:
        made = read(content)
        if isinstance(made, caviar.Space):
            made.sample(__import__("numpy").random.default_rng(0))
        elif read is schedulers.from_dict:
            made.begin(max_step=9)
        else:
            made.begin(caviar.Space(lr=caviar.Float(1, 2)), seed=0, trials=1)
    except UsageError as error:
        message = str(error)
        assert "\n" not in message


@fuzz(25)
@given(
    content=with_one_odd({"host": "h", "pid": 1, "process_start": "x", "nonce": "n", "time_us": NOW_US}),
    near=st.booleans(),
)
def test_a_lease_that_says_something_odd(whole: Path, content: dict[str, Any], near: bool) -> None:
    now_us = wall_clock_us() if near else NOW_US
    content = {name: now_us if value == NOW_US else value for name, value in content.items()}
    with copy_of(whole) as path:
        (path / "lease.json").write_text(json.dumps(content))
        lease = Lease.read(SweepFolder(path))
        assert lease is None or lease.held(now_us) in (True, False)
        errors = everything(path, [["status"], ["stop", "--timeout", "0"]])
        assert errors[:2] == [None, None]


# --- the inbox ---------------------------------------------------------------------------------------


@fuzz(100)
@given(content=with_one_odd({"id": "1-a", "command": "stop", "trial": 1, "args": {"x": 1}}) | odd)
def test_a_command_that_says_something_odd(whole: Path, content: Any) -> None:
    with copy_of(whole) as path:
        (path / "inbox" / "1-a.json").write_text(json.dumps(content))
        inbox = Inbox(SweepFolder(path))
        for received in inbox.take():
            text = to_row(received).data  # what the driver does with it first
            assert text.isascii()
            assert received.id == "1-a"
            inbox.done(received.id)
        assert all("\n" not in warning for warning in inbox.take_warnings())
        assert sorted(os.listdir(path / "inbox")) in ([], ["1-a.json.bad"])  # noqa: PTH208


@pytest.mark.parametrize(
    "content",
    ['{"id": "1-a", "command": "stop", "trial": null, "args": {"x": 1e999}}',
     '{"id": "../1-a", "command": "stop", "args": {}}'],
)  # fmt: skip
def test_a_command_that_no_event_could_hold_is_set_aside(sweep: Callable[[], Path], content: str) -> None:
    path = sweep()
    (path / "inbox" / "1-a.json").write_text(content)
    assert_set_aside(path, "inbox/1-a.json")


def test_a_name_that_is_no_text_is_set_aside(sweep: Callable[[], Path]) -> None:
    path = sweep()
    name = os.fsdecode(b"\xff\xfe.json")
    (path / "inbox" / name).write_text(json.dumps({"id": name[:-5], "command": "stop", "args": {}}))
    assert_set_aside(path, f"inbox/{name}")


def test_a_command_longer_than_any_is_set_aside(sweep: Callable[[], Path]) -> None:
    path = sweep()
    with (path / "inbox" / "1-a.json").open("wb") as file:
        file.truncate(2**40)  # a hole: it takes no room
    assert_set_aside(path, "inbox/1-a.json")

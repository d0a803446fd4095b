"""A folder from a stranger that is gone on with, by `caviar resume` and `caviar extend`."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from hypothesis import given
from hypothesis import strategies as st

import caviar
from caviar.cli import main
from caviar.errors import FolderError
from caviar.messages import (
    AttemptLost,
    Checkpointed,
    CheckpointLost,
    CommandAnswered,
    DeclarationChanged,
    DriverStopped,
    Extended,
    ProcessReplaced,
    Recorded,
    TrialReopened,
    WorkerLost,
)
from caviar.store.checkpoints import MARKER, CheckpointFiles
from caviar.store.inbox import Inbox
from caviar.store.layout import SweepFolder
from caviar.store.rows import to_row
from caviar.trial import MAX_TRIALS
from tests.faults.hostile import (
    NO_EVENTS,
    NO_METRICS,
    NOW_US,
    SOUND_DATA,
    STEM,
    copy_of,
    everything,
    fuzz,
    hot,
    no_import_stays,
    odd,
    one_event,
    one_report,
    put,
    with_one_odd,
)

INLINE = ["--executor", "inline"]
RESUME = ["resume", *INLINE]
EXTEND = ["extend", *INLINE, "--trials", "1"]
WAYS = [RESUME, EXTEND, [*RESUME, "--allow-change"], [*EXTEND, "--max-step", "6"], [*EXTEND, "--allow-change"]]

LATER: list[Recorded] = [
    DriverStopped(NOW_US, "Ctrl-C"),
    Extended(NOW_US, 4, 6),
    DeclarationChanged(NOW_US, {"retries": 2, "seed": 3, "metric": "accuracy", "mode": "max"}),
    TrialReopened(NOW_US, 0, 1, 2, 0, {"lr": 0.5, "optimizer": "sgd", "epsilon": 1e-8}, 1, 0, 2),
    Checkpointed(NOW_US, 1, 0, 2),
    CheckpointLost(NOW_US, 1, 0, 2, "gone"),
    AttemptLost(NOW_US, 1, 0, 2, "its node is gone"),
    WorkerLost(NOW_US, "worker", "its node is gone"),
    ProcessReplaced(NOW_US, "worker", "it keeps memory"),
    CommandAnswered(NOW_US, "1-a", True, "done"),
]
SOUND = {**SOUND_DATA, **{row.kind: row for row in map(to_row, LATER)}}
DRIVER = '{"host":"h","pid":1,"version":"0","driven_s":1.5}'


def go_on(path: Path, way: list[str]) -> Result:
    """What going on with the folder came to: an error is one line, and no traceback."""
    name, *rest = way
    with no_import_stays():
        result = CliRunner().invoke(main, [name, str(path), *rest])
    unforeseen = result.exception is not None and not isinstance(result.exception, SystemExit)
    assert not unforeseen, (way, result.exception, result.exc_info)
    assert result.exit_code in (0, 1, 2), result.output
    assert "Traceback" not in result.output
    if result.exit_code:
        assert result.stderr.splitlines()[-1].startswith("caviar: error: "), result.stderr
    return result


def amend(path: Path, **changes: Any) -> None:
    content = json.loads((path / "sweep.json").read_text())
    (path / "sweep.json").write_text(json.dumps({**content, **changes}))


@pytest.mark.parametrize("way", WAYS)
def test_a_sound_folder_is_gone_on_with(sweep: Callable[[], Path], way: list[str]) -> None:
    path = sweep()
    assert go_on(path, way).exit_code == 0
    assert len(caviar.load(path).trials()) == (3 if way[0] == "resume" else 4)


@fuzz(60)
@given(data=st.data())
def test_a_declaration_that_says_something_odd(whole: Path, data: st.DataObject) -> None:
    sound = json.loads((whole / "sweep.json").read_text())
    member = data.draw(st.sampled_from([None, "source", "code", "space", "sampler", "scheduler", "fingerprints"]))
    drawn = data.draw(with_one_odd(sound if member is None else sound[member]))
    with copy_of(whole) as path:
        (path / "sweep.json").write_text(json.dumps(drawn if member is None else {**sound, member: drawn}))
        result = go_on(path, data.draw(st.sampled_from(WAYS)))
        assert result.exit_code == 0 or str(path) in result.stderr or f"{STEM}.py" in result.stderr


@pytest.mark.parametrize(
    "name", ["space", "sampler", "scheduler", "seed", "retries", "first", "max_step", "stop_on_nan", "metric"]
)
def test_a_declaration_that_lacks_something(sweep: Callable[[], Path], name: str) -> None:
    path = sweep()
    content = json.loads((path / "sweep.json").read_text())
    del content[name]
    (path / "sweep.json").write_text(json.dumps(content))
    for way in WAYS:
        result = go_on(path, way)
        told = result.stderr.splitlines()[-1]
        assert (result.exit_code, told) == (2, f"caviar: error: {path}/sweep.json: damaged: {name} is missing")


@pytest.mark.parametrize(
    "source",
    [
        {"file": "x" * 5_000},
        {"file": "a\nb"},
        {"file": "\0"},
        {"file": "/dev/stdin"},
        {"file": "{path}/experiment.py"},
        {"file": "{path}/logs/../experiment.py"},
        {"file": "{link}/experiment.py"},
        {"file": "{file}", "name": "x" * 5_000},
        {"file": "{file}", "name": "\0"},
        {"file": "{file}", "name": "nothing"},
        {"file": "{file}", "changes": {"train": "x"}},
        {"file": "{file}", "changes": {"surprise": 1}},
        {"file": "{file}", "changes": {"trials": "x"}},
        {"file": "{file}", "changes": {"trials": 10**400}},
        {"file": "{file}", "changes": {"cpus": -1}},
        {"file": "{file}", "changes": {"cpus": float("inf")}},
        {"file": "{file}", "changes": {"seed": True}},
        {"file": "{file}", "changes": [1]},
    ],
)
def test_where_it_says_it_was_run_from(sweep: Callable[[], Path], whole: Path, source: dict[str, Any]) -> None:
    path = sweep()
    link = path.parent / "link"
    link.symlink_to(path)
    (path / "experiment.py").write_text("import pathlib\npathlib.Path(__file__).with_name('was_run').touch()\n")
    file = source["file"].format(path=path, link=link, file=whole.parent / f"{STEM}.py")
    amend(path, source={**source, "file": file})
    for way in WAYS:
        result = go_on(path, way)
        assert result.exit_code == 2
        assert result.stderr.count("\n") == 1
        assert len(result.stderr) < 12_000
    assert not (path / "was_run").exists()


@fuzz(90)
@given(kind=st.sampled_from(sorted(SOUND)), data=st.data())
def test_events_that_say_something_odd(whole: Path, kind: str, data: st.DataObject) -> None:
    sound = json.loads(SOUND[kind].data)
    other = with_one_odd(sound) if sound else st.dictionaries(st.text(max_size=3), odd, max_size=1)
    content = data.draw(st.one_of(st.just(sound), other))
    if kind == "declaration_changed" and data.draw(st.booleans()):
        declared = json.loads((whole / "sweep.json").read_text())
        content = {"changes": {data.draw(st.sampled_from(sorted(declared))): data.draw(odd)}}
    numbers = {name: data.draw(st.sampled_from([0, 1, 3])) for name in ("trial", "attempt", "step")}
    with copy_of(whole) as path:
        hot(path, NO_METRICS, one_event(kind, json.dumps(content), **numbers))
        everything(path, [["status"], ["events", "--json"]])
        go_on(path, data.draw(st.sampled_from(WAYS)))


@pytest.mark.parametrize(
    ("kind", "data", "changed"),
    [
        ("declaration_changed", '{"changes":{"metric":3}}', {}),
        ("declaration_changed", '{"changes":{"mode":"most"}}', {}),
        ("declaration_changed", '{"changes":{"space":{"params":[1]}}}', {}),
        ("declaration_changed", '{"changes":{"trials":1e9}}', {}),
        ("declaration_changed", '{"changes":{"scheduler":{"name":"surprise"}}}', {}),
        ("declaration_changed", '{"changes":{"sampler":{"name":"grid","points":"many"}}}', {}),
        ("declaration_changed", '{"changes":{"seed":"x"}}', {}),
        ("declaration_changed", '{"changes":[]}', {}),
        ("declaration_changed", "{}", {}),
        ("extended", "{}", {}),
        ("extended", '{"trials":0}', {}),
        ("extended", f'{{"trials":{2**40}}}', {}),
        ("extended", '{"trials":4,"max_step":0}', {}),
        ("extended", '{"trials":4,"max_step":"far"}', {}),
        ("trial_reopened", SOUND["trial_reopened"].data, {"trial": 1}),  # it has not ended
        ("trial_reopened", SOUND["trial_reopened"].data, {"trial": 7}),
        ("trial_reopened", SOUND["trial_reopened"].data, {"step": None}),
        ("trial_reopened", '{"stage":0,"params":{"lr":NaN},"seed":1,"checkpoint":0}', {"trial": 0}),
        ("trial_reopened", '{"stage":0,"params":{},"seed":1,"checkpoint":"x"}', {"trial": 0}),
        ("trial_sampled", '{"stage":0,"params":{},"seed":1}', {"trial": 9}),
        ("trial_started", '{"worker":"w"}', {"trial": 0}),  # it has ended
        ("trial_ended", '{"status":"completed"}', {"trial": 0}),
        ("checkpoint_lost", "{}", {"trial": 1}),
        ("checkpointed", "{}", {"trial": 0}),
        ("driver_started", '{"host":"h","pid":1,"version":"0","driven_s":"long"}', {}),
        ("process_replaced", '{"worker":1,"reason":"r"}', {}),
        ("attempt_failed", '{"reason":"r","retry_in_s":[]}', {"trial": 1}),
    ],
)
def test_events_that_cannot_be(
    sweep: Callable[[], Path], kind: str, data: str, changed: dict[str, int | None]
) -> None:
    path = sweep()
    hot(path, NO_METRICS, one_event(kind, data, **changed))
    for way in (EXTEND, [*EXTEND, "--allow-change"]):
        result = go_on(path, way)
        assert result.exit_code == 2
        assert result.stderr.startswith(f"caviar: error: {path}")


@pytest.mark.parametrize("driven_s", ['"nan"', '"inf"', '"-inf"', "1e308", "-1e11"])
def test_a_time_that_nobody_can_count_is_refused(sweep: Callable[[], Path], driven_s: str) -> None:
    path = sweep()
    hot(path, NO_METRICS, one_event("driver_started", DRIVER.replace("1.5", driven_s)))
    for way in WAYS:
        result = go_on(path, way)
        assert result.exit_code == 2 or (way[0] == "resume" and "has ended already" in result.stderr)


def test_reports_of_a_trial_that_was_never_sampled(sweep: Callable[[], Path]) -> None:
    path = sweep()
    hot(path, one_report(trial=MAX_TRIALS - 1), NO_EVENTS)
    for way in WAYS:
        assert "was never sampled" in go_on(path, way).stderr


@fuzz(30)
@given(content=with_one_odd({"trials": 1, "max_step": 6, "space": None}))
def test_a_command_to_extend_that_says_something_odd(whole: Path, content: dict[str, Any]) -> None:
    with copy_of(whole) as path:
        command = {"id": "1-a", "command": "extend", "trial": None, "args": content}
        (path / "inbox" / "1-a.json").write_text(json.dumps(command))
        go_on(path, EXTEND)
        assert not (path / "inbox" / "1-a.json").exists()
        if "1-a.json.bad" not in [each.name for each in (path / "inbox").iterdir()]:
            assert "command_answered" in set(caviar.load(path).events().kind)


@pytest.mark.parametrize("args", [{"trials": MAX_TRIALS}, {"trials": 2**53 - 1}, {"max_step": 2**53 + 1}])
def test_a_command_to_extend_beyond_what_a_folder_can_hold(
    sweep: Callable[[], Path], args: dict[str, int]
) -> None:
    path = sweep()
    command = {"id": "1-a", "command": "extend", "trial": None, "args": args}
    (path / "inbox" / "1-a.json").write_text(json.dumps(command))
    assert go_on(path, EXTEND).exit_code == 0
    result = caviar.load(path)
    assert len(result.trials()) == 4
    answers = result.events().query("kind == 'command_answered'").data
    assert [answer["applied"] for answer in answers] == [False]


@pytest.mark.parametrize("kind", ["pipe", "link", "dangling link", "socket"])
def test_what_a_trial_prints_goes_to_no_other_place(
    sweep: Callable[[], Path], kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = sweep()
    monkeypatch.chdir(path.parent)
    (path / "logs").mkdir(exist_ok=True)
    put(kind, path / "logs" / "1.log")
    log = CheckpointFiles(str(path)).log(1)
    with log.open("a") as file:
        file.write("printed")
    assert (path / "logs" / "1.log").read_text() == "printed"
    assert [each.read_text() for each in (path.parent / "outside").iterdir()] == ["mine"]


def test_no_checkpoint_is_written_or_removed_behind_a_link(sweep: Callable[[], Path]) -> None:
    path = sweep()
    files = CheckpointFiles(str(path))
    outside = path.parent / "outside"
    shutil.move(path / "checkpoints/0", outside / "moved")
    (path / "checkpoints/0").symlink_to(outside / "moved")
    with pytest.raises(FolderError, match="through a link"), files.checkpoint(0, 1, 3) as place:
        (place / "weights").write_text("w")
    with pytest.raises(FolderError, match="through a link"):
        files.discard(0, (0, 2))
    assert sorted(each.name for each in outside.rglob("*")) == ["0", "2", MARKER, "moved", "precious", "weights"]
    assert not list((path / ".tmp").iterdir())


def test_an_inbox_is_not_read_behind_a_link(sweep: Callable[[], Path]) -> None:
    path = sweep()
    shutil.rmtree(path / "inbox")
    (path / "inbox").symlink_to(path.parent / "outside")
    for way in WAYS:
        assert "inbox: is a link" in go_on(path, way).stderr
    with pytest.raises(FolderError):
        Inbox(SweepFolder.find(path)).take()

"""A sweep folder from a stranger: whatever its files hold, it is told in one line, and nothing outside is touched.

The checksum of a commit tells of accidents alone, so the files here that are wrong have one that is right. Runs
are repeatable: hypothesis draws the same examples every time.
"""

from __future__ import annotations

import contextlib
import json
import os
import pickle
import random
import resource
import shutil
import socket
import struct
import subprocess
import sys
import tempfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cloudpickle
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import caviar
from caviar import samplers, schedulers
from caviar.cli import main
from caviar.errors import CaviarError, FolderError, UsageError
from caviar.messages import (
    AttemptFailed,
    CommandReceived,
    Decided,
    DriverStarted,
    Reports,
    StageOpened,
    StopOrdered,
    SweepEnded,
    SweepStarted,
    TrialEnded,
    TrialSampled,
    TrialStarted,
)
from caviar.store import part, segment
from caviar.store.checkpoints import MARKER, CheckpointFiles
from caviar.store.inbox import Inbox
from caviar.store.layout import SweepFolder
from caviar.store.lease import Lease, wall_clock_us
from caviar.store.part import encode_part
from caviar.store.reader import Reader
from caviar.store.recorder import Recorder
from caviar.store.rows import to_row
from caviar.store.tables import EVENTS, METRICS, events_table, metrics_table

ROOT = Path(__file__).parents[2]
NOW_US = 1_780_000_000_000_000
SPACE = caviar.Space(lr=caviar.Float(0, 1), optimizer=caviar.Choice(["sgd", "adam"]), epsilon=1e-8)
PART = "part-000000000001.parquet"


def fuzz(examples: int) -> Callable[[Any], Any]:
    """The same examples in every run."""
    return settings(
        max_examples=examples,
        derandomize=True,
        deadline=None,
        database=None,
        suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    )


def declaration() -> dict[str, Any]:
    sweep = caviar.Sweep(lambda trial: None, SPACE, metric="loss", trials=3, max_step=4)
    return sweep.declaration("hostile")


def story() -> list[Any]:
    params = {"lr": 0.5, "optimizer": "sgd", "epsilon": 1e-8}
    return [
        SweepStarted(NOW_US, 3),
        StageOpened(NOW_US, 0, SPACE.to_dict()),
        DriverStarted(NOW_US, "host", 1, "0"),
        *(TrialSampled(NOW_US + trial, trial, 0, params, trial) for trial in range(3)),
        *(TrialStarted(NOW_US + trial, trial, 0, "worker") for trial in range(3)),
        Decided(NOW_US + 5, 0, 0, 2, 2, 0.5, "continue"),
        AttemptFailed(NOW_US + 6, 1, 0, 2, "ValueError: no", "Traceback"),
        StopOrdered(NOW_US + 7, 2, "by hand"),
        CommandReceived(NOW_US + 8, "1-a", "stop", 2, {"x": [1]}),
        TrialEnded(NOW_US + 9, 0, 0, 4, "completed", None, None, 0.25, 0.25, 4),
        TrialEnded(NOW_US + 9, 2, 0, 4, "stopped", "by hand", None, 0.25, 0.25, 4),
    ]


def reports(*trials: int, names: tuple[str, ...] = ("loss", "accuracy")) -> Reports:
    import numpy as np

    trial = np.repeat(np.array(trials, np.int64), 4)
    seq = np.tile(np.arange(4), len(trials))
    values = np.ones((len(trial), len(names))) / (seq[:, None] + 1)
    return Reports(names, trial, trial * 0, seq, seq + 1, NOW_US + seq, values)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sound sweep folder: parts that cover commit 1, commit 2 in `_hot`, a command, a lease and a checkpoint."""
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(
        prefix="caviar-test-", dir=memory if os.access(memory, os.W_OK) else None
    ) as name:
        path = Path(name) / "sweep"
        folder = SweepFolder(path)
        recorder = Recorder.create(folder, declaration(), now_us=wall_clock_us)
        recorder.commit([reports(0, 1)], [to_row(event) for event in story()])
        recorder.roll()
        recorder.commit([reports(2)], [to_row(SweepEnded(NOW_US + 10, "done"))])
        (path / folder.lease_json).unlink()
        files = CheckpointFiles(str(path))
        with files.checkpoint(0, 0, 2) as place:
            (place / "weights").write_bytes(b"12345")
        yield path


@pytest.fixture
def sweep(whole: Path) -> Iterator[Callable[[], Path]]:
    """Makes fresh copies of it, beside a file that nobody may touch."""
    with contextlib.ExitStack() as stack:

        def fresh() -> Path:
            name = stack.enter_context(tempfile.TemporaryDirectory(prefix="caviar-test-", dir=whole.parent.parent))
            path = Path(name) / "sweep"
            shutil.copytree(whole, path, symlinks=True)
            (Path(name) / "outside").mkdir()
            (Path(name) / "outside" / "precious").write_text("mine")
            return path

        yield fresh


@contextlib.contextmanager
def copy_of(whole: Path) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="caviar-test-", dir=whole.parent.parent) as name:
        path = Path(name) / "sweep"
        shutil.copytree(whole, path, symlinks=True)
        yield path


# --- what users call ----------------------------------------------------------------------------------


def told(call: Callable[[Path], object], path: Path) -> CaviarError | None:
    """The error that a call ends with, if it does: one of caviar's, in one line, that names the folder."""
    try:
        call(path)
    except CaviarError as error:
        text = str(error)
        assert str(path) in text, text
        assert "\n" not in text, text
        assert len(text) < 3_000
        return error
    return None


def tables(path: Path) -> None:
    result = caviar.load(path)
    frame = result.trials()
    assert len(frame) == sum(result.counts().values())
    result.curves()
    result.curves(tidy=True, params=result.params, attempts="all")
    result.events()
    result.top(3)
    result.savings()
    result.elapsed_s()
    if len(result.top(1)):
        result.best  # noqa: B018 - a property that may raise
    repr(result)


def reads(path: Path) -> None:
    reader = Reader(path)
    reader.refresh()
    reader.state()
    reader.read()
    reader.refresh()


def opens(path: Path) -> None:
    Recorder.open(SweepFolder(path), now_us=wall_clock_us).close()


def restores(path: Path) -> None:
    CheckpointFiles(str(path)).restore(0, (0, 2))


COMMANDS = [
    ["status"],
    ["status", "--json"],
    ["watch"],
    ["watch", "--json"],
    ["events"],
    ["events", "--json"],
    ["events", "--trial", "0"],
    ["trials"],
    ["trials", "--csv"],
    ["trials", "--json", "--sort", "lr"],
    ["best"],
    ["best", "--top", "3"],
    ["best", "--json"],
    ["curves"],
    ["curves", "--trial", "1"],
    ["curves", "--csv"],
    ["stop", "--timeout", "0"],
]


def commands(path: Path, chosen: list[list[str]] = COMMANDS) -> list[int]:
    return [command(name, str(path), *options) for name, *options in chosen]


def command(*args: str) -> int:
    """The exit status of a command that may fail, but only in one line."""
    result = CliRunner().invoke(main, list(args))
    unforeseen = result.exception is not None and not isinstance(result.exception, SystemExit)
    assert not unforeseen, (args, result.exception, result.exc_info)
    assert result.exit_code in (0, 1, 2), (args, result.output)
    if result.exit_code:
        lines = result.stderr.splitlines()
        assert lines, (args, result.output)
        assert len(lines) == 1 or "no driver has it in hand" in lines[-1], (args, result.stderr)
        assert lines[0].startswith("caviar: error: ") or "no driver has it in hand" in lines[0], (
            args,
            result.stderr,
        )
        assert "Traceback" not in result.stderr
    return result.exit_code


def everything(path: Path, chosen: list[list[str]] | None = None) -> list[CaviarError | None]:
    """All that a user may do with a folder; the errors of the calls."""
    errors = [told(call, path) for call in (tables, reads)]
    commands(path, COMMANDS if chosen is None else chosen)
    return [*errors, told(opens, path)]  # the last, as it writes


FEW = [COMMANDS[number] for number in (0, 5, 8, 14)]


def test_a_sound_folder_passes(sweep: Callable[[], Path]) -> None:
    path = sweep()
    assert everything(path) == [None, None, None]
    assert set(commands(path)) == {0, 2}  # there is nothing to stop


# --- any bytes ----------------------------------------------------------------------------------------

FILES = [
    "sweep.json",
    "lease.json",
    "_hot/000000000000.arrow",
    "_hot/000000000002.arrow",
    f"metrics/{PART}",
    f"events/{PART}",
    "metrics/part-000000000000.parquet",
]


@fuzz(20)
@given(name=st.sampled_from(FILES), data=st.binary(max_size=300))
def test_random_bytes(whole: Path, name: str, data: bytes) -> None:
    with copy_of(whole) as path:
        (path / name).write_bytes(data)
        errors = everything(path, FEW)
        assert name == "lease.json" or any(errors)


def with_checksum(stream: bytes) -> bytes:
    """A commit's file around these bytes, as `encode` would finish it."""
    return stream + struct.pack("<8sQI", b"CAVIAR\r\n", len(stream), zlib.crc32(stream))


def battered(data: bytes, rng: random.Random) -> bytes:
    """A file to which accidents happened: flipped bytes, a piece cut out, doubled, or cut off."""
    damaged = bytearray(data)
    for _ in range(rng.choice([1, 1, 2, 8])):
        start = rng.randrange(len(damaged))
        piece = slice(start, start + rng.choice([1, 4, 8, 64]))
        match rng.randrange(6):
            case 0 | 1:
                damaged[start] ^= 1 << rng.randrange(8)
            case 2:
                damaged[piece] = rng.choice([b"\xff", b"\x00", b"\x7f"]) * len(damaged[piece])
            case 3:
                damaged[start:start] = damaged[piece]
            case 4 if len(damaged) > 200:
                del damaged[piece]
            case 5 if len(damaged) > 200:
                del damaged[rng.randrange(100, len(damaged)) :]
    return bytes(damaged)


@fuzz(120)
@given(name=st.sampled_from(FILES[0:1] + FILES[3:6]), rng=st.randoms(use_true_random=False))
def test_battered_files(whole: Path, name: str, rng: random.Random) -> None:
    with copy_of(whole) as path:
        data = battered((path / name).read_bytes(), rng)
        if name.startswith("_hot"):
            data = with_checksum(battered((path / name).read_bytes()[:-20], rng))
        (path / name).write_bytes(data)
        everything(path, [rng.choice(COMMANDS)])


def parts_by_others(table: pa.Table) -> Iterator[bytes]:
    """A part as other programs write it: without a checksum of each page, which would find every accident."""
    told_of = {"caviar.format": "1", "caviar.first_commit": "1", "caviar.last_commit": "2", "caviar.nonce": "n"}
    for compression in ("none", "zstd"):
        for dictionary in (True, False):
            sink = pa.BufferOutputStream()
            pq.write_table(
                table.replace_schema_metadata(told_of), sink, compression=compression, use_dictionary=dictionary
            )
            yield sink.getvalue().to_pybytes()


def test_battered_files_whose_checksums_are_right(tmp_path: Path) -> None:
    metrics, events = metrics_table([reports(0, 1)]), events_table([to_row(event) for event in story()], 0)
    sound: list[tuple[Path, bytes]] = []
    for which, table in (("metrics", metrics), ("events", events)):
        (tmp_path / which).mkdir()
        sound += [(tmp_path / which / PART, data) for data in parts_by_others(table)]
    hot(tmp_path, metrics, events)
    commit = tmp_path / "_hot" / "000000000003.arrow"
    stream = segment.encode(segment.Segment(3, "n", segment.SegmentKind.COMMIT, metrics, events))
    sound += [(commit, data[:-20]) for data in (stream, commit.read_bytes())] * 3

    def read(path: Path) -> None:
        if path == commit:
            segment.decode(str(path), path.read_bytes())
        else:
            folder, key = SweepFolder(tmp_path), path.relative_to(tmp_path).as_posix()
            part.read_footer(folder, key)
            part.read_part(folder, key)

    refused = 0
    for seed in range(2_000):
        rng = random.Random(seed)
        path, data = rng.choice(sound)
        damaged = battered(data, rng)
        path.write_bytes(with_checksum(damaged) if path == commit else damaged)
        try:
            refused += told(read, path) is not None
        except BaseException as error:
            error.add_note(f"seed {seed}")
            raise
    assert refused > 500


# --- JSON that is no declaration, lease, command, marker ----------------------------------------------

DEEP = "[" * 60_000 + "]" * 60_000
DEEPISH = "[" * 400 + "]" * 400
"""So deep that the parser takes it, and what walks through it later would not."""

odd = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.sampled_from([-1, 2**31, 2**62, 2**63, 2**64, 10**400, -(10**400), 1e308, 5e-324, 0.5, float("nan")]),
    st.sampled_from([float("inf"), "", "nan", "\ud800", "\0", "../../etc/passwd", "x" * 5_000, "a\nb", "\x1b[2J"]),
    st.sampled_from([[], {}, [[]], {"": {}}, {"params": [{}]}, {"params": [{"name": "a", "type": []}]}]),
    st.recursive(
        st.integers() | st.text(max_size=3),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(max_size=3), inner),
        max_leaves=5,
    ),
)


def with_one_odd(sound: dict[str, Any]) -> st.SearchStrategy[dict[str, Any]]:
    """An object with a key taken away, another's value replaced, or one added."""
    keys = st.sampled_from(sorted(sound))
    changed = st.builds(lambda key, value: {**sound, key: value}, keys, odd)
    without = st.builds(lambda key: {name: value for name, value in sound.items() if name != key}, keys)
    more = st.builds(lambda key, value: {**sound, key: value}, st.text(max_size=5), odd)
    return st.one_of(changed, changed, changed, without, more)


RAW = [
    b"",
    b"\x00",
    b"\xff\xfe{}",
    b"\xef\xbb\xbf{}",
    b'{"format": 1, "created_us": 1, "metric": "\xff"}',
    "{}".encode("utf-16"),
    b"null",
    b"[]",
    b"1" * 10_000,
    DEEP.encode(),
    ('{"a":' * 60_000 + "1" + "}" * 60_000).encode(),
    b'{"format": 1, "format": 2}',
    b'{"format": true}',
    b'{"format": 1.0}',
    b'{"format": NaN}',
    ('{"format": 1, "x": ' + DEEPISH + "}").encode(),
]


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


# --- the inbox ----------------------------------------------------------------------------------------


def assert_set_aside(path: Path, name: str) -> None:
    inbox = Inbox(SweepFolder(path))
    assert inbox.take() == []
    [warning] = inbox.take_warnings()
    assert str(path / name) in warning
    assert "\n" not in warning
    assert inbox.take() == []
    assert not inbox.take_warnings()


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


# --- checkpoints --------------------------------------------------------------------------------------


@fuzz(60)
@given(content=with_one_odd({"format": 1, "sizes_bytes": {"weights": 5}}) | odd)
def test_a_marker_that_says_something_odd(whole: Path, content: Any) -> None:
    with copy_of(whole) as path:
        place = path / "checkpoints/0/0/2"
        (place / MARKER).write_text(json.dumps(content))
        told(restores, path)


@pytest.mark.parametrize(
    "name",
    ["../../../../outside/precious", "/etc/passwd", "..", "", ".", "a/../../../../../outside/precious", "\0",
     "\ud800", "link", "x" * 5_000],
)  # fmt: skip
def test_a_marker_names_nothing_outside_its_checkpoint(sweep: Callable[[], Path], name: str) -> None:
    path = sweep()
    place = path / "checkpoints/0/0/2"
    (place / "a").mkdir()
    (place / "link").symlink_to(path.parent / "outside" / "precious")
    (place / MARKER).write_text(json.dumps({"format": 1, "sizes_bytes": {name: 4}}))
    error = told(restores, path)
    assert error is not None
    assert "has 4 bytes" not in str(error)


def test_raw_markers(sweep: Callable[[], Path]) -> None:
    path = sweep()
    place = path / "checkpoints/0/0/2"
    for raw in RAW:
        (place / MARKER).write_bytes(raw)
        assert told(restores, path) is not None


@pytest.mark.parametrize("where", ["checkpoints/0", "checkpoints/0/0", "checkpoints/0/0/2"])
def test_a_checkpoint_behind_a_link_is_refused(sweep: Callable[[], Path], where: str) -> None:
    path = sweep()
    (path / where).rename(path.parent / "outside" / "moved")
    (path / where).symlink_to(path.parent / "outside" / "moved")
    assert told(restores, path) is not None


def test_a_checkpoint_that_needs_a_file_outside_is_not_made(sweep: Callable[[], Path]) -> None:
    path = sweep()
    with (
        pytest.raises(UsageError, match="leads out of it"),
        CheckpointFiles(str(path)).checkpoint(1, 0, 1) as place,
    ):
        (place / "weights").symlink_to(path.parent / "outside" / "precious")
    with CheckpointFiles(str(path)).checkpoint(1, 0, 1) as place:
        (place / "weights").write_text("w")
        (place / "last").symlink_to("weights")
    CheckpointFiles(str(path)).restore(1, (0, 1))


# --- what is not a file -------------------------------------------------------------------------------

KINDS = ["pipe", "folder", "link", "dangling link", "loop", "socket", "hole"]


def put(kind: str, place: Path) -> None:
    """Something in place of a file."""
    if place.is_dir():
        shutil.rmtree(place)
    place.unlink(missing_ok=True)
    outside = place.parents[1] if place.parent.name == "sweep" else place.parents[2]
    match kind:
        case "pipe":
            os.mkfifo(place)
        case "folder":
            place.mkdir()
        case "link":
            place.symlink_to(outside / "outside" / "precious")
        case "dangling link":
            place.symlink_to(outside / "nothing")
        case "loop":
            place.symlink_to(place)
        case "socket":
            with socket.socket(socket.AF_UNIX) as made:
                made.bind(os.path.relpath(place))  # a whole path may be too long for a socket
        case _:
            with place.open("wb") as file:
                file.truncate(2**42)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", [*FILES[:6], "inbox/1-a.json", f"checkpoints/0/0/2/{MARKER}"])
def test_what_is_no_file_is_neither_waited_for_nor_followed(
    sweep: Callable[[], Path], kind: str, name: str
) -> None:
    path = sweep()
    put(kind, path / name)
    if name.startswith("inbox"):
        assert_set_aside(path, name)
    elif name.startswith("checkpoints"):
        assert told(restores, path) is not None
    else:
        errors = everything(path, FEW[:2])
        assert any(errors) or name == "lease.json"
    assert (path.parent / "outside" / "precious").read_text() == "mine"


@pytest.mark.parametrize("name", ["_hot", "metrics", "events", "inbox", "checkpoints", "logs", ".tmp"])
@pytest.mark.parametrize("kind", ["link", "file"])
def test_folders_that_are_none(sweep: Callable[[], Path], name: str, kind: str) -> None:
    path = sweep()
    outside = path.parent / "outside"
    shutil.rmtree(path / name, ignore_errors=True)
    if kind == "link":
        (path / name).symlink_to(outside)
    else:
        (path / name).write_text("a file")
    errors = everything(path, FEW)
    assert kind == "file" or all(errors)
    with contextlib.suppress(FolderError):
        Inbox(SweepFolder.find(path)).take()
    assert [each.name for each in outside.iterdir()] == ["precious"]


def test_a_sweep_may_itself_lie_behind_a_link(sweep: Callable[[], Path]) -> None:
    path = sweep()
    link = path.parent / "link"
    link.symlink_to(path)
    assert everything(link) == [None, None, None]
    CheckpointFiles(str(link)).restore(0, (0, 2))


# --- tables that no recorder wrote --------------------------------------------------------------------


def hot(path: Path, metrics: pa.Table, events: pa.Table, /, **changed: str) -> None:
    """Commit 3 with these tables, of any schema, and metadata as `encode` gives them but for what is changed."""
    metadata = {"caviar.format": "1", "caviar.commit": "3", "caviar.nonce": "n", "caviar.kind": "commit"}
    cells = []
    for table in (metrics, events):
        [batch] = table.combine_chunks().to_batches() or [pa.RecordBatch.from_pylist([], schema=table.schema)]
        cells.append(pa.ListArray.from_arrays(pa.array([0, len(batch)], pa.int32()), batch.to_struct_array()))
    told = {f"caviar.{name}": value for name, value in changed.items()}
    names = [name for name in ("metrics", "events") if name not in changed]
    fields = [pa.field(name, cell.type) for name, cell in zip(("metrics", "events"), cells, strict=True)]
    schema = pa.schema([field for field in fields if field.name in names], metadata={**metadata, **told})
    kept = [cell for name, cell in zip(("metrics", "events"), cells, strict=True) if name in names]
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, schema) as writer:
        writer.write_batch(pa.record_batch(kept, schema=schema))
    (path / "_hot").mkdir(exist_ok=True)
    (path / "_hot" / "000000000003.arrow").write_bytes(with_checksum(sink.getvalue().to_pybytes()))


def as_part(path: Path, metrics: pa.Table, events: pa.Table) -> None:
    """Parts of commit 3, and so of commit 2 too, with these tables."""
    for which, table in (("metrics", metrics), ("events", events)):
        data = encode_part(table, 2, last=3, nonce="n")
        (path / which / "part-000000000002.parquet").write_bytes(data)


NO_METRICS, NO_EVENTS = METRICS.empty_table(), EVENTS.empty_table()


@pytest.mark.parametrize("write", [hot, as_part])
def test_rows_that_are_sound_are_read_either_way(sweep: Callable[[], Path], write: Callable[..., None]) -> None:
    path = sweep()
    write(path, metrics_table([reports(1)]), events_table([to_row(SweepEnded(NOW_US + 11, "done"))], 20))
    assert everything(path) == [None, None, None]


@pytest.mark.parametrize(
    "changed",
    [
        {"commit": "4"},
        {"commit": "-3"},
        {"commit": "three"},
        {"commit": "9" * 5_000},
        {"kind": "surprise"},
        {"kind": "seal"},
        {"format": "2"},
        {"format": "\udcff".encode("utf-8", "surrogateescape").decode("latin-1")},
        {"metrics": ""},
        {"events": ""},
    ],
)
def test_a_commit_that_is_not_what_it_says(sweep: Callable[[], Path], changed: dict[str, str]) -> None:
    path = sweep()
    hot(path, NO_METRICS, events_table([to_row(SweepEnded(NOW_US, "done"))], 20), **changed)
    for error in everything(path, FEW):
        assert "_hot/000000000003.arrow: " in str(error)


@pytest.mark.parametrize(
    "changed",
    [
        {"first_commit": "0"},
        {"last_commit": "-1"},
        {"last_commit": "x"},
        {"last_commit": "0"},
        {"last_commit": str(2**62)},
        {"last_commit": str(10**12 - 1)},
        {"nonce": b"\xff"},
        {"nonce": None},
        {"format": None},
    ],
)
@pytest.mark.parametrize("which", ["metrics", "events"])
def test_a_part_that_is_not_what_it_says(
    sweep: Callable[[], Path], which: str, changed: dict[str, bytes | str | None]
) -> None:
    path = sweep()
    table = pq.read_table(path / which / PART)
    metadata = {key: value for key, value in table.schema.metadata.items() if key.startswith(b"caviar")}
    for name, value in changed.items():
        key = f"caviar.{name}".encode()
        metadata.pop(key)
        if value is not None:
            metadata[key] = value.encode() if isinstance(value, str) else value
    pq.write_table(table.replace_schema_metadata(metadata), path / which / PART)
    for error in everything(path, FEW):
        assert f"{which}/part-" in str(error)


def one_report(**changed: Any) -> pa.Table:
    row = {
        "trial": 1,
        "attempt": 0,
        "seq": 4,
        "step": 5,
        "time": NOW_US,
        "metric": "loss",
        "value": 0.5,
        **changed,
    }
    return pa.table(
        {name: pa.array([row[name]], METRICS.field(name).type) for name in METRICS.names}, schema=METRICS
    )


def one_event(kind: str = "noted", data: str = "{}", **changed: Any) -> pa.Table:
    row = {"seq": 16, "time": NOW_US, "kind": kind, "trial": 1, "attempt": 0, "step": 1, "data": data, **changed}
    return pa.table({name: pa.array([row[name]], EVENTS.field(name).type) for name in EVENTS.names}, schema=EVENTS)


BAD_TABLES: dict[str, tuple[pa.Table, pa.Table]] = {
    **{f"{name} null": (one_report(**{name: None}), NO_EVENTS) for name in METRICS.names},
    **{f"event {name} null": (NO_METRICS, one_event(**{name: None})) for name in ("seq", "time", "kind", "data")},
    **{
        f"{name} {value}": (one_report(**{name: value}), NO_EVENTS)
        for name in ("trial", "seq", "step", "time")
        for value in (-1, -(2**62), 2**62 + 1)
    },
    **{
        f"{kind} {name} {value}": (NO_METRICS, one_event(kind, **{name: value}))
        for kind in ("trial_started", "noted")
        for name in ("seq", "trial", "step", "time")
        for value in (-1, 2**62 + 1)
    },
    "trial 2**27": (one_report(trial=2**27), NO_EVENTS),
    "attempt -1": (one_report(attempt=-1), NO_EVENTS),
    "reserved": (one_report(metric="trial"), NO_EVENTS),
    "a column more": (one_report().append_column("more", pa.array([1])), NO_EVENTS),
    "a column less": (one_report().drop_columns(["seq"]), NO_EVENTS),
    "another order": (one_report().select(METRICS.names[::-1]), NO_EVENTS),
    "other types": (one_report().set_column(0, "trial", pa.array([1.5])), NO_EVENTS),
    "plain metric": (one_report().set_column(5, "metric", pa.array(["loss"])), NO_EVENTS),
    "local times": (one_report().set_column(4, "time", pa.array([NOW_US], pa.timestamp("us"))), NO_EVENTS),
    "data is binary": (NO_METRICS, one_event().set_column(6, "data", pa.array([b"{}"]))),
    "swapped": (one_event(), one_report()),
    "a null metric": (
        one_report().set_column(
            5, "metric", pa.DictionaryArray.from_arrays(pa.array([0], pa.int32()), pa.array([None], pa.string()))
        ),
        NO_EVENTS,
    ),
    "not UTF-8": (
        NO_METRICS,
        one_event().set_column(6, "data", pa.array([b"\xff"]).view(pa.string())),
    ),
}  # fmt: skip


@pytest.mark.parametrize(
    ("what", "write"),
    # Parquet knows no null within a dictionary
    [
        (what, write)
        for what in BAD_TABLES
        for write in (hot, as_part)
        if (what, write) != ("a null metric", as_part)
    ],
)
def test_tables_that_no_recorder_wrote(sweep: Callable[[], Path], write: Callable[..., None], what: str) -> None:
    path = sweep()
    write(path, *BAD_TABLES[what])
    for error in everything(path, FEW[:1])[:2]:
        assert "000000000003.arrow" in str(error) or "part-000000000002.parquet" in str(error)


SOUND_DATA = {row.kind: row for row in (to_row(event) for event in story())}


@pytest.mark.parametrize(
    ("kind", "data", "changed"),
    [
        *((kind, data, {}) for kind in SOUND_DATA for data in ("", "nonsense", "[]", "null", "{},{}", "{}]", "1")),
        *((kind, "{}", {}) for kind in SOUND_DATA if kind not in ("checkpointed",)),
        *(("trial_ended", f'{{"status":{status}}}', {}) for status in ("1", '"surprise"', '"<script>"', "null")),
        *(("noted", text, {}) for text in (DEEP, '{"a":' + DEEPISH + "}", '{"a":"\\ud800"}')),
        ("trial_sampled", '{"stage":0,"params":{"lr":[1]},"seed":1}', {"trial": 3}),
        ("trial_sampled", '{"stage":1e5,"params":{},"seed":1}', {"trial": 3}),
        ("trial_sampled", '{"stage":0,"params":{},"seed":1}', {"trial": 0}),  # a second time
        ("trial_sampled", '{"stage":0,"params":{},"seed":1}', {"trial": 9}),
        ("trial_sampled", '{"stage":' + "9" * 30 + ',"params":{},"seed":1}', {"trial": 3}),
        ("trial_started", '{"worker":"w","restored":' + "9" * 30 + "}", {}),
        ("trial_started", '{"worker":"w"}', {"trial": 77}),
        ("trial_started", '{"worker":"w"}', {"trial": None}),
        ("trial_ended", '{"status":"failed"}', {"trial": 77}),
        ("trial_ended", '{"status":"failed"}', {"attempt": None}),
        ("trial_ended", '{"status":"failed"}', {"step": None}),
        ("decision", '{"rung":1,"value":"much","decision":"stop"}', {}),
        ("decision", '{"rung":1,"value":1' + "0" * 400 + ',"decision":"stop"}', {}),
        ("stage_opened", '{"stage":1,"space":{"params":[1]}}', {}),
        ("stage_opened", '{"stage":1,"space":{}}', {}),
        ("sweep_started", '{"trials":"many"}', {}),
        ("command_answered", '{"id":1,"applied":1,"text":1}', {}),
    ],
)
def test_events_that_cannot_be(
    sweep: Callable[[], Path], kind: str, data: str, changed: dict[str, int | None]
) -> None:
    path = sweep()
    hot(path, NO_METRICS, one_event(kind, data, **changed))
    errors = [told(call, path) for call in (tables, opens)]
    statuses = commands(path, [["status"], ["events", "--json"], ["trials"]])
    # what is of no interest to a command may stay unseen, but some have to look
    assert any(errors) or 2 in statuses


def test_kinds_that_are_unknown_are_skipped(sweep: Callable[[], Path]) -> None:
    path = sweep()
    hot(path, NO_METRICS, one_event("surprise", '{"any":["thing",{"a":1}]}', trial=None, attempt=None, step=None))
    assert everything(path) == [None, None, None]
    assert "surprise" in CliRunner().invoke(main, ["events", str(path)]).output


def test_reports_of_a_trial_that_was_never_sampled(sweep: Callable[[], Path]) -> None:
    path = sweep()
    hot(path, one_report(trial=2**27 - 1), NO_EVENTS)
    errors = everything(path)
    assert "trial 134217727, which was never sampled" in str(errors[0])


def test_a_metric_that_nobody_reported(sweep: Callable[[], Path]) -> None:
    path = sweep()
    content = json.loads((path / "sweep.json").read_text())
    (path / "sweep.json").write_text(json.dumps({**content, "metric": "other"}))
    assert everything(path) == [None, None, None]


@fuzz(40)
@given(kind=st.sampled_from(sorted(SOUND_DATA)), data=st.data())
def test_events_that_say_something_odd(whole: Path, kind: str, data: st.DataObject) -> None:
    content = data.draw(with_one_odd(json.loads(SOUND_DATA[kind].data)))
    with copy_of(whole) as path:
        hot(path, NO_METRICS, one_event(kind, json.dumps(content), trial=data.draw(st.sampled_from([0, 1, 3]))))
        everything(path, data.draw(st.lists(st.sampled_from(COMMANDS), min_size=2, max_size=2)))


# --- small files that stand for much ------------------------------------------------------------------


def limited() -> None:
    """Six gigabytes of addresses: more than pyarrow and its threads reserve, far less than is asked for below."""
    resource.setrlimit(resource.RLIMIT_AS, (6 * 2**30, 6 * 2**30))


def in_a_process(*args: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "caviar", *args],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        preexec_fn=limited,
    )


def test_a_part_of_few_bytes_that_stand_for_many_rows(
    sweep: Callable[[], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(part, "SMALL_ROWS", 2**16)
    path = sweep()
    rows = 2**22
    column = pa.DictionaryArray.from_arrays(pa.repeat(pa.scalar(0, pa.int32()), rows), pa.array(["loss"]))
    metadata = pq.read_metadata(path / "metrics" / PART).metadata
    table = pa.table({"metric": column}).replace_schema_metadata(
        {key: value for key, value in metadata.items() if key.startswith(b"caviar")}
    )
    pq.write_table(table, path / "metrics" / PART, compression="zstd")
    assert (path / "metrics" / PART).stat().st_size < rows / 100
    assert "rows are too many" in str(told(tables, path))


def test_a_part_that_unpacks_to_far_more_than_it_has_room_for(
    sweep: Callable[[], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(part, "SMALL_BYTES", 2**20)  # a gigabyte would take this test a minute
    path = sweep()
    text = '{"a":"' + "a" * 2**20 + '"}'
    rows = one_event(data=text).take(pa.array([0] * 20))
    metadata = pq.read_metadata(path / "events" / PART).metadata
    told_of = {key: value for key, value in metadata.items() if key.startswith(b"caviar")}
    table = rows.replace_schema_metadata(told_of)
    pq.write_table(table, path / "events" / PART, compression="zstd", use_dictionary=False)
    assert "unpacked are too many" in str(told(tables, path))


def test_as_many_metrics_as_reports_are_refused_as_a_wide_table(sweep: Callable[[], Path]) -> None:
    path = sweep()
    count = 20_000
    rows = one_report().take(pa.array([0] * count))
    rows = rows.set_column(2, "seq", pa.array(range(4, count + 4)))
    rows = rows.set_column(5, "metric", pa.array([f"m{n}" for n in range(count)]).dictionary_encode())
    hot(path, rows, NO_EVENTS)
    result = caviar.load(path)
    with pytest.raises(UsageError, match="too many names"):
        result.curves()
    assert len(result.curves(tidy=True)) == count + 24
    assert command("curves", str(path), "--csv") == 2


def test_a_high_number_of_a_trial_takes_no_memory(sweep: Callable[[], Path]) -> None:
    path = sweep()
    hot(path, one_report(trial=2**27 - 1), NO_EVENTS)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    opens(path)
    assert (
        resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000
    )  # kilobytes; it could be 1.6 million


@pytest.mark.parametrize(
    ("name", "kind"), [("_hot/000000000002.arrow", "hole"), (f"events/{PART}", "pipe"), ("sweep.json", "link")]
)
def test_the_command_line_in_a_process(sweep: Callable[[], Path], name: str, kind: str) -> None:
    path = sweep()
    put(kind, path / name)
    done = in_a_process("status", str(path))
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"caviar: error: {path / name}: ")
    assert done.stderr.count("\n") == 1


# --- nothing is unpickled -----------------------------------------------------------------------------


class Trap:
    """What runs when it is unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, ("caught",)


def test_nothing_in_a_folder_is_unpickled(sweep: Callable[[], Path], monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: Any, **kwargs: Any) -> None:
        raise AssertionError("something was unpickled")

    for module in (pickle, cloudpickle):
        for name in ("load", "loads", "Unpickler"):
            monkeypatch.setattr(module, name, refuse, raising=False)
    path = sweep()
    assert everything(path) == [None, None, None]
    CheckpointFiles(str(path)).restore(0, (0, 2))
    (path / "inbox" / "1-a.json").write_text('{"id": "1-a", "command": "stop", "trial": 1, "args": {}}')
    assert len(Inbox(SweepFolder(path)).take()) == 1


@pytest.mark.parametrize("write", [hot, as_part])
def test_a_type_of_arrow_that_would_be_unpickled_is_not(
    sweep: Callable[[], Path], write: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = sweep()
    monkeypatch.chdir(path.parent)
    for name in (b"arrow.py_extension_type", b"pandas.period"):
        field = pa.field("trial", pa.int64(), metadata={
            b"ARROW:extension:name": name, b"ARROW:extension:metadata": pickle.dumps(Trap()),
        })  # fmt: skip
        rows = one_report().cast(METRICS.set(0, field))
        write(path, rows, NO_EVENTS)
        with contextlib.suppress(CaviarError):
            tables(path)
    assert not Path("caught").exists()


def test_no_room_that_reads_a_folder_knows_pickle() -> None:
    for room in ("store", "analysis", "cli"):
        for file in (ROOT / "caviar" / room).glob("**/*.py"):
            text = file.read_text("utf-8")
            if file.name != "load_file.py":  # a person's own code, which travels to workers
                assert "pickle" not in text.replace("Pickles: it travels", ""), file


# --- what people type ---------------------------------------------------------------------------------

words = st.one_of(
    st.text(max_size=20),
    st.sampled_from(
        ["", "-", "--", "-1", "0", "1", "nan", "inf", "-inf", "1e400", "9" * 30, "0x10", "--trial", "-h"]
    ),
    st.sampled_from(["\udcff", "x" * 300, "x" * 5_000, "a/b", "../..", "/", "/dev/null", "~", "s3://b/x", "\n"]),
    st.sampled_from(
        ["loss", "-lr", "lr", "params.lr", "metrics.loss", "trial", "completed", "trial_sampled", "file:x"]
    ),
)
options = st.sampled_from(
    [
        "--json",
        "--csv",
        "--trial",
        "--top",
        "--kind",
        "--tail",
        "--sort",
        "--status",
        "--timeout",
        "--debug",
        "--out",
        "--trials",
        "--max-step",
        "--seed",
        "--executor",
        "--address",
        "--workers",
        "--cpus",
        "--gpus",
        "--surprise",
        "-j",
    ]
)


@fuzz(200)
@given(data=st.data())
def test_odd_words_on_the_command_line(whole: Path, tmp_path: Path, data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(["status", "watch", "events", "trials", "best", "curves", "stop", "run"]))
    first = str(whole)
    if name == "run":
        file = tmp_path / "nothing.py"
        file.write_text("")
        first = str(file)
    rest = data.draw(st.lists(st.one_of(options, words), max_size=3))
    if data.draw(st.integers(0, 4)) == 0:
        first = data.draw(words)
    result = CliRunner().invoke(main, [name, *([first] if first != "" else []), *rest])
    unforeseen = result.exception is not None and not isinstance(result.exception, SystemExit)
    assert not unforeseen, (name, first, rest, result.exception)
    assert result.exit_code in (0, 1, 2)
    if "--debug" not in rest:
        assert "Traceback" not in result.output
        assert result.exit_code == 0 or result.stderr.count("\n") <= 2, result.stderr


@pytest.mark.parametrize(
    "words",
    [
        ["stop", "{}", "--timeout", "nan"],
        ["events", "{}", "--trial", "9" * 30],
        ["events", "{}", "--tail", "9" * 30],
        ["trials", "{}", "--top", "9" * 30],
        ["curves", "{}", "--trial", "-1"],
        ["curves", "{}", "--top", "9" * 30],
        ["best", "{}", "--top", "9" * 30],
        ["trials", "{}", "--sort", ""],
        ["trials", "{}", "--sort", "-"],
        ["status", "x" * 5_000],
        ["status", "{}/\udcff"],
        ["run", "x" * 5_000 + ".py"],
        ["run", "{}/sweep.json", "--executor", "inline"],
        ["run", "{}/sweep.json:sweep", "--trials", "9" * 30],
    ],
)
def test_numbers_and_names_beyond_reason(whole: Path, words: list[str]) -> None:
    command(*(word.replace("{}", str(whole)) for word in words))


def test_a_folder_whose_name_is_no_text(whole: Path) -> None:
    path = os.fsencode(whole.parent) + b"/\xff"
    shutil.copytree(os.fsencode(whole), path)
    for options in (["status"], ["status", "--json"]):
        done = subprocess.run(
            [sys.executable, "-m", "caviar", options[0], path, *options[1:]],
            capture_output=True,
            cwd=ROOT,
            timeout=60,
        )
        assert (done.returncode, done.stderr) == (0, b"")

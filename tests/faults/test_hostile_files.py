"""A folder from a stranger: files of any bytes, what is no file, and links that lead out of it.

The checksum of a commit tells of accidents alone, so the files here that are wrong have one that is right. Runs
are repeatable: hypothesis draws the same examples every time.
"""

from __future__ import annotations

import contextlib
import json
import os
import pickle
import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cloudpickle
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from caviar.errors import CaviarError, FolderError, UsageError
from caviar.store import part, segment
from caviar.store.checkpoints import MARKER, CheckpointFiles
from caviar.store.inbox import Inbox
from caviar.store.layout import SweepFolder
from caviar.store.rows import to_row
from caviar.store.tables import METRICS, events_table, metrics_table
from tests.faults.hostile import (
    COMMANDS,
    FEW,
    FILES,
    NO_EVENTS,
    PART,
    RAW,
    ROOT,
    as_part,
    assert_set_aside,
    commands,
    copy_of,
    everything,
    fuzz,
    hot,
    odd,
    one_report,
    put,
    reports,
    restores,
    story,
    tables,
    told,
    with_checksum,
    with_one_odd,
)

# --- what users call ---------------------------------------------------------------------------------


def test_a_sound_folder_passes(sweep: Callable[[], Path]) -> None:
    path = sweep()
    assert everything(path) == [None, None, None]
    assert set(commands(path)) == {0, 2}  # there is nothing to stop


# --- any bytes ---------------------------------------------------------------------------------------


@fuzz(20)
@given(name=st.sampled_from(FILES), data=st.binary(max_size=300))
def test_random_bytes(whole: Path, name: str, data: bytes) -> None:
    with copy_of(whole) as path:
        (path / name).write_bytes(data)
        errors = everything(path, FEW)
        assert name == "lease.json" or any(errors)


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


# --- checkpoints -------------------------------------------------------------------------------------


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


# --- what is not a file ------------------------------------------------------------------------------


KINDS = ["pipe", "folder", "link", "dangling link", "loop", "socket", "hole"]


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


# --- nothing is unpickled ----------------------------------------------------------------------------


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

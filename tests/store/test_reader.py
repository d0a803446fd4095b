from __future__ import annotations

import itertools
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from caviar.errors import FolderError
from caviar.store import picture as picture_module
from caviar.store import reader as reader_module
from caviar.store.files import Files
from caviar.store.layout import SweepFolder
from caviar.store.picture import Camera
from caviar.store.reader import Reader
from caviar.store.recorder import Recorder
from caviar.store.rows import EventRow
from caviar.store.tables import EVENTS, METRICS, event_rows


def test_an_empty_sweep_reads_as_empty_tables(recorder: Recorder, folder: SweepFolder) -> None:
    reader = Reader(folder.path)
    assert reader.declaration["metric"] == "loss"
    metrics, events = reader.read()
    assert (metrics.schema, metrics.num_rows) == (METRICS, 0)
    assert (events.schema, events.num_rows) == (EVENTS, 0)


def test_a_folder_that_is_no_sweep_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FolderError, match="not a sweep folder"):
        Reader(tmp_path)


def test_hot_and_rolled_rows_read_alike(
    recorder: Recorder, folder: SweepFolder, block: Any, event: Any, keys: Any
) -> None:
    recorder.commit([block([(0, 1, 0)], "a")], [event(0)])
    recorder.roll()
    recorder.commit([block([(0, 1, 1)], "b")], [event(1)])
    before = Reader(folder.path).read()
    recorder.roll()
    after = Reader(folder.path).read()
    assert keys(before[0]) == keys(after[0]) == [(0, 1, 0), (0, 1, 1)]
    assert before[0].column("metric").to_pylist() == after[0].column("metric").to_pylist() == ["a", "b"]
    assert event_rows(before[1]) == event_rows(after[1]) == [event(0), event(1)]


def test_a_follower_gets_each_row_once_however_commits_roll(
    recorder: Recorder, folder: SweepFolder, block: Any, event: Any, keys: Any
) -> None:
    reader = Reader(folder.path)

    def look() -> tuple[list[int], list[int], bool]:
        increment = reader.refresh()
        seqs = [seq for _, _, seq in keys(increment.metrics)]
        return seqs, increment.events.column("seq").to_pylist(), increment.fresh

    recorder.commit([block([(0, 1, 0)])], [event(0)])
    assert look() == ([0], [0], True)
    assert look() == ([], [], False)
    recorder.commit([block([(0, 1, 1), (0, 1, 2)])], [])
    assert look() == ([1, 2], [], False)
    recorder.commit([block([(0, 1, 3)])], [event(1)])
    recorder.roll()  # a part of which it has seen the first commits
    recorder.commit([block([(0, 1, 4)])], [])
    assert look() == ([3, 4], [1], False)
    recorder.roll()
    recorder.commit([block([(0, 1, 5)])], [])
    recorder.roll()  # a part of which it has seen nothing, behind one of which it has seen all
    assert look() == ([5], [], False)
    assert look() == ([], [], False)


def test_reading_everything_does_not_disturb_following(
    recorder: Recorder, folder: SweepFolder, block: Any, keys: Any
) -> None:
    reader = Reader(folder.path)
    recorder.commit([block([(0, 1, 0)])], [])
    reader.refresh()
    recorder.commit([block([(0, 1, 1)])], [])
    assert len(keys(reader.read()[0])) == 2
    assert keys(reader.refresh().metrics) == [(0, 1, 1)]


def test_without_metrics_only_events_are_read(
    recorder: Recorder, folder: SweepFolder, block: Any, event: Any
) -> None:
    reader = Reader(folder.path, metrics=False)
    for number in range(3):
        recorder.commit([block([(0, 1, number)])], [event(number)])
        increment = reader.refresh()
        assert increment.metrics.num_rows == 0
        assert event_rows(increment.events) == [event(number)]
        recorder.roll()
    assert reader.read()[0].schema == METRICS


class Killed(BaseException):
    """The driver ends here."""


class KilledAt(Files):
    """Kills the driver before the so-manieth unlink of a commit (their temporaries are not counted)."""

    def __init__(self, unlinks: int) -> None:
        self._left = unlinks

    def unlink(self, path: Path) -> None:
        if path.suffix == ".arrow":
            if not self._left:
                raise Killed
            self._left -= 1
        super().unlink(path)


@pytest.mark.parametrize("unlinks", [0, 1, 2])
def test_a_crash_between_parts_and_unlinks_doubles_nothing(
    folder: SweepFolder, clock: Any, block: Any, event: Any, keys: Any, unlinks: int
) -> None:
    recorder = Recorder.create(folder, {}, now_us=clock, files=KilledAt(unlinks))
    follower = Reader(folder.path)
    for number in range(3):
        recorder.commit([block([(0, 1, number)])], [event(number)])
    followed = keys(follower.refresh().metrics)
    with pytest.raises(Killed):
        recorder.roll()
    expected = [(0, 1, 0), (0, 1, 1), (0, 1, 2)]
    assert len(list((folder.path / "_hot").iterdir())) == 4 - unlinks
    assert keys(Reader(folder.path).read()[0]) == expected
    assert len(pd.read_parquet(folder.path / "metrics")) == 3
    successor = Recorder.open(folder, now_us=clock, take_over=True)
    successor.commit([block([(0, 1, 3)])], [])
    assert keys(Reader(folder.path).read()[0]) == [*expected, (0, 1, 3)]
    assert followed + keys(follower.refresh().metrics) == [*expected, (0, 1, 3)]
    successor.close()
    assert [path.name for path in sorted((folder.path / "_hot").iterdir())] == [
        "000000000000.arrow",
        "000000000004.arrow",
    ]


class KilledBetweenParts(Files):
    def link(self, source: Path, target: Path) -> None:
        if target.parent.name == "events" and not target.name.endswith("000.parquet"):
            raise Killed
        super().link(source, target)


def test_a_crash_between_the_two_parts_is_caught_up_with(
    folder: SweepFolder, clock: Any, block: Any, event: Any, keys: Any
) -> None:
    recorder = Recorder.create(folder, {}, now_us=clock, files=KilledBetweenParts())
    follower = Reader(folder.path)
    recorder.commit([block([(0, 1, 0)])], [event(0)])
    follower.refresh()
    recorder.commit([block([(0, 1, 1)])], [event(1)])
    with pytest.raises(Killed):
        recorder.roll()
    increment = follower.refresh()
    assert (keys(increment.metrics), event_rows(increment.events)) == ([(0, 1, 1)], [event(1)])
    successor = Recorder.open(folder, now_us=clock, take_over=True)
    assert successor.events == 2
    successor.commit([block([(0, 1, 1), (0, 1, 2)])], [event(2)])
    metrics, events = Reader(folder.path).read()
    assert keys(metrics) == [(0, 1, 0), (0, 1, 1), (0, 1, 2)]
    assert event_rows(events) == [event(0), event(1), event(2)]
    increment = follower.refresh()
    assert (keys(increment.metrics), event_rows(increment.events)) == ([(0, 1, 2)], [event(2)])


# --- a recorder that acts in the middle of a look -----------------------------------------------------------


@pytest.fixture(params=["listing the commits", "listing the parts", "reading a commit", "reading a part"])
def during(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Makes something happen once, at this moment of the next look."""

    def arrange(act: Callable[[], None]) -> None:
        owner, name = {
            "listing the commits": (picture_module, "_numbers"),
            "listing the parts": (Camera, "_parts"),
            "reading a commit": (reader_module.segment, "decode"),
            "reading a part": (reader_module, "read_part"),
        }[request.param]
        original = getattr(owner, name)

        def acting(*args: Any, **kwargs: Any) -> Any:
            monkeypatch.setattr(owner, name, original)
            act()
            return original(*args, **kwargs)

        monkeypatch.setattr(owner, name, acting)

    return arrange


def test_a_look_while_the_recorder_commits_and_rolls_is_a_prefix(
    recorder: Recorder, folder: SweepFolder, block: Any, event: Any, keys: Any, during: Any
) -> None:
    def act() -> None:
        recorder.commit([block([(0, 1, 2)])], [event(2)])
        recorder.roll()
        recorder.commit([block([(0, 1, 3)])], [event(3)])

    recorder.commit([block([(0, 1, 0)])], [event(0)])
    recorder.roll()
    recorder.commit([block([(0, 1, 1)])], [event(1)])
    reader = Reader(folder.path)
    during(act)
    increment = reader.refresh()
    seen = [seq for _, _, seq in keys(increment.metrics)]
    assert seen in ([0, 1], [0, 1, 2], [0, 1, 2, 3])
    assert increment.events.column("seq").to_pylist() == seen
    rest = reader.refresh()
    assert seen + [seq for _, _, seq in keys(rest.metrics)] == [0, 1, 2, 3]
    assert seen + rest.events.column("seq").to_pylist() == [0, 1, 2, 3]


def test_rows_that_are_rolled_in_the_middle_of_a_look_do_not_vanish(
    recorder: Recorder, folder: SweepFolder, block: Any, event: Any, keys: Any, during: Any
) -> None:
    for seq in range(2):
        recorder.roll()
        recorder.commit([block([(0, 1, seq)])], [event(seq)])
    reader = Reader(folder.path)
    during(recorder.roll)
    metrics, events = reader.read()
    assert keys(metrics) == [(0, 1, 0), (0, 1, 1)]
    assert events.column("seq").to_pylist() == [0, 1]


# --- damage -------------------------------------------------------------------------------------------------


@pytest.fixture
def filled(recorder: Recorder, folder: SweepFolder, block: Any, event: Any) -> SweepFolder:
    """Parts that cover the commits 1 and 2, and 3 and 4 in `_hot`."""
    for number in range(4):
        recorder.commit([block([(0, 1, number)])], [event(number)])
        if number == 1:
            recorder.roll()
    return folder


DAMAGED = ["_hot/000000000003.arrow", "metrics/part-000000000001.parquet", "events/part-000000000001.parquet"]


@pytest.mark.parametrize("name", DAMAGED)
@pytest.mark.parametrize("content", [b"", b"x" * 100, None])
def test_a_damaged_or_missing_file_is_named(filled: SweepFolder, name: str, content: bytes | None) -> None:
    path = filled.path / name
    if content is None:
        path.unlink()
    else:
        path.write_bytes(content)
    with pytest.raises(FolderError) as error:
        Reader(filled.path).read()
    assert str(path) in str(error.value)
    assert ("missing" if content is None else "damaged") in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", DAMAGED)
def test_half_a_file_is_named(filled: SweepFolder, name: str) -> None:
    path = filled.path / name
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(FolderError, match="damaged") as error:
        Reader(filled.path).read()
    assert str(path) in str(error.value)


def test_a_missing_folder_is_named(filled: SweepFolder) -> None:
    shutil.rmtree(filled.path / "metrics")
    with pytest.raises(FolderError, match=r"metrics: cannot be read"):
        Reader(filled.path).read()


def test_foreign_files_are_ignored(filled: SweepFolder, keys: Any) -> None:
    for name in (".nfs1", "notes.txt", "000000000009.arrow.bad"):
        (filled.path / "_hot" / name).write_bytes(b"foreign")
        (filled.path / "metrics" / name).write_bytes(b"foreign")
    assert len(keys(Reader(filled.path).read()[0])) == 4


# --- where the sweep stands ---------------------------------------------------------------------------------


def driver_event(kind: str) -> EventRow:
    return EventRow(0, kind, None, None, None, "{}")


def test_the_state_follows_the_driver(recorder: Recorder, folder: SweepFolder, clock: Any) -> None:
    reader = Reader(folder.path, now_us=clock)
    recorder.commit([], [driver_event("driver_started")])
    assert reader.state() == "running"
    clock.advance(30)
    assert reader.state() == "interrupted"
    recorder.keep_lease()
    assert reader.state() == "running"
    recorder.close(final=False)
    assert reader.state() == "interrupted"
    again = Recorder.open(folder, now_us=clock)
    again.commit([], [driver_event("driver_started")])
    assert reader.state() == "running"
    again.commit([], [driver_event("sweep_ended")])
    assert reader.state() == "finished"
    reader.refresh()
    assert reader.state() == "finished"
    again.close()
    assert reader.state() == "finished"
    extended = Recorder.open(folder, now_us=clock)
    extended.commit([], [driver_event("driver_started")])
    assert reader.state() == "running"


# --- any order of things ------------------------------------------------------------------------------------

ACTIONS = st.lists(
    st.one_of(
        st.tuples(st.just("commit"), st.integers(0, 3), st.integers(0, 2)),
        st.tuples(st.sampled_from(["roll", "refresh", "reopen", "age"]), st.just(0), st.just(0)),
    ),
    max_size=25,
)


@settings(max_examples=40, deadline=None)
@given(actions=ACTIONS)
def test_any_order_of_commits_rolls_and_looks_agrees_with_a_plain_list(
    actions: list[tuple[str, int, int]], block: Any, event: Any, keys: Any, unsynced: Files, memory: Path | None
) -> None:
    clock = itertools.count(0, 1_000_000)
    with tempfile.TemporaryDirectory(dir=memory) as place:
        folder = SweepFolder(Path(place) / "sweep")
        recorder = Recorder.create(folder, {}, now_us=clock.__next__, files=unsynced)
        follower = Reader(folder.path)
        rows: list[tuple[int, int, int]] = []
        events: list[EventRow] = []
        followed_rows: list[tuple[int, int, int]] = []
        followed_events: list[EventRow] = []
        for action, reports, happenings in [*actions, ("refresh", 0, 0)]:
            if action == "commit":
                new_rows = [(0, 1, len(rows) + number) for number in range(reports)]
                new_events = [event(len(events) + number) for number in range(happenings)]
                recorder.commit([block([*rows[-1:], *new_rows])], new_events)  # the last row is sent again
                rows += new_rows
                events += new_events
            elif action == "roll":
                recorder.roll()
            elif action == "age":
                for _ in range(40):
                    recorder.tick()
            elif action == "reopen":
                recorder = Recorder.open(folder, now_us=clock.__next__, take_over=True, files=unsynced)
            else:
                increment = follower.refresh()
                assert increment.fresh == (not followed_rows and not followed_events) or not increment.fresh
                followed_rows += keys(increment.metrics)
                followed_events += event_rows(increment.events)
                assert (followed_rows, followed_events) == (rows, events)
        metrics, table = Reader(folder.path).read()
        assert (keys(metrics), event_rows(table)) == (rows, events)
        assert table.column("seq").to_pylist() == list(range(len(events)))
        rolled = pd.read_parquet(folder.path / "metrics")
        assert rolled["seq"].tolist() == list(range(len(rolled)))
        recorder.close()
        assert len(pd.read_parquet(folder.path / "metrics")) == len(rows)
        assert pa.table(metrics).num_rows == len(rows)

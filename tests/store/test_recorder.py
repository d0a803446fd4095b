from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.parquet as pq
import pytest

from caviar.errors import FencedError, FolderError
from caviar.store import roller, spare
from caviar.store.files import Files
from caviar.store.layout import SweepFolder
from caviar.store.lease import Lease
from caviar.store.reader import Reader
from caviar.store.recorder import Recorder


def names(path: Path) -> list[str]:
    return sorted(entry.name for entry in path.iterdir())


def hot(folder: SweepFolder) -> list[int]:
    return [int(name[:12]) for name in names(folder.path / "_hot")]


# --- creating ------------------------------------------------------------------------------------------------


def test_a_new_folder_is_whole(recorder: Recorder, folder: SweepFolder, clock: Any) -> None:
    assert names(folder.path) == [
        ".sweep.copy",
        ".tmp",
        "_hot",
        "checkpoints",
        "events",
        "inbox",
        "lease.json",
        "metrics",
        "sweep.json",
    ]
    assert names(folder.path / ".tmp") == []
    assert hot(folder) == [0]
    assert names(folder.path / "metrics") == names(folder.path / "events") == ["part-000000000000.parquet"]
    declaration = json.loads((folder.path / "sweep.json").read_text())
    assert declaration == {"metric": "loss", "format": 1, "created_us": clock()}
    copy = (folder.path / ".sweep.copy").read_bytes()
    assert spare.decode("copy", copy) == (folder.path / "sweep.json").read_bytes()


def test_who_is_taken_for_the_remains_of_a_founding_leaves_it_to_the_other(
    folder: SweepFolder, clock: Any
) -> None:
    """Two begin at once: the second one finds what the first has made so far, and uses it."""

    class Overtaken(Files):
        def make_folder(self, path: Path) -> None:
            if path.name == "_hot" and not folder.exists():
                Recorder.create(folder, {"metric": "theirs"}, now_us=clock)
            super().make_folder(path)

    with pytest.raises(FolderError, match="another process is making a sweep of it"):
        Recorder.create(folder, {"metric": "ours"}, now_us=clock, files=Overtaken())
    assert folder.declaration()["metric"] == "theirs"
    assert Reader(folder.path).read()[0].num_rows == 0
    assert names(folder.path / ".tmp") == []


def test_pandas_reads_a_new_folder(recorder: Recorder, folder: SweepFolder) -> None:
    metrics = pd.read_parquet(folder.path / "metrics")
    assert list(metrics.columns) == ["trial", "attempt", "seq", "step", "time", "metric", "value"]
    assert str(metrics.dtypes["metric"]) == "category"
    assert len(metrics) == len(pd.read_parquet(folder.path / "events")) == 0


def test_missing_parents_are_made(tmp_path: Path, clock: Any) -> None:
    Recorder.create(SweepFolder(tmp_path / "a" / "b"), {}, now_us=clock).close()
    assert SweepFolder.find(tmp_path / "a" / "b")


def test_an_empty_folder_may_become_a_sweep(tmp_path: Path, clock: Any) -> None:
    Recorder.create(SweepFolder(tmp_path), {}, now_us=clock).close()
    assert SweepFolder.find(tmp_path)


def test_a_taken_folder_is_refused_untouched(recorder: Recorder, folder: SweepFolder, clock: Any) -> None:
    before = sorted(folder.path.rglob("*"))
    with pytest.raises(FolderError, match="already holds a sweep"):
        Recorder.create(folder, {}, now_us=clock)
    assert sorted(folder.path.rglob("*")) == before


def test_a_declaration_that_is_not_json_writes_nothing(tmp_path: Path, clock: Any) -> None:
    with pytest.raises(TypeError):
        Recorder.create(SweepFolder(tmp_path / "a"), {"metric": object()}, now_us=clock)
    assert names(tmp_path) == []


class NoHardLinks(Files):
    def link(self, source: Path, target: Path) -> None:
        raise OSError(95, "Operation not supported")


def test_a_file_system_without_hard_links_is_refused_and_left_as_it_was(tmp_path: Path, clock: Any) -> None:
    for path in (tmp_path / "a" / "b", tmp_path):
        with pytest.raises(FolderError, match="no hard links"):
            Recorder.create(SweepFolder(path), {}, now_us=clock, files=NoHardLinks())
        assert names(tmp_path) == []


class Rival(Files):
    """Another process makes a sweep of the folder just before this one does."""

    def __init__(self, folder: SweepFolder, clock: Any) -> None:
        self._folder, self._clock, self._done = folder, clock, False

    def make_folder(self, path: Path) -> None:
        if not self._done:
            self._done = True
            Recorder.create(self._folder, {"made by": "the rival"}, now_us=self._clock).close()
        super().make_folder(path)


def test_of_two_who_create_at_once_one_wins_and_loses_nothing(folder: SweepFolder, clock: Any) -> None:
    with pytest.raises(FolderError, match="another process is making a sweep"):
        Recorder.create(folder, {}, now_us=clock, files=Rival(folder, clock))
    assert SweepFolder.find(folder.path).declaration()["made by"] == "the rival"
    assert Reader(folder.path).read()[0].num_rows == 0


# --- committing ----------------------------------------------------------------------------------------------


def test_a_commit_is_one_file(recorder: Recorder, folder: SweepFolder, block: Any, event: Any) -> None:
    recorder.commit([block([(0, 1, 0)]), block([(1, 1, 0)], "accuracy")], [event(0)])
    recorder.commit([], [event(1)])
    recorder.commit([block([(0, 1, 1)])], [])
    assert hot(folder) == [0, 1, 2, 3]
    assert (recorder.commits, recorder.events, recorder.unrolled_rows) == (4, 2, 3)
    assert names(folder.path / ".tmp") == []


def test_nothing_new_makes_no_file(recorder: Recorder, folder: SweepFolder, block: Any) -> None:
    recorder.commit([], [])
    recorder.commit([block([(0, 1, 0)])], [])
    recorder.commit([block([(0, 1, 0)])], [])
    recorder.commit([block([])], [])
    assert hot(folder) == [0, 1]


def test_rows_are_stored_once(recorder: Recorder, folder: SweepFolder, block: Any, event: Any, keys: Any) -> None:
    recorder.commit([block([(0, 1, 0), (0, 1, 1)])], [])
    recorder.commit([block([(0, 1, 1), (0, 1, 2)])], [event(0, "trial_started", trial=0, attempt=2)])
    recorder.commit([block([(0, 1, 3), (0, 2, 0)])], [])
    assert keys(Reader(folder.path).read()[0]) == [(0, 1, 0), (0, 1, 1), (0, 1, 2), (0, 2, 0)]


def test_a_new_driver_remembers_what_is_stored(
    recorder: Recorder, folder: SweepFolder, clock: Any, block: Any, event: Any, keys: Any
) -> None:
    recorder.commit([block([(0, 1, 0), (1, 1, 0)])], [event(0)])
    recorder.roll()
    recorder.commit([block([(0, 2, 0)])], [event(1), event(2, "trial_started", trial=1, attempt=2)])
    recorder.close(final=False)
    again = Recorder.open(folder, now_us=clock)
    again.commit([block([(0, 1, 1), (0, 2, 0), (0, 2, 1), (1, 1, 1), (1, 2, 0)])], [event(3)])
    metrics, events = Reader(folder.path).read()
    assert keys(metrics) == [(0, 1, 0), (1, 1, 0), (0, 2, 0), (0, 2, 1), (1, 2, 0)]
    assert events.column("seq").to_pylist() == [0, 1, 2, 3]


def test_a_driver_that_was_killed_loses_nothing(
    recorder: Recorder, folder: SweepFolder, clock: Any, block: Any, event: Any, keys: Any
) -> None:
    recorder.commit([block([(0, 1, 0)])], [event(0)])
    recorder.roll()
    recorder.commit([block([(0, 1, 1)])], [event(1), event(2)])
    (folder.path / ".tmp" / "_hot-left-behind").touch()
    (folder.path / ".tmp" / "checkpoints-left-behind").mkdir()
    (folder.path / ".tmp" / "inbox-under-way").touch()
    again = Recorder.open(folder, now_us=clock, take_over=True)
    assert names(folder.path / ".tmp") == ["inbox-under-way"]
    again.commit([block([(0, 1, 0), (0, 1, 1), (0, 1, 2)])], [event(3)])
    metrics, events = Reader(folder.path).read()
    assert keys(metrics) == [(0, 1, 0), (0, 1, 1), (0, 1, 2)]
    assert events.column("seq").to_pylist() == [0, 1, 2, 3]


# --- rolling -------------------------------------------------------------------------------------------------


def test_rolling_leaves_seals_and_names_what_it_covers(
    recorder: Recorder, folder: SweepFolder, block: Any, event: Any
) -> None:
    recorder.commit([block([(0, 1, 0)])], [event(0)])
    recorder.commit([block([(0, 1, 1)], "accuracy")], [])
    recorder.roll()
    assert hot(folder) == [0]
    for table in ("metrics", "events"):
        assert names(folder.path / table) == ["part-000000000000.parquet", "part-000000000001.parquet"]
        metadata = pq.read_metadata(folder.path / table / "part-000000000001.parquet").metadata
        assert metadata[b"caviar.first_commit"] == b"1"
        assert metadata[b"caviar.last_commit"] == b"2"
    recorder.roll()
    assert len(names(folder.path / "metrics")) == 2
    assert recorder.unrolled_rows == 0


def test_pandas_reads_parts_with_different_metrics_as_one_category(
    recorder: Recorder, folder: SweepFolder, block: Any, event: Any
) -> None:
    for seq, metric_names in enumerate([("loss",), ("accuracy", "loss"), ("a", "b", "c")]):
        recorder.commit([block([(0, 1, seq)], *metric_names)], [event(seq)])
        recorder.roll()
    metrics = pd.read_parquet(str(folder.path) + "/metrics")
    assert str(metrics["metric"].dtype) == "category"
    assert metrics["metric"].tolist() == ["loss", "accuracy", "loss", "a", "b", "c"]
    assert str(metrics["time"].dtype) == "datetime64[us, UTC]"
    assert [str(metrics[name].dtype) for name in ("trial", "attempt", "seq", "step", "value")] == [
        "int64",
        "int32",
        "int64",
        "int64",
        "float64",
    ]
    assert pd.read_parquet(str(folder.path) + "/events")["seq"].tolist() == [0, 1, 2]


def test_a_roll_is_due_30_seconds_after_the_first_commit_that_waits(
    recorder: Recorder, folder: SweepFolder, clock: Any, block: Any
) -> None:
    clock.advance(100)
    recorder.tick()
    assert len(names(folder.path / "metrics")) == 1
    recorder.commit([block([(0, 1, 0)])], [])
    clock.advance(29)
    recorder.commit([block([(0, 1, 1)])], [])
    assert hot(folder) == [0, 1, 2]
    clock.advance(1)
    recorder.commit([block([(0, 1, 2)])], [])
    assert hot(folder) == [0, 3]


@pytest.mark.parametrize(("age_s", "wait_s"), [(2_000, 100), (1_000_000, 600)])
def test_the_older_the_sweep_the_longer_a_commit_waits(
    recorder: Recorder, folder: SweepFolder, clock: Any, block: Any, age_s: float, wait_s: float
) -> None:
    clock.advance(age_s - wait_s)
    recorder.commit([block([(0, 1, 0)])], [])
    clock.advance(wait_s - 1)
    recorder.tick()
    assert hot(folder) == [0, 1]
    clock.advance(1)
    recorder.tick()
    assert hot(folder) == [0]


def test_a_roll_is_due_by_size(
    recorder: Recorder, folder: SweepFolder, block: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(roller, "ROLL_ROWS", 4)
    recorder.commit([block([(0, 1, 0), (0, 1, 1), (0, 1, 2)])], [])
    recorder.tick()
    assert hot(folder) == [0, 1]
    recorder.commit([block([(0, 1, 3)])], [])
    recorder.tick()
    assert hot(folder) == [0]


def test_closing_rolls_everything(recorder: Recorder, folder: SweepFolder, block: Any) -> None:
    recorder.commit([block([(0, 1, 0)])], [])
    (folder.path / ".tmp" / "checkpoints-left-behind").mkdir()
    recorder.close(final=True)
    assert hot(folder) == [0]
    assert names(folder.path / ".tmp") == []
    assert len(pd.read_parquet(folder.path / "metrics")) == 1


def test_files_stay_few(folder: SweepFolder, clock: Any, block: Any, event: Any, unsynced: Files) -> None:
    recorder = Recorder.create(folder, {}, now_us=clock, files=unsynced)
    for number in range(150):
        clock.advance(12)
        recorder.commit([block([(number, 1, seq) for seq in range(10)])], [event(number)])
        recorder.keep_lease()
    recorder.close()
    assert sum(path.is_file() for path in folder.path.rglob("*")) <= 100
    assert len(pd.read_parquet(folder.path / "metrics")) == 1_500


# --- two drivers ---------------------------------------------------------------------------------------------


@pytest.fixture
def zombie(recorder: Recorder, block: Any, event: Any) -> Recorder:
    """A driver that was suspended with a commit that it had not rolled yet."""
    recorder.commit([block([(0, 1, 0)])], [event(0)])
    return recorder


@pytest.fixture
def successor(zombie: Recorder, folder: SweepFolder, clock: Any) -> Recorder:
    clock.advance(31)
    return Recorder.open(folder, now_us=clock)


def revive(zombie: Recorder, call: str, block: Any, event: Any) -> None:
    if call == "commit":
        zombie.commit([block([(0, 1, 1)])], [event(1)])
    else:
        getattr(zombie, call)()


@pytest.mark.parametrize("call", ["commit", "roll", "keep_lease", "tick"])
def test_a_woken_zombie_is_fenced_at_its_first_create(
    zombie: Recorder, successor: Recorder, folder: SweepFolder, block: Any, event: Any, keys: Any, call: str
) -> None:
    successor.commit([block([(0, 1, 1)])], [])
    held = (folder.path / "lease.json").read_bytes()
    for _ in range(2):
        with pytest.raises(FencedError, match="another driver took it over"):
            revive(zombie, call, block, event)
    zombie.close()
    assert (folder.path / "lease.json").read_bytes() == held
    successor.commit([block([(0, 1, 2)])], [event(1)])
    successor.tick()
    successor.roll()
    metrics, events = Reader(folder.path).read()
    assert keys(metrics) == [(0, 1, 0), (0, 1, 1), (0, 1, 2)]
    assert events.column("seq").to_pylist() == [0, 1]


def test_a_zombie_that_closes_is_fenced_and_keeps_its_hands_off_the_lease(
    zombie: Recorder, successor: Recorder, folder: SweepFolder
) -> None:
    held = (folder.path / "lease.json").read_bytes()
    with pytest.raises(FencedError):
        zombie.close()
    assert (folder.path / "lease.json").read_bytes() == held


def test_a_lease_that_a_zombie_overwrote_is_won_back(
    zombie: Recorder, successor: Recorder, folder: SweepFolder, clock: Any
) -> None:
    zombie._renew_lease()  # it had just looked, and was suspended before it wrote
    clock.advance(6)
    successor.keep_lease()
    lease = Lease.read(folder)
    assert lease is not None
    assert lease.time_us == clock()


class Predecessor(Files):
    """Files of a driver that takes over while its predecessor is awake: that one acts before an operation."""

    def __init__(self, operation: str, act: Callable[[], None]) -> None:
        self._operation, self._act = operation, act

    def link(self, source: Path, target: Path) -> None:
        self._before(f"link in {target.parent.name}")
        super().link(source, target)

    def read(self, path: Path) -> bytes:
        self._before(f"read in {path.parent.name}")
        return super().read(path)

    def _before(self, operation: str) -> None:
        if operation == self._operation:
            self._operation = "done"
            self._act()


@pytest.mark.parametrize("operation", ["link in _hot", "read in _hot", "link in metrics", "link in events"])
@pytest.mark.parametrize("call", ["commit", "roll"])
def test_taking_over_from_a_driver_that_is_still_writing(
    zombie: Recorder,
    folder: SweepFolder,
    clock: Any,
    block: Any,
    event: Any,
    keys: Any,
    operation: str,
    call: str,
) -> None:
    def act() -> None:
        try:
            revive(zombie, call, block, event)
        except FencedError:
            outcomes.append("fenced")
        else:
            outcomes.append("done")

    outcomes: list[str] = []
    successor = Recorder.open(folder, now_us=clock, take_over=True, files=Predecessor(operation, act))
    # From the seal on it can commit nothing; it can roll until the successor has rolled
    fenced = operation == "link in events" if call == "roll" else operation != "link in _hot"
    assert outcomes == ["fenced" if fenced else "done"]
    successor.commit([block([(0, 1, 0), (0, 1, 1), (0, 1, 2)])], [])
    successor.roll()
    metrics, events = Reader(folder.path).read()
    assert keys(metrics) == [(0, 1, 0), (0, 1, 1), (0, 1, 2)]
    assert events.column("seq").to_pylist() == list(range(events.num_rows))
    with pytest.raises(FencedError):
        zombie.commit([], [event(9)])


def test_a_folder_that_is_no_sweep_is_not_opened(tmp_path: Path, clock: Any) -> None:
    with pytest.raises(FolderError, match="not a sweep folder"):
        Recorder.open(SweepFolder(tmp_path), now_us=clock)
    assert names(tmp_path) == []


def test_a_damaged_folder_is_named_and_the_lease_let_go(
    recorder: Recorder, folder: SweepFolder, clock: Any, block: Any
) -> None:
    recorder.commit([block([(0, 1, 0)])], [])
    (folder.path / folder.hot(1)).write_bytes(b"")
    with pytest.raises(FolderError, match=r"000000000001\.arrow: damaged"):
        Recorder.open(folder, now_us=clock, take_over=True)
    assert Lease.read(folder) is None

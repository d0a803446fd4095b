"""What every storage promises. A new one adds a fixture to STORAGES, and no test."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from caviar.errors import FolderError
from caviar.store.files import Files
from caviar.store.local import LocalStorage
from caviar.store.objects import ObjectStorage
from caviar.store.place import Url
from caviar.store.storage import Storage

FOLDERS = ("_hot", "metrics", "inbox", "checkpoints")
FILES = ("sweep.json", "lease.json")

Open = Callable[[], Storage]
"""Gives another view of the same new place, as another process has it."""


@pytest.fixture
def local(tmp_path: Path) -> Open:
    return lambda: LocalStorage(tmp_path / "above" / "sweep", Files())


@pytest.fixture
def objects(s3: str) -> Open:
    return lambda: ObjectStorage(Url(f"{s3}/sweep"))


STORAGES = ["local", "objects"]


@pytest.fixture(params=STORAGES)
def place(request: pytest.FixtureRequest) -> Open:
    opener: Open = request.getfixturevalue(request.param)
    return opener


@pytest.fixture
def storage(place: Open) -> Storage:
    founded = place()
    with founded.founding(FOLDERS, FILES):
        pass
    return founded


def names(storage: Storage, folder: str) -> list[str]:
    """The names in a folder of what exists."""
    return sorted(name for name in storage.names(folder) if storage.exists(f"{folder}/{name}"))


# --- files ----------------------------------------------------------------------------------------------------


def test_what_was_created_is_read_from_elsewhere(storage: Storage, place: Open) -> None:
    storage.create("_hot/a", b"one")
    assert place().read("_hot/a") == b"one"
    assert place().size_bytes("_hot/a") == 3
    assert place().exists("_hot/a")
    assert place().names("_hot") == ["a"]


@pytest.mark.parametrize("data", [b"", b"\0\xff\r\n", bytes(range(256)) * 4096])
def test_content_comes_back_to_the_byte(storage: Storage, data: bytes) -> None:
    for write in (storage.create, storage.replace):
        key = f"metrics/{write.__name__}"
        write(key, data)
        assert storage.read(key) == data
        assert storage.size_bytes(key) == len(data)


def test_create_never_overwrites(storage: Storage, place: Open) -> None:
    storage.create("_hot/a", b"one")
    for other in (storage, place()):
        with pytest.raises(FileExistsError):
            other.create("_hot/a", b"two")
    assert storage.read("_hot/a") == b"one"


def test_of_many_who_create_at_once_one_wins(storage: Storage, place: Open) -> None:
    barrier = threading.Barrier(4)
    won: list[int] = []
    lost: list[int] = []

    def create(number: int) -> None:
        mine = place()
        for turn in range(3):
            barrier.wait(30)
            try:
                mine.create(f"_hot/{turn}", f"{number}".encode())
            except FileExistsError:
                lost.append(turn)
            else:
                won.append(turn)
                assert storage.read(f"_hot/{turn}") == f"{number}".encode()

    threads = [threading.Thread(target=create, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert sorted(won) == list(range(3))
    assert len(lost) == 9


def test_replace_overwrites(storage: Storage) -> None:
    for content in (b"first", b"2nd"):
        storage.replace("lease.json", content)
        assert storage.read("lease.json") == content
    with pytest.raises(FileExistsError):
        storage.create("lease.json", b"third")


def test_walking_finds_every_file_at_any_depth(storage: Storage, place: Open) -> None:
    sizes = {"metrics/a": 1, "metrics/sub/b": 0, "metrics/sub/deeper/c": 3, "metrics.txt": 4}
    for key, size_bytes in sizes.items():
        storage.make_folders([key.rpartition("/")[0]] if "/" in key else [])
        storage.replace(key, bytes(size_bytes))
    inside = {key: size for key, size in sizes.items() if key.startswith("metrics/")}
    assert dict(place().walk("metrics")) == inside
    assert dict(place().walk("metrics/sub/deeper")) == {"metrics/sub/deeper/c": 3}
    assert list(place().walk("nothing")) == []
    assert sizes.items() <= dict(place().walk("")).items()


def test_a_file_moves_into_folders_that_are_not_there_yet(storage: Storage, place: Open) -> None:
    storage.create("_hot/a", b"one")
    storage.move("_hot/a", "aside/deep/a")
    assert place().read("aside/deep/a") == b"one"
    assert place().names("_hot") == []
    with pytest.raises(FileNotFoundError):
        storage.move("_hot/a", "aside/b")
    assert place().names("aside") == ["deep"]


def test_what_was_created_can_be_made_durable_again(storage: Storage) -> None:
    storage.create("_hot/a", b"one")
    storage.sync("_hot/a")
    assert storage.read("_hot/a") == b"one"


def test_a_file_that_is_missing_says_where(storage: Storage) -> None:
    def opened() -> bytes:
        with storage.open("_hot/a") as file:
            return file.read()

    for look in (lambda: storage.read("_hot/a"), lambda: storage.size_bytes("_hot/a"), opened):
        with pytest.raises(FileNotFoundError) as error:
            look()
        assert str(error.value.filename) == storage.where("_hot/a")
    assert not storage.exists("_hot/a")
    assert storage.where("_hot/a").endswith("/_hot/a")
    assert storage.where("_hot/a").startswith(storage.where(""))


def test_an_open_file_seeks(storage: Storage) -> None:
    storage.create("metrics/a", bytes(range(200)))
    with storage.open("metrics/a") as file:
        assert file.seekable()
        assert file.read(3) == b"\0\1\2"
        assert file.seek(-2, 2) == 198
        assert file.read() == b"\xc6\xc7"
        file.seek(100)
        assert file.tell() == 100
        assert file.read(1) == b"d"
        file.seek(0)
        assert file.read() == bytes(range(200))


def test_parquet_reads_from_an_open_file(storage: Storage) -> None:
    table = pa.table({"number": range(10_000), "text": [str(number) for number in range(10_000)]})
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, row_group_size=1000)
    storage.create("metrics/a", bytes(sink.getvalue()))
    with storage.open("metrics/a") as file:
        assert pq.read_metadata(file).num_row_groups == 10
    with storage.open("metrics/a") as file, pq.ParquetFile(file) as parquet:
        assert parquet.read(columns=["text"]).equals(table.select(["text"]))


def test_names_are_those_in_the_folder_alone(storage: Storage) -> None:
    for key in ("_hot/a", "_hot/b", "metrics/c", "lease.json"):
        storage.create(key, b"")
    assert sorted(storage.names("_hot")) == ["a", "b"]
    assert storage.names("inbox") == []
    assert {"_hot", "metrics", "lease.json"} <= set(storage.names(""))


def test_many_names_are_all_there(storage: Storage) -> None:
    for number in range(30):
        storage.create(f"inbox/{number:04d}", b"")
    assert sorted(storage.names("inbox")) == [f"{number:04d}" for number in range(30)]


def test_what_was_unlinked_is_gone_and_may_be_created_again(storage: Storage) -> None:
    storage.create("_hot/a", b"one")
    storage.unlink("_hot/a")
    storage.unlink("_hot/a")
    assert not storage.exists("_hot/a")
    assert names(storage, "_hot") == []
    storage.create("_hot/a", b"two")
    assert storage.read("_hot/a") == b"two"


def test_a_file_moves_in_place_of_another(storage: Storage) -> None:
    storage.create("inbox/a", b"one")
    storage.create("inbox/b", b"two")
    storage.move("inbox/a", "inbox/b")
    assert storage.names("inbox") == ["b"]
    assert storage.read("inbox/b") == b"one"
    with pytest.raises(FileNotFoundError):
        storage.move("inbox/a", "inbox/c")


# --- whole folders --------------------------------------------------------------------------------------------


def publish(storage: Storage, content: str, *, folder: str = "checkpoints/3/1/5") -> None:
    draft = storage.draft(folder)
    (draft / "model.txt").write_text(content)
    (draft / "parts").mkdir()
    (draft / "parts" / "a.bin").write_bytes(content.encode() * 2)
    (draft / "marker").write_text("all")
    storage.publish(draft, folder, marker="marker")
    assert not draft.exists()


def test_a_published_folder_is_fetched_from_elsewhere(storage: Storage, place: Open) -> None:
    publish(storage, "weights")
    other = place()
    assert other.read("checkpoints/3/1/5/marker") == b"all"
    assert other.size_bytes("checkpoints/3/1/5/parts/a.bin") == 14
    path = other.fetch("checkpoints/3/1/5")
    assert (path / "model.txt").read_text() == "weights"
    assert (path / "parts" / "a.bin").read_bytes() == b"weightsweights"


def test_until_it_is_published_there_is_nothing(storage: Storage, place: Open) -> None:
    draft = storage.draft("checkpoints/3/1/5")
    (draft / "model.txt").write_text("half")
    assert not place().exists("checkpoints/3/1/5")
    assert place().names("checkpoints") == []
    storage.drop(draft)
    assert not draft.exists()
    storage.drop(draft)


def test_a_second_one_takes_the_place_of_the_first(storage: Storage) -> None:
    publish(storage, "first")
    draft = storage.draft("checkpoints/3/1/5")
    (draft / "marker").write_text("second")
    storage.publish(draft, "checkpoints/3/1/5", marker="marker")
    assert names(storage, "checkpoints/3/1/5") == ["marker"]
    assert [path.name for path in storage.fetch("checkpoints/3/1/5").iterdir()] == ["marker"]


def test_a_removed_folder_leaves_the_others_and_no_empty_ones(storage: Storage) -> None:
    for folder in ("checkpoints/3/1/5", "checkpoints/3/1/10", "checkpoints/4/1/5"):
        publish(storage, "weights", folder=folder)
    storage.remove_folder("checkpoints/3/1/5")
    storage.remove_folder("checkpoints/3/1/5")
    assert not storage.exists("checkpoints/3/1/5")
    assert names(storage, "checkpoints/3/1") == ["10"]
    storage.remove_folder("checkpoints/3/1/10")
    assert names(storage, "checkpoints") == ["4"]
    publish(storage, "again")
    assert storage.read("checkpoints/3/1/5/model.txt") == b"again"


# --- beginning and end ----------------------------------------------------------------------------------------


def test_a_founded_place_has_its_folders(storage: Storage) -> None:
    for folder in FOLDERS:
        assert storage.names(folder) == []
    assert storage.exists("")


def test_a_founding_that_fails_leaves_nothing(place: Open) -> None:
    storage = place()
    storage.check_writable()

    def fail() -> None:
        with storage.founding(FOLDERS, FILES):
            storage.create("_hot/a", b"one")
            storage.create("metrics/a", b"one")
            storage.replace("lease.json", b"one")
            storage.create("sweep.json", b"one")
            raise ZeroDivisionError

    for _ in range(2):
        with pytest.raises(ZeroDivisionError):
            fail()
        assert not place().exists("")
    with storage.founding(FOLDERS, FILES):
        storage.create("_hot/a", b"two")
    assert place().read("_hot/a") == b"two"


def test_of_two_who_found_at_once_the_loser_takes_nothing_from_the_winner(place: Open) -> None:
    first, second = place(), place()

    def found(storage: Storage, content: bytes) -> None:
        with storage.founding(FOLDERS, FILES):
            if storage is first:
                found(second, b"second")
            storage.create("_hot/a", content)
            storage.replace("lease.json", content)
            storage.create("sweep.json", content)

    with pytest.raises((FolderError, FileExistsError)):
        found(first, b"first")
    contents = {place().read(key) for key in ("_hot/a", "lease.json", "sweep.json") if place().exists(key)}
    assert contents <= {b"second"}


def test_leftovers_are_removed_but_not_what_is_under_way_elsewhere(storage: Storage) -> None:
    left, spared = storage.draft("checkpoints/3/1/5"), storage.draft("inbox/a")
    (left / "model.txt").write_text("half")
    storage.create("_hot/a", b"one")
    storage.remove_leftovers(spare="inbox")
    assert spared.exists()
    assert storage.names("checkpoints") == []
    assert storage.read("_hot/a") == b"one"
    storage.drop(spared)
    storage.drop(left)


# --- what this machine has of it ------------------------------------------------------------------------------


def test_what_is_appended_ends_up_under_its_key(storage: Storage, place: Open) -> None:
    for text in ("first\n", "second\n"):
        path = storage.appendable("logs/3.log")
        with path.open("a") as file:
            file.write(text)
        storage.appended("logs/3.log", path)
        assert place().read("logs/3.log").endswith(text.encode())
    assert place().read("logs/3.log") == b"first\nsecond\n"


def test_a_log_may_go_on_elsewhere_and_come_back(storage: Storage, place: Open) -> None:
    for text, where in (("first\n", storage), ("second\n", place()), ("third\n", storage)):
        path = where.appendable("logs/3.log")
        with path.open("a") as file:
            file.write(text)
        where.appended("logs/3.log", path)
    assert storage.read("logs/3.log") == b"first\nsecond\nthird\n"


def test_what_was_fetched_can_be_fetched_again_after_it_was_settled(storage: Storage) -> None:
    publish(storage, "weights")
    for _ in range(2):
        path = storage.fetch("checkpoints/3/1/5")
        assert storage.fetch("checkpoints/3/1/5") == path
        assert (path / "model.txt").read_text() == "weights"
        storage.settle("checkpoints/3")
    assert storage.read("checkpoints/3/1/5/model.txt") == b"weights"


# --- a founding that was cut off ------------------------------------------------------------------------------


def test_what_was_begun_is_founded_by_another(place: Open) -> None:
    first = place()

    def begin() -> None:
        with first.founding(FOLDERS, FILES):
            first.create("_hot/a", b"first")
            raise FileExistsError  # nothing is taken away then, as after a power loss

    with pytest.raises(FileExistsError):
        begin()
    second = place()
    with pytest.raises(FolderError), second.founding(FOLDERS, FILES):
        pass
    assert second.read("_hot/a") == b"first"
    with pytest.raises(ZeroDivisionError), second.founding(FOLDERS, FILES, begun=True):
        raise ZeroDivisionError
    with second.founding(FOLDERS, FILES, begun=True):
        second.create("sweep.json", b"second")
    assert place().read("_hot/a") == b"first"
    assert place().read("sweep.json") == b"second"

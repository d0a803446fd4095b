"""An object store that misbehaves: a small one of our own, which loses answers, is busy, or ignores conditions."""

from __future__ import annotations

import http.server
import os
import pickle
import re
import subprocess
import sys
import threading
import time
import urllib.parse
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from caviar.errors import FolderError, LeaseError, OutageError
from caviar.store import connection
from caviar.store.beginnings import check_new
from caviar.store.checkpoints import MARKER, CheckpointFiles
from caviar.store.inbox import Inbox, post, withdraw
from caviar.store.layout import SweepFolder
from caviar.store.lease import Lease, refuse_if_held
from caviar.store.objects import ObjectStorage
from caviar.store.part import read_footer, read_part
from caviar.store.place import Url, absolute, place
from caviar.store.reader import Reader
from caviar.store.recorder import Recorder

# --- places ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "url"),
    [
        ("s3://bucket/runs/x", "s3://bucket/runs/x"),
        ("S3://bucket/runs/x/", "s3://bucket/runs/x"),
        (Path("s3://bucket/runs/x"), "s3://bucket/runs/x"),  # which eats a slash
        ("gs://bucket", "gs://bucket"),
        ("ftp://host/x", "ftp://host/x"),
    ],
)
def test_a_url_stays_one(given: str | Path, url: str) -> None:
    found = place(given)
    assert isinstance(found, Url)
    assert found == place(found) == absolute(found) == pickle.loads(pickle.dumps(found)) == url
    assert found.name == url.rpartition("/")[2]
    assert found / "metrics" == f"{url}/metrics"


@pytest.mark.parametrize("given", ["runs/x", "/runs/x", "c:/x", "a:b", Path("runs")])
def test_a_path_stays_one(given: str | Path) -> None:
    assert place(given) == Path(given)
    assert absolute(place(given)) == Path(given).absolute()


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("ftp://host/x", "unknown scheme 'ftp'; a sweep lies in a folder, or at s3:// or gs://"),
        ("s3://", "names no bucket, as in s3://bucket/runs/digits"),
        ("s3://bucket/a//b", "has a part that is empty, '.' or '..'"),
        ("s3://bucket/../b", "has a part that is empty, '.' or '..'"),
    ],
)
def test_a_url_that_cannot_work_is_refused(url: str, says: str) -> None:
    with pytest.raises(FolderError) as error:
        SweepFolder(place(url))
    assert str(error.value) == f"{place(url)}: {says}"


def test_without_obstore_one_line_says_what_to_install() -> None:
    code = "import sys; sys.modules['obstore'] = None\nimport caviar\ncaviar.load('s3://bucket/x')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    last = done.stderr.splitlines()[-1]
    assert last == (
        'caviar.errors.FolderError: s3://bucket/x: object stores need obstore: pip install "caviar-sweep[s3]"'
    )


def test_only_who_uses_an_object_store_loads_its_client(tmp_path: Path) -> None:
    code = (
        "import sys, caviar\nfrom caviar.store.recorder import Recorder\n"
        "from caviar.store.checkpoints import CheckpointFiles\nCheckpointFiles(sys.argv[1]).visible()\n"
        "assert 'obstore' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True)


# --- settings -------------------------------------------------------------------------------------------------


def test_what_workers_need_travels_with_the_files_and_is_shown_to_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith(("AWS_", "GOOGLE_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "very-secret")
    monkeypatch.setenv("AWS_PROFILE", "mine")
    files = CheckpointFiles.of(Url("s3://bucket/x"))
    assert "very-secret" not in repr(files)
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    there = pickle.loads(pickle.dumps(files))
    assert there == files
    assert there.settings == {"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "very-secret"}


def test_a_key_in_a_file_travels_as_its_content(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "key.json"
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(file))
    assert connection.settings(Url("gs://bucket/x")) == {"GOOGLE_APPLICATION_CREDENTIALS": str(file)}
    file.write_text('{"type": "service_account"}')
    assert connection.settings(Url("gs://bucket/x")) == {"GOOGLE_SERVICE_ACCOUNT_KEY": file.read_text()}
    file.write_text('{"type": "authorized_user"}')
    assert connection.settings(Url("gs://bucket/x")) == {"GOOGLE_APPLICATION_CREDENTIALS": str(file)}
    assert connection.settings(Url("s3://bucket/x")).keys() <= set(os.environ)


def test_a_bucket_has_one_client_in_a_process() -> None:
    given = {"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret"}
    first, prefix = connection.client(Url("s3://bucket/x"), given)
    assert prefix == "x"
    assert connection.client(Url("s3://bucket/y/z"), dict(given)) == (first, "y/z")
    assert connection.client(Url("s3://bucket/x"), {**given, "AWS_REGION": "eu-west-1"})[0] is not first


# --- a store that misbehaves ----------------------------------------------------------------------------------


class Fake(http.server.ThreadingHTTPServer):
    """A store for one bucket, on loopback. What it is to do wrong is said in its attributes."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.objects: dict[str, tuple[bytes, str | None]] = {}
        self.lock = threading.Lock()
        self.lose_answers = 0
        """So many puts are done, and their answers lost."""
        self.ignores_conditions = False
        self.status: int | None = None
        """The answer to everything."""
        self.asked: list[str] = []

    def handle_error(self, request: Any, client_address: Any) -> None:
        pass


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Fake

    def log_message(self, *args: Any) -> None:
        pass

    def handle_one(self) -> None:
        fake, length = self.server, int(self.headers.get("Content-Length") or 0)
        data = self.rfile.read(length)
        path, _, query = self.path.partition("?")
        key = urllib.parse.unquote(path).removeprefix("/bucket").lstrip("/")
        with fake.lock:
            fake.asked.append(f"{self.command} {key}")
            if fake.status is not None:
                return self.answer(fake.status, b"<Error><Code>SlowDown</Code></Error>")
            if self.command == "PUT":
                conditional = self.headers.get("If-None-Match") == "*" and not fake.ignores_conditions
                if conditional and key in fake.objects:
                    return self.answer(412)
                fake.objects[key] = (data, self.headers.get("x-amz-meta-caviar-token"))
                if fake.lose_answers:
                    fake.lose_answers -= 1
                    self.close_connection = True
                    return None
                return self.answer(200)
            if self.command == "DELETE":
                fake.objects.pop(key, None)
                return self.answer(204)
            if self.command == "POST":
                going = [one.partition("</Key>")[0] for one in data.decode().split("<Key>")[1:]]
                for one in going:
                    fake.objects.pop(one, None)
                deleted = "".join(f"<Deleted><Key>{one}</Key></Deleted>" for one in going)
                return self.answer(200, f"<DeleteResult>{deleted}</DeleteResult>".encode())
            if not key:
                return self.answer(200, self.listing(dict(urllib.parse.parse_qsl(query))))
            if key not in fake.objects:
                return self.answer(404, b"<Error><Code>NoSuchKey</Code></Error>")
            content, token = fake.objects[key]
        wanted = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range") or "")
        if wanted is not None:
            begin, end = int(wanted[1]), int(wanted[2]) + 1
            return self.answer(206, content[begin:end], token, piece=f"bytes {begin}-{end - 1}/{len(content)}")
        return self.answer(200, content, token)

    do_PUT = do_GET = do_HEAD = do_DELETE = do_POST = handle_one  # noqa: N815

    def listing(self, query: dict[str, str]) -> bytes:
        prefix, keys, folders = query.get("prefix", ""), "", set()
        for key in sorted(self.server.objects):
            name, slash, _ = key.removeprefix(prefix).partition("/")
            if not key.startswith(prefix):
                continue
            if slash and "delimiter" in query:
                folders.add(name)
            else:
                size = len(self.server.objects[key][0])
                keys += f"<Contents><Key>{key}</Key><Size>{size}</Size>"
                keys += "<LastModified>2026-01-01T00:00:00.000Z</LastModified></Contents>"
        found = "".join(f"<CommonPrefixes><Prefix>{prefix}{name}/</Prefix></CommonPrefixes>" for name in folders)
        return f"<ListBucketResult>{keys}{found}</ListBucketResult>".encode()

    def answer(self, status: int, body: bytes = b"", token: str | None = None, *, piece: str = "") -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Last-Modified", "Thu, 01 Jan 2026 00:00:00 GMT")
        self.send_header("ETag", '"e"')
        if piece:
            self.send_header("Content-Range", piece)
        if token is not None:
            self.send_header("x-amz-meta-caviar-token", token)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Iterator[Fake]:
    server = Fake()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    for name, value in {
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{server.server_port}",
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_ALLOW_HTTP": "true",
    }.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setitem(connection.RETRY, "backoff", {"init_backoff": timedelta(milliseconds=1)})
    yield server
    server.shutdown()
    server.server_close()
    thread.join(10)


@pytest.fixture
def storage(fake: Fake) -> ObjectStorage:
    return ObjectStorage(Url("s3://bucket/x"))


@pytest.fixture
def objects_folder(fake: Fake) -> SweepFolder:
    return SweepFolder(place("s3://bucket/x"))


def test_a_put_whose_answer_was_lost_has_succeeded(fake: Fake, storage: ObjectStorage) -> None:
    fake.lose_answers = 2
    storage.create("a", b"")
    assert [asked for asked in fake.asked if asked.startswith("PUT")] == ["PUT x/a"] * 2
    with pytest.raises(FileExistsError):
        storage.create("a", b"")


def test_what_was_removed_before_it_could_be_compared_is_created_again(
    fake: Fake, storage: ObjectStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake.objects["x/a"] = (b"another's", "token")
    compare = ObjectStorage._token

    def remove_and_compare(self: ObjectStorage, key: str) -> object:
        fake.objects.clear()
        return compare(self, key)

    monkeypatch.setattr(ObjectStorage, "_token", remove_and_compare)
    storage.create("a", b"ours")
    assert storage.read("a") == b"ours"


def test_a_store_that_ignores_conditions_is_refused_and_left_as_it_was(
    fake: Fake, objects_folder: SweepFolder
) -> None:
    fake.ignores_conditions = True
    fake.objects["other"] = (b"", None)
    with pytest.raises(FolderError, match=r"^s3://bucket/x: its object store overwrites objects") as error:
        check_new(objects_folder, 0)
    assert "\n" not in str(error.value)
    assert list(fake.objects) == ["other"]


@pytest.mark.parametrize("status", [500, 503, 429])
def test_a_busy_store_is_an_outage_within_seconds(fake: Fake, storage: ObjectStorage, status: int) -> None:
    fake.status = status
    for touch in (
        lambda: storage.create("a", b""),
        lambda: storage.replace("a", b""),
        lambda: storage.read("a"),
        lambda: storage.open("a"),
        lambda: storage.names("a"),
        lambda: storage.exists("a"),
        lambda: storage.unlink("a"),
        lambda: storage.move("a", "b"),
    ):
        with pytest.raises(OutageError) as error:
            touch()
        assert str(error.value.strerror).startswith(f"the object store answered {status}")
        assert "\n" not in str(error.value.strerror)
        assert error.value.filename == "s3://bucket/x/a"
    assert len(fake.asked) <= 8 * (connection.RETRY["max_retries"] + 1)


def test_an_outage_is_neither_damage_nor_the_absence_of_a_lease(
    fake: Fake, objects_folder: SweepFolder, clock: Any
) -> None:
    recorder = Recorder.create(objects_folder, {"metric": "loss"}, now_us=clock)
    reader = Reader(objects_folder.path, now_us=clock)
    files = CheckpointFiles("s3://bucket/x")
    with files.checkpoint(0, 0, 5) as draft:
        (draft / "model").write_text("weights")
    inbox = Inbox(objects_folder, now_us=clock)
    fake.status = 503
    for look in (
        lambda: Lease.read(objects_folder),
        reader.state,
        reader.refresh,
        reader.read,
        lambda: read_footer(objects_folder, objects_folder.part("events", 0)),
        lambda: read_part(objects_folder, objects_folder.part("events", 0)),
        lambda: files.damage(0, (0, 5)),
        files.visible,
    ):
        with pytest.raises(OutageError):
            look()
    with pytest.raises(FolderError, match=r"lease\.json: cannot be read: the object store answered 503 SlowDown"):
        refuse_if_held(objects_folder, clock())
    with pytest.raises(FolderError, match="cannot be read"):
        Recorder.open(objects_folder, now_us=clock)
    for _ in range(3):
        assert inbox.take() == []
    fake.status = None
    assert reader.state() == "running"
    assert files.damage(0, (0, 5)) is None
    with pytest.raises(LeaseError):
        refuse_if_held(objects_folder, clock())
    recorder.close()
    assert reader.state() == "interrupted"


def test_a_removed_sweep_is_noticed(fake: Fake, objects_folder: SweepFolder, clock: Any) -> None:
    recorder = Recorder.create(objects_folder, {"metric": "loss"}, now_us=clock)
    fake.objects.clear()
    clock.advance(6)
    with pytest.raises(FolderError, match="is gone"):
        recorder.tick()


def test_damage_is_told_without_fetching_the_checkpoint(fake: Fake, objects_folder: SweepFolder) -> None:
    files = CheckpointFiles("s3://bucket/x")
    with files.checkpoint(3, 1, 5) as draft:
        (draft / "model").write_text("weights")
    del fake.asked[:]
    assert files.damage(3, (1, 5)) is None
    assert fake.asked == [f"GET x/checkpoints/3/1/5/{MARKER}", "HEAD x/checkpoints/3/1/5/model"]
    fake.objects["x/checkpoints/3/1/5/model"] = (b"weight", None)
    assert files.damage(3, (1, 5)) == ("s3://bucket/x/checkpoints/3/1/5/model: damaged: it has 6 bytes, and had 7")
    del fake.objects["x/checkpoints/3/1/5/model"]
    assert files.damage(3, (1, 5)) == "s3://bucket/x/checkpoints/3/1/5/model: damaged: No such file or directory"
    assert files.damage(4, (1, 5)) == "s3://bucket/x/checkpoints/4/1/5: no such checkpoint"


def test_a_checkpoint_waits_for_the_end_of_an_outage(fake: Fake, monkeypatch: pytest.MonkeyPatch) -> None:
    files = CheckpointFiles("s3://bucket/x")
    pauses: list[float] = []

    def pause(seconds: float) -> None:
        pauses.append(seconds)
        fake.status = None if len(pauses) == 3 else 503

    monkeypatch.setattr("caviar.store.checkpoints.time.sleep", pause)
    fake.status = 503
    with files.checkpoint(3, 1, 5) as draft:
        (draft / "model").write_text("weights")
    assert len(pauses) == 3
    assert (files.restore(3, (1, 5)) / "model").read_text() == "weights"
    files.settle(3)


def test_the_marker_comes_last_and_goes_first(fake: Fake) -> None:
    files = CheckpointFiles("s3://bucket/x")
    for turn in range(2):
        del fake.asked[:]
        with files.checkpoint(3, 1, 5) as draft:
            for name in ("_a", "z"):
                (draft / name).write_text(str(turn))
        puts = [asked.rpartition("/")[2] for asked in fake.asked if asked.startswith("PUT")]
        assert puts == ["_a", "z", MARKER]
        assert len(fake.objects) == 3
    assert fake.objects["x/checkpoints/3/1/5/z"][0] == b"1"


def test_a_log_that_cannot_be_brought_to_its_place_is_brought_later(fake: Fake, storage: ObjectStorage) -> None:
    fake.objects["x/logs/1.log"] = (b"before\n", None)
    for status, trial, text in ((503, 1, "first\n"), (503, 1, "second\n"), (None, 2, "other\n")):
        fake.status = status
        key = f"logs/{trial}.log"
        path = storage.appendable(key)
        path.write_text(text)
        storage.appended(key, path)
    assert storage.read("logs/1.log") == b"before\nfirst\nsecond\n"
    assert storage.read("logs/2.log") == b"other\n"


def test_a_log_that_is_opened_again_before_it_is_brought_to_its_place(storage: ObjectStorage) -> None:
    key = "logs/1.log"
    first = storage.appendable(key)
    first.write_text("attempt 0\n")
    second = storage.appendable(key)
    with second.open("a") as file:
        file.write("attempt 1 begins\n")
        storage.appended(key, first)
        file.write("and ends\n")
    storage.appended(key, second)
    assert storage.read(key) == b"attempt 0\nattempt 1 begins\nand ends\n"
    assert not first.exists()
    assert not second.exists()


def test_what_two_processes_print_of_a_trial_is_all_there(fake: Fake, storage: ObjectStorage) -> None:
    other = ObjectStorage(Url("s3://bucket/x"))
    key = "logs/1.log"
    paths = [one.appendable(key) for one in (storage, other)]
    for one, path, text in zip((storage, other), paths, ("attempt 0\n", "attempt 1\n"), strict=True):
        path.write_text(text)
        one.appended(key, path)
    assert storage.read(key) == b"attempt 0\nattempt 1\n"


def test_commands_come_through_a_listing_that_nobody_waits_for(
    fake: Fake, objects_folder: SweepFolder, clock: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ObjectStorage, "look_s", 0.01)
    Recorder.create(objects_folder, {"metric": "loss"}, now_us=clock)
    command = post(objects_folder.path, "stop", trial=3)
    objects_folder.storage.replace("inbox/bad", b"no command")
    inbox = Inbox(objects_folder, now_us=clock)
    taken: list[Any] = []
    fake.lock.acquire()
    assert inbox.take() == []  # it begins to look, and is not waited for
    assert inbox.take() == []
    fake.lock.release()
    warnings: list[str] = []
    deadline = time.monotonic() + 30
    while not (taken and warnings):
        assert time.monotonic() < deadline
        taken += inbox.take()
        warnings += inbox.take_warnings()
    assert [(one.id, one.command, one.trial) for one in taken] == [(command, "stop", 3)]
    assert "set aside as bad.bad" in warnings[0]
    inbox.done(command)
    assert objects_folder.storage.names("inbox") == ["bad.bad"]


def test_a_driver_that_comes_by_rarely_takes_no_command_that_was_withdrawn(
    fake: Fake, objects_folder: SweepFolder, clock: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    Recorder.create(objects_folder, {"metric": "loss"}, now_us=clock)
    withdrawn, kept = (post(objects_folder.path, "stop", trial=trial) for trial in (3, 4))
    inbox = Inbox(objects_folder, now_us=clock)
    assert inbox.take() == []
    assert inbox._looking is not None
    inbox._looking.result(30)  # it has both in hand
    withdraw(objects_folder, withdrawn)
    monkeypatch.setattr("caviar.store.inbox._STALE_S", -1.0)  # all that was found is from long ago
    monkeypatch.setattr("caviar.store.inbox.wait", lambda looks, timeout_s: looks[0].exception(30))
    monkeypatch.setattr(inbox, "_begin_look", _and_then(inbox._begin_look, lambda: monkeypatch.undo()))
    assert [command.id for command in inbox.take()] == [kept]


def _and_then(first: Any, act: Any) -> Any:
    def both(*args: Any) -> Any:
        found = first(*args)
        act()
        return found

    return both


def test_no_object_is_fetched_to_a_place_outside(fake: Fake, storage: ObjectStorage) -> None:
    fake.objects["x/checkpoints/3/1/5/../../../../../evil"] = (b"", None)
    with pytest.raises(OSError, match=r"\.\."):
        storage.fetch("checkpoints/3/1/5")

"""A sweep in a real object store, which is killed and restarted; drivers that race, die and are fenced."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from click.testing import CliRunner

import caviar
from caviar.cli import main
from caviar.errors import FencedError, FolderError, OutageError
from caviar.messages import TrialStarted
from caviar.store.checkpoints import CheckpointFiles
from caviar.store.layout import SweepFolder
from caviar.store.lease import Lease, wall_clock_us
from caviar.store.place import Url, place
from caviar.store.reader import Reader
from caviar.store.recorder import Recorder
from tests.weed import BUCKET, Weed

ROOT = Path(__file__).parents[2]
SPACE = caviar.Space(lr=caviar.Float(0, 1))
STEPS = 12


def learns(trial: caviar.Trial) -> None:
    """Counts its steps over its attempts; trial 1 fails once, past a checkpoint."""
    trained = 0
    if trial.restored is not None:
        trained = int((trial.restored / "deep" / "trained").read_text())
    trial.log(f"attempt {trial.attempt} begins at {trained}")
    for step in trial.steps():
        trained += 1
        trial.report(loss=1.0 / step, trained=trained, knows_the_key="AWS_ACCESS_KEY_ID" in os.environ)
        if trial.checkpoint_due:
            with trial.checkpoint() as folder:
                (folder / "deep").mkdir()
                (folder / "deep" / "trained").write_text(str(trained))
        if (trial.id, trial.attempt, step) == (1, 0, 7):
            raise RuntimeError("once")


def sweep(**changes: Any) -> caviar.Sweep:
    arguments: dict[str, Any] = {
        "metric": "loss",
        "trials": 6,
        "max_step": STEPS,
        "checkpoint_every": 3,
        **changes,
    }
    return caviar.Sweep(arguments.pop("train", learns), SPACE, **arguments)


def at_trial_3(act: Callable[[], None]) -> Callable[[Any], None]:
    def observe(item: Any) -> None:
        if isinstance(item, TrialStarted) and item.trial == 3:
            act()

    return observe


def command(*words: str) -> tuple[int, str]:
    done = CliRunner().invoke(main, words, catch_exceptions=False)
    return done.exit_code, done.output


# --- a whole sweep --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("executor", "knows"),
    [
        pytest.param(lambda: caviar.Inline(), 1.0, id="inline"),
        pytest.param(lambda: caviar.Ray(workers=2), 0.0, id="ray", marks=pytest.mark.ray),
    ],
)
def test_a_sweep_runs_there_with_checkpoints_a_retry_and_logs(
    request: pytest.FixtureRequest, executor: Callable[[], Any], knows: float
) -> None:
    if request.node.get_closest_marker("ray"):
        request.getfixturevalue("ray_cluster")  # first: what its workers have in their environment is from now
    url = request.getfixturevalue("s3") + "/runs/x"
    result = sweep().run(url, executor())
    assert result.path == url
    assert repr(result).startswith(f"Result('{url}', finished: 6 completed")
    trials = result.trials()
    assert list(trials.status) == ["completed"] * 6
    assert list(trials.attempts) == [1, 2, 1, 1, 1, 1]
    assert (trials["metrics.trained"] == STEPS).all(), "the second attempt went on from the checkpoint"
    assert (trials["metrics.knows_the_key"] == knows).all()
    folder = SweepFolder(place(url))
    assert folder.storage.read("logs/1.log") == b"attempt 0 begins at 0\nattempt 1 begins at 6\n"
    assert folder.storage.exists("checkpoints/1/1/12/deep/trained")
    deadline = time.monotonic() + 30
    while len(list(keys(folder, "checkpoints"))) != 6 * 2:  # of each trial one file and its marker
        assert time.monotonic() < deadline, "the superseded ones are removed"
    assert Lease.read(folder) is None

    metrics = pd.read_parquet(f"{url}/metrics")
    assert len(metrics) == 3 * (6 * STEPS + 1), "three metrics a report; step 7 of trial 1 came twice"
    assert (metrics[metrics.metric == "loss"].value * metrics[metrics.metric == "loss"].step).round(9).eq(1).all()
    assert "sweep_ended" in set(pd.read_parquet(result.path / "events").kind)
    secret = os.environ["AWS_SECRET_ACCESS_KEY"].encode()
    for key in keys(folder):
        assert secret not in folder.storage.read(key), key


def keys(folder: SweepFolder, below: str = "") -> Iterator[str]:
    for name in folder.storage.names(below):
        key = f"{below}/{name}".strip("/")
        try:
            folder.storage.size_bytes(key)
        except FileNotFoundError:
            yield from keys(folder, key)
        else:
            yield key


def test_the_command_line_reads_it(s3: str) -> None:
    url = f"{s3}/x"
    sweep().run(url, caviar.Inline())
    status, told = command("status", url)
    assert status == 0
    assert told.startswith(f"{url}: finished, 6 of 6 trials ended")
    status, told = command("trials", url, "--csv")
    assert status == 0
    assert len(told.splitlines()) == 7
    status, told = command("events", url, "--trial", "1")
    assert status == 0
    assert "RuntimeError: once" in told
    status, told = command("curves", url, "--trial", "0", "--csv")
    assert status == 0
    assert len(told.splitlines()) == 1 + STEPS
    status, told = command("stop", url)
    assert (status, told) == (2, f"caviar: error: {url}: is not running (finished), so there is nothing to stop\n")


# --- drivers that die -----------------------------------------------------------------------------------------

DRIVER = """
import logging, sys, time
import caviar

def train(trial):
    for step in trial.steps():
        trial.report(loss=1.0 / step)
        time.sleep(0.001)

class Counting(caviar.Inline):
    def start(self, job, deliver):
        self.rows = {}
        def counted(arrivals):
            delivery = deliver(arrivals)
            self.rows[delivery] = sum(len(block) for block in arrivals.reports)
            return delivery
        super().start(job, counted)
        self.acknowledged = 0

    def acknowledge(self, delivery):
        for number in [number for number in self.rows if number <= delivery]:
            self.acknowledged += self.rows.pop(number)
        print(self.acknowledged, flush=True)

url, trials, resume = sys.argv[1], int(sys.argv[2]), sys.argv[3] == "True"
sweep = caviar.Sweep(train, caviar.Space(lr=caviar.Float(0, 1)), metric="loss", trials=trials, max_step=20)
sweep.run(url, Counting(), resume=resume)
"""


class Driver:
    """A driver in a process of its own, which says how many reports were acknowledged."""

    def __init__(self, file: Path, url: str, *, trials: int, resume: bool) -> None:
        file.write_text(textwrap.dedent(DRIVER))
        self.process = subprocess.Popen(
            [sys.executable, str(file), url, str(trials), str(resume)],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdout=subprocess.PIPE,
            text=True,
        )
        self.acknowledged = 0

    def until(self, reports: int) -> None:
        assert self.process.stdout is not None
        while self.acknowledged < reports:
            line = self.process.stdout.readline()
            assert line, "it has ended"
            self.acknowledged = int(line)


@pytest.fixture
def drive(tmp_path: Path) -> Iterator[Callable[..., Driver]]:
    drivers: list[Driver] = []

    def begin(url: str, *, trials: int = 40, resume: bool = False) -> Driver:
        drivers.append(Driver(tmp_path / "driver.py", url, trials=trials, resume=resume))
        return drivers[-1]

    yield begin
    for driver in drivers:
        driver.process.kill()
        driver.process.communicate()


def test_killed_it_is_gone_on_with(s3: str, drive: Callable[..., Driver]) -> None:
    url = f"{s3}/x"
    driver = drive(url)
    driver.until(100)
    driver.process.kill()
    driver.process.wait()
    before = caviar.load(url)
    assert before.status == "interrupted"
    assert len(before.curves()) >= driver.acknowledged
    successor = drive(url, resume=True)
    successor.process.communicate(timeout=60)
    assert successor.process.returncode == 0
    result = caviar.load(url)
    assert result.status == "finished"
    assert result.counts() == {"completed": 40}
    curves = result.curves()
    assert len(curves) == 40 * 20
    assert (curves.loss * curves.step).round(9).eq(1).all()
    again = before.curves().merge(result.curves(attempts="all"), on=["trial", "step", "time"])
    assert len(again) == len(before.curves()), "what was acknowledged is there once"


def test_a_running_sweep_is_stopped_through_the_inbox(s3: str, drive: Callable[..., Driver]) -> None:
    url = f"{s3}/x"
    driver = drive(url, trials=100_000)
    driver.until(1)
    status, told = command("stop", url)
    assert status == 0, told
    driver.process.communicate(timeout=60)
    result = caviar.load(url)
    assert result.status == "finished"
    assert "stop_ordered" in set(result.events().kind)


def test_a_driver_that_was_taken_over_writes_nothing_more(s3: str) -> None:
    folder = SweepFolder(place(f"{s3}/x"))
    successors: list[Recorder] = []

    def take_over() -> None:
        successors.append(Recorder.open(folder, now_us=wall_clock_us, take_over=True))

    with pytest.raises(FencedError, match="another driver took it over"):
        sweep(trials=10_000).run(folder.path, caviar.Inline(), on_event=at_trial_3(take_over))
    before = caviar.load(folder.path)
    assert before.status == "running", "the lease is the successor's"
    successors[0].close(final=False)
    after = caviar.load(folder.path)
    assert after.status == "interrupted"
    assert after.curves().equals(before.curves())


# --- the founding ---------------------------------------------------------------------------------------------


def test_of_two_drivers_that_race_one_wins(s3: str) -> None:
    barrier = threading.Barrier(2)
    outcomes: list[list[str]] = []

    def found(folder: SweepFolder, told: list[str]) -> None:
        barrier.wait(30)
        try:
            Recorder.create(folder, {"metric": "loss", "by": threading.get_ident()}, now_us=wall_clock_us)
            told.append("won")
        except FolderError as error:
            told.append(str(error))

    for turn in range(4):
        url = f"{s3}/{turn}"
        told: list[str] = []
        threads = [threading.Thread(target=found, args=(SweepFolder(place(url)), told)) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        outcomes.append(told)
    for told in outcomes:
        assert sorted(one == "won" for one in told) == [False, True], told
        refusal = next(one for one in told if one != "won")
        assert refusal.startswith(f"{s3}/")
        assert "\n" not in refusal


CUT_OFF = """
import os, sys
from caviar.store.checkpoints import CheckpointFiles
from caviar.store.layout import SweepFolder
from caviar.store.lease import wall_clock_us
from caviar.store.place import place
from caviar.store.recorder import Recorder

left = int(sys.argv[2])

def counted(operation):
    def touch(*args, **kwargs):
        global left
        left -= 1
        if left < 0:
            os._exit(9)
        return operation(*args, **kwargs)
    return touch

folder = SweepFolder(place(sys.argv[1]))
kind = type(folder.storage)
for name in ("create", "replace"):
    setattr(kind, name, counted(getattr(kind, name)))
Recorder.create(folder, {"metric": "loss"}, now_us=wall_clock_us)
"""


def cut_off(path: str | Path, creates: int) -> None:
    done = subprocess.run([sys.executable, "-c", CUT_OFF, str(path), str(creates)], cwd=ROOT, check=False)
    assert done.returncode == 9, "it was cut off"


@pytest.mark.parametrize("where", ["local", "objects"])
@pytest.mark.parametrize("creates", [0, 4])
def test_a_founding_that_was_cut_off_is_begun_again(
    request: pytest.FixtureRequest, tmp_path: Path, where: str, creates: int
) -> None:
    path = str(tmp_path / "x") if where == "local" else request.getfixturevalue("s3") + "/x"
    cut_off(path, creates if where == "local" else creates + 3)  # a probe of two, and the founding's own
    with pytest.raises(FolderError, match=r"no sweep\.json"):
        caviar.load(path)
    result = sweep().run(path, caviar.Inline())
    assert result.counts() == {"completed": 6}
    assert list(result.trials()["metrics.trained"]) == [STEPS] * 6


def begin(path: str | Path) -> SweepFolder:
    """What a driver leaves that was killed before it made sweep.json."""
    folder = SweepFolder(place(path))
    create = type(folder.storage).create

    def create_or_end(self: Any, key: str, data: bytes) -> None:
        if key == folder.sweep_json:
            raise FileExistsError  # the one end after which nothing is taken away
        create(self, key, data)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(type(folder.storage), "create", create_or_end)
        with pytest.raises(FolderError):
            Recorder.create(folder, {"metric": "loss"}, now_us=wall_clock_us)
    folder.storage.unlink(folder.lease_json)  # its process is alive
    return folder


@pytest.mark.parametrize("where", ["local", "objects"])
def test_of_two_that_go_on_with_what_was_begun_one_wins(
    request: pytest.FixtureRequest, tmp_path: Path, where: str
) -> None:
    path = str(tmp_path / "x") if where == "local" else request.getfixturevalue("s3") + "/x"
    folder = begin(path)
    winners: list[Recorder] = []
    create = type(folder.storage).create

    def create_and_lose(self: Any, key: str, data: bytes) -> None:
        if key == folder.sweep_json and not winners:
            winners.append(winner)
            folder.storage.unlink(folder.lease_json)  # the winner does not know of the loser
            winners[0] = Recorder.create(folder, {"metric": "loss", "by": "winner"}, now_us=wall_clock_us)
        create(self, key, data)

    winner: Any = None
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(type(folder.storage), "create", create_and_lose)
        with pytest.raises(FolderError, match="another process has just made a sweep of it"):
            Recorder.create(folder, {"metric": "loss", "by": "loser"}, now_us=wall_clock_us)
    winners[0].commit([], [])
    winners[0].tick()
    assert folder.declaration()["by"] == "winner"
    winners[0].close()
    Recorder.open(folder, now_us=wall_clock_us).close()


@pytest.mark.parametrize(
    ("key", "says"),
    [
        ("notes.txt", "notes.txt"),
        (".tmp/notes.txt", ".tmp/notes.txt"),
        ("_hot/000000000001.arrow", "_hot/000000000001.arrow"),
        ("metrics/part-000000000007.parquet", "metrics/part-000000000007.parquet"),
        ("checkpoints/0/0/5/model", "checkpoints/0"),
        ("inbox/1.json", "inbox/1.json"),
    ],
)
def test_what_is_not_only_a_beginning_is_left_alone(tmp_path: Path, key: str, says: str) -> None:
    begin(tmp_path / "x")
    file = tmp_path / "x" / key
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("mine")
    before = sorted(path for path in tmp_path.rglob("*"))
    with pytest.raises(FolderError) as error:
        sweep().run(tmp_path / "x", caviar.Inline())
    assert str(error.value) == (
        f"{tmp_path / 'x'}: is not empty (it holds {says}); a new sweep needs an empty folder"
    )
    assert sorted(path for path in tmp_path.rglob("*")) == before


def test_what_another_is_just_making_is_left_alone(tmp_path: Path) -> None:
    begin(tmp_path / "x")
    lease = Lease.mine("nonce", wall_clock_us())
    (tmp_path / "x" / "lease.json").write_bytes(lease.to_bytes())
    with pytest.raises(FolderError, match=f"is being driven by process {os.getpid()}"):
        sweep().run(tmp_path / "x", caviar.Inline())


# --- the server -----------------------------------------------------------------------------------------------


def test_the_server_is_killed_and_the_sweep_goes_on(
    s3: str, weed: Weed, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("caviar.commits.PATIENT_COMMIT_S", 0.1)
    url = f"{s3}/x"
    acknowledged: list[int] = []
    starter = threading.Thread(target=weed.start)
    told: list[tuple[int, str]] = []

    class Acknowledged(caviar.Inline):
        def acknowledge(self, delivery: int) -> None:
            acknowledged.append(delivery)

    def kill() -> None:
        weed.kill()
        with pytest.raises(OutageError, match="the object store cannot be reached"):
            reader.state()
        told.append(command("status", url))
        starter.start()

    def observe(item: Any) -> None:
        if isinstance(item, TrialStarted) and item.trial == 2:
            deadline = time.monotonic() + 30
            while not acknowledged and time.monotonic() < deadline:
                time.sleep(0.01)
        at_trial_3(kill)(item)

    def train(trial: caviar.Trial) -> None:
        nonlocal reader
        if trial.id == 1:
            reader = Reader(url)
        learns(trial)

    reader: Any = None
    result = sweep(train=train, trials=20).run(url, Acknowledged(), on_event=observe)
    starter.join(60)
    reached = "the object store cannot be reached: Connection refused"
    assert told == [(2, f"caviar: error: {url}/sweep.json: cannot be read: {reached}\n")]
    assert result.counts() == {"completed": 20}
    assert (result.trials()["metrics.trained"] == STEPS).all()
    assert len(result.curves()) == 20 * STEPS
    assert len(pd.read_parquet(f"{url}/metrics")) == 3 * (20 * STEPS + 1), "nothing is lost, and nothing doubled"
    said = [record.getMessage() for record in caplog.records if record.name == "caviar.commits"]
    assert any("cannot write to the sweep folder" in line for line in said)
    assert any("can be written again" in line for line in said)


# --- refusals -------------------------------------------------------------------------------------------------


class NeverStarted(caviar.Inline):
    def start(self, job: Any, deliver: Any) -> None:
        raise AssertionError("nothing is to be started")


@pytest.mark.parametrize(
    ("url", "changes", "says"),
    [
        ("s3://no-such-bucket/x", {}, "s3://no-such-bucket/x: there is no such bucket"),
        (
            f"s3://{BUCKET}/x",
            {"AWS_ACCESS_KEY_ID": "nobody"},
            "x: cannot be read: the object store does not permit it (403 InvalidAccessKeyId)",
        ),
        (
            f"s3://{BUCKET}/x",
            {"AWS_SECRET_ACCESS_KEY": "wrong"},
            "x: cannot be read: the object store does not permit it (403 SignatureDoesNotMatch)",
        ),
        (
            f"s3://{BUCKET}/x",
            {"AWS_ACCESS_KEY_ID": "reader", "AWS_SECRET_ACCESS_KEY": "reader-secret"},
            "x: cannot be written: the object store does not permit it (403 AccessDenied)",
        ),
        (
            f"s3://{BUCKET}/x",
            {"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": "", "AWS_METADATA_ENDPOINT": "http://127.0.0.1:9"},
            "x: cannot be read: no credentials: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (files in ~/.aws",
        ),
        (
            f"s3://{BUCKET}/x",
            {"AWS_ALLOW_HTTP": ""},
            "x: cannot be read: the endpoint is not https:// (AWS_ALLOW_HTTP=true allows that)",
        ),
        (
            f"s3://{BUCKET}/x",
            {"AWS_ENDPOINT_URL": "http://127.0.0.1:9"},
            "x: cannot be read: the object store cannot be reached: Connection refused",
        ),
        (
            "hdfs://host/x",
            {},
            "hdfs://host/x: unknown scheme 'hdfs'; a sweep lies in a folder, or at s3:// or gs://",
        ),
    ],
)
def test_what_cannot_work_is_refused_in_one_line_before_anything_starts(
    s3: str, monkeypatch: pytest.MonkeyPatch, url: str, changes: dict[str, str], says: str
) -> None:
    for name, value in changes.items():
        monkeypatch.setenv(name, value) if value else monkeypatch.delenv(name)
    with pytest.raises(FolderError) as error:
        sweep().run(url, NeverStarted())
    assert says in str(error.value)
    assert "\n" not in str(error.value)
    status, told = command("status", url)
    assert status == 2
    assert told.startswith(f"caviar: error: {url}")
    assert len(told.splitlines()) == 1


def test_a_session_token_of_the_workers_own_is_not_mixed_in(s3: str, monkeypatch: pytest.MonkeyPatch) -> None:
    sweep(trials=1).run(f"{s3}/x", caviar.Inline())
    files = CheckpointFiles.of(Url(f"{s3}/x"))
    assert files.visible()
    monkeypatch.setenv("AWS_SESSION_TOKEN", "of another key")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "another key")
    assert files.visible()
    with pytest.raises(FolderError, match="does not permit it"):
        CheckpointFiles.of(Url(f"{s3}/x")).visible()


def test_a_url_is_taken_wherever_a_folder_is(s3: str, tmp_path: Path) -> None:
    file = tmp_path / "small.py"
    file.write_text(
        "import caviar\ndef train(trial):\n    trial.report(loss=trial.params['x'])\n"
        "sweep = caviar.Sweep(train, caviar.Space(x=caviar.Float(0, 1)), metric='loss', trials=2)\n"
    )
    url = f"{s3}/x"
    status, told = command("run", str(file), "--out", url, "--executor", "inline")
    assert status == 0, told
    assert f"everything is in {url}" in told
    status, told = command("extend", url, "--trials", "1", "--executor", "inline")
    assert status == 0, told
    status, told = command("resume", url, "--executor", "inline")
    assert status == 0, told
    assert len(caviar.load(url).trials()) == 3
    assert caviar.load(Path(url)).path == Url(url), "a Path eats a slash"
    status, told = command("run", str(file), "--out", url, "--executor", "inline")
    assert (status, told) == (2, f"caviar: error: {url}: already holds a sweep; choose another folder\n")
    assert caviar.load(url).report(tmp_path / "page.html").exists()

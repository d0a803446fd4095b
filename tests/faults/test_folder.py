"""The sweep folder fills up, becomes unwritable, vanishes or is damaged."""

from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
import sys
import tempfile
import textwrap
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

import caviar
from caviar import commits
from caviar.cli import main
from caviar.errors import FolderError
from caviar.messages import Decided, TrialEnded, TrialStarted
from caviar.store.files import Files
from caviar.store.layout import SweepFolder
from caviar.store.lease import wall_clock_us
from caviar.store.recorder import Recorder
from caviar.store.rows import EventRow

ROOT = Path(__file__).parents[2]
SPACE = caviar.Space(lr=caviar.Float(0, 1))


def learns(trial: caviar.Trial) -> None:
    print("a word")
    for step in trial.steps():
        trial.report(loss=1.0 / step)
        if trial.checkpoint_due:
            with trial.checkpoint() as folder:
                (folder / "model").write_text("weights")


def sweep(**changes: Any) -> caviar.Sweep:
    arguments: dict[str, Any] = {"metric": "loss", "trials": 8, "max_step": 20, **changes}
    return caviar.Sweep(learns, SPACE, **arguments)


def at_trial_3(act: Callable[[], None]) -> Callable[[Any], None]:
    def observe(item: Any) -> None:
        if isinstance(item, TrialStarted) and item.trial == 3:
            act()

    return observe


# --- no room ------------------------------------------------------------------------------------------

NO_ROOM = """
import json, logging, resource, subprocess, sys, time
from pathlib import Path
import caviar
from caviar import commits
from caviar.messages import TrialEnded, TrialSampled, TrialStarted

fault, folder = sys.argv[1], Path(sys.argv[2])
commits.COMMIT_S, commits.PATIENT_COMMIT_S = 0.0, 0.02
lines = []
handler = logging.Handler()
handler.emit = lambda record: lines.append(record.getMessage())
logging.getLogger("caviar").addHandler(handler)
events, in_vain, broken = [], [0], [False]

def break_it():
    broken[0] = True
    if fault == "full":
        with open(folder / "ballast", "wb", buffering=0) as ballast:
            try:
                while True:
                    ballast.write(bytes(4096))
            except OSError:
                pass
    elif fault == "read-only":
        subprocess.run(["mount", "-o", "remount,ro", str(folder)], check=True)
    else:
        resource.setrlimit(resource.RLIMIT_FSIZE, (16, resource.RLIM_INFINITY))

def mend_it():
    broken[0] = False
    if fault == "full":
        (folder / "ballast").unlink()
    elif fault == "read-only":
        subprocess.run(["mount", "-o", "remount,rw", str(folder)], check=True)
    else:
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))

class Waiting(caviar.Inline):
    def poll(self, timeout_s):
        if broken[0] and not self._queue:
            in_vain[0] += 1
            if in_vain[0] == 5:
                mend_it()
        super().poll(timeout_s)

def train(trial):
    for step in range(1, 51):
        trial.report(loss=1.0 / step)
    while trial.id == 3 and not lines:
        step += 1
        time.sleep(0.01)  # what it reports must fit on the disk afterwards
        trial.report(loss=1.0 / step)

def observe(item):
    if isinstance(item, TrialStarted) and item.trial == 3:
        break_it()
    if isinstance(item, TrialStarted | TrialEnded | TrialSampled):
        events.append((item.kind, item.trial, broken[0] and bool(lines)))

sweep = caviar.Sweep(train, caviar.Space(lr=caviar.Float(0, 1)), metric="loss", trials=8)
result = sweep.run(folder / "sweep", Waiting(), on_event=observe)
trials = result.trials()
print(json.dumps({
    "status": result.status,
    "statuses": sorted(set(trials.status)),
    "trials": len(trials),
    "whole": bool((result.curves().groupby("trial").size() == trials.steps).all()),
    "lines": lines,
    "launched": [trial for kind, trial, without_room in events if kind == "trial_sampled" and without_room],
    "left": [path.name for path in (folder / "sweep" / ".tmp").iterdir()],
}))
"""


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own, of four megabytes."""
    mounted = tmp_path / "disk"
    mounted.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(mounted)]
    try:
        subprocess.run(command, check=True, capture_output=True, text=True)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"no file system can be mounted here ({error}); the file-size limit stands in for it")
    yield mounted
    subprocess.run(["umount", str(mounted)], check=True)


@pytest.mark.parametrize("fault", ["full", "read-only", "limit"])
def test_without_room_it_waits_says_so_once_and_goes_on(
    tmp_path: Path, request: pytest.FixtureRequest, fault: str
) -> None:
    folder = tmp_path if fault == "limit" else request.getfixturevalue("small_disk")
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(NO_ROOM), fault, str(folder)],
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    waits, goes_on = told.pop("lines")
    reason = {"full": "No space left on device", "read-only": "Read-only file system", "limit": "File too large"}
    assert waits.startswith("cannot write to the sweep folder: ")
    assert reason[fault] in waits
    assert waits.endswith("waiting, no trial is started meanwhile")
    assert goes_on == "the sweep folder can be written again; going on"
    assert told == {
        "status": "finished",
        "statuses": ["completed"],
        "trials": 8,
        "whole": True,
        "launched": [],
        "left": [],
    }


def test_a_folder_that_cannot_be_written_is_refused_before_anything_runs(tmp_path: Path) -> None:
    sweep(trials=1).run(tmp_path / "sweep", caviar.Inline())  # loads all modules, which nobody may not read
    ran: list[int] = []
    refused = sweep().but(train=lambda trial: ran.append(1))
    executor = caviar.Inline()
    with tempfile.TemporaryDirectory(prefix="caviar-test-") as name:
        locked = Path(name)
        locked.chmod(0o555)
        user = os.geteuid()
        if user == 0:
            os.seteuid(65534)  # root may write anywhere
        try:
            for path in (locked, locked / "sweep"):
                with pytest.raises(FolderError) as caught:
                    refused.run(path, executor)
                assert str(path) in str(caught.value)
                assert "\n" not in str(caught.value)
        finally:
            os.seteuid(user)
        assert not ran
        assert not list(locked.iterdir())
        locked.chmod(0o755)


# --- a disk that is slow, or fails --------------------------------------------------------------------


def test_a_disk_that_is_slow_delays_no_decision(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However slow it is: here nothing is written until the scheduler has judged every trial."""
    began, writes, judged_all = threading.Event(), threading.Event(), threading.Event()
    waited: list[bool] = []
    judged: set[int] = set()
    write = Files.write

    def slow(self: Files, path: Path, data: bytes) -> None:
        if began.is_set() and not judged_all.is_set():
            writes.set()
            waited.append(judged_all.wait(60))
        write(self, path, data)

    def observe(item: Any) -> None:
        began.set()
        if isinstance(item, Decided):
            judged.add(item.trial)
        if isinstance(item, TrialEnded) and item.trial == 0:
            assert writes.wait(60)
        if isinstance(item, TrialEnded) and item.trial == 7:
            judged_all.set()

    monkeypatch.setattr(Files, "write", slow)
    monkeypatch.setattr(commits, "COMMIT_S", 0.0)
    slowly = sweep(scheduler=caviar.Asha(grace_steps=4))
    result = slowly.run(tmp_path / "sweep", caviar.Inline(), on_event=observe)
    assert waited == [True]
    assert judged == set(range(8))
    assert result.status == "finished"
    assert (result.curves().groupby("trial").size() == result.trials().steps).all()


@pytest.mark.parametrize("operation", ["write", "fsync", "link", "sync_folder"])
def test_input_output_errors_are_waited_out_and_told_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, operation: str
) -> None:
    failures = 3
    failed: list[str] = []
    broken = threading.Event()
    place: Any = os if operation == "fsync" else Files
    real = getattr(place, operation)

    def failing(*args: Any) -> Any:
        if broken.is_set() and len(failed) < failures:
            failed.append(operation)
            raise OSError(errno.EIO, "Input/output error")
        return real(*args)

    monkeypatch.setattr(place, operation, failing)
    monkeypatch.setattr(commits, "COMMIT_S", 0.0)
    monkeypatch.setattr(commits, "PATIENT_COMMIT_S", 0.01)
    result = sweep().run(tmp_path / "sweep", caviar.Inline(), on_event=at_trial_3(broken.set))
    assert failed == [operation] * failures
    waits, goes_on = (record.getMessage() for record in caplog.records if record.name.startswith("caviar"))
    assert waits.startswith("cannot write to the sweep folder: ")
    assert "Input/output error" in waits
    assert waits.endswith("waiting, no trial is started meanwhile")
    assert goes_on == "the sweep folder can be written again; going on"
    assert result.status == "finished"
    assert result.counts() == {"completed": 8}
    assert (result.curves().groupby("trial").size() == 20).all()
    assert not result.events().seq.duplicated().any()
    assert not list((tmp_path / "sweep" / ".tmp").iterdir())


# --- no folder ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "executor",
    [
        pytest.param(lambda: caviar.Inline(), id="inline"),
        pytest.param(lambda: caviar.Ray(workers=2), id="ray", marks=pytest.mark.ray),
    ],
)
def test_a_folder_that_is_deleted_ends_its_sweep_in_one_line(
    tmp_path: Path, request: pytest.FixtureRequest, executor: Callable[[], Any]
) -> None:
    if request.node.get_closest_marker("ray"):
        request.getfixturevalue("ray_cluster")
    path = tmp_path / "sweep"
    endless = sweep(trials=1_000_000, checkpoint_every=5)
    observe = at_trial_3(lambda: shutil.rmtree(path, ignore_errors=True))
    with pytest.raises(FolderError, match="is gone") as caught:
        endless.run(path, executor(), on_event=observe)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


# --- damage -------------------------------------------------------------------------------------------


def truncate(data: bytes) -> bytes:
    return data[: len(data) // 2]


def flip_a_bit(data: bytes) -> bytes:
    at = 60  # within the first page of a part, or the rows of a commit
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


def empty(data: bytes) -> bytes:
    return b""


@pytest.fixture(scope="module")
def untouched(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sweep with two parts of each table, and a commit in `_hot` that no part covers."""
    path = tmp_path_factory.mktemp("damaged") / "sweep"
    sweep(trials=3).run(path, caviar.Inline())
    recorder = Recorder.open(SweepFolder(path), now_us=wall_clock_us)
    row = EventRow(wall_clock_us(), "driver_started", None, None, None, '{"host":"h","pid":1,"version":"0"}')
    recorder.commit([], [row])
    return path


FILES = ["metrics/part-*.parquet", "events/part-*.parquet", "_hot/*.arrow"]


@pytest.mark.parametrize(
    ("name", "damage"),
    [
        *((name, damage) for name in FILES for damage in (truncate, flip_a_bit, empty)),
        ("sweep.json", truncate),  # a text without a checksum: with a bit flipped it may be another text
        ("sweep.json", empty),
    ],
)
def test_a_damaged_file_is_named_in_one_line(
    tmp_path: Path, untouched: Path, name: str, damage: Callable[[bytes], bytes]
) -> None:
    path = tmp_path / "sweep"
    shutil.copytree(untouched, path)
    file = sorted(path.glob(name), key=lambda one: one.stat().st_size)[-1]
    if name.startswith("_hot"):
        file = max(path.glob(name))
    file.write_bytes(damage(file.read_bytes()))
    with pytest.raises(FolderError) as caught:
        caviar.load(path).curves()
    text = str(caught.value)
    assert text.startswith(f"{file}: "), text
    assert "\n" not in text
    for command in ("trials", "curves", "best"):
        result = CliRunner().invoke(main, [command, str(path)])
        assert result.exit_code == 2, result.output
        assert result.stderr == f"caviar: error: {' '.join(text.split())}\n"
        assert result.stdout == ""


def test_a_missing_part_is_named(tmp_path: Path, untouched: Path) -> None:
    path = tmp_path / "sweep"
    shutil.copytree(untouched, path)
    gone = min((path / "metrics").iterdir())
    gone.unlink()
    with pytest.raises(FolderError) as caught:
        caviar.load(path)
    assert "\n" not in str(caught.value)
    result = CliRunner().invoke(main, ["status", str(path)])
    assert (result.exit_code, result.stdout) == (2, "")

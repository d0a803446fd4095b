"""A sweep folder from a stranger, for the tests beside: a sound one, what is put into it, and what is asked."""

from __future__ import annotations

import contextlib
import os
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

import pyarrow as pa
from click.testing import CliRunner
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

import caviar
from caviar.cli import main
from caviar.cli.load_file import load_sweep
from caviar.errors import CaviarError
from caviar.messages import (
    AttemptFailed,
    CommandReceived,
    Decided,
    DriverStarted,
    Reports,
    StageOpened,
    StopOrdered,
    SweepStarted,
    TrialEnded,
    TrialSampled,
    TrialStarted,
)
from caviar.store.checkpoints import CheckpointFiles
from caviar.store.inbox import Inbox
from caviar.store.layout import SweepFolder
from caviar.store.lease import wall_clock_us
from caviar.store.part import encode_part
from caviar.store.reader import Reader
from caviar.store.recorder import Recorder
from caviar.store.rows import to_row
from caviar.store.tables import EVENTS, METRICS

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


EXPERIMENT = """
import caviar


def train(trial):
    for step in trial.steps():
        trial.report(loss=1 / step, accuracy=step)


space = caviar.Space(lr=caviar.Float(0, 1), optimizer=caviar.Choice(["sgd", "adam"]), epsilon=1e-8)
sweep = caviar.Sweep(train, space, metric="loss", trials=3, max_step=4, time_budget_s=3)
"""
"""The file that the folder says it was run from."""


STEM = "from_a_stranger"
"""The name of that file."""


def declaration(file: Path) -> dict[str, Any]:
    file.write_text(EXPERIMENT)
    with no_import_stays():
        sweep = load_sweep(str(file))
    return sweep.declaration("hostile", source={"file": str(file), "name": None, "changes": {}})


@contextlib.contextmanager
def no_import_stays() -> Iterator[None]:
    """Forget the file again, which other tests of this process know nothing of."""
    path = sys.path.copy()
    try:
        yield
    finally:
        sys.path[:] = path
        for name in [name for name in sys.modules if STEM in name]:
            del sys.modules[name]


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


@contextlib.contextmanager
def copy_of(whole: Path) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="caviar-test-", dir=whole.parent.parent) as name:
        path = Path(name) / "sweep"
        shutil.copytree(whole, path, symlinks=True)
        yield path


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
    ["set", "lr=0.1", "--trial", "1", "--timeout", "0"],
    ["rollback", "--to-step", "1", "--timeout", "0"],
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

FILES = [
    "sweep.json",
    "lease.json",
    "_hot/000000000000.arrow",
    "_hot/000000000002.arrow",
    f"metrics/{PART}",
    f"events/{PART}",
    "metrics/part-000000000000.parquet",
]


def with_checksum(stream: bytes) -> bytes:
    """A commit's file around these bytes, as `encode` would finish it."""
    return stream + struct.pack("<8sQI", b"CAVIAR\r\n", len(stream), zlib.crc32(stream))


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


def assert_set_aside(path: Path, name: str) -> None:
    inbox = Inbox(SweepFolder(path))
    assert inbox.take() == []
    [warning] = inbox.take_warnings()
    assert str(path / name) in warning
    assert "\n" not in warning
    assert inbox.take() == []
    assert not inbox.take_warnings()


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


SOUND_DATA = {row.kind: row for row in (to_row(event) for event in story())}


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

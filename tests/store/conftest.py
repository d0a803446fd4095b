"""What the tests of the store share: a clock, a folder, and short ways to say reports, events and rows."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from caviar.messages import Reports
from caviar.store.files import Files
from caviar.store.layout import SweepFolder
from caviar.store.recorder import Recorder
from caviar.store.rows import EventRow

BEGIN_US = 1_700_000_000_000_000


class Clock:
    """A clock that goes on when told to."""

    def __init__(self) -> None:
        self.us = BEGIN_US

    def __call__(self) -> int:
        return self.us

    def advance(self, seconds: float) -> None:
        self.us += int(seconds * 1e6)


class Unsynced(Files):
    """Files that are not brought to the disk: for tests that make many, and pull no plug."""

    def write(self, path: Path, data: bytes) -> None:
        with path.open("xb") as file:
            file.write(data)

    def sync_folder(self, path: Path) -> None:
        pass

    def sync_file(self, path: Path) -> None:
        pass


@pytest.fixture(scope="session")
def unsynced() -> Files:
    return Unsynced()


@pytest.fixture
def tmp_path(memory: Path | None) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="caviar-test-", dir=memory) as path:
        yield Path(path)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def folder(tmp_path: Path) -> SweepFolder:
    return SweepFolder(tmp_path / "sweep")


@pytest.fixture
def recorder(folder: SweepFolder, clock: Clock) -> Recorder:
    return Recorder.create(folder, {"metric": "loss"}, now_us=clock)


@pytest.fixture(scope="session")
def block() -> Callable[..., Reports]:
    """Reports from (trial, attempt, seq) triples; step is seq + 1 and each value tells where it came from."""

    def make(keys: Iterable[tuple[int, int, int]], *names: str) -> Reports:
        names = names or ("loss",)
        columns = np.array(list(keys), dtype=np.int64).reshape(-1, 3)
        trial, attempt, seq = columns.T
        values = (trial * 10_000 + attempt * 100 + seq)[:, None] + np.arange(len(names)) / 10
        return Reports(names, trial, attempt, seq, seq + 1, BEGIN_US + seq, values.astype(np.float64))

    return make


@pytest.fixture(scope="session")
def event() -> Callable[..., EventRow]:
    """An event by its number, which its data tells."""

    def make(number: int, kind: str = "noted", **fields: Any) -> EventRow:
        row = {"trial": None, "attempt": None, "step": None, **fields}
        return EventRow(BEGIN_US + number, kind, row["trial"], row["attempt"], row["step"], f'{{"n":{number}}}')

    return make


@pytest.fixture(scope="session")
def keys() -> Callable[..., list[tuple[int, int, int]]]:
    """The (trial, attempt, seq) of a metrics table's rows, in order."""

    def read(table: Any) -> list[tuple[int, int, int]]:
        columns = (table.column(name).to_pylist() for name in ("trial", "attempt", "seq"))
        return list(zip(*columns, strict=True))

    return read

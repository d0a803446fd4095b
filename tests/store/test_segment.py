from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest

from caviar.errors import FolderError
from caviar.store.segment import Segment, SegmentKind, decode, encode
from caviar.store.tables import EVENTS, METRICS, events_table, metrics_table

PATH = "_hot/000000000012.arrow"


@pytest.fixture
def segment(block: Any, event: Any) -> Segment:
    metrics = metrics_table([block([(0, 1, 0), (5, 2, 3)], "loss", "accuracy"), block([(0, 1, 1)], "other")])
    return Segment(12, "nonce", SegmentKind.COMMIT, metrics, events_table([event(0), event(1, trial=5)], 7))


def test_what_goes_in_comes_out(segment: Segment) -> None:
    found = decode(PATH, encode(segment))
    assert (found.commit, found.nonce, found.kind) == (12, "nonce", SegmentKind.COMMIT)
    assert found.metrics.equals(segment.metrics)
    assert found.events.equals(segment.events)
    assert found.metrics.schema == METRICS
    assert found.events.schema == EVENTS


def test_a_seal_has_no_rows() -> None:
    seal = Segment(12, "nonce", SegmentKind.SEAL, METRICS.empty_table(), EVENTS.empty_table())
    found = decode(PATH, encode(seal))
    assert found.kind is SegmentKind.SEAL
    assert found.metrics.num_rows == found.events.num_rows == 0
    assert found.metrics.schema == METRICS


def test_any_arrow_reader_reads_it_as_it_is(segment: Segment) -> None:
    table = pa.ipc.open_stream(encode(segment)).read_all()
    assert table.num_rows == 1
    assert table.column("metrics")[0].as_py()[0]["metric"] == "loss"
    assert len(table.column("events")[0].as_py()) == 2
    assert table.schema.metadata[b"caviar.kind"] == b"commit"


def test_every_cut_is_seen(segment: Segment) -> None:
    data = encode(segment)
    for length in range(len(data)):
        with pytest.raises(FolderError, match=r"_hot/000000000012\.arrow: damaged"):
            decode(PATH, data[:length])


def test_every_flipped_byte_is_seen(segment: Segment) -> None:
    data = encode(segment)
    for position in range(len(data)):
        damaged = bytearray(data)
        damaged[position] ^= 0x10
        with pytest.raises(FolderError, match="damaged"):
            decode(PATH, bytes(damaged))

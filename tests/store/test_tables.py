from __future__ import annotations

import math
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from caviar.messages import Reports
from caviar.store.layout import TABLES, SweepFolder
from caviar.store.part import encode_part, read_footer, read_part
from caviar.store.rows import EventRow
from caviar.store.tables import EVENTS, METRICS, event_rows, events_table, join, metrics_table


def test_a_wide_block_becomes_tidy_rows_side_by_side() -> None:
    ones = np.array([1, 1])
    reports = Reports(
        ("loss", "accuracy"),
        trial=np.array([7, 8]),
        attempt=ones,
        seq=np.array([0, 4]),
        step=np.array([1, 5]),
        time_us=np.array([10, 20]),
        values=np.array([[0.5, math.nan], [math.inf, 0.25]]),
    )
    table = metrics_table([reports])
    assert table.schema == METRICS
    assert table.column("trial").to_pylist() == [7, 7, 8, 8]
    assert table.column("seq").to_pylist() == [0, 0, 4, 4]
    assert table.column("step").to_pylist() == [1, 1, 5, 5]
    assert table.column("time").cast(pa.int64()).to_pylist() == [10, 10, 20, 20]
    assert table.column("metric").to_pylist() == ["loss", "accuracy"] * 2
    assert table.column("value").null_count == 0
    np.testing.assert_array_equal(table.column("value").to_numpy(), [0.5, math.nan, math.inf, 0.25])


def test_blocks_of_other_names_share_one_dictionary(block: Any) -> None:
    table = metrics_table([block([(0, 1, 0)], "loss"), block([(0, 1, 1), (1, 1, 0)], "accuracy", "loss")])
    assert table.column("metric").to_pylist() == ["loss", "accuracy", "loss", "accuracy", "loss"]
    assert table.column("metric").chunk(0).dictionary.to_pylist() == ["loss", "accuracy"]
    assert table.column("value").to_pylist() == [100.0, 101.0, 101.1, 10100.0, 10100.1]


def test_no_reports_make_an_empty_table_of_the_same_schema(block: Any) -> None:
    assert metrics_table([]).schema == METRICS
    assert metrics_table([block([])]).schema == METRICS
    assert metrics_table([block([])]).num_rows == 0


def test_events_come_back_as_they_went() -> None:
    rows = [
        EventRow(1, "sweep_started", None, None, None, '{"trials":3}'),
        EventRow(2, "decision", 4, 2, 9, '{"value":"nan"}'),
    ]
    table = events_table(rows, 40)
    assert table.schema == EVENTS
    assert table.column("seq").to_pylist() == [40, 41]
    assert event_rows(table) == rows
    assert event_rows(events_table([], 0)) == []


def test_joining_tables_unifies_their_metric_names(block: Any) -> None:
    tables = [metrics_table([block([(0, 1, 0)], name)]) for name in ("a", "b", "a")]
    joined = join(tables, "metrics")
    assert joined.column("metric").to_pylist() == ["a", "b", "a"]
    assert {tuple(chunk.dictionary.to_pylist()) for chunk in joined.column("metric").chunks} == {("a", "b")}
    for table in TABLES:
        assert join([], table).num_rows == 0


@pytest.mark.parametrize("names", [(), ("loss",), ("loss", "accuracy")])
def test_a_part_keeps_rows_order_and_span(tmp_path: Any, block: Any, names: tuple[str, ...]) -> None:
    table = metrics_table([block([(3, 1, 1), (1, 1, 0), (3, 1, 0)], *names)]) if names else METRICS.empty_table()
    folder = SweepFolder(tmp_path)
    key = folder.part("metrics", 5)
    (tmp_path / "metrics").mkdir()
    (tmp_path / key).write_bytes(encode_part(table, 5, last=9, nonce="me"))
    footer = read_footer(folder, key)
    assert (footer.key, footer.first, footer.last, footer.nonce) == (key, 5, 9, "me")
    assert read_part(folder, key).equals(table)
    assert read_part(folder, key).schema == METRICS
    assert read_part(folder, key, columns=("trial", "seq")).column_names == ["trial", "seq"]

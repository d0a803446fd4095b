"""The sort, the main-line rule and the bests, against plain searches on random tables."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from caviar.analysis.reports import NOWHERE, ReportColumns, Restarts, sort_order


@pytest.mark.parametrize("spread", [10, 2**62], ids=["packed", "too wide to pack"])
def test_sort_order_is_that_of_the_keys(spread):
    rng = np.random.default_rng(1)
    keys = [rng.integers(-spread, spread, 500) for _ in range(3)]
    order = sort_order(keys)
    rows = list(zip(*(key.tolist() for key in keys), strict=True))
    assert [rows[i] for i in order] == sorted(rows)


def test_sorted_rows_are_left_alone():
    assert sort_order([np.array([1, 1, 2]), np.array([0, 5, 0])]) is None


def test_the_main_line_agrees_with_its_definition():
    rng = np.random.default_rng(2)
    starts = [
        (trial, attempt, NOWHERE if rng.random() < 0.3 else int(rng.integers(0, 6)))
        for trial in range(60)
        for attempt in range(1, int(rng.integers(1, 5)) + 1)
    ]
    rng.shuffle(starts)
    restarts = Restarts.of(*(np.array(column) for column in zip(*starts, strict=True)))
    rows = [(t, a, s) for t, a, _ in starts for s in range(1, 7)]
    expected = [all(s <= r for t2, a2, r in starts if t2 == t and a2 > a) for t, a, s in rows]
    assert restarts.on_main_line(*(np.array(column) for column in zip(*rows, strict=True))).tolist() == expected
    assert 0 < sum(expected) < len(expected)


def test_dictionaries_may_differ_by_chunk_and_name_metrics_that_no_row_has():
    def chunk(names, codes):
        rows = len(codes)
        return pa.table(
            {
                "trial": pa.array([0] * rows, pa.int64()),
                "attempt": pa.array([1] * rows, pa.int32()),
                "seq": pa.array([5] * rows, pa.int64()),
                "step": pa.array([5] * rows, pa.int64()),
                "time": pa.array([0] * rows, pa.timestamp("us", "UTC")),
                "metric": pa.DictionaryArray.from_arrays(pa.array(codes, pa.int32()), pa.array(names)),
                "value": pa.array([{"loss": 1.0, "a": 2.0, "b": 3.0}[names[code]] for code in codes]),
            }
        )

    table = pa.concat_tables([chunk(["b", "unused", "loss"], [2, 0]), chunk(["a", "b"], [0])])
    columns = ReportColumns.of(table, "loss")
    assert columns.names == ("loss", "a", "b")
    assert columns.code.tolist() == [0, 1, 2]
    assert columns.value.tolist() == [1.0, 2.0, 3.0]
    assert columns.report_starts().tolist() == [True, False, False]
    assert ReportColumns.of(table.slice(0, 0), "loss").names == ()
    assert len(ReportColumns.of(table, "loss").of_metric("unused")) == 0

"""Tuples on the way, columns at the end."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from caviar.execution.wire import BACK, ENDED, REPORTS, RUNG, SAVED, STARTED, columns, event, pack
from caviar.messages import AttemptEnded, Checkpointed, Reports, RungReached, TrialStarted


def test_reports_of_the_same_names_share_a_block() -> None:
    blocks = columns(
        [
            (REPORTS, 1, 0, 0, ("a",), [(1, 100, 0.5), (2, 101, 0.25)]),
            (REPORTS, 1, 0, 2, ("a", "b"), [(3, 102, 0.1, 0.2)]),
            (STARTED, 5, 2, 0, None),
            (REPORTS, 2, 1, 7, ("a",), [(9, 103, float("nan"))]),
        ]
    )
    assert [block.names for block in blocks] == [("a",), ("a", "b")]
    first = blocks[0]
    assert first.trial.tolist() == [1, 1, 2]
    assert first.attempt.tolist() == [0, 0, 1]
    assert first.seq.tolist() == [0, 1, 7]
    assert first.step.tolist() == [1, 2, 9]
    assert first.time_us.tolist() == [100, 101, 103]
    assert first.values[:2].tolist() == [[0.5], [0.25]]
    assert np.isnan(first.values[2, 0])
    assert blocks[1].values.tolist() == [[0.1, 0.2]]


@given(
    st.lists(
        st.tuples(st.integers(0, 5), st.lists(st.floats(allow_nan=False), min_size=1, max_size=5)), max_size=20
    )
)
def test_every_row_arrives_in_order(runs: list[tuple[int, list[float]]]) -> None:
    seqs: dict[int, int] = {}
    entries, expected = [], []
    for trial, values in runs:
        first = seqs.get(trial, 0)
        seqs[trial] = first + len(values)
        entries.append(
            (REPORTS, trial, 0, first, ("m",), [(first + i, 2**50 + i, v) for i, v in enumerate(values)])
        )
        expected += [(trial, first + i, 2**50 + i, v) for i, v in enumerate(values)]
    got = [
        row
        for block in columns(entries)
        for row in zip(
            block.trial.tolist(),
            block.seq.tolist(),
            block.time_us.tolist(),
            block.values[:, 0].tolist(),
            strict=True,
        )
    ]
    assert got == expected


def test_a_block_survives_packing() -> None:
    (block,) = columns([(REPORTS, 1, 0, 0, ("a",), [(1, 100, 0.5)])])
    again = Reports(*pack(block))
    assert again.names == block.names
    assert again.values.tolist() == block.values.tolist()


def test_entries_become_events() -> None:
    assert event((STARTED, 5, 2, 1, 3), "worker-0") == TrialStarted(5, 2, 1, "worker-0", 3)
    assert event((RUNG, 2, 1, 3, 0.5), "worker-0") == RungReached(2, 1, 3, 0.5)
    assert event((SAVED, 5, 2, 1, 3), "worker-0") == Checkpointed(5, 2, 1, 3)
    ended = (ENDED, 5, 2, 1, 3, "failed", "reason", "trace", 0.5, 0.25, 1)
    assert event(ended, "worker-0") == AttemptEnded(5, 2, 1, 3, "failed", "reason", "trace", 0.5, 0.25, 1)
    assert event((BACK, [1, 2]), "worker-0") is None
    assert event((REPORTS, 1, 0, 0, ("a",), []), "worker-0") is None

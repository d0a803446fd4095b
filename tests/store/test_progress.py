from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from caviar.messages import Reports
from caviar.store.progress import Progress


def triples(reports: list[Reports]) -> list[tuple[int, int, int]]:
    return [
        tuple(row) for block in reports for row in np.stack([block.trial, block.attempt, block.seq]).T.tolist()
    ]


def store(progress: Progress, *blocks: Reports) -> list[tuple[int, int, int]]:
    new = progress.select(blocks)
    for block in new:
        progress.note(block.trial, block.attempt, block.seq)
    return triples(new)


def test_rows_sent_again_are_dropped(block: Any) -> None:
    progress = Progress()
    first = [(0, 1, 0), (1, 1, 0), (0, 1, 1)]
    assert store(progress, block(first)) == first
    assert store(progress, block(first)) == []
    assert store(progress, block([(0, 1, 1), (0, 1, 2), (1, 1, 0), (1, 1, 1)])) == [(0, 1, 2), (1, 1, 1)]


def test_a_row_twice_in_one_call_counts_once_across_blocks(block: Any) -> None:
    rows = [(0, 1, 0), (0, 1, 1)]
    assert store(Progress(), block([*rows, rows[0]]), block([rows[1], (0, 1, 2)])) == [*rows, (0, 1, 2)]


def test_blocks_of_one_attempt_may_interleave_in_seq(block: Any) -> None:
    progress = Progress()
    assert store(progress, block([(0, 1, 0), (0, 1, 2)], "loss"), block([(0, 1, 1), (0, 1, 3)], "accuracy")) == [
        (0, 1, 0),
        (0, 1, 2),
        (0, 1, 1),
        (0, 1, 3),
    ]
    assert store(progress, block([(0, 1, 1), (0, 1, 4)])) == [(0, 1, 4)]


def test_rows_of_a_superseded_attempt_are_dropped(block: Any) -> None:
    progress = Progress()
    store(progress, block([(0, 1, 0), (0, 1, 1), (0, 1, 2), (3, 1, 0)]))
    assert store(progress, block([(0, 2, 0)])) == [(0, 2, 0)]
    assert store(progress, block([(0, 1, 3), (3, 1, 1), (0, 2, 1)])) == [(3, 1, 1), (0, 2, 1)]


def test_an_attempt_that_has_only_begun_supersedes_too(block: Any) -> None:
    progress = Progress()
    store(progress, block([(0, 1, 0)]))
    progress.begin(0, 2)
    progress.begin(0, 1)  # told late: changes nothing
    assert store(progress, block([(0, 1, 1), (0, 2, 0)])) == [(0, 2, 0)]


def test_an_attempt_and_the_next_in_one_call_are_both_kept(block: Any) -> None:
    progress = Progress()
    assert store(progress, block([(0, 1, 0), (0, 1, 1), (0, 2, 0)])) == [(0, 1, 0), (0, 1, 1), (0, 2, 0)]
    assert store(progress, block([(0, 1, 2), (0, 2, 0), (0, 2, 1)])) == [(0, 2, 1)]


def test_selecting_alone_changes_nothing(block: Any) -> None:
    progress = Progress()
    assert triples(progress.select([block([(9, 1, 0)])])) == triples(progress.select([block([(9, 1, 0)])]))


@pytest.mark.parametrize("trial", [1023, 1024, 5000, 1_000_000])
def test_it_grows_with_the_trials(block: Any, trial: int) -> None:
    progress = Progress()
    rows = [(0, 1, 0), (trial, 1, 0)]
    assert store(progress, block(rows)) == rows
    progress.begin(trial + 1, 1)
    assert store(progress, block([*rows, (trial + 1, 1, 0)])) == [(trial + 1, 1, 0)]


def test_empty_blocks_pass(block: Any) -> None:
    assert store(Progress()) == []
    assert store(Progress(), block([]), block([(1, 1, 0)])) == [(1, 1, 0)]


def test_values_stay_with_their_rows(block: Any) -> None:
    progress = Progress()
    store(progress, block([(0, 1, 0)], "a", "b"))
    [left] = progress.select([block([(0, 1, 0), (0, 1, 1), (2, 1, 0)], "a", "b")])
    np.testing.assert_array_equal(left.values, block([(0, 1, 1), (2, 1, 0)], "a", "b").values)
    assert left.step.tolist() == [2, 1]

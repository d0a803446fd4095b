from __future__ import annotations

import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console
from rich.text import Text

from caviar.cli.chart import BRANCH, MAIN, MARK, Chart, Line, Mark, rows

FIRST = np.array([2.0, 1.5, 1.2, 1.0, 0.9, 0.8, 0.75, 0.72, 1.4, 2.2, 2.6, np.nan])
SECOND = np.linspace(0.7, 0.4, 12)
STEPS = np.arange(1, 13)
MAIN_LINE = Line(np.r_[STEPS[:8], STEPS + 8], np.r_[FIRST[:8], SECOND])
LEFT = Line(STEPS[7:], FIRST[7:], main=False)
"""A run that was rolled back from step 12 to step 8."""


def chart(*lines: Line, width: int = 40, height: int = 9, **more: object) -> Chart:
    return Chart(title="loss", lines=lines, width=width, height=height, **more)


def drawn(*lines: Line, braille: bool = True, **more: object) -> list[str]:
    return [row.plain for row in rows(chart(*lines, **more), braille=braille)]


def blocks(text: str) -> list[str]:
    """The lines of a snapshot, which is framed so that blanks at its ends show."""
    return [line.strip().strip("'") for line in text.strip().splitlines()]


def styles(text: Text, character: str) -> set[str]:
    """The styles in which a character appears."""
    return {str(span.style) for span in text.spans if character in text.plain[span.start : span.end]}


def test_a_run_that_was_rolled_back():
    assert drawn(MAIN_LINE, LEFT, marks=[Mark(5, "a"), Mark(9)], width=36) == blocks("""
        'loss   1 value not finite'
        '  │       ┊     ┊ ⢀⡴⠃               '
        '2 ┤⣄      ┊     ┊⢀⡞                 '
        '  │⠘⣆     ┊     ⢀⡞                  '
        '  │ ⠈⠓⢦⡀  ┊     ⡼                   '
        '1 ┤    ⠉⠓⠲⠤⣄⣀⣀⣀⡼⠁                   '
        '  │       ┊   ⠈⠉⠉⠉⠉⠉⠙⠒⠒⠒⠒⠒⠲⠤⠤⠤⠤⠤⢤⣀⣀⣀'
        '  └───────a─────▲─┬────────────────┬'
        '                 10               20'
    """)


def test_the_same_in_ascii():
    assert drawn(MAIN_LINE, LEFT, braille=False, marks=[Mark(5, "a"), Mark(9)], width=36) == blocks("""
        'loss   1 value not finite'
        '  |       :     :  ..               '
        '2 +*      :     :...                '
        '  |***    :     ..                  '
        '  |  ***  :     .                   '
        '1 +    ****************             '
        '  |       :     :     **************'
        '  +-------a-----^-+----------------+'
        '                 10               20'
    """)


def test_positive_values_over_more_than_two_decades():
    steps = np.arange(1, 200)
    assert drawn(Line(steps, 10.0 ** -(steps / 50)), width=36) == blocks("""
        'loss   log scale'
        '      │⠙⠒⠦⣄⣀                        '
        '  0.1 ┤    ⠈⠙⠒⠦⣄⣀                   '
        ' 0.01 ┤         ⠈⠙⠒⠦⣄⣀              '
        '      │              ⠈⠙⠲⠤⣄⡀         '
        '0.001 ┤                   ⠉⠙⠲⠤⣄⡀    '
        '      │                        ⠉⠙⠲⠤⣄'
        '      └───────┬─────────────┬───────'
        '             50            150'
    """)
    assert "log" not in drawn(Line(steps, 10.0 ** -(steps / 50)), log=False)[0]


def test_the_main_line_stands_out():
    below, *_, top = reversed(rows(chart(MAIN_LINE, LEFT))[1:7])
    assert styles(top, "⠃") == {BRANCH}
    assert {MAIN} == {style for style in styles(below, "⠒") if style in (MAIN, BRANCH)}


def test_what_is_not_finite_is_a_gap_and_counted():
    values = np.ones(10)
    values[[3, 4]] = np.nan, np.inf
    title, *_ = drawn(Line(np.arange(10), values), width=60)
    assert title == "loss   2 values not finite"
    whole, gap = (
        drawn(Line(np.arange(10), v), width=60, height=5, braille=False)[1].count("*")
        for v in (np.ones(10), values)
    )
    assert whole == 55
    assert gap < whole * 0.75


def test_how_many_are_left_out_may_be_known_better():
    assert "7 values not finite" in drawn(MAIN_LINE, left_out=7)[0]
    assert drawn(Line(STEPS, SECOND), left_out=0)[0] == "loss"


def test_what_is_not_positive_has_no_place_on_a_logarithmic_axis():
    title, *field = drawn(Line(STEPS, np.r_[0.0, -1.0, SECOND[2:]]), log=True)
    assert title == "loss   log scale   2 values not above 0"
    assert any("⠒" in row for row in field)


@pytest.mark.parametrize(
    ("values", "words"), [([], "nothing to draw yet"), ([np.nan, np.inf], "no value is finite")]
)
def test_nothing_to_draw(values, words):
    lines = [Line(np.arange(len(values)), np.array(values))]
    found = drawn(*lines, marks=[Mark(3, "a")])
    assert found[:2] == ["loss", words]
    assert len(found) == 9


def test_without_any_line():
    assert drawn()[1] == "nothing to draw yet"


def test_a_spike_among_millions_of_points_shows():
    values = np.zeros(2_000_000)
    values[1_234_567] = 1.0
    found = drawn(Line(np.arange(len(values)), values), height=12)
    assert sum(row.rstrip()[-1] not in "│┤" for row in found[1:9]) == 8  # from top to bottom
    assert any(label in found[-1] for label in ("1M", "500k"))


def test_adjustments_in_one_column_show_the_last():
    *_, axis, _ = drawn(MAIN_LINE, marks=[Mark(5, "a"), Mark(5, "b")])
    assert "b" in axis
    assert "a" not in axis


def test_marks_in_a_crowd_stand_under_the_axis_alone():
    few, many = (drawn(MAIN_LINE, marks=[Mark(step, "x") for step in steps]) for steps in ([5], range(1, 20)))
    assert any("┊" in row for row in few)
    assert not any("┊" in row for row in many)
    assert many[-2].count("x") == 19
    assert styles(rows(chart(MAIN_LINE, marks=[Mark(5, "x")]))[-2], "x") == {MARK}


def test_an_adjustment_that_is_yet_to_be_reported_is_in_the_picture():
    *_, axis, _ = drawn(MAIN_LINE, marks=[Mark(25, "z")])
    assert axis.endswith("z")


def test_labels_that_would_take_the_room_are_left_out():
    found = drawn(Line(STEPS, 1e9 + SECOND * 10), width=30)
    assert found[1].startswith(" │")


@pytest.mark.parametrize("braille", [True, False])
@given(
    values=st.lists(st.floats(), max_size=30),
    step=st.integers(1, 10**6),
    cut=st.integers(0, 30),
    marks=st.lists(st.integers(0, 10**7), max_size=5),
    width=st.integers(0, 120),
    height=st.integers(0, 40),
    log=st.sampled_from([None, False, True]),
)
def test_any_chart_keeps_to_its_size(braille, values, step, cut, marks, width, height, log):
    steps = np.arange(1, len(values) + 1) * step
    whole = Line(steps, np.array(values, np.float64))
    branch = Line(steps[cut:], np.array(values[cut:], np.float64), main=False)
    found = drawn(
        whole, branch, width=width, height=height, log=log, marks=[Mark(m) for m in marks], braille=braille
    )
    assert len(found) == (height if width >= 20 and height >= 5 else 0)
    assert all(len(row) <= width for row in found)
    if not braille:
        assert all(row.isascii() for row in found)


@pytest.mark.parametrize(("encoding", "dot"), [("utf-8", "⠒"), ("ascii", "*"), ("iso-8859-1", "*")])
def test_a_terminal_without_unicode_gets_ascii(encoding, dot):
    stream = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    console = Console(file=stream, width=60)
    console.print(chart(MAIN_LINE, LEFT, marks=[Mark(5)]))
    stream.flush()
    text = stream.buffer.getvalue().decode(encoding)
    assert dot in text
    assert text.count("\n") == 9


def test_a_branch_that_exploded_leaves_room_for_the_main_line():
    steps = np.arange(1, 41)
    values = np.linspace(2.0, 1.0, 40)
    exploded = Line(steps[20:], 10.0 ** np.arange(20), main=False)
    found = drawn(Line(steps, values), exploded, height=14)
    assert found[0] == "loss"  # the axis is linear, as the main line's is
    assert [row.split()[0] for row in found if "┤" in row] == ["4", "3", "2", "1"]
    assert drawn(Line(steps, values), Line(steps[20:], values[20:] + 1, main=False), height=14)[1].startswith(
        "    │"
    )
    # where there is no main line to speak of, the branch has the room
    assert "1e15" in "".join(drawn(Line(steps[:1], values[:1]), exploded, height=14))


def test_what_is_negative_in_a_branch_is_not_lost_on_a_logarithmic_axis():
    steps = np.arange(1, 41)
    falling = Line(steps, 10.0 ** -(steps / 10))
    assert "log" in drawn(falling)[0]
    assert drawn(falling, Line(steps[:3], np.array([1.0, -1.0, 0.5]), main=False))[0] == "loss"

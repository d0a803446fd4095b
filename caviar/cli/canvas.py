"""Curves as dots, and dots as characters: eight to one in braille, one to one in ASCII."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from caviar.cli.ticks import Axis
from caviar.messages import Floats, Ints

Dots = npt.NDArray[np.bool_]

BRAILLE = 0x2800
"""The character without a dot; each dot adds a bit."""

_BITS = np.array([[0x01, 0x08], [0x02, 0x10], [0x04, 0x20], [0x40, 0x80]])


@dataclass(frozen=True, slots=True)
class Grid:
    """A field of characters, and the dots in it; rows are counted from the top."""

    width: int
    height: int
    braille: bool = True

    @property
    def columns(self) -> int:
        """Of dots."""
        return self.width * 2 if self.braille else self.width

    @property
    def rows(self) -> int:
        """Of dots."""
        return self.height * 4 if self.braille else self.height

    def column(self, steps: Ints, low: int, high: int) -> Ints:
        """The columns of dots for these steps, on an axis from ``low`` to ``high``."""
        return _nearest((steps - low) / max(high - low, 1) * (self.columns - 1))

    def row(self, shares: Floats) -> Ints:
        """The rows of dots for these shares of the height."""
        return self.rows - 1 - _nearest(shares * (self.rows - 1))

    def characters(self, dots: Dots, *, ascii_dot: str) -> list[list[str]]:
        """The rows of characters; blank where there is no dot."""
        if not self.braille:
            return [[ascii_dot if dot else " " for dot in row] for row in dots.tolist()]
        cells = dots.reshape(self.height, 4, self.width, 2)
        codes = (cells * _BITS[None, :, None, :]).sum(axis=(1, 3))
        return [[chr(BRAILLE + code) if code else " " for code in row] for row in codes.tolist()]


def trace(grid: Grid, steps: Ints, values: Floats, *, low: int, high: int, axis: Axis) -> Dots:
    """The dots of a curve over the steps from ``low`` to ``high``: in each column from the least to the greatest
    value there, and a straight line from one report to the next. Values that are not finite, or not positive on a
    logarithmic axis, leave a gap. Time is linear in the points, and memory a few times theirs."""
    dots = np.zeros((grid.rows, grid.columns), np.bool_)
    shown = np.flatnonzero(drawable(values, log=axis.log) & (steps >= low) & (steps <= high))
    if not len(shown):
        return dots
    column = grid.column(steps[shown], low, high)
    height = axis.shares(values[shown]) * (grid.rows - 1)
    first = np.flatnonzero(np.r_[True, column[1:] != column[:-1]])
    last = np.r_[first[1:], len(column)] - 1
    ends = (np.minimum.reduceat(height, first), np.maximum.reduceat(height, first))
    # one column less than there are groups at most is between two of them, so these loops are short
    for at, least, most in zip(column[first].tolist(), *(end.tolist() for end in ends), strict=True):
        _fill(dots, at, least, most)
    joined = np.flatnonzero(shown[first[1:]] - shown[last[:-1]] == 1)
    for begin, end in zip(last[joined].tolist(), first[1:][joined].tolist(), strict=True):
        _join(dots, int(column[begin]), float(height[begin]), int(column[end]), float(height[end]))
    return dots


def _join(dots: Dots, begin: int, begin_height: float, end: int, end_height: float) -> None:
    """A straight line: in each column as long as it is steep, so that it has no holes."""
    slope = (end_height - begin_height) / (end - begin)
    for at in range(begin, end + 1):
        left, right = max(at - 0.5, begin), min(at + 0.5, end)
        heights = (begin_height + (left - begin) * slope, begin_height + (right - begin) * slope)
        _fill(dots, at, min(heights), max(heights))


def _fill(dots: Dots, column: int, least: float, most: float) -> None:
    top = len(dots) - 1
    low, high = (min(max(int(height + 0.5), 0), top) for height in (least, most))
    dots[top - high : top - low + 1, column] = True


def drawable(values: Floats, *, log: bool) -> Dots:
    """Which values have a place on an axis."""
    finite: Dots = np.isfinite(values)
    return finite & (values > 0) if log else finite


def _nearest(places: npt.NDArray[Any]) -> Ints:
    nearest: Ints = np.floor(places + 0.5).astype(np.int64)
    return nearest

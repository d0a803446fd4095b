"""Small multiples: where each panel lies, and its axes."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

HEAD, FOOT = 74, 50
"""Pixels above and below all panels."""


@dataclass(frozen=True, slots=True)
class Panels:
    """So many panels in rows of ``columns``, each ``height`` pixels high with its labels."""

    count: int
    columns: int = 3
    height: int = 250
    labels: int = 54
    """Pixels of a panel for what stands below it."""

    @property
    def rows(self) -> int:
        return max(math.ceil(self.count / self.columns), 1)

    @property
    def figure_height(self) -> int:
        return HEAD + FOOT + self.rows * self.height

    def axes(self, panel: int, x: Mapping[str, Any], y: Mapping[str, Any]) -> dict[str, Any]:
        """The layout of both axes of a panel, counted from 0."""
        row, column = divmod(panel, self.columns)
        across = min(self.columns, self.count)
        gap = 0.055 if across > 1 else 0.0
        width = (1 - gap * (across - 1)) / across
        top = 1 - row / self.rows
        name = "" if panel == 0 else str(panel + 1)
        left = column * (width + gap)
        return {
            f"xaxis{name}": {**x, "domain": [left, min(left + width, 1)], "anchor": f"y{name}"},
            f"yaxis{name}": {
                **y,
                "domain": [max(top - (self.height - self.labels) / self.height / self.rows, 0), top],
                "anchor": f"x{name}",
            },
        }

    @staticmethod
    def of(panel: int) -> dict[str, str]:
        """What a trace says of the panel that it is in."""
        name = "" if panel == 0 else str(panel + 1)
        return {"xaxis": f"x{name}", "yaxis": f"y{name}"}

"""The look that all figures share: one that is legible on light and on dark pages, and to the colour-blind."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from caviar.errors import CaviarError
from caviar.messages import Floats, Ints

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

INK = "#78808b"
"""Of text: as far from white as from black."""
GRID = "rgba(128,136,148,0.22)"
CLEAR = "rgba(0,0,0,0)"
BEST = "#e8710a"
MAIN = "#2b8cde"

COLOUR_OF = {
    "stopped": "#8f99a3",
    "failed": "#c2389a",
    "pending": "#a8872f",
    "paused": "#8d6ae0",
    "running": "#12a37f",
    "completed": MAIN,
}
"""By state of a trial, in the order in which they are drawn: the last on top."""

STAGES = ("#8f99a3", "#4fa3c7", "#2b6fd6", "#8d54d1", "#c2389a", "#12a37f", "#a8872f")
"""By stage, from the first on; they begin again where there are more."""

GOOD = ((0.0, "#9aa3ad"), (0.5, "#7fa3c4"), (0.8, "#2b8cde"), (0.93, "#8a63b8"), (1.0, BEST))
"""From the worst rank to the best; blue and orange look different to everybody."""

SURFACE = "Cividis"
"""A colour scale that is even to the colour-blind too."""

MANY_POINTS = 3_000
"""With more points than this a figure is drawn by WebGL: a browser has few such contexts for a page."""

FONT = 'system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", sans-serif'

_AXIS = {
    "gridcolor": GRID, "zeroline": False, "linecolor": GRID, "tickcolor": GRID, "automargin": True,
    "title": {"font": {"size": 13}, "standoff": 8},
}  # fmt: skip
_LAYOUT = {
    "paper_bgcolor": CLEAR,
    "plot_bgcolor": CLEAR,
    "font": {"family": FONT, "color": INK, "size": 12.5},
    "title": {"x": 0, "xref": "paper", "xanchor": "left", "yref": "container", "y": 1, "yanchor": "top",
              "pad": {"t": 14}, "font": {"size": 17, "weight": 600}, "subtitle": {"font": {"size": 12.5}}},
    "legend": {"orientation": "h", "x": 0, "xref": "paper", "y": 0, "yref": "container", "yanchor": "bottom",
               "itemsizing": "constant", "bgcolor": CLEAR},
    "margin": {"l": 12, "r": 16, "t": 74, "b": 12},
    "hovermode": "closest",
    "hoverdistance": 24,
    "hoverlabel": {"bgcolor": "#22272e", "bordercolor": "#454c55", "align": "left", "namelength": -1,
                   "font": {"family": FONT, "color": "#f2f4f6", "size": 12.5}},
    "modebar": {"bgcolor": CLEAR, "color": "rgba(128,136,148,0.5)", "activecolor": INK},
    "colorway": [MAIN, BEST, *STAGES[1:]],
    "xaxis": _AXIS,
    "yaxis": _AXIS,
}  # fmt: skip


def stage_colour(stage: int) -> str:
    """The colour of a stage, by its number."""
    return STAGES[stage % len(STAGES)]


def figure(
    traces: Sequence[Mapping[str, Any]],
    layout: Mapping[str, Any],
    *,
    title: str,
    caption: Sequence[str] = (),
    height: int = 460,
) -> Figure:
    """A figure of the common look. ``caption``: sentences below the title. ``title`` and ``caption`` are also in
    ``layout.meta``, for a page that would rather write them itself. All of it is plotly's text: use `plain`."""
    said = " ".join(caption)
    whole = {
        "template": {"layout": _LAYOUT},
        "title": {"text": title, "subtitle": {"text": _broken(said)}},
        "meta": {"title": title, "caption": said, "empty": False},
        "height": height + 16 * _broken(said).count("<br>"),
        **layout,
    }
    margin = {"t": 74 + 16 * _broken(said).count("<br>"), **layout.get("margin", {})}
    return graph_objects().Figure({"data": list(traces), "layout": {**whole, "margin": margin}})


def empty(title: str, why: str) -> Figure:
    """A figure that has nothing to show, and says why in one line."""
    word = why.partition(" ")[0]
    why = why.capitalize()[:1] + why[1:] if word.isalpha() else why
    layout = {
        "xaxis": {"visible": False},
        "yaxis": {"visible": False},
        "annotations": [{"text": plain(why, 200), "x": 0.5, "y": 0.5, "xref": "paper", "yref": "paper",
                         "showarrow": False, "font": {"size": 14}}],
    }  # fmt: skip
    made = figure([], layout, title=title, height=260)
    made.layout.meta = {"title": title, "caption": plain(why, 200), "empty": True}
    return made


def graph_objects() -> Any:
    """plotly, where it is installed."""
    try:
        import plotly.graph_objects as go
    except ImportError:
        raise CaviarError("plots need plotly: pip install 'caviar-sweep[report]'") from None
    return go


def kind(points: int) -> str:
    """The type of a scatter trace in a figure of so many points."""
    return "scattergl" if points > MANY_POINTS else "scatter"


def plain(text: object, limit: int = 80) -> str:
    """What a user may have written, as text in a figure: plotly takes tags for markup, ``%{`` for a variable, and
    what stands between dollars for a formula."""
    cut = " ".join(str(text).split())
    cut = cut if len(cut) <= limit else cut[: limit - 1] + "…"
    for sign, entity in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;"), ("{", "&#123;"), ("$", "&#36;")):
        cut = cut.replace(sign, entity)
    return cut


def number(value: object) -> str:
    """A value as a figure shows it: five digits of a float."""
    if isinstance(value, float | np.floating) and math.isfinite(value):
        return f"{value:.5g}"
    return plain(value)


def count(how_many: int, noun: str) -> str:
    """``1 trial``, ``2,000 trials``."""
    return f"{how_many:,} {noun}{'' if how_many == 1 else 's'}"


def goal(metric: str, *, maximize: bool) -> str:
    """The metric, and what is good of it."""
    return f"{plain(metric)}, {'more' if maximize else 'less'} is better."


def whole(values: Ints) -> npt.NDArray[Any]:
    """Whole numbers in as few bytes as they need: figures carry them as they are."""
    low, high = int(values.min(initial=0)), int(values.max(initial=0))
    for dtype in (np.uint8, np.int16, np.uint16, np.int32):
        if np.iinfo(dtype).min <= low and high <= np.iinfo(dtype).max:
            return values.astype(dtype)
    return values.astype(np.float64)


def slim(values: Floats) -> npt.NDArray[Any]:
    """Numbers in half the bytes, where nobody could see the difference; what is not finite becomes NaN."""
    values = np.where(np.isfinite(values), values, np.nan)
    finite = values[~np.isnan(values)]
    if len(finite):
        top = float(np.abs(finite).max())
        span = float(finite.max() - finite.min())
        least = float(np.abs(finite[finite != 0]).min(initial=top))
        if top > 1e37 or least < 1e-36 or 0 < span < 1e-4 * top:
            return values
    return values.astype(np.float32)


def _broken(text: str, width: int = 140) -> str:
    """In lines: a subtitle is not wrapped by itself."""
    lines: list[str] = []
    for word in text.split():
        if lines and len(lines[-1]) + len(word) < width:
            lines[-1] += f" {word}"
        else:
            lines.append(word)
    return "<br>".join(lines)

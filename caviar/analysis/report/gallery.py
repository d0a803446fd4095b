"""The figures, each with a sentence on how to read it."""

from __future__ import annotations

import html
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from caviar.analysis.report.markup import Html, join, paragraph, reason, script_json, text
from caviar.analysis.report.section import Section
from caviar.errors import CaviarError

if TYPE_CHECKING:
    from caviar.analysis.result import Result

HEAD = 74
"""Pixels that the figures leave for their own title, which the page writes itself."""

NAMES = 46
"""Pixels for the names above parallel axes."""


@dataclass(frozen=True, slots=True)
class Picture:
    """A figure of the report."""

    name: str
    title: str
    aid: str
    """How to read it, in a sentence."""
    draw: Callable[[Result], Any]
    wanted: Callable[[Result], bool] = lambda result: True
    """Whether there is anything to ask of it in this sweep."""


def _several_stages(result: Result) -> bool:
    return len(np.unique(result._trials.stage)) > 1


def _several_trials(result: Result) -> bool:
    return len(result._trials) > 1


def _two_params(result: Result) -> bool:
    return _several_trials(result) and sum(hasattr(each, "low") or hasattr(each, "values") for each in
                                           result.space.values()) >= 2  # fmt: skip


PICTURES: Sequence[Picture] = (
    Picture("curves", "Learning curves",
            "Each line is a trial; it ends where the trial was stopped.",
            lambda result: result.plot.curves()),
    Picture("params", "The metric against each param",
            "Each dot is a trial: good ones that lie together say where to search on, and those at an edge that "
            "the range ends too early.",
            lambda result: result.plot.params(), _several_trials),
    Picture("parallel", "All params at once",
            "Each line is a trial through all of its params: where the lines of the good ones run together, the "
            "value matters.",
            lambda result: result.plot.parallel(), _two_params),
    Picture("importance", "Which params matter",
            "The longer the bar, the more of the difference between trials goes back to that param; the thin line "
            "is the range that is likely.",
            lambda result: result.plot.importance(), _several_trials),
    Picture("contour", "Two params together",
            "Where the surface slopes along a diagonal, the two params have to be chosen together.",
            lambda result: result.plot.contour(), _two_params),
    Picture("best", "Best so far",
            "Each step of the line is a better trial: where it has long been flat, more of the same helps little.",
            lambda result: result.plot.best_so_far(), _several_trials),
    Picture("rungs", "Early stopping, rung by rung",
            "Each bar is a rung, with what went on and what was stopped there; one that ranks trials as their "
            "ends do stops the right ones.",
            lambda result: result.plot.audit()),
    Picture("stages", "Stage by stage",
            "Each shape shows where the trials of a stage lie: later ones should be narrower, and do better.",
            lambda result: result.plot.stages(), _several_stages),
    Picture("workers", "What the workers did",
            "Each row is a worker and each bar a trial: gaps are time in which nothing was trained.",
            lambda result: result.plot.workers()),
)  # fmt: skip


def gallery(result: Result, pictures: Sequence[Picture] = PICTURES) -> list[Section]:
    """A section for each figure that can be drawn; what cannot is named at the end, with the reason."""
    found: list[Section] = []
    missing: dict[str, list[str]] = {}
    for picture in pictures:
        if not picture.wanted(result):
            continue
        try:
            figure = picture.draw(result)
        except CaviarError as error:
            missing.setdefault(reason(error, result.path), []).append(picture.title)
            continue
        meta = dict(figure.layout.meta or {})
        said = html.unescape(str(meta.get("caption", "")))
        if meta.get("empty"):
            missing.setdefault(said, []).append(picture.title)
        else:
            found.append(Section(picture.title, _figure(picture, figure, said), picture.name, level=3))
    if missing:
        lines = (paragraph(f"{', '.join(titles)}: {why}", "soft") for why, titles in missing.items())
        found.append(Section("Not drawn", join(lines), "missing", level=3))
    return found


def _figure(picture: Picture, figure: Any, said: str) -> Html:
    """A figure as the page holds it: its own title and caption written as text, and its data as JSON."""
    data = json.loads(figure.to_json(engine="json"))
    layout = data["layout"]
    layout.pop("title", None)
    head = layout.get("margin", {}).get("t", HEAD)
    top = NAMES if any(trace["type"] == "parcoords" for trace in data["data"]) else 14
    layout["margin"] = {**layout.get("margin", {}), "t": top}
    layout["height"] = layout.get("height", 460) - (head - top)
    layout.pop("meta", None)
    source = script_json(json.dumps(data, separators=(",", ":")))
    return Html(
        f"<p>{text(picture.aid)}</p>"
        f'<figure><div class="plot" data-of="{picture.name}" style="min-height:{layout["height"]}px"></div>'
        f"<figcaption>{text(said)}</figcaption></figure>"
        f'<script type="application/json" id="data-{picture.name}">{source}</script>'
    )

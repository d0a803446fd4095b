"""The whole page, written as one file."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import resources
from pathlib import Path
from string import Template
from typing import TYPE_CHECKING

from caviar.analysis.report.advice import advice, next_steps
from caviar.analysis.report.best import best_setting
from caviar.analysis.report.chronicle import chronicle
from caviar.analysis.report.declared import declaration
from caviar.analysis.report.failures import failed_section, failures
from caviar.analysis.report.gallery import gallery
from caviar.analysis.report.live import is_live_run, live_advice, live_gallery, live_sections
from caviar.analysis.report.markup import Html, join, text
from caviar.analysis.report.masthead import masthead
from caviar.analysis.report.mattered import what_mattered
from caviar.analysis.report.section import Section, contents
from caviar.errors import CaviarError

if TYPE_CHECKING:
    from caviar.analysis.result import Result

PIECES = "caviar.analysis.report"


def write_report(result: Result, path: str | Path, *, title: str | None = None) -> Path:
    """Write the page of a result, and return where it lies. ``title``: None takes the sweep's name.

    Raises `CaviarError` if plotly is not installed, before anything is written.
    """
    try:
        from plotly.offline import get_plotlyjs
    except ImportError:
        raise CaviarError("the report needs plotly: pip install 'caviar-sweep[report]'") from None
    page = document(result, title=title, plotly=get_plotlyjs())
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(page, "utf-8")
    return path


def document(result: Result, *, title: str | None, plotly: str) -> str:
    """The page as text."""
    title = title or str(result.declaration.get("name") or Path(str(result.path)).name)
    found = list(_sections(result))
    return Template(_piece("page.html")).substitute(
        title=text(title),
        style=_piece("page.css"),
        masthead=masthead(result, title),
        contents=contents(found),
        sections=join((each.html() for each in found), "\n"),
        plotly=plotly if any("data-of" in each.body for each in found) else "",
        script=_piece("page.js"),
    )


def _sections(result: Result) -> Iterator[Section]:
    alone = is_live_run(result)
    if alone:
        yield from live_sections(result)
        yield next_steps(live_advice(result))
        figures = live_gallery(result)
    else:
        yield best_setting(result)
        yield what_mattered(result)
        yield next_steps(advice(result))
        figures = gallery(result)
    yield Section("Figures", Html(""), "figures")
    yield from figures
    yield declaration(result)
    retried = len(result._events.rows("attempt_failed", "attempt_lost"))
    for section in (failed_section(failures(result), retried), chronicle(result, steering=not alone)):
        if section is not None:
            yield section


def _piece(name: str) -> str:
    return resources.files(PIECES).joinpath(name).read_text("utf-8")

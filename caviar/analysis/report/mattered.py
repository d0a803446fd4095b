"""Which params mattered, in plain words."""

from __future__ import annotations

from typing import TYPE_CHECKING

from caviar.analysis.report.markup import Html, join, paragraph
from caviar.analysis.report.section import Section
from caviar.errors import CaviarError

if TYPE_CHECKING:
    from caviar.analysis.result import Result


def what_mattered(result: Result) -> Section:
    """The section."""
    try:
        said = lines(result)
    except CaviarError as error:
        said = [f"Cannot be told: {' '.join(str(error).split()).rstrip('.')}."]
    return Section("What mattered", join(_told(said)), "mattered")


def lines(result: Result) -> list[str]:
    """The summary of `Result.importance`, a line each; raises `CaviarError` where that can say nothing."""
    find = getattr(result, "importance", None)
    if find is None:
        raise CaviarError("this version does not measure importance")
    summary = find().summary()
    if isinstance(summary, str):
        summary = summary.splitlines()
    return [line.strip() for line in summary if line.strip()]


def _told(said: list[str]) -> list[Html]:
    return [
        paragraph(line if line.endswith((".", ":", "?")) else f"{line}.")
        for line in (s[:1].upper() + s[1:] for s in said)
    ]

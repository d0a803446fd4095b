"""Which params mattered, in plain words."""

from __future__ import annotations

from typing import TYPE_CHECKING

from caviar.analysis.report.markup import join, paragraph, reason
from caviar.analysis.report.section import Section
from caviar.errors import CaviarError

if TYPE_CHECKING:
    from caviar.analysis.result import Result


NOTE = (
    "“It” is what differs between trials in how well they did, by rank; the range in brackets holds the truth "
    "nine times in ten."
)


def what_mattered(result: Result) -> Section:
    """The section."""
    try:
        found = result.overall_importance
    except CaviarError as error:
        said = paragraph(f"Cannot be told: {reason(error, result.path)}")
        return Section("What mattered", said, "mattered")
    parts = [paragraph(line) for line in found.summary().splitlines() if line.strip()]
    if (found.params["verdict"] == "matters").any():
        parts.append(paragraph(NOTE, "soft"))
    return Section("What mattered", join(parts), "mattered")

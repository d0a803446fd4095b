"""What to do next: each piece of advice comes from what the record shows, and says what that is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from caviar.analysis.report.markup import Html, code, join, paragraph, prose, reason
from caviar.analysis.report.section import Section
from caviar.errors import CaviarError

if TYPE_CHECKING:
    from caviar.analysis.result import Result


@dataclass(frozen=True, slots=True)
class Advice:
    """What to do, why, and what to type for it."""

    what: str
    """In a few words."""
    why: str
    """What the record shows, in a sentence or two; `code` between backticks."""
    snippet: str | None = None
    """Code or a command to copy."""
    command: str | None = None
    """A command to copy, after a snippet of code."""


def advice(result: Result) -> list[Advice]:
    """All that there is to say, the most urgent first. What cannot be judged yet says so."""
    from caviar.analysis.report.outlook import OUTLOOK
    from caviar.analysis.report.trouble import TROUBLE

    found: list[Advice] = []
    rules = TROUBLE if result.counts() else TROUBLE[:1]
    has_values = bool(len(result._best_of_each))
    for rule in (*rules, *(OUTLOOK if has_values else ())):
        try:
            found += rule(result)
        except CaviarError as error:
            found.append(Advice(_title(rule.__name__), f"Cannot be told: {reason(error, result.path)}"))
    return found


def next_steps(found: Sequence[Advice]) -> Section:
    """The section."""
    if not found:
        return Section("What to do next", paragraph("The record gives no reason to do anything."), "next")
    items = join(
        Html(
            f"<li><strong>{prose(each.what)}.</strong> {prose(each.why)}"
            f"{join(code(lines) for lines in (each.snippet, each.command) if lines)}</li>"
        )
        for each in found
    )
    return Section("What to do next", Html(f"<ol>{items}</ol>"), "next")


def _title(rule: str) -> str:
    return rule.replace("_", " ").strip().capitalize()

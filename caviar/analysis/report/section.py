"""What a section of the report is."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from caviar.analysis.report.markup import Html, join, text


@dataclass(frozen=True, slots=True)
class Section:
    """A heading, and what stands below it."""

    title: str
    body: Html
    name: str
    """Its anchor."""
    level: int = 2

    def html(self) -> Html:
        """The section as it stands in the page."""
        head = f"<h{self.level}>{text(self.title)}</h{self.level}>"
        kind = "" if self.level == 2 else ' class="part"'
        return Html(f'<section id="{text(self.name)}"{kind}>{head}\n{self.body}</section>')


def contents(sections: Iterable[Section]) -> Html:
    """Links to the sections."""
    links = (Html(f'<a href="#{text(each.name)}">{text(each.title)}</a>') for each in sections if each.level == 2)
    return Html(f"<nav>{join(links)}</nav>")

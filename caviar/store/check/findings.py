"""What a check finds, and how bad that is."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

Ranges = tuple[tuple[int, int], ...]
"""Ranges of commits, both ends included, in order."""

FEW = 10
"""Of one kind of thing that does no harm so many are named; the others are counted."""


class Severity(StrEnum):
    """How bad a finding is."""

    DAMAGE = "damage"
    """Something that was stored cannot be read, or readers or drivers would trip over it."""
    HARMLESS = "harmless"
    """Superfluous: everybody passes it over."""
    NOTE = "note"
    """So it is, and so it should be."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was found."""

    severity: Severity
    file: str
    """Its name in the sweep folder."""
    text: str
    """One line: what is wrong, and what can still be read."""


@dataclass(slots=True)
class Findings:
    """A list that is being made."""

    found: list[Finding] = field(default_factory=list)

    def damage(self, file: str, text: str) -> None:
        """Something is broken."""
        self.found.append(Finding(Severity.DAMAGE, file, text))

    def harmless(self, file: str, text: str) -> None:
        """Something is superfluous."""
        self.found.append(Finding(Severity.HARMLESS, file, text))

    def note(self, file: str, text: str) -> None:
        """Something is worth knowing."""
        self.found.append(Finding(Severity.NOTE, file, text))

    def harmless_many(self, folder: str, files: Sequence[str], text: str) -> None:
        """Superfluous things of one kind, in one folder."""
        for file in files[:FEW]:
            self.harmless(file, text)
        if len(files) > FEW:
            self.harmless(folder, f"{len(files) - FEW:,} more of this kind: {text}")


def ranges(numbers: Iterable[int]) -> Ranges:
    """Rising numbers as ranges."""
    found: list[tuple[int, int]] = []
    for number in numbers:
        if found and number == found[-1][1] + 1:
            found[-1] = (found[-1][0], number)
        else:
            found.append((number, number))
    return tuple(found)


def told(spans: Ranges) -> str:
    """Ranges of commits in words: ``commits 3 to 5, 9``."""
    if not spans:
        return "no commit"
    words = [str(first) if first == last else f"{first} to {last}" for first, last in spans]
    return f"commit{'' if len(words) == 1 and spans[0][0] == spans[0][1] else 's'} {', '.join(words)}"


def size(size_bytes: int) -> str:
    """A size for people."""
    for unit, factor in (("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10)):
        if size_bytes >= factor:
            return f"{size_bytes / factor:.1f} {unit}"
    return f"{size_bytes} bytes"

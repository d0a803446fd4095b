"""The fenced blocks of the documentation's pages, and how their Python is run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import caviar
from caviar.execution.inline import Inline

ROOT = Path(__file__).parents[1]
NOT_RUN = "<!-- not run: "
"""Stands, with the reason, on the line before a block that is only shown."""


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block of a page."""

    language: str
    line: int
    """Of the page, where the code begins, from 1."""
    text: str
    run: bool


def blocks(page: Path) -> Iterator[Block]:
    lines = page.read_text("utf-8").splitlines()
    begin: int | None = None
    for number, line in enumerate(lines):
        if not line.startswith("```"):
            continue
        if begin is None:
            begin = number
            continue
        shown = begin > 0 and lines[begin - 1].startswith(NOT_RUN)
        text = "\n".join(lines[begin + 1 : number])
        yield Block(lines[begin].removeprefix("```"), begin + 2, text, not shown)
        begin = None
    assert begin is None, f"{page}:{begin}: this block has no end"


class InlineForRay(Inline):
    """Takes the arguments of `caviar.Ray`, and needs no Ray."""

    def __init__(
        self,
        address: str | None = None,
        *,
        workers: int | None = None,
        runtime_env: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()


def run(page: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Run the Python of a page in order, in a folder, and return what it has defined."""
    monkeypatch.chdir(folder)
    monkeypatch.setattr("caviar.execution.ray.Ray", InlineForRay)
    monkeypatch.setattr(caviar, "Ray", InlineForRay)
    namespace: dict[str, Any] = {"__name__": "__main__"}
    for block in blocks(page):
        if block.language == "python" and block.run:
            source = "\n" * (block.line - 1) + block.text  # so that a traceback names the line of the page
            exec(compile(source, str(page), "exec"), namespace)
    return namespace

"""A live view that was drawn elsewhere: sent there as pictures, and shown here."""

from __future__ import annotations

import io
import time
from collections.abc import Callable
from typing import BinaryIO

from rich.console import Console, RenderableType
from rich.live import Live
from rich.text import Text

from caviar.cli.follow import Moment


class Drawn:
    """The display at the far end: each moment becomes a picture, as text with the codes of a terminal."""

    interval_s = 0.5

    def __init__(self, send: Callable[[str], None], *, columns: int, lines: int, life_s: float | None) -> None:
        self._send = send
        self._size = columns, lines
        self._until_s = None if life_s is None else time.monotonic() + life_s
        self._before = ""
        self._last: Moment | None = None

    def show(self, moment: Moment) -> None:
        """Send a picture, unless it is the one before. Raises `OverdueError` once this has lived long enough."""
        from caviar.cli.live import draw

        self._last = moment
        self._draw(draw(moment, *self._size))
        if self._until_s is not None and time.monotonic() > self._until_s and moment.state == "running":
            self._last = None  # the next one draws on
            raise OverdueError

    def close(self) -> None:
        """Send the last picture, as it is to stay on the screen."""
        from caviar.cli.live import last_picture

        if self._last is not None:
            self._draw(last_picture(self._last, *self._size))

    def _draw(self, picture: RenderableType) -> None:
        width, height = self._size
        console = Console(file=io.StringIO(), force_terminal=True, width=width, height=height)
        with console.capture() as captured:
            console.print(picture)
        if (text := captured.get()) != self._before:
            self._send(text)
        self._before = text


class OverdueError(Exception):
    """A live view has been sent for as long as it may."""


class Screen(io.TextIOWrapper):
    """A standard output that is a terminal, but not here: it has a display of its own for what is live."""

    def __init__(self, buffer: BinaryIO, display: Callable[[], Drawn]) -> None:
        super().__init__(buffer, "utf-8")
        self.display = display


class Pictures:
    """The screen at this end. What is printed meanwhile appears above the picture."""

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or Console()
        self._live = Live(console=self._console, auto_refresh=False, vertical_overflow="crop")

    def __enter__(self) -> Pictures:
        self._live.start()
        self._live.update(Text("asking the cluster …", style="dim"), refresh=True)
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()

    @property
    def size(self) -> tuple[int, int]:
        """Columns and lines, now."""
        return self._console.size.width, self._console.size.height

    def show(self, picture: str) -> None:
        """Show a picture in place of the one before."""
        text = Text.from_ansi(picture.rstrip("\n"), no_wrap=True, overflow="crop")
        self._live.update(text, refresh=True)

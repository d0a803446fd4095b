"""Sweeps that run beside a test of the command line."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import caviar


@contextmanager
def running(
    folder: Path, train: Callable[[caviar.Trial, threading.Event], None], *, space: caviar.Space, **arguments: Any
) -> Iterator[threading.Event]:
    """A sweep that runs beside the test, from its first report on, until the event that this gives is set."""
    reported, over = threading.Event(), threading.Event()

    def until_over(trial: caviar.Trial) -> None:
        train(trial, over)

    sweep = caviar.Sweep(until_over, space, metric="loss", **arguments)

    def run() -> None:
        try:
            sweep.run(folder, caviar.Inline(), on_event=lambda item: reported.set())
        finally:
            reported.set()

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        assert reported.wait(30)
        yield over
    finally:
        over.set()
        thread.join(30)
        assert not thread.is_alive()

"""Ends workers, on a thread of its own: Ray may wait for the cluster's head with that, which may be away."""

from __future__ import annotations

import threading
import time
from contextlib import suppress
from queue import SimpleQueue
from typing import Any

from caviar.execution.worker import Worker

CLOSE_S = 5.0
"""How long a worker may take to end what it trains, from when it was asked to."""


class Undertaker:
    """Ends one worker after another."""

    def __init__(self) -> None:
        self._workers: SimpleQueue[tuple[Worker, Any, float] | None] = SimpleQueue()
        self._thread: threading.Thread | None = None

    def end(self, worker: Worker, *, closes: bool) -> None:
        """End it; where it ``closes``, it is given time for that. Waits for nothing."""
        closing = worker.actor.close.remote() if closes else None
        self._workers.put((worker, closing, time.monotonic() + CLOSE_S))
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name="caviar-undertaker", daemon=True)
            self._thread.start()

    def finish(self) -> None:
        """Wait until all that were to be ended have. No more are ended after that."""
        if self._thread is not None:
            self._workers.put(None)
            self._thread.join()

    def _work(self) -> None:
        import ray

        while (given := self._workers.get()) is not None:
            worker, closing, until_s = given
            with suppress(Exception):  # what cannot be asked any more has ended
                if closing is not None:
                    ray.wait([closing], timeout=max(0.0, until_s - time.monotonic()))
                ray.kill(worker.actor)

"""The log of a job as it comes: nothing of it doubled or left out, whatever becomes of the connection."""

from __future__ import annotations

import asyncio
import codecs
import io
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from contextlib import aclosing, suppress
from typing import TYPE_CHECKING, TypeVar

import aiohttp

from caviar.errors import ClusterError
from caviar.jobs.connection import RefusedError

if TYPE_CHECKING:
    from caviar.jobs.client import JobInfo, Jobs
    from caviar.jobs.connection import Connection

INTERVAL_S = 0.1
"""How often the cluster looks for more in the log. (Of Ray's own tail of a job's log one hears after 1 to 2 s.)"""

SILENCE_S = 1.0
"""After so long without any, whether the job has ended is asked, and whether the cluster is still there."""

PATIENCE_S = 60.0
"""How long a cluster may be out of reach while a log is followed."""

START_S, LONG_START_S = 0.1, 1.0
"""How often it is asked whether a job has begun: at first, and later."""

TRIES = 5
"""A log is asked for so often in vain before it is asked for in another way: its file comes a moment after the
job, and what stands between here and the cluster may let no stream through."""

Answer = TypeVar("Answer")


def follow(jobs: Jobs, connection: Connection, job: str) -> Iterator[str]:
    """What a job prints, from its beginning, until it has ended; see `Jobs.follow`."""
    loop = asyncio.new_event_loop()
    pieces = _Following(jobs, connection, job).pieces()
    try:
        while (piece := _next(loop, pieces)) is not None:
            yield piece
    finally:
        loop.run_until_complete(pieces.aclose())
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.close()


def _next(loop: asyncio.AbstractEventLoop, pieces: AsyncIterator[str]) -> str | None:
    """The next piece; None after the last."""

    async def wait() -> str | None:
        return await anext(pieces, None)

    task = loop.create_task(wait())
    try:
        return loop.run_until_complete(task)
    except BaseException:  # Ctrl-C, above all: what it waits for must not stay behind
        if not task.done():
            task.cancel()
            with suppress(asyncio.CancelledError):
                loop.run_until_complete(task)
        raise


class _Following:
    def __init__(self, jobs: Jobs, connection: Connection, job: str) -> None:
        self._jobs = jobs
        self._connection = connection
        self._job = job
        self._seen = 0
        """Characters of the log that were handed out. Counted as Ray's own client has them, which reads the log as
        a text file: so the one way goes on where the other ended, also where a log is not all text."""
        self._fruitful = False
        """Whether the stream that was last asked for has brought something, or stands open and is silent."""

    async def pieces(self) -> AsyncGenerator[str, None]:
        began_s = time.monotonic()
        info = await self._info()
        while info.node is None and not info.ended:
            await asyncio.sleep(START_S if time.monotonic() - began_s < 10 else LONG_START_S)
            info = await self._info()
        fruitless = 0
        while info.node is not None and fruitless < TRIES:
            # of a job that has ended, once all that there is; else whatever comes until it has
            interval_s = None if info.ended else INTERVAL_S
            whole = self._fruitful = False
            try:
                async with aclosing(self._from(info.node, interval_s)) as fresh:
                    async for piece in fresh:
                        yield piece
                whole = True
            except (RefusedError, aiohttp.ClientError, TimeoutError, OSError):
                pass  # what is there is asked for again, from where this ended
            if whole and info.ended:
                return
            fruitless = 0 if self._fruitful else fruitless + 1
            await asyncio.sleep(min(INTERVAL_S * 2**fruitless, SILENCE_S))
            info = await self._info()
        async with aclosing(self._polled()) as fresh:
            async for piece in fresh:
                yield piece

    async def _from(self, node: str, interval_s: float | None) -> AsyncGenerator[str, None]:
        """What comes beyond what was seen: now, or with ``interval_s`` until the job has ended."""
        skip = self._seen
        utf8 = codecs.getincrementaldecoder("utf-8")("replace")
        decoder = io.IncrementalNewlineDecoder(utf8, translate=True)
        async with self._connection.open_log(self._job, node=node, interval_s=interval_s) as stream:
            over = False
            while not over:
                try:
                    piece = await asyncio.wait_for(stream.readany(), SILENCE_S)
                except TimeoutError:
                    self._fruitful = True
                    if (await self._info()).ended and interval_s is not None:
                        return
                    continue
                over = not piece
                # of a job that goes on, half a character is completed by the next connection
                text = decoder.decode(piece, final=over and interval_s is None)
                fresh, skip = text[skip:], max(skip - len(text), 0)
                if fresh:
                    self._fruitful = True
                    self._seen += len(fresh)
                    yield fresh

    async def _polled(self) -> AsyncGenerator[str, None]:
        """The same by asking for the whole log again and again, for a cluster that has no better."""
        while True:
            info = await self._info()
            text = await self._patiently(self._jobs.log)
            if fresh := text[self._seen :]:
                self._seen += len(fresh)
                yield fresh
            if info.ended:
                return
            await asyncio.sleep(SILENCE_S)

    async def _info(self) -> JobInfo:
        """How the job stands."""
        return await self._patiently(self._jobs.info)

    async def _patiently(self, ask: Callable[[str], Answer]) -> Answer:
        """The answer to a question about the job; waits for a cluster that is out of reach."""
        until_s = time.monotonic() + PATIENCE_S
        while True:
            try:
                return await asyncio.to_thread(ask, self._job)
            except ClusterError:
                if time.monotonic() > until_s:
                    raise
            await asyncio.sleep(SILENCE_S)

"""``--address`` of commands that look at a sweep or steer it: the same command line, carried out on a cluster."""

from __future__ import annotations

import codecs
import dataclasses
import functools
import os
import shutil
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, TypeVar

import click

from caviar.cli import logs
from caviar.cli.app import INTERRUPTED
from caviar.cli.tame import tame
from caviar.errors import ClusterError, FolderError

if TYPE_CHECKING:
    from caviar.jobs.query import Manner, Query

AnyFunction = TypeVar("AnyFunction", bound=Callable[..., Any])

LIVE_S = 600.0
"""A live view is drawn anew by another query after so long: of who looks no more, the cluster learns nothing."""


def address_option(command: AnyFunction) -> AnyFunction:
    """``--address`` of a command that has ``DIR``: with it, the command is carried out on that cluster, with DIR
    as it is known there, or the id of a job in its place."""

    @functools.wraps(command)
    def reach(*args: Any, address: str | None, **params: Any) -> Any:
        if address is None:
            try:
                return command(*args, **params)
            except FolderError as error:
                if not _may_be_a_job(str(params["folder"])):
                    raise
                raise FolderError(f"{error}; for the id of a job, give its cluster with --address") from error
        return carried_out_afar(click.get_current_context(), address)

    option = click.option(
        "--address",
        metavar="URL",
        help="Ask on this Ray cluster (http://HEAD:8265); DIR is as known there, or a job's id.",
    )
    return option(reach)  # type: ignore[return-value]


def _may_be_a_job(folder: str) -> bool:
    """Whether what is no folder here looks like the id of a job to who has not named a cluster."""
    from caviar.jobs.query import SETTING  # set where this is carried out for somebody who has

    return SETTING not in os.environ and "/" not in folder and not Path(folder).exists()


def carried_out_afar(context: click.Context, address: str) -> int:
    """Carry out the command of ``context`` on a cluster; returns its exit status there."""
    from caviar.jobs import query
    from caviar.jobs.client import Jobs

    jobs = Jobs(address)
    listed = jobs.list()
    query.forget(jobs, listed)
    folder = context.params["folder"]
    sweep = query.sweep_job(listed, folder)
    if sweep is not None and sweep.folder is not None:
        folder = sweep.folder

    def ask(manner: Manner) -> Query:
        return query.start(jobs, words(context, folder), folder=folder, sweep=sweep, manner=manner)

    columns, lines = shutil.get_terminal_size()
    manner = query.Manner(terminal=sys.stdout.isatty(), columns=columns, lines=lines)
    if context.command.name == "watch" and manner.terminal and context.params["form"] is None:
        return _watched(ask, manner)
    return _answered(ask(manner))


def words(context: click.Context, folder: str) -> list[str]:
    """The command line of ``context``, with ``folder`` in place of DIR, and without ``--address``."""
    assert context.command.name is not None
    options, arguments = [context.command.name], ["--"]
    for param in context.command.params:
        given = context.get_parameter_source(param.name or "") is click.core.ParameterSource.COMMANDLINE
        # what is not exposed is about the lines of any command
        if not given or not param.expose_value or param.name == "address":
            continue
        value: Any = context.params.get(param.name or "")
        if isinstance(param, click.Argument):
            arguments += [folder] if param.name == "folder" else list(value)
        elif isinstance(param, click.Option):
            option = max(param.opts, key=len)
            if param.is_flag:
                options += [option] if value == (True if param.is_bool_flag else param.flag_value) else []
            else:
                options += [f"{option}={each}" for each in (value if param.multiple else [value])]
    return [*options, *logs.as_words(), *arguments]


def _answered(query: Query) -> int:
    """Print what a query prints; returns its exit status. Whatever ends this, ends the query."""
    try:
        with _hang_up_as_interrupt():
            return _print(query)
    except KeyboardInterrupt:
        query.end()
        with suppress(
            ClusterError
        ):  # of what it was doing there may be an answer yet: a command that was withdrawn
            return _print(query)
        return INTERRUPTED
    except BaseException:
        query.end()
        raise


def _print(query: Query) -> int:
    from caviar.jobs.records import Kind

    to_utf8 = codecs.getincrementaldecoder("utf-8")  # a record may end within a character
    decoders = {Kind.OUT: to_utf8("replace"), Kind.ERR: to_utf8("replace")}
    for record in query.records():
        if record.kind == Kind.END:
            return int(record.data)
        if record.kind not in decoders:
            continue
        stream = sys.stderr if record.kind == Kind.ERR else sys.stdout
        text = decoders[record.kind].decode(record.data)
        # what goes into a file or a pipe stays what it is, as CSV say
        stream.write(tame(text) if stream.isatty() else text)
        stream.flush()
    return INTERRUPTED


def _watched(ask: Callable[[Manner], Query], manner: Manner) -> int:
    """Show the pictures that queries send, one query after another; returns the exit status of the last."""
    from caviar.cli.pictures import Pictures
    from caviar.jobs.records import Kind

    with Pictures() as pictures, _hang_up_as_interrupt():
        while True:
            size = pictures.size
            query = ask(dataclasses.replace(manner, live=True, life_s=LIVE_S, columns=size[0], lines=size[1]))
            try:
                for record in query.records():
                    text = record.data.decode("utf-8", "replace")
                    if record.kind == Kind.END:
                        return int(record.data)
                    if record.kind == Kind.PICTURE:
                        pictures.show(tame(text))
                    elif record.kind == Kind.ERR:
                        sys.stderr.write(tame(text))
                    if pictures.size != size:
                        query.end()
                        break
            except BaseException:
                query.end()
                raise


@contextmanager
def _hang_up_as_interrupt() -> Iterator[None]:
    """A terminal that is closed, and SIGTERM, are a Ctrl-C within the block."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = {number: signal.signal(number, interrupt) for number in (signal.SIGHUP, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)

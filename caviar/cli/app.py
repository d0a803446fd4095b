"""The ``caviar`` command: its group of commands, its errors and its exit statuses."""

from __future__ import annotations

import contextlib
import importlib
import io
import logging
import os
import sys
import traceback
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import click

import caviar
from caviar.cli import logs
from caviar.cli.tame import plain, tame
from caviar.errors import CaviarError, UsageError

DONE, FAILED, WRONG_USE, INTERRUPTED = 0, 1, 2, 130
"""Exit statuses."""

COMMANDS = {
    "run": "caviar.cli.run",
    "resume": "caviar.cli.resume",
    "extend": "caviar.cli.resume",
    "status": "caviar.cli.watch",
    "watch": "caviar.cli.watch",
    "events": "caviar.cli.events",
    "trials": "caviar.cli.tables",
    "best": "caviar.cli.tables",
    "curves": "caviar.cli.tables",
    "zoom": "caviar.cli.zoom",
    "importance": "caviar.cli.importance",
    "audit": "caviar.cli.audit",
    "what-if": "caviar.cli.what_if",
    "recheck": "caviar.cli.recheck",
    "report": "caviar.cli.report",
    "export": "caviar.cli.export",
    "panda": "caviar.cli.panda",
    "replay": "caviar.cli.panda",
    "fork": "caviar.cli.fork",
    "adopt": "caviar.cli.fork",
    "set": "caviar.cli.steer",
    "pause": "caviar.cli.steer",
    "unpause": "caviar.cli.steer",
    "rollback": "caviar.cli.steer",
    "stop": "caviar.cli.steer",
    "submit": "caviar.cli.submit",
    "jobs": "caviar.cli.jobs",
    "logs": "caviar.cli.jobs",
    "cancel": "caviar.cli.jobs",
    "check": "caviar.cli.check",
}
"""Where each command lives, in the order of the help page."""

AnyFunction = TypeVar("AnyFunction", bound=Callable[..., Any])


class Commands(click.Group):
    """The group of commands. Whatever goes wrong becomes one line and an exit status."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = getattr(importlib.import_module(COMMANDS[cmd_name]), cmd_name.replace("-", "_"))
        return command

    def invoke(self, ctx: click.Context) -> Any:
        try:
            status = super().invoke(ctx)
            sys.stdout.flush()
        except BrokenPipeError:
            # the reader has seen enough; what is still in the buffer must not raise again at exit
            _discard_stdout()
            return DONE
        return status

    def main(self, args: Sequence[str] | None = None, *rest: Any, **more: Any) -> Any:
        args = list(sys.argv[1:] if args is None else args)
        # looked for here, not parsed: it also serves for errors that parsing itself finds
        debug = "--debug" in args
        try:
            logs.configure(debug=debug, as_json=logs.asked_format(args) == "json")
        except UsageError as error:
            logs.configure(debug=debug, as_json=False)
            sys.exit(report(error, debug=debug))
        for stream in (sys.stdout, sys.stderr):
            # a folder's name need not be text, and a terminal need not know every character
            if isinstance(stream, io.TextIOWrapper):
                stream.reconfigure(errors="backslashreplace")
        more["standalone_mode"] = False
        try:
            status = super().main(args, *rest, **more)
        except (click.Abort, KeyboardInterrupt):
            status = INTERRUPTED
        except (click.ClickException, CaviarError, OSError) as error:
            status = report(error, debug=debug)
        sys.exit(status if isinstance(status, int) else DONE)


def report(error: Exception, *, debug: bool) -> int:
    """Say in one line what is wrong; returns the exit status that goes with it."""
    if debug and not logs.in_json():
        click.echo(tame("".join(traceback.format_exception(error))), err=True, nl=False)
    if isinstance(error, click.exceptions.NoArgsIsHelpError):
        error.show()
        return WRONG_USE
    status = WRONG_USE if isinstance(error, UsageError) else FAILED
    text = str(error)
    if isinstance(error, click.UsageError):
        status, text = WRONG_USE, _usage_text(error)
    elif isinstance(error, click.ClickException):
        status, text = error.exit_code, error.format_message()
    elif isinstance(error, OSError) and error.strerror:
        text = f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    text = " ".join(plain(text).split())
    logs.say(
        text if logs.in_json() else f"caviar: error: {text}",
        level=logging.ERROR,
        error=error if debug else None,
    )
    return status


def _usage_text(error: click.UsageError) -> str:
    where = error.ctx.command_path if error.ctx is not None else "caviar"
    return f"{error.format_message().rstrip('.')} (see {where} --help)"


def _discard_stdout() -> None:
    with contextlib.suppress(OSError, ValueError):  # no real file: then nothing is flushed into a pipe
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def debug_option(command: AnyFunction) -> AnyFunction:
    """``--debug`` and ``--log-format``, which every command takes; `Commands.main` looks for them."""
    debug = click.option("--debug", is_flag=True, expose_value=False, help="Show tracebacks of errors.")
    log_format = click.option(
        logs.OPTION,
        type=click.Choice(logs.FORMATS),
        expose_value=False,
        help=f"Lines on the standard error: text, or a JSON object each.  [default: {logs.VARIABLE}, else text]",
    )
    return log_format(debug(command))


def folder_argument(command: AnyFunction) -> AnyFunction:
    """``DIR``, the sweep folder, as the parameter ``folder``."""
    return click.argument("folder", metavar="DIR", type=click.Path())(command)


@click.command(
    "caviar",
    cls=Commands,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
    epilog="Exit status: 0 done; 1 it failed; 2 wrong use; 130 interrupted.",
)
@click.version_option(caviar.__version__, prog_name="caviar", message="%(prog)s %(version)s")
@debug_option
def main() -> None:
    """Train many sampled models at once, stop the bad ones early, keep every learning curve.

    DIR is a sweep folder, as `caviar run FILE --out DIR` makes it.
    """

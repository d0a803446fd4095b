"""Lines on the standard error: text for people, or JSON for machines. Nothing else configures logging."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Sequence
from datetime import UTC, datetime
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import click

from caviar.errors import UsageError

if TYPE_CHECKING:
    from caviar.store.place import Place

VARIABLE = "CAVIAR_LOG_FORMAT"
OPTION = "--log-format"
FORMATS = ("text", "json")

BEGINNING = '{"time": "'
"""How each line in JSON begins."""

FIELDS = ("sweep", "event", "trial", "attempt", "step", "worker", "node", "stage", "trials")
"""What a line in JSON has beside its message, as far as it concerns it."""

_log = logging.getLogger("caviar.cli")


class Stderr(logging.Handler):
    """Log lines to what is the standard error at that moment, so that a live view can put them above itself."""

    def emit(self, record: logging.LogRecord) -> None:
        click.echo(self.format(record), err=True)


class JsonFormatter(logging.Formatter):
    """One JSON object a line, with what is the same in all of them."""

    def __init__(self, same: dict[str, Any]) -> None:
        super().__init__()
        self._same = same

    def format(self, record: logging.LogRecord) -> str:
        """``time`` is RFC 3339, in UTC."""
        now = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        line: dict[str, Any] = {
            "time": now.replace("+00:00", "Z"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        line |= self._same
        line |= {name: getattr(record, name) for name in FIELDS if hasattr(record, name)}
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)


class _Lines:
    """How this process writes its lines."""

    as_json = False
    debug = False
    same: dict[str, Any] = {}


def asked_format(args: Sequence[str]) -> str:
    """What a command line, or else the environment, asks for: looked for and not parsed, since it also serves for
    errors that parsing itself finds. `UsageError` where the environment asks for what there is not."""
    given = [after for before, after in pairwise(args) if before == OPTION]
    given += [one.partition("=")[2] for one in args if one.startswith(f"{OPTION}=")]
    if given:
        return given[-1]  # what is no format is found by parsing
    value = os.environ.get(VARIABLE) or FORMATS[0]
    if value not in FORMATS:
        raise UsageError(f"{VARIABLE}={value!r:.80}: needs {' or '.join(FORMATS)}")
    return value


def configure(*, debug: bool, as_json: bool) -> None:
    """Warnings go to the standard error; in JSON also what caviar logs at INFO; with ``debug`` all of caviar's."""
    _Lines.as_json, _Lines.debug = as_json, debug
    _Lines.same = {}
    handler = Stderr()
    text = logging.Formatter("%(name)s: %(levelname)s: %(message)s")
    handler.setFormatter(JsonFormatter(_Lines.same) if as_json else text)
    logging.basicConfig(level=logging.WARNING, handlers=[handler])
    logging.captureWarnings(as_json)  # else they would stand between the lines
    usual = logging.INFO if as_json else logging.NOTSET
    logging.getLogger("caviar").setLevel(logging.DEBUG if debug else usual)


def about(folder: Place) -> None:
    """What this command does is about the sweep in this folder: every line in JSON says so."""
    _Lines.same |= {"sweep": folder.name, "folder": str(folder)}


def in_json() -> bool:
    """Whether lines are JSON."""
    return _Lines.as_json


def as_words() -> list[str]:
    """The options by which another command line writes its lines as this one does."""
    return [*([f"{OPTION}=json"] if _Lines.as_json else []), *(["--debug"] if _Lines.debug else [])]


def say(text: str, *, level: int = logging.INFO, error: BaseException | None = None) -> None:
    """A line of the command's own: plain, or in the form of the others. ``error``: whose traceback to show."""
    if _Lines.as_json:
        _log.log(level, "%s", text, exc_info=error)
    else:
        click.echo(text, err=True)

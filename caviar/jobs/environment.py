"""What a job finds on the cluster besides its files: packages to install, environment variables, and whatever else
Ray's runtime environments know."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from caviar.errors import UsageError
from caviar.store.place import Place, Url

REQUIREMENTS = "requirements.txt"
"""Where people write down what they need."""

INSTALLERS = ("pip", "uv", "conda")
"""Ray's ways to install packages; a job has one of them."""

CREDENTIALS = {
    "s3": ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_ENDPOINT_URL", "AWS_REGION"),
    "gs": ("GOOGLE_SERVICE_ACCOUNT_KEY", "GOOGLE_SERVICE_ACCOUNT", "GOOGLE_APPLICATION_CREDENTIALS"),
}
"""Variables by which an object store is reached. None of them is sent unless it is named."""

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_NESTED = re.compile(r"(?:-r|--requirement)(?:\s+|=)(?P<file>.+)")
_LOCAL = re.compile(r"(-e|--editable|-c|--constraint)\b.*|\.{0,2}/.*|\.{1,2}|.*@\s*file:.*|file:.*")


def variables(words: Sequence[str], here: Mapping[str, str] = os.environ) -> dict[str, str]:
    """What ``NAME=VALUE`` and ``NAME`` say; a name alone has the value that it has here."""
    found: dict[str, str] = {}
    for word in words:
        name, equals, value = word.partition("=")
        if not _NAME.fullmatch(name):
            raise UsageError(f"--env {word:.80}: needs NAME=VALUE, or NAME to take its value from here")
        if not equals and name not in here:
            raise UsageError(f"--env {name}: is not set here; give it a value, as in --env {name}=VALUE")
        found[name] = value if equals else here[name]
    return found


def without(place: Place, sent: Mapping[str, str], here: Mapping[str, str] = os.environ) -> list[str]:
    """The variables of this machine by which an object store is reached, as far as they are not sent."""
    names = CREDENTIALS.get(str(place).partition("://")[0], ()) if isinstance(place, Url) else ()
    return [name for name in names if name in here and name not in sent]


def requirements(file: Path) -> list[str]:
    """The packages that a requirements file names, with those of the files that it includes.

    `UsageError` where it cannot be read, or names a file or folder of this machine.
    """
    return list(dict.fromkeys(_lines(file, within=(file.resolve(),))))


def _lines(file: Path, *, within: tuple[Path, ...]) -> Iterator[str]:
    try:
        text = file.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise UsageError(f"--requirements {file}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError:
        raise UsageError(f"--requirements {file}: is no text file") from None
    text = re.sub(r"\\\n", lambda found: " ", text)
    for line in text.splitlines():
        wanted = re.sub(r"(^|\s)#.*", "", line).strip()
        nested = _NESTED.fullmatch(wanted)
        if nested is not None and "://" not in nested["file"]:
            inner = (file.parent / nested["file"]).resolve()
            if inner not in within:
                yield from _lines(inner, within=(*within, inner))
        elif _LOCAL.fullmatch(wanted):
            raise UsageError(
                f"{file}: {wanted}: refers to files of this machine, which a cluster's pip does not have; write "
                "the package as an index calls it, or leave it out and send its source with the working directory"
            )
        elif wanted:
            yield wanted


def from_file(file: Path) -> dict[str, Any]:
    """A runtime environment of Ray's, from YAML or JSON."""
    import yaml

    try:
        found = yaml.safe_load(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"--runtime-env {file}: cannot be read: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UsageError(f"--runtime-env {file}: is neither YAML nor JSON: {error}") from error
    if not isinstance(found, dict) or not all(isinstance(name, str) for name in found):
        raise UsageError(f"--runtime-env {file}: needs fields and their values, as in env_vars: {{NAME: VALUE}}")
    if "working_dir" in found:
        raise UsageError(f"--runtime-env {file}: has a working_dir: leave it out, and give --working-dir")
    for name, kind in (("env_vars", dict), ("py_modules", list)):
        if not isinstance(found.get(name, kind()), kind):
            raise UsageError(f"--runtime-env {file}: {name} is {found[name]!r:.80}, not a {kind.__name__}")
    return found


def installer(environment: Mapping[str, Any]) -> str | None:
    """How a runtime environment installs packages; None: not at all."""
    return next((name for name in INSTALLERS if environment.get(name)), None)

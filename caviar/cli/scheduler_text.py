"""``asha:grace_steps=2,reduction_factor=4`` on the command line."""

from __future__ import annotations

from collections.abc import Mapping
from inspect import Parameter, signature
from typing import TYPE_CHECKING, Any

from caviar.cli.settings import value_of
from caviar.errors import UsageError

if TYPE_CHECKING:
    from caviar.schedulers import Scheduler


def parse_scheduler(text: str) -> Scheduler:
    """The scheduler of a name and its arguments; those that are missing take their defaults.

    Raises `UsageError`, which names what there is, for an unknown name or argument, and a value that is not
    allowed.
    """
    try:
        return _parse(text)
    except UsageError as error:
        shown = text if len(text) <= 60 else f"{text[:60]}..."
        raise UsageError(f"--scheduler {shown}: {error}") from None


def _parse(text: str) -> Scheduler:
    from caviar.schedulers import SCHEDULERS, from_dict  # loads numpy, which the help page does not need

    name, colon, rest = text.strip().partition(":")
    if name not in SCHEDULERS:
        raise UsageError(f"there is no scheduler {name!r:.40}; there are {', '.join(SCHEDULERS)}")
    arguments: dict[str, Any] = {}
    for word in rest.split(",") if colon else ():
        key, _, value = (part.strip() for part in word.partition("="))
        if not key or not value:
            raise UsageError(f"{word!r:.40} needs a name and a value, as in {name}:{_first(name)}=1")
        if key in arguments:
            raise UsageError(f"{key} is given twice")
        arguments[key] = value_of(value)
    return from_dict({"name": name, **arguments})


def scheduler_text(declared: Mapping[str, Any], *, short: bool = False) -> str:
    """What `Scheduler.to_dict` wrote as `parse_scheduler` reads it, without the lesser arguments (those that are
    keyword-only) where they are as usual. ``short``: without any argument that is as usual."""
    from caviar.schedulers import SCHEDULERS

    name = str(declared["name"])
    known = signature(SCHEDULERS[name]).parameters if name in SCHEDULERS else {}
    lesser = {key: one.default for key, one in known.items() if short or one.kind is Parameter.KEYWORD_ONLY}
    usual = {"name": name, **lesser}
    shown = [f"{key}={value}" for key, value in declared.items() if key not in usual or usual[key] != value]
    return f"{name}:{','.join(shown)}" if shown else name


def _first(name: str) -> str:
    """An argument of this scheduler, for an example."""
    from caviar.schedulers import SCHEDULERS

    return next(iter(signature(SCHEDULERS[name]).parameters), "grace_steps")

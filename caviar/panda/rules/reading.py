"""Rules and schedules from JSON and from the text of the command line."""

from __future__ import annotations

import ast
import warnings
from collections.abc import Mapping
from inspect import signature
from types import MappingProxyType
from typing import Any

from caviar.declared import Declared, declared_from
from caviar.errors import UsageError
from caviar.panda.rules.base import Rule
from caviar.panda.rules.every_n import EveryN
from caviar.panda.rules.function import FunctionRule, Judging
from caviar.panda.rules.non_finite import OnNonFinite
from caviar.panda.rules.plateau import OnPlateau
from caviar.panda.rules.schedule import Cosine, Schedule, Steps, Warmup
from caviar.panda.rules.spike import OnSpike

RULES: Mapping[str, type[Rule]] = {kind.name: kind for kind in (OnSpike, OnPlateau, OnNonFinite, EveryN)}
"""Every rule by its name in sweep.json and on the command line."""

SCHEDULES: Mapping[str, type[Schedule]] = {kind.name: kind for kind in (Steps, Warmup, Cosine)}
"""Every schedule by its name in sweep.json and on the command line."""

_KINDS: Mapping[str, type[Declared]] = {**RULES, **SCHEDULES}
_NONE: Mapping[str, Judging] = MappingProxyType({})
_LONGEST = 10_000


def from_dict(data: Mapping[str, Any], functions: Mapping[str, Judging] = _NONE) -> Rule | Schedule:
    """The rule or schedule that ``to_dict`` wrote; arguments that are missing take their defaults. ``functions``:
    by name, those that a rule may be.

    An unknown name, an unknown or missing argument and a value that is not allowed raise `UsageError`.
    """
    if isinstance(data, Mapping) and data.get("name") == "FunctionRule":
        arguments = {name: value for name, value in data.items() if name not in ("name", "function")}
        named = data.get("function")
        function = functions.get(named) if isinstance(named, str) else None
        if function is None:
            raise UsageError(f"rule {named!r:.80} is a function that is not there; {_there(functions)}")
        return _made(FunctionRule, str(named), (function,), arguments)
    found = declared_from(data, what="rule", kinds=_KINDS)
    assert isinstance(found, Rule | Schedule)
    return found


def parse(text: str, functions: Mapping[str, Judging] = _NONE) -> Rule | Schedule:
    """A rule or schedule as one writes it in Python: ``OnSpike(factor=1.5, scale={'lr': 0.5})``, or without
    arguments ``OnSpike``. The name may also be one of ``functions``, and the arguments those that all rules take:
    ``my_rule(every=5)``. Arguments are literals; nothing is run. A mistake raises `UsageError`."""
    if len(text) > _LONGEST:
        raise UsageError(f"rule {text[:60]!r}...: is longer than {_LONGEST:,} characters")
    call = _parsed(text)
    name = call.func if isinstance(call, ast.Call) else call
    if not isinstance(name, ast.Name):
        raise UsageError(f"rule {text!r:.80}: {_WANTED}")
    positional, named = ([], {}) if not isinstance(call, ast.Call) else _arguments(call, text)
    if name.id in _KINDS:
        return _made(_KINDS[name.id], name.id, tuple(positional), named)
    if name.id in functions:
        return _made(FunctionRule, name.id, (functions[name.id], *positional), named)
    raise UsageError(f"rule {name.id!r:.80} is not known; there are {', '.join(_KINDS)}; {_there(functions)}")


_WANTED = "write it as in OnSpike(factor=1.5, scale={'lr': 0.5}), or the name of a function"


def _parsed(text: str) -> ast.expr:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about style, of no use here
            return ast.parse(text.strip(), mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        what = error.msg if isinstance(error, SyntaxError) else "cannot be read"
        raise UsageError(f"rule {text!r:.80}: {what}; {_WANTED}") from error


def _arguments(call: ast.Call, text: str) -> tuple[list[Any], dict[str, Any]]:
    try:
        named: dict[str, Any] = {}
        for keyword in call.keywords:
            if keyword.arg is None:
                raise ValueError("**")
            named[keyword.arg] = ast.literal_eval(keyword.value)
        return [ast.literal_eval(each) for each in call.args], named
    except (ValueError, TypeError, SyntaxError, RecursionError, MemoryError) as error:
        raise UsageError(f"rule {text!r:.80}: its arguments must be numbers, words, lists and mappings") from error


def _made(
    kind: type[Declared], name: str, positional: tuple[Any, ...], named: Mapping[str, Any]
) -> Rule | Schedule:
    try:
        signature(kind).bind(*positional, **named)
    except TypeError as error:
        takes = ", ".join(each for each in signature(kind).parameters if each != "function")
        raise UsageError(f"rule {name}: {error}; it takes {takes}") from error
    made = kind(*positional, **named)
    assert isinstance(made, Rule | Schedule)
    return made


def _there(functions: Mapping[str, Judging]) -> str:
    return f"functions that may be rules: {', '.join(functions) or 'none'}"

"""What a training function is made of: the source of everything of the user's own that it refers to.

Recorded in sweep.json, so that a sweep which is gone on with can tell whether its code is still the same, and if
not, what has changed.
"""

from __future__ import annotations

import inspect
import sysconfig
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from types import CodeType, FunctionType, MethodType, ModuleType
from typing import Any

_OTHERS = tuple(
    f"{folder}/"
    for folder in (*map(sysconfig.get_path, ("stdlib", "platstdlib", "purelib", "platlib")), Path(__file__).parent)
)
"""Folders of what is not the user's own: Python's library, installed packages, caviar."""
_CONSTANTS = (bool, int, float, str)


def source_file(function: Callable[..., Any]) -> str | None:
    """The file that defines a function; None: it was typed in by hand."""
    try:
        return str(Path(inspect.getsourcefile(_plain(function)) or "").resolve(strict=True))
    except (OSError, TypeError):
        return None


def sources(*functions: Callable[..., Any] | None) -> dict[str, str]:
    """The source of each function and of all functions, classes and plain constants of the user's own modules that
    it refers to, directly or through others, by name; by ``file:name`` where they are not from the file of the
    first function, which may be called otherwise another time."""
    found: dict[str, str] = {}
    todo: list[Any] = [_plain(function) for function in functions if function is not None]
    home = source_file(todo[0]) if todo else None

    def place(thing: Any, name: str) -> str:
        file = source_file(thing)
        return name if file in (home, None) else f"{Path(file or '').stem}:{name}"

    while todo:
        thing = todo.pop()
        name = place(thing, getattr(thing, "__qualname__", type(thing).__qualname__))
        if name in found:
            continue
        found[name] = _source(thing)
        for key, other in _references(thing):
            if isinstance(other, _CONSTANTS):
                found[place(thing, key)] = f"{key} = {other!r:.200}"
            elif _is_users(other):
                todo.append(other)
    return dict(sorted(found.items()))


def _plain(function: Any) -> Any:
    """The function or class behind a partial, a method, or an object that can be called."""
    while isinstance(function, partial):
        function = function.func
    if isinstance(function, MethodType):
        return function.__func__
    if isinstance(function, FunctionType | type) or not callable(function):
        return inspect.unwrap(function) if isinstance(function, FunctionType) else function
    return type(function)


def _references(thing: Any) -> Iterator[tuple[str, Any]]:
    """What the code of a function or class refers to by name, outside of itself."""
    module = inspect.getmodule(thing)
    names = vars(module) if module is not None else getattr(thing, "__globals__", {})
    for code in _codes(thing):
        for name in code.co_names:
            if name not in names:
                continue
            if isinstance(names[name], ModuleType):  # `module.function`: both are names of the code
                inner = vars(names[name])
                yield from ((key, inner[key]) for key in code.co_names if _is_users(inner.get(key)))
            else:
                yield name, names[name]
    for base in getattr(thing, "__bases__", ()):
        yield base.__name__, base
    if isinstance(thing, FunctionType):
        for name, cell in zip(thing.__code__.co_freevars, thing.__closure__ or (), strict=True):
            try:
                yield name, cell.cell_contents
            except ValueError:  # not filled yet
                continue


def _codes(thing: Any) -> Iterator[CodeType]:
    if isinstance(thing, FunctionType):
        todo = [thing.__code__]
    else:
        members = (
            getattr(member, "fget", None) or inspect.unwrap(member, stop=_is_function)
            for member in _members(thing)
        )
        todo = [member.__code__ for member in members if isinstance(member, FunctionType)]
    while todo:
        code = todo.pop()
        yield code
        todo.extend(constant for constant in code.co_consts if isinstance(constant, CodeType))


def _members(thing: Any) -> list[Any]:
    return (
        [getattr(member, "__func__", member) for member in vars(thing).values()] if isinstance(thing, type) else []
    )


def _is_function(thing: Any) -> bool:
    return isinstance(thing, FunctionType)


def _is_users(thing: Any) -> bool:
    """Whether it is a function or class of the user's own, not of a library's."""
    if not isinstance(thing, FunctionType | type):
        return False
    file = source_file(thing)
    return file is not None and not file.startswith(_OTHERS) and "site-packages" not in file


def _source(thing: Any) -> str:
    try:
        return inspect.getsource(thing)
    except (OSError, TypeError):  # typed in by hand, or no plain function
        code = getattr(thing, "__code__", None)
        return repr(type(thing)) if code is None else f"{code.co_code.hex()} {code.co_consts!r} {code.co_names!r}"


def differences(before: Mapping[str, str], after: Mapping[str, str]) -> list[str]:
    """What has changed between two `sources`, a line for each."""
    told = []
    for name in sorted(before.keys() | after.keys()):
        old, new = before.get(name), after.get(name)
        if old == new:
            continue
        if new is None:
            told.append(f"code: {name} is gone")
        elif old is None:
            told.append(f"code: {name} is new")
        else:
            told.append(f"code: {name}: {_first_change(old, new)}")
    return told


def _first_change(old: str, new: str) -> str:
    import difflib

    lines = list(difflib.unified_diff(old.splitlines(), new.splitlines(), lineterm="", n=0))[2:]
    minus = [line[1:].strip() for line in lines if line.startswith("-")]
    plus = [line[1:].strip() for line in lines if line.startswith("+")]
    changed = max(len(minus), len(plus))
    first = f"{(minus or ['nothing'])[0]!r:.80} -> {(plus or ['nothing'])[0]!r:.80}"
    return first if changed == 1 else f"{changed} lines, first {first}"

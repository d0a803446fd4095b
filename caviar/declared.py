"""Declarations that travel through sweep.json: a name, and arguments."""

from __future__ import annotations

from abc import ABC
from collections.abc import Mapping
from dataclasses import fields
from inspect import signature
from typing import Any, ClassVar, TypeVar, cast

from caviar.errors import UsageError


class Declared(ABC):
    """A frozen dataclass that says what is to be done. What does it, within one sweep, is another object."""

    name: ClassVar[str]
    """Its name in sweep.json and on the command line."""

    def to_dict(self) -> Mapping[str, Any]:
        """JSON for sweep.json: the name, and every argument."""
        given = {field.name: getattr(self, field.name) for field in fields(cast(Any, self))}
        plain = {name: dict(value) if isinstance(value, Mapping) else value for name, value in given.items()}
        return {"name": self.name, **plain}


Kind = TypeVar("Kind", bound=Declared)


def declared_from(data: Mapping[str, Any], *, what: str, kinds: Mapping[str, type[Kind]]) -> Kind:
    """The inverse of `Declared.to_dict`, for one of ``kinds``; arguments that are missing take their defaults.

    An unknown name, an unknown or missing argument and a value that is not allowed raise `UsageError`.
    """
    if not isinstance(data, Mapping):
        raise UsageError(f"{what} {data!r:.80} is no object with a name and arguments")
    arguments = dict(data)
    name = arguments.pop("name", None)
    kind = kinds.get(str(name))
    if kind is None:
        raise UsageError(f"{what} {name!r:.80} is not known; there are {', '.join(kinds)}")
    try:
        return kind(**arguments)
    except TypeError as error:
        given = ", ".join(f"{key}={value!r:.80}" for key, value in arguments.items()) or "nothing"
        raise UsageError(
            f"{what} {name!r} was given {given}; it takes {', '.join(signature(kind).parameters) or 'nothing'}"
        ) from error

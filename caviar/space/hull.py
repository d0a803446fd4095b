"""The space that holds several: what the stages of a sweep were sampled from, together."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable

from caviar.space.mapping import Space
from caviar.space.parameters import Float, Int, Parameter


def hull(declared: Space, spaces: Iterable[Space]) -> Space:
    """``declared``, with each range as wide as it is in any of ``spaces``, of the same type and on the same scale.

    Choices, constants, conditions and the order of params stay as they are declared.
    """
    several = tuple(spaces)
    return Space({name: _widest(own, [each.get(name) for each in several]) for name, own in declared.items()})


def _widest(own: Parameter, others: Iterable[Parameter | None]) -> Parameter:
    if not isinstance(own, Float | Int):
        return own
    alike = [one for one in others if isinstance(one, Float | Int) and _same_kind(one, own)]
    low = min([own.low, *(one.low for one in alike)])
    high = max([own.high, *(one.high for one in alike)])
    return dataclasses.replace(own, low=low, high=high)  # type: ignore[arg-type]  # an Int has whole ones


def _same_kind(one: Float | Int, other: Float | Int) -> bool:
    return type(one) is type(other) and one.scale == other.scale

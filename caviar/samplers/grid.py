"""The grid: every combination of a few values of each param. For small spaces, and to compare with."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from numpy.random import SeedSequence

from caviar.errors import UsageError
from caviar.samplers.base import Proposer, Sampler
from caviar.space import Choice, Space
from caviar.trial import Params

DEFAULT_POINTS = 5
"""Values of a param that ``points`` does not name."""

MOST_POINTS = 1_000_000
"""Of one param; they are all made at once."""


class _GridProposer(Proposer):
    def __init__(self, combinations: Sequence[Params]) -> None:
        self._combinations = combinations

    def suggest(self, trial: int, seeds: SeedSequence) -> Params:
        if trial >= len(self._combinations):
            raise UsageError(f"trial {trial}: the grid was begun for {len(self._combinations)} trials")
        return dict(self._combinations[trial])


@dataclass(frozen=True, slots=True)
class GridSampler(Sampler):
    """Combination ``trial`` of ``space.grid(points)``, whose last param changes fastest.

    ``points``: the number of values of each `Float` and `Int`, or a mapping from name to it (5 for those that it
    does not name); a `Choice` always has all of its values. More trials than combinations raise `UsageError`;
    fewer leave the last combinations out, so that the first params see only their lowest values.
    """

    name: ClassVar[str] = "grid"
    points: int | Mapping[str, int] = field(default=DEFAULT_POINTS, hash=False)

    def __post_init__(self) -> None:
        counts = self.points.values() if isinstance(self.points, Mapping) else [self.points]
        if not all(type(count) is int and 0 < count <= MOST_POINTS for count in counts):
            raise UsageError(
                f"GridSampler(points={self.points!r}): needs a whole number of at least 1 and at most "
                f"{MOST_POINTS:,}, or a mapping to some"
            )
        if isinstance(self.points, Mapping):
            object.__setattr__(self, "points", dict(self.points))

    def begin(self, space: Space, *, seed: int, trials: int) -> Proposer:
        points = self.points
        if isinstance(points, Mapping):
            numbers = [name for name in space.varying if not isinstance(space[name], Choice)]
            unknown = [name for name in points if name not in numbers]
            if unknown:
                known = ", ".join(numbers) or "none"
                raise UsageError(f"GridSampler: points of {unknown[0]!r}, but the Floats and Ints are: {known}")
            points = dict.fromkeys(numbers, DEFAULT_POINTS) | dict(points)
        combinations = list(itertools.islice(space.iter_grid(points), trials))
        if len(combinations) < trials:
            raise UsageError(
                f"{trials} trials, but the grid has {len(combinations)} combinations: fewer trials, or more points"
            )
        return _GridProposer(combinations)

"""The params of a run by step, to repeat it, or to train others by."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any

from caviar.trial import Params


class RunSchedule(Mapping[int, Params]):
    """What a run was trained with: at step 1 all its params, and at every step at which they changed, the new
    values.

    ``Sweep(...).panda(path, schedule=...)`` repeats the run: with the same sweep, and a training function that
    depends on nothing but its params and seed, the same curve, bit for bit. ``Sweep(..., schedule=...)`` takes
    what `changes` returns."""

    def __init__(
        self,
        steps: Mapping[int, Params],
        *,
        begins: Params | None = None,
        seed: int | None = None,
        last_step: int | None = None,
        stop_on_nan: bool | None = None,
    ) -> None:
        """``begins``: the params as they were sampled, where step 1 was not trained with them; the rest as the
        attributes."""
        self._steps = {step: MappingProxyType(dict(params)) for step, params in sorted(steps.items())}
        self._begins = MappingProxyType(dict(steps.get(1, {}) if begins is None else begins))
        self.seed = seed
        """The seed that the run's trial was given."""
        self.last_step = last_step
        """The last step of the run."""
        self.stop_on_nan = stop_on_nan
        """Whether a metric that is not finite ended the run; None: as the sweep that repeats it says."""

    def __getitem__(self, step: int) -> Params:
        return self._steps[step]

    def __iter__(self) -> Iterator[int]:
        return iter(self._steps)

    def __len__(self) -> int:
        return len(self._steps)

    def __repr__(self) -> str:
        return f"RunSchedule({ {step: dict(params) for step, params in self._steps.items()} })"

    @property
    def params(self) -> Params:
        """The params as they were sampled, within the bounds of the space. Step 1 may have been trained with
        others, by a schedule or by hand."""
        return self._begins

    def changes(self, *, relative: bool = False) -> dict[int, dict[str, Any]]:
        """What was changed of `params`, by step. ``relative``: as ``"*=0.5"``, so many times the value before,
        for trials that begin with another one; changes from or to 0, and of what is no number, are left out."""
        found: dict[int, dict[str, Any]] = {}
        values = dict(self._begins)
        for step, params in self._steps.items():
            changed = {name: value for name, value in params.items() if step > 1 or values.get(name) != value}
            found[step] = changed
            if relative:
                factors = {name: _factor(values.get(name), value) for name, value in changed.items()}
                found[step] = {name: factor for name, factor in factors.items() if factor is not None}
            values.update(params)
        return {step: changes for step, changes in found.items() if changes}


def _factor(before: Any, after: Any) -> str | None:
    numbers = all(isinstance(one, int | float) and not isinstance(one, bool) and one for one in (before, after))
    return f"*={after / before!r}" if numbers else None

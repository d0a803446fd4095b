"""Which trials a scheduler spares: the control group that tells what early stopping cost."""

from __future__ import annotations

from numpy.random import SeedSequence

from caviar.errors import UsageError
from caviar.schedulers.rung import is_finite

_OF_SPARING = 1
"""What follows the trial's number in the spawn key: so the draw is another one than those of params and seed."""


def drawn(seed: int, trial: int) -> float:
    """The one draw of a trial, uniform in [0, 1): it is spared where this is below ``spare``. It depends on the
    seed of the sweep and on the trial's number alone, and on no other draw of the sweep's."""
    word = int(SeedSequence(seed, spawn_key=(trial, _OF_SPARING)).generate_state(1)[0])
    return word / 2**32


def check_spare(scheduler: str, value: object) -> None:
    """Raise `UsageError` unless ``value`` is an int or float from 0 on and below 1."""
    if not is_finite(value) or not 0 <= value < 1:
        raise UsageError(f"{scheduler}(spare={value!r}): needs a number from 0 on, and below 1")

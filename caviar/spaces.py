"""Ready spaces: where to begin when nothing is known yet."""

from __future__ import annotations

from caviar.errors import SpaceError
from caviar.space import Choice, Float, Int, Parameter, Space

_TIERS: tuple[dict[str, Parameter], ...] = (
    {"lr": Float(1e-4, 1.0, scale="log")},
    {
        "momentum": Float(0.9, 0.999, scale="one_minus_log"),
        "hidden": Int(16, 256),
        "batch_size": Choice([32, 64, 128, 256]),
    },
    {"layers": Int(1, 4), "lr_decay": Float(1e-4, 1.0, scale="log")},
    {
        "beta1": Float(0.8, 0.99, scale="one_minus_log"),
        "beta2": Float(0.9, 0.9999, scale="one_minus_log"),
        "epsilon": Float(1e-10, 1e-6, scale="log"),
    },
)
_ADAM = {"beta1": 0.9, "beta2": 0.999, "epsilon": 1e-8}


def deep_learning(tier: int = 2) -> Space:
    """The hyperparameters of a neural network, down to the given tier of importance.

    Tier 1: ``lr``. 2 adds ``momentum``, ``hidden`` (units a layer) and ``batch_size``. 3 adds ``layers`` and
    ``lr_decay`` (of lr / (1 + lr_decay * step)). 4 adds Adam's ``beta1``, ``beta2`` and ``epsilon``, which below
    are the constants 0.9, 0.999 and 1e-8. What a tier adds comes last, so that `RandomSampler` draws the same
    ``lr`` for a trial in every tier. Another tier raises `SpaceError`.

    The order is Andrew Ng's, from "Tuning process" (Improving Deep Neural Networks, Coursera, 2017).
    """
    if type(tier) is not int or not 1 <= tier <= len(_TIERS):
        raise SpaceError(f"deep_learning(tier={tier!r}): tier must be 1, 2, 3 or 4")
    params: dict[str, object] = {}
    for added in _TIERS[:tier]:
        params |= added
    return Space(params | {name: value for name, value in _ADAM.items() if name not in params})

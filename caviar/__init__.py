"""caviar: train many independently sampled models at once, stop the bad ones early, keep every learning curve.

The public names are loaded when first used, so that `import caviar` stays quick.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from caviar import rules as rules
    from caviar import spaces as spaces
    from caviar.analysis.result import Result as Result
    from caviar.analysis.result import load as load
    from caviar.errors import CaviarError as CaviarError
    from caviar.errors import MetricError as MetricError
    from caviar.errors import SpaceError as SpaceError
    from caviar.errors import TrialStopped as TrialStopped
    from caviar.errors import UsageError as UsageError
    from caviar.execution import Inline as Inline
    from caviar.execution import Ray as Ray
    from caviar.execution import Resources as Resources
    from caviar.execution import Simulated as Simulated
    from caviar.execution.training import Trial as Trial
    from caviar.panda.live_run import LiveRun as LiveRun
    from caviar.panda.live_run import attach as attach
    from caviar.samplers import GridSampler as GridSampler
    from caviar.samplers import RandomSampler as RandomSampler
    from caviar.samplers import SobolSampler as SobolSampler
    from caviar.schedulers import Asha as Asha
    from caviar.schedulers import Hyperband as Hyperband
    from caviar.schedulers import MedianStop as MedianStop
    from caviar.schedulers import Patience as Patience
    from caviar.schedulers import RunAll as RunAll
    from caviar.space import Choice as Choice
    from caviar.space import Float as Float
    from caviar.space import Int as Int
    from caviar.space import Space as Space
    from caviar.sweep import Sweep as Sweep

__version__ = "0.1.0"

_HOMES = {
    "caviar.analysis.result": ("Result", "load"),
    "caviar.errors": ("CaviarError", "MetricError", "SpaceError", "TrialStopped", "UsageError"),
    "caviar.execution": ("Inline", "Ray", "Resources", "Simulated"),
    "caviar.execution.training": ("Trial",),
    "caviar.panda.live_run": ("LiveRun", "attach"),
    "caviar.samplers": ("GridSampler", "RandomSampler", "SobolSampler"),
    "caviar.schedulers": ("Asha", "Hyperband", "MedianStop", "Patience", "RunAll"),
    "caviar.space": ("Choice", "Float", "Int", "Space"),
    "caviar.sweep": ("Sweep",),
}
_HOME = {name: home for home, names in _HOMES.items() for name in names}

_ROOMS = {name: f"caviar.{name}" for name in ("rules", "spaces")}
"""Public names that are modules."""

_EXTRAS = {name: f"caviar.{name}" for name in ("torch", "lightning")}
"""Modules that need what only an extra installs; so no ``from caviar import *`` has them."""

__all__ = [*sorted(_HOME), *sorted(_ROOMS)]


def __getattr__(name: str) -> Any:
    room = _ROOMS.get(name) or _EXTRAS.get(name)
    if room is not None:
        globals()[name] = module = importlib.import_module(room)
        return module
    home = _HOME.get(name)
    if home is None:
        raise AttributeError(f"module 'caviar' has no attribute {name!r}")
    value = getattr(importlib.import_module(home), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*__all__, *(name for name in globals() if name.startswith("__"))])

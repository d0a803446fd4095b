"""Executors: where and how trials run. Each is loaded when first used."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from caviar.execution.inline import Inline as Inline
    from caviar.execution.ray import Ray as Ray
    from caviar.execution.resources import Resources as Resources
    from caviar.execution.simulated import Simulated as Simulated

_HOME = {
    "Inline": "caviar.execution.inline",
    "Ray": "caviar.execution.ray",
    "Resources": "caviar.execution.resources",
    "Simulated": "caviar.execution.simulated",
}
__all__ = ["Inline", "Ray", "Resources", "Simulated"]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'caviar.execution' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOME[name]), name)

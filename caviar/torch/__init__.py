"""For training functions that use PyTorch: live params in an optimizer, and the whole state of a training.

Import it as ``import caviar.torch``. Nothing else in caviar imports torch.
"""

from __future__ import annotations

try:
    import torch  # noqa: F401 - told here, once, where it is missing
except ModuleNotFoundError as error:
    if error.name != "torch":
        raise
    raise ModuleNotFoundError(
        'caviar.torch needs PyTorch: pip install "caviar-sweep[torch]"', name="torch"
    ) from None

from caviar.torch.live import apply
from caviar.torch.state import load, save

__all__ = ["apply", "load", "save"]

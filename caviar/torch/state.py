"""The whole state of a training in one file, so that a run that goes on is the run that never stopped."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch

from caviar.errors import UsageError

FILE = "state.pt"
"""The file's name within a checkpoint."""

RANDOM = "caviar_random"
"""The entry of the file that holds the states of the random generators."""


class Stateful(Protocol):
    """A model, an optimizer, a scheduler, a gradient scaler, …"""

    def state_dict(self) -> dict[str, Any]: ...
    def load_state_dict(self, state_dict: dict[str, Any], /) -> Any: ...


def save(folder: Path, **parts: Stateful) -> None:
    """Save everything that training goes on from, in a checkpoint's folder.

    ``parts``: all that has a state, by names of your own: ``save(folder, model=model, optimizer=optimizer)``. The
    states of the random generators of Python, numpy, torch and CUDA are saved with them.

    Raises `UsageError` for a state that could not be loaded: it may hold tensors, numbers, text, and containers
    of these.
    """
    for name, part in parts.items():
        if not hasattr(part, "state_dict") or not hasattr(part, "load_state_dict"):
            raise UsageError(
                f"caviar.torch.save({name}=...): needs something with a state_dict, got {type(part).__name__}"
            )
    file = folder / FILE
    torch.save({name: part.state_dict() for name, part in parts.items()} | {RANDOM: random_state()}, file)
    refused = torch.serialization.get_unsafe_globals_in_checkpoint(file)
    if refused:  # better now than when it is needed
        raise UsageError(
            f"caviar.torch.save({', '.join(parts)}): a state holds {', '.join(sorted(refused))}, which would not "
            "be loaded; keep tensors, numbers and text, or register it with torch.serialization.add_safe_globals"
        )


def load(folder: Path, *, rng: bool = True, **parts: Stateful) -> None:
    """Load what `save` saved into models, optimizers, … that were made as they were made then.

    Tensors go to the devices where the parts are; parts that are not asked for are left. ``rng``: whether to set
    the random generators. Nothing in the file can run code. Raises `UsageError` for a part that was not saved.
    """
    saved = torch.load(folder / FILE, map_location="cpu", weights_only=True)
    names = saved.keys() - {RANDOM}
    for name in parts:
        if name not in names:
            raise UsageError(f"caviar.torch.load({name}=...): saved were {', '.join(sorted(names))}")
    for name, part in parts.items():
        part.load_state_dict(saved[name])
    if rng:
        restore_random_state(saved[RANDOM])


def random_state() -> dict[str, Any]:
    """The states of the random generators of Python, numpy, torch, and CUDA where it is in use."""
    kind, keys, position, has_gauss, gauss = np.random.get_state(legacy=True)
    return {
        "python": random.getstate(),
        "numpy": (
            kind,
            torch.from_numpy(np.asarray(keys).astype(np.int64)),
            int(position),
            int(has_gauss),
            float(gauss),
        ),
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else [],  # type: ignore[no-untyped-call]
    }


def restore_random_state(state: dict[str, Any]) -> None:
    """Set the random generators; those of GPUs that this machine does not have are left out."""
    random.setstate(state["python"])
    kind, keys, *rest = state["numpy"]
    np.random.set_state((kind, keys.numpy().astype(np.uint32), *rest))
    torch.set_rng_state(state["torch"])
    for device, cuda in enumerate(state["cuda"][: torch.cuda.device_count()]):
        torch.cuda.set_rng_state(cuda, device)

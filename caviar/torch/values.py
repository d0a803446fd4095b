"""The numbers of a parameter group: plain ones, tensors, and the two betas."""

from __future__ import annotations

from typing import Any

from torch import Tensor

_BETAS = {"beta1": 0, "beta2": 1}


def read(group: dict[str, Any], option: str) -> float | None:
    """The group's value; None where it has no such option, or one that is no number."""
    if option in _BETAS:
        betas = group.get("betas")
        return None if betas is None else _number(betas[_BETAS[option]])
    return _number(group.get(option))


def put(group: dict[str, Any], option: str, value: float) -> None:
    """Set an option that the group has. A tensor stays the same tensor, as compiled optimizers hold it."""
    if option in _BETAS:
        betas = list(group["betas"])
        betas[_BETAS[option]] = _renewed(betas[_BETAS[option]], value)
        group["betas"] = tuple(betas)
    else:
        group[option] = _renewed(group[option], value)


def renew(values: list[Any], index: int, value: float) -> None:
    """Set an entry of a list of numbers or tensors."""
    values[index] = _renewed(values[index], value)


def _renewed(before: Any, value: float) -> Any:
    return before.fill_(value) if isinstance(before, Tensor) else value


def _number(value: Any) -> float | None:
    if isinstance(value, Tensor):
        return value.item() if value.numel() == 1 else None
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None

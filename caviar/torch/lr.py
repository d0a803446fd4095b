"""A new learning rate under the hands of torch's schedulers.

Some schedulers multiply what is in the groups, others compute it anew from what the lr was in the beginning, which
they keep in the groups (`initial_lr`, `max_lr`, …) and in themselves (`base_lrs`, `max_lrs`). All of these are
changed together, so either kind goes on as if it had been made with the new lr.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from typing import Any

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from caviar.errors import UsageError
from caviar.torch.values import put, read, renew

NEARLY_ZERO = 1e-30
"""Stands for an lr of 0: nothing learns with it, and what is multiplied by it can be divided by it again."""

_GROUP_KEYS = ("initial_lr", "max_lr", "min_lr", "swa_lr")
_SCHEDULER_KEYS = ("base_lrs", "max_lrs")


def check_schedulers(
    scheduler: LRScheduler | Sequence[LRScheduler] | None, optimizer: Optimizer
) -> Sequence[LRScheduler]:
    """The schedulers that were given. Raises `UsageError` for what is none, or belongs to another optimizer."""
    if scheduler is None:
        return ()
    given = [scheduler] if isinstance(scheduler, LRScheduler) or not isinstance(scheduler, Sequence) else scheduler
    for one in given:
        if not isinstance(one, LRScheduler):
            raise UsageError(
                f"caviar.torch.apply(scheduler={type(one).__name__}): needs one of torch.optim.lr_scheduler"
            )
        if one.optimizer is not optimizer:
            raise UsageError(f"caviar.torch.apply(scheduler={type(one).__name__}): is another optimizer's")
    return given


def require_scheduler(optimizer: Optimizer, schedulers: Sequence[LRScheduler]) -> None:
    """Raise `UsageError` where a scheduler that would undo a change has not been given."""
    inner = (one for scheduler in schedulers for one in _flat(scheduler))
    if any("initial_lr" in group for group in optimizer.param_groups) and not any(
        hasattr(one, "base_lrs") for one in inner
    ):
        raise UsageError(
            "caviar.torch.apply: a scheduler sets the lr of this optimizer (its groups have initial_lr); give it: "
            "apply(trial, optimizer, scheduler=scheduler)"
        )


def has_lr(group: dict[str, Any], lr: float) -> bool:
    """Whether the group was made with this lr: it has it, or began with it, or is to rise to it."""
    here = (read(group, key) for key in ("lr", "initial_lr", "max_lr"))
    return any(value is not None and math.isclose(value, lr, rel_tol=1e-6) for value in here)


def set_lr(
    optimizer: Optimizer,
    schedulers: Sequence[LRScheduler],
    groups: Sequence[dict[str, Any]],
    before: Sequence[float],
    lr: float,
) -> None:
    """Change the lr of these groups from those of ``before`` to ``lr``, whatever factors stand in between."""
    inner = [one for scheduler in schedulers for one in _flat(scheduler)]
    floor = _floor(schedulers[0]) if len(schedulers) == 1 else 0.0
    updates: list[tuple[dict[str, Any], str, float]] = []  # all are computed first: groups may share a tensor
    for group, old in zip(groups, before, strict=True):
        was, now = old or NEARLY_ZERO, lr or NEARLY_ZERO
        base = read(group, "initial_lr")
        here = read(group, "lr") or 0.0
        if base is None or base == floor or not floor:
            updates.append((group, "lr", _scaled(here, was, now)))
        else:
            share = (here - floor) / (base - floor)
            updates.append((group, "lr", floor + share * (_scaled(base, was, now) - floor)))
        updates += [
            (group, key, _scaled(value, was, now))
            for key in _GROUP_KEYS
            if (value := read(group, key)) is not None
        ]
        index = next(i for i, one in enumerate(optimizer.param_groups) if one is group)
        for one in inner:
            for key in _SCHEDULER_KEYS:
                if hasattr(one, key):
                    values = getattr(one, key)
                    renew(values, index, _scaled(float(values[index]), was, now))
    for group, key, value in updates:
        put(group, key, value)
    for one in (*schedulers, *inner):
        if hasattr(one, "_last_lr"):
            one._last_lr = [float(group["lr"]) for group in optimizer.param_groups]


def _scaled(value: float, old: float, new: float) -> float:
    return new if value == old else value * (new / old)


def _flat(scheduler: LRScheduler) -> Iterator[LRScheduler]:
    """The schedulers that one is made of, or itself."""
    parts = getattr(scheduler, "_schedulers", None)
    if parts is None:
        yield scheduler
    else:
        for part in parts:
            yield from _flat(part)


def _floor(scheduler: LRScheduler) -> float:
    """The lr that a scheduler goes down to whatever it began with; 0 where it has none such."""
    while hasattr(scheduler, "_schedulers"):
        if not hasattr(scheduler, "_milestones"):
            return 0.0
        scheduler = scheduler._schedulers[bisect_right(scheduler._milestones, scheduler.last_epoch)]
    return float(getattr(scheduler, "eta_min", 0.0))

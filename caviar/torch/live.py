"""Live params in an optimizer: what a trial's params say now, in the parameter groups.

What was last brought into a group stands in the group itself, under `MARK`. So it is saved and restored with the
optimizer's state, and a restored group is known to have the values of the params of that time, whatever they are
now.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from caviar.errors import UsageError
from caviar.torch.lr import check_schedulers, has_lr, require_scheduler, set_lr
from caviar.torch.values import put, read

MARK = "caviar"
"""The key in a parameter group. What stands there maps the name of a param to the value that the group has of it,
or to None where the group does not follow this param."""

OPTIONS = {
    "lr": "lr",
    "momentum": "momentum",
    "beta1": "beta1",
    "beta2": "beta2",
    "eps": "eps",
    "epsilon": "eps",
    "weight_decay": "weight_decay",
}
"""The params that are known by their names, and the options of optimizers that they are."""

Changed = dict[str, tuple[float, float]]
Names = Mapping[str, str] | Iterable[str] | None

_UNKNOWN = object()


class Live(Protocol):
    """What `apply` needs of a trial."""

    @property
    def params(self) -> Mapping[str, Any]: ...


def apply(
    trial: Live,
    optimizer: Optimizer,
    *,
    scheduler: LRScheduler | Sequence[LRScheduler] | None = None,
    names: Names = None,
    lr_factor: float = 1.0,
) -> Changed:
    """Bring the trial's params into the optimizer, and return what changed: ``{"lr": (0.1, 0.05)}``.

    Call it at the beginning of every step; where nothing changed it costs about a microsecond a parameter group.
    The optimizer is made from ``trial.params`` as usual. The first call finds the groups that have the params'
    values; whenever a param changes, these groups change:

    - **lr** is multiplied in every group by what the param was multiplied by. So a group with ten times the lr of
      another one keeps that, and so does a group whose lr a scheduler has lowered. ``scheduler``: what sets the
      lr, one of torch's or several; it goes on as if it had been made with the new lr.
    - **momentum**, **beta1**, **beta2**, **eps** (or **epsilon**) and **weight_decay** are set in the groups that
      had the param's value; a group made with another one, such as a weight decay of 0, keeps it.

    Params that the trial or the optimizer does not have are left alone. ``names``: only these params; or a mapping
    from param to option, such as ``{"generator_lr": "lr"}``, where options are the names above or any other key of
    a parameter group that holds a number. ``lr_factor``: where the optimizer was made with a multiple of the
    param, as in ``lr=trial.params["lr"] * batch_size / 256``, that multiple.

    After ``optimizer.load_state_dict`` the next call brings the restored groups from the params of that checkpoint
    to those of now. An lr of 0 is brought in as 1e-30, so that ratios and a scheduler's factor outlive it.

    Raises `UsageError` at the first call where no group has a param's value, and where a scheduler sets the lr
    and was not given.
    """
    params = trial.params
    table = OPTIONS if names is None else _table(names, params)
    if all(_is_settled(group.get(MARK), table, params) for group in optimizer.param_groups):
        return {}
    schedulers = check_schedulers(scheduler, optimizer)
    began = getattr(trial, "launch_params", params)
    changed: Changed = {}
    for name, option in table.items():
        if name not in params:
            continue
        value = params[name]
        if not _is_number(value):
            _mark(optimizer.param_groups, name, None)
            continue
        factor = lr_factor if option == "lr" else 1.0
        made_with = (began.get(name), value)
        before = _follow(optimizer, name, option, made_with, factor=factor, given=names is not None)
        if before is None:
            continue
        if option == "lr":
            require_scheduler(optimizer, schedulers)
        if before != value:
            _change(optimizer, schedulers, name, option, value)
            changed[name] = (before, value)
    return changed


def _is_settled(mark: Mapping[str, Any] | None, table: Iterable[str], params: Mapping[str, Any]) -> bool:
    """Whether a group has all params as they are now, or does not follow them."""
    if mark is None:
        return False
    for name in table:
        if name in params:
            known = mark.get(name, _UNKNOWN)
            if known is not None and known != params[name]:
                return False
    return True


def _follow(
    optimizer: Optimizer, name: str, option: str, values: tuple[Any, float], *, factor: float, given: bool
) -> float | None:
    """See to it that every group has a mark of the param, and return the value of the param that they have.

    ``values``: those of the param that the optimizer may have been made with.
    """
    groups = optimizer.param_groups
    marked = [group[MARK][name] for group in groups if name in group.get(MARK, ())]
    new = [group for group in groups if name not in group.get(MARK, ())]
    before = next((value for value in marked if value is not None), None)
    if not new:
        return before
    if not marked:
        having = [value for value in values if _is_number(value)]
        before = next((v for v in having if any(_has(group, option, v * factor) for group in groups)), None)
        if before is None and any(read(group, option) is not None for group in groups):
            raise UsageError(_none_has(optimizer, name, option, factor))
        if before is None and given:
            raise UsageError(
                f"caviar.torch.apply(names=...): {type(optimizer).__name__} has no option {option!r} "
                f"that holds a number; its groups have {', '.join(_options(groups[0]))}"
            )
    for group in new:  # a group that was added on the way has the lr of its time, or a multiple
        follows = before is not None and (
            read(group, option) is not None if option == "lr" else _has(group, option, before)
        )
        _mark([group], name, before if follows else None)
    return before


def _change(optimizer: Optimizer, schedulers: Sequence[LRScheduler], name: str, option: str, value: float) -> None:
    followers = [group for group in optimizer.param_groups if group[MARK][name] is not None]
    if option == "lr":
        set_lr(optimizer, schedulers, followers, [group[MARK][name] for group in followers], value)
    else:
        for group in followers:
            put(group, option, value)
    _mark(followers, name, value)


def _mark(groups: Iterable[dict[str, Any]], name: str, value: float | None) -> None:
    for group in groups:
        group[MARK] = {**group.get(MARK, {}), name: value}  # a new one: a state_dict() shares the old one


def _has(group: dict[str, Any], option: str, value: float) -> bool:
    if option == "lr":
        return has_lr(group, value)
    here = read(group, option)
    return here is not None and math.isclose(here, value, rel_tol=1e-6)


def _table(names: Mapping[str, str] | Iterable[str], params: Mapping[str, Any]) -> Mapping[str, str]:
    """What ``names`` says, as a mapping from param to option."""
    if isinstance(names, Mapping):
        table = dict(names)
    elif isinstance(names, str):
        raise UsageError(
            f"caviar.torch.apply(names={names!r}): needs several names, as ({names!r},), or a mapping"
        )
    else:
        table = {}
        for name in names:
            if name not in OPTIONS:
                raise UsageError(
                    f"caviar.torch.apply(names=...): {name!r} is not known by its name, as {', '.join(OPTIONS)} "
                    f"are; say which option it is: names={{{name!r}: 'lr'}}"
                )
            table[name] = OPTIONS[name]
    if len(set(table.values())) < len(table):
        raise UsageError(f"caviar.torch.apply(names={table!r}): two params for one option")
    if table and not table.keys() & params.keys():
        raise UsageError(
            f"caviar.torch.apply(names=...): the trial has none of {', '.join(table)}; its params are "
            f"{', '.join(params)}"
        )
    return table


def _none_has(optimizer: Optimizer, name: str, option: str, factor: float) -> str:
    here = sorted({value for group in optimizer.param_groups if (value := read(group, option)) is not None})
    told = ", ".join(f"{value:.4g}" for value in here)
    if option in ("momentum", "beta1") and any("max_momentum" in group for group in optimizer.param_groups):
        mend = "a scheduler sets it: give that cycle_momentum=False, or leave this param out of names="
    elif option == "lr":
        mend = f"make it with lr=trial.params[{name!r}]; where that is to be a multiple, give lr_factor="
    else:
        mend = f"make it with trial.params[{name!r}], or leave this param out of names="
    times = "" if factor == 1 else f" times lr_factor {factor:.4g}"
    return (
        f"caviar.torch.apply: no group of {type(optimizer).__name__} has the param {name!r}{times} as its "
        f"{option}, they have {told}: {mend}"
    )


def _options(group: dict[str, Any]) -> list[str]:
    return sorted(key for key in group if read(group, key) is not None)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)

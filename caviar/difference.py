"""What differs between the declaration that a sweep has and the one that it is to go on with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from caviar import fingerprint
from caviar.errors import UsageError

FREE = ("resources", "retries", "checkpoint_every", "keep_checkpoints", "time_budget_s", "knobs")
"""What may change at any time: no result depends on it."""

JUDGED = ("metric", "mode", "scheduler", "schedule", "stop_on_nan", "stages")
SAMPLED = ("space", "sampler", "seed")
EXTENT = ("trials", "max_step")
"""Extensions change these without the file that declares the sweep; so what sweep.json said at first is no
change."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """What is to change, and what of it needs to be allowed."""

    changes: Mapping[str, Any]
    """New values, by name."""
    told: tuple[str, ...]
    """What would be another sweep, a readable line for each."""

    @property
    def new_stage(self) -> bool:
        """Whether trials are to be sampled anew."""
        return not self.changes.keys().isdisjoint(SAMPLED)


def difference(now: Mapping[str, Any], wanted: Mapping[str, Any], *, first: Mapping[str, Any]) -> Difference:
    """``now``: the declaration that holds; ``wanted``: the one to go on with; ``first``: sweep.json as written.

    Other settings in `Sweep(first=...)` raise `UsageError`: they have been tried.
    """
    if now["first"] != wanted["first"]:
        raise UsageError("Sweep(first=...) has changed: a sweep keeps the settings that it began with")
    changes = {name: wanted[name] for name in FREE if now.get(name) != wanted[name]}
    told: list[str] = []
    now = {"schedule": [], "stages": 1, **now}  # earlier versions had none
    for name in JUDGED + SAMPLED + EXTENT:
        if now[name] == wanted[name] or (name in EXTENT and first[name] == wanted[name]):
            continue
        changes[name] = wanted[name]
        if name == "space":
            told += _of_spaces(now[name], wanted[name])
        else:
            told.append(f"{name}: {_shown(now[name])} -> {_shown(wanted[name])}")
    of_code = _of_code(now, wanted)
    if of_code:
        changes |= {"code": wanted["code"], "fingerprints": wanted["fingerprints"]}
        told += of_code
    return Difference(changes=changes, told=tuple(told))


def of_training(now: Mapping[str, Any], wanted: Mapping[str, Any]) -> list[str]:
    """What would be another training, whatever it is to be tried with: a line for each."""
    told = [
        f"{name}: {_shown(now[name])} -> {_shown(wanted[name])}"
        for name in ("metric", "mode")
        if now[name] != wanted[name]
    ]
    return told + _of_code(now, wanted)


def _of_code(now: Mapping[str, Any], wanted: Mapping[str, Any]) -> list[str]:
    if "code" in now:
        return fingerprint.differences(now["code"], wanted["code"])
    return []  # written by caviar 0.1.0, whose digest covered two functions alone: nothing to compare with


def _of_spaces(now: Mapping[str, Any], wanted: Mapping[str, Any]) -> list[str]:
    before, after = ({param["name"]: param for param in space["params"]} for space in (now, wanted))
    told = []
    for name in dict.fromkeys([*before, *after]):
        old, new = before.get(name), after.get(name)
        if new is None:
            told.append(f"space: {name} is gone")
        elif old is None:
            told.append(f"space: {name} is new: {_param(new)}")
        elif old != new:
            told.append(f"space: {name}: {_param(old)} -> {_param(new)}")
    return told or ["space: its params come in another order"]


def _param(param: Mapping[str, Any]) -> str:
    given = ", ".join(f"{key}={value!r}" for key, value in param.items() if key not in ("name", "type") and value)
    return f"{param['type']}({given})"[:120]


def _shown(value: Any) -> str:
    if isinstance(value, Mapping) and "name" in value:
        given = ", ".join(f"{key}={one!r}" for key, one in value.items() if key != "name")
        return f"{value['name']}({given})"
    return f"{value!r:.80}"

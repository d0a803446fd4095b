"""What sweep.json may say: checked once, where it is read, so that nobody meets a text where a number must be."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from caviar.errors import FolderError
from caviar.store.strict_json import is_whole
from caviar.trial import MAX_TRIALS


def _is_list(values: object, of: type) -> bool:
    return isinstance(values, list) and all(isinstance(value, of) for value in values)


def _is_text(value: object) -> bool:
    return isinstance(value, str) and bool(value)


def _is_entry(value: object) -> bool:
    """Whether it says what changes from a step on."""
    if not (isinstance(value, list) and len(value) == 2 and is_whole(value[0], least=1)):
        return False
    from caviar.adjusting import is_change  # loads numpy, as below

    return isinstance(value[1], dict) and all(map(is_change, value[1].values()))


_NESTED = (dict, list)


def _is_origin(value: object) -> bool:
    """Whether it is an `Origin` as that writes itself."""
    if not isinstance(value, dict) or value.keys() != _OF_ORIGIN.keys():
        return False
    return all(is_good(value[name]) for name, is_good in _OF_ORIGIN.items())


_OF_ORIGIN: Mapping[str, Callable[[Any], bool]] = {
    "path": _is_text,
    "created_us": lambda value: is_whole(value, most=2**57),
    "trial": lambda value: _is_trial(value),
    "attempt": lambda value: value is None or is_whole(value, most=2**31 - 1),
    "step": lambda value: is_whole(value, least=1, most=2**53),
    "params": lambda value: (
        isinstance(value, dict) and not any(isinstance(one, _NESTED) for one in value.values())
    ),
    "seed": is_whole,
    "way": lambda value: isinstance(value, list) and all(map(_is_entry, value)),
    "vary": lambda value: _is_list(value, str),
}


def _is_recheck(value: object) -> bool:
    """Whether it says which trials of another sweep are trained again, by which trials."""
    needed, more = {"path", "created_us", "trials", "of"}, {"untried", "declared_space"}
    if not isinstance(value, dict) or not needed <= value.keys() <= needed | more:
        return False
    untried = value.get("untried", [0, ""])
    if not (isinstance(untried, list) and len(untried) == 2 and _is_trial(untried[0])):
        return False
    if not isinstance(untried[1], str) or not isinstance(value.get("declared_space", {}), dict):
        return False
    pairs = value["trials"]
    if not (
        isinstance(pairs, list) and pairs and all(isinstance(pair, list) and len(pair) == 2 for pair in pairs)
    ):
        return False
    if not all(_is_trial(trial) and isinstance(again, list) and again for trial, again in pairs):
        return False
    numbers = [one for _, again in pairs for one in again]
    return (
        all(map(_is_trial, numbers))
        and len(set(numbers)) == len(numbers)
        and len({trial for trial, _ in pairs}) == len(pairs)
        and _is_text(value["path"])
        and is_whole(value["created_us"], most=2**57)
        and is_whole(value["of"], least=len(pairs), most=MAX_TRIALS)
    )


def _is_trial(value: object) -> bool:
    return is_whole(value, most=MAX_TRIALS - 1)


def _is_amount(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and value > 0


def _is_resources(value: object) -> bool:
    """Whether it says what workers hold: of one kind, and of what there is otherwise."""
    if not isinstance(value, dict):
        return False
    price, otherwise = value.get("price_per_hour"), value.get("otherwise")
    return (price is None or _is_amount(price)) and (otherwise is None or _is_resources(otherwise))


_FIELDS: Mapping[str, tuple[Callable[[Any], bool], str]] = {
    "created_us": (lambda value: is_whole(value, most=2**57), "microseconds since the epoch"),
    "name": (lambda value: isinstance(value, str), "text"),
    "metric": (_is_text, "a metric's name"),
    "mode": (lambda value: value in ("min", "max"), "min or max"),
    "trials": (lambda value: is_whole(value, least=1, most=MAX_TRIALS), f"a number from 1 to {MAX_TRIALS}"),
    "max_step": (lambda value: value is None or is_whole(value, least=1, most=2**53), "a step, or null"),
    "space": (lambda value: isinstance(value, dict), "an object"),
    "sampler": (lambda value: isinstance(value, dict), "an object"),
    "scheduler": (lambda value: isinstance(value, dict), "an object"),
    "stages": (lambda value: is_whole(value, least=1, most=MAX_TRIALS), "a number from 1 on"),
    "seed": (lambda value: type(value) is int and value >= 0, "a whole number of at least 0"),
    "retries": (lambda value: type(value) is int and value >= 0, "a whole number of at least 0"),
    "first": (lambda value: _is_list(value, dict), "a list of objects"),
    "knobs": (lambda value: value is None or _is_list(value, str), "a list of names, or null"),
    "schedule": (
        lambda value: isinstance(value, list) and all(map(_is_entry, value)),
        "a list of [step, changes]",
    ),
    "origin": (lambda value: value is None or _is_origin(value), "what trials begin from, or null"),
    "recheck": (lambda value: value is None or _is_recheck(value), "what is trained again, or null"),
    "resources": (_is_resources, "an object whose price_per_hour, if any, is above 0"),
    "time_budget_s": (lambda value: value is None or _is_amount(value), "a number above 0, or null"),
    "code": (lambda value: isinstance(value, dict) and _is_list([*value.values()], str), "an object of texts"),
}
"""What readers, and drivers that go on with it, use of it."""

_SHOWN = ("metric", "mode", "trials", "space")
"""Without these a sweep cannot be shown."""


_GONE_ON_WITH = (*_SHOWN, "max_step", "sampler", "scheduler", "seed", "retries", "first", "stop_on_nan")
"""Without these a sweep cannot be gone on with."""


def check_complete(declaration: Mapping[str, Any], folder: object, *, to_go_on: bool = False) -> None:
    """Raise `FolderError` where the declaration of the sweep in ``folder`` lacks what is needed to show it, or
    ``to_go_on`` with it."""
    for name in _GONE_ON_WITH if to_go_on else _SHOWN:
        if name not in declaration:
            raise FolderError(f"{folder}/sweep.json: damaged: {name} is missing")


def declared_mistake(declaration: Mapping[str, Any]) -> str | None:
    """What is wrong with what a declaration says, in a few words, or None."""
    from caviar.space import Space  # loads numpy, which those who only know the folder's names do not need

    for name, (is_good, allowed) in _FIELDS.items():
        if name in declaration and not is_good(declaration[name]):
            return f"{name} is {declaration[name]!r:.80}, not {allowed}"
    if "space" in declaration:
        try:
            Space.from_dict(declaration["space"])
        except ValueError as error:
            return f"space: {error!s:.300}"
    return None

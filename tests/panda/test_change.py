from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from caviar.errors import UsageError
from caviar.panda.change import Change


def test_an_empty_change_asks_for_nothing() -> None:
    assert not Change()
    assert not Change({}, reason="no")
    for change in (Change({"lr": 0.1}), Change(rollback_to=0), Change(pause=True), Change(stop=True)):
        assert change


def test_it_keeps_its_own_plain_values() -> None:
    given: dict[str, Any] = {"lr": np.float64(0.5), "layers": np.int64(3)}
    change = Change(given, np.int64(7))  # type: ignore[arg-type]
    given["lr"] = 9.0
    assert change == Change({"lr": 0.5, "layers": 3}, 7)
    assert [type(value) for value in change.set.values()] == [float, int]
    assert type(change.rollback_to) is int


def test_two_changes_at_once() -> None:
    both = Change({"lr": 0.1, "momentum": 0.9}, reason="one").and_also(Change({"lr": 0.2}, 5, pause=True))
    assert both == Change({"lr": 0.2, "momentum": 0.9}, 5, pause=True, reason="one")


def test_a_long_reason_is_cut_off() -> None:
    assert Change(reason="x" * 1000).reason == "x" * 1000
    assert Change(reason="x" * 1001).reason == "x" * 999 + "…"


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({"set": [1]}, "Change(set=[1]): needs a mapping from param to value"),
        ({"set": {1: 2}}, "Change(set={1: 2}): needs a mapping from param to value"),
        ({"rollback_to": -1}, "Change(rollback_to=-1): needs a whole number of at least 0"),
        ({"rollback_to": 1.0}, "Change(rollback_to=1.0): needs a whole number of at least 0"),
        ({"rollback_to": True}, "Change(rollback_to=True): needs a whole number of at least 0"),
        ({"pause": 1}, "Change(pause=1): needs True or False"),
        ({"stop": "yes"}, "Change(stop='yes'): needs True or False"),
        ({"reason": None}, "Change(reason=None): needs text"),
        ({"stop": True, "pause": True}, "Change(stop=True): a run that ends can be changed in no other way"),
        ({"stop": True, "rollback_to": 0}, "Change(stop=True): a run that ends can be changed in no other way"),
    ],
)
def test_a_wrong_argument_is_named(arguments: dict[str, Any], told: str) -> None:
    with pytest.raises(UsageError) as caught:
        Change(**arguments)
    assert str(caught.value) == told

from __future__ import annotations

from typing import Any

import pytest

from caviar import schedulers
from caviar.errors import UsageError
from caviar.schedulers import Asha, Hyperband, MedianStop, Patience, RunAll

WHOLE = "needs a whole number (int) of at least 1"
NUMBER = "needs a finite number of at least 0"
FACTOR = "needs a finite number above 1"


def test_missing_arguments_take_their_defaults() -> None:
    assert schedulers.from_dict({"name": "asha"}) == Asha()
    assert schedulers.from_dict({"name": "median_stop", "min_trials": 9}) == MedianStop(min_trials=9)


@pytest.mark.parametrize("data", [{"name": "pbt"}, {}, {"name": None}, {"name": ["asha"]}])
def test_an_unknown_name_lists_the_known(data: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="run_all, asha, hyperband, median_stop, patience"):
        schedulers.from_dict(data)


def test_a_missing_argument_is_named() -> None:
    with pytest.raises(UsageError, match="'patience' was given nothing; it takes patience, min_delta"):
        schedulers.from_dict({"name": "patience"})


def test_run_all_takes_nothing() -> None:
    with pytest.raises(UsageError, match="'run_all' was given grace_steps=1; it takes nothing"):
        schedulers.from_dict({"name": "run_all", "grace_steps": 1})
    assert RunAll() == RunAll()


@pytest.mark.parametrize(
    ("kind", "arguments", "given", "allowed"),
    [
        (Asha, {"grace_steps": 0}, "Asha(grace_steps=0)", WHOLE),
        (Asha, {"grace_steps": 2.0}, "Asha(grace_steps=2.0)", WHOLE),
        (Asha, {"grace_steps": True}, "Asha(grace_steps=True)", WHOLE),
        (Asha, {"reduction_factor": 1}, "Asha(reduction_factor=1)", FACTOR),
        (Asha, {"reduction_factor": "3"}, "Asha(reduction_factor='3')", FACTOR),
        (Asha, {"reduction_factor": float("inf")}, "Asha(reduction_factor=inf)", FACTOR),
        (Asha, {"reduction_factor": -(10**400)}, f"Asha(reduction_factor={-(10**400)})", FACTOR),
        (Asha, {"reduction_factor": float("nan")}, "Asha(reduction_factor=nan)", FACTOR),
        (Hyperband, {"grace_steps": -1}, "Hyperband(grace_steps=-1)", WHOLE),
        (Hyperband, {"reduction_factor": 0.5}, "Hyperband(reduction_factor=0.5)", FACTOR),
        (Hyperband, {"brackets": 0}, "Hyperband(brackets=0)", WHOLE),
        (MedianStop, {"every": 0}, "MedianStop(every=0)", WHOLE),
        (MedianStop, {"min_trials": 0}, "MedianStop(min_trials=0)", WHOLE),
        (MedianStop, {"grace_steps": None}, "MedianStop(grace_steps=None)", WHOLE),
        (Patience, {"patience": 0}, "Patience(patience=0)", WHOLE),
        (Patience, {"patience": 1, "min_delta": -0.1}, "Patience(min_delta=-0.1)", NUMBER),
        (Patience, {"patience": 1, "min_delta": float("nan")}, "Patience(min_delta=nan)", NUMBER),
        (Patience, {"patience": 1, "every": 1.5}, "Patience(every=1.5)", WHOLE),
    ],
)
def test_a_wrong_argument_is_named_with_its_value_and_what_is_allowed(
    kind: type, arguments: dict[str, Any], given: str, allowed: str
) -> None:
    with pytest.raises(UsageError) as caught:
        kind(**arguments)
    assert str(caught.value) == f"{given}: {allowed}"

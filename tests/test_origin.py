"""What a fork varies, and what it keeps."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

import caviar
from caviar.errors import UsageError
from caviar.origin import Origin, ahead, narrowed
from caviar.store.declaration import declared_mistake

SPACE = caviar.Space(
    lr=caviar.Float(1e-4, 1.0, scale="log"),
    optimizer=caviar.Choice(["sgd", "adam"]),
    beta=caviar.Float(0.9, 0.999, scale="one_minus_log", when={"optimizer": "adam"}),
    nesterov=caviar.Choice([True, False], when={"optimizer": "sgd"}),
    warmup=caviar.Int(1, 9, when={"optimizer": ["sgd", "adam"], "nesterov": True}),
    width=64,
)
ADAM = {"lr": 0.1, "optimizer": "adam", "beta": 0.95, "width": 64}
SGD = {"lr": 0.1, "optimizer": "sgd", "nesterov": True, "warmup": 4, "width": 64}


def draws(space: caviar.Space) -> list[dict[str, Any]]:
    rng = np.random.default_rng(0)
    return [space.sample(rng) for _ in range(40)]


def test_all_but_what_varies_is_as_it_was() -> None:
    found = draws(narrowed(SPACE, ADAM, vary=["lr"]))
    assert len({one["lr"] for one in found}) == 40
    assert all({**one, "lr": 0.1} == ADAM for one in found)
    assert all(1e-4 <= one["lr"] <= 1 for one in found)


def test_params_that_cannot_exist_are_gone_and_their_conditions_with_them() -> None:
    assert list(narrowed(SPACE, ADAM, vary=["lr"])) == ["lr", "optimizer", "beta", "width"]
    space = narrowed(SPACE, SGD, vary=["warmup"])
    assert list(space) == ["lr", "optimizer", "nesterov", "warmup", "width"]
    assert space["warmup"] == caviar.Int(1, 9)


def test_where_what_decides_varies_the_others_exist_as_it_has_them() -> None:
    found = draws(narrowed(SPACE, SGD, vary=["optimizer"]))
    by = {name: [one for one in found if one["optimizer"] == name] for name in ("sgd", "adam")}
    assert all(one == SGD for one in by["sgd"])
    assert all(set(one) == {"lr", "optimizer", "beta", "width"} for one in by["adam"])
    assert len({one["beta"] for one in by["adam"]}) > 5, "what it never had is sampled"
    assert all(one["lr"] == 0.1 for one in found)


def test_what_was_set_out_of_its_bounds_stays_so() -> None:
    params = {**ADAM, "beta": 0.5, "width": 128}
    assert all({**one, "lr": 0.1} == params for one in draws(narrowed(SPACE, params, vary=["lr"])))


@pytest.mark.parametrize(
    ("params", "vary", "told"),
    [
        (ADAM, ["rate"], "'rate' is unknown; this space has lr, optimizer"),
        (ADAM, ["width"], "'width' is a constant; lr, optimizer, beta, nesterov, warmup can vary"),
        (SGD, ["lr", "beta"], "'beta' does not exist where optimizer is 'sgd'"),
        ({**SGD, "nesterov": False}, ["warmup"], "'warmup' does not exist where optimizer is 'sgd', nesterov is"),
    ],
)
def test_what_cannot_vary_is_told(params: dict[str, Any], vary: list[str], told: str) -> None:
    with pytest.raises(UsageError, match=told):
        narrowed(SPACE, params, vary=vary)


def test_of_a_schedule_what_is_to_come_is_left_but_for_what_was_adjusted() -> None:
    schedule = [(5, {"lr": 0.5}), (11, {"lr": "*=0.5"}), (12, {"lr": "*=0.5", "beta": 0.9}), (20, {"width": 32})]
    assert ahead(schedule, [], step=10, space=SPACE) == {12: {"lr": "*=0.5", "beta": 0.9}, 20: {"width": 32}}
    assert ahead(schedule, [(7, {"lr": 0.2})], step=10, space=SPACE) == {12: {"beta": 0.9}, 20: {"width": 32}}
    assert ahead(schedule, [(11, {"lr": 0.2})], step=10, space=SPACE)[12] == {"lr": "*=0.5", "beta": 0.9}


def origin(**changes: Any) -> Origin:
    arguments: dict[str, Any] = {
        "path": "/runs/live",
        "created_us": 5,
        "trial": 0,
        "attempt": None,
        "step": 40,
        "params": ADAM,
        "seed": 7,
        "way": ((1, ADAM), (30, {"lr": 0.1})),
        "vary": ("lr",),
    }
    return Origin(**{**arguments, **changes})


def test_it_comes_back_from_sweep_json_as_it_was() -> None:
    told = json.loads(json.dumps(origin().to_dict()))
    assert declared_mistake({"origin": told}) is None
    assert Origin.from_dict(told) == origin()


@pytest.mark.parametrize(
    "change",
    [
        {"path": ""}, {"created_us": -1}, {"trial": 2**30}, {"attempt": -1}, {"step": 0}, {"step": "40"},
        {"params": {"lr": [1]}}, {"seed": -1}, {"way": [[0, {}]]}, {"way": {}}, {"vary": [5]}, {"more": 1},
    ],
)  # fmt: skip
def test_what_is_none_is_refused_where_it_is_read(change: dict[str, Any]) -> None:
    mistake = declared_mistake({"origin": {**origin().to_dict(), **change}})
    assert mistake is not None
    assert mistake.startswith("origin is ")
    assert declared_mistake({"origin": {"path": "x"}}) is not None


def test_a_later_step_than_its_own_has_to_be_left() -> None:
    origin().check_limit(None)
    origin().check_limit(41)
    with pytest.raises(UsageError, match="max_step=40: the checkpoint to begin from is of step 40"):
        origin().check_limit(40)


def test_it_can_be_gone_on_from_with_some_other_params() -> None:
    assert origin().but(SPACE, {}) == origin()
    assert origin(params={**ADAM, "lr": 5.0}).but(SPACE, {"lr": 5.0}).params["lr"] == 5.0, "as it was"
    assert origin().but(SPACE, {"lr": 1}).params == {**ADAM, "lr": 1.0}
    for wrong in ({"lr": 5.0}, {"rate": 1}, {"warmup": 3}):
        with pytest.raises(UsageError, match=next(iter(wrong))):
            origin().but(SPACE, wrong)

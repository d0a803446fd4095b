"""What all rules have in common."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from caviar.errors import UsageError
from caviar.panda.change import Change
from caviar.panda.live import Firing, Live
from caviar.panda.rules import EveryN, FunctionRule, OnNonFinite, OnPlateau, OnSpike, Rule


def asks(wanted: Mapping[str, Any] | Change | None, **arguments: Any) -> Rule:
    return FunctionRule(lambda live: wanted, **arguments)


def view(step: int = 1, **params: Any) -> Live:
    return Live.of([1.0] * step, params=params, bounds={"lr": (0.01, 1.0), "layers": (1, 8)})


def test_relative_values_become_absolute() -> None:
    change = asks({"lr": "*=0.5", "layers": "+=2", "optimizer": "sgd"}).judge(
        view(lr=0.1, layers=3, optimizer="adam")
    )
    assert change is not None
    assert change.set == {"lr": 0.05, "layers": 5, "optimizer": "sgd"}
    assert type(change.set["layers"]) is int


@pytest.mark.parametrize(
    ("now", "wanted", "becomes"),
    [(3, "*=0.5", 2), (5, "/=2", 2), (8, "*=2", None), (1, "*=0.5", None), (2, "*=1.2", None), (1, "*=9", 8)],
)
def test_whole_numbers_stay_whole(now: int, wanted: str, becomes: int | None) -> None:
    change = asks({"layers": wanted}).judge(view(layers=now))
    assert (change.set if change else None) == (None if becomes is None else {"layers": becomes})


@pytest.mark.parametrize(
    ("arguments", "now", "wanted", "becomes"),
    [
        ({}, 0.015, "*=0.5", 0.01),
        ({}, 0.01, "*=0.5", None),
        ({}, 0.9, "*=2", 1.0),
        # narrower than the space, and wider: the narrower counts
        ({"least": {"lr": 0.05}}, 0.06, "*=0.5", 0.05),
        ({"least": {"lr": 0.001}}, 0.015, "*=0.5", 0.01),
        ({"greatest": {"lr": 0.5}}, 0.4, "*=2", 0.5),
        ({"greatest": {"lr": 5.0}}, 0.9, "*=2", 1.0),
        # set beyond the bound by a person: not pulled back, and not pushed further
        ({"least": {"lr": 0.05}}, 0.02, "*=0.9", None),
        ({"least": {"lr": 0.05}}, 0.02, "*=3", 0.06),
        ({}, 4.0, "*=2", None),
        ({}, 4.0, "*=0.5", 2.0),
    ],
)
def test_how_far_it_pushes(arguments: dict[str, Any], now: float, wanted: str, becomes: float | None) -> None:
    change = asks({"lr": wanted}, **arguments).judge(view(lr=now))
    if becomes is None:
        assert change is None
    else:
        assert change is not None
        assert change.set == {"lr": pytest.approx(becomes)}


def test_what_is_so_already_is_left_out() -> None:
    assert asks({"lr": 0.1}).judge(view(lr=0.1)) is None
    change = asks({"lr": 0.1, "momentum": 0.8}).judge(view(lr=0.1, momentum=0.9))
    assert change is not None
    assert change.set == {"momentum": 0.8}


def test_with_a_rollback_it_is_kept_as_the_run_may_come_to_other_values() -> None:
    change = asks(Change({"lr": 0.1}, 0)).judge(view(lr=0.1))
    assert change is not None
    assert (change.set, change.rollback_to) == ({"lr": 0.1}, 0)


def test_where_nothing_can_be_pushed_it_does_not_roll_back() -> None:
    assert asks(Change({"lr": "*=0.5"}, 0)).judge(view(lr=0.01)) is None
    assert asks(Change({"lr": "*=0.5", "m": "*=0.5"}, 0)).judge(view(lr=0.01, m=1.0)) is not None
    paused = asks(Change({"lr": "*=0.5"}, pause=True)).judge(view(lr=0.01))
    assert paused is not None
    assert paused.pause


@pytest.mark.parametrize(
    ("wanted", "told"),
    [
        ({"lrr": 0.1}, "rule <lambda>: there is no param 'lrr'; there are lr, optimizer"),
        ({"lr": "*=x"}, "rule <lambda>: lr='*=x': needs a finite number after *="),
        ({"lr": "/=0"}, "rule <lambda>: lr='/=0': nothing can be divided by 0"),
        ({"lr": float("nan")}, "rule <lambda>: lr=nan: needs a finite number"),
        ({"lr": [1]}, "rule <lambda>: lr=[1]: needs a number or a word"),
        ({"optimizer": "*=2"}, "rule <lambda>: optimizer='*=2': optimizer is 'adam', no number"),
        (Change(rollback_to=3), "rule <lambda>: rollback_to=3 lies ahead of step 2"),
        (
            0.5,
            "rule <lambda>: it returned 0.5; what is wanted is a mapping from param to value, a Change, or None",
        ),
        ({1: 2}, "rule <lambda>: Change(set={1: 2}): needs a mapping from param to value"),
    ],
)
def test_nonsense_names_the_rule(wanted: Any, told: str) -> None:
    with pytest.raises(UsageError) as caught:
        asks(wanted).judge(view(2, lr=0.1, optimizer="adam"))
    assert str(caught.value) == told


def test_a_function_gives_the_rule_its_name_and_its_reason() -> None:
    def lower(live: Live) -> Mapping[str, Any]:
        return {"lr": "*=0.5"}

    rule = FunctionRule(lower)
    assert rule.name == "lower"
    change = rule.judge(view(lr=0.5))
    assert change is not None
    assert change.reason == "lower asked for it"
    with pytest.raises(UsageError, match="rule 3: needs a rule or a function"):
        FunctionRule(3)  # type: ignore[arg-type]


def fires(rule: Rule, reports: int, *, steps: list[int] | None = None) -> list[int]:
    firings: list[Firing] = []
    at = steps or list(range(1, reports + 1))
    for n in range(1, reports + 1):
        live = Live.of([1.0] * n, at[:n], params={"lr": 1.0 / 2 ** len(firings)}, firings=firings)
        if change := rule.judge(live):
            firings.append(Firing(rule.name, live.step, n, change))
    return [firing.step for firing in firings]


def test_when_it_looks_and_how_often() -> None:
    halve = {"lr": "*=0.5"}
    assert fires(asks(halve), 5) == [1, 2, 3, 4, 5]
    assert fires(asks(halve, every=3), 10) == [3, 6, 9]
    assert fires(asks(halve, every=3), 5, steps=[2, 4, 5, 11, 12]) == [4, 11, 12]
    assert fires(asks(halve, cooldown=2), 10) == [1, 4, 7, 10]
    assert fires(asks(halve, at_most=2), 10) == [1, 2]
    assert fires(asks(halve, least={"lr": 0.2}), 10) == [1, 2, 3]


def test_others_firings_do_not_silence_it() -> None:
    live = Live.of([1.0], params={"lr": 1.0}, firings=[Firing("another", 1, 1, Change({"lr": 2.0}))])
    assert asks({"lr": "*=0.5"}, cooldown=9, at_most=1).judge(live) is not None


def test_every_n_steps() -> None:
    assert fires(EveryN(3, scale={"lr": 0.5}), 10) == [3, 6, 9]
    assert fires(EveryN(10, scale={"lr": 0.5}), 5, steps=[7, 14, 19, 20, 41]) == [14, 20, 41]
    live = view(4, lr=0.1, momentum=0.5)
    change = EveryN(2, scale={"lr": 0.5}, set={"momentum": "+=0.25"}).judge(live)
    assert change == Change({"lr": 0.05, "momentum": 0.75}, reason="every 2 steps")
    assert EveryN(3, scale={"lr": 0.5}).judge(live) is None


def test_params_are_checked_before_the_run_begins() -> None:
    OnSpike().check({"lr": 0.1})
    EveryN(2, set={"optimizer": "sgd"}).check({"optimizer": "adam"})
    for rule, told in [
        (OnSpike(), "OnSpike: there is no param 'lr'; there are rate, optimizer"),
        (OnPlateau(scale={"optimizer": 2.0}), "OnPlateau: optimizer is 'adam', no number to scale"),
        (EveryN(2, set={"x": 1}), "EveryN: there is no param 'x'; there are rate, optimizer"),
        (
            OnNonFinite(scale={"rate": 0.1}, least={"lr": 1}),
            "OnNonFinite: there is no param 'lr'; there are rate, optimizer",
        ),
    ]:
        with pytest.raises(UsageError) as caught:
            rule.check({"rate": 0.1, "optimizer": "adam"})
        assert str(caught.value) == told


WHOLE = "needs a whole number (int) of at least 1"
MAPPING = "needs a mapping from param to value"
NUMBERS = "needs a mapping from param to finite numbers"
FACTORS = f"{NUMBERS} above 0"
ENDLESS = "going back without a change (scale={}) needs a limit"


@pytest.mark.parametrize(
    ("kind", "arguments", "given", "allowed"),
    [
        (OnSpike, {"factor": 1}, "OnSpike(factor=1)", "needs a finite number above 1"),
        (OnSpike, {"factor": float("inf")}, "OnSpike(factor=inf)", "needs a finite number above 1"),
        (OnSpike, {"patience": 0}, "OnSpike(patience=0)", WHOLE),
        (OnSpike, {"window": 7}, "OnSpike(window=7)", "needs a whole number (int) of at least 8"),
        (OnSpike, {"noise": -1}, "OnSpike(noise=-1)", "needs a finite number of at least 0"),
        (OnSpike, {"min_delta": True}, "OnSpike(min_delta=True)", "needs a finite number of at least 0"),
        (OnSpike, {"rollback": 1}, "OnSpike(rollback=1)", "needs True or False"),
        (OnSpike, {"scale": 0.5}, "OnSpike(scale=0.5)", MAPPING),
        (OnSpike, {"scale": {"lr": 0}}, "OnSpike(scale={'lr': 0})", FACTORS),
        (OnSpike, {"scale": {"lr": "x"}}, "OnSpike(scale={'lr': 'x'})", FACTORS),
        (OnSpike, {"least": {"lr": "x"}}, "OnSpike(least={'lr': 'x'})", NUMBERS),
        (OnSpike, {"greatest": [1]}, "OnSpike(greatest=[1])", MAPPING),
        (OnSpike, {"scale": {}, "at_most": None}, "OnSpike(at_most=None)", ENDLESS),
        (OnSpike, {"scale": {}, "rollback": False}, "OnSpike(scale={})", "there would be nothing that it does"),
        (OnPlateau, {"patience": 1.5}, "OnPlateau(patience=1.5)", WHOLE),
        (OnPlateau, {"scale": {}}, "OnPlateau(scale={})", "there would be nothing that it does"),
        (OnNonFinite, {"metric": 3}, "OnNonFinite(metric=3)", "needs the name of a metric, or None for all"),
        (OnPlateau, {"every": 0}, "OnPlateau(every=0)", WHOLE),
        (OnPlateau, {"cooldown": -1}, "OnPlateau(cooldown=-1)", "needs a whole number (int) of at least 0"),
        (OnPlateau, {"at_most": 0}, "OnPlateau(at_most=0)", WHOLE),
        (EveryN, {"n": 0, "scale": {"lr": 2}}, "EveryN(n=0)", WHOLE),
        (EveryN, {"n": 1}, "EveryN(scale={})", "needs params to scale or to set"),
        (EveryN, {"n": 1, "set": {"lr": 1}, "every": 2}, "EveryN(every=2)", "n=1 says when"),
        (EveryN, {"n": 1, "set": {"lr": 1}, "scale": {"lr": 2}}, "EveryN(set={'lr': 1})", "lr is scaled already"),
    ],
)  # fmt: skip
def test_a_wrong_argument_is_named_with_its_value_and_what_is_allowed(
    kind: type, arguments: dict[str, Any], given: str, allowed: str
) -> None:
    with pytest.raises(UsageError) as caught:
        kind(**arguments)
    assert str(caught.value) == f"{given}: {allowed}"


def test_rules_are_values() -> None:
    assert OnSpike(scale={"lr": 0.5}) == OnSpike()
    assert hash(OnSpike()) == hash(OnSpike())
    assert OnSpike(2.0) != OnSpike()
    given = {"lr": 0.5}
    rule = OnSpike(scale=given)
    given["lr"] = 0.1
    assert rule.scale == {"lr": 0.5}

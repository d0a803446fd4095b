from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from caviar import rules
from caviar.errors import UsageError
from caviar.panda.live import Live
from caviar.panda.rules import Cosine, EveryN, FunctionRule, OnNonFinite, OnPlateau, OnSpike, Steps, Warmup


def lower(live: Live) -> Mapping[str, Any]:
    return {"lr": "*=0.5"}


FUNCTIONS = {"lower": lower}

DECLARED: list[Any] = [
    OnSpike(),
    OnSpike(2.0, 3, False, scale={"lr": 0.1, "momentum": 0.9}, window=9, every=2, least={"lr": 1e-5}),
    OnPlateau(4, 0.5, at_most=3, cooldown=2, greatest={"lr": 1.0}),
    OnNonFinite(metric="norm"),
    EveryN(5, set={"optimizer": "sgd", "lr": "+=1"}),
    Steps({30: 0.1, 60: {"momentum": 0.5}}),
    Warmup(5, start=0.01, peak=0.5),
    Cosine(0.001, begin=6),
    FunctionRule(lower, every=3, at_most=2),
]


@pytest.mark.parametrize("declared", DECLARED, ids=lambda each: each.name)
def test_through_json_and_back(declared: Any) -> None:
    data = json.loads(json.dumps(declared.to_dict()))
    assert rules.from_dict(data, FUNCTIONS) == declared


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("OnSpike", OnSpike()),
        ("OnSpike()", OnSpike()),
        (" OnSpike( factor=2, scale={'lr': 0.5} ) ", OnSpike(2)),
        ("OnSpike(2, 3)", OnSpike(2, 3)),
        ("OnPlateau(patience=4, least={'lr': 1e-5})", OnPlateau(4, least={"lr": 1e-5})),
        ("EveryN(5, scale={'lr': 0.9})", EveryN(5, scale={"lr": 0.9})),
        ("Steps({30: 0.1, 60: '*=0.1'})", Steps({30: 0.1, 60: "*=0.1"})),
        ("Cosine(low=-1)", Cosine(-1)),
        ("lower", FunctionRule(lower)),
        ("lower(every=5)", FunctionRule(lower, every=5)),
    ],
)
def test_as_one_writes_it(text: str, expected: Any) -> None:
    assert rules.parse(text, FUNCTIONS) == expected


WRITE = "write it as in OnSpike(factor=1.5, scale={'lr': 0.5}), or the name of a function"
KINDS = "OnSpike, OnPlateau, OnNonFinite, EveryN, Steps, Warmup, Cosine"
KNOWN = f"{KINDS}; functions that may be rules: lower"
GONE = "is a function that is not there; functions that may be rules: lower"
LITERALS = "its arguments must be numbers, words, lists and mappings"
ALL = "every, cooldown, at_most, least, greatest"
TAKES = f"it takes {ALL}"
EXTRA = "got an unexpected keyword argument 'x'"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", f"rule '': invalid syntax; {WRITE}"),
        ("OnSpike(", f"rule 'OnSpike(': '(' was never closed; {WRITE}"),
        ("rules.OnSpike()", f"rule 'rules.OnSpike()': {WRITE}"),
        ("OnSpike()()", f"rule 'OnSpike()()': {WRITE}"),
        ("3", f"rule '3': {WRITE}"),
        ("OnSpyke()", f"rule 'OnSpyke' is not known; there are {KNOWN}"),
        ("OnSpike(factor=x)", f"rule 'OnSpike(factor=x)': {LITERALS}"),
        ("OnSpike(*[2])", f"rule 'OnSpike(*[2])': {LITERALS}"),
        ("OnSpike(**{})", f"rule 'OnSpike(**{{}})': {LITERALS}"),
        ("OnSpike(factor=open('x'))", f"rule \"OnSpike(factor=open('x'))\": {LITERALS}"),
        ("EveryN", f"rule EveryN: missing a required argument: 'n'; it takes n, {ALL}, scale, set"),
        ("lower(3)", f"rule lower: too many positional arguments; {TAKES}"),
        ("lower(function=3)", f"rule lower: multiple values for argument 'function'; {TAKES}"),
        ("OnSpike(factor=1j)", "OnSpike(factor=1j): needs a finite number above 1"),
        ("OnSpike(factor=0.5)", "OnSpike(factor=0.5): needs a finite number above 1"),
    ],
)  # fmt: skip
def test_a_mistake_is_one_line(text: str, told: str) -> None:
    with pytest.raises(UsageError) as caught:
        rules.parse(text, FUNCTIONS)
    assert str(caught.value) == told


@pytest.mark.parametrize("text", ["OnSpike(" + "(" * 500 + ")" * 500 + ")", "-" * 9000 + "1", "x" * 20_000, "\0"])
def test_what_no_parser_likes_is_a_mistake_like_others(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        rules.parse(text)
    assert len(str(caught.value)) < 300


@given(st.text(max_size=60) | st.text("OnSpike(){}[]'\"=,.:*1eE-x \n", max_size=40).map("OnSpike({}".format))
def test_any_text_is_a_rule_or_a_mistake(text: str) -> None:
    told = ""
    try:
        found = rules.parse(text, FUNCTIONS)
    except UsageError as error:
        told = str(error)
    else:
        assert isinstance(found, rules.Rule | rules.Schedule)
    assert "\n" not in told


@pytest.mark.parametrize(
    ("data", "told"),
    [
        ({"name": "OnSpyke"}, f"rule 'OnSpyke' is not known; there are {KINDS}"),
        ({}, f"rule None is not known; there are {KINDS}"),
        ({"name": "EveryN"}, f"rule 'EveryN' was given nothing; it takes n, {ALL}, scale, set"),
        ({"name": "OnSpike", "factor": "2"}, "OnSpike(factor='2'): needs a finite number above 1"),
        ({"name": "FunctionRule", "function": "gone"}, f"rule 'gone' {GONE}"),
        ({"name": "FunctionRule"}, f"rule None {GONE}"),
        ({"name": "FunctionRule", "function": ["lower"]}, f"rule ['lower'] {GONE}"),
        ({"name": "FunctionRule", "function": "lower", "x": 1}, f"rule lower: {EXTRA}; {TAKES}"),
        (7, "rule 7 is no object with a name and arguments"),
    ],
)  # fmt: skip
def test_json_that_is_no_rule(data: Any, told: str) -> None:
    with pytest.raises(UsageError) as caught:
        rules.from_dict(data, FUNCTIONS)
    assert str(caught.value) == told

"""Changing params: what is refused and why, and which params any step is trained with."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from caviar.adjusting import (
    Timeline,
    check_knobs,
    check_schedule,
    computed,
    default_knobs,
    effective,
    is_change,
    merged,
    resolve,
    shown,
    told,
    with_adjustment,
)
from caviar.errors import UsageError
from caviar.messages import LAST_STEP
from caviar.space import Choice, Float, Int, Space

SPACE = Space(
    lr=Float(1e-4, 1.0, scale="log"),
    hidden=Int(1, 64),
    batch=Choice([32, 64, 128]),
    kind=Choice(["sgd", "adam"]),
    beta=Float(0.9, 0.999, scale="one_minus_log", when={"kind": "adam"}),
    loss=Choice(["l1", "l2", None]),
    decay=0.01,
    epochs=3,
    note="a word",
    flag=True,
)
KNOBS = ("lr", "hidden", "batch", "beta", "loss", "decay", "epochs", "note", "flag")
ADAM: dict[str, Any] = SPACE.check(
    {"lr": 0.1, "hidden": 9, "batch": 64, "kind": "adam", "beta": 0.95, "loss": "l1"}
)
SGD = {name: value for name, value in ADAM.items() if name != "beta"} | {"kind": "sgd"}


# --- which may change ------------------------------------------------------------------------------------


def test_by_default_every_number_may_change_that_decides_nothing() -> None:
    assert default_knobs(SPACE) == ("lr", "hidden", "batch", "beta")
    deciding = Space(layers=Int(1, 3), width=Int(1, 9, when={"layers": [2, 3]}))
    assert default_knobs(deciding) == ("width",)


@pytest.mark.parametrize(
    ("knobs", "text"),
    [
        (["lrr"], "knobs: 'lrr' is unknown; this space has lr, hidden"),
        (["lr", "kind"], "knobs: 'kind' decides which other params exist, so it cannot change"),
        ([5], "knobs: 5 is unknown"),
    ],
)
def test_what_cannot_be_a_knob(knobs: list[Any], text: str) -> None:
    with pytest.raises(UsageError, match=text):
        check_knobs(SPACE, knobs)
    check_knobs(SPACE, KNOBS)


# --- what is set -----------------------------------------------------------------------------------------


def set_to(wanted: Mapping[str, Any], *, current: Mapping[str, Any] = ADAM, force: bool = False) -> dict[str, Any]:
    return resolve(SPACE, KNOBS, current, wanted=wanted, force=force)


@pytest.mark.parametrize(
    ("wanted", "value"),
    [
        ({"lr": 0.2}, 0.2),
        ({"lr": 1}, 1.0),
        ({"lr": "*=0.5"}, 0.05),
        ({"lr": "/=10"}, 0.01),
        ({"lr": "+=0.4"}, 0.5),
        ({"lr": "-=0.05"}, 0.05),
        ({"lr": "*= 5e-1 "}, 0.05),
        ({"hidden": 12.0}, 12),
        ({"hidden": "*=0.5"}, 4),
        ({"hidden": "+=3.4"}, 12),
        ({"batch": "*=2"}, 128),
        ({"batch": 32.0}, 32),
        ({"loss": "l2"}, "l2"),
        ({"loss": None}, None),
        ({"decay": 0}, 0),
        ({"decay": "*=0.5"}, 0.005),
        ({"epochs": 2.5}, 2.5),
        ({"epochs": "*=2"}, 6),
        ({"note": "other words"}, "other words"),
        ({"flag": False}, False),
    ],
)
def test_what_may_be_set(wanted: Mapping[str, Any], value: Any) -> None:
    [(name, found)] = set_to(wanted).items()
    assert found == pytest.approx(value) if type(value) is float else found == value
    assert type(found) is type(value)
    assert name in wanted


def test_several_are_set_in_the_order_given() -> None:
    assert list(set_to({"hidden": 3, "lr": 0.5}).items()) == [("hidden", 3), ("lr", 0.5)]


REFUSED: list[tuple[Mapping[str, Any], str]] = [
    ({}, "nothing to set; say what, as in lr=0.01"),
    (
        {"lrr": 1},
        "lrr is unknown; this space has lr, hidden, batch, kind, beta, loss, decay, epochs, note, flag",
    ),
    ({"": 1}, "'' is unknown; this space has "),
    ({"l\nr": 1}, r"'l\nr' is unknown; this space has "),
    ({"lr" * 999: 1}, "'lrlrlr"),
    ({"kind": "sgd"}, "kind is no knob, so it cannot change while it trains; knobs: lr, hidden, "),
    ({"lr": "abc"}, "lr='abc': needs a finite number"),
    ({"lr": ""}, "lr='': needs a finite number"),
    ({"lr": True}, "lr=True: needs a finite number"),
    ({"lr": None}, "lr=None: needs a finite number"),
    ({"lr": [0.1]}, "lr=[0.1]: needs a number or a word"),
    ({"lr": {"*": 2}}, "lr={'*': 2}: needs a number or a word"),
    ({"lr": math.nan}, "lr=nan: needs a finite number"),
    ({"lr": math.inf}, "lr=inf: needs a finite number"),
    ({"lr": 10**400}, "lr=10000000"),
    ({"lr": "*=nan"}, "lr='*=nan': needs a finite number after *="),
    ({"lr": "*=inf"}, "lr='*=inf': needs a finite number after *="),
    ({"lr": "*="}, "lr='*=': needs a finite number after *="),
    ({"lr": "*=x\ny"}, r"lr='*=x\ny': needs a finite number after *="),
    ({"lr": "*=" + "9" * 999}, "lr='*=999"),
    ({"lr": "/=0"}, "lr='/=0': nothing can be divided by 0"),
    ({"lr": "/=1e-320"}, "lr='/=1e-320': needs a finite number"),
    ({"lr": 5}, "lr=5 lies outside its bounds, 0.0001 to 1 (--force, in Python force=True, sets it all the same)"),
    ({"lr": -1e999}, "lr=-inf: needs a finite number"),
    ({"lr": "*=11"}, "lr=1.1 lies outside its bounds, 0.0001 to 1"),
    ({"hidden": 1.5}, "hidden=1.5: needs a whole number"),
    ({"hidden": 0}, "hidden=0 lies outside its bounds, 1 to 64"),
    ({"hidden": 10**17}, f"hidden={10**17}: is too large"),
    ({"hidden": "*=1e300"}, "hidden='*=1e300': is too large"),
    ({"batch": 33}, "param 'batch': 33 is not allowed, only 32 or 64 or 128"),
    ({"batch": "*=4"}, "param 'batch': 256 is not allowed"),
    ({"batch": True}, "param 'batch': True is not allowed"),
    ({"loss": "l3"}, "param 'loss': 'l3' is not allowed, only 'l1' or 'l2' or None"),
    ({"loss": "*=2"}, "loss='*=2': loss is 'l1', no number"),
    ({"decay": "much"}, "decay='much': needs a finite number"),
    ({"decay": math.nan}, "decay=nan: needs a finite number"),
    ({"note": 5}, "note=5: needs a str, as 'a word' is"),
    ({"note": "*=2"}, "note='*=2': note is 'a word', no number"),
    ({"flag": 1}, "flag=1: needs a bool, as True is"),
    ({"flag": "*=2"}, "flag='*=2': flag is True, no number"),
]


@pytest.mark.parametrize(("wanted", "text"), REFUSED)
def test_what_is_refused_is_told_in_one_line(wanted: Mapping[str, Any], text: str) -> None:
    with pytest.raises(UsageError) as caught:
        set_to(wanted)
    assert str(caught.value).startswith(text)
    assert len(str(caught.value)) < 250
    assert str(caught.value).isprintable()


def test_what_does_not_exist_in_the_trial() -> None:
    with pytest.raises(UsageError, match=r"beta does not exist in this trial \(when=\{'kind': 'adam'\}\)"):
        set_to({"beta": 0.95}, current=SGD)


def test_a_constant_is_no_knob_unless_it_was_made_one() -> None:
    with pytest.raises(UsageError, match="decay is a constant, so it cannot change while it trains; knobs: lr"):
        resolve(SPACE, ("lr",), ADAM, wanted={"decay": 0.1})
    with pytest.raises(UsageError, match=r"lr is no knob, .*; knobs: none"):
        resolve(SPACE, (), ADAM, wanted={"lr": 0.1})


def test_one_mistake_among_several_sets_nothing() -> None:
    with pytest.raises(UsageError, match="hidden"):
        set_to({"lr": 0.2, "hidden": 99})


@pytest.mark.parametrize("wanted", [{"lr": 5}, {"lr": -2.5}, {"lr": "*=100"}, {"hidden": 999}])
def test_force_sets_what_lies_beyond_the_bounds(wanted: Mapping[str, Any]) -> None:
    assert set_to(wanted, force=True)


@pytest.mark.parametrize(
    "wanted", [{"lr": math.inf}, {"hidden": 1.5}, {"hidden": 10**17}, {"batch": 33}, {"kind": "sgd"}, {"lrr": 1}]
)
def test_force_is_for_bounds_alone(wanted: Mapping[str, Any]) -> None:
    with pytest.raises(UsageError):
        set_to(wanted, force=True)


scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.integers(-(10**400), 10**400),
    st.floats(),
    st.text(max_size=9),
    st.builds(
        "{}{}".format, st.sampled_from(["*=", "/=", "+=", "-="]), st.one_of(st.floats(), st.text(max_size=3))
    ),
    st.lists(st.integers(), max_size=1),
)


@given(name=st.sampled_from([*SPACE]), value=scalars, force=st.booleans())
def test_whatever_is_set_fits_its_param_or_is_refused(name: str, value: Any, force: bool) -> None:
    refusal, found = "", None
    try:
        [(_, found)] = set_to({name: value}, force=force).items()
    except UsageError as error:
        refusal = str(error)
    if refusal:
        assert len(refusal) < 250
        return
    assert found is None or isinstance(found, str | bool) or math.isfinite(found)
    if name in ("lr", "beta", "hidden"):
        parameter: Any = SPACE[name]
        assert type(found) is type(parameter.low)
        assert force or parameter.low <= found <= parameter.high
    if name in ("batch", "loss"):
        assert any(found is own for own in SPACE[name].values)  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("before", "given", "value"),
    [(3, "*=0.5", 2), (3, "*=1e308", math.inf), (2.0, "*=1e308", math.inf), (0, "/=3", 0)],
)
def test_a_whole_number_stays_whole_and_nothing_overflows(before: float, given: str, value: float) -> None:
    found = computed("x", before, given)
    assert found == value
    assert type(found) is type(before) or found == math.inf


# --- a schedule ------------------------------------------------------------------------------------------


def test_a_schedule_is_put_in_order_and_its_values_in_their_types() -> None:
    schedule = {30: {"lr": 1, "hidden": 4.0}, 7: {"lr": "*=0.5", "batch": 32.0, "kind": "sgd"}}
    del schedule[7]["kind"]
    assert repr(check_schedule(SPACE, schedule)) == repr(
        ((7, {"lr": "*=0.5", "batch": 32}), (30, {"lr": 1.0, "hidden": 4}))
    )
    assert check_schedule(SPACE, {}) == ()


@pytest.mark.parametrize(
    ("schedule", "text"),
    [
        (None, r"Sweep\(schedule=None\): needs a mapping from step to params"),
        ([(1, {})], "needs a mapping from step"),
        ({0: {}}, "schedule: step 0 is no whole number from 1 on"),
        ({True: {}}, "schedule: step True is no whole number"),
        ({"7": {}}, "schedule: step '7' is no whole number"),
        ({LAST_STEP + 1: {}}, "is no whole number from 1 on"),
        ({7: 0.1}, "schedule: step 7: 0.1 is no mapping from param to value"),
        ({7: {"lrr": 1}}, "schedule: step 7: 'lrr' is unknown; this space has lr"),
        ({7: {"kind": "sgd"}}, "schedule: step 7: 'kind' decides which other params exist"),
        ({7: {"lr": "x"}}, "schedule: step 7: lr='x': needs a finite number"),
        ({7: {"lr": math.nan}}, "schedule: step 7: lr=nan: needs a finite number"),
        ({7: {"lr": [1]}}, r"schedule: step 7: lr=\[1\]: needs a number or a word"),
        ({7: {"lr": "*=x"}}, r"schedule: step 7: lr='\*=x': needs a finite number after \*="),
        ({7: {"hidden": 1.5}}, "schedule: step 7: hidden=1.5: needs a whole number"),
        ({7: {"batch": 33}}, "schedule: step 7: param 'batch': 33 is not allowed"),
        ({7: {"loss": "*=2"}}, r"schedule: step 7: loss='\*=2': loss is None, no number"),
        ({7: {"note": 5}}, "schedule: step 7: note=5: needs a str"),
        ({1: {"lr": "*=1e300"}, 2: {"lr": "*=1e300"}}, r"schedule: step 2: lr='\*=1e300': comes to what is no"),
        ({2: {"lr": "*=1e300"}, 1: {"lr": 1e300}}, "schedule: step 2: .* comes to what is no finite number"),
    ],
)
def test_what_is_no_schedule(schedule: Any, text: str) -> None:
    with pytest.raises(UsageError, match=text):
        check_schedule(SPACE, schedule)


def test_a_schedule_may_lead_beyond_the_bounds() -> None:
    assert check_schedule(SPACE, {5: {"lr": 50.0}, 6: {"lr": "*=1e300"}, 7: {"lr": 0.1}})


def test_of_two_schedules_the_later_one_holds() -> None:
    assert merged({1: {"lr": 0.1, "hidden": 3}}, {1: {"lr": 0.2}, 2: {"lr": 0.3}}) == {
        1: {"lr": 0.2, "hidden": 3},
        2: {"lr": 0.3},
    }


@pytest.mark.parametrize(
    ("value", "good"),
    [
        (0.1, True),
        ("word", True),
        (None, True),
        (True, True),
        ("*=0.5", True),
        (10**400, False),
        (math.nan, False),
        ("*=x", False),
        ("/=0", False),
        ([1], False),
        ({}, False),
    ],
)
def test_what_a_strangers_timeline_may_have(value: Any, good: bool) -> None:
    assert is_change(value) is good


# --- which params a step is trained with -----------------------------------------------------------------

BEGINNING = {"lr": 1.0, "hidden": 9, "kind": "sgd"}


def at(step: int, schedule: Timeline = (), adjustments: Timeline = ()) -> Mapping[str, Any]:
    return effective(BEGINNING, schedule, adjustments, step=step)[0]


def test_relative_values_of_a_schedule_build_on_each_other() -> None:
    schedule = [
        (3, {"lr": "*=0.5"}),
        (5, {"lr": "*=0.5", "hidden": "*=0.5"}),
        (7, {"lr": 0.3}),
        (9, {"lr": "+=1"}),
    ]
    assert [at(step, schedule)["lr"] for step in (1, 2, 3, 4, 5, 7, 9, 99)] == [
        1,
        1,
        0.5,
        0.5,
        0.25,
        0.3,
        1.3,
        1.3,
    ]
    assert at(5, schedule)["hidden"] == 4


def test_a_param_that_was_adjusted_has_left_the_schedule() -> None:
    schedule = [(3, {"lr": "*=0.5", "hidden": 3}), (5, {"lr": "*=0.5", "hidden": 5})]
    adjustments = [(4, {"lr": 0.9})]
    assert [at(step, schedule, adjustments)["lr"] for step in (3, 4, 5, 99)] == [0.5, 0.9, 0.9, 0.9]
    assert [at(step, schedule, adjustments)["hidden"] for step in (3, 4, 5)] == [3, 3, 5]


def test_an_adjustment_at_a_step_of_the_schedule_holds() -> None:
    assert at(3, [(3, {"lr": 0.5})], [(3, {"lr": 0.7})])["lr"] == 0.7


def test_what_does_not_exist_in_a_trial_or_is_no_number_there_is_passed_over() -> None:
    schedule = [(2, {"beta": 0.9, "kind": "*=2", "lr": 0.5})]
    assert effective(BEGINNING, schedule, (), step=1) == (BEGINNING, [(2, {"lr": 0.5})])


def test_what_comes_later_is_absolute_and_in_order() -> None:
    schedule = [(2, {"lr": "*=0.5"}), (4, {"lr": "*=0.5"}), (6, {"hidden": 3})]
    adjustments = [(6, {"lr": 0.1}), (8, {"lr": 0.2})]
    here, later = effective(BEGINNING, schedule, adjustments, step=2)
    assert here["lr"] == 0.5
    assert later == [(4, {"lr": 0.25}), (6, {"hidden": 3, "lr": 0.1}), (8, {"lr": 0.2})]


names = st.sampled_from(["lr", "hidden", "momentum"])
steps = st.integers(1, 12)
schedules = st.dictionaries(
    steps,
    st.dictionaries(names, st.one_of(st.sampled_from([0.5, 2.0]), st.sampled_from(["*=0.5", "+=1"])), max_size=2),
    max_size=5,
).map(lambda found: sorted(found.items()))
adjusted = st.lists(st.tuples(steps, st.dictionaries(names, st.sampled_from([3.0, 4.0]), min_size=1)), max_size=5)
PARAMS = {"lr": 1.0, "momentum": 0.5, "hidden": 9}


def walked(schedule: Timeline, orders: list[tuple[int, Mapping[str, Any]]], steps: int) -> list[dict[str, Any]]:
    """What a trial trains with that walks from step to step, and takes orders as they come."""
    values: dict[str, Any] = dict(PARAMS)
    free = set(values)
    walk = []
    for step in range(1, steps + 1):
        for at, changes in schedule:
            if at == step:
                values |= {
                    name: computed(name, values[name], new) for name, new in changes.items() if name in free
                }
        for at, changes in orders:
            if at == step:
                values |= changes
                free -= changes.keys()
        walk.append(dict(values))
    return walk


@given(schedule=schedules, orders=adjusted.map(lambda found: sorted(found, key=lambda one: one[0])))
def test_every_step_is_trained_with_what_a_walk_comes_to(schedule: Timeline, orders: list[Any]) -> None:
    adjustments: list[tuple[int, Mapping[str, Any]]] = []
    for step, changes in orders:
        adjustments = with_adjustment(adjustments, step, changes)
    walk = walked(schedule, orders, 13)
    for step, expected in enumerate(walk, start=1):
        here, later = effective(PARAMS, schedule, adjustments, step=step)
        assert here == expected
        for ahead, further in enumerate(walk[step:], start=step + 1):  # what is to come leads there too
            there = dict(here)
            for at, changes in later:
                there |= changes if at <= ahead else {}
            assert there == further
        assert [at for at, _ in later] == sorted({at for at, _ in later})
        assert all(at > step and changes for at, changes in later)


@given(before=adjusted, step=steps, changes=st.dictionaries(names, st.just(7.0), min_size=1), later=steps)
def test_one_more_adjustment_holds_from_its_step_on_and_changes_nothing_before(
    before: list[Any], step: int, changes: Mapping[str, Any], later: int
) -> None:
    adjustments: list[tuple[int, Mapping[str, Any]]] = []
    for at, each in before:
        adjustments = with_adjustment(adjustments, at, each)
    after = with_adjustment(adjustments, step, changes)
    assert [at for at, _ in after] == sorted(at for at, _ in after)
    old, new = (effective(PARAMS, (), each, step=later)[0] for each in (adjustments, after))
    for name in PARAMS:
        assert new[name] == (changes[name] if name in changes and later >= step else old[name])


# --- in words ----------------------------------------------------------------------------------------------


def test_changes_in_words() -> None:
    assert (
        told({"lr": 0.123456789, "hidden": 3}, {"lr": 1e-9, "hidden": 4}) == "lr 0.123457 -> 1e-09, hidden 3 -> 4"
    )
    assert (
        told({"loss": None, "note": "a"}, {"loss": "l1", "note": "a\nb"}) == r"loss None -> l1, note a -> 'a\nb'"
    )


@pytest.mark.parametrize("value", ["x" * 999, "a\nb", "\x1b[0m", 10**300, 1e-300, None, True])
def test_a_value_is_shown_in_a_few_characters_of_one_line(value: Any) -> None:
    assert len(shown(value)) <= 60
    assert shown(value).isprintable()

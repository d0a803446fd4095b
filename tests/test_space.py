"""Spaces: the maps to the unit cube and back, JSON, conditions, checks, and the mistakes they refuse."""

from __future__ import annotations

import copy
import json
import math
import pickle
from dataclasses import FrozenInstanceError
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from caviar.errors import SpaceError
from caviar.space import Choice, Constant, Float, Int, Space

SPACE = Space(
    lr=Float(1e-4, 1.0, scale="log"),
    epsilon=1e-8,
    beta2=Float(0.9, 0.9999, scale="one_minus_log", when={"optimizer": "adam"}),  # declared before its parent
    optimizer=Choice(["sgd", "adam"], weights=[1, 3]),
    hidden=Int(16, 256, scale="log"),
)
CHAIN = Space(
    a=Choice(["on", "off"]),
    b=Int(1, 4, when={"a": "on"}),
    c=Float(0, 1, when={"b": [3, 4]}),
)


few = settings(max_examples=40, deadline=None, derandomize=True)


# --- random spaces -----------------------------------------------------------------------------------------

finite = st.floats(allow_nan=False, allow_infinity=False)
scalars = st.none() | st.booleans() | st.integers() | finite | st.text(max_size=8)
names = st.from_regex(r"[a-z_][a-z0-9_]{0,5}([.\-/][a-z0-9]{1,3})?", fullmatch=True)


@st.composite
def ranges(draw: st.DrawFn, when: dict[str, Any] | None) -> Float | Int:
    scale = draw(st.sampled_from(["linear", "log", "one_minus_log"]))
    if scale != "one_minus_log" and draw(st.booleans()):
        low = draw(st.integers(1 if scale == "log" else -(2**40), 2**40 - 1))
        return Int(low, draw(st.integers(low + 1, 2**40)), scale=scale, when=when)
    least, most = {"linear": (-1e100, 1e100), "log": (1e-300, 1e300), "one_minus_log": (1e-9, 1 - 1e-9)}[scale]
    low = draw(st.floats(least, most))
    high = draw(st.floats(least, most).filter(lambda value: abs(value - low) > 1e-6 * max(abs(value), abs(low))))
    if scale == "one_minus_log" and abs(math.log1p(-low) - math.log1p(-high)) < 1e-6:
        high = 1 - (1 - low) / 2
    return Float(min(low, high), max(low, high), scale=scale, when=when)


@st.composite
def choices(draw: st.DrawFn, when: dict[str, Any] | None) -> Choice:
    values = draw(st.lists(scalars, min_size=1, max_size=5, unique=True))
    weights = draw(st.none() | st.lists(st.floats(0.01, 100), min_size=len(values), max_size=len(values)))
    return Choice(values, weights, when=when)


@st.composite
def spaces(draw: st.DrawFn) -> Space:
    params: dict[str, Any] = {}
    for name in draw(st.lists(names, max_size=6, unique=True)):
        parents = [each for each, parent in params.items() if isinstance(parent, Choice)]
        when = None
        if parents and draw(st.booleans()):
            parent = draw(st.sampled_from(parents))
            when = {parent: draw(st.lists(st.sampled_from(params[parent].values), min_size=1, unique=True))}
        params[name] = draw(ranges(when) | choices(when) | scalars.map(Constant))
    return Space(params)


def unit_points(space: Space) -> st.SearchStrategy[list[float]]:
    return st.lists(st.floats(0, 1), min_size=len(space.varying), max_size=len(space.varying))


@few
@given(spaces(), st.data())
def test_to_unit_and_from_unit_are_inverse(space: Space, data: st.DataObject) -> None:
    params = space.from_unit(data.draw(unit_points(space)))
    vector = space.to_unit(params)
    assert vector.shape == (len(space.varying),)
    assert {name for name, unit in zip(space.varying, vector, strict=True) if not math.isnan(unit)} == (
        params.keys() & set(space.varying)
    )
    again = space.from_unit(vector)
    assert list(again) == list(params)
    for name, value in params.items():
        if isinstance(space[name], Float):
            parameter = space[name]
            assert isinstance(parameter, Float)
            assert parameter.low <= value <= parameter.high
            assert parameter.to_unit(again[name]) == pytest.approx(parameter.to_unit(value), abs=1e-6)
        else:
            assert again[name] == value
            assert type(again[name]) is type(value)


@few
@given(spaces(), st.data())
def test_sampled_params_check(space: Space, data: st.DataObject) -> None:
    params = space.from_unit(data.draw(unit_points(space)))
    assert space.check(params) == params
    assert space.check(json.loads(json.dumps(params))) == params
    assert [name for name in space if name in params] == list(params)


@few
@given(spaces())
def test_json_round_trip_is_exact(space: Space) -> None:
    text = json.dumps(space.to_dict(), allow_nan=False)
    again = Space.from_dict(json.loads(text))
    assert again == space
    assert hash(again) == hash(space)
    assert json.dumps(again.to_dict()) == text
    assert again.from_unit([0.37] * len(space.varying)) == space.from_unit([0.37] * len(space.varying))


@few
@given(spaces())
def test_copies_and_repr_say_the_same(space: Space) -> None:
    assert pickle.loads(pickle.dumps(space)) == space
    assert copy.deepcopy(space) == space
    known = {"Space": Space, "Float": Float, "Int": Int, "Choice": Choice}
    assert eval(repr(space), known) == space


@few
@given(spaces(), st.data())
def test_a_part_of_params_completes(space: Space, data: st.DataObject) -> None:
    params = space.from_unit(data.draw(unit_points(space)))
    part = {name: params[name] for name in params if data.draw(st.booleans())}
    space.check_partial(part)
    complete = space.complete(part, np.random.SeedSequence(data.draw(st.integers(0, 2**32))))
    assert space.check(complete) == complete
    assert {name: complete[name] for name in part} == part


# --- scales ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("parameter", "middle"),
    [
        (Float(-2, 6), 2.0),
        (Float(1e-4, 1.0, scale="log"), 1e-2),
        (Float(0.9, 0.999, scale="one_minus_log"), 0.99),
        (Float(1 - 2**-1, 1 - 2**-39, scale="one_minus_log"), 1 - 2**-20),
    ],
)
def test_ends_are_exact_and_the_middle_is_the_scale_s(parameter: Float, middle: float) -> None:
    assert (parameter.from_unit(0.0), parameter.from_unit(1.0)) == (parameter.low, parameter.high)
    assert parameter.from_unit(0.5) == pytest.approx(middle, rel=1e-12)
    assert parameter.to_unit(middle) == pytest.approx(0.5, abs=1e-9)


def test_one_minus_log_keeps_its_digits_near_1() -> None:
    parameter = Float(0.9, 1 - 1e-10, scale="one_minus_log")
    complements = [1 - parameter.from_unit(unit) for unit in np.linspace(0, 1, 10)]
    assert np.log10(complements) == pytest.approx(np.linspace(-1, -10, 10), abs=1e-6)


@pytest.mark.parametrize("scale", ["linear", "log"])
def test_every_whole_number_has_a_coordinate_of_its_own(scale: str) -> None:
    for parameter in (Int(1, 300, scale=scale), Int(2**40 - 300, 2**40, scale=scale)):
        for value in range(parameter.low, parameter.high + 1):
            assert parameter.from_unit(parameter.to_unit(value)) == value
        assert (parameter.from_unit(0.0), parameter.from_unit(1.0)) == (parameter.low, parameter.high)


def test_weights_divide_the_unit_interval() -> None:
    choice = Choice(["a", "b", "c"], weights=[1, 2, 1])
    drawn = [choice.from_unit(unit) for unit in (0.0, 0.2499, 0.25, 0.7499, 0.75, 1.0)]
    assert drawn == ["a", "a", "b", "b", "c", "c"]
    assert [choice.to_unit(value) for value in choice.values] == [0.125, 0.5, 0.875]


# --- conditions --------------------------------------------------------------------------------------------


def test_a_param_is_absent_where_its_condition_does_not_hold_and_draws_do_not_shift() -> None:
    with_adam, with_sgd = (SPACE.from_unit([0.5, 0.5, unit, 0.5]) for unit in (0.9, 0.1))
    assert list(with_adam) == ["lr", "epsilon", "beta2", "optimizer", "hidden"]
    assert "beta2" not in with_sgd
    assert {**with_adam, "optimizer": "sgd"} == {**with_sgd, "beta2": with_adam["beta2"]}
    assert np.isnan(SPACE.to_unit(with_sgd)).tolist() == [False, True, False, False]


def test_absence_goes_down_a_chain() -> None:
    assert list(CHAIN.from_unit([0.9, 0.9, 0.5])) == ["a"]
    assert list(CHAIN.from_unit([0.1, 0.1, 0.5])) == ["a", "b"]
    assert list(CHAIN.from_unit([0.1, 0.9, 0.5])) == ["a", "b", "c"]


def test_all_of_several_conditions_must_hold() -> None:
    space = Space(a=Choice([1, 2]), b=Choice([1, 2]), c=Float(0, 1, when={"a": 1, "b": [2]}))
    present = [params for params in space.grid(1) if "c" in params]
    assert present == [{"a": 1, "b": 2, "c": 0.5}]


def test_every_draw_takes_as_many_uniforms_as_params_vary() -> None:
    rng, same = np.random.default_rng(7), np.random.default_rng(7)
    drawn = [SPACE.sample(rng) for _ in range(20)]
    assert drawn == [SPACE.from_unit(same.random(4)) for _ in range(20)]
    assert {"beta2" in params for params in drawn} == {True, False}


def test_params_are_plain_python_scalars() -> None:
    params = SPACE.from_unit(np.full(4, 0.6))
    assert [type(value) for value in params.values()] == [float, float, float, str, int]
    space = Space(
        a=np.float64(0.5), b=np.int32(3), c=Choice([np.bool_(True), np.str_("x")]), d=Float(np.float32(1), 2)
    )
    assert [type(value) for value in space.from_unit([0, 0]).values()] == [float, int, bool, float]


@pytest.mark.parametrize("vector", [[], [0.5] * 3, [0.5] * 5, [math.nan, 0.5, 0.5, 0.5], [0.5, 0.5, 0.5, 1.1]])
def test_a_vector_outside_the_cube_is_refused(vector: list[float]) -> None:
    with pytest.raises(SpaceError, match="coordinate"):
        SPACE.from_unit(vector)
    with pytest.raises(SpaceError, match="coordinate"):
        SPACE.from_unit(np.array(vector))


# --- checking and completing -------------------------------------------------------------------------------

GOOD = {"lr": 0.1, "epsilon": 1e-8, "beta2": 0.99, "optimizer": "adam", "hidden": 64}


def test_check_gives_params_in_their_own_types_and_order() -> None:
    given = {"hidden": 64.0, "optimizer": np.str_("adam"), "lr": 1, "beta2": np.float64(0.99)}
    assert SPACE.check(given) == GOOD | {"lr": 1.0}
    assert [type(value) for value in SPACE.check(given).values()] == [float, float, float, str, int]
    assert list(SPACE.check(given)) == list(SPACE)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"lr": 2.0}, "param 'lr': 2.0 is no finite number from 0.0001 to 1.0"),
        ({"lr": "0.1"}, "param 'lr': '0.1' is no"),
        ({"lr": True}, "param 'lr': True is no"),
        ({"lr": math.nan}, "param 'lr': nan is no"),
        ({"hidden": 17.5}, "param 'hidden': 17.5 is no whole number from 16 to 256"),
        ({"hidden": math.inf}, "param 'hidden': inf is no whole number"),
        ({"hidden": 15}, "param 'hidden': 15 is no"),
        ({"optimizer": "rms"}, "param 'optimizer': 'rms' is not allowed, only 'sgd' or 'adam'"),
        ({"optimizer": "sgd"}, "param 'beta2': given as 0.99, but it exists only where optimizer is 'adam'"),
        ({"epsilon": 1e-7}, "param 'epsilon': 1e-07 is not allowed, only 1e-08"),
        ({"rate": 1}, "param 'rate' is unknown; this space has lr, epsilon, beta2, optimizer, hidden"),
        ({"lr": None}, "param 'lr': None is no"),
    ],
)
def test_check_names_the_param_the_value_and_what_is_allowed(change: dict[str, Any], message: str) -> None:
    for check in (SPACE.check, SPACE.check_partial, SPACE.to_unit):
        with pytest.raises(SpaceError) as error:
            check(GOOD | change)
        assert message in str(error.value)
        assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", ["lr", "beta2", "optimizer", "hidden"])
def test_check_needs_every_param_but_constants(name: str) -> None:
    rest = {each: value for each, value in GOOD.items() if each != name}
    with pytest.raises(SpaceError, match="is missing" if name != "optimizer" else "'optimizer' is missing"):
        SPACE.check(rest)
    SPACE.check_partial(rest)


def test_true_is_not_1_but_1_is_1_0() -> None:
    space = Space(flag=Choice([True, False]), size=Choice([1, 2]))
    assert repr(space.check({"flag": True, "size": 1.0})) == "{'flag': True, 'size': 1}"
    for params in ({"flag": 1, "size": 1}, {"flag": True, "size": True}):
        with pytest.raises(SpaceError, match="not allowed"):
            space.check(params)


def test_complete_draws_the_rest_as_sample_does() -> None:
    seeds = np.random.SeedSequence(3)
    drawn = SPACE.sample(np.random.Generator(np.random.PCG64(seeds)))
    assert SPACE.complete({}, seeds) == drawn
    assert SPACE.complete({"lr": 0.5}, seeds) == drawn | {"lr": 0.5}


def test_complete_draws_the_params_that_a_given_one_needs() -> None:
    for seed in range(20):
        seeds = np.random.SeedSequence(seed)
        assert SPACE.complete({"beta2": 0.99}, seeds)["optimizer"] == "adam"
        params = CHAIN.complete({"c": 0.25}, seeds)
        assert (params["a"], params["c"]) == ("on", 0.25)
        assert params["b"] in (3, 4)
    drawn = {CHAIN.complete({"c": 0.25}, np.random.SeedSequence(seed))["b"] for seed in range(20)}
    assert drawn == {3, 4}


def test_complete_keeps_the_weights_of_what_remains() -> None:
    space = Space(o=Choice(["a", "b", "c"], [5, 9, 1]), x=Float(0, 1, when={"o": ["b", "c"]}))
    drawn = [space.complete({"x": 0.5}, np.random.SeedSequence(seed))["o"] for seed in range(400)]
    assert drawn.count("a") == 0
    assert 20 < drawn.count("c") < 62  # 40 expected; 200 without weights


def test_params_that_never_exist_together_are_refused() -> None:
    space = Space(a=Choice([1, 2]), b=Float(0, 1, when={"a": 1}), c=Float(0, 1, when={"a": 2}))
    with pytest.raises(SpaceError, match="no value of 'a' lets all of them exist"):
        space.check_partial({"b": 0.5, "c": 0.5})
    with pytest.raises(SpaceError, match="mapping"):
        space.check_partial([1])  # type: ignore[arg-type]


# --- grids -------------------------------------------------------------------------------------------------


def test_a_grid_has_every_combination_once_the_last_param_changing_fastest() -> None:
    space = Space(lr=Float(1e-2, 1.0, scale="log"), layers=Int(1, 3), act=Choice(["relu", "tanh"]), eps=1)
    grid = space.grid({"lr": 3, "layers": 2})
    assert len(grid) == 12
    assert grid[0] == {"lr": 0.01, "layers": 1, "act": "relu", "eps": 1}
    assert [params["act"] for params in grid[:4]] == ["relu", "tanh", "relu", "tanh"]
    assert [grid[index]["lr"] for index in (0, 4, 8)] == pytest.approx([0.01, 0.1, 1.0])
    assert {params["layers"] for params in grid} == {1, 3}
    assert {params["layers"] for params in space.grid(9)} == {1, 2, 3}
    assert {params["layers"] for params in space.grid(1)} == {2}


def test_a_grid_has_no_doubles_where_a_param_is_absent() -> None:
    space = Space(x=Float(0, 1, when={"o": "b"}), o=Choice(["a", "b"]))
    assert space.grid(2) == [{"o": "a"}, {"x": 0.0, "o": "b"}, {"x": 1.0, "o": "b"}]
    assert Space(a=1).grid(3) == [{"a": 1}]


@pytest.mark.parametrize("points", [0, -1, 2.0, True, None, {}, {"lr": 3}])
def test_a_grid_needs_its_numbers_of_points(points: Any) -> None:
    with pytest.raises(SpaceError, match="at least 1"):
        SPACE.grid(points)


# --- the mapping -------------------------------------------------------------------------------------------


def test_a_space_is_a_mapping_that_cannot_change() -> None:
    assert list(SPACE) == ["lr", "epsilon", "beta2", "optimizer", "hidden"]
    assert SPACE.varying == ("lr", "beta2", "optimizer", "hidden")
    assert SPACE["epsilon"] == Constant(1e-8)
    assert Space({"lr": Float(0, 1)}) == Space(lr=Float(0, 1))
    assert Space({"a": 1}, b=2) == Space(a=1, b=2)
    assert Space(a=1, b=2) != Space(b=2, a=1), "the order gives each param its coordinate"
    assert Space(a=1) != {"a": 1}
    with pytest.raises(TypeError):
        SPACE["lr"] = 1  # type: ignore[index]
    with pytest.raises(FrozenInstanceError):
        SPACE["lr"].low = 0  # type: ignore[union-attr, misc]
    with pytest.raises(TypeError):
        SPACE["beta2"].when["optimizer"] = "sgd"  # type: ignore[index]


def test_parameters_show_what_they_were_given() -> None:
    choice = Choice([1, "two"], [1, 3], when={"o": ["a", "b"]})
    assert (choice.values, choice.weights, choice.when) == ((1, "two"), (1, 3), {"o": ("a", "b")})
    beta = SPACE["beta2"]
    assert isinstance(beta, Float)
    assert (beta.low, beta.high, beta.scale, beta.when) == (0.9, 0.9999, "one_minus_log", {"optimizer": "adam"})
    assert repr(beta) == "Float(0.9, 0.9999, scale='one_minus_log', when={'optimizer': 'adam'})"
    assert repr(Space({"a.b": 1})) == "Space({'a.b': 1})"

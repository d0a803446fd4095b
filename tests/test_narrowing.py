"""Narrowing a space: what the trials allow, what they do not, and what comes out of any of it."""

from __future__ import annotations

import importlib
import json
import math
import pickle
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from caviar.errors import SpaceError, UsageError
from caviar.space import Choice, Float, Int, Space
from caviar.space.chance import ChoiceEvidence, choice_evidence, shuffles
from caviar.space.ends import limits
from caviar.space.narrowed import Change, NarrowedSpace, number
from caviar.space.narrowing import Narrowing, Tried, narrow

SPACE = Space(
    lr=Float(1e-4, 1.0, scale="log"),
    momentum=Float(0.9, 0.999, scale="one_minus_log"),
    hidden=Int(16, 256, scale="log"),
    layers=Int(1, 4),
    optimizer=Choice(["sgd", "adam", "rmsprop"]),
    beta2=Float(0.9, 0.9999, scale="one_minus_log", when={"optimizer": ["adam", "rmsprop"]}),
    warmup=Int(1, 10, when={"optimizer": "rmsprop"}),
    epsilon=1e-8,
)
few = settings(max_examples=30, deadline=None, derandomize=True)


def trials(
    space: Space, loss: Callable[[dict[str, Any]], float], count: int = 300, *, seed: int = 0, noise: float = 0.1
) -> Tried:
    rng = np.random.default_rng(seed)
    params = [space.sample(rng) for _ in range(count)]
    return Tried(params=params, score=[loss(each) + noise * rng.standard_normal() for each in params])


def changes(space: NarrowedSpace) -> dict[str, Change]:
    return {change.name: change for change in space.changes}


def away(name: str, target: float) -> Callable[[dict[str, Any]], float]:
    """How far a param is from a coordinate."""
    parameter = SPACE[name]
    return lambda params: abs(parameter.to_unit(params[name]) - target)  # type: ignore[union-attr]


# --- ranges ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["lr", "momentum", "hidden"])
def test_a_range_is_narrowed_on_its_own_scale(name: str) -> None:
    space = narrow(SPACE, trials(SPACE, away(name, 0.4), noise=0.02))
    change = changes(space)[name]
    parameter, new = SPACE[name], space[name]
    assert change.kind == "narrowed"
    assert new.scale == parameter.scale  # type: ignore[union-attr]
    low, high = (parameter.to_unit(bound) for bound in (new.low, new.high))  # type: ignore[union-attr]
    assert 0.25 < low < 0.37 < 0.43 < high < 0.55
    assert {other for other, each in changes(space).items() if each.kind != "kept"} == {name}
    assert space.share == pytest.approx(change.share)
    assert "the best 30 of 300 trials" in change.why


def test_what_does_not_matter_keeps_its_range() -> None:
    space = Space({f"p{number}": Float(0, 1) for number in range(20)})
    found = narrow(space, trials(space, lambda params: 0.0, noise=1.0))
    touched = [change.name for change in found.changes if change.kind != "kept"]
    assert len(touched) <= 3
    assert all("no clear sign that" in change.why for change in found.changes if change.kind == "kept")


def test_whole_numbers_keep_two_values_at_least() -> None:
    space = narrow(SPACE, trials(SPACE, lambda params: float(params["layers"] != 3), count=1000))
    new = space["layers"]
    assert isinstance(new, Int)
    assert new.low <= 3 <= new.high
    assert new.high - new.low == 1


def test_bounds_have_few_digits_and_are_rounded_outward() -> None:
    space = narrow(SPACE, trials(SPACE, away("momentum", 0.7), noise=0.02))
    new = space["momentum"]
    assert isinstance(new, Float)
    for bound in (new.low, new.high):
        assert float(f"{1 - bound:.3g}") == pytest.approx(1 - bound, rel=1e-9)
    assert number(0.99951) == "0.99951"
    assert number(0.999999) == "0.999999"


def test_more_trials_narrow_more_and_a_wider_margin_less() -> None:
    shares = [narrow(SPACE, trials(SPACE, away("lr", 0.5), count, noise=0.02)).share for count in (10, 40, 300)]
    assert shares[0] == 1
    assert shares[0] > shares[1] > shares[2]
    many = trials(SPACE, away("lr", 0.5))
    assert narrow(SPACE, many, margin=0.5).share > narrow(SPACE, many, margin=0.0).share
    assert narrow(SPACE, many, top=0.3).share > narrow(SPACE, many, top=0.05).share


def test_the_best_trial_is_never_left_out() -> None:
    for seed in range(20):
        tried = trials(SPACE, away("lr", 0.5), seed=seed, noise=0.5)
        best = tried.params[int(np.argmin(tried.score))]
        assert narrow(SPACE, tried)["lr"].check(best["lr"], "lr")  # type: ignore[union-attr]


def test_between_points_of_a_grid_the_best_may_lie() -> None:
    space = Space(x=Float(0, 1), y=Float(0, 1))
    params = space.grid(11)
    found = narrow(space, Tried(params=params, score=[abs(each["x"] - 0.5) for each in params]))
    new = found["x"]
    assert isinstance(new, Float)
    assert new.low <= 0.4
    assert new.high >= 0.6


# --- ends --------------------------------------------------------------------------------------------------


def test_a_range_moves_where_the_best_pile_up_at_its_end() -> None:
    tried = trials(SPACE, away("lr", 1.2))
    change = changes(narrow(SPACE, tried))["lr"]
    assert change.kind == "moved"
    assert isinstance(change.new, Float)
    assert change.new.low > 1e-3
    assert change.new.high == pytest.approx(10, rel=0.01)  # a quarter of four decades
    assert "are near 1, its end" in change.why
    kept = narrow(SPACE, tried, widen=False)["lr"]
    assert isinstance(kept, Float)
    assert kept.high == 1.0
    [edge] = Narrowing(SPACE, tried, top=0.1, margin=0.1, widen=True, seed=0).edges()
    assert (edge.name, edge.end, edge.low, edge.high) == ("lr", "high", 1e-4, 1.0)
    assert edge.share > 0.3
    assert edge.suggestion == "try lr as far as 10"


@pytest.mark.parametrize(
    ("parameter", "down"),
    [
        (Float(1e-4, 1, scale="log"), True),
        (Float(0.9, 0.999, scale="one_minus_log"), True),
        (Float(0.9, 0.999, scale="one_minus_log"), False),
        (Float(0.1, 0.2, scale="one_minus_log"), True),
        (Float(0, 0.8), True),
        (Float(0, 0.8), False),
        (Float(0.2, 1), False),
        (Float(0, 30), True),
        (Float(-30, 0), False),
        (Float(-1, 1), True),
        (Int(1, 40), True),
        (Int(1, 40, scale="log"), True),
        (Int(0, 40), True),
        (Int(0, 2**40), False),
        (Float(1e-300, 1e300, scale="log"), True),
        (Float(1e-307, 1e-300, scale="log"), True),
    ],
)
def test_no_range_goes_past_its_natural_limits(parameter: Float | Int, down: bool) -> None:
    space = Space(x=parameter)
    sign = 1 if down else -1
    found = narrow(space, trials(space, lambda params: sign * parameter.to_unit(params["x"]), noise=0.0))
    new = found["x"]
    assert isinstance(new, Float | Int)
    least, most = limits(parameter)
    assert least <= new.low < new.high <= most
    assert Space.from_dict(json.loads(json.dumps(found.to_dict()))) == found
    if parameter.scale == "log":
        assert new.low > 0
    if parameter.scale == "one_minus_log":
        assert 0 < new.low < new.high < 1
    if isinstance(parameter, Float) and parameter.scale == "linear" and 0 <= parameter.low < parameter.high <= 1:
        assert 0 <= new.low < new.high <= 1
    bound, old, limit = (new.low, parameter.low, least) if down else (new.high, parameter.high, most)
    if old == limit:
        assert bound == old
        assert "as far as it can go" in found.changes[0].why
    else:
        assert bound < old if down else bound > old


def test_an_end_without_evidence_is_no_edge() -> None:
    tried = trials(SPACE, away("lr", 0.5))
    assert not Narrowing(SPACE, tried, top=0.1, margin=0.1, widen=True, seed=0).edges()


# --- choices and conditions --------------------------------------------------------------------------------


def test_a_value_goes_only_with_evidence() -> None:
    def loss(params: dict[str, Any]) -> float:
        return float(params["optimizer"] == "sgd")

    few_trials = changes(narrow(SPACE, trials(SPACE, loss, 60)))["optimizer"]
    assert few_trials.kind in ("kept", "reweighted")
    change = changes(narrow(SPACE, trials(SPACE, loss, 600)))["optimizer"]
    assert change.kind == "narrowed"
    assert isinstance(change.new, Choice)
    assert change.new.values == ("adam", "rmsprop")
    assert "sgd not among the best 60 of 600 trials: " in change.why


def test_a_value_that_was_hardly_tried_stays() -> None:
    space = Space(x=Choice(["often", "seldom"], weights=[99, 1]), y=Float(0, 1))
    rng = np.random.default_rng(0)
    params = [{"x": "seldom" if row < 8 else "often", "y": float(rng.random())} for row in range(400)]
    score = [10.0 + row for row in range(8)] + list(rng.random(392))
    new = narrow(space, Tried(params=params, score=score))["x"]
    assert isinstance(new, Choice)
    assert new.values == ("often", "seldom")


def test_values_are_weighted_by_how_often_they_are_among_the_best() -> None:
    space = Space(x=Choice(["a", "b"]))
    found = narrow(space, trials(space, lambda params: 0.5 * (params["x"] == "a"), 300, noise=1.0))
    new = found["x"]
    assert isinstance(new, Choice)
    assert new.values == ("a", "b")
    assert new.weights is not None
    assert new.weights[1] > 2 * new.weights[0]


def test_conditions_follow_the_values_that_are_left() -> None:
    def only(*optimizers: str) -> NarrowedSpace:
        return narrow(SPACE, trials(SPACE, lambda params: 5.0 * (params["optimizer"] not in optimizers), 600))

    adam = only("adam")
    assert isinstance(adam["optimizer"], Choice)
    assert adam["optimizer"].values == ("adam",)
    assert adam["optimizer"].weights is None
    assert adam["beta2"].when == {"optimizer": "adam"}
    assert "warmup" not in adam
    assert changes(adam)["warmup"].kind == "dropped"
    assert "optimizer is rmsprop, which is gone" in changes(adam)["warmup"].why
    assert "warmup" in adam.explained()
    sgd = only("sgd")
    assert set(SPACE) - set(sgd) == {"beta2", "warmup"}
    assert "beta2" not in sgd.sample(np.random.default_rng(0))


def test_a_chain_of_conditions_is_dropped_whole() -> None:
    space = Space(
        a=Choice(["on", "off"]), b=Int(1, 4, when={"a": "on"}), c=Float(0, 1, when={"b": [3, 4]}), d=Float(0, 1)
    )
    found = narrow(space, trials(space, lambda params: float(params["a"] == "on"), 400))
    assert list(found) == ["a", "d"]
    assert [change.kind for change in found.changes][1:3] == ["dropped", "dropped"]
    low = narrow(space, trials(space, lambda params: params.get("b", 9), 2000))
    assert isinstance(low["b"], Int)
    assert low["b"].high == 2
    assert "c" not in low


def test_a_conditional_param_is_judged_by_the_trials_that_have_it() -> None:
    def loss(params: dict[str, Any]) -> float:
        return abs(SPACE["beta2"].to_unit(params["beta2"]) - 0.5) if "beta2" in params else 0.05  # type: ignore

    tried = trials(SPACE, loss, 400, noise=0.01)
    found = changes(narrow(SPACE, tried))["beta2"]
    have = sum("beta2" in params for params in tried.params)
    assert found.kind == "narrowed"
    assert found.share < 0.3
    assert f"the best {math.ceil(0.1 * have)} of {have} trials" in found.why


# --- what is not enough, and what is odd --------------------------------------------------------------------


@pytest.mark.parametrize("count", [0, 1, 12])
def test_few_trials_narrow_nothing_and_say_so(count: int) -> None:
    found = narrow(SPACE, trials(SPACE, away("lr", 0.5), count))
    assert found == SPACE
    assert found.share == 1
    text = "1 trial is" if count == 1 else f"{count} trials are"
    assert changes(found)["lr"].why == f"{text} too few to narrow lr: it takes 20"
    assert {change.kind for change in found.changes} == {"kept"}


@pytest.mark.parametrize("score", [math.inf, math.nan, 0.5, -math.inf])
def test_scores_that_tell_nothing_change_nothing(score: float) -> None:
    params = trials(SPACE, away("lr", 0.5)).params
    found = narrow(SPACE, Tried(params=params, score=[score] * len(params)))
    assert found == SPACE
    why = changes(found)["lr"].why
    assert ("300 of 300 trials are best alike" if score == 0.5 else "0 of 300 trials did well enough") in why


def test_diverged_trials_count_against_the_place_where_they_are() -> None:
    tried = trials(SPACE, away("lr", 0.2), 200, noise=1.0)
    score = [
        math.inf if params["lr"] > 0.01 else value for params, value in zip(tried.params, tried.score, strict=True)
    ]
    new = narrow(SPACE, Tried(params=tried.params, score=score))["lr"]
    assert isinstance(new, Float)
    assert 0.005 < new.high < 0.2


def test_duplicates_and_ties_are_no_problem() -> None:
    params = trials(SPACE, away("lr", 0.5), 30).params
    found = narrow(SPACE, Tried(params=[*params] * 10, score=[float(row % 3) for row in range(300)]))
    assert isinstance(found, NarrowedSpace)
    same = [params[0]] * 100
    assert narrow(SPACE, Tried(params=same, score=range(100))) == SPACE


def test_trials_outside_the_space_do_not_count() -> None:
    tried = trials(SPACE, away("lr", 0.5), 100)
    inner = Space({**SPACE, "lr": Float(0.01, 0.02, scale="log")})
    inside = sum(0.01 <= params["lr"] <= 0.02 for params in tried.params)
    assert inside < 20
    assert changes(narrow(inner, tried))["hidden"].why.startswith(f"{inside} trials are too few")
    strange = [{"lr": "much"}, {"lr": True}, {"layers": 7}, {"optimizer": "lion"}, {"other": 3}]
    more = Tried(params=[*tried.params, *strange[:-1]], score=[*tried.score, *[0.0] * 4])
    assert narrow(SPACE, more).to_dict(changes=True) == narrow(SPACE, tried).to_dict(changes=True)


def test_trials_are_compared_with_those_of_their_stage() -> None:
    rng = np.random.default_rng(0)
    space = Space(x=Float(0, 1), y=Float(0, 1))
    # the second stage is better because of y alone, and its x happens to be sampled above 0.5
    first = [{"x": float(x), "y": 0.5} for x in rng.random(300)]
    second = [{"x": float(x), "y": 0.5} for x in 0.5 + rng.random(100) / 2]
    score = [*(1 + rng.random(300)), *rng.random(100)]
    stages = [0] * 300 + [1] * 100
    together = narrow(space, Tried(params=first + second, score=score))
    apart = narrow(space, Tried(params=first + second, score=score, stage=stages))
    assert changes(together)["x"].kind != "kept"
    assert changes(apart)["x"].kind == "kept"


def test_a_value_goes_only_with_evidence_from_its_own_stage() -> None:
    rng = np.random.default_rng(0)
    space = Space(x=Choice(["a", "b"]), y=Float(0, 1))
    # the second stage is better because of y, and had x = b alone; x = a is not among the best for that
    params = [{"x": "ab"[row % 2] if row < 200 else "b", "y": float(rng.random())} for row in range(400)]
    score = np.r_[1 + rng.random(200), rng.random(200)]
    together = narrow(space, Tried(params=params, score=score))["x"]
    apart = narrow(space, Tried(params=params, score=score, stage=[0] * 200 + [1] * 200))["x"]
    assert isinstance(together, Choice)
    assert together.values == ("b",)
    assert apart == space["x"]


def test_a_value_that_its_own_stage_hardly_tried_stays() -> None:
    rng = np.random.default_rng(0)
    space = Space(x=Choice(["a", "b"]), y=Float(0, 1))
    # b in 60 of the first 100 and 10 of the second, as if reweighted; all of the best are of the second
    kind = ["b"] * 60 + ["a"] * 40 + ["b"] * 10 + ["a"] * 90
    params = [{"x": each, "y": float(rng.random())} for each in kind]
    score = np.r_[2 + rng.random(100), 1 + rng.random(10), rng.random(90)]
    stages = [0] * 100 + [1] * 100
    apart = narrow(space, Tried(params=params, score=score, stage=stages))["x"]
    assert isinstance(apart, Choice)
    assert apart.values == ("a", "b")


def evidence(stages: list[list[int]], best: list[list[int]]) -> ChoiceEvidence:
    """Of stages in which each value was tried so often, and of those so many were among the best."""
    place = np.concatenate([np.repeat(np.arange(len(each)), each) for each in stages])
    stage = np.repeat(np.arange(len(stages)), [sum(each) for each in stages])
    is_best = np.zeros(len(place), bool)
    for each, counts in enumerate(best):
        for value, count in enumerate(counts):
            is_best[np.flatnonzero((stage == each) & (place == value))[:count]] = True
    picks = shuffles(is_best, stage, np.random.default_rng(0))
    return choice_evidence(place, picks, stage=stage, values=len(stages[0]))


def test_only_stages_with_some_of_the_best_say_anything_of_a_value() -> None:
    # 9 trials in such a stage are too few to remove a value, however many a stage without them had
    few, many = evidence([[5, 95], [31, 9]], [[0, 0], [31, 0]]), evidence([[5, 95], [30, 10]], [[0, 0], [30, 0]])
    assert few.kept.tolist() == [True, True]
    assert many.kept.tolist() == [True, False]
    assert few.among_all.tolist() == [36 / 140, 104 / 140]
    # and what they did not try has no evidence against it
    alone = evidence([[40, 60], [100, 0]], [[0, 0], [20, 0]])
    assert alone.lift.tolist() == pytest.approx([1.0, 1.0])
    assert alone.kept.tolist() == [True, True]


def test_a_share_is_expected_as_the_stages_of_the_best_tried_it() -> None:
    # half of the best are of either stage, so that (60% + 10%) / 2 of them would have b by chance, 7 of 20
    found = evidence([[40, 60], [90, 10]], [[4, 6], [9, 1]])
    assert found.lift.tolist() == pytest.approx([1.0, 1.0], abs=0.02)
    # all of the best are of the second: 2 of 20 by chance
    found = evidence([[40, 60], [90, 10]], [[0, 0], [18, 2]])
    assert found.lift.tolist() == pytest.approx([1.0, 1.0], abs=0.05)


def test_constants_and_a_space_that_does_not_vary() -> None:
    found = narrow(SPACE, trials(SPACE, away("lr", 0.5)))
    assert found["epsilon"] == SPACE["epsilon"]
    assert changes(found)["epsilon"].why == "a constant"
    assert "epsilon" not in found.explained()
    fixed = Space(a=1)
    assert narrow(fixed, Tried(params=[{"a": 1}] * 50, score=range(50))) == fixed
    assert narrow(fixed, Tried(params=[], score=[])).explained() == "no param varies"


@pytest.mark.parametrize(
    ("option", "value"), [("top", 0), ("top", 0.6), ("top", math.nan), ("margin", -1), ("margin", math.inf)]
)
def test_options_out_of_bounds_are_refused(option: str, value: float) -> None:
    with pytest.raises(UsageError, match=rf"zoom\({option}={value}"):
        narrow(SPACE, trials(SPACE, away("lr", 0.5), 5), **{option: value})  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="there must be one each a trial"):
        Tried(params=[{}], score=[])


# --- properties --------------------------------------------------------------------------------------------


@st.composite
def sweeps(draw: st.DrawFn) -> tuple[Space, Tried]:
    others = Space(x=Float(0, 1), n=Int(1, 3)), Space(c=Choice([1, 2.5, False, None]))
    space = draw(st.sampled_from([SPACE, *others]))
    count, seed = draw(st.integers(0, 120)), draw(st.integers(0, 99))
    weights = draw(st.lists(st.floats(-3, 3), min_size=len(space.varying), max_size=len(space.varying)))
    rng = np.random.default_rng(seed)
    params = [space.sample(rng) for _ in range(count)]
    score = [
        round(float(np.nansum(np.array(weights) * space.to_unit(each))), draw(st.sampled_from([0, 6])))
        if rng.random() > 0.1
        else math.inf
        for each in params
    ]
    return space, Tried(params=params, score=score, stage=rng.integers(0, 2, count))


@few
@given(sweeps(), st.integers(0, 99))
def test_any_sweep_gives_a_sound_space(sweep: tuple[Space, Tried], seed: int) -> None:
    space, tried = sweep
    found = narrow(space, tried)
    assert [change.name for change in found.changes] == list(space)
    assert [change.name for change in found.changes if change.new is not None] == list(found)
    for change in found.changes:
        assert (change.new == change.old) == (change.kind == "kept"), change
        assert "\n" not in change.why
    params = found.sample(np.random.default_rng(seed))
    assert found.from_unit(found.to_unit(params)).keys() == params.keys()
    again = narrow(found, tried)
    assert isinstance(again, NarrowedSpace)
    assert [change.name for change in again.changes] == list(found)
    text = json.dumps(found.to_dict(changes=True), allow_nan=False)
    back = NarrowedSpace.from_dict(json.loads(text))
    assert back == found
    assert back.changes == found.changes
    assert json.dumps(back.to_dict(changes=True)) == text
    order = np.random.default_rng(seed).permutation(len(tried.params))
    shuffled = Tried(
        params=[tried.params[row] for row in order],
        score=np.asarray(tried.score)[order],
        stage=np.asarray(tried.stage)[order],
    )
    assert narrow(space, shuffled).to_dict(changes=True) == found.to_dict(changes=True)


def test_a_narrowed_space_is_a_space() -> None:
    found = narrow(SPACE, trials(SPACE, away("lr", 0.5)))
    plain = Space(dict(found.items()))
    assert found == plain
    assert plain == found
    assert hash(found) == hash(plain)
    assert found.to_dict() == plain.to_dict()
    assert Space.from_dict(found.to_dict(changes=True)) == plain
    assert NarrowedSpace.from_dict(plain.to_dict()).changes == ()
    for copy in (pickle.loads(pickle.dumps(found)), NarrowedSpace(found, changes=found.changes)):
        assert copy == found
        assert copy.changes == found.changes
        assert isinstance(copy, NarrowedSpace)
    with pytest.raises(SpaceError, match=r"is no change as Change\.to_dict"):
        NarrowedSpace.from_dict({**plain.to_dict(), "changes": [{"name": "lr"}]})
    with pytest.raises(SpaceError, match=r"is no change as Change\.to_dict"):
        Change.from_dict({**found.changes[0].to_dict(), "kind": "gone"})


# --- the simulation ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def bench() -> Iterator[ModuleType]:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(Path(__file__).parents[1] / "benchmarks"))
        yield importlib.import_module("bench_zoom")
    sys.modules.pop("bench_zoom", None)


@pytest.mark.slow
@pytest.mark.parametrize(("count", "volume"), [(40, 0.9), (300, 0.6)])
def test_the_optimum_is_kept_and_the_space_gets_smaller(bench: ModuleType, count: int, volume: float) -> None:
    for place in bench.PLACES:
        found = bench.summary([bench.one(bench.Setting(4, count, 0.3, True, place), seed) for seed in range(30)])
        assert found["kept"] >= 0.9  # 0.95 and more of 200, see the benchmark
        assert found["volume"] <= volume

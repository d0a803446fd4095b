"""Which params mattered: the record, its words, and what it says where there is little to go by."""

from __future__ import annotations

import builtins
import json
import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest

import caviar
from caviar.errors import CaviarError, UsageError
from caviar.messages import TrialSampled

Story = Any
"""A story as tests/analysis/conftest.py tells it."""
Tell = Callable[..., Story]

SPACE = caviar.Space(
    lr=caviar.Float(1e-4, 1.0, scale="log"),
    momentum=caviar.Float(0.9, 0.999, scale="one_minus_log"),
    batch_size=caviar.Choice([32, 64, 128, 256]),
    optimizer=caviar.Choice(["sgd", "adam"]),
    beta2=caviar.Float(0.9, 0.9999, scale="one_minus_log", when={"optimizer": "adam"}),
    epsilon=1e-8,
)

Loss = Callable[[Mapping[str, Any]], float]


def sweep(story: Tell, loss: Loss, trials: int = 200, *, space: caviar.Space = SPACE, **declared: Any) -> Story:
    """So many trials that completed, with losses that follow from their params."""
    told = story(space=space, max_step=1, **declared)
    rng = np.random.default_rng(0)
    for trial in range(trials):
        params = space.sample(rng)
        told.trial(trial, [loss(params)], **params)
    return told


def valley(params: Mapping[str, Any]) -> float:
    """The learning rate decides; then the momentum; the batch size does nothing."""
    return 1.5 * abs(math.log10(params["lr"]) + 2) - 0.6 * math.log10(1 - params["momentum"])


def test_what_decides_comes_first_and_what_does_nothing_is_said_to(story: Tell) -> None:
    found = sweep(story, valley, 300).result().importance()
    assert (found.method, found.trials, found.metric) == ("anova", 300, "loss")
    assert found.params.index.name == "param"
    assert found.params.index[:2].tolist() == ["lr", "momentum"]
    assert set(found.params.index) == {"lr", "momentum", "batch_size", "optimizer", "beta2"}
    assert found.params["verdict"][["lr", "momentum"]].tolist() == ["matters", "matters"]
    assert found.params["verdict"][["batch_size", "optimizer"]].tolist() == ["does not matter"] * 2
    assert found.params["importance"].is_monotonic_decreasing
    for frame in (found.params, found.pairs):
        numbers = frame[["low", "importance", "high"]].dropna().to_numpy()
        assert ((numbers >= 0) & (numbers <= 1)).all()
        assert (np.diff(numbers, axis=1) >= -0.02).all()  # the interval is about the estimate
    said = found.summary()
    assert said.startswith("lr decides ")
    assert "batch_size (32 to 256)" in said
    assert "did not matter" in said
    assert said in repr(found)


def test_the_same_seed_says_the_same(story: Tell) -> None:
    result = sweep(story, valley, 60).result()
    one, two, other = (result.importance(seed=seed).to_dict() for seed in (3, 3, 4))
    assert one == two
    assert one != other


def test_scales_do_not_count(story: Tell) -> None:
    """Only the order of values does, so that the same trials on another scale give the same."""
    told = sweep(story, valley, 80)
    linear = {name: caviar.Float(1e-4, 1) if name == "lr" else each for name, each in SPACE.items()}
    before = told.result().importance().to_dict()
    told.space = caviar.Space(linear)
    assert told.result().importance().to_dict() == before


def test_params_that_act_only_together(story: Tell) -> None:
    def loss(params: Mapping[str, Any]) -> float:
        return float((math.log10(params["lr"]) + 2) * (math.log10(1 - params["momentum"]) + 2))

    found = sweep(story, loss, 300).result().importance()
    first = found.pairs.iloc[0]
    assert {first["first"], first["second"]} == {"lr", "momentum"}
    assert first["importance"] > 0.7
    assert first["verdict"] == "matters"
    assert found.params["verdict"][["lr", "momentum"]].tolist() == ["only together"] * 2
    assert "lr and momentum act together" in found.summary()
    assert "matter alone" not in found.summary()


def test_a_conditional_param_is_judged_among_the_trials_that_have_it(story: Tell) -> None:
    def loss(params: Mapping[str, Any]) -> float:
        return math.log10(1 - params["beta2"]) if "beta2" in params else -2.5

    found = sweep(story, loss, 300).result().importance()
    row = found.params.loc["beta2"]
    assert row["where"] == "optimizer=adam"
    assert 100 < row["trials"] < 200
    assert row["importance"] > 0.8
    assert "beta2 (where optimizer=adam)" in found.summary()
    pairs = {frozenset(pair) for pair in found.pairs[["first", "second"]].itertuples(index=False)}
    assert {"beta2", "optimizer"} not in pairs
    assert {"beta2", "lr"} in pairs


def test_diverged_trials_are_the_worst_and_count(story: Tell) -> None:
    told = story(space=SPACE, max_step=1)
    rng = np.random.default_rng(0)
    for trial in range(100):
        params = SPACE.sample(rng)
        if params["lr"] > 0.03:
            told.sampled(trial, **params).started(trial).curve(trial, [math.nan])
            told.ended(trial, "stopped", reason="diverged")
        else:
            told.trial(trial, [rng.random()], **params)
    found = told.result().importance()
    assert found.trials == 100
    assert found.params["importance"]["lr"] > 0.5


def test_only_ranks_count(story: Tell) -> None:
    """However far the bad ones are off, and whichever way the metric is turned."""
    plain = sweep(story, valley, 80).result().importance().to_dict()
    assert sweep(story, lambda params: math.exp(20 * valley(params)), 80).result().importance().to_dict() == plain
    turned = sweep(story, lambda params: -valley(params), 80, mode="max")
    assert turned.result().importance().to_dict() == plain


def test_bools_texts_and_missing_values_are_values(story: Tell) -> None:
    space = caviar.Space(kind=caviar.Choice([True, 1.5, "1", None]), x=caviar.Float(0, 1))
    found = sweep(story, lambda params: float(params["kind"] is True), 100, space=space).result().importance()
    assert found.params["verdict"]["kind"] == "matters"
    assert found.params["importance"]["kind"] > 0.95
    assert set(found.params["values"]["kind"].split(", ")) == {"True", "1.5", "1", "None"}


def test_noise_alone_makes_nothing_important(story: Tell) -> None:
    rng = np.random.default_rng(5)
    found = sweep(story, lambda _: rng.random(), 100).result().importance()
    assert "matters" not in found.params["verdict"].tolist()
    assert found.summary().startswith("No param alone stands out from chance in 100 trials.")
    assert "cannot be told from 100 trials" in found.summary()


def staged(story: Tell) -> Story:
    """Two stages: the learning rate decides in the first, and in the second, where it hardly varies, momentum."""
    told = story(space=SPACE, max_step=1)
    rng = np.random.default_rng(0)
    for trial in range(240):
        params = SPACE.sample(rng)
        if trial >= 120:
            params["lr"] = 0.01 * 1.005 ** rng.random()
        told.tell(TrialSampled(told.tick(), trial, trial // 120, params, trial))
        told.started(trial).curve(trial, [10 * abs(math.log10(params["lr"]) + 2) + params["momentum"]])
        told.ended(trial, "completed")
    return told


def test_stages_are_told_apart(story: Tell) -> None:
    result = staged(story).result()
    found = result.importance()
    assert found.stage == 0
    assert found.params.index[0] == "lr"
    assert found.later is not None
    assert found.later.stage == 1
    assert found.later.params.index[0] == "momentum"
    first, second = found.summary().splitlines()
    assert first.startswith("Overall (stage 0, 120 trials): lr decides")
    assert second.startswith("Where it is good (stage 1, 120 trials): momentum decides")
    alone = result.importance(stage=1)
    assert alone.later is None
    assert alone.to_dict() == found.later.to_dict()
    with pytest.raises(UsageError, match=r"stage=7.*stages 0, 1"):
        result.importance(stage=7)


def test_a_later_stage_that_says_nothing_is_left_out(story: Tell) -> None:
    told = sweep(story, valley, 40)
    for trial in range(40, 60):
        params = SPACE.sample(np.random.default_rng(trial))
        told.tell(TrialSampled(told.tick(), trial, 2, params, trial)).started(trial).curve(trial, [1e9])
        told.ended(trial, "completed")
    found = told.result().importance()
    assert found.trials == 40
    assert found.later is None
    with pytest.raises(CaviarError, match="all 20 trials did equally well"):
        told.result().importance(stage=2)


def test_to_dict_is_json(story: Tell) -> None:
    found = staged(story).result().importance()
    said = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert said["params"][0]["param"] == "lr"
    assert said["later"]["stage"] == 1
    assert {"first", "second", "importance", "low", "high", "trials", "noise", "verdict"} == set(said["pairs"][0])


@pytest.mark.parametrize("method", ["anova", "ped-anova", "fanova"])
def test_a_param_that_hardly_any_trial_has_cannot_be_told(story: Tell, method: str) -> None:
    told = story(space=SPACE, max_step=1)
    rng = np.random.default_rng(0)
    for trial in range(40):
        params = SPACE.sample(rng)
        if trial > 1:
            params.pop("beta2", None)
        elif "beta2" not in params:
            params["beta2"] = 0.9 + 0.01 * trial
        told.trial(trial, [valley(params)], **params)
    found = told.result().importance(method=method)  # type: ignore[arg-type]
    assert found.params.index[-1] == "beta2"
    assert math.isnan(found.params["importance"]["beta2"])
    assert found.params["verdict"]["beta2"] == "cannot be told"
    assert found.to_dict()["params"][-1]["importance"] is None


def test_one_line_where_nothing_can_be_said(story: Tell) -> None:
    def refused(told: Story, said: str, **asked: Any) -> None:
        with pytest.raises(CaviarError, match=said) as error:
            told.result().importance(**asked)
        assert "\n" not in str(error.value)

    refused(story(), "reported 'loss' so far: 0; to tell which params mattered takes 10")
    refused(sweep(story, valley, 9), "so far: 9;")
    refused(sweep(story, lambda _: 1.0, 20), "all 20 trials did equally well")
    refused(sweep(story, lambda _: math.nan, 20), "all 20 trials failed, or diverged")
    told = story(max_step=1)
    for trial in range(20):
        told.trial(trial, [float(trial)], lr=0.1, momentum=0.9, optimizer="sgd", layers=1, epsilon=1e-8)
    refused(told, "no param varied in these 20 trials")
    failed = story()
    for trial in range(20):
        failed.sampled(trial).started(trial).ended(trial, "failed", reason="exception")
    refused(failed, "no param varied in these 20 trials")
    alike = story()
    for trial in range(20):
        alike.trial(trial, [1.0], lr=0.1, momentum=0.9, optimizer="sgd", layers=1, epsilon=1e-8)
    refused(alike, "no param varied in these 20 trials")

    def later(told: Story, first: int, count: int) -> Story:
        for trial in range(first, first + count):
            told.tell(TrialSampled(told.tick(), trial, 2, SPACE.sample(np.random.default_rng(trial)), trial))
            told.started(trial).curve(trial, [1.0]).ended(trial, "completed")
        return told

    told = later(sweep(story, valley, 12), 12, 5)
    refused(told, r"in stage 2: 5; .* takes 10; stage 1 has enough: --stage 1$", stage=2)
    refused(later(sweep(story, valley, 6), 6, 6), "takes 10, and no stage has so many")
    with pytest.raises(UsageError, match=r"method='forest'.*'anova' or 'ped-anova' or 'fanova'"):
        sweep(story, valley, 20).result().importance(method="forest")  # type: ignore[arg-type]


@pytest.mark.parametrize("status", ["running", "interrupted"])
def test_a_sweep_under_way(story: Tell, status: str) -> None:
    told = sweep(story, valley, 50)
    told.sampled(50, **SPACE.sample(np.random.default_rng(1))).started(50)
    assert told.result(status).importance().trials == 50


def test_one_param(story: Tell) -> None:
    space = caviar.Space(x=caviar.Float(0, 1))
    found = sweep(story, lambda params: float(params["x"]), 30, space=space).result().importance()
    assert found.params["importance"]["x"] > 0.9
    assert found.pairs.empty
    assert found.to_dict()["pairs"] == []


def test_many_params(story: Tell) -> None:
    """A pair more, a trial less: 435 pairs do not take 15 times as long as 28."""
    space = caviar.Space({f"x{place}": caviar.Float(0, 1) for place in range(30)})
    found = sweep(story, lambda params: float(params["x3"]), 600, space=space).result().importance()
    assert found.params.index[0] == "x3"
    assert len(found.pairs) == 435
    assert set(found.pairs["trials"]) == {551}
    assert found.params["trials"].tolist() == [600] * 30
    assert " more did not matter" in found.summary()


# --- Optuna's evaluators -----------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["ped-anova", "fanova"])
def test_optunas_evaluators_agree_on_what_comes_first(
    story: Tell, method: str, capfd: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("optuna")
    found = sweep(story, valley, 120).result().importance(method=method)  # type: ignore[arg-type]
    assert found.method == method
    assert found.params.index[0] == "lr"
    assert found.params["verdict"]["lr"] == "matters"
    assert found.params["verdict"]["batch_size"] != "matters"
    assert capfd.readouterr() == ("", "")


def test_ped_anova_is_about_reaching_the_top(story: Tell) -> None:
    """The best tenth is decided by momentum alone; everything else by the learning rate."""
    pytest.importorskip("optuna")

    def loss(params: Mapping[str, Any]) -> float:
        top = math.log10(1 - params["momentum"]) < -2.8  # a tenth of its range
        return -1.0 - params["momentum"] if top else math.log10(params["lr"]) + 5

    result = sweep(story, loss, 500).result()
    assert result.importance(method="anova").params.index[0] == "lr"
    found = result.importance(method="ped-anova")
    assert found.params.index[0] == "momentum"
    assert found.params["importance"]["momentum"] > 0.9
    assert "reaching the best tenth" in found.summary()


def test_how_often_values_were_sampled_is_no_importance(story: Tell) -> None:
    """Nine of ten trials have one value, so nine of ten of the best do."""
    pytest.importorskip("optuna")
    space = caviar.Space(x=caviar.Float(0, 1), kind=caviar.Choice(["often", "rare"], weights=[9, 1]))
    result = sweep(story, lambda params: float(params["x"]), 400, space=space).result()
    found = result.importance(method="ped-anova")
    assert found.params["importance"]["kind"] < 0.05


def test_without_optuna_one_line_says_what_to_install(story: Tell, monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def missing(name: str, *rest: Any, **more: Any) -> Any:
        if name.partition(".")[0] == "optuna":
            raise ImportError(name)
        return real(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", missing)
    result = sweep(story, valley, 20).result()
    assert result.importance().method == "anova"
    with pytest.raises(CaviarError, match=r"pip install 'caviar-sweep\[importance\]'"):
        result.importance(method="ped-anova")

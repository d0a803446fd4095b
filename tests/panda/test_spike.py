from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from caviar.errors import UsageError
from caviar.panda.change import Change
from caviar.panda.live import Firing, Live
from caviar.panda.rules import OnSpike

Curve = list[float]

FALL = [2.3 * 0.85**step + 0.1 for step in range(30)]
"""A loss as one likes it."""


def judged(rule: OnSpike, values: Curve, **live: Any) -> Change | None:
    return rule.judge(Live.of(values, params={"lr": 0.1}, **live))


def first(rule: OnSpike, values: Curve, **live: Any) -> tuple[int, Change] | None:
    """The first report at which it fires, and what it wants."""
    for n in range(1, len(values) + 1):
        change = judged(rule, values[:n], **live)
        if change is not None:
            return n, change
    return None


def test_a_loss_that_falls_and_suddenly_rises() -> None:
    fired = first(OnSpike(), [*FALL, 1.1, 1.4, 1.6])
    assert fired is not None
    step, change = fired
    assert step == 32, "at the second report that lies above"
    assert change.set == {"lr": 0.05}
    assert change.rollback_to == 30, "the last report before it rose"
    assert change.reason == "loss 1.4 is 11 times its best, 0.1243 at step 29, for 2 reports"


@pytest.mark.parametrize("noise", [0.0, 0.03, 0.1])
def test_it_fires_under_noise_however_late_it_rises(noise: float) -> None:
    rng = np.random.default_rng(4)
    for late in range(12, 80):
        steps = np.arange(late + 6)
        losses = 2.3 * np.exp(-steps / 12) + 0.1
        losses[late:] = losses[late - 1] * 10
        losses *= 1 + noise * rng.standard_normal(len(losses))
        fired = first(OnSpike(), losses.tolist())
        assert fired is not None
        assert fired[0] == late + 2
        assert fired[1].rollback_to is not None
        assert late - 12 <= fired[1].rollback_to <= late, "nothing of the rise is kept, and little else is lost"


@pytest.mark.parametrize("kind", ["normal", "lognormal", "heavy tails", "the same everywhere"])
@pytest.mark.parametrize("noise", [0.02, 0.1, 0.2])
def test_noise_on_a_slow_fall_is_no_spike(kind: str, noise: float) -> None:
    rng = np.random.default_rng(11)
    steps = np.arange(100)
    fall = 2.3 * np.exp(-steps / 60) + 0.05
    fired = 0
    for _ in range(40):
        if kind == "normal":
            losses = fall * (1 + noise * rng.standard_normal(100))
        elif kind == "lognormal":
            losses = fall * np.exp(noise * rng.standard_normal(100))
        elif kind == "heavy tails":
            losses = fall * (1 + noise / 2 * rng.standard_t(3, 100))
        else:
            losses = fall + 0.5 * noise * rng.standard_normal(100)
        fired += first(OnSpike(), losses.tolist()) is not None
    assert fired == 0


def test_a_rise_that_takes_several_reports_is_left_behind_as_a_whole() -> None:
    """Each report is half as high again as the one before, so the first of them are no spike by themselves."""
    rise = [FALL[-1] * 1.5**n for n in range(1, 9)]
    fired = first(OnSpike(factor=3.0), [*FALL, *rise])
    assert fired is not None
    assert fired[1].rollback_to == 31, "1.5 times the best is below halfway to 3 times, 2.25 times is not"


def test_a_single_high_report_is_no_spike_of_two() -> None:
    assert first(OnSpike(), [*FALL, 9.0, *FALL[-1:] * 10]) is None
    assert first(OnSpike(patience=1), [*FALL, 9.0]) is not None


def test_a_single_low_report_is_not_the_best() -> None:
    level = [1.0 + 0.01 * (n % 3) for n in range(20)]
    level[10] = 0.01
    assert first(OnSpike(), level) is None
    fired = first(OnSpike(), [*level, 2.0, 2.0])
    assert fired is not None
    assert "2 times its best, 1 at step" in fired[1].reason


def test_it_waits_for_a_history() -> None:
    assert first(OnSpike(), [1.0] * 7 + [9.0] * 2) is None
    assert first(OnSpike(), [1.0] * 8 + [9.0] * 2) is not None


def test_a_slow_rise_is_none() -> None:
    """As of the loss on held-out data, where a model overfits: 1.5% a report, ten times as high in the end."""
    rise = [FALL[-1] * 1.015**n for n in range(155)]
    assert rise[-1] > 9 * FALL[-1]
    assert first(OnSpike(), [*FALL, *rise]) is None


def test_exactly_the_factor_is_not_more_than_it() -> None:
    flat = [1.0] * 12
    assert first(OnSpike(factor=1.5), [*flat, 1.5, 1.5]) is None
    assert first(OnSpike(factor=1.5), [*flat, 1.5000001, 1.5000001]) is not None


def test_accuracy_spikes_downwards() -> None:
    rise = [0.9 * (1 - 0.8**n) for n in range(1, 30)]
    assert first(OnSpike(), [*rise, 0.61, 0.61], minimize=False, metric="accuracy") is None
    fired = first(OnSpike(), [*rise, 0.3, 0.2], minimize=False, metric="accuracy")
    assert fired is not None
    assert fired[1].rollback_to == 29
    assert fired[1].reason == "accuracy 0.2 is far below its best, 0.8983 at step 28, for 2 reports"


def test_both_senses_are_symmetric() -> None:
    rng = np.random.default_rng(7)
    for _ in range(60):
        values = np.cumsum(rng.standard_normal(40)) * rng.choice([0.1, 10.0])
        less = judged(OnSpike(noise=1.0), values.tolist())
        more = judged(OnSpike(noise=1.0), (-values).tolist(), minimize=False)
        assert (less is None) == (more is None)
        if less is not None and more is not None:
            assert less.rollback_to == more.rollback_to


@pytest.mark.parametrize("level", [-3.0, -0.001, 0.0, 0.001])
def test_losses_at_and_below_zero(level: float) -> None:
    rng = np.random.default_rng(1)
    noisy = level + 0.01 * rng.standard_normal(60)
    assert first(OnSpike(), noisy.tolist()) is None
    fired = first(OnSpike(), [*noisy.tolist(), level + 4.0, level + 4.0])
    assert fired is not None
    assert "is far above its best" in fired[1].reason or "times its best" in fired[1].reason


def test_a_loss_that_comes_to_zero_wants_min_delta() -> None:
    zero = [1.0 / 2**n for n in range(10)] + [0.0] * 20 + [1e-9] * 3
    assert first(OnSpike(), zero) is not None
    assert first(OnSpike(min_delta=1e-3), zero) is None


def test_what_is_not_finite_lies_above_any_threshold() -> None:
    fired = first(OnSpike(), [*FALL, math.nan, math.inf])
    assert fired is not None
    assert fired[1].rollback_to == 30
    assert fired[1].reason == "loss inf came after its best, 0.1243 at step 29, for 2 reports"
    assert first(OnSpike(), [math.nan] * 30) is None, "there is nothing to go back to"
    assert first(OnSpike(), [1e308] * 10 + [math.inf] * 2) is not None


def test_old_values_that_are_not_finite_do_not_count() -> None:
    holes = [*FALL]
    holes[20] = math.nan
    fired = first(OnSpike(), [*holes, 1.1, 1.4])
    assert fired is not None
    assert fired[0] == 32


def test_without_rollback_it_fires_again_after_as_many_reports() -> None:
    rule = OnSpike(rollback=False)
    values, firings, lr = [*FALL, *[3.0] * 6], [], 0.1
    for n in range(1, len(values) + 1):
        change = rule.judge(Live.of(values[:n], params={"lr": lr}, firings=firings))
        if change is not None:
            assert change.rollback_to is None
            firings = [*firings, Firing("OnSpike", n, n, change)]
            lr = change.set["lr"]
    assert [firing.step for firing in firings] == [32, 34, 36]
    assert lr == 0.1 / 8


def test_it_gives_up_after_ten() -> None:
    values = [*FALL, 3.0, 3.0]
    nine = [Firing("OnSpike", 5, 5, Change({"lr": 1.0}))] * 9
    assert judged(OnSpike(), values, firings=nine) is not None
    assert judged(OnSpike(), values, firings=nine + nine[:1]) is None
    assert judged(OnSpike(at_most=None), values, firings=nine * 3) is not None


def test_where_lr_cannot_go_lower_it_does_not_go_back_either() -> None:
    values = [*FALL, 3.0, 3.0]
    low = Live.of(values, params={"lr": 0.1}, bounds={"lr": (0.08, 1.0)})
    change = OnSpike().judge(low)
    assert change is not None
    assert change.set == {"lr": 0.08}
    assert OnSpike().judge(Live.of(values, params={"lr": 0.08}, bounds={"lr": (0.08, 1.0)})) is None
    assert OnSpike(least={"lr": 0.1}).judge(low) is None


def test_it_may_look_at_another_metric_than_the_sweeps() -> None:
    accuracy, steps = np.linspace(0.5, 0.9, 30), np.arange(1, 31)
    loss = np.r_[np.exp(-np.arange(29) / 10), 3.0]
    curves = {"loss": (steps, loss)}
    view = Live.of(accuracy, metric="accuracy", minimize=False, curves=curves, params={"lr": 0.1})
    assert OnSpike(patience=1).judge(view) is None
    change = OnSpike(patience=1, metric="loss").judge(view)
    assert change is not None
    assert (change.rollback_to, change.set) == (29, {"lr": 0.05})
    assert change.reason.startswith("loss 3 is")
    upside_down = Live.of(-loss, metric="score", curves={"accuracy": (steps, accuracy)}, params={"lr": 0.1})
    assert OnSpike(patience=1, metric="accuracy", mode="max").judge(upside_down) is None
    assert OnSpike(patience=1, metric="missing").judge(view) is None
    late = Live.of(
        accuracy, metric="accuracy", minimize=False, curves={"loss": (steps[:-1], loss[:-1])}, params={"lr": 1}
    )
    assert OnSpike(patience=1, metric="loss").judge(late) is None, "this report does not carry it"


@pytest.mark.parametrize(("name", "value"), [("metric", 3), ("mode", "less")])
def test_the_curve_that_it_looks_at_is_checked(name: str, value: object) -> None:
    with pytest.raises(UsageError, match=rf"OnSpike\({name}="):
        OnSpike(**{name: value})  # type: ignore[arg-type]

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from caviar.errors import UsageError
from caviar.panda.change import Change
from caviar.panda.hand import Decision, Hand
from caviar.panda.live import Firing, Live
from caviar.panda.recorded import Begun, Fired
from caviar.panda.rules import Cosine, EveryN, FunctionRule, OnPlateau, OnSpike
from tests.panda.blocks import reports


class Noted:
    """A rule that notes at which reports it was asked, and does what a table says."""

    def __init__(self, name: str = "noted", does: Mapping[int, Change] | None = None) -> None:
        self.__name__ = name
        self.does = does or {}
        self.asked: list[tuple[int, int]] = []
        self.lives: list[Live] = []

    def __call__(self, live: Live) -> Change | None:
        self.asked.append((live.step, live.judged))
        self.lives.append(live)
        return self.does.get(live.step)


def hand(*rules: Any, **arguments: Any) -> Hand:
    return Hand(rules, metric="loss", **arguments)


def go(
    held: Hand, steps: Sequence[int], *, attempt: int = 0, params: Mapping[str, Any] | None = None
) -> list[Decision]:
    """Reports one by one, each judged as it comes."""
    found = []
    for step in steps:
        held.see(reports([step], [1.0], attempt=attempt))
        found += held.judge(step, params or {"lr": 0.1, "momentum": 0.9})
    return found


def test_rules_are_asked_at_every_report_and_see_the_run() -> None:
    noted = Noted()
    held = hand(noted, max_step=9, minimize=False, bounds={"lr": (0.01, 1.0)})
    held.see(reports([1], {"val": [7.0]}, seq=[0]))
    held.see(reports([1], [3.0], seq=[1]))
    assert held.judge(1, {"lr": 0.5}) == []
    held.see(reports([2], [2.0]))
    held.judge(2, {"lr": 0.25})
    assert noted.asked == [(1, 1), (2, 2)]
    live = noted.lives[-1]
    assert (live.step, live.metric, live.value, live.max_step, live.rule) == (2, "loss", 2.0, 9, "noted")
    assert (live.steps.tolist(), live.values.tolist(), live.losses.tolist()) == ([1, 2], [3.0, 2.0], [-3.0, -2.0])
    assert (live.params, live.bounds) == ({"lr": 0.25}, {"lr": (0.01, 1.0)})
    assert live.metrics == {"loss": 2.0}
    assert live.curve("val")[1].tolist() == [7.0]
    assert noted.lives[0].metrics == {"loss": 3.0, "val": 7.0}
    with pytest.raises(TypeError):
        live.params["lr"] = 9.0  # type: ignore[index]


def test_a_report_that_is_not_there_is_not_judged() -> None:
    noted = Noted()
    held = hand(noted)
    held.see(reports([1], {"val": [7.0]}))
    assert held.judge(1, {}) == []
    assert noted.asked == []


def test_decisions_come_in_the_order_of_the_rules_and_are_remembered() -> None:
    held = hand(EveryN(2, scale={"lr": 0.5}), EveryN(2, set={"momentum": 0.5}))
    decisions = go(held, [1, 2])
    assert [(each.rule, each.change.set) for each in decisions] == [
        ("EveryN", {"lr": 0.05}),
        ("EveryN 2", {"momentum": 0.5}),
    ]
    assert [(each.step, each.judged) for each in decisions] == [(2, 2), (2, 2)]
    assert held.firings == tuple(Firing(each.rule, 2, 2, each.change) for each in decisions)


def test_rules_see_the_firings_of_earlier_reports() -> None:
    noted = Noted()
    held = hand(EveryN(1, scale={"lr": 0.5}), noted)
    go(held, [1, 2, 3])
    assert [len(live.firings) for live in noted.lives] == [0, 1, 2]


def test_of_rules_with_one_name_each_has_its_own_limits() -> None:
    once = {"lr": "*=0.5"}
    held = hand(
        FunctionRule(lambda live: once, at_most=1),
        FunctionRule(lambda live: once, at_most=1, every=2),
        lambda live: None,
    )
    assert held.rules == ("<lambda>", "<lambda> 2", "<lambda> 3")
    assert [(each.rule, each.step) for each in go(held, [1, 2, 3])] == [("<lambda>", 1), ("<lambda> 2", 2)]


def test_a_param_belongs_to_the_first_that_sets_it() -> None:
    first = Noted("first", {1: Change({"lr": 0.2}, reason="one")})
    second = Noted("second", {1: Change({"lr": 0.3, "momentum": 0.5}, reason="two")})
    third = Noted("third", {1: Change({"momentum": 0.6})})
    decisions = go(hand(first, second, third), [1])
    assert [(each.rule, each.change.set, each.change.reason) for each in decisions] == [
        ("first", {"lr": 0.2}, "one"),
        ("second", {"momentum": 0.5}, "two; lr was left to first"),
    ]


def test_a_rollback_ends_the_round_and_voids_what_was_wanted_before() -> None:
    first = Noted("first", {2: Change({"lr": 0.2})})
    second = Noted("second", {2: Change({"lr": 0.3}, 1)})
    third = Noted("third")
    held = hand(first, second, third)
    decisions = go(held, [1, 2])
    assert [(each.rule, each.change.set, each.change.rollback_to) for each in decisions] == [
        ("second", {"lr": 0.3}, 1)
    ]
    assert [firing.rule for firing in held.firings] == ["second"]
    assert third.asked == [(1, 1)]


def test_a_stop_ends_the_round() -> None:
    stops = Noted("stops", {1: Change(stop=True, reason="enough")})
    last = Noted("last")
    decisions = go(hand(Noted("first", {1: Change(pause=True)}), stops, last), [1])
    assert [(each.rule, each.change.stop) for each in decisions] == [("stops", True)]
    assert last.asked == []


def test_schedules_are_not_asked() -> None:
    assert hand(Cosine(0.0)).rules == ()
    with pytest.raises(UsageError, match="rule 'OnSpike': needs a rule or a function"):
        hand("OnSpike")


@pytest.mark.parametrize(
    ("rules", "every"),
    [
        ((), 1),
        ((OnPlateau(every=6), EveryN(4, scale={"lr": 0.5})), 2),
        ((OnPlateau(every=5), OnPlateau(every=10)), 5),
        ((OnSpike(), OnPlateau(every=10)), 1),
    ],
)
def test_how_often_the_trial_waits(rules: Sequence[Any], every: int) -> None:
    assert hand(*rules).every == every


# --- attempts ------------------------------------------------------------------------------------------


def test_after_a_fault_what_was_judged_is_not_judged_again_whatever_it_says_now() -> None:
    noted = Noted()
    held = hand(noted)
    go(held, range(1, 6))
    held.restarted(2, attempt=1)
    for step in range(3, 8):
        held.see(reports([step], [99.0], attempt=1))
        held.judge(step, {})
    assert noted.asked == [(step, step) for step in range(1, 8)]
    assert noted.lives[-1].values.tolist() == [1.0, 1.0, 99.0, 99.0, 99.0, 99.0, 99.0]


def test_a_report_that_was_seen_and_not_judged_is_judged_when_it_comes_again() -> None:
    noted = Noted()
    held = hand(noted)
    go(held, [1, 2])
    held.see(reports([3], [1.0]))
    held.restarted(1, attempt=1)
    go(held, [2, 3, 4], attempt=1)
    assert noted.asked == [(1, 1), (2, 2), (3, 3), (4, 4)]


def test_a_report_before_the_checkpoint_was_judged() -> None:
    """It was answered before the checkpoint was made, whatever this hand knows of it."""
    noted = Noted()
    held = hand(noted)
    held.see(reports([1, 2, 3], [1.0, 1.0, 1.0]))
    held.restarted(3, attempt=1)
    held.restarted(0, attempt=2)  # this checkpoint is lost
    go(held, [1, 2, 3, 4], attempt=2)
    assert noted.asked == [(4, 4)]


def test_after_a_rollback_all_is_judged_anew_under_new_numbers() -> None:
    noted = Noted("noted", {4: Change({"lr": 0.05}, 3)})
    held = hand(noted)
    assert [each.change.rollback_to for each in go(held, [1, 2, 3, 4])] == [3]
    held.rolled_back(2, attempt=1)
    held.restarted(2, attempt=1)
    assert held.firings[0].change == Change({"lr": 0.05}, 2, reason="noted asked for it"), "where it came to"
    noted.does = {}
    go(held, [3, 4], attempt=1)
    assert noted.asked == [(1, 1), (2, 2), (3, 3), (4, 4), (3, 5), (4, 6)]
    assert noted.lives[-1].numbers.tolist() == [1, 2, 5, 6]


def test_a_persons_rollback_leaves_the_firings_as_they_are() -> None:
    noted = Noted("noted", {3: Change({"lr": 0.05}, 2)})
    held = hand(noted)
    go(held, [1, 2, 3])
    held.rolled_back(2, attempt=1)
    held.rolled_back(1, attempt=2)
    assert [firing.change.rollback_to for firing in held.firings] == [2]


# --- rules that go wrong -------------------------------------------------------------------------------


def test_a_rule_that_raises_is_told_of_once_and_left_out(caplog: pytest.LogCaptureFixture) -> None:
    def broken(live: Live) -> None:
        if live.step >= 2:
            raise ZeroDivisionError("of\nmine")

    noted = Noted()
    held = hand(broken, noted)
    with caplog.at_level(logging.WARNING):
        go(held, [1, 2, 3])
    assert noted.asked == [(1, 1), (2, 2), (3, 3)]
    assert held.left_out == {"broken": "at step 2: ZeroDivisionError: of mine"}
    assert [record.getMessage() for record in caplog.records] == [
        "rule broken is left out from now on: at step 2: ZeroDivisionError: of mine"
    ]
    assert caplog.records[0].exc_info is not None


def test_a_rule_that_returns_nonsense_is_left_out(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        held = hand(FunctionRule(lambda live: {"lrr": 1}), FunctionRule(lambda live: 3))  # type: ignore[arg-type, return-value]
        assert go(held, [1, 2]) == []
    assert list(held.left_out) == ["<lambda>", "<lambda> 2"]
    assert len(caplog.records) == 2


def test_a_rule_cannot_write_to_what_it_is_shown(caplog: pytest.LogCaptureFixture) -> None:
    def writes(live: Live) -> None:
        live.values[0] = 0.0

    noted = Noted()
    held = hand(writes, noted)
    go(held, [1])
    assert "read-only" in held.left_out["writes"]
    assert noted.lives[0].values.tolist() == [1.0]


def test_what_is_refused_was_no_firing(caplog: pytest.LogCaptureFixture) -> None:
    held = hand(EveryN(1, scale={"lr": 0.5}), EveryN(1, scale={"momentum": 0.5}))
    decisions = go(held, [1])
    held.refused(decisions[0], "lr is no knob")
    assert [firing.rule for firing in held.firings] == ["EveryN 2"]
    assert held.left_out == {"EveryN": "what it wanted at step 1 was refused: lr is no knob"}
    assert [each.rule for each in go(held, [2])] == ["EveryN 2"]


def test_what_came_to_nothing_was_no_firing_and_may_come_again() -> None:
    held = hand(EveryN(1, scale={"lr": 0.5}, cooldown=9))
    [decision] = go(held, [1])
    held.undone(decision)
    assert held.firings == ()
    assert len(go(held, [2])) == 1


def test_rules_that_were_left_out_stay_so_in_a_run_that_goes_on() -> None:
    noted = Noted()
    held = hand(noted)
    held.recall([], left_out={"noted": "at step 2: it was wrong"})
    go(held, [1])
    assert noted.asked == []


# --- recalling -----------------------------------------------------------------------------------------


def test_what_several_records_tell_of_one_firing_is_one() -> None:
    held = hand(Noted())
    held.recall(
        [reports([10, 20, 30], [3.0, 2.0, 1.0]), reports([21, 30], [2.0, 1.0], attempt=1)],
        begun=[Begun(attempt=0, step=0), Begun(attempt=1, step=20, back=True)],
        fired=[
            Fired(rule="noted", judged=4, change=Change(pause=True)),
            Fired(rule="noted", judged=3, change=Change(rollback_to=20, reason="why")),
            Fired(rule="noted", judged=3, change=Change({"lr": 0.1}, reason="why")),
        ],
    )
    assert held.firings == (
        Firing("noted", 30, 3, Change({"lr": 0.1}, 20, reason="why")),
        Firing("noted", 21, 4, Change(pause=True)),
    )


def test_the_last_report_is_judged_again_by_those_of_whom_nothing_is_known() -> None:
    """Of three rules that fired, one is recorded."""
    changes = [Change({"lr": 0.1}), Change({"momentum": 0.8}), Change({"momentum": 0.7, "lr": 0.3})]
    rules = [Noted(name, {3: change}) for name, change in zip("abc", changes, strict=True)]
    whole = hand(*rules)
    decisions = go(whole, [1, 2, 3], params={"lr": 1.0, "momentum": 0.9})
    assert [each.rule for each in decisions] == ["a", "b"]

    held = hand(*rules)
    held.recall(
        [reports([3, 1, 2], [1.0, 1.0, 1.0])], fired=[Fired(rule="b", judged=3, change=decisions[1].change)]
    )
    held.restarted(1, attempt=1)
    assert go(held, [2, 3], attempt=1, params={"lr": 1.0, "momentum": 0.9}) == decisions[:1]
    assert held.firings == whole.firings
    assert rules[0].asked == [(1, 1), (2, 2), (3, 3), (3, 3)]
    assert rules[1].asked == [(1, 1), (2, 2), (3, 3)]


def test_a_recorded_rollback_was_the_end_of_its_round() -> None:
    noted = Noted()
    held = hand(noted, Noted("goes back"))
    held.recall(
        [reports([1, 2], [1.0, 1.0])], fired=[Fired(rule="goes back", judged=2, change=Change(rollback_to=1))]
    )
    held.restarted(1, attempt=1)
    assert go(held, [2, 3], attempt=1) == []
    assert noted.asked == [(3, 3)]


def test_a_firing_whose_report_is_lost_counts_all_the_same() -> None:
    held = hand(EveryN(1, scale={"lr": 0.5}))
    held.recall([reports([1], [1.0])], fired=[Fired(rule="EveryN", judged=2, change=Change({"lr": 0.1}))])
    held.restarted(1, attempt=1)
    assert go(held, [2], attempt=1) == []
    assert [firing.judged for firing in held.firings] == [2]


def test_numbers_count_over_all_that_was_rolled_back() -> None:
    noted = Noted()
    held = hand(noted)
    rows = [
        reports([1, 2, 3], [1.0, 2.0, 3.0]),
        reports([2, 3], [2.5, 3.5], attempt=1),
        reports([3, 4], [3.7, 4.7], attempt=2),
        reports([1, 2], [7.0, 7.0], trial=5),
    ]
    begun = [Begun(attempt=1, step=1, back=True), Begun(attempt=2, step=2)]
    held.recall(rows, begun=begun)
    held.restarted(2, attempt=3)
    go(held, [3, 4, 5], attempt=3)
    assert noted.asked == [(4, 6), (5, 7)]
    assert noted.lives[-1].numbers.tolist() == [1, 4, 5, 6, 7]


# --- the lecture's case --------------------------------------------------------------------------------


def train(
    rules: Sequence[Any], lr: float, *, steps: int = 60, every: int = 5
) -> tuple[list[float], list[Decision]]:
    """Gradient descent in a valley that is steep across: its floor hides for a while that the walls throw it ever
    higher. Checkpoints every few steps; the losses of the main line, and what the rules did."""
    held = Hand(rules, metric="loss", max_step=steps, bounds={"lr": (1e-4, 1.0)})
    saved = {0: (5.0, 1e-4)}
    losses: dict[int, float] = {}
    done: list[Decision] = []
    step, attempt, (along, across) = 0, 0, saved[0]
    while step < steps:
        step += 1
        along, across = along * (1 - lr), across * (1 - 25 * lr)
        losses[step] = min(along**2 + 25 * across**2, 1e300)
        held.see(reports([step], [losses[step]], attempt=attempt))
        decisions = held.judge(step, {"lr": lr})
        if not decisions and step % every == 0:
            saved[step] = (along, across)
        for decision in decisions:
            lr = decision.change.set["lr"]
            if decision.change.rollback_to is not None:
                step = max(at for at in saved if at <= decision.change.rollback_to)
                along, across = saved[step]
                losses = {at: loss for at, loss in losses.items() if at <= step}
                attempt += 1
                held.rolled_back(step, attempt=attempt)
        done += decisions
    return [losses[at] for at in sorted(losses)], done


def test_a_loss_that_falls_and_suddenly_rises_is_rescued() -> None:
    alone, _ = train([], 0.1)
    lowest = alone.index(min(alone))
    assert 10 < lowest < 30, "it falls, and then it rises"
    assert alone[:lowest] == sorted(alone[:lowest], reverse=True)
    assert alone[-1] > 1e6

    rescued, done = train([OnSpike(factor=1.5, patience=2, rollback=True, scale={"lr": 0.5})], 0.1)
    assert len(done) == 1
    assert done[0].change.set == {"lr": 0.05}
    assert rescued[-1] < 0.02 * min(alone)
    assert rescued == sorted(rescued, reverse=True)


def test_a_spike_that_comes_back_is_met_by_an_ever_lower_rate() -> None:
    """Each roll-back may come to a checkpoint at which the first rate was in force: the new one is scaled from
    that which failed last, so that it goes on falling."""
    rescued, done = train([OnSpike(scale={"lr": 0.9})], 0.12)
    rates = [decision.change.set["lr"] for decision in done]
    assert len(rates) > 2
    assert rates == [pytest.approx(0.12 * 0.9**n) for n in range(1, len(rates) + 1)]
    assert rates[-1] < 2 / 25, "where it is stable"
    assert rescued[-1] < 0.1 * min(train([], 0.12)[0])

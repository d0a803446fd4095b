"""The hand of rules in a run that is driven: what a person does meanwhile is no fault of a rule."""

from __future__ import annotations

from pathlib import Path

import pytest

import caviar
from caviar import runner
from caviar.execution import inline
from caviar.panda.change import Change
from caviar.panda.live import Live
from caviar.store import inbox


@pytest.fixture(autouse=True)
def at_every_report(monkeypatch: pytest.MonkeyPatch) -> None:
    """The driver looks into the inbox at every report."""
    monkeypatch.setattr(runner, "INBOX_S", -1.0)
    monkeypatch.setattr(inline, "FLUSH_S", -1.0)


class Run:
    """A run with a rule that fires at step 8 the first two times that it is asked there, and a person who rolls it
    back in that step to step 6, once."""

    def __init__(self, path: Path, wants: Change, *, before: bool) -> None:
        """``before``: whether the person is first, and the rule second."""
        self.path = path
        self.wants = wants
        self.before = before
        self.asked: list[int] = []
        self.backs = [6]

    def rule(self, live: Live) -> Change | None:
        self.asked.append(live.step)
        return self.wants if live.step == 8 and self.asked.count(8) <= 2 else None

    def go_back(self) -> None:
        if self.backs:
            inbox.post(self.path, "rollback", args={"to_step": self.backs.pop()})

    def train(self, trial: caviar.Trial) -> None:
        for step in trial.steps():
            if step == 8 and self.before:
                self.go_back()
                trial.report(other=1.0)  # the driver takes that, then comes what the rule is asked about
            trial.report(loss=1.0)
            if step == 8 and not self.before:
                self.go_back()
            if trial.checkpoint_due:
                with trial.checkpoint():
                    pass

    def go(self) -> tuple[list[str], list[str]]:
        """Who did what, and the answers."""
        space = caviar.Space(lr=caviar.Float(0.001, 1.0, scale="log"))
        sweep = caviar.Sweep(self.train, space, metric="loss", trials=1, max_step=20, checkpoint_every=1)
        run = sweep.panda(self.path, caviar.Inline(), rules=[self.rule], params={"lr": 0.1}, background=False)
        events = run.result().events()
        done = events[events.kind.isin(["rolled_back", "adjusted"])]
        answers = events[events.kind == "command_answered"]
        return [data["by"] for data in done.data], [data["text"] for data in answers.data]


@pytest.mark.parametrize("wants", [Change(rollback_to=6), Change(set={"lr": 0.3})])
def test_in_a_run_that_is_being_rolled_back_rules_are_not_asked(tmp_path: Path, wants: Change) -> None:
    run = Run(tmp_path / "live", wants, before=True)
    by, answers = run.go()
    assert by[:2] == ["by hand", "rule"]
    assert answers[0] == "rolled back from step 8 to step 6"
    assert not [text for text in answers if "already" in text]


def test_what_a_rule_set_is_dropped_by_a_roll_back_and_it_is_asked_again(tmp_path: Path) -> None:
    run = Run(tmp_path / "live", Change(set={"lr": 0.3}), before=False)
    by, answers = run.go()
    assert by == ["rule", "by hand", "rule"]
    assert answers == [
        "applied at step 9: lr 0.1 -> 0.3",
        "rolled back from step 8 to step 6",
        "applied at step 9: lr 0.1 -> 0.3",
    ]
    assert run.asked == [*range(1, 9), *range(7, 21)]

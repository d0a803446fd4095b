"""Sweeps of every kind, made by hand, that reports are written of."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from caviar.messages import Adjusted, AttemptFailed, Decided, RolledBack, StageOpened, TrialEnded
from caviar.space import Choice, Float, Int, Space
from tests.analysis.conftest import Story

MANY = Space(
    lr=Float(1e-4, 1.0, scale="log"),
    momentum=Float(0.9, 0.999, scale="one_minus_log"),
    optimizer=Choice(["sgd", "adam"]),
    layers=Int(1, 4),
)


@dataclass
class Declared(Story):
    """A story whose declaration says more."""

    more: dict = None  # type: ignore[assignment]

    @property
    def declaration(self):
        return {**super().declaration, **(self.more or {})}


def told(**declared) -> Declared:
    return Declared(**declared).begin()


def nothing():
    return told().result("running")


def only_sampled():
    return told().sampled(0).sampled(1).result("interrupted")


def one_report():
    return told().trial(0, [1.0]).result()


def running():
    return told(trials=9).trial(0, [1.0, 0.5]).trial(1, [0.9, 0.8], "running").result("running")


def interrupted():
    return told(trials=9).trial(0, [1.0, 0.5]).trial(1, [0.9], "running").result("interrupted")


def all_failed():
    story = told(trials=3)
    for trial in range(3):
        story.sampled(trial, lr=0.1).started(trial)
        traceback = f"Traceback (most recent call last):\n  File 'x.py'\nValueError: no file <b>'{trial}'</b>\n"
        reason = f"ValueError: no file <b>'{trial}'</b>"
        story.tell(TrialEnded(story.tick(), trial, 1, 0, "failed", reason, traceback))
    return story.result()


def all_nan():
    story = told()
    for trial in range(4):
        story.trial(trial, [math.nan, math.inf], "running", lr=0.1 * (trial + 1))
        story.ended(trial, "stopped", reason="diverged")
    return story.result()


def another_metric():
    story = told(trials=1).sampled(0).started(0)
    return story.report(0, 1, accuracy=0.5).ended(0, "failed", reason="no report of loss").result()


def all_equal():
    story = told()
    for trial in range(12):
        story.trial(trial, [0.5] * 10, lr=0.1 / (trial + 1), momentum=0.9, optimizer="sgd", layers=1)
    return story.result()


def one_param():
    story = told(space=Space(lr=Float(1e-4, 1, scale="log")))
    for trial in range(12):
        story.trial(trial, [1.0 + trial, trial], lr=0.1 / (trial + 1))
    return story.result()


def nothing_varies():
    story = told(space=Space(lr=0.1))
    for trial in range(12):
        story.trial(trial, [1.0 + trial, trial], lr=0.1)
    return story.result()


def no_params():
    return told(space=Space()).trial(0, [1.0, 0.5]).result()


def no_max_step():
    story = told(max_step=None)
    for trial in range(12):
        story.trial(trial, [1.0 + trial, trial], lr=0.1 / (trial + 1), momentum=0.95, optimizer="sgd", layers=1)
    return story.result()


def whole(trials: int = 60, *, stages: bool = True, **more):
    """Judged at two rungs, in two stages, with some that diverged and one that failed."""
    rng = np.random.default_rng(3)
    asha = {"scheduler": {"name": "asha", "grace_steps": 3, "reduction_factor": 3}, "sampler": {"name": "random"}}
    story = told(space=MANY, max_step=20, trials=trials, more=asha | more)
    for trial in range(trials):
        stage = int(stages and trial >= trials // 2)
        if stages and trial == trials // 2:
            narrow = Space({**MANY, "lr": Float(1e-3, 0.2, scale="log")})
            story.tell(StageOpened(story.tick(), 1, narrow.to_dict()))
        params = MANY.sample(rng)
        story.events.append(_sampled(story, trial, stage, params))
        story.started(trial)
        if params["lr"] > 0.3:
            story.curve(trial, [1.0, math.nan]).ended(trial, "stopped", reason="diverged")
            continue
        end = abs(math.log10(params["lr"]) + 1.5) + rng.normal(0, 0.05)
        length = int(rng.choice([3, 9, 20], p=[0.6, 0.2, 0.2]))
        curve = [end + 2 / step + rng.normal(0, 0.03) for step in range(1, length + 1)]
        story.curve(trial, curve)
        for rung in (3, 9):
            if rung <= length:
                word = "stop" if rung == length else "continue"
                story.tell(Decided(story.tick(), trial, 1, rung, rung, curve[rung - 1], word))
        story.ended(trial, "completed" if length == 20 else "stopped")
    return story.result()


def _sampled(story, trial, stage, params):
    from caviar.messages import TrialSampled
    from caviar.store.rows import to_row

    return to_row(TrialSampled(story.tick(), trial, stage, params, trial))


def live(status: str = "running"):
    """A live run that was adjusted, rolled back and adjusted again."""
    story = told(trials=1, max_step=None, more={"panda": {"rules": []}}).sampled(0).started(0)
    story.curve(0, [1.0, 0.9, 0.8, 0.7])
    story.tell(Adjusted(story.tick(), 0, 1, 5, {"lr": 0.1}, {"lr": 0.5}, note="more & <faster>"))
    story.report(0, 5, loss=0.9).report(0, 6, loss=4.0)
    story.tell(AttemptFailed(story.tick(), 0, 1, 6, "spike"))
    story.tell(RolledBack(story.tick(), 0, 2, 3, 6, note="too fast"))
    story.started(0, 2, restored=3)
    story.tell(Adjusted(story.tick(), 0, 2, 5, {"lr": 0.1}, {"lr": 0.05}))
    story.curve(0, [0.7, 0.6, 0.55, 0.5], attempt=2, first=4)
    if status == "finished":
        story.ended(0, "completed", 2)
    return story.result(status)


def live_not_begun():
    return told(trials=1, more={"panda": {"rules": []}}).result("running")


DEGENERATE = (
    nothing, only_sampled, one_report, running, interrupted, all_failed, all_nan, another_metric, all_equal,
    one_param, nothing_varies, no_params, no_max_step, whole, live, live_not_begun,
)  # fmt: skip

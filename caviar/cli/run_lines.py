"""How a live run stands, in plain lines for a pipe or a log, and in JSON for machines."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from caviar.analysis.acts import Act
from caviar.analysis.live_run import LiveRunView
from caviar.cli import costs, figures
from caviar.cli.follow import Moment
from caviar.cli.live_run import standing

FIRST = 8
"""Of what was done before anybody looked, so much is told."""

TOLD = 20
"""Machines are told so many of the last things that were done."""


class RunLines:
    """A line where the run has gone on, and one for each thing that was done to it."""

    def __init__(self) -> None:
        self._acts: tuple[Act, ...] = ()
        self._begun = False
        self._before: object = None

    def new(self, moment: Moment, run: LiveRunView) -> Iterator[str]:
        """The lines for what is new."""
        for act in self._fresh(run):
            yield act_line(act)
        self._acts, self._begun = tuple(run.acts), True
        now = (run.step, standing(moment, run))
        if now != self._before:
            yield line(moment, run)
        self._before = now

    def _fresh(self, run: LiveRunView) -> list[Act]:
        """What was done since the last time."""
        if not self._begun:
            return list(run.acts[-FIRST:])
        before = {dataclasses.replace(act, dropped=False) for act in self._acts}
        return [act for act in run.acts if dataclasses.replace(act, dropped=False) not in before]


def act_line(act: Act) -> str:
    """Something that was done, in one line."""
    step = f"step {act.step:,}: " if act.kind == "adjusted" else ""
    why = f" ({act.why})" if act.why else ""
    return figures.one_line(f"{figures.clock(act.time_us)}  {step}{act.text}{why}")


def line(moment: Moment, run: LiveRunView) -> str:
    """Everything that matters, in one line."""
    most = moment.declaration.get("max_step")
    parts = [f"step {run.step:,}" if most is None else f"step {run.step:,}/{most:,}"]
    if len(run.steps):
        parts.append(f"{moment.metric} {figures.number(run.value)}")
    if run.best == run.best:
        parts.append(f"best {figures.number(run.best)} at step {run.best_step:,}")
    words, state = standing(moment, run)
    if state != "running":
        parts.append(words)
    elif run.steps_per_s:
        parts.append(f"{figures.rate(run.steps_per_s)} steps/s")
    if run.left_s is not None and moment.state == "running":
        parts.append(f"about {figures.duration(run.left_s)} left")
    return figures.one_line(f"[{figures.duration(moment.view.elapsed_s)}] {'; '.join(parts)}")


def as_dict(moment: Moment, run: LiveRunView) -> dict[str, Any]:
    """The same for machines."""
    return {
        "kind": "live_run",
        "folder": str(moment.folder),
        "state": moment.state,
        "ended": moment.view.ended,
        "status": run.status,
        "reason": run.reason,
        "attempt": run.attempt,
        "step": run.step,
        "max_step": moment.declaration.get("max_step"),
        "metric": moment.metric,
        "value": run.value,
        "best": {"value": run.best, "step": run.best_step} if run.best == run.best else None,
        "others": dict(run.others),
        "params": dict(run.params),
        "changes": {name: {"old": change.old, "step": change.step} for name, change in run.changes.items()},
        "checkpoint": run.checkpoint,
        "acts": [_act(act) for act in run.acts[-TOLD:]],
        "reports": moment.view.reports,
        "steps_per_s": run.steps_per_s,
        "elapsed_s": moment.view.elapsed_s,
        "left_s": run.left_s,
        **costs.as_dict(moment.view),
    }


def _act(act: Act) -> dict[str, Any]:
    names = ("kind", "step", "text", "by", "note", "dropped")
    return {"time": datetime.fromtimestamp(act.time_us / 1e6, UTC)} | {name: getattr(act, name) for name in names}

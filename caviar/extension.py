"""Extending a sweep: more trials, further steps, another space; asked for, checked, and told."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from caviar.errors import UsageError
from caviar.messages import LAST_STEP, Extension, TrialReopened
from caviar.space import Space
from caviar.state import Plan, SweepState, proposer
from caviar.trial import MAX_TRIALS

ARGUMENTS = ("trials", "max_step", "space")


def requested(args: Mapping[str, Any], *, reopened: Sequence[TrialReopened]) -> Extension:
    """What the arguments of an `extend` command ask for; what makes no sense raises `UsageError`."""
    for name in args:
        if name not in ARGUMENTS:
            raise UsageError(f"extend: {name!r} is unknown; it takes {', '.join(ARGUMENTS)}")
    more_trials, max_step, space = (args.get(name) for name in ARGUMENTS)
    for name, value, least in (("trials", more_trials, 0), ("max_step", max_step, 1)):
        whole = isinstance(value, int) and not isinstance(value, bool) and least <= value < 2**53
        if value is not None and not whole:
            raise UsageError(f"extend: {name}={value!r:.60} is no whole number of at least {least}")
    if space is not None:
        try:
            Space.from_dict(space)
        except (UsageError, KeyError, TypeError, ValueError, AttributeError) as error:
            raise UsageError(f"extend: space: {error}") from None
    if not more_trials and max_step is None and space is None:
        raise UsageError("extend: by nothing; say how many more trials, or up to which step")
    return Extension(more_trials=more_trials or 0, max_step=max_step, space=space, reopened=reopened)


def check(plan: Plan, extension: Extension, *, first: int, sampled: int) -> None:
    """Raise `UsageError` if a sweep with this plan cannot be extended so. ``first``: the trial with which its
    stage began; ``sampled``: how many trials it has."""
    wanted = replace(plan, trials=plan.trials + extension.more_trials)
    if wanted.trials > MAX_TRIALS:
        raise UsageError(f"trials: {wanted.trials:,} in all are too many; a sweep has at most {MAX_TRIALS:,}")
    if extension.max_step is not None:
        if plan.max_step is None or extension.max_step <= plan.max_step:
            raise UsageError(f"max_step={extension.max_step}: must lie above the sweep's, {plan.max_step}")
        if extension.max_step > LAST_STEP:
            raise UsageError(f"max_step={extension.max_step}: must be at most {LAST_STEP}")
        plan.scheduler.begin(max_step=extension.max_step)
    if extension.space is not None:
        proposer(replace(wanted, space=Space.from_dict(extension.space)), sampled)
    elif not plan.sampler.learns:
        proposer(wanted, first)


def told(state: SweepState, extension: Extension) -> str:
    """What a sweep in this state was extended by, in one line."""
    plan, said = state.plan, []
    if extension.more_trials:
        said.append(f"{extension.more_trials} more trials, {plan.trials} in all")
    if extension.max_step is not None:
        said.append(f"up to step {plan.max_step}, where {len(extension.reopened)} completed trials train on")
    if extension.space is not None:
        said.append(f"stage {state.stage} is open")
    return f"extended: {'; '.join(said)}"

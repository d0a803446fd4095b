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

ARGUMENTS = ("trials", "max_step", "space", "zoom")


def requested(args: Mapping[str, Any], *, reopened: Sequence[TrialReopened]) -> Extension:
    """What the arguments of an `extend` command ask for; what makes no sense raises `UsageError`."""
    for name in args:
        if name not in ARGUMENTS:
            raise UsageError(f"extend: {name!r} is unknown; it takes {', '.join(ARGUMENTS)}")
    more_trials, max_step, space, zoom = (args.get(name) for name in ARGUMENTS)
    for name, value, least in (("trials", more_trials, 0), ("max_step", max_step, 1)):
        whole = isinstance(value, int) and not isinstance(value, bool) and least <= value < 2**53
        if value is not None and not whole:
            raise UsageError(f"extend: {name}={value!r:.60} is no whole number of at least {least}")
    if space is not None:
        try:
            Space.from_dict(space)
        except (UsageError, KeyError, TypeError, ValueError, AttributeError) as error:
            raise UsageError(f"extend: space: {error}") from None
    if zoom is not None and (
        space is None or not isinstance(zoom, list) or not all(type(one) is dict for one in zoom)
    ):
        raise UsageError(f"extend: zoom={zoom!r:.60} is no list of what changed, of a space that is given")
    if zoom is not None and not more_trials:
        raise UsageError("extend: a zoomed space needs trials to sample from it")
    if not more_trials and max_step is None and space is None:
        raise UsageError("extend: by nothing; say how many more trials, or up to which step")
    return Extension(more_trials=more_trials or 0, max_step=max_step, space=space, zoom=zoom, reopened=reopened)


def check(state: SweepState, extension: Extension, *, plan: Plan | None = None, anew: bool = False) -> None:
    """Raise `UsageError` if a sweep in this state cannot be extended so. ``plan``: the one that it is to go on
    with, if that is another; ``anew``: whether that begins a stage."""
    plan = plan or state.plan
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
        proposer(replace(wanted, space=Space.from_dict(extension.space)), state.sampled, stage=state.stage + 1)
    elif not plan.sampler.learns:
        first, stage = (state.sampled, state.stage + 1) if anew else (state.stage_first, state.stage)
        proposer(wanted, first, stage=stage)


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

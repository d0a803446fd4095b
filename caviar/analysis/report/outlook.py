"""Advice about what would do better yet."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from keyword import iskeyword
from typing import TYPE_CHECKING

import numpy as np

from caviar.analysis.report.advice import Advice
from caviar.analysis.report.markup import count, duration, number
from caviar.analysis.report.trouble import folder
from caviar.analysis.trials import NO_TIME
from caviar.messages import Floats, Ints
from caviar.space import Constant, Parameter, Space
from caviar.space.narrowed import Change, shown
from caviar.space.narrowing import NO_FURTHER

if TYPE_CHECKING:
    from caviar.analysis.result import Result

TOP = 10
"""So many of the best trials are looked at."""

MOST_NAMED = 6
"""So many changes of a space are told in a sentence."""

LEAST_POINTS = 8
"""A curve of fewer reports tells nothing of how it goes on."""

LEAST_TAIL = 10
"""The second half of a curve tells of its noise from so many reports on."""

ALTERNATING = -0.2
"""Above this autocorrelation second differences are not those of noise: eight of these have -0.53, give or take
0.2."""


def longer(result: Result) -> list[Advice]:
    """Whether the best trials still improved when they came to their last step."""
    limit = result.declaration.get("max_step")
    if limit is None or limit < LEAST_POINTS:
        return []
    curves = [curve for curve in _best_curves(result) if len(curve[0]) >= LEAST_POINTS and curve[0][-1] >= limit]
    if len(curves) < 2:
        return []
    if all(loss.min() == loss.max() for _, loss in curves):
        return []
    late = [steps[int(np.argmin(loss))] > 0.9 * limit for steps, loss in curves]
    gains = [_late_gain(steps, loss, limit) for steps, loss in curves]
    grew = sum(gain > 2 * _noise(loss) for gain, (_, loss) in zip(gains, curves, strict=True))
    if sum(late) >= 0.7 * len(curves) and grew >= 0.7 * len(curves):
        why = (
            f"{grew} of the {len(curves)} best complete trials still improved in the last quarter of their "
            f"{limit:,} steps, by {number(float(np.median(gains)))} in the median."
        )
        return [Advice("Train longer", why, f"caviar extend {folder(result)} --max-step {2 * limit}")]
    peak = float(np.median([steps[int(np.argmin(loss))] for steps, loss in curves]))
    if peak < 0.4 * limit and len(curves) >= 4:
        why = (
            f"The {len(curves)} best complete trials had their best `{result.metric}` at step {peak:,.0f} in the "
            f"median, and {limit:,} steps were trained: fewer would leave time for more trials."
        )
        return [Advice("Train fewer steps", why, f"max_step={max(1, math.ceil(1.5 * peak))}")]
    return []


def edges(result: Result) -> list[Advice]:
    """Whether the best trials press against an end of a range."""
    found = result.edges()
    found = found[found["suggestion"] != NO_FURTHER]
    if not len(found):
        return []
    said = []
    for name, end, low, high, share, suggestion in found.itertuples(index=False, name=None):
        side, bound = ("upper", high) if end == "high" else ("lower", low)
        said.append(
            f"{share:.0%} of the best trials lie near the {side} end of `{name}`, {number(bound)}: {suggestion}"
        )
    names = " and ".join(f"`{name}`" for name in dict.fromkeys(found["param"]))
    return [Advice(f"Widen {names}", ". ".join(said) + ".")]


def zoom(result: Result) -> list[Advice]:
    """The space around the best trials, ready to go on with."""
    if len(result._best_of_each) < 2:
        return []
    space = result.zoom()
    changed = [change for change in space.changes if change.kind != "kept"]
    if not changed:
        varying = [change for change in space.changes if not isinstance(change.old, Constant)]
        return [Advice("Do not narrow the space yet", f"{_kept(varying[0])}.")] if varying else []
    said = [
        f"`{change.name}` ({shown(change.old)}) becomes {'nothing' if change.new is None else shown(change.new)}"
        for change in changed[:MOST_NAMED]
    ]
    more = f", and {len(changed) - MOST_NAMED} more" if len(changed) > MOST_NAMED else ""
    share = f"{space.share:.0%}" if space.share >= 0.01 else f"{space.share:.1g} times the volume"
    why = f"Around the best trials lies {share} of the space. In it {', '.join(said)}{more}."
    return [Advice("Zoom in", why, space_code(space), f"caviar zoom {folder(result)} --run")]


def _kept(change: Change) -> str:
    """Why a param stays as it is, with its name."""
    named = re.search(rf"(?<!\w){re.escape(change.name)}(?!\w)", change.why)
    return f"{change.why[:1].upper()}{change.why[1:]}" if named else f"Of `{change.name}`, {change.why}"


def space_code(space: Space) -> str:
    """A space as one would write it."""
    rows = [(name, parameter_code(parameter)) for name, parameter in space.items()]
    if all(name.isidentifier() and not iskeyword(name) for name in space):
        lines = [f"    {name}={code}," for name, code in rows]
        return "\n".join(["space = caviar.Space(", *lines, ")"])
    lines = [f"    {name!r}: {code}," for name, code in rows]
    return "\n".join(["space = caviar.Space({", *lines, "})"])


def parameter_code(parameter: Parameter) -> str:
    """A parameter as one would write it; a constant is its value."""
    return repr(parameter.value) if isinstance(parameter, Constant) else f"caviar.{parameter!r}"


def within_noise(result: Result) -> list[Advice]:
    """Whether the best differs from the next by more than what a curve jitters by."""
    top = result.top(50)
    if len(top) < 2:
        if result.status != "finished":
            return []
        why = "One trial has a value, so there is nothing to compare it with."
        return [Advice("Train more trials", why, f"caviar extend {folder(result)} --trials 20")]
    values = result._best_of_each.value
    if not result.space.varying and values.min() == values.max():
        why = (
            f"No param varies in this space: all {len(values):,} trials trained with the same params, and came to "
            f"the same best value, {number(float(values[0]))}."
        )
        return [Advice("Let a param vary", why)]
    if len(values) > 2 and values.min() == values.max():
        why = (
            f"All {len(values):,} trials have the same best value, {number(float(values[0]))}: either nothing "
            "that varies matters, or the metric cannot tell trials apart."
        )
        return [Advice("Check the metric", why)]
    if result.declaration.get("origin") is not None or result.declaration.get("panda") is not None:
        return []  # trials that began from a checkpoint cannot be trained alike again
    curves = [curve for curve in _best_curves(result) if len(curve[0]) >= LEAST_POINTS]
    if not curves:
        return []
    noise = float(np.median([_noise(loss) for _, loss in curves]))
    value = top["value"].to_numpy(float)
    close = int((np.abs(value - value[0]) <= 2 * noise).sum())
    if close < 2:
        return []
    more = " or more" if close == len(value) == 50 else ""
    which = "The best two trials" if close == 2 else f"The best {close}{more} trials"
    apart = abs(float(value[close - 1] - value[0]))
    if not apart:
        why = f"{which} have the same best value, {number(value[0])}: which of them is better nobody can tell yet."
    else:
        why = (
            f"{which} lie within {number(apart)} of each other, and from one report "
            f"to the next a good curve jitters by {number(noise)}: which of them is best is luck."
        )
    return [Advice("Recheck the best over several seeds", why,
                   f"caviar recheck {folder(result)} --top {min(close, 5)} --seeds 3")]  # fmt: skip


def early_stopping(result: Result) -> list[Advice]:
    """What the audit says, in a sentence or two."""
    from caviar.analysis.audit_words import in_words

    found = result.audit()
    if not found.judged:
        scheduler = (result.declaration.get("scheduler") or {}).get("name")
        if scheduler != "run_all" or len(result._trials) < TOP or not result.declaration.get("max_step"):
            return []
        why = "Every trial was trained to its end. Early stopping spends the same steps on more settings."
        return [Advice("Stop bad trials early", why, "scheduler=caviar.Asha()")]
    said = [each[:1].upper() + each[1:] for each in in_words(found)[:2]]
    what = "Trust early stopping as far as it was checked" if found.control else "Check early stopping"
    return [Advice(what, ". ".join(said) + ".", f"caviar audit {folder(result)}")]


def more_trials(result: Result) -> list[Advice]:
    """What more of the same would take, and how likely it would find something better."""
    trials = result._trials
    ended = int((trials.end_us != NO_TIME).sum())
    if result.status != "finished" or ended < 2 or result.declaration.get("panda") is not None:
        return []
    seconds = result.elapsed_s()
    at_once = _at_once(result)
    why = (
        f"{count(ended, 'more trial')} would take about {duration(seconds)}, "
        f"{'one after the other' if at_once == 1 else f'{at_once} at once'} as before."
    )
    sampler = (result.declaration.get("sampler") or {}).get("name")
    if sampler == "grid":
        return []
    if not result.space.varying:
        why += " No param varies, so they would differ by their seed alone."
    elif sampler == "random" and not result.declaration.get("first") and trials.stage.min() == trials.stage.max():
        why += (
            " Drawn from the same space, they would hold the best of all in about one case of two, and a tenth "
            "as many in one of eleven. A space that is zoomed into does better where the good trials lie together."
        )
    return [Advice("Or train more of the same", why, f"caviar extend {folder(result)} --trials {ended}")]


def _best_curves(result: Result) -> list[tuple[Ints, Floats]]:
    """Steps and losses of the best trials, without what is not finite."""
    line = result._known_line.of_metric(result.metric)
    found = []
    for trial in result.top(TOP).index.tolist():
        begin, end = np.searchsorted(line.trial, trial), np.searchsorted(line.trial, trial, side="right")
        step, loss = line.step[begin:end], line.value[begin:end] * (-1 if result.maximize else 1)
        finite = np.isfinite(loss)
        found.append((step[finite], loss[finite]))
    return found


def _late_gain(steps: Ints, loss: Floats, limit: int) -> float:
    """By how much the best loss fell in the last quarter of all steps."""
    early = loss[steps <= 0.75 * limit]
    return float(early.min() - loss.min()) if len(early) else 0.0


def _noise(loss: Floats) -> float:
    """The standard deviation of what a curve jitters by in its second half, from second differences, which a trend
    hardly touches; by their median, which one jump does not touch. 0 where the half is short, or where these
    do not change sign as those of noise do: then it is the curve itself that bends."""
    tail = loss[len(loss) // 2 :]
    if len(tail) < LEAST_TAIL:
        return 0.0
    scale = float(np.abs(tail).max()) or 1.0  # squares of huge values would overflow
    bends = np.diff(tail / scale, 2)
    if np.dot(bends[1:], bends[:-1]) >= ALTERNATING * np.dot(bends, bends):
        return 0.0
    return float(np.median(np.abs(bends)) / 0.6745 / math.sqrt(6) * scale)


def _at_once(result: Result) -> int:
    """How many trials were under way at once at most."""
    trials = result._trials
    there = (trials.start_us != NO_TIME) & (trials.end_us != NO_TIME)
    times = np.concatenate([trials.start_us[there], trials.end_us[there]])
    change = np.repeat([1, -1], there.sum())
    order = np.lexsort((change, times))  # at the same moment one ends before another begins
    return max(int(np.cumsum(change[order]).max(initial=1)), 1)


OUTLOOK: Sequence[Callable[[Result], list[Advice]]] = (
    edges, zoom, longer, within_noise, early_stopping, more_trials,
)  # fmt: skip
"""In the order in which they are told."""

"""What a recheck found, in words, and as JSON."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from caviar.analysis.retest import expected_luck

if TYPE_CHECKING:
    from caviar.analysis.rechecked import Recheck, Setting

MOST_CHANGES = 8
UNEVEN = 0.01
"""Below this, noise that differs between settings is told."""


def told(found: Recheck) -> Iterator[str]:
    """The lines of it: what has changed in the declaration, each setting then and now, the noise, the answers."""
    yield from _of_changes(found)
    for setting in found.settings:
        yield _of_setting(found, setting)
        yield from _of_troubles(setting)
    yield from _of_noise(found)
    yield from _of_then_and_now(found)
    yield from _of_values(found)
    yield from _of_others(found)
    yield from _of_fresh(found)
    if found.unfinished:
        why = "" if found.cut_short is None else f", as the recheck was stopped: {found.cut_short}"
        yield f"{found.unfinished} of its trials have not ended{why}: all this is of those that have"
    if found.untried is not None:
        trial, why = found.untried
        yield f"trial {trial}, which came first then, could not be tried: {why}"
    yield f"so: {_answer(found)}"


def _of_changes(found: Recheck) -> Iterator[str]:
    if not found.changes:
        yield "code, space and versions are those of then, as far as is recorded"
        return
    yield "changed since then:"
    yield from (f"  {line}" for line in found.changes[:MOST_CHANGES])
    if len(found.changes) > MOST_CHANGES:
        yield f"  and {len(found.changes) - MOST_CHANGES} more"


def _of_setting(found: Recheck, one: Setting) -> str:
    text = f"trial {one.trial} ({_params(one.params)}): {_number(one.then)} then, "
    if not one.now:
        return text + "no value now"
    text += f"{_number(one.mean)} now"
    if len(one.now) > 1:
        text += f" ({len(one.now)} seeds: {_number(min(one.now))} to {_number(max(one.now))})"
    if one.up_to and one.up_to != one.now:
        text += f", up to step {one.steps}, as far as then, {_number(one.then + one.change)}"
    if found.values in ("worse", "better") and one.parts_at is not None:
        text += f"; its curves part at step {one.parts_at}"
    return text


def _of_troubles(one: Setting) -> Iterator[str]:
    if not one.troubles:
        return
    count, others = len(one.troubles), ", and others" if len(set(one.troubles)) > 1 else ""
    has = "has" if count == 1 else "have"
    yield f"  {count} of {len(one.trials)} trainings {has} no value: {one.troubles[0]}{others}"


def _of_noise(found: Recheck) -> Iterator[str]:
    if not found.noise.known:
        return
    if _none(found):
        yield "all seeds gave the same value, so seed noise is 0: does the function use trial.seed?"
        return
    several = [len(one.now) for one in found.settings if len(one.now) > 1]
    text = f"seed noise: sd {_number(found.noise.sd)}, from {sum(several)} trainings"
    if len(several) > 1:
        text += f" of {len(several)} settings"
    if found.choice.now:
        low, high = found.interval
        text += f"; trial {found.choice.trial} is worth {_number(low)} to {_number(high)} (95%)"
    yield text
    if found.p_uneven < UNEVEN:
        sds = [one.sd for one in found.settings if len(one.now) > 1]
        spread = f"{_number(min(sds))} to {_number(max(sds))}"
        yield f"  it is not the same for all: sd {spread}; so every p here is rough"


def _of_then_and_now(found: Recheck) -> Iterator[str]:
    """The change from then to now, and what noise and luck have to do with it."""
    if math.isnan(found.choice.p):
        return
    better, choice = found.better(found.choice.change), f"trial {found.choice.trial}"
    if _none(found):
        way = "as then" if better == 0 else f"{_number(abs(better))} {'better' if better > 0 else 'worse'}"
        yield f"then and now: {choice} is {way}"
        return
    if better <= 0 and found.among > 1:
        luck = expected_luck(1, found.among) * found.noise_up_to.sd
        yield (
            f"then and now: {choice} is {_number(-better)} worse; the best of {found.among} was chosen for its "
            f"luck too, and falls back by up to {_number(luck)} on average: "
            f"{_most(found.choice.p, 'luck and seed noise')}"
        )
    else:
        way = "better" if better > 0 else "worse"
        yield f"then and now: {choice} is {_number(abs(better))} {way}: {_most(found.choice.p, 'seed noise')}"
    if not math.isnan(found.p_all):
        changes = [found.better(one.change) for one in found.settings if one.up_to]
        mean = sum(changes) / len(changes)
        way = "better" if mean > 0 else "worse"
        noise = _most(found.p_all, "luck and seed noise")
        yield f"  {_all(len(changes))} are {_number(abs(mean))} {way} on average: {noise}"


def _of_others(found: Recheck) -> Iterator[str]:
    known = [one for one in found.settings if one.now]
    rival, choice = found.rival, found.choice
    if not choice.now or rival is None:
        return
    ahead = found.better(rival.mean - choice.mean)
    if ahead <= 0:
        yield f"now: trial {choice.trial} is still the best of the {len(known)}"
    else:
        noise = (
            "" if _none(found) or math.isnan(found.p_rival) else f": by seed noise alone {_exactly(found.p_rival)}"
        )
        yield f"now: trial {rival.trial} is {_number(ahead)} better than trial {choice.trial}{noise}"
    tau, p = found.order
    if len(known) < 3 or math.isnan(found.p_differ) or _none(found):
        return
    if found.p_differ >= 0.05:
        noise = f"seed noise ({_exactly(found.p_differ)})"
        yield f"  {_all(len(known))} differ by no more than {noise}: their order means little"
    elif not math.isnan(tau):
        yield f"  their order then and now: Kendall's tau {tau:.2f} (1: the same, -1: reversed), {_exactly(p)}"


def _of_fresh(found: Recheck) -> Iterator[str]:
    best, count, failed = found.best_fresh, len(found.fresh), found.fresh_failed
    if best is None:
        if failed:
            yield f"fresh: {'the one has' if failed == 1 else f'all {failed} have'} no value"
        return
    of = f"the best of {count}" if count > 1 else "one"
    if failed:
        of += f" ({failed} of {count + failed} failed)"
    text = f"fresh: {of} has {_number(best.value)} (trial {best.trial} of the recheck: {_params(best.params)})"
    if not found.choice.now:
        yield text
        return
    choice, ahead = f"trial {found.choice.trial}", found.better(best.value - found.choice.mean)
    if ahead <= 0:
        yield f"{text}: not better than {choice}"
        return
    noise = "" if _none(found) or math.isnan(best.p) else f": by seed noise alone {_exactly(best.p)}"
    yield f"{text}, {_number(ahead)} better than {choice}{noise}"
    if found.beat:
        beyond = "" if _none(found) else " beyond seed noise"
        beat = f"{found.beat} of {count} beat{'s' if found.beat == 1 else ''} it{beyond}"
        chance = f"with a chance of about {_p(found.by_search_alone)}"
        yield f"  {beat}; had nothing changed, so many would beat the best of {found.among} old ones {chance}"


def _of_values(found: Recheck) -> Iterator[str]:
    if found.values in ("worse", "better"):
        beyond = "luck and noise explain" if found.values == "worse" else "noise explains"
        yield f"  that is {found.values} than {beyond}: code, data or machine do something else now"


def _answer(found: Recheck) -> str:
    choice = f"trial {found.choice.trial}"
    match found.outcome:
        case "fails":
            return f"{choice} does not train any more: sweep again"
        case "unclear" if not found.choice.now:
            return f"nothing can be said before {choice} has a value"
        case "unclear":
            return "without seed noise nothing can be said: train each setting from several seeds (--seeds 3)"
        case "alone":
            return f"{choice} is worth {_number(found.choice.mean)} now; nothing was trained beside it"
        case "moved":
            return "what does well has moved, and the choice does not hold: sweep again"
        case "beaten" if found.beat:
            return "a fresh setting is better, as more search may find one without any change: sweep on"
        case "beaten":
            assert found.rival is not None
            return f"trial {found.rival.trial} is the better choice"
        case "untried":
            assert found.untried is not None
            return f"nothing beats {choice}, but whether trial {found.untried[0]} is better could not be tried"
    moved = found.values in ("worse", "better")
    return f"the choice holds{f', with {found.values} values than then' if moved else ''}"


def _all(count: int) -> str:
    return "both" if count == 2 else f"all {count}"


def _params(params: Mapping[str, Any]) -> str:
    return ", ".join(f"{name}={_number(value)}" for name, value in params.items()) or "nothing varies"


def _number(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _p(p: float) -> str:
    return "less than 0.001" if p < 0.001 else f"{p:.2g}" if p < 0.995 else "1"


def _none(found: Recheck) -> bool:
    """Whether there is no seed noise at all: then no p says anything."""
    return found.noise.sd == 0


def _exactly(p: float) -> str:
    return "p < 0.001" if p < 0.001 else f"p = {_p(p)}"


def _most(p: float, what: str) -> str:
    if p > 0.5:
        return f"nothing unusual for {what}"
    return f"by {what} alone " + ("p < 0.001" if p < 0.001 else f"p <= {_p(p)}")


def as_dict(found: Recheck) -> dict[str, Any]:
    """All of it for machines; values that are not finite stay what they are."""
    tau, p_order = found.order
    return {
        "kind": "recheck",
        "folder": str(found.path),
        "of": str(found.of),
        "metric": found.metric,
        "outcome": found.outcome,
        "values": found.values,
        "among": found.among,
        "unfinished": found.unfinished,
        "cut_short": found.cut_short,
        "untried": None if found.untried is None else {"trial": found.untried[0], "why": found.untried[1]},
        "changes": list(found.changes),
        "noise": {"sd": found.noise.sd, "df": found.noise.df},
        "interval": list(found.interval),
        "p": {
            "values": found.p_values,
            "all": found.p_all,
            "rival": found.p_rival,
            "fresh": None if found.best_fresh is None else found.best_fresh.p,
            "differ": found.p_differ,
            "order": p_order,
            "uneven": found.p_uneven,
        },
        "tau": tau,
        "settings": [
            {
                "trial": one.trial,
                "params": dict(one.params),
                "then": one.then,
                "steps": one.steps,
                "now": list(one.now),
                "mean": one.mean,
                "sd": one.sd,
                "up_to_steps": list(one.up_to),
                "change": one.change,
                "p": one.p,
                "parts_at": one.parts_at,
                "trials": list(one.trials),
                "troubles": list(one.troubles),
            }
            for one in found.settings
        ],
        "fresh": [
            {"trial": one.trial, "params": dict(one.params), "value": one.value, "p": one.p} for one in found.fresh
        ],
        "beat": found.beat,
        "by_search_alone": found.by_search_alone,
    }

"""An event in one line of words, without its time, kind and trial."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from caviar.adjusting import OPERATIONS, told
from caviar.cli import figures
from caviar.messages import BY_HAND, SPARE


def what(event: Mapping[str, Any]) -> str:
    """What an event says, in one line, without its time, kind and trial."""
    data: dict[str, Any] = event["data"]
    step = event["step"]
    match event["kind"]:
        case "trial_sampled":
            return figures.params(data["params"])
        case "trial_started":
            again = "" if data.get("restored") is None else f", from step {data['restored']}"
            return f"attempt {event['attempt']} on {data['worker']}{again}"
        case "decision":
            judged = f"{data['decision']} at step {step} (rung {data['rung']}): {_value(data['value'])}"
            return f"{judged}; to be stopped, but runs to its end" if data["decision"] == SPARE else judged
        case "trial_ended":
            return _end(data, step)
        case "attempt_failed":
            again = f" (tried again in {data['retry_in_s']:g} s)" if data.get("retry_in_s") else ""
            return f"attempt {event['attempt']} at step {step}: {data['reason']}{again}"
        case "attempt_lost":
            return f"attempt {event['attempt']} at step {step}: {data['reason']}"
        case "trial_reopened":
            return f"trains on from step {step}" if step else "is tried after all"
        case "checkpoint_lost":
            return f"step {step}: {data['reason']}"
        case "extended":
            limit = data.get("max_step")
            return f"{data['trials']} trials" + ("" if limit is None else f", up to step {limit}")
        case "declaration_changed":
            return f"now another: {', '.join(data['changes'])}"
        case "checkpointed":
            return f"step {step}"
        case "adjusted":
            return f"from step {step}: {told(data['old'], data['new'])}{_why(data)}"
        case "paused" | "unpaused":
            return f"after step {step}{_why(data)}"
        case "rolled_back":
            back = f"to step {step}" if step else "to its beginning"
            return f"from step {data['from_step']} {back}{_why(data)}"
        case "adopted":
            return f"on from step {step} of trial {data['from_trial']} of {data['path']}{_why(data)}"
        case "events_lost":
            return f"events of the commits {data['first']} to {data['last']} stood here; their files were damaged"
        case "repaired":
            lost = ", ".join(data["lost"]) or "nothing"
            count = len(data["aside"])
            return f"lost: {lost}; {count} file{'' if count == 1 else 's'} set aside"
        case "sweep_started":
            return f"{data['trials']} trials"
        case "stage_opened":
            names = ", ".join(param["name"] for param in data["space"]["params"])
            changed = [one for one in data.get("zoom") or () if one.get("kind") != "kept"]
            why = "; ".join(f"{one.get('kind')} {one.get('name')}: {one.get('why')}" for one in changed)
            return f"stage {data['stage']}: {_line(why) or names}"
        case "driver_started":
            return f"pid {data['pid']} on {data['host']}, caviar {data['version']}"
        case "driver_stopped" | "stop_ordered" | "sweep_ended":
            return str(data["reason"])
        case "worker_lost" | "process_replaced":
            return f"{data['worker']}: {data['reason']}"
        case "command_received":
            return _asked(data["command"], data["args"])
        case "command_answered":
            return str(data["text"])
    return json.dumps(data) if data else ""


def _why(data: Mapping[str, Any]) -> str:
    """Who did it, and why as far as that was said: `` (by hand: too jumpy)``."""
    by = data.get("by") or BY_HAND
    who = by if by.startswith("by ") else f"by {by}"
    return f" ({who}: {_line(data['note'])})" if data.get("note") else f" ({who})"


def _line(text: object) -> str:
    return " ".join(str(text).split())


def _asked(command: str, args: Mapping[str, Any]) -> str:
    """A command as one would type it; its arguments may be anything."""
    words = [command]
    for name, value in args.items():
        match name, value:
            case "changes", Mapping():
                words += [_change(each, given) for each, given in value.items()]
            case "to_step", _:
                words.append(f"to step {value}")
            case "force" | "dry_run", bool():
                words += [name.replace("_", " ")] if value else []
            case ("note" | "by", None) | ("by", "by hand"):
                pass
            case "note", _:
                words.append(f"({_line(value)})")
            case _:
                words.append(figures.params({name: value}))
    return " ".join(words)


def _change(name: str, given: object) -> str:
    if isinstance(given, str) and given[:2] in OPERATIONS:
        return f"{name}{given}"
    return f"{name}={given}"


def _end(data: Mapping[str, Any], step: int) -> str:
    said = f"{data['status']} at step {step}"
    if data.get("reason") is not None:
        said += f": {data['reason']}"
    if data.get("best") is not None:
        said += f"; best {_value(data['best'])} at step {data['best_step']}"
    return said


def _value(value: float | str) -> str:
    return figures.number(value)

"""What was declared: the space, how it was sampled and judged, and with which versions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from caviar.analysis.report.markup import Html, join, number, pairs, paragraph, table, text
from caviar.analysis.report.section import Section
from caviar.space import Choice, Float, Int, Parameter, Space

if TYPE_CHECKING:
    from caviar.analysis.result import Result


def declaration(result: Result) -> Section:
    """The section."""
    spaces = stages(result)
    parts = [pairs(_said(result))]
    for number_, space in enumerate(spaces):
        if len(spaces) > 1:
            parts.append(paragraph(f"The space of stage {number_}:"))
        rows = list(_space(space))
        heads = ["param", "kind", "range", "scale", "only when"]
        there = [at for at in range(len(heads)) if any(row[at] is not None for row in rows)]
        rows = [tuple(row[at] for at in there) for row in rows]
        parts.append(table([heads[at] for at in there], rows, words=(2, 4)))
    return Section("What was declared", join(parts), "declared")


def stages(result: Result) -> list[Space]:
    """The spaces, of the first stage first."""
    events = result._events
    number_, space = events.fields(events.rows("stage_opened"), "stage_opened", "stage", "space")
    later = {stage: Space.from_dict(each) for stage, each in zip(number_, space, strict=True) if stage}
    return [result.space, *(later[stage] for stage in sorted(later))]


def _space(space: Space) -> Iterator[tuple[object, ...]]:
    for name, parameter in space.items():
        yield name, *_parameter(parameter), _when(getattr(parameter, "when", None))


def _parameter(parameter: Parameter) -> tuple[object, ...]:
    if isinstance(parameter, Choice):
        said = ", ".join(number(value) for value in parameter.values)
        if parameter.weights is not None:
            said += f" (weights {', '.join(f'{weight:g}' for weight in parameter.weights)})"
        return "choice", said, None
    if isinstance(parameter, Float | Int):
        kind = "whole number" if isinstance(parameter, Int) else "number"
        return kind, f"{number(parameter.low)} to {number(parameter.high)}", parameter.scale
    return "constant", number(getattr(parameter, "value", parameter)), None


def _when(when: Mapping[str, Any] | None) -> str | None:
    if not when:
        return None
    said = []
    for name, values in when.items():
        some = values if isinstance(values, list | tuple) else [values]
        said.append(f"{name} is {' or '.join(number(value) for value in some)}")
    return " and ".join(said)


def _said(result: Result) -> Iterator[tuple[str, Html]]:
    declared = result.declaration
    yield "Folder", Html(f"<code>{text(result.path)}</code>")
    if declared.get("train"):
        yield "Training function", Html(f"<code>{text(declared['train'])}</code>")
    goal = "more is better" if result.maximize else "less is better"
    yield "Metric", Html(f"<code>{text(result.metric)}</code>, {goal}")
    yield "Trials", text(f"{declared.get('trials', 0):,}, {_steps(declared.get('max_step'))}")
    for word in ("sampler", "scheduler"):
        if isinstance(declared.get(word), Mapping):
            yield word.capitalize(), text(_call(declared[word]))
    yield "Seed", text(declared.get("seed", 0))
    kinds = list(_kinds(declared.get("resources")))
    if any(kinds):
        yield "For each trial", text(", or ".join(kinds))
    origin = declared.get("origin")
    if origin:
        yield "Forked from", text(f"step {origin['step']} of trial {origin['trial']} of {origin['path']}")
    versions = _versions(result)
    if versions:
        yield "Versions", text(versions)
    hosts = _hosts(result)
    if hosts:
        yield "Driven from", text(hosts)


def _kinds(resources: Mapping[str, Any] | None) -> Iterator[str]:
    """What each kind of worker has, in words."""
    while resources:
        wanted = [
            f"{number(much)} {noun}{'' if much == 1 else 's'}"
            for noun in ("cpu", "gpu")
            if (much := resources.get(f"{noun}s"))
        ]
        yield ", ".join(wanted)
        resources = resources.get("otherwise")


def _steps(max_step: object) -> str:
    return "without a last step" if max_step is None else f"up to step {max_step:,}"


def _call(declared: Mapping[str, Any]) -> str:
    """A sampler or a scheduler as it would be written."""
    given = ", ".join(f"{key}={number(value)}" for key, value in declared.items() if key != "name")
    return f"{declared.get('name', '?')}({given})" if given else str(declared.get("name", "?"))


def _versions(result: Result) -> str:
    versions = result.declaration.get("versions")
    said = [f"{name} {version}" for name, version in versions.items()] if isinstance(versions, Mapping) else []
    (own,) = result._events.fields(result._events.rows("driver_started"), "driver_started", "version")
    known = dict.fromkeys(str(each) for each in own if each is not None)
    if known and not any(each.startswith("caviar ") for each in said):
        said.insert(0, f"caviar {', '.join(known)}")
    return ", ".join(said)


def _hosts(result: Result) -> str:
    events = result._events
    rows = events.rows("driver_started")
    (hosts,) = events.fields(rows, "driver_started", "host")
    times = Counter(str(host) for host in hosts)
    return ", ".join(name if often == 1 else f"{name} ({often} times)" for name, often in times.items())
